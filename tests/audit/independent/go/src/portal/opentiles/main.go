// Command opentiles proves entries and tree sizes from a folder of static C2SP tiles, with golang.org/x/mod/sumdb alone.
//
//	opentiles [-records n] [-old size,size] folder
//
// The folder has checkpoint, log.vkey (and witness.vkey), tile/<level>/… and perhaps tile/entries/….
package main

import (
	"encoding/binary"
	"encoding/hex"
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

const height = 8

// disk is a tlog.TileReader.
type disk string

func (d disk) Height() int                                { return height }
func (d disk) SaveTiles(tiles []tlog.Tile, data [][]byte) {}

func (d disk) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		var err error
		if data[i], err = os.ReadFile(filepath.Join(string(d), path(strconv.Itoa(tile.L), tile.N, tile.W))); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// path is C2SP's: x/mod's Tile.Path has the height in it, and "data" for entries.
func path(level string, n int64, width int) string {
	number := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		number = fmt.Sprintf("x%03d/%s", n%1000, number)
	}
	if width < 1<<height {
		number = fmt.Sprintf("%s.p/%d", number, width)
	}
	return "tile/" + level + "/" + number
}

func main() {
	records := flag.Int64("records", 256, "how many entries to prove, spread over the tree")
	old := flag.String("old", "", "sizes of older trees to prove that the tree extends")
	flag.Parse()
	if flag.NArg() != 1 {
		signed.Exit(errors.New("usage: opentiles [-records n] [-old size,size] folder"))
	}
	signed.Exit(verify(flag.Arg(0), *records, *old))
}

func verify(folder string, records int64, sizes string) error {
	keys, err := signed.ReadKeys(folder)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	if err != nil {
		return err
	}
	checkpoint, err := keys.Open(text)
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(checkpoint.Tree, disk(folder))
	proven, bundled, err := proveRecords(folder, checkpoint.Tree, records, reader)
	if err != nil {
		return err
	}
	roots := map[string]string{}
	for _, text := range strings.Split(sizes, ",") {
		if text == "" {
			continue
		}
		root, err := proveExtension(checkpoint.Tree, text, reader)
		if err != nil {
			return fmt.Errorf("older size %s: %w", text, err)
		}
		roots[text] = hex.EncodeToString(root[:])
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"origin": checkpoint.Origin, "size": checkpoint.Tree.N, "records": proven, "bundled": bundled, "roots": roots,
	})
}

// proveRecords proves entries from the first to the last; bundled counts those whose bytes were there to be hashed.
func proveRecords(folder string, tree tlog.Tree, count int64, reader tlog.HashReader) (proven, bundled int64, err error) {
	if count > tree.N {
		count = tree.N
	}
	bundles := map[int64][][]byte{}
	for i := int64(0); i < count; i++ {
		index := i
		if count > 1 {
			index = i * (tree.N - 1) / (count - 1)
		}
		hashes, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return 0, 0, fmt.Errorf("entry %d: %w", index, err)
		}
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return 0, 0, fmt.Errorf("entry %d: %w", index, err)
		}
		n := index >> height
		if _, read := bundles[n]; !read {
			if bundles[n], err = readBundle(folder, n, tree.N); err != nil {
				return 0, 0, err
			}
		}
		hash := hashes[0]
		if entries := bundles[n]; entries != nil {
			hash = tlog.RecordHash(entries[index&(1<<height-1)])
			bundled++
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, hash); err != nil {
			return 0, 0, fmt.Errorf("entry %d: %w", index, err)
		}
		proven++
	}
	return proven, bundled, nil
}

// readBundle returns the entries of a bundle, nil where the folder has none at all.
func readBundle(folder string, n, size int64) ([][]byte, error) {
	if _, err := os.Stat(filepath.Join(folder, "tile", "entries")); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	width := int64(1 << height)
	if rest := size - n<<height; rest < width {
		width = rest
	}
	data, err := os.ReadFile(filepath.Join(folder, path("entries", n, int(width))))
	if err != nil {
		return nil, err
	}
	entries := [][]byte{}
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("bundle %d is cut", n)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:end])
		data = data[end:]
	}
	if int64(len(entries)) != width {
		return nil, fmt.Errorf("bundle %d has %d entries", n, len(entries))
	}
	return entries, nil
}

func proveExtension(tree tlog.Tree, text string, reader tlog.HashReader) (tlog.Hash, error) {
	old, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return tlog.Hash{}, err
	}
	root, err := tlog.TreeHash(old, reader)
	if err != nil {
		return root, err
	}
	proof, err := tlog.ProveTree(tree.N, old, reader)
	if err != nil {
		return root, err
	}
	return root, tlog.CheckTree(proof, tree.N, tree.Hash, old, root)
}
