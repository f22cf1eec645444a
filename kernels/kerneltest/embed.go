package kerneltest

import (
	"math"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// embedded is for sums of up to some hundred products of numbers around 1 in float32.
var embedded = compare.Tolerance{Abs: 2e-5, Rel: 2e-5}

// Embed tests the vectors of random locations, and their gradients, against nested loops: one stencil an axis, with all channels
// and with some, and three.
func Embed(t *testing.T, m kernels.Machine, seed uint64) {
	for _, c := range []embedCase{
		{windows: 1, h: 1, w: 1, layerH: 1, layerW: 1, c: 1},
		{windows: 3, h: 6, w: 9, layerH: 6, layerW: 9, c: 40},
		{windows: 2, h: 12, w: 8, layerH: 3, layerW: 2, c: 150, kept: 31},
		{windows: 4, h: 5, w: 7, layerH: 2, layerW: 5, c: 9, kept: 4, permuted: true},
		{windows: 2, h: 9, w: 16, layerH: 1, layerW: 2, c: 33, permuted: true},
		{windows: 1, h: 1, w: 1, layerH: 1, layerW: 1, c: 1, pooled: 3},
		{windows: 2, h: 6, w: 9, layerH: 6, layerW: 9, c: 5, pooled: 150},
		{windows: 2, h: 8, w: 8, layerH: 2, layerW: 3, c: 260, pooled: 150},
	} {
		Case(t, m, seed, func(r *Rig) { c.test(r, 0.4) }, "%+v", c)
	}
	Case(t, m, seed, func(r *Rig) { embedCase{windows: 2, h: 4, w: 6, layerH: 4, layerW: 3, c: 7}.test(r, 0) }, "none wanted")
	t.Run("refuses", func(t *testing.T) { embedRefuses(t, m) })
}

type embedCase struct {
	windows, h, w, layerH, layerW, c int
	kept                             int  // 0: all
	permuted                         bool // rows are in an order of their own, and weighted
	pooled                           int  // values of three stencils; 0: one stencil
}

func (c embedCase) unfolded() bool { return c.pooled > 0 }

// axis draws what locations read: up to four neighbouring cells, of which each stencil misses some.
func (c embedCase) axis(r *Rig, locations, cells int) [][][]kernels.AxisTap {
	stencils := make([][][]kernels.AxisTap, 1)
	if c.unfolded() {
		stencils = make([][][]kernels.AxisTap, 3)
	}
	for range locations {
		lo := r.Rand.IntN(cells)
		n := r.Rand.IntN(min(4, cells-lo) + 1)
		for s := range stencils {
			var taps []kernels.AxisTap
			for k := range n {
				if r.Rand.IntN(3) > 0 {
					taps = append(taps, kernels.AxisTap{Offset: lo + k, Weight: r.Rand.Float32() - 0.5})
				}
			}
			stencils[s] = append(stencils[s], taps)
		}
	}
	return stencils
}

// linear is a layer's map from features to vectors, as nested loops.
type linear struct {
	embedCase
	d, first   int
	rows, cols [][][]kernels.AxisTap
	channels   []int32
	pool       [][]kernels.AxisTap
}

// visit calls f with each product of a location's vector: its value number k takes weight times the feature at a place.
func (l *linear) visit(at int, f func(k, place int, weight float64)) {
	n, i, j := at/(l.h*l.w), at/l.w%l.h, at%l.w
	raw := func(c, r, s int, f func(place int, weight float64)) {
		for _, y := range l.rows[r][i] {
			for _, x := range l.cols[s][j] {
				f(((n*l.layerH+y.Offset)*l.layerW+x.Offset)*l.c+c, float64(y.Weight)*float64(x.Weight))
			}
		}
	}
	if !l.unfolded() {
		for k, c := range l.channels {
			raw(int(c), 0, 0, func(place int, weight float64) { f(l.first+k, place, weight) })
		}
		return
	}
	for m, taps := range l.pool {
		for _, t := range taps {
			raw(t.Offset/9, t.Offset%9/3, t.Offset%3, func(place int, weight float64) { f(m, place, weight*float64(t.Weight)) })
		}
	}
}

func (c embedCase) test(r *Rig, share float64) {
	l := &linear{embedCase: c, rows: c.axis(r, c.h, c.layerH), cols: c.axis(r, c.w, c.layerW)}
	kept := c.c
	if c.kept > 0 {
		kept = c.kept
	}
	for _, ch := range r.Rand.Perm(c.c)[:kept] {
		l.channels = append(l.channels, int32(ch))
	}
	if slices.Sort(l.channels); !c.unfolded() {
		l.first = 2
		l.d = l.first + kept + 3 // other layers' values are beside this one's
	} else {
		l.d = c.pooled
		for range l.d {
			var taps []kernels.AxisTap
			lo := r.Rand.IntN(9 * c.c)
			for k := range r.Rand.IntN(min(30, 9*c.c-lo) + 1) {
				taps = append(taps, kernels.AxisTap{Offset: lo + k, Weight: r.Rand.Float32()})
			}
			l.pool = append(l.pool, taps)
		}
	}
	var at []int32
	for i := range c.windows * c.h * c.w {
		if r.Rand.Float64() < share || share > 0 && i == 0 {
			at = append(at, int32(i))
		}
	}
	f := r.Normal(c.windows * c.layerH * c.layerW * c.c)
	if len(at) > 0 {
		l.forward(r, at, f)
	}
	l.backward(r, at)
}

// layer is the kernels' form of it, with its tables on the machine.
func (l *linear) layer(r *Rig, back bool) (kernels.EmbedLayer, []Array) {
	e := kernels.EmbedLayer{
		Windows: l.windows, H: l.h, W: l.w, LayerH: l.layerH, LayerW: l.layerW, C: l.c, D: l.d, Unfolded: l.unfolded(), First: l.first,
		Kept: len(l.channels),
	}
	var tables []Array
	for _, a := range []struct {
		to    *kernels.Ptr
		taps  [][][]kernels.AxisTap
		cells int
	}{{&e.Down, l.rows, l.layerH}, {&e.Across, l.cols, l.layerW}} {
		words, err := kernels.EmbedAxis(a.taps, a.cells)
		require.NoError(r.T, err)
		if back {
			words = kernels.EmbedAxisBack(a.taps, a.cells)
		}
		table := In(r, words)
		*a.to, tables = table.Ptr, append(tables, table)
	}
	return e, tables
}

func (l *linear) forward(r *Rig, at []int32, f []float32) {
	before := r.Normal(len(at) * l.d)
	places, features, q := In(r, at), In(r, f), In(r, before)
	layer, in := l.layer(r, false)
	e := kernels.Embed{EmbedLayer: layer, Items: len(at), Add: true, At: places.Ptr, F: features.Ptr, Q: q.Ptr}
	in = append(in, places, features)
	if l.unfolded() {
		pool := In(r, kernels.EmbedPool(l.pool))
		e.Pool, in = pool.Ptr, append(in, pool)
	} else if l.kept > 0 {
		channels := In(r, l.channels)
		e.Channels, in = channels.Ptr, append(in, channels)
	}
	r.Run(e.Enqueue, in, []Array{q})
	expect := func(from []float32) []float64 {
		want := wide(from)
		for p, i := range at {
			if !l.unfolded() {
				clear(want[p*l.d+l.first:][:len(l.channels)])
			}
			l.visit(int(i), func(k, place int, weight float64) { want[p*l.d+k] += weight * float64(f[place]) })
		}
		return want
	}
	got := q.Read()
	compare.Require(r.T, "vectors", got, expect(before), embedded)
	if l.unfolded() {
		e.Add = false
		r.Run(e.Enqueue, in, []Array{q})
		got = q.Read()
		compare.Require(r.T, "vectors, not added", got, expect(make([]float32, len(before))), embedded)
	}

	// Alone a window's have the same bits.
	n := int(at[len(at)-1]) / (l.h * l.w)
	var mine []int32
	for _, i := range at {
		if int(i)/(l.h*l.w) == n {
			mine = append(mine, i%int32(l.h*l.w))
		}
	}
	plane := l.layerH * l.layerW * l.c
	places, features, alone := In(r, mine), In(r, f[n*plane:][:plane]), In(r, before[(len(at)-len(mine))*l.d:])
	e.Windows, e.Items, e.At, e.F, e.Q = 1, len(mine), places.Ptr, features.Ptr, alone.Ptr
	require.NoError(r.T, e.Enqueue(r.M))
	require.Equal(r.T, kernels.Bytes(got[(len(at)-len(mine))*l.d:]), alone.bytes(), "a window alone")
}

func (l *linear) backward(r *Rig, at []int32) {
	cells := l.windows * l.h * l.w
	row, item := slices.Repeat([]int32{-1}, cells), slices.Repeat([]int32{-1}, cells)
	order := make([]int, len(at))
	for p := range order {
		order[p] = p
	}
	if l.permuted {
		order = r.Rand.Perm(len(at))
	}
	for p, i := range at {
		row[i], item[i] = int32(order[p]), int32(p)
	}
	dq, weight := r.Normal(len(at)*l.d), r.Normal(len(at))
	for p := range weight {
		if p%5 == 0 {
			weight[p] = 0
			if l.permuted { // what a distance that is no number leaves
				dq[order[p]*l.d+l.first] = float32(math.NaN())
			}
		}
	}
	values := slices.Repeat([]int32{-1}, l.c)
	for k, c := range l.channels {
		values[c] = int32(l.first + k)
	}
	rows, grads, df := In(r, row), In(r, append(slices.Clone(dq), 0)), Out[float32](r, l.windows*l.layerH*l.layerW*l.c)
	layer, in := l.layer(r, true)
	g := kernels.EmbedGradient{EmbedLayer: layer, To: l.windows, Rows: len(at), Row: rows.Ptr, DQ: grads.Ptr, DF: df.Ptr}
	in = append(in, rows, grads)
	switch {
	case l.unfolded():
		pool := In(r, kernels.EmbedPoolBack(l.pool, l.c))
		g.Values, in = pool.Ptr, append(in, pool)
	case l.kept > 0:
		channels := In(r, values)
		g.Values, in = channels.Ptr, append(in, channels)
	}
	if l.permuted {
		items, weights := In(r, item), In(r, weight)
		g.Item, g.Weight, in = items.Ptr, weights.Ptr, append(in, items, weights)
	}
	r.Run(g.Enqueue, in, []Array{df})
	want := make([]float64, df.Len)
	for p, i := range at {
		l.visit(int(i), func(k, place int, factor float64) {
			if l.permuted && weight[p] == 0 {
				return
			}
			if l.permuted {
				factor *= float64(weight[p])
			}
			want[place] += factor * float64(dq[order[p]*l.d+k])
		})
	}
	all := df.Read()
	compare.Require(r.T, "gradients", all, want, embedded)

	if !l.permuted {
		r.Run(func(q kernels.Queue) error { return l.inParts(q, g, at) }, in, []Array{df})
		require.Equal(r.T, kernels.Bytes(all), df.bytes(), "in parts")
	}

	// Alone a window's have the same bits.
	n, plane := l.windows-1, l.layerH*l.layerW*l.c
	mine := In(r, row[n*l.h*l.w:])
	alone := Out[float32](r, plane)
	g.Windows, g.To, g.Row, g.DF = 1, 1, mine.Ptr, alone.Ptr
	if l.permuted {
		g.Item = In(r, item[n*l.h*l.w:]).Ptr
	}
	require.NoError(r.T, g.Enqueue(r.M))
	require.Equal(r.T, kernels.Bytes(all[n*plane:]), alone.bytes(), "a window alone")
}

// inParts enqueues the gradient of a few rows after that of a few others.
func (l *linear) inParts(q kernels.Queue, g kernels.EmbedGradient, at []int32) error {
	const step = 7
	dq := g.DQ
	for lo := 0; ; lo += step {
		hi := min(lo+step, len(at))
		g.From, g.To, g.Continued = 0, l.windows, false
		if lo > 0 {
			g.From = int(at[lo]) / (l.h * l.w)
			g.Continued = int(at[lo-1])/(l.h*l.w) == g.From
			if !g.Continued {
				g.From = int(at[lo-1])/(l.h*l.w) + 1
			}
		}
		if hi < len(at) {
			g.To = int(at[hi-1])/(l.h*l.w) + 1
		}
		g.FirstRow, g.Rows, g.DQ = lo, hi-lo, dq.Plus(lo*l.d)
		if err := g.Enqueue(q); err != nil || hi == len(at) {
			return err
		}
	}
}

func embedRefuses(t *testing.T, m kernels.Machine) {
	tap := func(cell int) []kernels.AxisTap { return []kernels.AxisTap{{Offset: cell, Weight: 1}} }
	_, err := kernels.EmbedAxis([][][]kernels.AxisTap{{tap(0), tap(3)}}, 3)
	require.ErrorContains(t, err, "location 1 reads cell 3 of 3")
	_, err = kernels.EmbedAxis([][][]kernels.AxisTap{{tap(0)}, {tap(2)}, {tap(4)}}, 9)
	require.ErrorContains(t, err, "location 0 reads 5 cells")
	layer := kernels.EmbedLayer{Windows: 1, H: 2, W: 2, LayerH: 1, LayerW: 1, C: 3, D: 3, Kept: 3, Down: 4, Across: 4}
	for what, change := range map[string]func(*kernels.EmbedLayer){
		"extents": func(l *kernels.EmbedLayer) { l.H = 0 }, "a layer of 3x1": func(l *kernels.EmbedLayer) { l.LayerH = 3 },
		"vectors of 5000": func(l *kernels.EmbedLayer) { l.D = 5000 }, "values 1 on of 3": func(l *kernels.EmbedLayer) { l.First = 1 },
		"rows is null": func(l *kernels.EmbedLayer) { l.Down = 0 }, "columns is not aligned": func(l *kernels.EmbedLayer) { l.Across = 2 },
		"not listed": func(l *kernels.EmbedLayer) { l.Kept = 2 }, "pool is null": func(l *kernels.EmbedLayer) { l.Unfolded = true },
		"fit an int32": func(l *kernels.EmbedLayer) { l.Windows = 1 << 30 },
	} {
		l := layer
		change(&l)
		require.ErrorContains(t, kernels.Embed{EmbedLayer: l, Items: 1, At: 4, F: 4, Q: 4}.Enqueue(m), what)
		require.ErrorContains(t, kernels.EmbedGradient{EmbedLayer: l, To: 1, Row: 4, DQ: 4, DF: 4}.Enqueue(m), what)
	}
	require.ErrorContains(t, kernels.Embed{EmbedLayer: layer, At: 4, F: 4, Q: 4}.Enqueue(m), "0 locations")
	require.ErrorContains(t, kernels.Embed{EmbedLayer: layer, Items: 1, At: 4, Q: 4}.Enqueue(m), "features is null")
	good := kernels.EmbedGradient{EmbedLayer: layer, To: 1, Row: 4, DQ: 4, DF: 4}
	for what, change := range map[string]func(*kernels.EmbedGradient){
		"windows 0 to 2 of 1": func(g *kernels.EmbedGradient) { g.To = 2 }, "-1 rows": func(g *kernels.EmbedGradient) { g.Rows = -1 },
		"their places is null":         func(g *kernels.EmbedGradient) { g.Weight = 4 },
		"gradients of vectors is null": func(g *kernels.EmbedGradient) { g.DQ = 0 },
	} {
		g := good
		change(&g)
		require.ErrorContains(t, g.Enqueue(m), what)
	}
}

func init() {
	register("embed", Embed)
	for _, c := range []struct {
		name           string
		layer, c, pool int
	}{{"32 x 64 x 64, 512 channels at 32 x 32", 32, 512, 0}, {"8 x 64 x 64, 512 channels at 32 x 32, unfolded", 32, 512, 1024}} {
		for _, back := range []bool{false, true} {
			registerBench(embedBench(c.name, c.layer, c.c, c.pool, back))
		}
	}
}

// embedBench is averages over 3x3, brought to a grid of 64x64, of all locations.
func embedBench(name string, layer, channels, pooled int, back bool) Bench {
	const side = 64
	windows, d, stencils := 32, channels, 1
	if pooled > 0 {
		windows, d, stencils = 8, pooled, 3
	}
	taps := make([][][]kernels.AxisTap, stencils)
	for s := range taps {
		for i := range side {
			at := i * layer / side
			var list []kernels.AxisTap
			for k := max(at-1, 0); k < min(at+3, layer); k++ {
				if stencils == 1 || k-at == s-1 || k-at == s {
					list = append(list, kernels.AxisTap{Offset: k, Weight: 0.3})
				}
			}
			taps[s] = append(taps[s], list)
		}
	}
	var pool [][]kernels.AxisTap
	for m := range pooled {
		var list []kernels.AxisTap
		for k := m * 9 * channels / pooled; k < ((m+1)*9*channels+pooled-1)/pooled; k++ {
			list = append(list, kernels.AxisTap{Offset: k, Weight: 0.2})
		}
		pool = append(pool, list)
	}
	items := windows * side * side
	if back {
		name += ", gradient"
	}
	return Bench{
		Kernel: "embed", Size: name, Params: map[string]int{"n": windows, "side": side, "layer": layer, "channels": channels, "pooled": pooled},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			l := kernels.EmbedLayer{
				Windows: windows, H: side, W: side, LayerH: layer, LayerW: layer, C: channels, D: d, Unfolded: pooled > 0, Kept: channels,
			}
			at := make([]int32, items)
			for i := range at {
				at[i] = int32(i)
			}
			axis, err := kernels.EmbedAxis(taps, layer)
			table := kernels.EmbedPool(pool)
			if back {
				axis, table = kernels.EmbedAxisBack(taps, layer), kernels.EmbedPoolBack(pool, channels)
			}
			if err != nil {
				return nil, kernels.Cost{}, err
			}
			var places, f, q, pools kernels.Ptr
			_, _, err = setUp(b, kernels.Cost{}, func() func(kernels.Queue) error { return nil },
				memory{&l.Down, func() (kernels.Ptr, error) { return Put(b, axis) }},
				memory{&places, func() (kernels.Ptr, error) { return Put(b, at) }},
				memory{&f, func() (kernels.Ptr, error) { return b.Normal(windows*layer*layer*channels, 0, 1) }},
				memory{&q, func() (kernels.Ptr, error) { return b.Normal(items*d, 0, 1) }},
				memory{&pools, func() (kernels.Ptr, error) { return Put(b, append(table, 0)) }},
			)
			if l.Across = l.Down; pooled == 0 {
				pools = 0
			}
			if back {
				g := kernels.EmbedGradient{EmbedLayer: l, To: windows, Rows: items, Row: places, Values: pools, DQ: q, DF: f}
				return g.Enqueue, g.Cost(), err
			}
			e := kernels.Embed{EmbedLayer: l, Items: items, At: places, Pool: pools, F: f, Q: q}
			return e.Enqueue, e.Cost(), err
		},
	}
}
