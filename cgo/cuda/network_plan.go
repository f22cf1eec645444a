package cuda

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"

	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/exec/arena"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
	"f2pad.example/kernels"
)

// array is a tensor on the device, in one order of its axes: a buffer of the arena, or a constant. All are dense.
type array struct {
	shape   graph.Shape
	strides []int // of all axes, in elements; that of the first is the distance of images, 0 for constants
	half    bool  // float16
	bits    bool  // 1 where what it stands for is above 0, else 0; of four axes, in the usual order
	buffer  *arena.Buffer
	data    *blob
}

// rowMajor are the strides of a tensor row by row.
func rowMajor(s graph.Shape) []int {
	strides := make([]int, len(s))
	n := 1
	for a := len(s) - 1; a >= 0; a-- {
		strides[a] = n
		n *= s[a]
	}
	strides[0] = s.PerImage()
	return strides
}

// usual are the strides that values have where nothing speaks for others: with four axes the channels are innermost.
func usual(s graph.Shape) []int {
	if len(s) != 4 {
		return rowMajor(s)
	}
	return []int{s.PerImage(), 1, s[3] * s[1], s[1]}
}

// lies reports that a value's elements are in the order that strides say.
func (v array) lies(strides []int) bool {
	for a := 1; a < len(strides); a++ {
		if v.shape[a] > 1 && v.strides[a] != strides[a] {
			return false
		}
	}
	return true
}

// size is that of an element, in bytes.
func (v array) size() int {
	if v.half {
		return 2
	}
	return 4
}

// port is an input or output of a phase: a tensor of the caller's, row by row, or one that the caller's kernels write and read
// where it lies.
type port struct {
	name  string
	shape graph.Shape
	value array
}

// phase is a graph as steps.
type phase struct {
	in, out []port
	steps   []step
	powers  array // of two, one for each image, that a gradient was multiplied by and is divided by again; in float16

	last  occasion   // the latest, and
	runs  int        // how many like it there were in a row
	graph *gpu.Graph // of the steps for such; nil: none
}

// step enqueues the launches of one node, or of a chain of them.
type step struct {
	node    *graph.Node // nil: of none
	enqueue func(b *batch) error
}

// planner turns graphs into steps. Time counts steps and copies through all phases.
type planner struct {
	half    bool // convolutions run in float16 where their kernel takes them
	ports   bool // inputs and outputs stay on the device: outputs and gradients lie as usual, inputs as their first reader wants them
	buffers []*arena.Buffer
	blobs   []*blob
	values  map[string][]array // in the orders that there are by now
	now     int
	gates   map[string]bool  // saved values of which the gradient reads the signs only
	signs   map[string]array // theirs, where what computes them has written them

	// of the phase that is being planned
	g      *graph.Graph
	shapes map[string]graph.Shape
	ph     *phase
	began  int
	open   map[string]bool // inputs whose order nobody has asked for
	node   *graph.Node
	chains map[string]*chain // put off, by what they compute
	reads  map[string]int
}

// phase plans a graph. The first inputs of its inputs come from the caller, the others are known. The values named in kept
// are there when the phase is over. backward says that it is a gradient.
func (p *planner) phase(g *graph.Graph, inputs int, kept []string, backward bool) (*phase, error) {
	var err error
	if p.shapes, err = g.Infer(); err != nil {
		return nil, err
	}
	p.g, p.ph, p.chains, p.reads, p.open = g, &phase{}, map[string]*chain{}, map[string]int{}, map[string]bool{}
	p.now++
	p.began = p.now
	for _, v := range g.Inputs[:inputs] {
		p.ph.in = append(p.ph.in, port{name: v.Name, shape: v.Shape})
		p.open[v.Name] = true
		if !p.ports {
			p.enter(v.Name, rowMajor(v.Shape), false)
		} else if backward {
			p.enter(v.Name, usual(v.Shape), false)
		}
	}
	if backward && p.half {
		p.scale()
	}
	for _, n := range g.Nodes {
		for _, name := range n.In {
			p.reads[name]++
		}
	}
	const always = 2 // readers, none of which is a node
	for _, name := range append(slices.Clone(kept), g.Outputs...) {
		p.reads[name] += always
	}
	for _, n := range g.Nodes {
		p.node = n
		if err := p.plan(n); err != nil {
			return nil, fmt.Errorf("cuda: node %q (%s): %w", n.Name, n.Op, err)
		}
	}
	var outs []array
	for _, name := range g.Outputs {
		strides := rowMajor(p.shapes[name])
		if p.ports {
			strides = usual(p.shapes[name])
		}
		v, err := p.as(name, strides, false)
		if err != nil {
			return nil, fmt.Errorf("cuda: output %q: %w", name, err)
		}
		outs = append(outs, v)
	}
	p.now++
	for i, name := range g.Outputs {
		p.ph.out = append(p.ph.out, port{name, p.shapes[name], p.use(outs[i])})
	}
	if backward && p.half {
		p.scaleBack()
	}
	for _, v := range g.Inputs[:inputs] {
		p.enter(v.Name, usual(v.Shape), false) // that nobody reads
	}
	for _, name := range kept { // those that the other phase reads live on
		if s, ok := p.signs[name]; ok {
			p.use(s)
			continue
		}
		for _, v := range p.values[name] {
			p.use(v)
		}
	}
	return p.ph, nil
}

// enter makes an input of the phase that is being planned, unless it is there: written before everything else, in the given order
// and kind.
func (p *planner) enter(name string, strides []int, half bool) {
	if !p.open[name] {
		return
	}
	delete(p.open, name)
	i := slices.IndexFunc(p.ph.in, func(in port) bool { return in.name == name })
	v := p.create(p.ph.in[i].shape, strides, half)
	v.buffer.First = p.began
	p.ph.in[i].value = v
	p.values[name] = []array{v}
}

// largestGradient is 2^that: what the largest gradient that comes in becomes in float16, or up to half of it. Gradients grow on
// their way through a network: a Wide-ResNet-50-2 with random weights overflowed from 64, and did not from here.
const largestGradient = -4

// scale emits what brings the gradients that come in into float16's range, each image's by a power of two.
func (p *planner) scale() {
	blocks := 0
	for _, in := range p.ph.in {
		blocks += kernels.RescaleBlocks(in.shape.PerImage())
	}
	magnitudes := p.create(graph.Shape{graph.N, blocks}, []int{blocks, 1}, false)
	p.ph.powers = p.create(graph.Shape{graph.N, 1}, []int{1, 1}, false)
	p.now++
	for _, in := range p.ph.in {
		p.use(in.value)
	}
	ph := p.ph
	p.ph.steps = append(p.ph.steps, step{nil, func(b *batch) error {
		r := ph.rescale(b, ph.in)
		r.Limit, r.Magnitudes = largestGradient-b.lower, b.at(magnitudes)
		return r.Enqueue(b)
	}})
}

// scaleBack emits the inverse for the gradients that go out.
func (p *planner) scaleBack() {
	ph := p.ph
	p.use(ph.powers)
	p.ph.steps = append(p.ph.steps, step{nil, func(b *batch) error {
		return ph.rescale(b, nil).Back(b, ph.rescale(b, ph.out).Arrays...)
	}})
}

// rescale is of the different arrays of some ports.
func (ph *phase) rescale(b *batch, ports []port) kernels.Rescale {
	r := kernels.Rescale{Images: b.images, Powers: b.at(ph.powers)}
	for _, p := range ports {
		a := kernels.RescaleArray{X: b.at(p.value), Elements: p.shape.PerImage()}
		if p.value.buffer != nil && !slices.Contains(r.Arrays, a) {
			r.Arrays = append(r.Arrays, a)
		}
	}
	return r
}

// create makes a value that is written now.
func (p *planner) create(s graph.Shape, strides []int, half bool) array {
	size := s.PerImage() // the arena counts float32
	if half {
		size = (size + 1) / 2
	}
	b := &arena.Buffer{Size: size, First: p.now, Last: p.now}
	p.buffers = append(p.buffers, b)
	return array{shape: s, strides: strides, half: half, buffer: b}
}

// use says that a value is read now.
func (p *planner) use(v array) array {
	if v.buffer != nil {
		v.buffer.Last = p.now
	}
	return v
}

// output makes the value of the node that is being planned, in the given order, or in the usual one.
func (p *planner) output(strides []int, half bool) array {
	s := p.shapes[p.node.Out]
	if strides == nil {
		strides = usual(s)
	}
	v := p.create(s, strides, half)
	p.values[p.node.Out] = []array{v}
	return v
}

// emit adds a step that happens now.
func (p *planner) emit(enqueue func(b *batch) error) {
	p.ph.steps = append(p.ph.steps, step{p.node, enqueue})
}

// blob makes a constant of bytes.
func (p *planner) blob(bytes []byte) *blob {
	return p.made(bytes, "", func() []byte { return bytes })
}

// made makes a constant of what from and how tell apart from all others, when it is not on the device yet.
func (p *planner) made(from []byte, how string, make func() []byte) *blob {
	h := sha256.New()
	fmt.Fprintf(h, "%s, %d bytes\n", how, len(from))
	h.Write(from)
	b := &blob{key: storeKey(h.Sum(nil)), make: make}
	p.blobs = append(p.blobs, b)
	return b
}

// constant is a constant of the graph as a value, row by row.
func (p *planner) constant(name string) array {
	if vs := p.values[name]; vs != nil {
		return vs[0]
	}
	t := p.g.Consts[name]
	shape := graph.Shape(slices.Clone(t.Shape()))
	v := array{shape: shape, strides: rowMajor(shape), data: p.blob(kernels.Bytes(nd.Data(t)))}
	p.values[name] = []array{v}
	return v
}

// get is a value or constant in whatever order and kind it is; what was put off is planned first.
func (p *planner) get(name string) (array, error) {
	if p.g.Consts[name] != nil {
		return p.constant(name), nil
	}
	p.enter(name, usual(p.shapes[name]), false)
	if c := p.chains[name]; c != nil {
		if err := p.settle(c); err != nil {
			return array{}, err
		}
	}
	return p.values[name][0], nil
}

// wide is a value or constant as float32, in whatever order.
func (p *planner) wide(name string) (array, error) {
	v, err := p.get(name)
	if err != nil || !v.half && !v.bits {
		return v, err
	}
	return p.as(name, v.strides, false)
}

// as is a value in the given order and kind, into which it is brought where it has to be.
func (p *planner) as(name string, strides []int, half bool) (array, error) {
	p.enter(name, strides, half)
	v, err := p.get(name)
	if err != nil {
		return array{}, err
	}
	for _, v := range p.values[name] {
		if v.lies(strides) && v.half == half && !v.bits {
			return v, nil
		}
	}
	p.now++
	turned := p.create(v.shape, strides, half)
	axes := make([]kernels.SeparableAxis, 0, len(v.shape)-1)
	for a := 1; a < len(v.shape); a++ {
		axes = append(axes, line(v.shape[a], strides[a], func(i int) []kernels.AxisTap { return one(i * v.strides[a]) }))
	}
	p.values[name] = append(p.values[name], turned)
	return turned, p.separable(v, turned, axes, 0, 0)
}

// line is the map along an axis.
func line(extent, stride int, taps func(i int) []kernels.AxisTap) kernels.SeparableAxis {
	a := kernels.SeparableAxis{Stride: stride, Taps: make([][]kernels.AxisTap, extent)}
	for i := range a.Taps {
		a.Taps[i] = taps(i)
	}
	return a
}

func one(offset int) []kernels.AxisTap { return []kernels.AxisTap{{Offset: offset, Weight: 1}} }

// separable emits a map of x to y, or to what of y begins at an element.
func (p *planner) separable(x, y array, axes []kernels.SeparableAxis, first int, none float32) error {
	axes = slices.DeleteFunc(axes, func(a kernels.SeparableAxis) bool {
		return len(a.Taps) == 1 && slices.Equal(a.Taps[0], one(0))
	})
	if len(axes) == 0 {
		axes = []kernels.SeparableAxis{line(1, 0, one)}
	}
	slices.SortStableFunc(axes, func(a, b kernels.SeparableAxis) int { return cmp.Compare(b.Stride, a.Stride) })
	form, err := kernels.PlanSeparable(axes)
	if err != nil {
		return err
	}
	if len(form.Taps) == 0 {
		form.Taps = []int32{0, 0}
	}
	words, taps := p.blob(kernels.Bytes(form.Words)), p.blob(kernels.Bytes(form.Taps))
	p.use(x)
	p.use(y)
	p.emit(func(b *batch) error {
		return kernels.Separable{
			Images: b.images, Axes: form.Axes, Elements: form.Elements, Form: words.at, Starts: words.at.Plus(form.Starts), Taps: taps.at,
			InImage: x.shape.PerImage(), OutImage: y.shape.PerImage(), None: none, X: b.at(x), HalfX: x.half, BitsX: x.bits, Out: b.at(y) + kernels.Ptr(first*y.size()),
			HalfOut: y.half,
		}.Enqueue(b)
	})
	return nil
}

// inner lists a tensor's axes but the first, outermost in memory first.
func inner(shape graph.Shape, strides []int) (axes []int) {
	for a := 1; a < len(shape); a++ {
		if shape[a] > 1 {
			axes = append(axes, a)
		}
	}
	slices.SortStableFunc(axes, func(a, b int) int { return cmp.Compare(strides[b], strides[a]) })
	return axes
}

var infinite = float32(math.Inf(1))
