package cuda

import (
	"context"
	"errors"
	"fmt"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/sight"
	"f2pad.example/kernels"

	"gorgonia.org/tensor"
)

// detector is a network and a method on the device.
type detector struct {
	d        *Device
	ex       *Executor
	backbone backbone.Backbone
	method   method.Method
	windows  sight.Windows
	timer    sight.Timer
	head     head // nil: the method is computed on the host, which its features come down to
}

var _ sight.Detector = (*detector)(nil)

// Detector implements place.Place: everything between images and scores, and the whole optimisation, stays on the device. Methods
// that have no head there are computed on the host.
func (d *Device) Detector(s sight.Spec) (sight.Detector, error) { return d.detector(s, d.ex) }

func (d *Device) detector(s sight.Spec, ex *Executor) (*detector, error) {
	t := &detector{d: d, ex: ex, backbone: s.Backbone, method: s.Method, windows: s.Windows(), timer: s.Timer}
	var err error
	if t.head, err = d.head(s.Method); err != nil && !errors.Is(err, errNoHead) {
		return nil, err
	}
	return t, nil
}

// Maps implements sight.Detector.
func (t *detector) Maps(s []float32, n, h, w, H, W int, wanted []bool, dst []float32) error {
	return t.d.Maps(s, n, h, w, H, W, t.method.Map(), wanted, dst)
}

// Close implements sight.Detector.
func (t *detector) Close() error {
	var errs []error
	for {
		s := t.d.nets.find(func(s *sized) bool { return s.of == t })
		if s == nil {
			break
		}
		errs = append(errs, s.close())
	}
	if t.head != nil {
		errs = append(errs, t.head.close())
		t.head = nil
	}
	return errors.Join(errs...)
}

// images are a batch on the device, x [n,3,h,w], and their normalisation, [n,3] each.
type images struct {
	n, h, w        int
	x, gain, shift kernels.Ptr
}

// glance is which of a batch to look at, and from where: at (y,x) is what is at (y+dy, x+dx), or at the nearest pixel.
type glance struct {
	of     []int
	dy, dx int
}

// all looks at the images as they are.
func (im *images) all() glance {
	g := glance{of: make([]int, im.n)}
	for i := range g.of {
		g.of[i] = i
	}
	return g
}

// bring uploads images.
func (j *job) bring(x *tensor.Dense, norms []backbone.Affine) images {
	s := x.Shape()
	gain, shift := tables(norms)
	return images{s[0], s[2], s[3], put(j, nd.Data(x)), put(j, gain), put(j, shift)}
}

func tables(norms []backbone.Affine) (gain, shift []float32) {
	for _, a := range norms {
		gain, shift = append(gain, a.Scale[:]...), append(shift, a.Shift[:]...)
	}
	return gain, shift
}

// cut is what brings windows of images into a network.
func (im *images) cut(n *network, table kernels.Ptr, windows int) kernels.Cut {
	in := n.forward.in[0]
	return kernels.Cut{
		N: im.n, H: im.h, W: im.w, Windows: windows, Rows: in.shape[2], Columns: in.shape[3], Table: table, Y: im.x, Gain: im.gain,
		Shift: im.shift, Strides: [4]int(in.value.strides), Half: in.value.half, Out: n.on(in, windows),
	}
}

// layersOf are a network's feature maps of so many windows, with their gradients if it has any.
func layersOf(n *network, windows int) (all []layerView) {
	for l, p := range n.forward.out {
		v := layerView{h: p.shape[2], w: p.shape[3], d: p.shape[1], f: n.on(p, windows)}
		if n.backward != nil {
			v.df = n.on(n.backward.in[l], windows)
		}
		all = append(all, v)
	}
	return all
}

// features runs the network on whole images, as sight.Network's Features does: one map for each layer, [n,h,w,d]. With lasting the
// maps are for other jobs, too. done hands back the network that they are in otherwise, if they are.
func (t *detector) features(ctx context.Context, j *job, im *images, g glance, lasting bool) (whole []layerView, done func()) {
	s, n := t.windows.Stride, len(g.of)
	h, w := im.h/s, im.w/s
	tiles := t.windows.Tiles(h, w)
	done = func() {}
	for _, tile := range tiles {
		if j.err == nil {
			j.err = ctx.Err()
		}
		net := t.take(j, tile.In.H()*s, tile.In.W()*s, false, n)
		if j.err != nil {
			t.give(j, net)
			return nil, done
		}
		table := make([]int32, 0, 4*n)
		for _, i := range g.of {
			table = append(table, int32(i), 0, int32(tile.In.Y0*s+g.dy), int32(tile.In.X0*s+g.dx))
		}
		j.run(im.cut(net.network, put(j, table), n).Enqueue)
		j.forward(net, n)
		layers := layersOf(net.network, n)
		if len(tiles) == 1 && !lasting {
			return layers, func() { t.give(j, net) }
		}
		for l := range layers {
			t.paste(j, &whole, l, &layers[l], n, tile, [2]int{h, w}, lasting)
		}
		t.give(j, net)
	}
	return whole, done
}

// paste copies the cells that a tile owns from its layer number l to that of n whole images of grid cells, which it makes if need be.
func (t *detector) paste(j *job, whole *[]layerView, l int, part *layerView, n int, tile sight.Window, grid [2]int, lasting bool) {
	all := sight.Rect{Y1: grid[0], X1: grid[1]}
	o := layerView{h: part.h, w: part.w, d: part.d}
	in, own := sight.Rect{Y1: part.h, X1: part.w}, sight.Rect{Y1: part.h, X1: part.w}
	if tile.In != all {
		k, err := part.coarse(tile.In.H(), tile.In.W())
		if err == nil && (all.Y1%k != 0 || all.X1%k != 0) {
			err = fmt.Errorf("a layer has a cell for %d of the finest, which has %dx%d", k, all.X1, all.Y1)
		}
		if err != nil {
			j.fail(fmt.Errorf("layer %d: %w", l, err))
			return
		}
		o.h, o.w = all.Y1/k, all.X1/k
		in = sight.Rect{Y0: tile.In.Y0 / k, X0: tile.In.X0 / k}
		own = sight.Rect{Y0: tile.Own.Y0 / k, X0: tile.Own.X0 / k, Y1: (tile.Own.Y1 + k - 1) / k, X1: (tile.Own.X1 + k - 1) / k}
	}
	if len(*whole) == l {
		j.lasting = lasting
		o.f = j.floats(n * o.h * o.w * o.d)
		j.lasting = false
		*whole = append(*whole, o)
	}
	c := copying{out: &(*whole)[l], a: part}
	for i := range n {
		c.add(i, own.Y0, own.X0, i, own.Y0-in.Y0, own.X0-in.X0)
	}
	j.run(c.kernel(j, own.H(), own.W()).Enqueue)
}

// coarse says how many cells of the finest grid, of which windows have h x w, a cell of their layer has.
func (v *layerView) coarse(h, w int) (int, error) {
	k := max(h/v.h, 1)
	if k*v.h != h || k*v.w != w {
		return 0, fmt.Errorf("it has %dx%d cells where the finest has %dx%d: windows of images need layers whose grids divide evenly",
			v.w, v.h, w, h)
	}
	return k, nil
}

// copying is rectangles of cells to copy from a layer to another, b being added on the way, or subtracted.
type copying struct {
	out, a, b *layerView // b may be nil
	subtract  bool
	table     []int32
}

// add adds a rectangle: the numbers of the maps that it is from and to, and where it begins there. In b it is map to, all of it.
func (c *copying) add(to, toY, toX, from, fromY, fromX int) {
	b := 0
	if c.b != nil {
		b = to * c.b.h * c.b.w
	}
	c.table = append(c.table, int32((to*c.out.h+toY)*c.out.w+toX), int32((from*c.a.h+fromY)*c.a.w+fromX), int32(b))
}

// kernel uploads the table; the rectangles are of h x w cells.
func (c *copying) kernel(j *job, h, w int) kernels.Cells {
	k := kernels.Cells{
		Rectangles: len(c.table) / 3, Rows: h, Columns: w, D: c.a.d, Table: put(j, c.table), OutPitch: c.out.w, APitch: c.a.w, A: c.a.f,
		Out: c.out.f, Subtract: c.subtract,
	}
	if c.b != nil {
		k.B, k.BPitch = c.b.f, c.b.w
	}
	return k
}

// forward enqueues a network on so many windows.
func (j *job) forward(n *sized, windows int) {
	j.flush()
	if j.err == nil {
		j.err = n.run(j.Stream, n.network.forward, windows, 0)
	}
}

// look makes the view of windows whose wanted locations are where [n,h,w]; nil: all.
func (j *job) look(v *view, where []bool) {
	cells := v.n * v.h * v.w
	item := make([]int32, cells)
	for i := range item {
		if item[i] = -1; where == nil || where[i] {
			item[i] = int32(len(v.at))
			v.at = append(v.at, int32(i))
		}
	}
	v.items, v.s = put(j, v.at), j.floats(len(v.at))
	if v.gradient {
		v.item, v.ds = put(j, item), j.floats(len(v.at))
	}
}

// scoring is the method's, in the job.
func (t *detector) scoring(ctx context.Context, j *job, v *view) scoring {
	if j.err != nil {
		return nil
	}
	if t.head == nil {
		return &hostScoring{ctx: ctx, j: j, method: t.method, v: v}
	}
	s, err := t.head.view(j, v)
	if err != nil {
		j.fail(fmt.Errorf("%s: %w", t.method.Name(), err))
	}
	return s
}

// Begin implements sight.Detector: it keeps the images on the device, and what an optimisation of them needs.
func (t *detector) Begin(ctx context.Context, x *tensor.Dense, norms []backbone.Affine, r *method.Result) (sight.Batch, error) {
	if s := x.Shape(); len(s) != 4 || s[1] != 3 || s[0] != len(norms) {
		return nil, fmt.Errorf("cuda: images %v with %d normalisations, want [N,3,H,W] with N", s, len(norms))
	}
	lap := t.timer.Start(len(norms))
	b := &begun{t: t, norms: norms}
	err := t.d.do(ctx, "scores", func(j *job) {
		j.lasting = true
		b.images = j.bring(x, norms)
		j.lasting = false
		lasting := !t.windows.Exact
		f := t.look(ctx, j, &b.images, b.all(), lasting, r)
		if j.err != nil {
			return
		}
		b.held = []kernels.Ptr{b.x, b.gain, b.shift}
		if lasting {
			b.whole = f
			for _, v := range f {
				b.held = append(b.held, v.f)
			}
		}
		for _, p := range b.held {
			j.keep(p)
		}
	})
	if err != nil {
		return nil, err
	}
	lap(sight.StageFeatures) // and the method's scores, which come with them
	return b, nil
}

// look fills r with the scores of images. With lasting their features are for other jobs.
func (t *detector) look(ctx context.Context, j *job, im *images, g glance, lasting bool, r *method.Result) []layerView {
	f, done := t.features(ctx, j, im, g, lasting)
	defer done()
	if j.err == nil {
		t.ask(ctx, j, len(g.of), im.h/t.windows.Stride, im.w/t.windows.Stride, f, r)
	}
	if j.err == nil {
		j.err = ctx.Err()
	}
	return f
}

// ask fills r with the scores of n whole images' features, on a grid of h x w.
func (t *detector) ask(ctx context.Context, j *job, n, h, w int, f []layerView, r *method.Result) {
	if t.head == nil {
		down := fetch(j, f, n)
		if j.err != nil {
			return
		}
		if err := t.method.Score(ctx, down, r); err != nil {
			j.fail(fmt.Errorf("%s: %w", t.method.Name(), err))
		}
		return
	}
	v := &view{n: n, h: h, w: w, grid: [2]int{h, w}, origins: make([][2]int, n), layers: f}
	j.look(v, r.Where)
	if len(v.at) == 0 || j.err != nil {
		return
	}
	s := t.scoring(ctx, j, v)
	if j.err == nil {
		j.err = s.score(j.Stream)
	}
	found := make([]float32, len(v.at))
	collect(j, v.s, found)
	j.then(func() {
		for i, at := range v.at {
			nd.Data(r.S)[at] = found[i]
		}
	})
	if r.Image != nil && j.err == nil {
		j.err = t.head.images(ctx, j, v, s, r.Inside, r.Image)
	}
}
