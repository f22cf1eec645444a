package kerneltest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// throughBlocks is for what goes through several products in float32, sums of up to a thousand terms that are as large as the
// largest result.
func throughBlocks(want []float64) compare.Tolerance {
	most := 0.0
	for _, v := range want {
		most = max(most, math.Abs(v))
	}
	return compare.Tolerance{Abs: 5e-6 * most}
}

// newFlow is a flow far from where training begins, so that nothing of it is nearly linear. Rounding grows as much in many blocks as
// it does in one.
func newFlow(r *Rig, d, hidden, blocks int, whitened bool) kernels.FlowModel {
	m := kernels.FlowModel{D: d, Hidden: hidden, H: 3, W: 5, Clamp: 1.9 / float32(blocks), Constant: -0.7}
	scaled := func(n int, by float64) []float32 {
		v := r.Normal(n)
		for i := range v {
			v[i] *= float32(by)
		}
		return v
	}
	left, right := d-d/2, d/2
	if whitened {
		m.Mean, m.Whiten = r.Normal(d), scaled(d*d, 1/math.Sqrt(float64(d)))
		for i := range d {
			clear(m.Whiten[i*d : i*d+i])
			m.Whiten[i*d+i] = 0.5 + r.Rand.Float32()
		}
	}
	for range blocks {
		m.Blocks = append(m.Blocks, kernels.FlowBlock{
			W1: scaled(left*hidden, 1/math.Sqrt(float64(left))), W2: scaled(hidden*2*right, 1/math.Sqrt(float64(hidden))),
			Rows: scaled(m.H*hidden, 0.5), Cols: scaled(m.W*hidden, 0.5), B2: scaled(2*right, 0.5),
			Mix: scaled(d*d, 1/math.Sqrt(float64(d))), Offset: scaled(d, 0.3),
		})
	}
	return m
}

// density is q of x at position (i,j), in float64, and bend the least that a hidden unit is away from 0, where its slope jumps.
func density(m *kernels.FlowModel, x []float64, i, j int) (q, bend float64) {
	d, left, right := m.D, m.D-m.D/2, m.D/2
	times := func(y []float64, w []float32, n int) []float64 {
		z := make([]float64, n)
		for k, v := range y {
			for c, u := range w[k*n : (k+1)*n] {
				z[c] += v * float64(u)
			}
		}
		return z
	}
	y := slices.Clone(x)
	if m.Whiten != nil {
		for k := range y {
			y[k] -= float64(m.Mean[k])
		}
		y = times(y, m.Whiten, d)
	}
	log := 0.0
	bend = math.Inf(1)
	for _, b := range m.Blocks {
		h := times(y[:left], b.W1, m.Hidden)
		for k := range h {
			v := h[k] + float64(b.Rows[i*m.Hidden+k]) + float64(b.Cols[j*m.Hidden+k])
			h[k], bend = max(0, v), min(bend, math.Abs(v))
		}
		a := times(h, b.W2, 2*right)
		for k := range right {
			s := float64(m.Clamp) * math.Tanh(a[k]+float64(b.B2[k]))
			y[left+k] = y[left+k]*math.Exp(s) + a[right+k] + float64(b.B2[right+k])
			log += s
		}
		y = times(y, b.Mix, d)
		for k := range y {
			y[k] += float64(b.Offset[k])
		}
	}
	for _, v := range y {
		log -= v * v / 2
	}
	return log/float64(d) + float64(m.Constant), bend
}

// flowed is a flow on a machine.
type flowed struct {
	*Rig
	model *kernels.FlowModel
	k     kernels.Flow
	in    []Array
}

func newFlowed(r *Rig, m kernels.FlowModel) *flowed {
	r.T.Helper()
	t, err := kernels.PackFlow(m)
	require.NoError(r.T, err)
	weights, streams, values := In(r, t.Weights), In(r, t.Streams), In(r, t.Values)
	return &flowed{r, &m, kernels.Flow{
		FlowTables: t, WeightsAt: weights.Ptr, StreamsAt: streams.Ptr, ValuesAt: values.Ptr, Processors: 1,
	}, []Array{weights, streams, values}}
}

// run measures the vectors at of x, with gradients and without, and requires the same q of both.
func (f *flowed) run(x []float32, at, places []int32) (q, unit []float32) {
	f.T.Helper()
	k, d := f.k, f.k.D
	k.Items = len(at)
	vectors, where, grid := In(f.Rig, x), In(f.Rig, at), In(f.Rig, places)
	all, slopes := Out[float32](f.Rig, len(x)/d), Out[float32](f.Rig, len(at)*d)
	k.X, k.At, k.Places, k.Q = vectors.Ptr, where.Ptr, grid.Ptr, all.Ptr
	in := append([]Array{vectors, where, grid}, f.in...)
	f.Run(k.Enqueue, in, []Array{all})
	alone := all.Read()
	k.Unit = slopes.Ptr
	k.Scratch = Out[uint8](f.Rig, k.ScratchBytes()).Ptr
	f.Run(k.Enqueue, in, []Array{all, slopes})
	require.Equal(f.T, kernels.Bytes(alone), kernels.Bytes(all.Read()), "q with and without gradient")
	q = make([]float32, len(at))
	for i, a := range at {
		q[i] = alone[a]
	}
	return q, slopes.Read()
}

// vectors are n random ones among n + 3, in some order, and their positions.
func (f *flowed) vectors(n int) (x []float32, at, places []int32) {
	x = f.Normal((n + 3) * f.k.D)
	for _, v := range f.Rand.Perm(n + 3)[:n] {
		at = append(at, int32(v))
		places = append(places, int32(f.Rand.IntN(f.k.H)), int32(f.Rand.IntN(f.k.W)))
	}
	return x, at, places
}

// FlowTest tests the kernels of flow.
func FlowTest(t *testing.T, m kernels.Machine, seed uint64) {
	for _, c := range []struct {
		d, hidden, blocks int
		whitened          bool
		n                 int
	}{
		{2, 1, 1, false, 1}, {2, 3, 2, true, 65}, {5, 9, 3, false, 3}, {24, 88, 3, true, 70}, {33, 40, 2, true, 64}, {63, 33, 1, false, 5},
		{64, 128, 2, true, 200}, {65, 66, 2, true, 67}, {112, 176, 2, true, 3}, {128, 31, 1, false, 2}, {129, 70, 2, true, 66},
		{192, 96, 1, false, 64}, {256, 97, 1, true, 3}, {257, 130, 2, true, 37}, {512, 64, 1, false, 2}, {600, 150, 1, true, 18},
		{1024, 129, 1, false, 2}, {1025, 300, 1, false, 9}, {2048, 16, 1, false, 1},
	} {
		Case(t, m, seed, func(r *Rig) { flowTwin(newFlowed(r, newFlow(r, c.d, c.hidden, c.blocks, c.whitened)), c.n) },
			"D=%d, %d hidden, %d blocks, %d vectors", c.d, c.hidden, c.blocks, c.n)
	}
	for _, c := range []struct{ d, n int }{{7, 75}, {100, 70}, {130, 70}, {300, 40}, {520, 20}} { // more than a tile
		Case(t, m, seed, func(r *Rig) { flowCompany(newFlowed(r, newFlow(r, c.d, 50, 1, true)), c.n) }, "company does not matter, D=%d", c.d)
	}
	for _, fusion := range []kernels.FlowFusion{kernels.FlowSum, kernels.FlowRoot, kernels.FlowMean} {
		for _, some := range []bool{false, true} {
			Case(t, m, seed, func(r *Rig) { flowScores(r, fusion, some) }, "scores, fusion %d, some %t", fusion, some)
		}
	}
	t.Run("shared memory", func(t *testing.T) {
		for d := 2; d <= kernels.FlowMaxD; d++ {
			k := kernels.Flow{FlowTables: kernels.FlowTables{D: d, Hidden: 9, Blocks: 1, H: 1, W: 1, Streams: make([]int32, 24)}, Items: 1}
			k.X, k.At, k.Places, k.WeightsAt, k.StreamsAt, k.ValuesAt, k.Q = 16, 16, 16, 16, 16, 16, 16
			require.NoError(t, k.Enqueue(modest{}), "D=%d", d)
		}
	})
	t.Run("refuses", func(t *testing.T) { flowRefuses(t, m) })
}

// flowTwin compares with float64, and gradients with differences of that in some directions.
func flowTwin(f *flowed, n int) {
	f.T.Helper()
	x, at, places := f.vectors(n)
	q, unit := f.run(x, at, places)
	d := f.k.D
	var want, got, slope []float64
	most := max(1, 5*100/d) // differences of wide ones take their time
	for i, a := range at {
		v := wide(x[int(a)*d : (int(a)+1)*d])
		of := func() (q, bend float64) { return density(f.model, v, int(places[2*i]), int(places[2*i+1])) }
		w, bend := of()
		want = append(want, w)
		// Where a unit is as near to 0 as rounding can bring it over, there is no one gradient.
		if i >= most && i < n-2 || bend < 2e-5 {
			continue
		}
		steps := []int{0, d/2 - 1, d / 2, d - d/2 - 1, d - d/2, d - 1} // both ends of y1 and y2
		for range 4 {
			steps = append(steps, f.Rand.IntN(d))
		}
		for _, k := range slices.Compact(slices.Sorted(slices.Values(steps))) {
			if k >= d {
				continue
			}
			const step = 1e-6 // in float64: 1e-9 of rounding
			x := v[k]
			v[k] = x + step
			up, _ := of()
			v[k] = x - step
			down, _ := of()
			got, slope = append(got, float64(unit[i*d+k])), append(slope, (up-down)/(2*step))
			v[k] = x
		}
	}
	require.NotEmpty(f.T, slope)
	compare.Require(f.T, "q", q, want, throughBlocks(want))
	compare.Require(f.T, "dq/dx", got, slope, throughBlocks(slope))
}

// flowCompany measures vectors together, backwards, and one by one, one of them not finite.
func flowCompany(f *flowed, n int) {
	f.T.Helper()
	d := f.k.D
	x, at, places := f.vectors(n)
	bad := int(at[6])
	x[bad*d+d/3] = float32(math.NaN())
	q, unit := f.run(x, at, places)
	require.NotEqual(f.T, q[6], q[6], "NaN comes through")
	other, turn := make([]int32, n), make([]int32, 0, 2*n)
	for i := range n {
		other[i] = at[n-1-i]
		turn = append(turn, places[2*(n-1-i)], places[2*(n-1-i)+1])
	}
	again, slopes := f.run(x, other, turn)
	one, slope := f.run(x, at[3:4], places[6:8])
	for i := range n {
		require.Equal(f.T, sameBits(q[i:i+1]), sameBits(again[n-1-i:n-i]), "vector %d", i)
		require.Equal(f.T, sameBits(unit[i*d:(i+1)*d]), sameBits(slopes[(n-1-i)*d:(n-i)*d]), "vector %d", i)
		require.Equal(f.T, i == 6, q[i] != q[i], "vector %d", i)
	}
	require.Equal(f.T, sameBits(q[3:4]), sameBits(one))
	require.Equal(f.T, sameBits(unit[3*d:4*d]), sameBits(slope))
}

// sameBits are those of finite values; what is not a number may have any.
func sameBits(v []float32) []uint32 {
	b := make([]uint32, len(v))
	for i, x := range v {
		if b[i] = math.Float32bits(x); x != x {
			b[i] = 1
		}
	}
	return b
}

// bilinear are the taps of n cells at N locations.
func bilinear(n, N int) []kernels.FlowTap {
	taps := make([]kernels.FlowTap, N)
	for i := range taps {
		at := max((float64(i)+0.5)*float64(n)/float64(N)-0.5, 0)
		lo := int(at)
		taps[i] = kernels.FlowTap{Lo: int32(lo), W0: float32(1 - (at - float64(lo))), W1: float32(at - float64(lo))}
		if lo+1 >= n {
			taps[i].W0, taps[i].W1 = 1, 0
		}
	}
	return taps
}

// flowScores compares scores with float64, and their gradients with differences.
func flowScores(r *Rig, fusion kernels.FlowFusion, some bool) {
	const n, H, W, d = 2, 12, 8, 5
	grids := [][2]int{{12, 8}, {6, 4}, {3, 1}}
	g := kernels.FlowGrid{N: n, H: H, W: W, Fusion: fusion, Total: 0.3, Layers: len(grids)}
	var layers []kernels.FlowLayer
	var taps []kernels.FlowTap
	var q []float32
	for _, s := range grids {
		l := kernels.FlowLayer{
			Largest: -1.2, Range: 0.8, H: int32(s[0]), W: int32(s[1]), Q: int32(len(q)), Rows: int32(len(taps)), Cols: int32(len(taps) + H),
		}
		taps = append(append(taps, bilinear(s[0], H)...), bilinear(s[1], W)...)
		for range n * s[0] * s[1] {
			v := -1 - 2*r.Rand.Float32()
			if math.Abs(float64(v)-l.Largest) < 0.05 { // there the root is steep
				v = -1.3
			}
			q = append(q, v)
		}
		q[len(q)-1] = -700 // as nothing normal
		layers = append(layers, l)
	}
	spans, starts := kernels.FlowSpans(taps, layers, H, W)
	for i := range layers {
		layers[i].Spans = starts[i]
	}
	item, items := make([]int32, n*H*W), []int32{}
	for p := range item {
		if item[p] = -1; !some || r.Rand.IntN(3) == 0 {
			item[p] = int32(len(items))
			items = append(items, int32(p))
		}
	}
	g.Scores = len(items)
	ds := r.Normal(len(items))
	ds[0] = 0
	score := func(q []float64, p int) float64 {
		sum, mean := 0.0, 0.0
		for _, l := range layers {
			row, col := taps[int(l.Rows)+p/W%H], taps[int(l.Cols)+p%W]
			for a, wy := range []float32{row.W0, row.W1} {
				for b, wx := range []float32{col.W0, col.W1} {
					if w := float64(wy * wx); w != 0 {
						v := q[int(l.Q)+(p/(H*W)*int(l.H)+int(row.Lo)+a)*int(l.W)+int(col.Lo)+b]
						sum += w * math.Exp(v-l.Largest)
						mean += w * math.Sqrt(max(0, (l.Largest-v)/l.Range))
					}
				}
			}
		}
		switch s := max(0, g.Total-math.Log(sum)); fusion {
		case kernels.FlowSum:
			return s
		case kernels.FlowRoot:
			return math.Sqrt(s)
		}
		return mean / float64(len(layers))
	}
	of := wide(q)
	want := make([]float64, len(items))
	least := 0.05
	if fusion == kernels.FlowRoot {
		least = 0.4
	}
	for i, p := range items {
		if want[i] = score(of, int(p)); want[i] < least || math.IsInf(want[i], 0) {
			ds[i] = 0 // where the gradient bends, is steep, or leaves float32
		}
	}
	memories := []Array{}
	table := In(r, kernels.FlowBytes(layers))
	tap, span, all, where, which, dS := In(r, kernels.FlowBytes(taps)), In(r, spans), In(r, q), In(r, items), In(r, item), In(r, ds)
	memories = append(memories, table, tap, span, all, where, which, dS)
	g.Table, g.Taps, g.Q = table.Ptr, tap.Ptr, all.Ptr
	s := Out[float32](r, len(items))
	r.Run(kernels.FlowFuse{FlowGrid: g, Items: where.Ptr, S: s.Ptr}.Enqueue, memories, []Array{s})
	alone := s.Read()
	logs := Out[uint32](r, 2*len(items))
	g.Logs = logs.Ptr
	r.Run(kernels.FlowFuse{FlowGrid: g, Items: where.Ptr, S: s.Ptr}.Enqueue, memories, []Array{s})
	require.Equal(r.T, alone, s.Read())
	// The root of what is 0 up to rounding is that of the rounding.
	compare.Require(r.T, "scores", alone, want, compare.Tolerance{Abs: map[kernels.FlowFusion]float64{
		kernels.FlowSum: 1e-6, kernels.FlowRoot: 1e-3, kernels.FlowMean: 1e-6}[fusion], Rel: 1e-6})

	for l, s := range grids {
		cells := s[0] * s[1]
		index, vectors := make([]int32, n*cells), int32(0)
		for c := range index {
			if index[c] = -1; c%7 != 3 {
				index[c] = vectors
				vectors++
			}
		}
		unit := r.Normal(int(vectors) * d)
		df := Out[float32](r, n*cells*d)
		at, u := In(r, index), In(r, unit)
		k := kernels.FlowSpread{
			FlowGrid: g, Layer: l, Cells: cells, D: d, Item: which.Ptr, Index: at.Ptr, Spans: span.Ptr, DS: dS.Ptr, Unit: u.Ptr, DF: df.Ptr,
		}
		r.Run(k.Enqueue, append([]Array{at, u}, memories...), []Array{df})
		var slope []float64
		for c := range index {
			x := &of[int(layers[l].Q)+c]
			const step = 1e-5
			total := func(by float64) (sum float64) {
				*x += by
				for i, p := range items {
					if ds[i] != 0 {
						sum += float64(ds[i]) * score(of, int(p))
					}
				}
				*x -= by
				return sum
			}
			dq := 0.0
			if index[c] >= 0 {
				dq = (total(step) - total(-step)) / (2 * step)
			}
			for j := range d {
				if index[c] < 0 {
					slope = append(slope, 0)
				} else {
					slope = append(slope, dq*float64(unit[int(index[c])*d+j]))
				}
			}
		}
		// Differences leave some 1e-9 of their third derivatives, float32 1e-6 of each location's part.
		compare.Require(r.T, "df", df.Read(), slope, compare.Tolerance{Abs: 1e-5, Rel: 1e-5})
	}
}

func flowRefuses(t *testing.T, m kernels.Machine) {
	_, err := kernels.PackFlow(kernels.FlowModel{D: 2049, Hidden: 1, H: 1, W: 1, Blocks: make([]kernels.FlowBlock, 1)})
	require.ErrorContains(t, err, "width 2049")
	k := kernels.Flow{FlowTables: kernels.FlowTables{D: 4, Hidden: 1, Blocks: 1, H: 1, W: 1, Streams: make([]int32, 24)}, Items: 1}
	require.ErrorContains(t, k.Enqueue(m), "weights is null")
	k.X, k.At, k.Places, k.WeightsAt, k.StreamsAt, k.ValuesAt = 16, 16, 16, 16, 16, 16
	require.ErrorContains(t, k.Enqueue(m), "q is null")
	k.Q, k.Unit = 16, 16
	require.ErrorContains(t, k.Enqueue(m), "scratch is null")
	k.Items = 0
	require.ErrorContains(t, k.Enqueue(m), "0 vectors")
	g := kernels.FlowGrid{N: 1, H: 2, W: 2, Scores: 5, Layers: 1}
	require.ErrorContains(t, kernels.FlowFuse{FlowGrid: g}.Enqueue(m), "5 scores")
	g.Scores, g.Fusion = 1, 3
	require.ErrorContains(t, kernels.FlowFuse{FlowGrid: g}.Enqueue(m), "fusion 3")
	g.Fusion = kernels.FlowSum
	require.ErrorContains(t, kernels.FlowFuse{FlowGrid: g}.Enqueue(m), "table is null")
	g.Table, g.Taps, g.Q = 16, 16, 16
	require.ErrorContains(t, kernels.FlowFuse{FlowGrid: g}.Enqueue(m), "items is null")
	require.ErrorContains(t, kernels.FlowSpread{FlowGrid: g, Layer: 1, Cells: 1, D: 1}.Enqueue(m), "layer 1 of 1")
	require.ErrorContains(t, kernels.FlowSpread{FlowGrid: g, Cells: 1, D: 1}.Enqueue(m), "logs is null")
}

func init() {
	register("flow", FlowTest)
	for _, gradient := range []int{0, 1} {
		// Layers of ResNet-18 at 256 px, batch 32, and of WideResNet-50-2 at 14x14, in the flows of the paper.
		registerBench(flowBench(32*64*64, 64, gradient), flowBench(32*16*16, 256, gradient), flowBench(32*14*14, 1024, gradient))
	}
}

// flowBench is a flow of 8 blocks with rotations and 128 values of position.
func flowBench(vectors, d, gradient int) Bench {
	const blocks, condition = 8, 128
	hidden := 2 * (d - d/2 + condition)
	return Bench{
		Kernel: "flow", Peer: "flow", Size: fmt.Sprintf("%d x %d%s", vectors, d, map[int]string{1: ", gradient"}[gradient]),
		Params: map[string]int{"l": vectors, "d": d, "hidden": hidden, "blocks": blocks, "gradient": gradient},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			m := newFlow(&Rig{Rand: b.Rand}, d, hidden, blocks, false)
			t, err := kernels.PackFlow(m)
			if err != nil {
				return nil, kernels.Cost{}, err
			}
			at, places := make([]int32, vectors), make([]int32, 2*vectors)
			for i := range at {
				at[i], places[2*i], places[2*i+1] = int32(i), int32(i%m.H), int32(i%m.W)
			}
			k := kernels.Flow{FlowTables: t, Items: vectors, Processors: 132}
			all := []memory{
				{&k.X, func() (kernels.Ptr, error) { return b.Normal(vectors*d, 0, 1) }},
				{&k.At, func() (kernels.Ptr, error) { return Put(b, at) }},
				{&k.Places, func() (kernels.Ptr, error) { return Put(b, places) }},
				{&k.WeightsAt, func() (kernels.Ptr, error) { return Put(b, t.Weights) }},
				{&k.StreamsAt, func() (kernels.Ptr, error) { return Put(b, t.Streams) }},
				{&k.ValuesAt, func() (kernels.Ptr, error) { return Put(b, t.Values) }},
				{&k.Q, func() (kernels.Ptr, error) { return b.Alloc(vectors) }},
			}
			if gradient == 1 {
				all = append(all, memory{&k.Unit, func() (kernels.Ptr, error) { return b.Alloc(vectors * d) }},
					memory{&k.Scratch, func() (kernels.Ptr, error) { return b.Alloc(k.ScratchBytes() / 4) }})
				k.Unit = 1
			}
			return setUp(b, k.Cost(), func() func(kernels.Queue) error { return k.Enqueue }, all...)
		},
	}
}
