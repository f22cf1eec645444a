package statedict

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// The instructions that a state dict takes, of pickle's protocol 2.
const (
	opProto      = 0x80
	opStop       = '.'
	opMark       = '('
	opNone       = 'N'
	opTrue       = 0x88
	opFalse      = 0x89
	opInt        = 'J'
	opInt1       = 'K'
	opInt2       = 'M'
	opLong       = 0x8a
	opString     = 'X'
	opEmptyTuple = ')'
	opTuple      = 't'
	opTuple1     = 0x85
	opTuple2     = 0x86
	opTuple3     = 0x87
	opEmptyList  = ']'
	opAppend     = 'a'
	opAppends    = 'e'
	opEmptyDict  = '}'
	opSetItem    = 's'
	opSetItems   = 'u'
	opPut1       = 'q'
	opPut4       = 'r'
	opGet1       = 'h'
	opGet4       = 'j'
	opGlobal     = 'c'
	opReduce     = 'R'
	opBuild      = 'b'
	opPersistent = 'Q'
)

// opNames are Python's names for pickle's instructions, also of those that are refused.
var opNames = map[byte]string{
	opProto: "PROTO", opStop: "STOP", opMark: "MARK", opNone: "NONE", opTrue: "NEWTRUE", opFalse: "NEWFALSE", opInt: "BININT",
	opInt1: "BININT1", opInt2: "BININT2", opLong: "LONG1", opString: "BINUNICODE", opEmptyTuple: "EMPTY_TUPLE", opTuple: "TUPLE",
	opTuple1: "TUPLE1", opTuple2: "TUPLE2", opTuple3: "TUPLE3", opEmptyList: "EMPTY_LIST", opAppend: "APPEND", opAppends: "APPENDS",
	opEmptyDict: "EMPTY_DICT", opSetItem: "SETITEM", opSetItems: "SETITEMS", opPut1: "BINPUT", opPut4: "LONG_BINPUT",
	opGet1: "BINGET", opGet4: "LONG_BINGET", opGlobal: "GLOBAL", opReduce: "REDUCE", opBuild: "BUILD", opPersistent: "BINPERSID",

	'0': "POP", '1': "POP_MARK", '2': "DUP", 'F': "FLOAT", 'G': "BINFLOAT", 'I': "INT", 'L': "LONG", 'S': "STRING", 'T': "BINSTRING",
	'U': "SHORT_BINSTRING", 'V': "UNICODE", 'B': "BINBYTES", 'C': "SHORT_BINBYTES", 'P': "PERSID", 'd': "DICT", 'l': "LIST",
	'g': "GET", 'p': "PUT", 'i': "INST", 'o': "OBJ", 0x81: "NEWOBJ", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x8b: "LONG4",
	0x8c: "SHORT_BINUNICODE", 0x8d: "BINUNICODE8", 0x8e: "BINBYTES8", 0x8f: "EMPTY_SET", 0x90: "ADDITEMS", 0x91: "FROZENSET",
	0x92: "NEWOBJ_EX", 0x93: "STACK_GLOBAL", 0x94: "MEMOIZE", 0x95: "FRAME", 0x96: "BYTEARRAY8", 0x97: "NEXT_BUFFER",
	0x98: "READONLY_BUFFER",
}

func opName(op byte) string {
	if name, ok := opNames[op]; ok {
		return name
	}
	return fmt.Sprintf("0x%02x", op)
}

// step runs one instruction.
func (m *machine) step(op byte) error {
	switch op {
	case opProto:
		v, err := m.take(1)
		if err == nil && v[0] != 2 {
			err = fmt.Errorf("pickle's protocol %d, want 2", v[0])
		}
		return err
	case opMark:
		m.push(mark{})
	case opNone:
		m.push(nil)
	case opTrue, opFalse:
		m.push(op == opTrue)
	case opInt:
		return m.pushNumber(4)
	case opInt1:
		return m.pushNumber(1)
	case opInt2:
		return m.pushNumber(2)
	case opLong:
		return m.long()
	case opString:
		return m.text()
	case opEmptyTuple:
		m.push(tuple(nil))
	case opTuple1, opTuple2, opTuple3:
		values, err := m.pop(int(op-opTuple1) + 1)
		if err != nil {
			return err
		}
		m.push(tuple(slices.Clone(values)))
	case opTuple:
		values, err := m.popMark()
		if err != nil {
			return err
		}
		m.push(tuple(slices.Clone(values)))
	case opEmptyList:
		m.push(&list{})
	case opAppend:
		values, err := m.pop(1)
		if err != nil {
			return err
		}
		return m.extend(values)
	case opAppends:
		values, err := m.popMark()
		if err != nil {
			return err
		}
		return m.extend(values)
	case opEmptyDict:
		m.push(&dict{})
	case opSetItem:
		values, err := m.pop(2)
		if err != nil {
			return err
		}
		return m.set(values)
	case opSetItems:
		values, err := m.popMark()
		if err != nil {
			return err
		}
		return m.set(values)
	case opPut1:
		return m.put(1)
	case opPut4:
		return m.put(4)
	case opGet1:
		return m.get(1)
	case opGet4:
		return m.get(4)
	case opGlobal:
		return m.global()
	case opReduce:
		return m.reduce()
	case opBuild:
		// Attributes: a state dict has the versions of its modules there.
		values, err := m.pop(1)
		if err != nil {
			return err
		}
		_, state := values[0].(*dict)
		_, object := m.top().(*dict)
		if !state || !object {
			return fmt.Errorf("%s gets %s: only dicts have attributes here", kind(m.top()), kind(values[0]))
		}
	case opPersistent:
		return m.persistent()
	default:
		return errors.New("no state dict needs this instruction: it is refused")
	}
	return nil
}

func (m *machine) pushNumber(bytes int) error {
	v, err := m.number(bytes)
	if err == nil {
		m.push(v)
	}
	return err
}

// long reads a number of a length of its own, of up to 8 bytes.
func (m *machine) long() error {
	n, err := m.number(1)
	if err != nil {
		return err
	}
	b, err := m.take(n)
	if err != nil {
		return err
	}
	if n > 8 {
		return fmt.Errorf("a number of %d bytes", n)
	}
	var full [8]byte
	if n > 0 && b[n-1] >= 0x80 {
		for i := range full {
			full[i] = 0xff
		}
	}
	copy(full[:], b)
	v := int64(binary.LittleEndian.Uint64(full[:]))
	if int64(int(v)) != v {
		return fmt.Errorf("the number %d is too large", v)
	}
	m.push(int(v))
	return nil
}

func (m *machine) text() error {
	n, err := m.number(4)
	if err != nil {
		return err
	}
	b, err := m.take(n)
	if err != nil {
		return fmt.Errorf("a string: %w", err)
	}
	if !utf8.Valid(b) {
		return errors.New("the string is not UTF-8")
	}
	m.push(string(b))
	return nil
}

func (m *machine) extend(values []any) error {
	l, ok := m.top().(*list)
	if !ok {
		return fmt.Errorf("%s takes no items", kind(m.top()))
	}
	l.values = append(l.values, values...)
	return nil
}

func (m *machine) set(values []any) error {
	d, ok := m.top().(*dict)
	if !ok {
		return fmt.Errorf("%s takes no keys", kind(m.top()))
	}
	if len(values)%2 != 0 {
		return errors.New("a key has no value")
	}
	for i := 0; i < len(values); i += 2 {
		key, ok := values[i].(string)
		if !ok {
			return fmt.Errorf("a key is %s, want a string", kind(values[i]))
		}
		d.keys, d.values = append(d.keys, key), append(d.values, values[i+1])
	}
	return nil
}

func (m *machine) put(bytes int) error {
	at, err := m.number(bytes)
	if err != nil {
		return err
	}
	if at < 0 || at >= maxMemo {
		return fmt.Errorf("place %d of the memory, want less than %d", uint32(at), maxMemo)
	}
	if m.top() == (mark{}) {
		return errors.New("there is nothing to put")
	}
	m.memo[at] = m.top()
	return nil
}

func (m *machine) get(bytes int) error {
	at, err := m.number(bytes)
	if err != nil {
		return err
	}
	v, ok := m.memo[at]
	if !ok {
		return fmt.Errorf("nothing is at place %d of the memory", uint32(at))
	}
	m.push(v)
	return nil
}

// global pushes a name that is known.
func (m *machine) global() error {
	module, err := m.line()
	if err != nil {
		return err
	}
	name, err := m.line()
	if err != nil {
		return err
	}
	g := global(module + " " + name)
	if class, ok := g.storageClass(); g != orderedDict && g != rebuildTensor && (!ok || widths[class] == 0) {
		return fmt.Errorf("no state dict needs %q: it is refused", module+"."+name)
	}
	m.push(g)
	return nil
}

// storageClass is "FloatStorage" for "torch FloatStorage".
func (g global) storageClass() (string, bool) { return strings.CutPrefix(string(g), "torch ") }

// reduce is a call: an empty OrderedDict, or a tensor from its storage, offset, shape, strides, whether it wants a gradient, and
// hooks for that, which are ignored, as is what may follow.
func (m *machine) reduce() error {
	values, err := m.pop(2)
	if err != nil {
		return err
	}
	args, ok := values[1].(tuple)
	if !ok {
		return fmt.Errorf("arguments are %s, want a tuple", kind(values[1]))
	}
	switch {
	case values[0] == orderedDict && len(args) == 0:
		m.push(&dict{})
		return nil
	case values[0] == orderedDict:
		return fmt.Errorf("an OrderedDict of %d arguments, want none", len(args))
	case values[0] != rebuildTensor:
		return fmt.Errorf("%s cannot be called", kind(values[0]))
	case len(args) != 6 && len(args) != 7:
		return fmt.Errorf("a tensor of %d arguments, want 6", len(args))
	}
	v := &view{}
	if v.storage, ok = args[0].(*storage); !ok {
		return fmt.Errorf("a tensor in %s, want a storage", kind(args[0]))
	}
	if v.offset, ok = args[1].(int); !ok || v.offset < 0 || v.offset > math.MaxInt32 {
		return fmt.Errorf("a tensor at offset %v", words(args[1]))
	}
	if v.shape, err = extents(args[2]); err != nil {
		return fmt.Errorf("the shape of a tensor: %w", err)
	}
	if v.stride, err = extents(args[3]); err != nil {
		return fmt.Errorf("the strides of a tensor: %w", err)
	}
	if len(v.shape) != len(v.stride) {
		return fmt.Errorf("a tensor with %d extents and %d strides", len(v.shape), len(v.stride))
	}
	m.push(v)
	return nil
}

// words shows a number, or says what is there in its place.
func words(v any) any {
	if n, ok := v.(int); ok {
		return n
	}
	return kind(v)
}

// extents are a tuple of small numbers.
func extents(v any) ([]int, error) {
	t, ok := v.(tuple)
	if !ok {
		return nil, fmt.Errorf("it is %s, want a tuple", kind(v))
	}
	if len(t) > maxRank {
		return nil, fmt.Errorf("%d axes, want at most %d", len(t), maxRank)
	}
	list := make([]int, len(t))
	for i, v := range t {
		n, ok := v.(int)
		if !ok || n < 0 || n > math.MaxInt32 {
			return nil, fmt.Errorf("%v on axis %d, want a number from 0 to 2^31-1", words(v), i)
		}
		list[i] = n
	}
	return list, nil
}

// persistent pushes a storage: ("storage", class, key, device, elements, None).
func (m *machine) persistent() error {
	values, err := m.pop(1)
	if err != nil {
		return err
	}
	t, ok := values[0].(tuple)
	if !ok || len(t) != 6 || t[0] != "storage" {
		return fmt.Errorf("%s, want a tuple of six that begins with \"storage\"", kind(values[0]))
	}
	name, _ := t[1].(global)
	class, ok := name.storageClass()
	if !ok {
		return fmt.Errorf("a storage of %s, want a class of storages", kind(t[1]))
	}
	key, ok := t[2].(string)
	if !ok {
		return fmt.Errorf("a storage's key is %s, want a string", kind(t[2]))
	}
	count, ok := t[4].(int)
	if !ok || count < 0 || count > len(m.data)/widths[class] {
		return fmt.Errorf("the storage %q has %v elements: the file has %d bytes", key, words(t[4]), len(m.data))
	}
	if t[5] != nil {
		return fmt.Errorf("the storage %q is a view of another", key)
	}
	s := m.storages[key]
	if s == nil {
		s = &storage{class: class, count: count}
		m.storages[key] = s
	}
	if s.class != class || s.count != count {
		return fmt.Errorf("the storage %q is %s of %d elements and %s of %d", key, s.class, s.count, class, count)
	}
	m.push(s)
	return nil
}
