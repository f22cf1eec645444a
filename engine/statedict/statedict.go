// Package statedict reads the weights that torch.save has written in its older format ("legacy", *.pth): five pickles (a magic
// number, the format's version, facts of the system, the object, the storages' keys), then the storages. The object has to be
// a state dict, an OrderedDict of tensors. Pickles are programs for a machine of PyTorch's making; the machine here knows
// the few instructions, and the three names, that a state dict takes. What else there is it refuses by name: nothing is
// executed.
package statedict

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Tensor is an entry of a state dict.
type Tensor struct {
	Name    string
	Storage string    // PyTorch's class of its elements: "FloatStorage"
	Shape   []int     // without axes it is a single number
	Data    []float32 // row by row; nil unless Storage is "FloatStorage"
}

// The files begin with these pickles, the magic number 0x1950a86a20f9469cfc6c and the version 1001.
const (
	magic   = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
	version = "\x80\x02M\xe9\x03."
)

// zipMagic begins a file of torch.save's newer format.
const zipMagic = "PK\x03\x04"

// floatStorage is the class whose elements are read.
const floatStorage = "FloatStorage"

// widths are the storage classes of module torch, and the bytes of an element.
var widths = map[string]int{
	"DoubleStorage": 8, floatStorage: 4, "HalfStorage": 2, "BFloat16Storage": 2,
	"LongStorage": 8, "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
}

// maxRank bounds the axes of a tensor.
const maxRank = 8

// Read returns the tensors of a state dict in the order of the file. It takes memory in proportion to the data, at most some
// 50 times as much as the pickles and once as much as the whole file, whatever the file says; sizes are checked before
// anything is allocated. Tensors do not refer to data.
func Read(data []byte) ([]Tensor, error) {
	tensors, err := read(data)
	if err != nil {
		return nil, fmt.Errorf("statedict: %w", err)
	}
	return tensors, nil
}

func read(data []byte) ([]Tensor, error) {
	rest, ok := bytes.CutPrefix(data, []byte(magic))
	if !ok {
		if bytes.HasPrefix(data, []byte(zipMagic)) {
			return nil, errors.New("this is the newer format of torch.save, or another zip archive; " +
				"torch.save(..., _use_new_zipfile_serialization=False) writes the one that is read here")
		}
		return nil, errors.New("this is no file of torch.save: its magic number is not there")
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(version)); !ok {
		return nil, errors.New("the format's version is not 1001")
	}
	m := &machine{data: data, pos: len(data) - len(rest)}
	if err := m.system(); err != nil {
		return nil, err
	}
	object, err := m.run()
	if err != nil {
		return nil, err
	}
	entries, err := entries(object)
	if err != nil {
		return nil, err
	}
	if err := m.load(); err != nil {
		return nil, err
	}
	return m.tensors(entries)
}

// system reads the facts of the system that wrote the file.
func (m *machine) system() error {
	object, err := m.run()
	if err != nil {
		return err
	}
	d, ok := object.(*dict)
	if !ok {
		return fmt.Errorf("%s where the facts of the system should be", kind(object))
	}
	for i, key := range d.keys {
		if key == "little_endian" && d.values[i] != true {
			return errors.New("its numbers are not little-endian")
		}
	}
	return nil
}

// entry is a name of a state dict and what it stands for.
type entry struct {
	name string
	*view
}

func entries(object any) ([]entry, error) {
	d, ok := object.(*dict)
	if !ok {
		return nil, fmt.Errorf("the file holds %s, not a state dict", kind(object))
	}
	seen := make(map[string]bool, len(d.keys))
	list := make([]entry, len(d.keys))
	for i, name := range d.keys {
		if seen[name] {
			return nil, fmt.Errorf("the entry %q is there twice", name)
		}
		seen[name] = true
		v, ok := d.values[i].(*view)
		if !ok {
			return nil, fmt.Errorf("the entry %q is %s, not a tensor", name, kind(d.values[i]))
		}
		list[i] = entry{name, v}
	}
	return list, nil
}

// load reads the storages, which fill the file to its end.
func (m *machine) load() error {
	object, err := m.run()
	if err != nil {
		return err
	}
	keys, ok := object.(*list)
	if !ok {
		return fmt.Errorf("%s where the list of storages should be", kind(object))
	}
	for _, k := range keys.values {
		key, ok := k.(string)
		if !ok {
			return fmt.Errorf("%s where a storage's key should be", kind(k))
		}
		s := m.storages[key]
		switch {
		case s == nil:
			return fmt.Errorf("no tensor uses the storage %q", key)
		case s.raw != nil:
			return fmt.Errorf("the storage %q is there twice", key)
		}
		head, err := m.take(8)
		if err != nil {
			return fmt.Errorf("the storage %q: %w", key, err)
		}
		if n := binary.LittleEndian.Uint64(head); n != uint64(s.count) {
			return fmt.Errorf("the storage %q has %d elements, its tensors say %d", key, n, s.count)
		}
		if s.raw, err = m.take(s.count * widths[s.class]); err != nil {
			return fmt.Errorf("the storage %q of %d elements: %w", key, s.count, err)
		}
	}
	for key, s := range m.storages {
		if s.raw == nil {
			return fmt.Errorf("the storage %q is missing", key)
		}
	}
	if left := len(m.data) - m.pos; left > 0 {
		return fmt.Errorf("%d bytes are left over behind the storages", left)
	}
	return nil
}

// tensors reads the entries' elements. Tensors may share a storage, but all together hold no more than the file.
func (m *machine) tensors(entries []entry) ([]Tensor, error) {
	left := len(m.data)
	all := make([]Tensor, len(entries))
	for i, e := range entries {
		n, err := e.count()
		if err != nil {
			return nil, fmt.Errorf("the tensor %q: %w", e.name, err)
		}
		all[i] = Tensor{Name: e.name, Storage: e.storage.class, Shape: e.shape}
		if e.storage.class != floatStorage {
			continue
		}
		if n > left/4 {
			return nil, fmt.Errorf("the tensor %q: the tensors hold more than the file's %d bytes", e.name, len(m.data))
		}
		left -= 4 * n
		all[i].Data = e.floats(n)
	}
	return all, nil
}

// count is the number of a tensor's elements; all of them lie within its storage. Extents, strides and offset are below 2^31.
func (v *view) count() (int, error) {
	n, last := int64(1), int64(v.offset)
	for a, d := range v.shape {
		if d == 0 {
			return 0, nil
		}
		n *= int64(d)
		last += int64(d-1) * int64(v.stride[a])
		if n > math.MaxInt32 || last >= int64(v.storage.count) {
			return 0, fmt.Errorf("the shape %v with strides %v from element %d exceeds a storage of %d elements",
				v.shape, v.stride, v.offset, v.storage.count)
		}
	}
	if last >= int64(v.storage.count) {
		return 0, fmt.Errorf("element %d exceeds a storage of %d elements", last, v.storage.count)
	}
	return int(n), nil
}

// floats gathers n elements row by row.
func (v *view) floats(n int) []float32 {
	data := make([]float32, n)
	at := make([]int, len(v.shape))
	from := v.offset
	for i := range data {
		data[i] = math.Float32frombits(binary.LittleEndian.Uint32(v.storage.raw[4*from:]))
		for a := len(at) - 1; a >= 0; a-- {
			at[a]++
			from += v.stride[a]
			if at[a] < v.shape[a] {
				break
			}
			from -= at[a] * v.stride[a]
			at[a] = 0
		}
	}
	return data
}
