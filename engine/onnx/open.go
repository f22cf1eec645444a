package onnx

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"f2pad.example/engine/internal/openfile"
)

// maxExternal bounds the bytes of external data in all.
const maxExternal = 64 << 30

// Open reads a model from a file, and the external data beside it: files in the model's folder or below it, which no
// link leads out of. It refuses files over 2 GiB (external data: 64 GiB). The model holds all of it in memory.
func Open(path string) (*Model, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	defer root.Close()
	data, err := openfile.ReadAll(path, maxFile) // not through root: the file itself may be a link
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	m, err := parse(data)
	if err == nil {
		err = m.load(data, func(name string, most int64) ([]byte, error) { return readFile(root, name, most) })
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// Read reads a model from memory; it refuses one with external data. The model keeps data, which must not be changed.
func Read(data []byte) (*Model, error) {
	m, err := parse(data)
	if err != nil {
		return nil, err
	}
	return m, m.load(data, func(string, int64) ([]byte, error) {
		return nil, fmt.Errorf("it is external, and this model was not read from a file")
	})
}

// SHA256 is the hash of the file in hexadecimal digits. Where there is external data it is the hash of the hashes (32
// bytes each) of the file and of the external files in the order of their names.
func (m *Model) SHA256() string { return m.sha256 }

func readFile(root *os.Root, name string, most int64) ([]byte, error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return nil, fmt.Errorf("%q lies outside the model's folder", name)
	}
	f, info, err := openfile.In(root, filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return openfile.Content(f, info, most)
}

// load resolves external data and computes the hash.
func (m *Model) load(data []byte, read func(name string, most int64) ([]byte, error)) error {
	files := map[string][]byte{}
	left := int64(maxExternal)
	m.bytes = int64(len(data))
	tensors := slices.Collect(maps.Values(m.tensors))
	for _, n := range m.nodes {
		for _, a := range n.attr {
			if a.t != nil {
				tensors = append(tensors, a.t)
			}
		}
	}
	for _, t := range tensors {
		if t.external == nil {
			continue
		}
		name := t.external["location"]
		file, ok := files[name]
		if !ok {
			var err error
			if file, err = read(name, left); err != nil {
				return fmt.Errorf("onnx: the data of %q: %w", t.name, err)
			}
			files[name] = file
			left -= int64(len(file))
			m.bytes += int64(len(file))
		}
		if err := t.within(file); err != nil {
			return fmt.Errorf("onnx: the data of %q in %q: %w", t.name, name, err)
		}
	}
	sum := sha256.Sum256(data)
	if len(files) > 0 {
		all := sum[:]
		for _, name := range slices.Sorted(maps.Keys(files)) {
			s := sha256.Sum256(files[name])
			all = append(all, s[:]...)
		}
		sum = sha256.Sum256(all)
	}
	m.sha256 = hex.EncodeToString(sum[:])
	return nil
}

// within takes the tensor's bytes from its external file.
func (t *protoTensor) within(file []byte) error {
	n, err := size(t.dims)
	if err != nil {
		return err
	}
	number := func(key string, def int) (int, error) {
		text, ok := t.external[key]
		if !ok {
			return def, nil
		}
		v, err := strconv.Atoi(text)
		if err != nil || v < 0 {
			return 0, fmt.Errorf("%s is %q", key, text)
		}
		return v, nil
	}
	offset, err := number("offset", 0)
	if err != nil {
		return err
	}
	length, err := number("length", n*t.elem.bytesPer())
	if err != nil {
		return err
	}
	if offset > len(file) || length > len(file)-offset {
		return fmt.Errorf("bytes %d to %d+%d exceed the file's %d", offset, offset, length, len(file))
	}
	t.raw = file[offset : offset+length]
	return nil
}
