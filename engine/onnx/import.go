package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// maxSide bounds the sides of the images that a graph is built for.
const maxSide = 1 << 15

// Graph builds the part of the network that computes the given layers from images [N,3,h,w]; the first axis is free,
// whatever batch size the file was exported with. A layer is the name of a tensor, a node or a module (as "layer2",
// "features.16" or "blocks.11": what leaves the module last). The graph has one output per layer, in their order.
//
// A network that takes images of one channel, [N,1,H,W], is given their luminance, 0.299 R + 0.587 G + 0.114 B: the graph's
// images have three.
//
// A network that takes images [N,H,W,3] and begins with a Transpose to [N,3,H,W] is built without it.
//
// Everything that is known in advance is folded; what only moves values is dropped or put off: channels-last passages
// become channels-first ones. Operators that graph does not have are spelled out in those that it has. A layer of tokens
// [N,T,D] that a grid of h'*w' patches was flattened to becomes [N,D,h',w'] without the T - h'*w' tokens in front.
// Errors name the node and its operator, and say so where the file was exported for images of another size.
func (m *Model) Graph(h, w int, layers []string) (_ *graph.Graph, err error) {
	defer catch(&err)
	if len(layers) == 0 {
		return nil, errors.New("onnx: no layers are asked for")
	}
	tensors := make([]string, len(layers))
	for i, layer := range layers {
		if tensors[i], err = m.tensorOf(layer); err != nil {
			return nil, err
		}
		if at := slices.Index(tensors[:i], tensors[i]); at >= 0 {
			return nil, fmt.Errorf("onnx: the layers %q and %q are the same tensor, %q", layers[at], layer, tensors[i])
		}
	}
	x, err := newImporter(m, h, w)
	if err != nil {
		return nil, err
	}
	needed := m.needed(tensors)
	for _, n := range m.nodes {
		if !needed[n] {
			continue
		}
		if err := x.node(n); err != nil {
			return nil, m.explain(err, h, w)
		}
	}
	outputs := make([]string, len(layers))
	for i, name := range tensors {
		if outputs[i], err = x.layer(name); err != nil {
			return nil, m.explain(fmt.Errorf("onnx: layer %q: %w", layers[i], err), h, w)
		}
	}
	g, err := x.b.Graph(outputs...)
	if err != nil {
		return nil, err
	}
	g.Prune()
	return g, g.Fold()
}

// needed are the nodes that the tensors depend on.
func (m *Model) needed(tensors []string) map[*node]bool {
	wanted, nodes := map[string]bool{}, map[*node]bool{}
	for _, name := range tensors {
		wanted[name] = true
	}
	for _, n := range slices.Backward(m.nodes) {
		if slices.ContainsFunc(n.out, func(name string) bool { return name != "" && wanted[name] }) {
			nodes[n] = true
			for _, name := range n.in {
				wanted[name] = true
			}
		}
	}
	return nodes
}

// value is what a tensor of the file is in the graph: a constant, or a computed value whose axes may lie in another order.
type value struct {
	c *constant

	name  string
	shape graph.Shape // the graph's, N first
	// axes lists the graph's axes that each of the tensor's axes stands for, slowest first. Only the tensor's axis that
	// holds the images may stand for several, which ONNX has merged with them.
	axes [][]int
}

func (v *value) rank() int {
	if v.c != nil {
		return len(v.c.shape)
	}
	return len(v.axes)
}

// extent is the tensor's along one axis.
func (v *value) extent(axis int) dim {
	if v.c != nil {
		return dim{v: v.c.shape[axis]}
	}
	d := dim{v: 1}
	for _, a := range v.axes[axis] {
		if a == 0 {
			d.n = true
		} else {
			d.v *= v.shape[a]
		}
	}
	return d
}

// images is the tensor's axis that holds the images.
func (v *value) images() int {
	return slices.IndexFunc(v.axes, func(group []int) bool { return slices.Contains(group, 0) })
}

// importer builds a graph from a model.
type importer struct {
	m      *Model
	b      *graph.Builder
	batch  int // that the file declares, 0 if it is free
	values map[string]*value
	taken  map[string]bool
	consts map[string]string // names of constants in the graph, by what they were made from
	moved  map[string]string // transposed values, by value and permutation
	grid   [2]int            // the patches that tokens were made from
	budget int64             // bytes that constants may still take
	at     *node
	made   map[string]*node // of which node of the file a node of the graph is part
}

// failure ends the work on a node; node turns it into an error.
type failure struct{ error }

func fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

// newImporter starts a graph for images [N,3,h,w].
func newImporter(m *Model, h, w int) (*importer, error) {
	if h < 1 || w < 1 || h > maxSide || w > maxSide {
		return nil, fmt.Errorf("onnx: images of %dx%d pixels: want 1 to %d on each side", h, w, maxSide)
	}
	image, channelsLast, err := m.image()
	if err != nil {
		return nil, err
	}
	x := startImport(m)
	x.batch = max(image.shape[0], 0)
	if image.shape[1] == 1 {
		return x, x.luminance(image.name, h, w)
	}
	err = x.input(image.name, graph.Shape{graph.N, 3, h, w})
	if channelsLast {
		x.values[image.name].axes = [][]int{{0}, {2}, {3}, {1}}
	}
	return x, err
}

// luminance makes the input of a network of one channel of images [N,3,h,w].
func (x *importer) luminance(name string, h, w int) error {
	in := x.free(name + "/colour")
	x.b.Input(in, graph.N, 3, h, w)
	weights := x.b.ConstAs(x.free(name+"/weights"), nd.Wrap([]float32{0.299, 0.587, 0.114}, 1, 3, 1, 1))
	grey := x.b.OpAs(x.free(name+"/luminance"), graph.Conv, nil, in, weights)
	x.values[name] = &value{name: grey, shape: graph.Shape{graph.N, 1, h, w}, axes: single(4)}
	return x.b.Recover()
}

func startImport(m *Model) *importer {
	x := &importer{m: m, b: graph.NewBuilder("backbone"), values: map[string]*value{}, taken: map[string]bool{},
		consts: map[string]string{}, moved: map[string]string{}, made: map[string]*node{}, budget: minBudget + perByte*m.bytes}
	for name := range m.tensors {
		x.taken[name] = true
	}
	for _, n := range m.nodes {
		for _, out := range n.out {
			x.taken[out] = true
		}
	}
	return x
}

func (x *importer) input(name string, shape graph.Shape) error {
	x.b.Input(name, shape...)
	x.taken[name] = true
	x.values[name] = &value{name: name, shape: shape, axes: single(len(shape))}
	return x.b.Recover()
}

// image is the input that the images go to, as [N,3,H,W] or, for one channel, [N,1,H,W]. channelsLast says that the file has it as [N,H,W,3].
func (m *Model) image() (p port, channelsLast bool, err error) {
	if len(m.inputs) != 1 {
		return p, false, fmt.Errorf("onnx: the model has %d inputs, want one", len(m.inputs))
	}
	p = m.inputs[0]
	if len(p.shape) == 4 && p.shape[1] != 3 && p.shape[3] == 3 {
		if err := m.transposed(p.name); err != nil {
			return p, false, err
		}
		p.shape, channelsLast = []int{p.shape[0], 3, p.shape[1], p.shape[2]}, true
	}
	if len(p.shape) != 4 || p.shape[1] != 3 && p.shape[1] != 1 && p.shape[1] != -1 || p.elem != elemFloat && p.elem != elemFloat16 {
		return p, false, fmt.Errorf("onnx: the input %q has shape %v and element type %d, want float images [N,3,H,W] or [N,1,H,W]",
			p.name, m.inputs[0].shape, p.elem)
	}
	return p, channelsLast, nil
}

// transposed checks that all that takes an input [N,H,W,3] makes it [N,3,H,W] first: only then it is sure to be images.
func (m *Model) transposed(input string) error {
	toFront := false
	for _, n := range m.nodes {
		if !slices.Contains(n.in, input) {
			continue
		}
		if n.op != "Transpose" || !slices.Equal(n.ints("perm"), []int{0, 3, 1, 2}) {
			return fmt.Errorf("onnx: %v takes the input %q, which is [N,H,W,3], as it is: want [N,3,H,W], or a Transpose to it first",
				n, input)
		}
		toFront = true
	}
	if !toFront {
		return fmt.Errorf("onnx: the input %q is [N,H,W,3], and nothing takes it: want [N,3,H,W]", input)
	}
	return nil
}

// Grey reports whether the images that the file takes have one channel.
func (m *Model) Grey() bool {
	image, _, err := m.image()
	return err == nil && image.shape[1] == 1
}

// InputSize is the height and width of the images that the file was exported for; 0 where it takes any, or says nothing.
func (m *Model) InputSize() (h, w int) {
	image, _, err := m.image()
	if err != nil {
		return 0, 0
	}
	return max(image.shape[2], 0), max(image.shape[3], 0)
}

// single stands for the graph's axes in the graph's order.
func single(rank int) [][]int {
	axes := make([][]int, rank)
	for i := range axes {
		axes[i] = []int{i}
	}
	return axes
}

// explain adds what the file says about its images, where that differs from what is asked for.
func (m *Model) explain(err error, h, w int) error {
	wasH, wasW := m.InputSize()
	if wasH == 0 || wasW == 0 || wasH == h && wasW == w {
		return err
	}
	return fmt.Errorf("%w (the model was exported for %dx%d pixels and %dx%d are asked for: export it for that size)",
		err, wasW, wasH, w, h)
}

// node translates one node.
func (x *importer) node(n *node) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("onnx: %v: %w", n, err)
		}
	}()
	defer catch(&err)
	x.at = n
	if n.domain != "" && n.domain != "ai.onnx" {
		fail("the operator's domain %q is not supported", n.domain)
	}
	op := x.m.operator(n.op)
	for name, a := range n.attr {
		want, ok := op.attrs[name]
		if !ok || want != a.kind && a.kind != 0 {
			fail("the attribute %q is not supported or not of type %d", name, want)
		}
		if want == attrTypeTensor && a.t == nil {
			fail("the attribute %q holds no tensor", name)
		}
	}
	if len(n.in) < op.min || len(n.in) > op.max {
		fail("%d inputs, want %d to %d", len(n.in), op.min, op.max)
	}
	in := make([]*value, max(len(n.in), op.min))
	for i, name := range n.in {
		if name == "" {
			if i < op.min {
				fail("input %d is left out", i)
			}
			continue
		}
		in[i] = x.value(name)
	}
	for i, v := range op.read(x, n, in) {
		if i < len(n.out) && n.out[i] != "" {
			x.values[n.out[i]] = v
		}
	}
	return nil
}

// value is a tensor by its name; initializers are decoded when they are first asked for.
func (x *importer) value(name string) *value {
	v, ok := x.values[name]
	if ok {
		return v
	}
	t := x.m.tensors[name]
	if t == nil {
		fail("input %q is not one of the outputs that are supported", name)
	}
	v = &value{c: x.decode(t)}
	x.values[name] = v
	return v
}

func (x *importer) decode(t *protoTensor) *constant {
	n, err := size(t.dims)
	if err != nil {
		fail("%q: %w", t.name, err)
	}
	x.spend(n, !t.elem.isFloat())
	c, err := t.decode()
	if err != nil {
		fail("%q: %w", t.name, err)
	}
	return c
}

// What constants may take in all: some for what is computed from shapes, and a multiple of what the file has, in which
// decoding float16 takes 2 and every transposition as much again.
const (
	minBudget = 64 << 20
	perByte   = 8
)

// spend refuses constants that grow out of proportion to the file.
func (x *importer) spend(elements int, isInts bool) {
	bytes := 4 * int64(elements)
	if isInts {
		bytes = 16 * int64(elements)
	}
	if bytes > x.budget {
		fail("computing in advance takes too much memory")
	}
	x.budget -= bytes
}

// fresh is a name beginning with the tensor's that is being computed.
func (x *importer) fresh() string {
	for i := 1; ; i++ {
		name := fmt.Sprintf("%s/%d", x.at.out[0], i+len(x.made))
		if !x.taken[name] {
			x.taken[name] = true
			return name
		}
	}
}

// free is a name that nothing has: the given one, or that with marks behind it.
func (x *importer) free(name string) string {
	for x.taken[name] {
		name += "'"
	}
	x.taken[name] = true
	return name
}

// op adds a node to the graph and returns its output.
func (x *importer) op(op graph.Op, attr graph.Attrs, in ...string) string {
	return x.named(x.fresh(), op, attr, in...)
}

func (x *importer) named(name string, op graph.Op, attr graph.Attrs, in ...string) string {
	x.b.OpAs(name, op, attr, in...)
	if err := x.b.Recover(); err != nil {
		panic(failure{errors.New(reason(err))})
	}
	x.made[name] = x.at
	return name
}

// result adds a node to the graph that keeps the name of the tensor, whose axes are like those of v.
func (x *importer) result(v *value, op graph.Op, attr graph.Attrs, in ...string) []*value {
	name := x.at.out[0]
	if x.made[name] != nil || name == "" {
		name = x.fresh()
	}
	return []*value{x.like(v, x.named(name, op, attr, in...))}
}

// like is a value of the graph whose axes are those of v.
func (x *importer) like(v *value, name string) *value {
	return &value{name: name, shape: x.b.Shape(name), axes: v.axes}
}

// plain is a value of the graph whose axes are the tensor's.
func (x *importer) plain(name string) *value {
	shape := x.b.Shape(name)
	return &value{name: name, shape: shape, axes: single(len(shape))}
}

// constant adds c to the graph in the given shape, once.
func (x *importer) constant(c *constant, shape ...int) string {
	if c.isInts {
		fail("integers take part in computing values")
	}
	if len(shape) == 0 {
		shape = []int{1}
	}
	if c.len() == 0 {
		fail("an empty constant takes part in computing values")
	}
	key := ""
	if c.name != "" {
		key = fmt.Sprint(c.name, shape)
		if name, ok := x.consts[key]; ok {
			return name
		}
	} else if c.len() == 1 && len(shape) == 1 {
		return x.scalar(c.floats[0])
	}
	name := c.name
	if name == "" || x.b.Shape(name) != nil {
		name = x.fresh()
	}
	x.add(name, nd.Wrap(c.floats, shape...))
	if key != "" {
		x.consts[key] = name
	}
	return name
}

func (x *importer) add(name string, t *tensor.Dense) {
	x.b.ConstAs(name, t)
	if err := x.b.Recover(); err != nil {
		panic(failure{err})
	}
}

// scalar is a constant of shape [1], the same one for the same number.
func (x *importer) scalar(v float32) string {
	key := fmt.Sprint("number ", math.Float32bits(v))
	name, ok := x.consts[key]
	if !ok {
		name = x.fresh()
		x.add(name, nd.Wrap([]float32{v}, 1))
		x.consts[key] = name
	}
	return name
}

// axis is the graph's axis that a tensor's axis (counted from the end if negative) stands for, which must not be the one
// that holds the images.
func (v *value) axis(axis int) int {
	axis = frontAxis(axis, v.rank())
	if slices.Contains(v.axes[axis], 0) {
		fail("axis %d holds the images: it must stay as it is", axis)
	}
	return v.axes[axis][0]
}

// frontAxis counts an axis from the front.
func frontAxis(axis, rank int) int {
	a := axis
	if a < 0 {
		a += rank
	}
	if a < 0 || a >= rank {
		fail("axis %d does not exist among %d", axis, rank)
	}
	return a
}

// order is the order of the graph's axes in the tensor.
func (v *value) order() []int { return slices.Concat(v.axes...) }

func inOrder(perm []int) bool {
	return slices.IsSorted(perm)
}

// settled is v with its axes in the tensor's order. Axes that are merged with the images' stay apart.
func (x *importer) settled(v *value) *value {
	perm := v.order()
	if inOrder(perm) {
		return v
	}
	if perm[0] != 0 {
		fail("the images' axis is not the first: axes %v", v.axes)
	}
	axes, i := make([][]int, len(v.axes)), 0
	for a, group := range v.axes {
		for range group {
			axes[a] = append(axes[a], i)
			i++
		}
	}
	name := x.transpose(v.name, perm)
	return &value{name: name, shape: x.b.Shape(name), axes: axes}
}

// endingWith moves one of the graph's axes to the end.
func (x *importer) endingWith(v *value, last int) *value {
	perm, place := []int{0}, make([]int, len(v.shape))
	for _, a := range append(slices.DeleteFunc(v.order(), func(a int) bool { return a == 0 || a == last }), last) {
		place[a] = len(perm)
		perm = append(perm, a)
	}
	axes := make([][]int, len(v.axes))
	for i, group := range v.axes {
		for _, a := range group {
			axes[i] = append(axes[i], place[a])
		}
	}
	name := x.transpose(v.name, perm)
	return &value{name: name, shape: x.b.Shape(name), axes: axes}
}

// transpose moves the axes of a value of the graph, once.
func (x *importer) transpose(name string, perm []int) string {
	if inOrder(perm) {
		return name
	}
	key := fmt.Sprint(name, perm)
	moved, ok := x.moved[key]
	if !ok {
		moved = x.op(graph.Transpose, graph.Attrs{"perm": slices.Clone(perm)}, name)
		x.moved[key] = moved
	}
	return moved
}

// exact is v with one axis of the graph for each of the tensor's, in its order.
func (x *importer) exact(v *value) *value {
	v = x.settled(v)
	if len(v.order()) != len(v.axes) {
		fail("other axes are merged with the images': axes %v", v.axes)
	}
	return v
}

// computed is input i, which must be no constant.
func computed(in []*value, i int) *value {
	if in[i].c != nil {
		fail("input %d is a constant", i)
	}
	return in[i]
}

// known is input i, which must be a constant; nil where it is left out.
func known(in []*value, i int) *constant {
	if i >= len(in) || in[i] == nil {
		return nil
	}
	if in[i].c == nil {
		fail("input %d is not known in advance", i)
	}
	return in[i].c
}

// given is a list from input i or, as older opsets have it, from an attribute; nil where neither is set.
func given(n *node, attr string, in []*value, i int) []int {
	if c := known(in, i); c != nil {
		return c.few()
	}
	return n.ints(attr)
}

// layer is the tensor as an output [N,C,H,W] of the graph.
func (x *importer) layer(name string) (out string, err error) {
	defer catch(&err)
	v := x.output(name)
	if v.rank() == 3 && x.grid[0] > 0 {
		return x.patches(v), nil
	}
	if v.rank() != 4 {
		fail("its shape is %v: want maps [N,C,H,W] or tokens [N,T,D] of patches", v.shape)
	}
	return v.name, nil
}

// output is the tensor as a value of the graph.
func (x *importer) output(name string) *value {
	x.at = x.m.makers[name]
	v := x.values[name]
	switch {
	case v == nil:
		fail("it is not one of the outputs that are supported")
	case v.c != nil:
		fail("it does not depend on the image")
	}
	return x.exact(v)
}

// patches puts tokens [N,T,D] back on their grid, less those in front.
func (x *importer) patches(v *value) string {
	tokens, patches, name := v.shape[1], x.grid[0]*x.grid[1], v.name
	if tokens < patches {
		fail("%d tokens for a grid of %dx%d patches", tokens, x.grid[0], x.grid[1])
	}
	if tokens > patches {
		attr := graph.Attrs{"starts": []int{tokens - patches}, "ends": []int{tokens}, "axes": []int{1}}
		name = x.op(graph.Slice, attr, name)
	}
	name = x.transpose(name, []int{0, 2, 1})
	return x.op(graph.Reshape, graph.Attrs{"shape": []int{0, v.shape[2], x.grid[0], x.grid[1]}}, name)
}

// errFault is what an importer's mistake ends in, which no file may be able to bring about.
var errFault = errors.New("onnx: a fault of the importer")

// catch turns a failure, and what nobody has foreseen, into an error.
func catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case failure:
		*err = r.error
	default:
		*err = fmt.Errorf("%w: %v", errFault, r)
	}
}
