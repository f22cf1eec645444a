package cflow

import (
	"fmt"
	"math"

	"f2pad.example/engine/method/internal/axis"
)

// Plain is a fitted model as plain data, for whoever computes it elsewhere. Slices are the model's own: they must not be changed.
type Plain struct {
	Fuse   string  // one of the constants
	Total  float64 // log M
	Layers []PlainLayer
}

// PlainLayer is one layer: its constants, and its flow of vectors x [D], which begins with y = (x - Mean) Whiten, or x, and gives
//
//	log p / D = (-|y|^2/2 + the sum of all blocks' s) / D + Constant.
type PlainLayer struct {
	D, Hidden        int
	H, W             int       // of the grid that positions are of; 0 if images may have any
	Largest, Average float64   // of log p / D in the training images
	Mean, Whiten     []float32 // [D], [D,D]; nil: none
	Clamp            float64
	Constant         float64
	Blocks           []PlainBlock
}

// Place is the layer's cell that a window begins at: it has so many cells of the layer, locations of the finest grid, and lies at
// location (row,col) of that. The error says that cells are cut, or lie beyond the grid of positions.
func (l *PlainLayer) Place(cells, locations [2]int, row, col int) ([2]int, error) {
	return place([2]int{l.H, l.W}, cells, locations, row, col)
}

func place(grid, cells, locations [2]int, row, col int) (at [2]int, err error) {
	if locations[0]%cells[0] != 0 || locations[1]%cells[1] != 0 {
		return at, fmt.Errorf("%dx%d cells, the finest %dx%d: want whole cells in each", cells[0], cells[1], locations[0], locations[1])
	}
	down, across := locations[0]/cells[0], locations[1]/cells[1]
	if row%down != 0 || col%across != 0 {
		return at, fmt.Errorf("a window at cell (%d,%d) of the finest grid, which is not at a border of the layer's cells", row, col)
	}
	at = [2]int{row / down, col / across}
	if grid[0] > 0 && (at[0]+cells[0] > grid[0] || at[1]+cells[1] > grid[1]) {
		return at, fmt.Errorf("%dx%d locations at cell (%d,%d), but the model has %dx%d: it was fitted for one image size",
			cells[0], cells[1], at[0], at[1], grid[0], grid[1])
	}
	return at, nil
}

// PlainBlock is a coupling block, all of its factors joined: with y1 the first D - D/2 values of y, y2 the rest, and (i,j) the position,
//
//	h = relu(y1 W1 + Rows[i] + Cols[j]),   (a, b) = h W2 + B2
//	y2 <- y2 exp(s) + b, s = Clamp tanh(a),   y <- y Mix + Offset.
type PlainBlock struct {
	W1, W2      []float32 // [D - D/2,Hidden], [Hidden,2 (D/2)]
	Rows, Cols  []float32 // [H,Hidden] and [W,Hidden], of one row where the grid is 0
	B2          []float32 // [2 (D/2)]
	Mix, Offset []float32 // [D,D], [D]
}

// PlainTap is what a location reads of a layer's cells along an axis: W0 of Lo and, where it is not 0, W1 of the next one.
type PlainTap struct {
	Lo     int
	W0, W1 float32
}

// Up says what the locations of the finest grid read of a layer's cells along an axis.
func Up(cells, locations int) []PlainTap {
	taps := make([]PlainTap, locations)
	for i, t := range axis.Bilinear(cells, locations) {
		if taps[i] = (PlainTap{Lo: t.Lo, W0: t.W[0]}); len(t.W) > 1 {
			taps[i].W1 = t.W[1]
		}
	}
	return taps
}

// Plain returns the model. It takes as long as a few hundred vectors do.
func (m *Model) Plain() Plain {
	p := Plain{Fuse: m.opts.Fuse, Total: m.total}
	for _, l := range m.layers {
		p.Layers = append(p.Layers, l.plain())
	}
	return p
}

func (l *layer) plain() PlainLayer {
	p := PlainLayer{
		D: l.d, Hidden: l.hidden(), H: l.h, W: l.w, Largest: l.largest, Average: l.average, Mean: l.flow.mean, Whiten: l.whiten, Clamp: l.clamp,
		Constant: -0.5 * math.Log(2*math.Pi),
	}
	if l.flow.mean != nil {
		for i := range l.d {
			p.Constant += math.Log(float64(l.whiten[i*l.d+i])) / float64(l.d)
		}
	}
	all := l.parameters()
	for k := range l.blocks {
		var of [parts][]float32
		for i, q := range all[k*parts : (k+1)*parts] {
			of[i] = l.theta[q.at : q.at+q.size()]
		}
		for _, g := range of[scale] {
			p.Constant += math.Log(0.2*softplus(float64(g)/2)) / float64(l.d)
		}
		p.Blocks = append(p.Blocks, l.plainBlock(of, l.mixes[k*l.d*l.d:(k+1)*l.d*l.d]))
	}
	return p
}

// plainBlock joins scales, offsets and rotation, as loadCoupling does, the factor 0.1, and positions with W1.
func (l *layer) plainBlock(of [parts][]float32, rotation []float32) PlainBlock {
	hidden, half := l.hidden(), l.flow.c/2
	b := PlainBlock{
		W1: of[w1][:l.left()*hidden], W2: make([]float32, len(of[w2])), B2: make([]float32, len(of[b2])),
		Mix: make([]float32, l.d*l.d), Offset: make([]float32, l.d),
		Rows: make([]float32, max(l.h, 1)*hidden), Cols: make([]float32, max(l.w, 1)*hidden),
	}
	for i, v := range of[w2] {
		b.W2[i] = float32(0.1 * float64(v))
	}
	for i, v := range of[b2] {
		b.B2[i] = float32(0.1 * float64(v))
	}
	sum := make([]float64, l.d)
	for i := range l.d {
		g := 0.2 * softplus(float64(of[scale][i])/2)
		for j, r := range rotation[i*l.d : (i+1)*l.d] {
			b.Mix[i*l.d+j] = float32(g * float64(r))
			sum[j] += float64(of[offset][i]) * float64(r)
		}
	}
	for j, v := range sum {
		b.Offset[j] = float32(v)
	}
	// The encoding begins with what the column makes.
	encoded := func(to, codes, weights, bias []float32) {
		for i := range len(to) / hidden {
			sum := make([]float64, hidden)
			for n, v := range bias {
				sum[n] = float64(v)
			}
			for k := range half {
				for n, w := range weights[k*hidden : (k+1)*hidden] {
					sum[n] += float64(codes[i*half+k]) * float64(w)
				}
			}
			for n, v := range sum {
				to[i*hidden+n] = float32(v)
			}
		}
	}
	weights := of[w1][l.left()*hidden:]
	encoded(b.Cols, l.encoding.cols, weights, nil)
	encoded(b.Rows, l.encoding.rows, weights[half*hidden:], of[b1])
	return b
}
