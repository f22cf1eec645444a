package statedict

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Bounds of the machine. PyTorch's writer flushes lists and dicts every 1,000 items, and takes 36 instructions and 13
// memorised values for a tensor.
const (
	maxStack = 1 << 14
	maxMemo  = 1 << 20
	maxSteps = 1 << 22
)

// The values of the machine are int, string, bool, nil and these.
type (
	mark  struct{}
	tuple []any
	list  struct{ values []any }
	dict  struct { // or OrderedDict; a key that is set again is there twice
		keys   []string
		values []any
	}
	global  string // "module name"
	storage struct {
		class string
		count int    // elements
		raw   []byte // of the file, once it is reached
	}
	view struct { // a tensor
		storage       *storage
		offset        int
		shape, stride []int // strides in elements
	}
)

// The names that a state dict takes, beside those of storages.
const (
	orderedDict   global = "collections OrderedDict"
	rebuildTensor global = "torch._utils _rebuild_tensor_v2"
)

// kind words what a value is.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case int:
		return "a number"
	case string:
		return "a string"
	case bool:
		return "a truth value"
	case mark:
		return "a mark"
	case tuple:
		return "a tuple"
	case *list:
		return "a list"
	case *dict:
		return "a dict"
	case global:
		return "the name " + string(v)
	case *storage:
		return "a storage"
	case *view:
		return "a tensor"
	}
	return fmt.Sprintf("%T", v)
}

// machine runs pickles, one after the other.
type machine struct {
	data     []byte
	pos      int
	stack    []any
	memo     map[int]any
	steps    int
	storages map[string]*storage
}

// take returns the next n bytes.
func (m *machine) take(n int) ([]byte, error) {
	if n < 0 || n > len(m.data)-m.pos {
		return nil, fmt.Errorf("%d bytes from byte %d on exceed the file's %d", uint32(n), m.pos, len(m.data))
	}
	m.pos += n
	return m.data[m.pos-n : m.pos], nil
}

// number reads a little-endian number of up to 4 bytes.
func (m *machine) number(bytes int) (int, error) {
	b, err := m.take(bytes)
	if err != nil {
		return 0, err
	}
	var full [4]byte
	copy(full[:], b)
	return int(int32(binary.LittleEndian.Uint32(full[:]))), nil // 4 bytes are signed
}

// line reads up to the end of a line.
func (m *machine) line() (string, error) {
	const most = 256
	rest := m.data[m.pos:]
	n := bytes.IndexByte(rest[:min(len(rest), most)], '\n')
	if n < 0 && len(rest) < most {
		return "", fmt.Errorf("a name from byte %d on exceeds the file's %d", m.pos, len(m.data))
	}
	if n < 0 {
		return "", fmt.Errorf("a name does not end within %d bytes", most)
	}
	m.pos += n + 1
	return string(rest[:n]), nil
}

// run runs one pickle and returns its object.
func (m *machine) run() (any, error) {
	m.stack, m.memo = m.stack[:0], map[int]any{}
	if m.storages == nil {
		m.storages = map[string]*storage{}
	}
	for {
		at := m.pos
		op, err := m.take(1)
		if err != nil {
			return nil, err
		}
		if m.steps++; m.steps > maxSteps {
			return nil, fmt.Errorf("more than %d instructions", maxSteps)
		}
		if op[0] == opStop {
			if len(m.stack) != 1 {
				return nil, fmt.Errorf("byte %d: the pickle ends with %d values, want one", at, len(m.stack))
			}
			return m.stack[0], nil
		}
		if err := m.step(op[0]); err != nil {
			return nil, fmt.Errorf("byte %d (%s): %w", at, opName(op[0]), err)
		}
		if len(m.stack) > maxStack {
			return nil, fmt.Errorf("byte %d: more than %d values on the stack", at, maxStack)
		}
	}
}

func (m *machine) push(v any) { m.stack = append(m.stack, v) }

// pop returns the n topmost values, which the next push overwrites. Marks are not taken.
func (m *machine) pop(n int) ([]any, error) {
	at := len(m.stack) - n
	if at < 0 || slices.Contains(m.stack[max(at, 0):], any(mark{})) {
		return nil, fmt.Errorf("there are fewer than %d values", n)
	}
	values := m.stack[at:]
	m.stack = m.stack[:at]
	return values, nil
}

// popMark returns the values above the topmost mark, and takes that, too.
func (m *machine) popMark() ([]any, error) {
	for i := len(m.stack) - 1; i >= 0; i-- {
		if m.stack[i] == (mark{}) {
			values := m.stack[i+1:]
			m.stack = m.stack[:i]
			return values, nil
		}
	}
	return nil, errors.New("there is no mark")
}

// top is the topmost value.
func (m *machine) top() any {
	if len(m.stack) == 0 {
		return mark{} // no instruction takes one
	}
	return m.stack[len(m.stack)-1]
}
