// Package onnx reads networks from ONNX files into graphs and writes graphs as ONNX. Nothing in a file is executed; what
// this package does not know it refuses by name.
package onnx

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"google.golang.org/protobuf/encoding/protowire"
)

// What Write writes: opset 18 is the first whose Resize can leave the batch axis alone.
const (
	irVersion = 8
	opset     = 18
)

// maxFile is the largest protocol buffer there is.
const maxFile = math.MaxInt32

// Write returns g as an ONNX model that makes do with standard operators: the backward operators, too, are spelled out
// exactly. The batch axis is symbolic ("N"), inputs, outputs and values keep their names, constants become initializers.
// An output that is also an input becomes a copy under another name: outputs are best told by their order. Names that
// Write adds begin with the node's.
func Write(g *graph.Graph) ([]byte, error) { return write(g, false) }

// WriteOpen is Write for images of any size: the extents of inputs and outputs but their channels are open. Graphs that differ
// in nothing else give the same bytes.
func WriteOpen(g *graph.Graph) ([]byte, error) { return write(g, true) }

func write(g *graph.Graph, open bool) ([]byte, error) {
	shapes, err := g.Infer()
	if err != nil {
		return nil, err
	}
	w := &writer{g: g, shapes: shapes, open: open, taken: map[string]bool{}, added: map[string]string{}}
	for name := range shapes {
		w.taken[name] = true
	}
	for _, n := range g.Nodes {
		w.taken[n.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(g.Consts)) {
		t := g.Consts[name]
		w.constants = append(w.constants, initializer{name: name, dims: t.Shape(), floats: nd.Data(t)})
	}
	for _, n := range g.Nodes {
		if err := w.lower(n); err != nil {
			return nil, fmt.Errorf("onnx: node %q (%s): %w", n.Name, n.Op, err)
		}
	}
	return w.model()
}

// writer is an ONNX model in the making.
type writer struct {
	g         *graph.Graph
	shapes    map[string]graph.Shape
	open      bool            // of WriteOpen
	taken     map[string]bool // names of values, constants and nodes
	nodes     []written
	constants []initializer
	added     map[string]string // constants of integers and single numbers, by their values
	at        *graph.Node       // being lowered
}

// written is a node of the model.
type written struct {
	name, op, out string
	in            []string
	attr          graph.Attrs
}

// lower adds the nodes that compute n, of which the last defines its output.
func (w *writer) lower(n *graph.Node) error {
	f, ok := lowerings[n.Op]
	if !ok {
		return fmt.Errorf("the operator cannot be written")
	}
	w.at = n
	before := len(w.nodes)
	if err := f(w, n); err != nil {
		return err
	}
	if len(w.nodes) == before { // nothing to do
		w.op("Identity", nil, n.In[0])
	}
	last := &w.nodes[len(w.nodes)-1]
	delete(w.taken, last.name)
	last.name, last.out = n.Name, n.Out
	return nil
}

// op adds a node under a name of its own and returns its output.
func (w *writer) op(op string, attr graph.Attrs, in ...string) string {
	name := w.fresh(op)
	w.nodes = append(w.nodes, written{name, op, name, in, attr})
	return name
}

// fresh takes a name that nothing has.
func (w *writer) fresh(stem string) string {
	for i := len(w.nodes); ; i++ {
		name := fmt.Sprintf("%s/%s%d", w.at.Name, stem, i)
		if !w.taken[name] {
			w.taken[name] = true
			return name
		}
	}
}

// floats adds a constant.
func (w *writer) floats(v []float32, dims ...int) string {
	name := w.fresh("const")
	w.constants = append(w.constants, initializer{name: name, dims: dims, floats: v})
	return name
}

// scalar returns a constant without axes, the same one for the same number.
func (w *writer) scalar(v float32) string {
	return w.once(fmt.Sprint("float ", math.Float32bits(v)), initializer{floats: []float32{v}})
}

// ints returns a constant of integers, the same one for the same list.
func (w *writer) ints(v ...int) string {
	return w.once(fmt.Sprint("ints ", v), initializer{dims: []int{len(v)}, ints: v})
}

func (w *writer) once(key string, t initializer) string {
	name, ok := w.added[key]
	if !ok {
		name = w.fresh("const")
		w.added[key], t.name = name, name
		w.constants = append(w.constants, t)
	}
	return name
}

// model encodes the whole.
func (w *writer) model() ([]byte, error) {
	name := w.g.Name
	if name == "" {
		name = "graph" // ONNX wants one
	}
	head := message(nil).text(graphName, name)
	inputs := map[string]bool{}
	for _, in := range w.g.Inputs {
		head = head.port(graphInputs, in.Name, in.Shape, w.open)
		inputs[in.Name] = true
	}
	for _, out := range w.g.Outputs {
		shape := w.shapes[out]
		if inputs[out] {
			w.at = &graph.Node{Name: out}
			out = w.op("Identity", nil, out)
		}
		head = head.port(graphOutputs, out, shape, w.open)
	}
	for _, n := range w.nodes {
		var m message
		for _, in := range n.in {
			m = m.text(nodeIn, in)
		}
		m = m.text(nodeOut, n.out).text(nodeName, n.name).text(nodeOp, n.op)
		head = head.sub(graphNodes, m.attributes(n.attr))
	}
	size := len(head)
	for _, t := range w.constants {
		size += protowire.SizeTag(graphInitializers) + protowire.SizeBytes(len(t.head())+t.bytes())
	}
	if size > maxFile-1024 {
		return nil, fmt.Errorf("onnx: the model takes %d bytes, more than a protocol buffer can hold", size)
	}
	m := make(message, 0, size+256).varint(modelIRVersion, irVersion).text(modelProducerName, "f2pad")
	m = m.sub(modelOpsets, message(nil).text(opsetDomain, "").varint(opsetVersion, opset))
	m = protowire.AppendVarint(protowire.AppendTag(m, modelGraph, protowire.BytesType), uint64(size))
	m = append(m, head...)
	for _, t := range w.constants {
		h := t.head()
		m = protowire.AppendVarint(protowire.AppendTag(m, graphInitializers, protowire.BytesType), uint64(len(h)+t.bytes()))
		m = t.append(append(m, h...))
	}
	return m, nil
}
