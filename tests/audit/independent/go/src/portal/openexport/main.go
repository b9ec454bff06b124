// Command openexport verifies a tenant's unpacked export with golang.org/x/mod/sumdb alone.
//
//	openexport [-tenant uuid] folder
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"portal/signed"
)

type leaf struct {
	Body   json.RawMessage `json:"body"`
	Prev   string          `json:"prev"`
	Seq    int64           `json:"seq"`
	Tenant string          `json:"tenant"`
	V      int             `json:"v"`
}

// chain is how far a tenant's entries have been followed.
type chain struct {
	tenant string
	seq    int64
	count  int64
	head   tlog.Hash
}

// place is an inclusion proof in before.json.
type place struct {
	Seq    int64    `json:"seq"`
	Index  int64    `json:"index"`
	Hash   string   `json:"hash"`
	Leaf   string   `json:"leaf"`
	Hashes []string `json:"hashes"`
	Pruned *place   `json:"pruned"`
}

func main() {
	tenant := flag.String("tenant", "", "the tenant whose export it is; by default that of the first entry")
	flag.Parse()
	if flag.NArg() != 1 {
		signed.Exit(errors.New("usage: openexport [-tenant uuid] folder"))
	}
	signed.Exit(verify(flag.Arg(0), *tenant))
}

func verify(folder, tenant string) error {
	keys, err := signed.ReadKeys(folder)
	if err != nil {
		return err
	}
	index, proof, checkpoint, err := readHead(folder, keys)
	if err != nil {
		return err
	}
	entries, err := readBefore(folder, checkpoint.Tree)
	if err != nil {
		return err
	}
	entries.tenant = tenant
	if err := entries.follow(filepath.Join(folder, "entries.jsonl")); err != nil {
		return err
	}
	if err := tlog.CheckRecord(proof, checkpoint.Tree.N, checkpoint.Tree.Hash, index, entries.head); err != nil {
		return fmt.Errorf("the last entry is not in the signed tree: %w", err)
	}
	extended, err := checkExtension(folder, keys, checkpoint)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"origin": checkpoint.Origin, "size": checkpoint.Tree.N, "tenant": entries.tenant, "entries": entries.count,
		"last": entries.seq, "cosigners": checkpoint.Cosigners, "cosigned_at": checkpoint.CosignedAt,
		"extends": extended,
	})
}

// readHead reads a C2SP tlog-proof.
func readHead(folder string, keys *signed.Keys) (int64, tlog.RecordProof, *signed.Checkpoint, error) {
	data, err := os.ReadFile(filepath.Join(folder, "head.tlog-proof"))
	if err != nil {
		return 0, nil, nil, err
	}
	head, note, found := strings.Cut(string(data), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return 0, nil, nil, errors.New("head.tlog-proof: not a proof")
	}
	lines = lines[1:]
	if strings.HasPrefix(lines[0], "extra ") && len(lines) > 1 {
		lines = lines[1:]
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
	if err != nil || !strings.HasPrefix(lines[0], "index ") {
		return 0, nil, nil, errors.New("head.tlog-proof: malformed index")
	}
	hashes, err := signed.ParseHashes(lines[1:])
	if err != nil {
		return 0, nil, nil, fmt.Errorf("head.tlog-proof: %w", err)
	}
	checkpoint, err := keys.Open([]byte(note))
	return index, hashes, checkpoint, err
}

// follow walks the chain through a file of leaves, one a line.
func (c *chain) follow(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := bufio.NewReaderSize(file, 1<<20)
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			if len(line) > 0 {
				return errors.New("entries.jsonl: the last line is cut")
			}
			if c.count == 0 {
				return errors.New("entries.jsonl: no entry")
			}
			return nil
		}
		if err := c.link(line[:len(line)-1]); err != nil {
			return fmt.Errorf("entry due at %d: %w", c.seq+1, err)
		}
	}
}

func (c *chain) link(line []byte) error {
	var entry leaf
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&entry); err != nil {
		return err
	}
	if c.tenant == "" {
		c.tenant = entry.Tenant
	}
	switch {
	case entry.V != 1 || len(entry.Body) == 0 || decoder.More():
		return errors.New("not a leaf")
	case entry.Tenant != c.tenant:
		return errors.New("it names another tenant")
	case entry.Seq != c.seq+1:
		return fmt.Errorf("it has number %d", entry.Seq)
	case entry.Prev != base64.StdEncoding.EncodeToString(c.head[:]):
		return errors.New("it does not continue the entry before it")
	}
	c.seq, c.head, c.count = entry.Seq, tlog.RecordHash(line), c.count+1
	return nil
}

// readBefore is where the chain starts: at nothing, or at the proven entry before the first that was not pruned.
func readBefore(folder string, tree tlog.Tree) (*chain, error) {
	var before place
	if err := readJSON(folder, "before.json", &before); errors.Is(err, os.ErrNotExist) {
		return &chain{}, nil
	} else if err != nil {
		return nil, err
	}
	head, err := tlog.ParseHash(before.Hash)
	if err != nil {
		return nil, fmt.Errorf("before.json: %w", err)
	}
	if err := before.check(tree, head); err != nil {
		return nil, err
	}
	pruned := before.Pruned
	if pruned == nil {
		return nil, errors.New("before.json: nothing says that entries were pruned")
	}
	if err := pruned.check(tree, tlog.RecordHash([]byte(pruned.Leaf))); err != nil {
		return nil, err
	}
	var record struct {
		Body struct {
			Action string `json:"action"`
			Detail struct {
				From *int64 `json:"from"`
				To   *int64 `json:"to"`
			} `json:"detail"`
		} `json:"body"`
	}
	if err := json.Unmarshal([]byte(pruned.Leaf), &record); err != nil {
		return nil, fmt.Errorf("before.json: %w", err)
	}
	action, from, to := record.Body.Action, record.Body.Detail.From, record.Body.Detail.To
	if action != "audit.pruned" || from == nil || to == nil || before.Index < *from || before.Index >= *to {
		return nil, errors.New("before.json: the entry before the first was not pruned")
	}
	return &chain{seq: before.Seq, head: head}, nil
}

func (p *place) check(tree tlog.Tree, hash tlog.Hash) error {
	proof, err := signed.ParseHashes(p.Hashes)
	if err != nil {
		return fmt.Errorf("before.json: %w", err)
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, p.Index, hash); err != nil {
		return fmt.Errorf("before.json: not in the signed tree: %w", err)
	}
	return nil
}

// checkExtension returns the size of the older checkpoint in consistency.json, -1 where there is none.
func checkExtension(folder string, keys *signed.Keys, checkpoint *signed.Checkpoint) (int64, error) {
	var extension struct {
		Old    string   `json:"old"`
		Hashes []string `json:"hashes"`
	}
	if err := readJSON(folder, "consistency.json", &extension); errors.Is(err, os.ErrNotExist) {
		return -1, nil
	} else if err != nil {
		return 0, err
	}
	old, err := keys.Open([]byte(extension.Old))
	if err != nil {
		return 0, fmt.Errorf("older %w", err)
	}
	if old.Origin != checkpoint.Origin {
		return 0, errors.New("the older checkpoint is of another log")
	}
	proof, err := signed.ParseHashes(extension.Hashes)
	if err != nil {
		return 0, fmt.Errorf("consistency.json: %w", err)
	}
	if err := tlog.CheckTree(proof, checkpoint.Tree.N, checkpoint.Tree.Hash, old.Tree.N, old.Tree.Hash); err != nil {
		return 0, fmt.Errorf("the log does not extend the older checkpoint: %w", err)
	}
	return old.Tree.N, nil
}

func readJSON(folder, name string, into any) error {
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
