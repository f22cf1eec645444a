package sight

import (
	"context"
	"fmt"
	"runtime"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Network runs a backbone on images and windows of any size. Compiled graphs are kept for reuse; it is safe for
// concurrent use.
type Network struct {
	Windows
	bb    backbone.Backbone
	nets  *exec.Pool
	asked *exec.Pool      // for windows that are asked about, forward alone
	turns chan *workspace // held by those that run forward and backward, which keeps every value of their windows
}

// What waits for an image of its size is bounded in number, and in pixels by so many times the largest window: a graph
// with its gradient may keep every value of its last batch.
const (
	idleGraphs  = 32
	idleWindows = 2
)

// NewNetwork returns the network that runs a backbone on ex, on windows as they are.
func NewNetwork(bb backbone.Backbone, ex exec.Executor, w Windows) *Network {
	pool := func(ex exec.Executor) *exec.Pool {
		return exec.NewPool(ex, bb.Graph, idleGraphs, idleWindows*w.limit*w.Stride*w.Stride)
	}
	n := &Network{
		Windows: w, bb: bb, turns: make(chan *workspace, runtime.GOMAXPROCS(0)), nets: pool(ex), asked: pool(exec.ForWindows(ex)),
	}
	for range cap(n.turns) {
		n.turns <- &workspace{}
	}
	return n
}

// workspace is memory for what is needed during a turn, which the next turn uses again.
type workspace struct {
	floats []float32
	used   int
}

// tensor returns one for the rest of the turn, which may hold anything.
func (w *workspace) tensor(shape ...int) *tensor.Dense {
	from := w.used
	if w.used += nd.Size(shape...); w.used > len(w.floats) {
		return nd.New(shape...)
	}
	return nd.Wrap(w.floats[from:w.used:w.used], shape...)
}

// like returns tensors of the shapes of others.
func (w *workspace) like(ts []*tensor.Dense) []*tensor.Dense {
	all := make([]*tensor.Dense, len(ts))
	for i, t := range ts {
		all[i] = w.tensor(t.Shape()...)
	}
	return all
}

// begin begins a turn, with as much memory as the one before took.
func (w *workspace) begin() {
	if w.used > len(w.floats) {
		w.floats = make([]float32, w.used)
	}
	w.used = 0
}

// Close frees the idle graphs.
func (n *Network) Close() {
	n.nets.Close()
	n.asked.Close()
}

// inputs is the shape of what the network takes for patches, all of one size.
func (n *Network) inputs(ps []Patch) []int {
	return []int{len(ps), 3, ps[0].In.H() * n.Stride, ps[0].In.W() * n.Stride}
}

// load cuts the patches out of the images x [N,3,H,W] into in, and normalises each as its image is.
func (n *Network) load(in, x *tensor.Dense, norms []backbone.Affine, ps []Patch) {
	s := n.Stride
	H, W := x.Shape()[2], x.Shape()[3]
	h, w := in.Shape()[2], in.Shape()[3]
	src, dst := nd.Data(x), nd.Data(in)
	par.For(len(ps), func(k int) {
		p := ps[k]
		for c := range 3 {
			scale, shift := norms[p.Image].Scale[c], norms[p.Image].Shift[c]
			for i := range h {
				from := src[((p.Image*3+c)*H+p.In.Y0*s+i)*W+p.In.X0*s:][:w]
				to := dst[((k*3+c)*h+i)*w:][:w]
				for j, v := range from {
					to[j] = float32(v*scale) + shift
				}
			}
		}
	})
}

// Features runs the network on the images x [N,3,H,W] and returns their whole feature maps, one [N,D,h,w] per layer. Images
// beyond the limit go through overlapping windows, whose inner values are those of the whole image.
func (n *Network) Features(ctx context.Context, x *tensor.Dense, norms []backbone.Affine) ([]*tensor.Dense, error) {
	s := n.Stride
	N, H, W := x.Shape()[0], x.Shape()[2], x.Shape()[3]
	wins := n.Tiles(H/s, W/s)
	var whole []*tensor.Dense
	for _, win := range wins {
		ps := make([]Patch, N)
		for i := range ps {
			ps[i] = Patch{i, win}
		}
		c, err := n.nets.Take(win.In.H()*s, win.In.W()*s, false)
		if err != nil {
			return nil, fmt.Errorf("engine: %s at %dx%d pixels: %w", n.bb.Name(), win.In.W()*s, win.In.H()*s, err)
		}
		f, in := c.Outputs(N), nd.New(n.inputs(ps)...)
		n.load(in, x, norms, ps)
		err = c.Forward(ctx, []*tensor.Dense{in}, f)
		n.nets.Give(c)
		if err != nil {
			return nil, fmt.Errorf("engine: %s: %w", n.bb.Name(), err)
		}
		if len(wins) == 1 {
			return f, nil
		}
		if whole == nil {
			if whole, err = wholeMaps(f, win, H/s, W/s); err != nil {
				return nil, err
			}
		}
		for l := range f {
			paste(whole[l], f[l], win, H/s)
		}
	}
	return whole, nil
}

// windows runs the network on patches of one size of the images x.
func (n *Network) windows(ctx context.Context, x *tensor.Dense, norms []backbone.Affine, ps []Patch, work *workspace) ([]*tensor.Dense, error) {
	s := n.Stride
	h, w := ps[0].In.H()*s, ps[0].In.W()*s
	nets := n.asked
	if sh := x.Shape(); h == sh[2] && w == sh[3] {
		nets = n.nets
	}
	c, err := nets.Take(h, w, false)
	if err != nil {
		return nil, fmt.Errorf("engine: %s at %dx%d pixels: %w", n.bb.Name(), w, h, err)
	}
	defer nets.Give(c)
	f, in := c.OutputsIn(len(ps), work.tensor), work.tensor(n.inputs(ps)...)
	n.load(in, x, norms, ps)
	if err := c.Forward(ctx, []*tensor.Dense{in}, f); err != nil {
		return nil, fmt.Errorf("engine: %s: %w", n.bb.Name(), err)
	}
	return f, nil
}

// wholeMaps makes the feature maps of a grid of h x w cells from those of a window of it.
func wholeMaps(f []*tensor.Dense, win Window, h, w int) ([]*tensor.Dense, error) {
	whole := make([]*tensor.Dense, len(f))
	for l, t := range f {
		sh := t.Shape()
		k := win.In.H() / sh[2] // cells of the finest grid per cell of this layer
		if k*sh[2] != win.In.H() || k*sh[3] != win.In.W() || h%k != 0 || w%k != 0 {
			return nil, fmt.Errorf("engine: layer %d has %dx%d cells where the finest has %dx%d: images beyond the window "+
				"limit need layers whose grids divide evenly", l, sh[3], sh[2], win.In.W(), win.In.H())
		}
		whole[l] = nd.New(sh[0], sh[1], h/k, w/k)
	}
	return whole, nil
}

// paste copies the cells that win owns from a window's feature map to the whole one. h is the finest grid's height.
func paste(whole, part *tensor.Dense, win Window, h int) {
	ws, ps := whole.Shape(), part.Shape()
	k := h / ws[2]
	own := Rect{win.Own.Y0 / k, win.Own.X0 / k, (win.Own.Y1 + k - 1) / k, (win.Own.X1 + k - 1) / k}
	y0, x0 := win.In.Y0/k, win.In.X0/k
	dst, src := nd.Data(whole), nd.Data(part)
	for nc := range ws[0] * ws[1] {
		for i := own.Y0; i < own.Y1; i++ {
			copy(dst[(nc*ws[2]+i)*ws[3]+own.X0:][:own.W()], src[(nc*ps[2]+i-y0)*ps[3]+own.X0-x0:])
		}
	}
}
