// Package signed opens checkpoints with golang.org/x/mod/sumdb/note. It shares nothing with the portal's Python.
package signed

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is a checkpoint with verified signatures.
type Checkpoint struct {
	Origin     string
	Tree       tlog.Tree
	Cosigners  []string
	CosignedAt int64 // the latest time that a known witness signed, 0 for none
}

// cosigner verifies C2SP cosignature/v1 lines, which x/mod does not know.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }

func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg)
	return ed25519.Verify(c.key, []byte(signed), sig[8:])
}

func newCosigner(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("malformed witness key")
	}
	hash, err1 := strconv.ParseUint(parts[1], 16, 32)
	key, err2 := base64.StdEncoding.DecodeString(parts[2])
	if err1 != nil || err2 != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 4 {
		return nil, errors.New("malformed witness key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	if uint32(hash) != binary.BigEndian.Uint32(sum[:]) {
		return nil, errors.New("wrong id of a witness key")
	}
	return &cosigner{parts[0], uint32(hash), key[1:]}, nil
}

// Keys are what a verifier knows: keys of the log, and perhaps of witnesses.
type Keys struct {
	logs      []note.Verifier
	witnesses []note.Verifier
}

// ReadKeys reads log.vkey and, where it is there, witness.vkey.
func ReadKeys(folder string) (*Keys, error) {
	keys := new(Keys)
	var err error
	if keys.logs, err = readKeys(filepath.Join(folder, "log.vkey"), note.NewVerifier); err != nil {
		return nil, err
	}
	keys.witnesses, err = readKeys(filepath.Join(folder, "witness.vkey"), newCosigner)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return keys, nil
}

func readKeys(path string, parse func(string) (note.Verifier, error)) ([]note.Verifier, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var keys []note.Verifier
	for _, line := range strings.Split(string(data), "\n") {
		if line == "" {
			continue
		}
		key, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Open verifies a checkpoint: a log key must have signed it, and a witness where one is known.
func (k *Keys) Open(text []byte) (*Checkpoint, error) {
	opened, err := note.Open(text, note.VerifierList(k.logs...))
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	checkpoint, err := parse(opened.Text)
	if err != nil {
		return nil, err
	}
	for _, key := range k.logs {
		if key.Name() != checkpoint.Origin {
			return nil, errors.New("a log key does not have the origin's name")
		}
	}
	if len(k.witnesses) == 0 {
		return checkpoint, nil
	}
	cosigned, err := note.Open(text, note.VerifierList(k.witnesses...))
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	for _, sig := range cosigned.Sigs {
		data, err := base64.StdEncoding.DecodeString(sig.Base64)
		if err != nil {
			return nil, err
		}
		checkpoint.Cosigners = append(checkpoint.Cosigners, sig.Name)
		if at := int64(binary.BigEndian.Uint64(data[4:])); at > checkpoint.CosignedAt {
			checkpoint.CosignedAt = at
		}
	}
	return checkpoint, nil
}

func parse(text string) (*Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] == "" || lines[3] != "" {
		return nil, errors.New("checkpoint: not three lines")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || lines[1] != strconv.FormatInt(size, 10) {
		return nil, errors.New("checkpoint: malformed size")
	}
	root, err := ParseHashes(lines[2:3])
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return &Checkpoint{Origin: lines[0], Tree: tlog.Tree{N: size, Hash: root[0]}}, nil
}

// ParseHashes reads base64 hashes.
func ParseHashes(lines []string) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(lines))
	for i, line := range lines {
		var err error
		if hashes[i], err = tlog.ParseHash(line); err != nil {
			return nil, err
		}
		if hashes[i].String() != line {
			return nil, errors.New("a hash in another spelling")
		}
	}
	return hashes, nil
}

// Exit prints the error as one line and ends the program, where there is one.
func Exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "REFUSED:", err)
		os.Exit(1)
	}
}
