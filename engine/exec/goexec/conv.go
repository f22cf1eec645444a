package goexec

import (
	"f2pad/engine/graph"
	"f2pad/engine/internal/gemm"
)

// conv computes Conv and ConvTranspose. Both are sums over taps: output (row + i*spread, col + j*spread) of a phase is
// the bias plus the sum, in the order of input channel, kernel row, kernel column, of weight times input
// (i*step + dy, j*step + dx). Conv has one phase and spread 1; ConvTranspose has step 1 and a phase for each remainder of
// an output coordinate divided by the stride, with the taps that meet it.
//
// A unit of work is a band of rows of one group. Where a tap may fall outside the input or columns are strided, the
// input rows of the band are first copied to scratch, with zeros around them and columns sorted by remainder: then
// neighbouring outputs read neighbouring floats for every tap.
type conv struct {
	groups, ins, outs int // channels per group
	x, y              [2]int
	step, spread      [2]int
	low, high         [2]int // least and greatest dy and dx
	bias              []float32
	phases            []phaseTaps

	rows, bands int  // output rows of a phase in a band; bands
	staged      bool // the band is copied
	sources     int  // floats of a staged band
	pitch       int  // from the source row of one output row to that of the next
	tiles       int  // column tiles that are packed together, 0: direct sums
}

// phaseTaps is one phase: its outputs and its taps, as offsets from the source of an output.
type phaseTaps struct {
	row, col, rows, cols int
	at                   []int
	w                    [][]float32 // of each group: [outs, taps]
}

// tap is one kernel element of one input channel.
type tap struct{ channel, dy, dx, ky, kx int }

func lowerConv(o *operation) (kernel, error) {
	win, err := graph.ConvWindow(o.Node, o.in[1])
	if err != nil {
		return kernel{}, err
	}
	c := newConv(o)
	c.step, c.spread = win.Stride, [2]int{1, 1}
	ins, outs, ky, kx := c.ins, c.outs, win.Kernel[0], win.Kernel[1]
	weight := func(g, m int, t tap) float32 {
		return o.consts[1][(((g*outs+m)*ins+t.channel)*ky+t.ky)*kx+t.kx]
	}
	var taps []tap
	for ch := range ins {
		for i := range ky {
			for j := range kx {
				taps = append(taps, tap{ch, win.Start(0, 0) + i*win.Dilation[0], win.Start(1, 0) + j*win.Dilation[1], i, j})
			}
		}
	}
	return c.kernel([]phaseTaps{{rows: c.y[0], cols: c.y[1]}}, [][]tap{taps}, weight), nil
}

func lowerConvTranspose(o *operation) (kernel, error) {
	win, err := graph.ConvWindow(o.Node, o.in[1])
	if err != nil {
		return kernel{}, err
	}
	c := newConv(o)
	c.step, c.spread = [2]int{1, 1}, win.Stride
	ins, outs, ky, kx := c.ins, c.outs, win.Kernel[0], win.Kernel[1]
	weight := func(g, m int, t tap) float32 {
		return o.consts[1][(((g*ins+t.channel)*outs+m)*ky+t.ky)*kx+t.kx]
	}
	// meets returns the input coordinate that tap k takes to output r, and whether there is one.
	meets := func(axis, r, k int) (int, bool) {
		d := r + win.Begin[axis] - k*win.Dilation[axis]
		s := win.Stride[axis]
		return floorDiv(d, s), d%s == 0
	}
	var phases []phaseTaps
	var taps [][]tap
	for r := range min(win.Stride[0], c.y[0]) {
		for s := range min(win.Stride[1], c.y[1]) {
			var met []tap
			for ch := range ins {
				for i := range ky {
					for j := range kx {
						dy, ok := meets(0, r, i)
						dx, too := meets(1, s, j)
						if ok && too {
							met = append(met, tap{ch, dy, dx, i, j})
						}
					}
				}
			}
			phases = append(phases, phaseTaps{row: r, col: s,
				rows: (c.y[0]-r-1)/win.Stride[0] + 1, cols: (c.y[1]-s-1)/win.Stride[1] + 1})
			taps = append(taps, met)
		}
	}
	return c.kernel(phases, taps, weight), nil
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func newConv(o *operation) *conv {
	x, y, groups := o.in[0], o.out, o.Int("group", 1)
	c := &conv{
		groups: groups, ins: x[1] / groups, outs: y[1] / groups,
		x: [2]int(x[2:]), y: [2]int(y[2:]),
		bias: make([]float32, y[1]),
	}
	if len(o.consts) == 3 && o.consts[2] != nil {
		c.bias = o.consts[2]
	}
	return c
}

// kernel chooses how to go about it. What is chosen changes no result: every way adds the same numbers in one order.
func (c *conv) kernel(phases []phaseTaps, taps [][]tap, weight func(g, m int, t tap) float32) kernel {
	most := 0 // taps
	first := true
	for _, ts := range taps {
		most = max(most, len(ts))
		for _, t := range ts {
			for a, d := range [2]int{t.dy, t.dx} {
				if first {
					c.low[a], c.high[a] = d, d
				}
				c.low[a], c.high[a] = min(c.low[a], d), max(c.high[a], d)
			}
			first = false
		}
	}
	rows, cols := phases[0].rows, phases[0].cols // the largest phase

	if c.outs > directOuts || (c.outs > 2 && cols < directCols) {
		c.tiles = min(max(4, packFloats/(max(most, 1)*gemm.NR)), (cols+gemm.NR-1)/gemm.NR*rows)
	}
	c.staged = c.step[1] > 1 || c.low[0] < 0 || c.low[1] < 0 ||
		(rows-1)*c.step[0]+c.high[0] >= c.x[0] || (cols-1)+c.high[1] >= c.x[1] || (c.tiles > 0 && cols < gemm.NR)

	reach := c.high[0] - c.low[0] + 1 // input rows that an output row reads
	perRow := cols * most * c.outs * len(phases)
	c.rows = bandWork/max(perRow, 1) + 1
	if c.staged { // let no more than a third of the copied rows be copied by two bands
		c.rows = max(c.rows, 2*reach/c.step[0]+1)
	}
	c.rows = min(c.rows, rows)
	c.bands = (rows + c.rows - 1) / c.rows

	// Offsets are relative to input (i*step[0], 0), staged to (i*step[0]+low[0], low[1]).
	c.pitch = c.step[0] * c.x[1]
	offset := func(t tap) int { return (t.channel*c.x[0]+t.dy)*c.x[1] + t.dx }
	scratch := 0
	if c.staged {
		height := (c.rows-1)*c.step[0] + reach
		part := max(cols, gemm.NR) + (c.high[1]-c.low[1])/c.step[1] // columns of one remainder
		width := part * c.step[1]
		c.pitch = c.step[0] * width
		c.sources = c.ins * height * width
		scratch = c.sources
		offset = func(t tap) int {
			dx := t.dx - c.low[1]
			return (t.channel*height+t.dy-c.low[0])*width + dx%c.step[1]*part + dx/c.step[1]
		}
	}
	for i := range phases {
		p := &phases[i]
		for _, t := range taps[i] {
			p.at = append(p.at, offset(t))
		}
		for g := range c.groups {
			w := make([]float32, 0, c.outs*len(p.at))
			for m := range c.outs {
				for _, t := range taps[i] {
					w = append(w, weight(g, m, t))
				}
			}
			p.w = append(p.w, w)
		}
	}
	c.phases = phases
	if c.tiles > 0 {
		scratch += c.tiles * most * gemm.NR
	} else if c.spread[1] > 1 {
		scratch += cols
	}
	return kernel{
		units:   c.groups * c.bands,
		cost:    c.rows * perRow,
		scratch: scratch,
		run: func(k *call, lo, hi int) {
			for u := lo; u < hi; u++ {
				c.band(k, u/c.bands, u%c.bands*c.rows)
			}
		},
	}
}

const (
	// Where a group has few outputs, packing costs much of what the sums cost, and sums along rows are faster unless the
	// rows are short (measured: 1 to 12 channels, 9x9, 256 columns: 18 against 12 GFLOP/s; 64 to 64 at 56: 13 and 14).
	directOuts = 16
	directCols = 16

	packFloats = 16 << 10 // that are packed together: what stays in a core's private cache
	bandWork   = 1 << 18  // multiply-adds in a band, where the rows allow it
)

// band computes the rows from i0 of each phase of group g.
func (c *conv) band(k *call, g, i0 int) {
	src := k.in[0][g*c.ins*c.x[0]*c.x[1]:][:c.ins*c.x[0]*c.x[1]]
	scratch := k.scratch
	if c.staged {
		c.stage(scratch[:c.sources], src, i0*c.step[0]+c.low[0])
		src, scratch = scratch[:c.sources], scratch[c.sources:]
	} else {
		src = src[i0*c.pitch:]
	}
	size := c.y[0] * c.y[1]
	y, bias := k.out[g*c.outs*size:][:c.outs*size], c.bias[g*c.outs:][:c.outs]
	for i := range c.phases {
		p := &c.phases[i]
		rows := min(c.rows, p.rows-i0)
		if rows <= 0 {
			continue
		}
		out := y[(p.row+i0*c.spread[0])*c.y[1]:]
		if c.tiles == 0 {
			c.direct(p, out, src, scratch, p.w[g], bias, rows)
		} else {
			c.packed(p, out, src, scratch, p.w[g], bias, rows)
		}
	}
}

// stage copies the rows from y0 of each channel to dst; there is zero wherever there is no input.
func (c *conv) stage(dst, x []float32, y0 int) {
	step := c.step[1]
	height := (c.rows-1)*c.step[0] + c.high[0] - c.low[0] + 1
	part := len(dst) / (c.ins * height * step)
	for ch := range c.ins {
		for r := range height {
			row := dst[:part*step]
			dst = dst[part*step:]
			if y0+r < 0 || y0+r >= c.x[0] {
				clear(row)
				continue
			}
			from := x[(ch*c.x[0]+y0+r)*c.x[1]:][:c.x[1]]
			for s := range step {
				to := row[s*part:][:part]
				// to[j] is from[j*step+x0]; lo <= j < hi are the j for which it exists.
				x0 := c.low[1] + s
				lo := min(max(0, -floorDiv(x0, step)), part)
				hi := min(max(lo, -floorDiv(x0-len(from), step)), part)
				clear(to[:lo])
				clear(to[hi:])
				if step == 1 {
					copy(to[lo:hi], from[min(lo+x0, len(from)):])
					continue
				}
				for j := lo; j < hi; j++ {
					to[j] = from[j*step+x0]
				}
			}
		}
	}
}

// direct sums along rows.
func (c *conv) direct(p *phaseTaps, y, src, scratch, w, bias []float32, rows int) {
	taps, spread := len(p.at), c.spread[1]
	for m, b := range bias {
		for i := range rows {
			row := y[m*c.y[0]*c.y[1]+i*c.spread[0]*c.y[1]:][p.col:c.y[1]]
			sums := row
			if spread > 1 {
				sums = scratch[:p.cols]
			}
			fill(sums, b)
			axpy(sums, src[i*c.pitch:], p.at, w[m*taps:][:taps])
			if spread > 1 {
				for j, v := range sums {
					row[j*spread] = v
				}
			}
		}
	}
}

// packed copies the sources of some tiles of NR columns into panels, as many as stay in the cache, and multiplies them by
// the weights of all outputs.
func (c *conv) packed(p *phaseTaps, y, src, scratch, w, bias []float32, rows int) {
	taps := len(p.at)
	panel := taps * gemm.NR
	across := (p.cols + gemm.NR - 1) / gemm.NR
	for t0 := 0; t0 < across*rows; t0 += c.tiles {
		tiles := min(c.tiles, across*rows-t0)
		for t := range tiles {
			i, j := (t0+t)/across, c.column(p, (t0+t)%across)
			gather4(scratch[t*panel:][:panel], src[i*c.pitch+j:], p.at)
		}
		for m := 0; m < len(bias); m += gemm.MR {
			outs := min(gemm.MR, len(bias)-m)
			for t := range tiles {
				var sums [gemm.MR][gemm.NR]float32
				for r := range outs {
					b := bias[m+r]
					sums[r] = [gemm.NR]float32{b, b, b, b}
				}
				gemm.Tile(&sums, w[m*taps:][:outs*taps], taps, scratch[t*panel:][:panel])
				i, tile := (t0+t)/across, (t0+t)%across
				j := c.column(p, tile)
				for r := range outs {
					row := y[(m+r)*c.y[0]*c.y[1]+i*c.spread[0]*c.y[1]:][p.col:c.y[1]]
					for q := tile*gemm.NR - j; q < gemm.NR && j+q < p.cols; q++ {
						row[(j+q)*c.spread[1]] = sums[r][q]
					}
				}
			}
		}
	}
}

// column is the first column of a tile. The last tile of a row is moved back so that it ends with it, if it can be.
func (c *conv) column(p *phaseTaps, tile int) int {
	return max(0, min(tile*gemm.NR, p.cols-gemm.NR))
}

func gather4(panel, x []float32, at []int) {
	for _, o := range at {
		*(*[gemm.NR]float32)(panel) = *(*[gemm.NR]float32)(x[o:])
		panel = panel[gemm.NR:]
	}
}
