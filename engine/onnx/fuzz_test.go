package onnx

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"runtime/metrics"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// FuzzRead: whatever a file holds, reading, summarising and building end with a valid graph or an error.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"resnet18_ts", "resnet18_dynamo", "squeezenet1_1"} {
		f.Add(stored(f, name))
	}
	for _, m := range operatorModels(f) {
		f.Add(m)
	}
	f.Fuzz(survive)
}

func operatorModels(t testing.TB) [][]byte {
	file, err := os.ReadFile("testdata/operators.json")
	require.NoError(t, err)
	var cases []struct{ Model []byte }
	require.NoError(t, json.Unmarshal(file, &cases))
	var models [][]byte
	for _, c := range cases {
		models = append(models, c.Model)
	}
	return models
}

// fuzzMemory bounds what one call may allocate in all: what constants may take, several times over for what is dropped again.
const fuzzMemory = 8 * minBudget

func survive(t *testing.T, data []byte) {
	bounded := func(what string, call func() error) error {
		before := allocated()
		err := call()
		require.NotErrorIs(t, err, errFault, what)
		require.Less(t, allocated()-before, uint64(fuzzMemory), what)
		return err
	}
	var m *Model
	if bounded("parse", func() (err error) { m, err = parse(data); return err }) != nil {
		return
	}
	// External data are zeros, so that files without weights are of use.
	if m.load(data, func(string, int64) ([]byte, error) { return make([]byte, 1<<16), nil }) != nil {
		return
	}
	if len(m.nodes) > 500 {
		return
	}
	const h, w = 24, 16
	var s *Summary
	if bounded("inspect", func() (err error) { s, err = m.Inspect(h, w); return err }) == nil {
		for _, l := range s.Layers {
			require.NoError(t, bounded(l.Tensor, func() error {
				g, err := m.Graph(h, w, []string{l.Tensor})
				require.NoError(t, err, l.Tensor)
				return g.Validate()
			}))
		}
	}
	for _, out := range m.outputs {
		_ = bounded(out.name, func() error {
			g, err := m.Graph(h, w, []string{out.name})
			if err == nil {
				require.NoError(t, g.Validate())
			}
			return err
		})
	}
}

// allocated is how many bytes the program has taken so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// FuzzMessage changes the operators' models message by message: what is read past the protocol buffers' own rules.
func FuzzMessage(f *testing.F) {
	models := operatorModels(f)
	for i := range models {
		f.Add(uint16(i), uint16(i+1), []byte{})
	}
	file, err := os.ReadFile("testdata/messages.json")
	require.NoError(f, err)
	var seeds []struct {
		Model, Other uint16
		Edits        []byte
	}
	require.NoError(f, json.Unmarshal(file, &seeds))
	for _, s := range seeds {
		f.Add(s.Model, s.Other, s.Edits)
	}
	f.Fuzz(func(t *testing.T, model, other uint16, edits []byte) {
		tree := decompose(models[int(model)%len(models)], "model")
		more := decompose(models[int(other)%len(models)], "model").all()
		for tape := (&tape{edits}); len(tape.bytes) > 0; {
			tree.edit(tape, more)
		}
		survive(t, tree.encode())
	})
}

// tape is what edits are read from; behind its end are zeros.
type tape struct{ bytes []byte }

func (t *tape) next(below int) int {
	v := 0
	for n := below; n > 1; n = (n + 255) / 256 {
		v *= 256
		if len(t.bytes) > 0 {
			v += int(t.bytes[0])
			t.bytes = t.bytes[1:]
		}
	}
	return v % max(below, 1)
}

func pick[T any](t *tape, from []T) T { return from[t.next(len(from))] }

// part is a field of a message; of is the message that it belongs to, is the message that it holds, "" where it holds none.
type part struct {
	field
	of, is string
	parts  []*part
}

// within has the messages that messages hold, and the lists of numbers, which are taken apart.
var within = map[string]map[protowire.Number]string{
	"model":     {modelGraph: "graph", modelOpsets: "opset"},
	"graph":     {graphNodes: "node", graphInitializers: "tensor", graphInputs: "port", graphOutputs: "port"},
	"node":      {nodeAttr: "attribute"},
	"attribute": {attrTensor: "tensor", attrInts: "varints", attrFloats: "reals"},
	"tensor":    {tensorDims: "varints", tensorInt32s: "varints", tensorInt64s: "varints", tensorFloats: "reals", tensorExternal: "entry"},
	"port":      {valueType: "type"},
	"type":      {typeTensor: "tensor type"},

	"tensor type": {typeShape: "shape"},
	"shape":       {shapeDim: "dimension"},
}

func decompose(message []byte, is string) *part {
	p := &part{is: is}
	err := each(message, func(f field) error {
		holds := within[is][f.number]
		kind, isList := map[string]protowire.Type{"varints": protowire.VarintType, "reals": protowire.Fixed32Type}[holds]
		switch {
		case isList:
			list, err := f.numbers(nil, kind)
			for _, v := range list {
				p.parts = append(p.parts, &part{field: field{number: f.number, kind: kind, bits: v}, of: is})
			}
			return err
		case holds != "":
			sub := decompose(f.bytes, holds)
			sub.number, sub.kind, sub.of = f.number, f.kind, is
			p.parts = append(p.parts, sub)
		default:
			p.parts = append(p.parts, &part{field: f, of: is})
		}
		return nil
	})
	if err != nil {
		panic(err) // the models are whole
	}
	return p
}

func (p *part) encode() message {
	var m message
	for _, q := range p.parts {
		m = protowire.AppendTag(m, q.number, q.kind)
		switch {
		case q.is != "":
			m = protowire.AppendBytes(m, q.encode())
		case q.kind == protowire.BytesType:
			m = protowire.AppendBytes(m, q.bytes)
		case q.kind == protowire.VarintType:
			m = protowire.AppendVarint(m, q.bits)
		case q.kind == protowire.Fixed32Type:
			m = protowire.AppendFixed32(m, uint32(q.bits))
		default:
			m = protowire.AppendFixed64(m, q.bits)
		}
	}
	return m
}

// all are the parts below p.
func (p *part) all() []*part {
	var list []*part
	for _, q := range p.parts {
		list = append(append(list, q), q.all()...)
	}
	return list
}

func (p *part) clone() *part {
	c := *p
	c.parts = make([]*part, len(p.parts))
	for i, q := range p.parts {
		c.parts[i] = q.clone()
	}
	return &c
}

// Numbers and texts for what is written over.
var (
	fuzzInts = []int{0, 1, 2, 3, -1, 4, 5, -2, 8, -3, 6, 7, 16, 24, 48, 144, 1 << 10, 1 << 16, 1 << 20, 3 << 20, 15 << 20, 1 << 26, 1 << 31, math.MaxInt, math.MinInt}
	fuzzReal = []float32{0, 1, 2, 0.5, -1, 1.5, 1e-6, 1e30, float32(math.Inf(1)), float32(math.NaN())}
	fuzzText = []string{"", "x", "y", "reflect", "edge", "linear", "nearest", "asymmetric", "align_corners", "floor", "SAME_UPPER", "SAME_LOWER",
		"VALID", "CRD", "tanh"}
	fuzzOps   = slices.Concat(slices.Sorted(maps.Keys(operators)), []string{"Upsample", "Einsum"})
	fuzzAttrs = func() []string {
		names := map[string]bool{}
		for _, op := range operators {
			for name := range op.attrs {
				names[name] = true
			}
		}
		return slices.Sorted(maps.Keys(names))
	}()
)

// edit makes one change to what is below p; more has parts of another model that may come in.
func (p *part) edit(t *tape, more []*part) {
	type place struct {
		parent *part
		at     int
	}
	var places []place
	for _, parent := range append([]*part{p}, p.all()...) {
		for i := range parent.parts {
			places = append(places, place{parent, i})
		}
	}
	if len(places) == 0 {
		t.bytes = nil
		return
	}
	how := t.next(9)
	where := places[t.next(min(len(places), 1<<16))]
	q := where.parent.parts[where.at]
	alike := func(from []*part) []*part {
		var list []*part
		for _, r := range from {
			if r.of == q.of && r.number == q.number {
				list = append(list, r)
			}
		}
		return list
	}
	list := &where.parent.parts
	switch how {
	case 0, 1: // another value
		c := q.clone()
		c.rewrite(t, p)
		(*list)[where.at] = c
	case 2:
		*list = slices.Delete(*list, where.at, where.at+1)
	case 3: // once more
		*list = slices.Insert(*list, where.at, q.clone())
	case 4:
		other := t.next(min(len(*list), 1<<8))
		(*list)[where.at], (*list)[other] = (*list)[other], q
	case 5:
		(*list)[where.at] = pick(t, alike(p.all())).clone()
	case 6:
		if others := alike(more); len(others) > 0 {
			(*list)[where.at] = pick(t, others).clone()
		}
	case 7: // all of a list
		*list = slices.DeleteFunc(*list, func(r *part) bool { return r.number == q.number })
	case 8:
		if others := alike(more); len(others) > 0 && len(*list) < 1<<8 {
			*list = slices.Insert(*list, where.at, pick(t, others).clone())
		}
	}
}

// rewrite puts something else in the place of a number or a text, and nothing in that of a message.
func (p *part) rewrite(t *tape, tree *part) {
	switch {
	case p.is != "":
		p.parts = nil
	case p.kind == protowire.VarintType:
		if step := t.next(4); step < 2 {
			p.bits += uint64(2*step) - 1
		} else {
			p.bits = uint64(pick(t, fuzzInts))
		}
	case p.kind == protowire.Fixed32Type:
		p.bits = uint64(math.Float32bits(pick(t, fuzzReal)))
	case p.kind != protowire.BytesType:
	case p.of == "node" && p.number == nodeOp:
		p.bytes = []byte(pick(t, fuzzOps))
	case p.of == "attribute" && p.number == attrName:
		p.bytes = []byte(pick(t, fuzzAttrs))
	case p.of == "node" || p.of == "port":
		var names [][]byte
		for _, q := range tree.all() {
			if q.of == "node" && (q.number == nodeIn || q.number == nodeOut) || q.of == "tensor" && q.number == tensorName {
				names = append(names, q.bytes)
			}
		}
		if len(names) > 0 {
			p.bytes = pick(t, names)
		}
	case p.number == tensorRaw && p.of == "tensor":
		p.bytes = slices.Clone(p.bytes)
		if width := min(8, len(p.bytes)); width > 0 { // one little-endian number
			v := uint64(pick(t, fuzzInts))
			at := t.next(min(len(p.bytes)/width, 1<<8)) * width
			for i := range width {
				p.bytes[at+i] = byte(v >> (8 * i))
			}
		}
	default:
		p.bytes = []byte(pick(t, fuzzText))
	}
}
