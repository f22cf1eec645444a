package kernels

import (
	"fmt"
	"sync"
)

// FlowModel is a conditional normalizing flow of vectors x [D]: y = (x - Mean) Whiten, or x, goes through Blocks, and
//
//	q = log p / D = (-|y|^2/2 + the sum of all blocks' s) / D + Constant.
type FlowModel struct {
	D, Hidden    int
	H, W         int       // of the grid of positions, at least 1
	Mean, Whiten []float32 // [D], [D,D]; nil: none
	Clamp        float32   // of s
	Constant     float32
	Blocks       []FlowBlock
}

// FlowBlock is a coupling block, with y1 [left] the first D - D/2 values of y, and y2 [right] the rest:
//
//	h = relu(y1 W1 + Rows[i] + Cols[j]) at position (i,j),   (a, b) = h W2 + B2
//	y2 <- y2 exp(s) + b, s = Clamp tanh(a),                  y <- y Mix + Offset
type FlowBlock struct {
	W1, W2      []float32 // [left,Hidden], [Hidden,2 right]
	Rows, Cols  []float32 // [H,Hidden], [W,Hidden]
	B2          []float32 // [2 right]
	Mix, Offset []float32 // [D,D], [D]
}

// FlowMaxD is the widest vector that the kernel takes.
const FlowMaxD = 2048

// flowShape is flow.cu's geometry for D up to d: vectors of a tile, columns of a warp in the widest product, and how many blocks a
// processor's registers hold.
type flowShape struct{ d, vectors, columns, resident int }

const (
	flowWarps = 8
	flowChunk = 256 // values
	flowRing  = 3   // chunks of a warp
)

func shapeOfFlow(d int) flowShape {
	for _, s := range []flowShape{{64, 64, 8, 2}, {128, 64, 16, 2}, {256, 64, 32, 1}, {512, 32, 64, 1}, {1024, 16, 128, 1}} {
		if d <= s.d {
			return s
		}
	}
	return flowShape{FlowMaxD, 8, 256, 1}
}

// units is how many hidden units there are at a time, and wide how many columns a warp has of them.
func (s flowShape) units() int { return 2048 / s.vectors }
func (s flowShape) wide() int  { return s.units() / flowWarps }

// FlowTables is a FlowModel as the kernel reads it.
type FlowTables struct {
	D, Hidden, Blocks, H, W int
	Whitened                bool
	Clamp, Constant         float32
	Weights                 []float32 // chunks: the warps' streams
	Streams                 []int32   // [8,3]: a warp's first chunk, its chunks forward, and those backward as well
	// Values are mean [D], offsets [1+Blocks,D], the first 0, b2 [Blocks,2 right] in pairs, and the tables of positions
	// [Blocks,H,...] and [Blocks,W,...], of Hidden units to a multiple of what there are at a time. Each begins at a multiple of 4.
	Values []float32
	at     [5]int // where
}

// PackFlow lays a flow out for the kernel. D may be 2 to FlowMaxD.
func PackFlow(m FlowModel) (FlowTables, error) {
	if m.D < 2 || m.D > FlowMaxD || m.Hidden < 1 || len(m.Blocks) < 1 || m.H < 1 || m.W < 1 {
		return FlowTables{}, fmt.Errorf("kernels: flow: %d blocks of width %d, %d hidden units and %dx%d positions, want widths of 2 to %d",
			len(m.Blocks), m.D, m.Hidden, m.H, m.W, FlowMaxD)
	}
	t := FlowTables{
		D: m.D, Hidden: m.Hidden, Blocks: len(m.Blocks), H: m.H, W: m.W, Whitened: m.Whiten != nil, Clamp: m.Clamp, Constant: m.Constant,
	}
	t.values(m)
	var streams [flowWarps]flowStream
	var forward [flowWarps]int
	var all sync.WaitGroup
	for w := range streams {
		all.Go(func() {
			s := &streams[w]
			*s = flowStream{warp: w, shape: shapeOfFlow(m.D), m: &m}
			s.forward()
			forward[w] = s.chunks()
			s.backward()
		})
	}
	all.Wait()
	for w, s := range streams {
		t.Streams = append(t.Streams, int32(len(t.Weights)/flowChunk), int32(forward[w]), int32(s.chunks()))
		t.Weights = append(t.Weights, s.values...)
	}
	return t, nil
}

// values fills t.Values.
func (t *FlowTables) values(m FlowModel) {
	s := shapeOfFlow(m.D)
	right, pitch := m.D/2, ceil(m.Hidden, s.units())*s.units()
	begin := func(part int) {
		for len(t.Values)%4 != 0 {
			t.Values = append(t.Values, 0)
		}
		t.at[part] = len(t.Values)
	}
	begin(0)
	t.Values = append(t.Values, make([]float32, m.D)...)
	copy(t.Values, m.Mean)
	begin(1)
	t.Values = append(t.Values, make([]float32, m.D)...)
	for _, b := range m.Blocks {
		t.Values = append(t.Values, b.Offset[:m.D]...)
	}
	begin(2)
	for _, b := range m.Blocks {
		for i := range right {
			t.Values = append(t.Values, b.B2[i], b.B2[right+i])
		}
	}
	table := func(part, n int, of func(FlowBlock) []float32) {
		begin(part)
		for _, b := range m.Blocks {
			for i := range n {
				t.Values = append(t.Values, of(b)[i*m.Hidden:(i+1)*m.Hidden]...)
				t.Values = append(t.Values, make([]float32, pitch-m.Hidden)...)
			}
		}
	}
	table(3, m.H, func(b FlowBlock) []float32 { return b.Rows })
	table(4, m.W, func(b FlowBlock) []float32 { return b.Cols })
}

// flowStream is a warp's weights, in the order of its products.
type flowStream struct {
	warp   int
	shape  flowShape
	m      *FlowModel
	values []float32
}

func (s *flowStream) chunks() int { return len(s.values) / flowChunk }

// product appends the warp's columns, width of them, of a matrix [depth,n]; of a warp that has none, nothing.
func (s *flowStream) product(depth, n, width int, at func(k, n int) float32) {
	first := s.warp * width
	if first >= n {
		return
	}
	values := make([]float32, ceil(depth*width, flowChunk)*flowChunk)
	for k := range depth {
		for c := range min(width, n-first) {
			values[k*width+c] = at(k, first+c)
		}
	}
	s.values = append(s.values, values...)
}

// tiles visits the hidden units that are there at a time.
func (s *flowStream) tiles(visit func(lo, n int)) {
	for lo := 0; lo < s.m.Hidden; lo += s.shape.units() {
		visit(lo, min(s.shape.units(), s.m.Hidden-lo))
	}
}

// units appends a product whose results are hidden units: every warp has some, those beyond the last are 0.
func (s *flowStream) units(depth, lo, n int, at func(k, unit int) float32) {
	s.product(depth, s.shape.units(), s.shape.wide(), func(k, c int) float32 {
		if c >= n {
			return 0
		}
		return at(k, lo+c)
	})
}

func (s *flowStream) forward() {
	m := s.m
	d, left, right := m.D, m.D-m.D/2, m.D/2
	if m.Whiten != nil {
		s.product(d, d, s.shape.columns, func(k, n int) float32 { return m.Whiten[k*d+n] })
	}
	for _, b := range m.Blocks {
		s.tiles(func(lo, n int) {
			s.units(left, lo, n, func(k, unit int) float32 { return b.W1[k*m.Hidden+unit] })
			s.product(n, 2*right, s.shape.columns, func(k, c int) float32 { return b.W2[(lo+k)*2*right+c%2*right+c/2] })
		})
		s.product(d, d, s.shape.columns, func(k, n int) float32 { return b.Mix[k*d+n] })
	}
}

func (s *flowStream) backward() {
	m := s.m
	d, left, right := m.D, m.D-m.D/2, m.D/2
	for i := len(m.Blocks) - 1; i >= 0; i-- {
		b := m.Blocks[i]
		s.product(d, d, s.shape.columns, func(k, n int) float32 { return b.Mix[n*d+k] })
		s.tiles(func(lo, n int) {
			s.units(2*right, lo, n, func(k, unit int) float32 { return b.W2[unit*2*right+k] })
			s.product(n, left, s.shape.columns/2, func(k, c int) float32 { return b.W1[c*m.Hidden+lo+k] })
		})
	}
	if m.Whiten != nil {
		s.product(d, d, s.shape.columns, func(k, n int) float32 { return m.Whiten[n*d+k] })
	}
}

// FlowSpans lists, for each row and then each column of each layer's cells, the first location of the finest grid, H x W, that
// reads it, and how many follow one another; starts is where each layer's begin: FlowLayer.Spans.
func FlowSpans(taps []FlowTap, layers []FlowLayer, H, W int) (spans, starts []int32) {
	axis := func(taps []FlowTap, cells int32) {
		for cell := range cells {
			first, n := int32(0), int32(0)
			for i, t := range taps {
				if t.Lo == cell && t.W0 != 0 || t.Lo+1 == cell && t.W1 != 0 {
					if n == 0 {
						first = int32(i)
					}
					n = int32(i) + 1 - first
				}
			}
			spans = append(spans, first, n)
		}
	}
	for _, l := range layers {
		starts = append(starts, int32(len(spans)))
		axis(taps[l.Rows:][:H], l.H)
		axis(taps[l.Cols:][:W], l.W)
	}
	return spans, starts
}

// FlowBytes views FlowLayers and FlowTaps as the kernels read them.
func FlowBytes[T FlowLayer | FlowTap](s []T) []byte {
	return structBytes(s)
}
