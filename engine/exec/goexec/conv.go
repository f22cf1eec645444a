package goexec

import (
	"cmp"
	"slices"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/internal/index"
	"f2pad.example/engine/internal/vec"
)

// conv computes Conv and ConvTranspose. Both are sums over taps: output (row + i*spread, col + j*spread) of a phase is
// the bias plus the sum, in the order of input channel, kernel row, kernel column, of weight times input
// (i*step + dy, j*step + dx). Conv has one phase and spread 1; ConvTranspose has step 1 and a phase for each remainder of
// an output coordinate divided by the stride, with the taps that meet it.
//
// A unit of work is a band of one group: some rows, or, panel by panel, as many outputs as fill panels, wherever their rows end.
// Where a tap may fall outside the input or columns are strided, the
// input rows of the band are first copied to scratch, with zeros around them and columns sorted by remainder: then
// neighbouring outputs read neighbouring floats for every tap.
//
// The sums are products of the weights, packed once, and the taps' sources: either read where they lie, along rows or for
// one output channel plane by plane, or packed panel by panel, where a panel's columns are outputs of any rows.
type conv struct {
	groups, ins, outs int // channels per group
	x, y              [2]int
	step, spread      [2]int
	low, high         [2]int // least and greatest dy and dx
	isa               *gemm.ISA
	store             *store
	bias              []float32 // of each group, in whole tiles
	phases            []phaseTaps
	after             []after

	kernel      *gemm.Kernel
	packed      bool // panel by panel
	plane       bool // plane by plane: there is no kernel
	to          gemm.Bounds
	rows, bands int  // output rows of a phase in a band, at most; bands
	span        int  // outputs of a channel in a band of panels without spread, else 0: whole rows
	atOnce      int  // neighbouring bands that are computed as one, at most
	staged      bool // the band is copied
	height      int  // rows of a channel of staged bands
	sources     int  // floats of staged bands
	pitch       int  // from the source row of one output row to that of the next
	panel       int  // floats of a panel
	block       int  // outputs of a channel that are summed at a time, panel by panel
}

// phaseTaps is one phase: its outputs and its taps, as offsets from the source of an output.
type phaseTaps struct {
	row, col, rows, cols int
	at                   []int
	w                    []*weights // of each group: [outs, taps], packed
}

// tap is one kernel element of one input channel.
type tap struct{ channel, dy, dx, ky, kx int }

func lowerConv(o *operation) (kernel, error) {
	win, err := graph.ConvWindow(o.Node, o.in[1])
	if err != nil {
		return kernel{}, err
	}
	c := newConv(o)
	c.step, c.spread = win.Stride, unspread
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
	return c.lower([]phaseTaps{{rows: c.y[0], cols: c.y[1]}}, [][]tap{taps}, weight), nil
}

func lowerConvTranspose(o *operation) (kernel, error) {
	win, err := graph.ConvWindow(o.Node, o.in[1])
	if err != nil {
		return kernel{}, err
	}
	c := newConv(o)
	c.step, c.spread = unspread, win.Stride
	ins, outs, ky, kx := c.ins, c.outs, win.Kernel[0], win.Kernel[1]
	weight := func(g, m int, t tap) float32 {
		return o.consts[1][(((g*ins+t.channel)*outs+m)*ky+t.ky)*kx+t.kx]
	}
	// meets returns the input coordinate that tap k takes to output r, and whether there is one.
	meets := func(axis, r, k int) (int, bool) {
		d := r + win.Begin[axis] - k*win.Dilation[axis]
		s := win.Stride[axis]
		return index.FloorDiv(d, s), d%s == 0
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
	return c.lower(phases, taps, weight), nil
}

func newConv(o *operation) *conv {
	x, y, groups := o.in[0], o.out, o.Int("group", 1)
	c := &conv{
		groups: groups, ins: x[1] / groups, outs: y[1] / groups,
		x: [2]int(x[2:]), y: [2]int(y[2:]),
		isa: o.isa, store: o.store, after: o.after,
		// A constant may end where its memory ends: it is copied, and then read.
		staged: o.consts[0] != nil,
	}
	if len(o.consts) == 3 {
		c.bias = o.consts[2]
	}
	return c
}

// unspread is where neighbouring outputs of a phase are neighbours in the output.
var unspread = [2]int{1, 1}

const (
	// Where a group has few outputs, packing costs much of what the sums cost, and sums along rows are faster unless the
	// rows are short.
	fewOuts = 16
	oneOuts = 2 // up to which planes by themselves are faster than tiles of several rows

	bandWork = 1 << 20 // multiply-adds in a band, where the rows allow it
	bandSize = 4096    // outputs of a channel in a band, plane by plane: they and what they read stay in a core's first-level cache
	block    = 512     // outputs of a channel: what stays in a core's private cache while the sums go on
	staging  = 1 << 17 // floats of staged bands that are computed as one, likewise
)

// lower chooses how to go about it. What is chosen changes no result: every way adds the same numbers in one order.
func (c *conv) lower(phases []phaseTaps, taps [][]tap, weight func(g, m int, t tap) float32) kernel {
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
	c.phases = phases
	rows, cols := phases[0].rows, phases[0].cols // the largest phase
	c.clip()

	switch {
	case c.outs <= oneOuts:
		c.plane = true
	case c.outs <= fewOuts && 2*cols >= c.isa.Few.Cols:
		c.kernel = &c.isa.Few
	default:
		c.kernel, c.packed = c.isa.Fit(rows*cols), true
	}
	c.staged = c.staged || c.step[1] > 1 || c.low[0] < 0 || c.low[1] < 0 ||
		(rows-1)*c.step[0]+c.high[0] >= c.x[0] || (cols-1)+c.high[1] >= c.x[1] || cols < c.least()

	reach := c.high[0] - c.low[0] + 1 // input rows that an output row reads
	perRow := cols * most * c.outs * len(phases)
	c.rows = bandWork/max(perRow, 1) + 1
	switch {
	case c.packed:
		c.rows = max(c.rows, c.kernel.Cols/cols, reach)
	case c.plane:
		c.rows = max(min(c.rows, bandSize/cols), 1)
	}
	if c.staged && !c.packed { // let no more than a third of the copied rows be copied by two bands
		c.rows = max(c.rows, 2*reach/c.step[0]+1)
	}
	c.rows = min(c.rows, rows)
	c.bands = (rows + c.rows - 1) / c.rows
	perBand := c.rows * perRow
	if c.packed && c.spread == unspread {
		c.fillPanels(rows, cols)
		perBand = c.span * perRow / cols
	}

	// Offsets are relative to input (i*step[0], 0), staged to (i*step[0]+low[0], low[1]).
	c.pitch, c.atOnce = c.step[0]*c.x[1], 1
	if c.packed && c.groups == 1 && !c.staged {
		c.atOnce = c.bands
	}
	offset := func(t tap) int { return (t.channel*c.x[0]+t.dy)*c.x[1] + t.dx }
	if c.staged {
		part := max(cols, c.least())
		part += (c.high[1] - c.low[1]) / c.step[1] // columns of one remainder
		width := part * c.step[1]
		c.pitch = c.step[0] * width
		c.height = c.inputRows(c.rows)
		for c.packed && c.groups == 1 && c.atOnce < c.bands && c.ins*c.inputRows(c.outputRows(c.atOnce+1))*width <= staging {
			c.atOnce++
			c.height = c.inputRows(c.outputRows(c.atOnce))
		}
		c.sources = c.ins * c.height * width
		offset = func(t tap) int {
			dx := t.dx - c.low[1]
			return (t.channel*c.height+t.dy-c.low[0])*width + dx%c.step[1]*part + dx/c.step[1]
		}
	}
	c.pack(taps, offset, weight)

	scratch := index.RoundUp(c.sources+gemm.Slack, line)
	if c.packed {
		c.block = index.RoundUp(min(block, c.atOnce*cmp.Or(c.span, c.rows*cols)), c.kernel.Cols)
		c.panel = gemm.Depths(most)*c.kernel.Cols + gemm.Slack
		scratch += c.panel
	} else {
		c.block = cols
	}
	sums := c.outs * c.block // that are scattered
	if c.plane {
		c.block = c.rows * cols
		sums = max(c.outs, 2) * c.block
	}
	if c.spread != unspread {
		scratch += sums
	}
	return kernel{
		units:   c.groups * c.bands,
		cost:    perBand / 8,
		scratch: scratch,
		packed:  true,
		run: func(k *call, lo, hi int) {
			var staged rowRange
			for u := lo; u < hi; {
				parts := (hi - u + c.atOnce - 1) / c.atOnce
				n := (hi - u + parts - 1) / parts
				c.band(k, u%c.groups, u/c.groups, n, &staged) // neighbours have their zeros in the same places
				u += n
			}
		},
	}
}

// fillPanels cuts the outputs, rows of cols, into bands of whole panels, but for the last one: cut at the ends of rows, narrow maps
// would fill two panels of three.
func (c *conv) fillPanels(rows, cols int) {
	all := rows * cols
	c.span = index.RoundUp(c.rows*cols, c.kernel.Cols)
	c.bands = (all + c.span - 1) / c.span
	c.span = index.RoundUp((all+c.bands-1)/c.bands, c.kernel.Cols) // of like size
	c.bands = (all + c.span - 1) / c.span
	for lo := 0; lo < all; lo += c.span {
		c.rows = max(c.rows, (min(lo+c.span, all)-1)/cols-lo/cols+1)
	}
}

// outputRows is how many output rows of a phase so many bands reach, at most.
func (c *conv) outputRows(bands int) int {
	rows, cols := c.phases[0].rows, c.phases[0].cols
	if c.span > 0 {
		return min((bands*c.span+cols-2)/cols+1, rows)
	}
	return min(bands*c.rows, rows)
}

// inputRows is how many input rows so many output rows read.
func (c *conv) inputRows(outputs int) int { return (outputs-1)*c.step[0] + c.high[0] - c.low[0] + 1 }

// pack gives the phases offsets and weights, and brings the bias to the length of whole tiles.
func (c *conv) pack(taps [][]tap, offset func(tap) int, weight func(g, m int, t tap) float32) {
	for i := range c.phases {
		p := &c.phases[i]
		for _, t := range taps[i] {
			p.at = append(p.at, offset(t))
		}
		n := len(p.at)
		w := make([]float32, 0, c.outs*n)
		for g := range c.groups {
			w = w[:0]
			for m := range c.outs {
				for _, t := range taps[i] {
					w = append(w, weight(g, m, t))
				}
			}
			if c.plane { // row by row
				p.w = append(p.w, c.store.keep(slices.Clone(w)))
				continue
			}
			packed := make([]float32, c.kernel.SizeA(c.outs, n))
			c.kernel.PackA(packed, c.outs, n, w)
			p.w = append(p.w, c.store.keep(packed))
		}
	}
	padded := c.outs
	if !c.plane {
		padded = c.kernel.SizeA(c.outs, 1)
	}
	bias := make([]float32, c.groups*padded)
	for g := range c.groups {
		if c.bias != nil {
			copy(bias[g*padded:], c.bias[g*c.outs:][:c.outs])
		}
	}
	c.bias = bias
}

// least is how many columns of a row the sums read at least.
func (c *conv) least() int {
	switch {
	case c.packed:
		return 1
	case c.plane:
		return gemm.PlaneCols
	}
	return c.kernel.Cols
}

// clip takes over from the operators behind what only clips the results.
func (c *conv) clip() {
	c.to = gemm.Unbounded()
	if len(c.after) > 0 && c.after[0].clips {
		c.to, c.after = c.after[0].to, c.after[1:]
	}
}

// band computes n bands of each phase of group g from number b on. staged says what the scratch holds from those before.
func (c *conv) band(k *call, g, b, n int, staged *rowRange) {
	i0, rows := b*c.rows, min(n*c.rows, c.phases[0].rows-b*c.rows) // the first row; rows
	if c.span > 0 {
		cols := c.phases[0].cols
		i0 = b * c.span / cols
		rows = (min((b+n)*c.span, c.y[0]*c.y[1])-1)/cols + 1 - i0
	}
	src := k.in[0][g*c.ins*c.x[0]*c.x[1]:]
	scratch := k.scratch
	if c.staged {
		c.stage(scratch[:c.sources], src[:c.ins*c.x[0]*c.x[1]], i0*c.step[0]+c.low[0], c.inputRows(rows), staged)
		src, scratch = scratch[:c.sources+gemm.Slack], scratch[index.RoundUp(c.sources+gemm.Slack, line):]
	} else {
		src = src[i0*c.pitch:]
	}
	size := c.y[0] * c.y[1]
	y := k.out[g*c.outs*size:][:c.outs*size]
	bias := c.bias[len(c.bias)/c.groups*g:][:len(c.bias)/c.groups]
	from, to := i0*c.spread[0]*c.y[1], min((i0+rows)*c.spread[0], c.y[0])*c.y[1] // what is computed of a channel
	if c.span > 0 {
		from, to = b*c.span, min((b+n)*c.span, size)
	}
	for i := range c.phases {
		p := &c.phases[i]
		rows := min(rows, p.rows-i0)
		if rows <= 0 {
			continue
		}
		out := y[(p.row+i0*c.spread[0])*c.y[1]:]
		switch {
		case c.span > 0:
			lo := from - i0*p.cols
			c.panels(p, out, src, scratch, p.w[g].floats, bias, lo, lo+to-from)
		case c.packed:
			c.panels(p, out, src, scratch, p.w[g].floats, bias, 0, rows*p.cols)
		case c.plane:
			c.planes(i, out, src, scratch, g, bias, rows)
		default:
			c.along(p, out, src, scratch, p.w[g].floats, bias, rows)
		}
	}
	for m := range c.outs {
		lo := (g*c.outs+m)*size + from
		for _, f := range c.after {
			f.do(k, lo, lo+to-from)
		}
	}
}

// rowRange are the rows of a staged band, and those that there is input for.
type rowRange struct{ rows, from, to int }

// stage copies the rows from y0 of each channel to dst; there is zero wherever there is no input: the same places as in the
// band before, if that had the same rows.
func (c *conv) stage(dst, x []float32, y0, rows int, last *rowRange) {
	step, height := c.step[1], c.height
	width := len(dst) / (c.ins * height)
	part := width / step
	r := rowRange{rows: rows, from: min(max(0, -y0), rows)}
	r.to = max(r.from, min(rows, c.x[0]-y0))
	if *last != r || r.from == r.to {
		for ch := range c.ins {
			clear(dst[ch*height*width:][:rows*width])
		}
		*last = r
	}
	x0 := max(0, c.low[1]) // the first column that is read; at is where a column goes
	at := func(col int) int { return (col-c.low[1])%step*part + (col-c.low[1])/step }
	cols := min(c.x[1]-x0, width-(x0-c.low[1]))
	if r.from == r.to || cols <= 0 {
		return
	}
	for ch := range c.ins {
		to, from := dst[(ch*height+r.from)*width:], x[(ch*c.x[0]+y0+r.from)*c.x[1]+x0:]
		switch step {
		case 1:
			vec.CopyRows(to[at(x0):], width, from, c.x[1], r.to-r.from, cols)
		case 2:
			vec.UnzipRows(to[at(x0):], to[at(x0+1):], width, from, c.x[1], r.to-r.from, cols)
		default:
			for i := range r.to - r.from {
				row := from[i*c.x[1]:][:cols]
				for s := range min(step, cols) {
					to := to[i*width+at(x0+s):]
					for j := s; j < cols; j += step {
						to[j/step] = row[j]
					}
				}
			}
		}
	}
}

// along sums along rows. The last tile of a row is moved back so that it ends with it, if it can be.
func (c *conv) along(p *phaseTaps, y, src, scratch, w, bias []float32, rows int) {
	k, size, taps := c.kernel, c.y[0]*c.y[1], len(p.at)
	apart := c.spread[1] > 1 // what is neighbouring here is not in the output
	for i := range rows {
		dst, ldd := y[i*c.spread[0]*c.y[1]:], size
		if apart {
			dst, ldd = scratch, c.block
		}
		for j := 0; j < p.cols; j += k.Cols {
			j := max(0, min(j, p.cols-k.Cols))
			for m := 0; m < c.outs; m += k.Rows {
				k.Part(dst[m*ldd+j:], ldd, min(k.Rows, c.outs-m), min(k.Cols, p.cols), taps, w[m*taps:], src[i*c.pitch+j:], p.at,
					bias[m:], false, c.to)
			}
		}
		if apart {
			c.scatter(p, y, scratch, i*p.cols, p.cols)
		}
	}
}

// planes sums plane by plane, for two phases at once where their columns take turns.
func (c *conv) planes(i int, y, src, scratch []float32, g int, bias []float32, rows int) {
	p := &c.phases[i]
	size, pitch := c.y[0]*c.y[1], c.spread[0]*c.y[1]
	sum := func(p *phaseTaps, m int, dst []float32, ldd int) {
		w := p.w[g].floats[m*len(p.at):][:len(p.at)]
		c.isa.Plane(dst, ldd, rows, p.cols, w, src, c.pitch, p.at, bias[m], c.to)
	}
	for m := range c.outs {
		out := y[m*size:]
		switch {
		case c.spread[1] == 1:
			sum(p, m, out, pitch)
		case c.spread[1] == 2 && c.y[1] > 1: // the second of a pair goes with the first
			if p.col == 0 {
				q, other := &c.phases[i+1], scratch[c.block:]
				sum(p, m, scratch, p.cols)
				sum(q, m, other, q.cols)
				vec.ZipRows(out, pitch, scratch, p.cols, other, q.cols, rows, c.y[1])
			}
		default:
			sum(p, m, scratch[m*c.block:], p.cols)
		}
	}
	if c.spread[1] > 2 || c.spread[1] == 2 && c.y[1] == 1 {
		c.scatter(p, y, scratch, 0, rows*p.cols)
	}
}

// panels sums the outputs lo <= n < hi of a phase panel by panel, as far as a panel stays in the first-level cache, then the rest of the
// same outputs' sums.
func (c *conv) panels(p *phaseTaps, y, src, scratch, w, bias []float32, lo, hi int) {
	k, taps := c.kernel, len(p.at)
	panel, sums := scratch[:c.panel], scratch[c.panel:]
	part := gemm.Depths(taps)
	var segments [64]gemm.Segment
	for n0 := lo; n0 < hi; n0 += c.block {
		n := min(c.block, hi-n0)
		dst, ldd := y[n0:], c.y[0]*c.y[1]
		if c.spread != unspread {
			dst, ldd = sums, c.block
		}
		for l := 0; l == 0 || l < taps; l += part {
			steps, to := min(part, taps-l), gemm.Unbounded()
			if l+steps == taps {
				to = c.to
			}
			for j := 0; j < n; j += k.Cols {
				cols := min(k.Cols, n-j)
				k.Gather(panel, src, p.at[l:l+steps], c.segments(segments[:0], p, n0+j, cols))
				k.Panel(dst[j:], ldd, c.outs, cols, steps, w[l*k.Rows:], k.Rows*taps, panel, bias, l > 0, to)
			}
		}
		if c.spread != unspread {
			c.scatter(p, y, sums, n0, n)
		}
	}
}

// segments appends where the n outputs from number from of a phase's rows read.
func (c *conv) segments(to []gemm.Segment, p *phaseTaps, from, n int) []gemm.Segment {
	i, j := from/p.cols, from%p.cols
	for at := 0; at < n; i, j = i+1, 0 {
		s := gemm.Segment{To: at, From: i*c.pitch + j, Cols: min(p.cols-j, n-at)}
		at += s.Cols
		if last := len(to) - 1; last >= 0 && to[last].From+to[last].Cols == s.From {
			to[last].Cols += s.Cols
			continue
		}
		to = append(to, s)
	}
	return to
}

// scatter writes the n outputs from number from of a phase's rows, which lie block apart in sums, to where they belong.
func (c *conv) scatter(p *phaseTaps, y, sums []float32, from, n int) {
	for m := range c.outs {
		x := sums[m*c.block:][:n]
		i, j := from/p.cols, from%p.cols
		for len(x) > 0 {
			row := y[m*c.y[0]*c.y[1]+i*c.spread[0]*c.y[1]:][p.col:c.y[1]]
			cols := min(p.cols-j, len(x))
			if c.spread[1] == 1 {
				copy(row[j:], x[:cols])
			} else {
				at := j * c.spread[1]
				for _, v := range x[:cols] {
					row[at] = v
					at += c.spread[1]
				}
			}
			x, i, j = x[cols:], i+1, 0
		}
	}
}
