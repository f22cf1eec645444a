package goexec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// convCase is one image's convolution as the planner would have it.
type convCase struct {
	node *graph.Node
	x, y graph.Shape
	w, b []float32
	wDim []int
	isa  *gemm.ISA
	k    kernel
}

func newConvCase(isa *gemm.ISA, op graph.Op, x, w []int, bias []float32, attr graph.Attrs) (*convCase, error) {
	c := &convCase{w: make([]float32, nd.Size(w...)), b: bias, wDim: w, isa: isa}
	wave(c.w)
	b := graph.NewBuilder("conv")
	args := []string{b.Input("x", append([]int{graph.N}, x...)...), b.Const(nd.Wrap(c.w, w...))}
	consts := [][]float32{nil, c.w}
	if bias != nil {
		args, consts = append(args, b.Const(nd.Wrap(bias, len(bias)))), append(consts, bias)
	}
	g, err := b.Graph(b.Op(op, attr, args...))
	if err != nil {
		return nil, err
	}
	c.node, c.x, c.y = g.Nodes[0], b.Shape("x"), b.Shape(g.Outputs[0])
	c.k, err = lowerings[op](&operation{Node: c.node, in: []graph.Shape{c.x, w}, consts: consts, out: c.y, isa: isa, store: &store{}})
	return c, err
}

// definition adds up every output in the order that the kernels promise: bias, channels, kernel rows, kernel columns.
func (c *convCase) definition(x []float32) []float32 {
	win, err := graph.ConvWindow(c.node, c.wDim)
	if err != nil {
		panic(err)
	}
	y := make([]float32, c.y.PerImage())
	groups := c.node.Int("group", 1)
	ins, outs := c.x[1]/groups, c.y[1]/groups
	transposed := c.node.Op == graph.ConvTranspose
	for o := range y {
		m, i, j := o/(c.y[2]*c.y[3]), o/c.y[3]%c.y[2], o%c.y[3]
		if c.b != nil {
			y[o] = c.b[m]
		}
		for ch := range ins {
			for ky := range win.Kernel[0] {
				for kx := range win.Kernel[1] {
					p, q := i*win.Stride[0]-win.Begin[0]+ky*win.Dilation[0], j*win.Stride[1]-win.Begin[1]+kx*win.Dilation[1]
					at := m*ins + ch
					if transposed {
						p, q = i+win.Begin[0]-ky*win.Dilation[0], j+win.Begin[1]-kx*win.Dilation[1]
						if p%win.Stride[0] != 0 || q%win.Stride[1] != 0 {
							continue
						}
						p, q = p/win.Stride[0], q/win.Stride[1]
						at = (m/outs*ins+ch)*outs + m%outs
					}
					if p < 0 || p >= c.x[2] || q < 0 || q >= c.x[3] {
						continue
					}
					w := c.w[(at*win.Kernel[0]+ky)*win.Kernel[1]+kx]
					y[o] = c.isa.MulAdd(w, x[((m/outs*ins+ch)*c.x[2]+p)*c.x[3]+q], y[o])
				}
			}
		}
	}
	return y
}

// wave fills x with numbers of both signs that repeat after a prime only.
func wave(x []float32) {
	for i := range x {
		x[i] = float32(i*i%127)/64 - 1.01
	}
}

const guard = 64 // floats on either side of a buffer

// guarded returns n floats, all NaN, between guards.
func guarded(n int) (buffer, whole []float32) {
	whole = make([]float32, n+2*guard)
	fill(whole, float32(math.NaN()))
	return whole[guard : guard+n : guard+n], whole
}

// untouched requires that the guards are still NaN.
func untouched(t *testing.T, whole []float32) {
	t.Helper()
	for i, v := range whole {
		if (i < guard || i >= len(whole)-guard) && v == v {
			t.Fatalf("guard %d of %d was overwritten with %g", i, len(whole), v)
		}
	}
}

// Every convolution, whichever way it is computed and cut up, gives the bits of its definition, reads nothing but its
// input and writes nothing but its output and scratch.
func TestConvIsItsDefinition(t *testing.T) {
	for _, isa := range gemm.ISAs() {
		t.Run(isa.Name, func(t *testing.T) { convsAreTheirDefinition(t, isa) })
	}
}

func convsAreTheirDefinition(t *testing.T, isa *gemm.ISA) {
	rng := rand.New(rand.NewPCG(3, 0))
	pick := func(lo, hi int) int { return lo + rng.IntN(hi-lo+1) }
	ways := map[string]int{}
	for tried := 0; tried < 400; tried++ {
		groups := []int{1, 1, 1, 2, 3}[rng.IntN(5)]
		ins, outs := groups*pick(1, 4), groups*[]int{1, 2, 3, 5, 17, 25}[rng.IntN(6)]
		x := []int{ins, pick(1, 24), pick(1, 60)}
		kernel := []int{pick(1, 6), pick(1, 6)}
		if tried%20 == 0 { // several bands
			x, kernel = []int{ins, pick(50, 60), pick(50, 60)}, []int{5, 5}
		}
		attr := graph.Attrs{
			"group": groups, "strides": []int{pick(1, 3), pick(1, 3)}, "dilations": []int{pick(1, 2), pick(1, 2)},
			"pads": []int{pick(0, 3), pick(0, 3), pick(0, 3), pick(0, 3)},
		}
		if rng.IntN(2) == 0 {
			attr["pads"], attr["strides"] = []int{0, 0, 0, 0}, []int{pick(1, 2), 1}
		}
		op, w := graph.Conv, []int{outs, ins / groups, kernel[0], kernel[1]}
		if rng.IntN(3) == 0 {
			op, w = graph.ConvTranspose, []int{ins, outs / groups, kernel[0], kernel[1]}
		}
		var bias []float32
		if rng.IntN(2) == 0 {
			bias = make([]float32, outs)
			wave(bias)
		}
		c, err := newConvCase(isa, op, x, w, bias, attr)
		if err != nil {
			continue // no window fits
		}
		ways[c.way()]++
		if c.k.units > groups {
			ways["bands"]++
		}
		t.Run(fmt.Sprintf("%d %s %v %v", tried, op, x, w), func(t *testing.T) { c.check(t, rng) })
	}
	for _, way := range []string{"one", "one staged", "one spread", "few", "few staged", "few spread", "panels", "panels staged",
		"panels spread", "bands"} {
		require.Greater(t, ways[way], 5, "cases that go the way %q", way)
	}
}

// The last band of a transposed convolution may hold a row of some phases only.
func TestConvTransposeLastBand(t *testing.T) {
	c, err := newConvCase(gemm.Best(), graph.ConvTranspose, []int{4, 8, 120}, []int{4, 18, 5, 5}, nil,
		graph.Attrs{"strides": []int{2, 2}, "pads": []int{2, 2, 2, 2}})
	require.NoError(t, err)
	require.Equal(t, 2, c.k.units)
	require.Equal(t, 15, c.y[2])
	c.check(t, rand.New(rand.NewPCG(3, 1)))
}

// Bands of whole panels begin and end within rows, and what is done to their results behind the sums, too.
func TestConvBandsEndWithinRows(t *testing.T) {
	for _, isa := range gemm.ISAs() {
		for _, c := range []struct {
			op   graph.Op
			x, w []int
			attr graph.Attrs
		}{
			{graph.Conv, []int{64, 14, 14}, []int{33, 64, 3, 3}, graph.Attrs{"pads": []int{1, 1, 1, 1}}},
			{graph.Conv, []int{64, 27, 15}, []int{33, 64, 3, 3}, graph.Attrs{"pads": []int{0, 1, 1, 0}, "strides": []int{2, 1}}},
			{graph.Conv, []int{200, 7, 7}, []int{500, 200, 1, 1}, nil},
			{graph.Conv, []int{80, 9, 22}, []int{80, 40, 3, 3}, graph.Attrs{"group": 2}},
			{graph.ConvTranspose, []int{64, 13, 11}, []int{64, 40, 3, 3}, graph.Attrs{"pads": []int{1, 1, 1, 1}}},
		} {
			n, err := newConvCase(isa, c.op, c.x, c.w, nil, c.attr)
			require.NoError(t, err)
			require.Greater(t, n.k.units, n.node.Int("group", 1), "%s %v: bands", c.op, c.x)
			n.check(t, rand.New(rand.NewPCG(3, 4)))
		}
	}
}

// Planes that are cut into bands, whose zeros lie in other places.
func TestConvPlanesInBands(t *testing.T) {
	for _, isa := range gemm.ISAs() {
		for _, c := range []struct {
			op     graph.Op
			x      []int
			kernel int
			attr   graph.Attrs
		}{
			{graph.Conv, []int{3, 120, 70}, 3, graph.Attrs{"pads": []int{1, 1, 1, 1}}},
			{graph.Conv, []int{3, 121, 130}, 5, graph.Attrs{"pads": []int{1, 2, 2, 0}, "strides": []int{1, 2}}},
			{graph.Conv, []int{3, 240, 131}, 5, graph.Attrs{"pads": []int{3, 1, 2, 2}, "strides": []int{2, 2}}},
			{graph.ConvTranspose, []int{3, 90, 70}, 3, graph.Attrs{"pads": []int{0, 1, 1, 0}, "strides": []int{2, 2}}},
			{graph.ConvTranspose, []int{3, 90, 67}, 5, graph.Attrs{"pads": []int{2, 2, 1, 1}, "strides": []int{2, 3}}},
		} {
			c.attr["group"] = 3
			n, err := newConvCase(isa, c.op, c.x, []int{3, 1, c.kernel, c.kernel}, []float32{1, 2, -3}, c.attr)
			require.NoError(t, err)
			require.Greater(t, n.k.units, 3, "%s %v", c.op, c.x)
			n.check(t, rand.New(rand.NewPCG(3, 3)))
		}
	}
}

// Sums that are longer than a micro-kernel goes through at once.
func TestConvOfManyTaps(t *testing.T) {
	for _, isa := range gemm.ISAs() {
		for _, op := range []graph.Op{graph.Conv, graph.ConvTranspose} {
			const ins = gemm.Depth + 7
			w := []int{19, ins, 2, 3}
			if op == graph.ConvTranspose {
				w = []int{ins, 19, 2, 3}
			}
			c, err := newConvCase(isa, op, []int{ins, 5, 9}, w, nil, graph.Attrs{"strides": []int{2, 2}, "pads": []int{1, 0, 0, 1}})
			require.NoError(t, err)
			c.check(t, rand.New(rand.NewPCG(3, 2)))
		}
	}
}

// way says how the case is computed, by what its scratch serves for.
func (c *convCase) way() string {
	spread := c.node.Op == graph.ConvTranspose && nd.Size(c.node.Ints("strides", nil)...) > 1
	outs := c.y[1] / c.node.Int("group", 1)
	cols := c.y[3]
	if spread {
		cols = (cols-1)/c.node.Ints("strides", nil)[1] + 1
	}
	way := "panels"
	switch {
	case outs <= oneOuts:
		way = "one"
	case outs <= fewOuts && 2*cols >= c.isa.Few.Cols:
		way = "few"
	}
	switch {
	case spread:
		return way + " spread"
	case c.node.Ints("pads", nil)[1] > 0 || c.node.Ints("strides", nil)[1] > 1:
		return way + " staged"
	}
	return way
}

func (c *convCase) check(t *testing.T, rng *rand.Rand) {
	x, _ := guarded(c.x.PerImage()) // a read outside would bring in a NaN, or panic
	wave(x)
	y, wholeY := guarded(c.y.PerImage())
	scratch, wholeScratch := guarded(c.k.scratch)
	call := &call{in: [][]float32{x}, out: y, scratch: scratch}
	for _, u := range rng.Perm(c.k.units) {
		c.k.run(call, u, u+1)
		fill(scratch, float32(math.NaN()))
	}
	untouched(t, wholeY)
	untouched(t, wholeScratch)
	for i, want := range c.definition(x) {
		if y[i] != want {
			t.Fatalf("[%d] is %g, want %g", i, y[i], want)
		}
	}
}
