package kerneltest

import (
	"errors"
	"math"
	"slices"
	"testing"

	"f2pad.example/engine/device"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/method"
	"f2pad.example/engine/pixel"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// Copier is a Machine that copies within its memory.
type Copier interface {
	kernels.Machine
	Copy(dst, src kernels.Ptr, bytes int) error
}

// farCase is a kernel on n items of a batch, which are all the same. setup is given side and channels of an item.
type farCase struct {
	kernel string
	setup  func(l *lot, side, channels int) func(q kernels.Queue) error
}

// lot is memory for n items.
type lot struct {
	*Rig
	m    Copier
	n    int
	item int // bytes of an item of the array that is to be long
	outs []farOut
}

type farOut struct {
	at   kernels.Ptr
	item int // bytes
}

func (l *lot) alloc(bytes int) kernels.Ptr {
	l.T.Helper()
	p, err := l.m.Alloc(bytes)
	if errors.Is(err, device.ErrOutOfMemory) {
		l.T.Skipf("SKIPPED: %d items are not tested: %v", l.n, err)
	}
	require.NoError(l.T, err)
	l.T.Cleanup(func() { require.NoError(l.T, l.m.Free(p)) })
	return p
}

// in makes an array of n times an item.
func in[T Value](l *lot, item []T) kernels.Ptr {
	l.T.Helper()
	b := kernels.Bytes(item)
	p := l.alloc(l.n * len(b))
	require.NoError(l.T, l.m.Write(p, b))
	for done, all := len(b), l.n*len(b); done < all; {
		more := min(done, all-done)
		require.NoError(l.T, l.m.Copy(p+kernels.Ptr(done), p, more))
		done += more
	}
	l.item = max(l.item, len(b))
	return p
}

// out makes room for n items that are written, in place of what an item has in it.
func (l *lot) out(p kernels.Ptr, bytes int) kernels.Ptr {
	l.T.Helper()
	if p == 0 {
		p = l.alloc(l.n * bytes)
	}
	l.item = max(l.item, bytes)
	l.outs = append(l.outs, farOut{p, bytes})
	return p
}

// shared makes an array that does not grow with the batch.
func shared[T Value](l *lot, v []T) kernels.Ptr {
	l.T.Helper()
	p := l.alloc(len(kernels.Bytes(v)))
	require.NoError(l.T, l.m.Write(p, kernels.Bytes(v)))
	return p
}

// read returns item i of every array that was written.
func (l *lot) read(i int) (all [][]byte) {
	for _, o := range l.outs {
		b := make([]byte, o.item)
		require.NoError(l.T, l.m.Read(b, o.at+kernels.Ptr(i*o.item)))
		all = append(all, b)
	}
	return all
}

// across is the item of an array that lies on the last multiple of limit bytes.
func across(items, bytes int, limit int64) int {
	return int(int64(items)*int64(bytes)/limit*limit-1) / bytes
}

// Far tests each kernel on a batch whose longest array goes past limit bytes: the items there, and those that lie across a multiple
// of it, must get the bits that the first gets and one alone. Sizes are small for an emulation. What does not fit into the memory is
// skipped. It returns which kernels there are.
func Far(t *testing.T, m Copier, limit int64, small bool, seed uint64) (all []string) {
	side, channels := 64, 64
	if small {
		side, channels = 8, 8
	}
	for _, c := range farCases {
		all = append(all, c.kernel)
		t.Run(c.kernel, func(t *testing.T) {
			run := func(n int) (l *lot) {
				l = &lot{Rig: New(t, m, seed), m: m, n: n}
				require.NoError(t, c.setup(l, side, channels)(m))
				return l
			}
			alone := run(1)
			want := alone.read(0)
			n := int(limit/int64(alone.item)) + 3
			l := run(n)
			items := []int{0, n - 1}
			for _, o := range l.outs {
				items = append(items, max(0, across(n, o.item, limit)))
			}
			for _, i := range items {
				for k, got := range l.read(i) {
					require.Equal(t, -1, differ(want[k], got), "output %d of item %d of %d: the first byte that is another's", k, i, n)
				}
			}
			t.Logf("%d items, the longest array of %d bytes", n, n*alone.item)
		})
	}
	return all
}

var farCases = []farCase{
	{"base_map", func(l *lot, side, _ int) func(kernels.Queue) error {
		axis, err := kernels.NewAxis(side, 4*side, method.MapOptions{Sigma: 1, Radius: 4}.Axis(side, 4*side))
		require.NoError(l.T, err)
		k := kernels.BaseMap{N: l.n, Rows: axis, Columns: axis}
		table, _, err := k.Tables()
		require.NoError(l.T, err)
		k.RowTable = shared(l, table)
		k.ColumnTable, k.Grid, k.Out = k.RowTable, in(l, l.Normal(side*side)), l.out(0, 4*16*side*side)
		return k.Enqueue
	}},
	{"blur", func(l *lot, side, _ int) func(kernels.Queue) error {
		k := kernels.Blur{N: l.n, H: 4 * side, W: 4 * side, Taps: pixel.NewGaussian(1).Taps()}
		k.In, k.Out = in(l, l.Normal(16*side*side)), l.out(0, 4*16*side*side)
		return k.Enqueue
	}},
	{"ceiling", func(l *lot, _, _ int) func(kernels.Queue) error {
		copies := kernels.CeilingCopy{N: l.n * kernels.CeilingReadBlock}
		copies.In, copies.Out = in(l, l.Normal(kernels.CeilingReadBlock)), l.out(0, 4*kernels.CeilingReadBlock)
		sums := kernels.CeilingRead{N: copies.N, In: copies.In, Out: l.out(0, 4)}
		return both(copies, sums)
	}},
	{"cells", func(l *lot, side, channels int) func(kernels.Queue) error {
		cells := side * side
		values := cells * channels
		four := kernels.Cells{
			Rectangles: l.n, Rows: side, Columns: side, D: channels, Table: shared(l, numbers(3*l.n, func(i int) int { return i / 3 * cells })),
			OutPitch: side, APitch: side, BPitch: side, A: in(l, l.Normal(values)), B: in(l, l.Normal(values)), Out: l.out(0, 4*values),
		}
		one := four // of cells of a value
		one.Columns, one.D, one.Table = side*channels, 1, shared(l, numbers(3*l.n, func(i int) int { return i / 3 * values }))
		one.OutPitch, one.APitch, one.BPitch, one.Out = one.Columns, one.Columns, one.Columns, l.out(0, 4*values)
		return both(four, one)
	}},
	{"compose", func(l *lot, side, _ int) func(kernels.Queue) error {
		hw := 16 * side * side
		k := kernels.Compose{N: l.n, H: 4 * side, W: 4 * side, Y: in(l, l.Normal(3*hw)), A: in(l, l.Normal(3*hw)), Scale: in(l, l.Normal(hw))}
		k.Mask, k.Out = in(l, stepSquares(1, 4*side, 4*side, 2*side)), l.out(0, 4*3*hw)
		return k.Enqueue
	}},
	{"conv", func(l *lot, side, channels int) func(kernels.Queue) error {
		win := graph.Window{Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Begin: [2]int{1, 1}, End: [2]int{1, 1}}
		size := [2]int{side, side}
		values := side * side * channels
		weights := kernels.ConvWeights{Shape: [4]int{channels, channels, 3, 3}, Groups: 1, Values: l.Normal(channels * channels * 9)}
		image := l.Normal(values)
		work := make([]enqueuer, 2)
		for i, half := range []bool{false, true} {
			t, err := kernels.PlanConv(win, size, size, weights, half)
			require.NoError(l.T, err)
			k := kernels.Conv{
				Kind: t.Kind, Images: l.n, InPixels: side * side, OutPixels: side * side, C: channels, N: channels, Groups: 1, Rows: len(t.Rows), Steps: t.Steps,
				Table: shared(l, t.TableBytes()), Pieces: shared(l, t.PieceBytes()), Weights: shared(l, t.Pack()),
				Lo: float32(math.Inf(-1)), Hi: float32(math.Inf(1)),
			}
			if half {
				// Of two images each, or the float16 would not reach so far.
				pair := toHalves(append(image, image...))
				k.Images, k.X, k.Out = 2*l.n, in(l, pair), l.out(0, 2*len(pair))
				k.Signs = l.out(0, len(pair)/8)
			} else {
				k.X, k.Out = in(l, image), l.out(0, 4*values)
			}
			work[i] = k
		}
		return both(work...)
	}},
	{"coreset", func(l *lot, side, channels int) func(kernels.Queue) error {
		const points = 64
		d := 4 * side
		c := kernels.Coreset{P: points * l.n, D: d, Want: 2, Starts: []int{0}, Steps: 1}
		c.X, c.Dist = in(l, l.Normal(points*d)), l.out(0, 4*points)
		c.Tops, c.State, c.Centres = l.alloc(4*kernels.CoresetTops), l.alloc(4*kernels.CoresetState), l.alloc(4*c.Want)
		return func(q kernels.Queue) error { return errors.Join(c.Begin(q), c.Enqueue(q)) }
	}},
	{"cut", func(l *lot, side, _ int) func(kernels.Queue) error {
		side *= 4
		hw := side * side
		c := kernels.Cut{
			N: l.n, H: side, W: side, Windows: l.n, Rows: side, Columns: side, Y: in(l, l.Normal(3*hw)), A: in(l, l.Normal(3*hw)),
			Scale: in(l, l.Normal(hw)), Mask: in(l, stepSquares(1, side, side, side/2)), Gain: in(l, l.Normal(3)), Shift: in(l, l.Normal(3)),
			Strides: [4]int{3 * hw, 1, 3 * side, 3}, Out: l.out(0, 12*hw),
		}
		table, windows := make([]int32, 4*l.n), make([]kernels.CutWindow, l.n)
		for i := range l.n {
			table[4*i], table[4*i+1] = int32(i), int32(i)
			windows[i] = kernels.CutWindow{H: side, W: side, At: 3 * hw * i}
		}
		c.Table = shared(l, table)
		g := kernels.CutGather{N: l.n, H: side, W: side, DW: c.Out, Gain: c.Gain, DX: l.out(0, 12*hw)}
		g.Bounds, g.Windows = shared(l, numbers(l.n+1, func(i int) int { return i })), shared(l, kernels.CutWindows(windows))
		return both(c, g)
	}},
	{"embed", func(l *lot, side, channels int) func(kernels.Queue) error {
		cells := side * side
		values := cells * channels
		at := shared(l, numbers(l.n*cells, func(i int) int { return i }))
		var work []enqueuer
		for _, pooled := range []int{0, channels} {
			m := linear{embedCase: embedCase{windows: l.n, h: side, w: side, layerH: side, layerW: side, c: channels, pooled: pooled}, d: channels}
			m.rows, m.cols, m.channels = m.axis(l.Rig, side, side), m.axis(l.Rig, side, side), make([]int32, channels)
			layer, _ := m.layer(l.Rig, false)
			e := kernels.Embed{EmbedLayer: layer, Items: l.n * cells, At: at, F: in(l, l.Normal(values)), Q: l.out(0, 4*values)}
			layer, _ = m.layer(l.Rig, true)
			g := kernels.EmbedGradient{EmbedLayer: layer, To: l.n, Rows: e.Items, Row: at, DQ: e.Q, DF: l.out(0, 4*values)}
			g.Item, g.Weight = at, in(l, l.Normal(cells))
			if pooled > 0 {
				for k := range channels {
					m.pool = append(m.pool, []kernels.AxisTap{{Offset: 9 * k, Weight: 2}, {Offset: 9*k + 1, Weight: 3}})
				}
				e.Pool, g.Values = shared(l, kernels.EmbedPool(m.pool)), shared(l, kernels.EmbedPoolBack(m.pool, channels))
			}
			work = append(work, e, g)
		}
		return both(work...)
	}},
	{"energy", func(l *lot, side, _ int) func(kernels.Queue) error {
		scores := side * side
		e := kernels.Energy{Windows: l.n, Bounds: shared(l, numbers(l.n+1, func(i int) int { return i * scores })), Q995: 1, Weight: 16, Margin: 0.5}
		e.S, e.E, e.DS = in(l, l.Normal(scores)), l.out(0, 8), l.out(0, 4*scores)
		return e.Enqueue
	}},
	{"fill_min", func(l *lot, side, _ int) func(kernels.Queue) error {
		const k = 2
		side *= 4
		hw := side * side
		w := kernels.FillWindows{Each: make([]kernels.FillWindow, l.n)}
		for i := range w.Each {
			w.Each[i] = kernels.FillWindow{H: side, W: side, Pixels: hw, K: k}
		}
		w.Table, w.Pixels = shared(l, w.TableOf()), in(l, numbers(hw, func(i int) int { return i }))
		f := kernels.FillMin{FillWindows: w, Y: in(l, l.Normal(3*hw)), Fills: in(l, l.Normal(3*k*hw))}
		f.Sq, f.Residual = l.out(0, 4*k*hw), l.out(0, 4*hw)
		return f.Enqueue
	}},
	{"fill_search", func(l *lot, side, _ int) func(kernels.Queue) error {
		side *= 4
		hw := side * side
		ring := kernels.SearchRing{Pixels: hw / 4, Shifts: 2, Normals: 1, Channels: 3, H: side, W: side, MeanShare: 0.7}
		k := kernels.FillSearch{Blur: pixel.NewGaussian(1).Taps(), Images: in(l, l.Normal(3*hw))}
		s := kernels.FillSpread{Fills: k.Images}
		var candidates []int32
		for i := range l.n {
			ring.Image = i * 3 * hw
			k.Rings, k.Normals = append(k.Rings, ring), append(k.Normals, kernels.SearchNormal{C: 1, H: side, W: side})
			candidates = append(candidates, int32(-hw/3), int32(hw/3), int32(i))
			s.Jobs = append(s.Jobs, kernels.SpreadJob{N: hw / 2, K: 2, Share: 0.9})
		}
		bytes := make([]uint8, hw)
		for i := range bytes {
			bytes[i] = uint8(l.Rand.IntN(256))
		}
		normals := in(l, bytes)
		for i := range k.Normals {
			k.Normals[i].Bytes = normals + kernels.Ptr(i*hw)
		}
		k.Table, k.Candidates, k.Taps = shared(l, k.TableOf()), shared(l, candidates), shared(l, k.Blur)
		k.Pixels, k.Costs = in(l, numbers(ring.Pixels, func(i int) int { return hw/3 + i })), l.out(0, 4*3)
		s.Table, s.Out = shared(l, s.TableOf()), l.out(0, 4*hw/2)
		return both(k, s)
	}},
	{"flow", func(l *lot, side, channels int) func(kernels.Queue) error {
		cells := 4 * side
		m := newFlow(l.Rig, channels, channels, 1, true)
		t, err := kernels.PackFlow(m)
		require.NoError(l.T, err)
		at := shared(l, numbers(l.n*cells, func(i int) int { return i })) // all, in order: of vectors, cells and locations
		f := kernels.Flow{
			FlowTables: t, Items: l.n * cells, Processors: 132, X: in(l, l.Normal(cells*channels)), At: at,
			Places:    in(l, numbers(2*cells, func(int) int { return l.Rand.IntN(min(m.H, m.W)) })),
			WeightsAt: shared(l, t.Weights), StreamsAt: shared(l, t.Streams), ValuesAt: shared(l, t.Values),
			Q: l.out(0, 4*cells), Unit: l.out(0, 4*cells*channels),
		}
		f.Scratch = l.alloc(f.ScratchBytes())
		layers, taps := []kernels.FlowLayer{{H: int32(side), W: 4, Cols: int32(side)}}, append(bilinear(side, side), bilinear(4, 4)...)
		spans, _ := kernels.FlowSpans(taps, layers, side, 4)
		g := kernels.FlowGrid{
			N: l.n, H: side, W: 4, Scores: f.Items, Total: 10, Layers: 1, Table: shared(l, kernels.FlowBytes(layers)),
			Taps: shared(l, kernels.FlowBytes(taps)), Q: f.Q, Logs: l.out(0, 8*cells),
		}
		fuse := kernels.FlowFuse{FlowGrid: g, Items: at, S: l.out(0, 4*cells)}
		spread := kernels.FlowSpread{FlowGrid: g, Cells: cells, D: channels, Item: at, Index: at, Spans: shared(l, spans), DS: fuse.S, Unit: f.Unit}
		spread.DF = l.out(0, 4*cells*channels)
		return both(f, fuse, spread)
	}},
	{"knn", func(l *lot, side, channels int) func(kernels.Queue) error {
		const queries, rows = 32, 300
		d := 8 * side
		k := kernels.KNN{Bank: kernels.KNNBank{M: rows, D: d, Products: 1, Rows: shared(l, l.Normal(rows*d))}, N: queries * l.n}
		k.Bank.Prepared, k.Scratch = l.alloc(k.Bank.Bytes()), l.alloc(k.ScratchBytes())
		k.Queries, k.Winner, k.Dist = in(l, l.Normal(queries*d)), l.out(0, 4*queries), l.out(0, 8*queries)
		g := kernels.KNNGradient{L: k.N, M: rows, D: d, Queries: k.Queries, Rows: k.Bank.Rows, Winner: k.Winner, Dist: k.Dist}
		g.DS, g.DQ = in(l, l.Normal(queries)), l.out(0, 4*queries*d)
		return both(k.Bank, k, g)
	}},
	{"mahalanobis", func(l *lot, side, _ int) func(kernels.Queue) error {
		features := 4 * side
		m := kernels.Mahalanobis{Items: l.n, Gaussians: l.n, K: features, X: in(l, l.Normal(features)), Mean: in(l, l.Normal(features))}
		state := make([]int32, l.n)
		for i := range state {
			state[i] = int32(i)
		}
		groups := kernels.MahalanobisGroups(state)
		m.Groups, m.Group, m.Factor = len(groups)/3, shared(l, groups), in(l, l.Normal(kernels.FactorLen(features)))
		m.S, m.Unit = l.out(0, 4), l.out(0, 4*features)
		return m.Enqueue
	}},
	{"matmul", func(l *lot, side, channels int) func(kernels.Queue) error {
		n := 4 * side
		k := kernels.MatMul{Images: l.n, Batch: 1, M: n, N: n, K: channels, AImage: n * channels, BImage: n * channels, AM: channels, AK: 1, BK: n, BN: 1}
		k.A, k.B, k.Places, k.Out = in(l, l.Normal(n*channels)), in(l, l.Normal(n*channels)), shared(l, []int32{0, 0}), l.out(0, 4*n*n)
		return k.Enqueue
	}},
	{"max_pool", func(l *lot, side, channels int) func(kernels.Queue) error {
		win := graph.Window{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}, Dilation: [2]int{1, 1}}
		p := kernels.MaxPool{Images: l.n, C: channels, In: [2]int{side, side}, Pooled: [2]int{side / 2, side / 2}}
		values := side * side * channels
		p.Form = shared(l, kernels.MaxPoolForm(win, channels, p.In, p.Pooled))
		p.X, p.Out = in(l, l.Normal(values)), l.out(0, values)
		g := p
		g.Grad, g.Out = in(l, l.Normal(values/4)), l.out(0, 4*values)
		return both(p, g)
	}},
	{"norm_conv", func(l *lot, side, channels int) func(kernels.Queue) error {
		pixels, c := 4*side, 2*channels
		k := kernels.NormConv{Jobs: slices.Repeat([]kernels.NormConvJob{{N: pixels, M: pixels, C: c, W: side, Sigma: 3}}, l.n)}
		k.Table, k.Pixels = shared(l, k.TableOf()), in(l, numbers(2*pixels, func(int) int { return l.Rand.IntN(side * side) }))
		k.V, k.Out = in(l, l.Normal(pixels*c)), l.out(0, 4*pixels*c)
		return k.Enqueue
	}},
	{"pixel_step", func(l *lot, side, _ int) func(kernels.Queue) error {
		side *= 4
		hw := side * side
		share, norm := pixel.NewGaussian(1.5), pixel.NewGaussian(1)
		mask := stepSquares(1, side, side, side/2)
		all := make([]uint8, 0, l.n*hw)
		for range l.n {
			all = append(all, mask...)
		}
		list := kernels.ActiveTiles(all, l.n, side, side)
		s := kernels.PixelStep{
			N: l.n, H: side, W: side, ShareRadius: share.Radius(), NormRadius: norm.Radius(), Momentum: 0.8, Decay: 0.95, Rate: 0.1, Lambda: 3, Eps: 0.1,
			Iterations: 1, Iteration: 1, Blocks: len(list) - l.n - 1, Share: shared(l, share.Taps()), Norm: shared(l, norm.Taps()),
			Schedule: shared(l, kernels.StepSchedule(0.8, 0.95, 1, 1)), Tiles: shared(l, list), Mask: in(l, mask), DX: in(l, l.Normal(3*hw)),
			Scale: in(l, l.off(hw)), SQ: l.alloc(4 * l.n * hw), Partial: l.alloc(4 * 3 * len(list)), Stats: l.out(0, 12),
		}
		s.A, s.M = l.out(in(l, l.Normal(3*hw)), 12*hw), l.out(in(l, l.Normal(3*hw)), 12*hw)
		v := l.Normal(hw)
		for i := range v {
			v[i] *= v[i]
		}
		s.V, s.Sum = l.out(in(l, v), 4*hw), l.out(in(l, v), 4*hw)
		return s.Enqueue
	}},
	{"pointwise", func(l *lot, side, channels int) func(kernels.Queue) error {
		n := side * side * channels
		words, err := kernels.PointForm{
			Extents: []int{n}, Strides: [][]int{nil, nil}, Program: []kernels.PointProgramStep{{Op: kernels.PointAdd, Operand: 1}},
		}.Words()
		require.NoError(l.T, err)
		p := kernels.Pointwise{Images: l.n, Elements: n, Form: shared(l, words), InImage: [kernels.PointInputs]int{n, n}}
		p.In[0], p.In[1], p.Out = in(l, l.Normal(n)), in(l, l.Normal(n)), l.out(0, 4*n)
		return p.Enqueue
	}},
	{"regions", func(l *lot, side, _ int) func(kernels.Queue) error {
		hw := 16 * side * side
		count := hw / 3 // of an image: its part of the list is as long as that of A
		planes := func() kernels.Regions {
			return kernels.Regions{
				N: l.n, H: 4 * side, W: 4 * side, Count: l.n * count, A: in(l, l.Normal(3*hw)), M: in(l, l.Normal(3*hw)), V: in(l, l.Normal(hw)),
				Sum: in(l, l.Normal(hw)),
			}
		}
		get, put := planes(), planes()
		get.At = shared(l, numbers(get.Count, func(i int) int { return i/count*hw + i%count*3 }))
		put.At, put.List = get.At, in(l, slices.Repeat(l.Normal(count), kernels.RegionsPut)) // c, and where the rest comes
		get.List = put.List.Plus(get.Count)
		for line := range kernels.RegionsGet {
			l.out(get.List.Plus(line*get.Count), 4*count)
		}
		put.Mask, put.Scale = l.out(in(l, make([]uint8, hw)), hw), l.out(in(l, l.Normal(hw)), 4*hw)
		l.out(put.A, 12*hw)
		l.out(put.M, 12*hw)
		l.out(put.V, 4*hw)
		l.out(put.Sum, 4*hw)
		return func(q kernels.Queue) error { return errors.Join(get.Get(q), put.Put(q)) }
	}},
	{"rescale", func(l *lot, side, _ int) func(kernels.Queue) error {
		n := 16 * side * side
		array := func() kernels.RescaleArray {
			return kernels.RescaleArray{X: l.out(in(l, l.Normal(n)), 4*n), Elements: n}
		}
		k := kernels.Rescale{Images: l.n, Arrays: []kernels.RescaleArray{array()}, Limit: -4, Powers: l.out(0, 4)}
		k.Magnitudes = l.alloc(4 * l.n * kernels.RescaleBlocks(n))
		other := array()
		return func(q kernels.Queue) error { return errors.Join(k.Enqueue(q), k.Back(q, other)) }
	}},
	{"runs", func(l *lot, side, _ int) func(kernels.Queue) error {
		const channels = 3
		hw := 16 * side * side
		k := kernels.Runs{N: l.n, C: channels, H: 4 * side, W: 4 * side}
		for i := range l.n {
			k.Each = append(k.Each, kernels.Run{Image: i, To: hw / 2}, kernels.Run{Image: i, From: hw - 5, To: hw})
		}
		count := hw/2 + 5
		k.Table, k.List = shared(l, k.TableOf()), in(l, slices.Repeat(l.Normal(count), channels)) // the same again for each image
		k.Planes = l.out(in(l, l.Normal(channels*hw)), 4*channels*hw)
		get := k
		get.List = in(l, slices.Repeat(l.Normal(count), channels))
		for ch := range channels {
			l.out(get.List.Plus(ch*l.n*count), 4*count)
		}
		return func(q kernels.Queue) error { return errors.Join(k.Put(q), get.Get(q)) }
	}},
	{"separable", func(l *lot, side, channels int) func(kernels.Queue) error {
		n := side * side * channels
		taps := make([][]kernels.AxisTap, n)
		for i := range taps { // backwards
			taps[i] = []kernels.AxisTap{{Offset: n - 1 - i, Weight: 2}}
		}
		f, err := kernels.PlanSeparable([]kernels.SeparableAxis{{Stride: 1, Taps: taps}})
		require.NoError(l.T, err)
		words := shared(l, f.Words)
		s := kernels.Separable{
			Images: l.n, Axes: f.Axes, Elements: f.Elements, Form: words, Starts: words.Plus(f.Starts), Taps: shared(l, append(f.Taps, 0)),
			InImage: n, OutImage: n, X: in(l, l.Normal(n)), Out: l.out(0, 4*n),
		}
		return s.Enqueue
	}},
	{"softmax", func(l *lot, side, channels int) func(kernels.Queue) error {
		n := side * side
		s := kernels.Softmax{Outer: channels * l.n, N: n, Inner: 1, X: in(l, l.Normal(channels*n)), Out: l.out(0, 4*channels*n)}
		return s.Enqueue
	}},
	{"upsample", func(l *lot, side, _ int) func(kernels.Queue) error {
		u := kernels.Upsample{N: l.n, GridH: side, GridW: side, H: 4 * side, W: 4 * side, Grid: in(l, l.Normal(side*side)), Out: l.out(0, 4*16*side*side)}
		return u.Enqueue
	}},
}

// numbers is a table of n.
func numbers(n int, of func(i int) int) []int32 {
	all := make([]int32, n)
	for i := range all {
		all[i] = int32(of(i))
	}
	return all
}

// enqueuer is a kernel's launch.
type enqueuer interface{ Enqueue(q kernels.Queue) error }

// both enqueues one after the other.
func both(all ...enqueuer) func(kernels.Queue) error {
	return func(q kernels.Queue) error {
		for _, e := range all {
			if err := e.Enqueue(q); err != nil {
				return err
			}
		}
		return nil
	}
}
