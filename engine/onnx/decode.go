package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Opsets that are read: what the supported operators mean is the same in them, up to differences that are dealt with.
const (
	minOpset = 9
	maxOpset = 23
)

// maxItems bounds the nodes, the initializers and the attributes of a node.
const maxItems = 1 << 18

// Model is a network as a file has it. It holds the file's bytes and is not changed by its methods.
type Model struct {
	producer string
	opset    int
	inputs   []port // those that no initializer gives
	outputs  []port
	nodes    []*node // in an order in which every input precedes its use
	tensors  map[string]*protoTensor
	makers   map[string]*node
	bytes    int64 // of the file and its external data
	sha256   string
}

// port is a declared input or output; an extent is -1 where the file leaves it open.
type port struct {
	name  string
	elem  elemType
	shape []int
}

// node is an operator's application. path is the module it belongs to, as in "layer1.0.conv1", "" where that is unknown.
type node struct {
	name, op, domain, path string
	in, out                []string
	attr                   map[string]*attribute
}

func (n *node) String() string { return fmt.Sprintf("node %q (%s)", n.name, n.op) }

// attribute has the field set that its type says.
type attribute struct {
	kind   int
	f      float32
	i      int64
	s      string
	t      *protoTensor
	floats []float32
	ints   []int64
}

// protoTensor is a tensor that is not decoded yet.
type protoTensor struct {
	name     string
	dims     []int
	elem     elemType
	raw      []byte // raw_data, or what external data holds
	isRaw    bool
	external map[string]string
	message  []byte // for the typed fields
}

// field is one field of a protocol buffer: bytes or a number.
type field struct {
	number protowire.Number
	kind   protowire.Type
	bytes  []byte
	bits   uint64
}

func (f field) text() string { return strings.Clone(string(f.bytes)) }

// each calls visit with every field of a message.
func each(message []byte, visit func(f field) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		f := field{number: number, kind: kind}
		var v32 uint32
		switch kind {
		case protowire.VarintType:
			f.bits, n = protowire.ConsumeVarint(message)
		case protowire.Fixed32Type:
			v32, n = protowire.ConsumeFixed32(message)
			f.bits = uint64(v32)
		case protowire.Fixed64Type:
			f.bits, n = protowire.ConsumeFixed64(message)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(message)
		default:
			return fmt.Errorf("field %d is of the unknown type %d", number, kind)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// want checks that fields with these numbers are of type kind.
func (f field) want(kind protowire.Type, numbers ...protowire.Number) error {
	if f.kind != kind && slices.Contains(numbers, f.number) {
		return fmt.Errorf("field %d is of type %d, want %d", f.number, f.kind, kind)
	}
	return nil
}

// numbers appends a repeated number field, packed or not.
func (f field) numbers(to []uint64, kind protowire.Type) ([]uint64, error) {
	if f.kind == kind {
		return append(to, f.bits), nil
	}
	if f.kind != protowire.BytesType {
		return nil, fmt.Errorf("field %d is of type %d, want %d", f.number, f.kind, kind)
	}
	for b := f.bytes; len(b) > 0; {
		var v uint64
		var v32 uint32
		n := 0
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			v32, n = protowire.ConsumeFixed32(b)
			v = uint64(v32)
		default:
			v, n = protowire.ConsumeFixed64(b)
		}
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		to, b = append(to, v), b[n:]
	}
	return to, nil
}

// parse reads a ModelProto. The model keeps data.
func parse(data []byte) (_ *Model, err error) {
	defer catch(&err)
	m := &Model{tensors: map[string]*protoTensor{}, makers: map[string]*node{}}
	var graphs [][]byte
	var ir uint64
	opsets := map[string]int{}
	err = each(data, func(f field) error {
		if err := f.want(protowire.BytesType, modelProducerName, modelProducerVersion, modelGraph, modelOpsets); err != nil {
			return err
		}
		switch f.number {
		case modelIRVersion:
			ir = f.bits
		case modelProducerName:
			m.producer = strings.TrimSpace(f.text() + " " + m.producer)
		case modelProducerVersion:
			m.producer = strings.TrimSpace(m.producer + " " + f.text())
		case modelGraph:
			graphs = append(graphs, f.bytes)
		case modelOpsets:
			domain, version, err := parseOpset(f.bytes)
			opsets[domain] = version
			return err
		}
		return nil
	})
	if err != nil || ir == 0 || len(graphs) != 1 {
		if err == nil {
			err = errors.New("no IR version or not one graph")
		}
		return nil, fmt.Errorf("onnx: not an ONNX model: %w", err)
	}
	m.opset = opsets[""]
	if o, ok := opsets["ai.onnx"]; ok {
		m.opset = o
	}
	if m.opset < minOpset || m.opset > maxOpset {
		return nil, fmt.Errorf("onnx: the model is of opset %d; %d to %d are supported", m.opset, minOpset, maxOpset)
	}
	if err := m.parseGraph(graphs[0]); err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	return m, m.index()
}

func parseOpset(b []byte) (domain string, version int, err error) {
	err = each(b, func(f field) error {
		switch f.number {
		case opsetDomain:
			domain = f.text()
		case opsetVersion:
			version = int(min(f.bits, math.MaxInt32))
		}
		return nil
	})
	return domain, version, err
}

func (m *Model) parseGraph(b []byte) error {
	return each(b, func(f field) error {
		if err := f.want(protowire.BytesType, graphNodes, graphInitializers, graphInputs, graphOutputs); err != nil {
			return err
		}
		switch f.number {
		case graphNodes:
			n, err := parseNode(f.bytes)
			if err != nil {
				return fmt.Errorf("node %d: %w", len(m.nodes), err)
			}
			if n.name == "" {
				n.name = fmt.Sprintf("#%d", len(m.nodes))
			}
			if m.nodes = append(m.nodes, n); len(m.nodes) > maxItems {
				return fmt.Errorf("more than %d nodes", maxItems)
			}
		case graphInitializers:
			t, err := parseTensor(f.bytes)
			if err != nil {
				return fmt.Errorf("initializer %q: %w", t.name, err)
			}
			if m.tensors[t.name] != nil || t.name == "" {
				return fmt.Errorf("the initializer %q is nameless or defined twice", t.name)
			}
			if m.tensors[t.name] = t; len(m.tensors) > maxItems {
				return fmt.Errorf("more than %d initializers", maxItems)
			}
		case graphInputs, graphOutputs:
			p, err := parsePort(f.bytes)
			if err != nil {
				return fmt.Errorf("input or output %q: %w", p.name, err)
			}
			list := &m.inputs
			if f.number == graphOutputs {
				list = &m.outputs
			}
			if *list = append(*list, p); len(*list) > maxItems {
				return fmt.Errorf("more than %d inputs or outputs", maxItems)
			}
		case graphSparse:
			return errors.New("sparse initializers are not supported")
		}
		return nil
	})
}

func parseNode(b []byte) (*node, error) {
	n := &node{attr: map[string]*attribute{}}
	scopes := ""
	err := each(b, func(f field) error {
		if f.number <= nodeMetadata && f.kind != protowire.BytesType {
			return fmt.Errorf("field %d is of type %d", f.number, f.kind)
		}
		switch f.number {
		case nodeIn:
			n.in = append(n.in, f.text())
		case nodeOut:
			n.out = append(n.out, f.text())
		case nodeName:
			n.name = f.text()
		case nodeOp:
			n.op = f.text()
		case nodeDomain:
			n.domain = f.text()
		case nodeAttr:
			name, a, err := parseAttribute(f.bytes)
			if err != nil {
				return fmt.Errorf("attribute %q: %w", name, err)
			}
			if n.attr[name] != nil {
				return fmt.Errorf("attribute %q is set twice", name)
			}
			if n.attr[name] = a; len(n.attr) > maxItems {
				return fmt.Errorf("more than %d attributes", maxItems)
			}
		case nodeMetadata:
			var key, value string
			err := each(f.bytes, func(f field) error {
				switch f.number {
				case entryKey:
					key = f.text()
				case entryValue:
					value = f.text()
				}
				return nil
			})
			if key == "pkg.torch.onnx.name_scopes" {
				scopes = value
			}
			return err
		}
		return nil
	})
	if len(n.in) > maxItems || len(n.out) > maxItems {
		return n, fmt.Errorf("more than %d inputs or outputs", maxItems)
	}
	n.path = modulePath(n.name, scopes)
	return n, err
}

func parseAttribute(b []byte) (name string, a *attribute, err error) {
	a = &attribute{}
	var ints, floats []uint64
	err = each(b, func(f field) (err error) {
		switch f.number {
		case attrName:
			name = f.text()
		case attrFloat:
			a.f = math.Float32frombits(uint32(f.bits))
		case attrInt:
			a.i = int64(f.bits)
		case attrString:
			a.s = f.text()
		case attrTensor:
			if err = f.want(protowire.BytesType, attrTensor); err == nil {
				a.t, err = parseTensor(f.bytes)
			}
		case attrFloats:
			floats, err = f.numbers(floats, protowire.Fixed32Type)
		case attrInts:
			ints, err = f.numbers(ints, protowire.VarintType)
		case attrType:
			a.kind = int(min(f.bits, math.MaxInt32))
		}
		return err
	})
	for _, v := range ints {
		a.ints = append(a.ints, int64(v))
	}
	for _, v := range floats {
		a.floats = append(a.floats, math.Float32frombits(uint32(v)))
	}
	return name, a, err
}

func parseTensor(b []byte) (*protoTensor, error) {
	t := &protoTensor{message: b}
	var dims []uint64
	err := each(b, func(f field) (err error) {
		if err := f.want(protowire.BytesType, tensorName, tensorRaw, tensorExternal); err != nil {
			return err
		}
		switch f.number {
		case tensorDims:
			dims, err = f.numbers(dims, protowire.VarintType)
		case tensorType:
			t.elem = elemType(min(f.bits, math.MaxInt32))
		case tensorName:
			t.name = f.text()
		case tensorRaw:
			t.raw, t.isRaw = f.bytes, true
		case tensorSegment:
			return errors.New("segmented tensors are not supported")
		case tensorDataLocation:
			if f.bits != 0 && t.external == nil {
				t.external = map[string]string{}
			}
		case tensorExternal:
			var key, value string
			err = each(f.bytes, func(f field) error {
				switch f.number {
				case entryKey:
					key = f.text()
				case entryValue:
					value = f.text()
				}
				return nil
			})
			if t.external == nil {
				t.external = map[string]string{}
			}
			t.external[key] = value
		}
		return err
	})
	if err != nil {
		return t, err
	}
	if len(dims) > maxRank {
		return t, fmt.Errorf("%d axes, at most %d are supported", len(dims), maxRank)
	}
	for _, d := range dims {
		if d > maxElements {
			return t, fmt.Errorf("an extent of %d", d)
		}
		t.dims = append(t.dims, int(d))
	}
	_, err = size(t.dims)
	return t, err
}

func parsePort(b []byte) (p port, err error) {
	err = each(b, func(f field) error {
		switch f.number {
		case valueName:
			p.name = f.text()
		case valueType:
			return each(f.bytes, func(f field) error {
				if f.number != typeTensor {
					return nil
				}
				return each(f.bytes, func(f field) error {
					switch f.number {
					case typeElem:
						p.elem = elemType(min(f.bits, math.MaxInt32))
					case typeShape:
						return each(f.bytes, func(f field) error {
							if f.number != shapeDim {
								return nil
							}
							extent := -1
							err := each(f.bytes, func(f field) error {
								if f.number == dimensionValue && f.bits <= maxElements {
									extent = int(f.bits)
								}
								return nil
							})
							if p.shape = append(p.shape, extent); len(p.shape) > maxRank {
								return fmt.Errorf("more than %d axes", maxRank)
							}
							return err
						})
					}
					return nil
				})
			})
		}
		return nil
	})
	return p, err
}

// index finds out who makes what and sorts the nodes. A cycle is an error that names a node on it.
func (m *Model) index() error {
	known := map[string]bool{"": true}
	for name := range m.tensors {
		known[name] = true
	}
	m.inputs = slices.DeleteFunc(m.inputs, func(p port) bool { return m.tensors[p.name] != nil })
	for _, in := range m.inputs {
		if known[in.name] {
			return fmt.Errorf("onnx: the input %q is nameless or defined twice", in.name)
		}
		known[in.name] = true
	}
	for _, n := range m.nodes {
		if len(n.out) == 0 || n.op == "" {
			return fmt.Errorf("onnx: %v has no output or no operator", n)
		}
		for _, out := range n.out {
			if out == "" {
				continue
			}
			if known[out] || m.makers[out] != nil {
				return fmt.Errorf("onnx: %v: the name %q is defined twice", n, out)
			}
			m.makers[out] = n
		}
	}
	sorted := make([]*node, 0, len(m.nodes))
	done, open := map[*node]bool{}, map[*node]bool{}
	next := map[*node]int{} // inputs that were looked at
	for _, root := range m.nodes {
		for stack := []*node{root}; len(stack) > 0; {
			n := stack[len(stack)-1]
			if done[n] {
				stack = stack[:len(stack)-1]
				continue
			}
			open[n] = true
			for next[n] < len(n.in) && (known[n.in[next[n]]] || done[m.makers[n.in[next[n]]]]) {
				next[n]++
			}
			if next[n] == len(n.in) {
				done[n] = true
				sorted = append(sorted, n)
				continue
			}
			maker := m.makers[n.in[next[n]]]
			switch {
			case maker == nil:
				return fmt.Errorf("onnx: %v: input %q is not defined", n, n.in[next[n]])
			case open[maker]:
				return fmt.Errorf("onnx: %v is part of a cycle", maker)
			}
			stack = append(stack, maker)
		}
	}
	m.nodes = sorted
	return nil
}
