package cuda

import (
	"context"
	"fmt"
	"slices"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/sight"
	"f2pad.example/kernels"
)

// In float16 an image whose gradient overflows is optimised again with one that is smaller by so many powers of two, and once more,
// before it is given up.
const (
	lowerBy = 6
	lowest  = 2 * lowerBy
)

// Optimise implements sight.Batch. The energy must be loop.Hinge, the penalty pixel.GroupLog.
func (b *begun) Optimise(ctx context.Context, problems []loop.Problem, scale sight.Scale, o *loop.Options) ([][]loop.Iteration, error) {
	hinge, ok := o.Energy.(loop.Hinge)
	if !ok {
		return nil, fmt.Errorf("cuda: energy %T: GPUs know loop.Hinge only", o.Energy)
	}
	penalty, ok := o.Step.Penalty.(pixel.GroupLog)
	if !ok {
		return nil, fmt.Errorf("cuda: penalty %T: GPUs know pixel.GroupLog only", o.Step.Penalty)
	}
	if len(problems) != b.n {
		return nil, fmt.Errorf("cuda: %d problems of %d images", len(problems), b.n)
	}
	done := make([][]loop.Iteration, len(problems))
	var open []int
	for i := range problems {
		if p := &problems[i]; len(p.States) == 0 {
			continue
		} else if p.H != b.h || p.W != b.w || len(p.Cells) != b.h/b.t.windows.Stride*(b.w/b.t.windows.Stride) {
			return nil, fmt.Errorf("cuda: problem %d of an image of %dx%d with %d cells, whose batch has %dx%d", i, p.H, p.W, len(p.Cells), b.h, b.w)
		}
		open = append(open, i)
	}
	lap := b.t.timer.Start(0)
	for lower := 0; len(open) > 0 && o.Iterations > 0; lower += lowerBy {
		l := &loops{b: b, ctx: ctx, problems: problems, images: open, scale: scale, o: o, hinge: hinge, penalty: penalty, lower: lower}
		if err := b.t.d.do(ctx, "optimisation", l.run); err != nil {
			return nil, err
		}
		again := l.finish(done)
		if len(again) > 0 && (b.t.ex.precision != Float16 || lower == lowest) {
			bad := &sight.BadFrames{}
			for _, i := range again {
				bad.Add(i, fmt.Errorf("cuda: the gradient of %s is not finite", b.t.backbone.Name()))
			}
			return nil, bad
		}
		open = again
	}
	lap(sight.StageGradients)
	return done, nil
}

// loops is the optimisation of some images of a batch, as one job: the host enqueues all of it, and waits at its end.
type loops struct {
	b        *begun
	ctx      context.Context
	problems []loop.Problem
	images   []int // of the batch, those that are optimised
	scale    sight.Scale
	o        *loop.Options
	hinge    loop.Hinge
	penalty  pixel.GroupLog
	lower    int

	plan    *sight.Plan
	windows []*windowSet
	count   int         // of all windows
	first   []int       // for each of windows, how many come before
	e       kernels.Ptr // float64 [iterations, all windows]
	dw      kernels.Ptr // [all windows] gradients of what the network saw, each [h,w,3]
	later   []func()    // what is enqueued when all tables are there
	width   int         // streams
	gather  kernels.CutGather
	step    kernels.PixelStep
	regions kernels.Regions

	energies []float64
	stats    []kernels.StepStats
	list     []float32 // of regions
}

// windowSet is windows of one size that run together.
type windowSet struct {
	patches []sight.Patch
	net     *sized
	cut     kernels.Cut
	scoring scoring
	stream  int // that it is in
	energy  kernels.Energy
	to      []kernels.Cells // where windows are cut: what takes the network's features, corrected, to the view, and
	back    []kernels.Cells // the view's gradients to the network's
	dw      kernels.Ptr
	bytes   int // of dw
}

// run is the job.
func (l *loops) run(j *job) {
	nets := map[[2]int]*sized{}
	defer func() {
		for _, s := range nets {
			l.b.t.give(j, s)
		}
	}()
	j.pack()
	l.begin(j)
	l.lay(j, nets)
	for _, enqueue := range l.later {
		enqueue()
	}
	for t := 1; t <= l.o.Iterations && j.err == nil; t++ {
		if j.err = l.ctx.Err(); j.err == nil {
			l.iterate(j, t)
		}
	}
	l.end(j)
}

// each visits the pixels that are optimised: at is the pixel's place in its state's window, q that in the images that are optimised.
func (l *loops) each(visit func(image int, s *pixel.State, at, q int)) {
	for k, i := range l.images {
		p := &l.problems[i]
		for _, s := range p.States {
			w := s.Box.W()
			for _, at := range s.Pixels {
				visit(i, s, int(at), (k*p.H+s.Box.Y0+int(at)/w)*p.W+s.Box.X0+int(at)%w)
			}
		}
	}
}

// begin brings the states to the device.
func (l *loops) begin(j *job) {
	n, h, w := len(l.images), l.b.h, l.b.w
	pixels := n * h * w
	mask := make([]uint8, pixels)
	var at []int32
	l.each(func(_ int, _ *pixel.State, _, q int) {
		mask[q] = 1
		at = append(at, int32(q))
	})
	list := make([]float32, kernels.RegionsPut*len(at))
	i := 0
	l.each(func(_ int, s *pixel.State, p, _ int) {
		line, plane := func(k int) *float32 { return &list[k*len(at)+i] }, len(s.V)
		*line(0), *line(7), *line(8) = s.C[p], s.V[p], s.Sum[p]
		for c := range 3 {
			*line(1 + c), *line(4 + c) = s.A[c*plane+p], s.M[c*plane+p]
		}
		i++
	})
	tiles := kernels.ActiveTiles(mask, n, h, w)
	active := max(len(tiles)-n-1, 1)
	o := l.o.Step
	share, norm := o.Share.Taps(), o.Norm.Taps()
	l.step = kernels.PixelStep{
		N: n, H: h, W: w,
		Share: put(j, share), Norm: put(j, norm), ShareRadius: len(share) - 1, NormRadius: len(norm) - 1,
		Momentum: o.Momentum, Decay: o.Decay, Rate: o.Rate, Lambda: o.Lambda, Eps: l.penalty.Eps(),
		Iterations: l.o.Iterations, Schedule: put(j, kernels.StepSchedule(o.Momentum, o.Decay, l.o.Iterations, o.From)),
		Tiles: put(j, tiles), Blocks: active, Mask: j.room(pixels, 1),
		DX: j.floats(3 * pixels), Scale: j.floats(pixels), A: j.floats(3 * pixels), M: j.floats(3 * pixels), V: j.floats(pixels),
		Sum: j.floats(pixels), SQ: j.floats(pixels), Partial: j.floats(3 * active), Stats: j.floats(3 * n * l.o.Iterations),
	}
	s := &l.step
	l.regions = kernels.Regions{
		N: n, H: h, W: w, Count: len(at), At: put(j, at), List: put(j, list), Mask: s.Mask, Scale: s.Scale, A: s.A, M: s.M, V: s.V, Sum: s.Sum,
	}
	j.zero(s.Mask, pixels)
	j.zero(s.SQ, 4*pixels)
	l.later = append(l.later, func() { j.run(l.regions.Put) })
}

// lay places the windows, brings their tables to the device, and finds what windows that are cut are missing.
func (l *loops) lay(j *job, nets map[[2]int]*sized) {
	b, t := l.b, l.b.t
	s := t.windows.Stride
	h, w := b.h/s, b.w/s
	where, number := make([]bool, b.n*h*w), make([]int32, b.n)
	for k, i := range l.images {
		copy(where[i*h*w:], l.problems[i].Cells)
		number[i] = int32(k)
	}
	l.plan = t.windows.Plan(where, b.n, h, w)
	most := map[[2]int]int{}
	values := 0
	for _, ps := range l.plan.Jobs {
		size := [2]int{ps[0].In.H() * s, ps[0].In.W() * s}
		most[size] = max(most[size], len(ps))
		l.first = append(l.first, l.count)
		l.count += len(ps)
		values += 3 * size[0] * size[1] * len(ps)
	}
	l.e, l.dw = j.room(l.count*l.o.Iterations, 8), j.floats(values)
	j.zero(l.e, 8*l.count*l.o.Iterations)
	streams := l.spread()
	var scratch [][]kernels.Ptr // of the views' gradients, which pass one after the other in each stream
	if !t.windows.Exact {
		scratch = l.scratch(j, streams)
	}
	values = 0
	for k, ps := range l.plan.Jobs {
		size := [2]int{ps[0].In.H() * s, ps[0].In.W() * s}
		if nets[size] == nil {
			if nets[size] = t.take(j, size[0], size[1], true, most[size]); nets[size] == nil {
				delete(nets, size)
			}
		}
		if j.err != nil {
			return
		}
		win := &windowSet{patches: ps, net: nets[size], stream: streams[k], dw: l.dw.Plus(values), bytes: 4 * 3 * size[0] * size[1] * len(ps)}
		l.windows = append(l.windows, win)
		values += win.bytes / 4
		table := make([]int32, 0, 4*len(ps))
		for _, p := range ps {
			table = append(table, int32(p.Image), number[p.Image], int32(p.In.Y0*s), int32(p.In.X0*s))
		}
		win.cut = b.cut(win.net.network, put(j, table), len(ps))
		l.look(j, win, where, scratch)
	}
	if slices.ContainsFunc(l.windows, func(win *windowSet) bool { return win.scoring != nil && win.scoring.streamed() }) {
		l.width = 1 // that works on the job's own
	}
	l.lapping(j)
}

// lapping says how the windows' gradients are added up.
func (l *loops) lapping(j *job) {
	s := l.b.t.windows.Stride
	var all []kernels.CutWindow
	bounds, norms := []int32{0}, []backbone.Affine{}
	at := make([]int, len(l.windows)+1)
	for k, win := range l.windows {
		at[k+1] = at[k] + win.bytes/4
	}
	for _, i := range l.images {
		for _, p := range l.plan.Places[i] {
			in := l.plan.Jobs[p.Job][p.At].In
			all = append(all, kernels.CutWindow{
				Top: in.Y0 * s, Left: in.X0 * s, H: in.H() * s, W: in.W() * s, At: at[p.Job] + 3*in.Area()*s*s*p.At,
			})
		}
		bounds, norms = append(bounds, int32(len(all))), append(norms, l.b.norms[i])
	}
	gain, _ := tables(norms)
	l.gather = kernels.CutGather{
		N: len(l.images), H: l.b.h, W: l.b.w, Bounds: put(j, bounds), Windows: put(j, kernels.CutWindows(all)), DW: l.dw, Gain: put(j, gain),
		Tiles: l.step.Tiles, Blocks: l.step.Blocks, Mask: l.step.Mask, DX: l.step.DX,
	}
}

// spread gives windows of one size, which share a network, a stream, the most work first to who has the least.
func (l *loops) spread() []int {
	type size struct{ h, w int }
	of := func(ps []sight.Patch) size { return size{ps[0].In.H(), ps[0].In.W()} }
	work, streams := map[size]int{}, map[size]int{}
	var sizes []size
	for _, ps := range l.plan.Jobs {
		if _, ok := work[of(ps)]; !ok {
			sizes = append(sizes, of(ps))
		}
		work[of(ps)] += len(ps) * ps[0].In.Area()
	}
	slices.SortStableFunc(sizes, func(a, b size) int { return work[b] - work[a] })
	l.width = min(len(sizes), widest)
	load := make([]int, l.width)
	for _, s := range sizes {
		least := slices.Index(load, slices.Min(load))
		streams[s] = least
		load[least] += work[s]
	}
	all := make([]int, len(l.plan.Jobs))
	for k, ps := range l.plan.Jobs {
		all[k] = streams[of(ps)]
	}
	return all
}

// scratch makes room for the gradients of what the method sees of windows, for each stream of each layer the most of any.
func (l *loops) scratch(j *job, streams []int) [][]kernels.Ptr {
	t := l.b.t
	h, w := l.b.h/t.windows.Stride, l.b.w/t.windows.Stride
	all := make([][]kernels.Ptr, l.width)
	for stream := range all {
		for _, whole := range l.b.whole {
			most := 0
			for k, ps := range l.plan.Jobs {
				if streams[k] == stream {
					seen := t.windows.Seen(ps, h, w)[0]
					most = max(most, len(ps)*(seen.H()*whole.h/h)*(seen.W()*whole.w/w)*whole.d)
				}
			}
			all[stream] = append(all[stream], j.floats(most))
		}
	}
	return all
}

// look makes what the method sees of windows, and its scoring of the cells that they own.
func (l *loops) look(j *job, win *windowSet, where []bool, scratch [][]kernels.Ptr) {
	b, t := l.b, l.b.t
	n, h, w := len(win.patches), b.h/t.windows.Stride, b.w/t.windows.Stride
	seen := t.windows.Seen(win.patches, h, w)
	v := &view{n: n, h: seen[0].H(), w: seen[0].W(), grid: [2]int{h, w}, gradient: true, origins: sight.Origins(seen)}
	if v.layers = layersOf(win.net.network, n); !t.windows.Exact {
		l.correct(j, win, v, seen, scratch[win.stream])
	}
	j.look(v, sight.Wanted(win.patches, seen, where, h, w))
	if len(v.at) == 0 { // they cover parts between cells that are wanted
		j.zero(win.dw, win.bytes)
		return
	}
	bounds := make([]int32, n+1)
	for _, at := range v.at {
		bounds[int(at)/(v.h*v.w)+1]++
	}
	for k := range n {
		bounds[k+1] += bounds[k]
	}
	win.energy = kernels.Energy{
		Windows: n, Bounds: put(j, bounds), Q50: l.scale.Q50, Q995: l.scale.Q995, Weight: l.hinge.Weight, Margin: l.hinge.Margin, S: v.s, DS: v.ds,
	}
	win.scoring = t.scoring(l.ctx, j, v)
}

// correct is boundary correction: what windows of the images as they were given are missing, of what the whole images have there, is
// added to what the network makes of them. The method sees them among the features of the images as they were given.
func (l *loops) correct(j *job, win *windowSet, v *view, seen []sight.Rect, scratch []kernels.Ptr) {
	n, grid := len(win.patches), v.grid
	var tables []kernels.Cells
	for i, inner := range v.layers {
		whole := &l.b.whole[i]
		in := win.patches[0].In
		k, err := inner.coarse(in.H(), in.W())
		if err == nil && (k*whole.h != grid[0] || k*whole.w != grid[1] || v.h%k != 0 || v.w%k != 0) {
			err = fmt.Errorf("it has %dx%d cells of %dx%d of the finest", whole.w, whole.h, grid[1], grid[0])
		}
		if err != nil {
			j.fail(fmt.Errorf("layer %d: %w", i, err))
			return
		}
		missing := layerView{h: inner.h, w: inner.w, d: inner.d, f: j.floats(n * inner.h * inner.w * inner.d)}
		outer := layerView{h: v.h / k, w: v.w / k, d: inner.d, df: scratch[i]}
		outer.f = j.floats(n * outer.h * outer.w * outer.d)
		lack, around := copying{out: &missing, a: whole, b: &inner, subtract: true}, copying{out: &outer, a: whole}
		to := copying{out: &outer, a: &inner, b: &missing}
		back := copying{out: &layerView{h: inner.h, w: inner.w, d: inner.d, f: inner.df}, a: &layerView{h: outer.h, w: outer.w, d: outer.d, f: outer.df}}
		for m, p := range win.patches {
			lack.add(m, 0, 0, p.Image, p.In.Y0/k, p.In.X0/k)
			around.add(m, 0, 0, p.Image, seen[m].Y0/k, seen[m].X0/k)
			y, x := (p.In.Y0-seen[m].Y0)/k, (p.In.X0-seen[m].X0)/k
			to.add(m, y, x, m, 0, 0)
			back.add(m, 0, 0, m, y, x)
		}
		tables = append(tables, lack.kernel(j, inner.h, inner.w), around.kernel(j, outer.h, outer.w))
		win.to = append(win.to, to.kernel(j, inner.h, inner.w))
		win.back = append(win.back, back.kernel(j, inner.h, inner.w))
		v.layers[i] = outer
	}
	l.later = append(l.later, func() {
		j.run(win.cut.Enqueue)
		j.forward(win.net, n)
		for _, c := range tables {
			j.run(c.Enqueue)
		}
	})
}

// iterate enqueues iteration t: windows of each size side by side, since few of one size leave most of a GPU idle.
func (l *loops) iterate(j *job, t int) {
	streams := j.fork(l.width)
	for k, win := range l.windows {
		if win.scoring == nil {
			continue
		}
		stream := streams[min(win.stream, len(streams)-1)]
		n := len(win.patches)
		on := func(enqueue func(kernels.Queue) error) {
			if j.err == nil {
				j.err = enqueue(stream)
			}
		}
		cut := win.cut
		cut.Mask, cut.A, cut.Scale = l.step.Mask, l.step.A, l.step.Scale
		on(cut.Enqueue)
		on(func(kernels.Queue) error { return win.net.run(stream, win.net.forward, n, 0) })
		for _, c := range win.to {
			on(c.Enqueue)
		}
		on(win.scoring.score)
		win.energy.E = l.e + kernels.Ptr(8*((t-1)*l.count+l.first[k]))
		on(win.energy.Enqueue)
		on(win.scoring.grad)
		for _, c := range win.back {
			on(c.Enqueue)
		}
		on(func(kernels.Queue) error { return win.net.run(stream, win.net.backward, n, l.lower) })
		on(func(kernels.Queue) error {
			return stream.Copy(win.dw, win.net.on(win.net.backward.out[0], n), win.bytes)
		})
	}
	j.join(streams)
	j.run(l.gather.Enqueue)
	l.step.Iteration = t
	j.run(l.step.Enqueue)
}

// end brings down what happened, and the states.
func (l *loops) end(j *job) {
	l.energies = make([]float64, l.count*l.o.Iterations)
	collect(j, l.e, l.energies)
	words := make([]uint32, 3*len(l.images)*l.o.Iterations)
	collect(j, l.step.Stats, words)
	j.then(func() { l.stats = kernels.DecodeStats(words) })
	l.list = make([]float32, kernels.RegionsGet*l.regions.Count)
	l.regions.List = j.floats(len(l.list))
	j.run(l.regions.Get)
	collect(j, l.regions.List, l.list)
}

// finish tells what happened to images, and brings their states up to date. Those with values that are not finite it leaves as they
// were, and returns.
func (l *loops) finish(done [][]loop.Iteration) (bad []int) {
	good := map[int]bool{}
	for k, i := range l.images {
		p := &l.problems[i]
		var told []loop.Iteration
		good[i] = true
		for t := range l.o.Iterations {
			energy := 0.0
			for _, at := range l.plan.Places[i] {
				energy += l.energies[t*l.count+l.first[at.Job]+at.At]
			}
			s := l.stats[t*len(l.images)+k]
			it := p.Iteration(energy, pixel.Stats{Penalty: float64(s.Penalty), Support: int(s.Support), Moved: float64(s.Moved)})
			told = append(told, it)
			good[i] = good[i] && it.Finite()
		}
		if good[i] {
			done[i] = told
		} else {
			bad = append(bad, i)
		}
	}
	at, pixels := 0, l.regions.Count
	l.each(func(i int, s *pixel.State, p, _ int) {
		if good[i] {
			line, plane := func(k int) float32 { return l.list[k*pixels+at] }, len(s.V)
			for c := range 3 {
				s.A[c*plane+p], s.M[c*plane+p] = line(c), line(3+c)
			}
			s.V[p], s.Sum[p] = line(6), line(7)
		}
		at++
	})
	return bad
}
