package sight

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/index"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Network runs a backbone on images and windows of any size. Compiled graphs are kept for reuse; it is safe for
// concurrent use.
type Network struct {
	bb      backbone.Backbone
	ex      exec.Executor
	limit   int  // pixels of the largest window
	margin  int  // cells of context around a window whose features are to be the whole image's
	context int  // cells of context around what the optimisation looks at
	exact   bool // that is all that the scores there depend on
	lattice int  // cells that the sides of windows snap to

	coarsest int // cells of the finest layer per cell of the coarsest

	turns chan struct{} // held by those that run forward and backward, which keeps every value of their windows

	mu   sync.Mutex
	idle []*compiled // least recently used first
}

// compiled is a graph for one input size.
type compiled struct {
	h, w     int
	gradient bool
	pixels   int           // of the largest batch so far
	layers   []graph.Shape // of the outputs, N free
	net      exec.Net
}

// What waits for an image of its size is bounded in number, and in pixels by so many times the largest window: a graph
// with its gradient keeps every value of its last batch.
const (
	idleGraphs  = 32
	idleWindows = 2
)

const (
	// contextCells is how far a method's embedding of a location reaches into its neighbours, in cells of the coarsest layer:
	// one for 3x3 pooling and one for bilinear upsampling.
	contextCells = 2
	// contextPixels is the context of the optimisation's windows where features depend on more than widePixels around them, and
	// yet mostly on what is near.
	contextPixels = 24
	widePixels    = 32
	// latticePixels is the least that the sides of windows snap to. It bounds the number of sizes that graphs are compiled for,
	// and lets windows of several images share a batch.
	latticePixels = 16
)

// NewNetwork measures windows for a backbone. The receptive fields of deep networks are far wider than what they mostly look
// at: there the optimisation's windows take in context pixels only (0: enough), and scorer makes up for what is cut off.
func NewNetwork(bb backbone.Backbone, ex exec.Executor, limit, context int) *Network {
	s := bb.Stride()
	n := &Network{bb: bb, ex: ex, turns: make(chan struct{}, runtime.GOMAXPROCS(0)), limit: limit, margin: (bb.Margin() + s - 1) / s, coarsest: bb.Multiple() / s}
	n.lattice = index.RoundUp(max(latticePixels/s, 1), n.coarsest) // in phase with the strides of all layers
	all := n.margin + n.embedding()
	switch {
	case context > 0:
		n.context = (context + s - 1) / s
	case bb.Margin() > widePixels:
		n.context = (contextPixels + s - 1) / s
	default:
		n.context = all
	}
	if bb.Margin() == backbone.Whole {
		n.context = all
	}
	n.exact = n.context >= all
	return n
}

// Exact reports whether the optimisation's windows hold all that scores in them depend on.
func (n *Network) Exact() bool { return n.exact }

// embedding is how far a method's embedding of a location reaches, in cells.
func (n *Network) embedding() int { return contextCells * n.coarsest }

// layout places windows with a margin on images of h x w cells.
func (n *Network) layout(h, w, margin int) layout {
	s := n.bb.Stride()
	return layout{h: h, w: w, margin: margin, lattice: n.lattice, limit: n.limit / (s * s)}
}

// take returns a compiled graph for inputs of h x w pixels; give hands it back.
func (n *Network) take(h, w int, gradient bool) (*compiled, error) {
	n.mu.Lock()
	for i := len(n.idle) - 1; i >= 0; i-- {
		if c := n.idle[i]; c.h == h && c.w == w && c.gradient == gradient {
			n.idle = append(n.idle[:i], n.idle[i+1:]...)
			n.mu.Unlock()
			return c, nil
		}
	}
	n.mu.Unlock()
	g, err := n.bb.Graph(h, w)
	if err != nil {
		return nil, err
	}
	shapes, err := g.Infer()
	if err != nil {
		return nil, err
	}
	c := &compiled{h: h, w: w, gradient: gradient}
	for _, out := range g.Outputs {
		c.layers = append(c.layers, shapes[out])
	}
	c.net, err = n.ex.Compile(g, gradient)
	return c, err
}

func (n *Network) give(c *compiled) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.idle = append(n.idle, c)
	pixels := 0
	for _, c := range n.idle {
		pixels += c.pixels
	}
	for len(n.idle) > idleGraphs || len(n.idle) > 1 && pixels > idleWindows*n.limit {
		pixels -= n.idle[0].pixels
		n.idle[0].net.Close()
		n.idle = append(n.idle[:0], n.idle[1:]...)
	}
}

// Close frees the idle graphs.
func (n *Network) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.idle {
		c.net.Close()
	}
	n.idle = nil
}

// outputs makes the tensors of a batch's feature maps, and notes the batch's size.
func (c *compiled) outputs(batch int) []*tensor.Dense {
	c.pixels = max(c.pixels, batch*c.h*c.w)
	f := make([]*tensor.Dense, len(c.layers))
	for i, s := range c.layers {
		f[i] = nd.New(append([]int{batch}, s[1:]...)...)
	}
	return f
}

// patch is a window of one image of a batch, with that image's normalisation.
type patch struct {
	image int
	win   window
	norm  backbone.Affine
}

// load cuts the patches (all of one size) out of the images x [N,3,H,W] and normalises them.
func (n *Network) load(x *tensor.Dense, ps []patch) *tensor.Dense {
	s := n.bb.Stride()
	H, W := x.Shape()[2], x.Shape()[3]
	h, w := ps[0].win.in.h()*s, ps[0].win.in.w()*s
	in := nd.New(len(ps), 3, h, w)
	src, dst := nd.Data(x), nd.Data(in)
	for k, p := range ps {
		for c := range 3 {
			scale, shift := p.norm.Scale[c], p.norm.Shift[c]
			for i := range h {
				from := src[((p.image*3+c)*H+p.win.in.y0*s+i)*W+p.win.in.x0*s:][:w]
				to := dst[((k*3+c)*h+i)*w:][:w]
				for j, v := range from {
					to[j] = float32(v*scale) + shift
				}
			}
		}
	}
	return in
}

// Features runs the network on the images x [N,3,H,W] and returns their whole feature maps, one [N,D,h,w] per layer. Images
// beyond the limit go through overlapping windows, whose inner values are those of the whole image.
func (n *Network) Features(ctx context.Context, x *tensor.Dense, norms []backbone.Affine) ([]*tensor.Dense, error) {
	s := n.bb.Stride()
	N, H, W := x.Shape()[0], x.Shape()[2], x.Shape()[3]
	wins := n.layout(H/s, W/s, n.margin).tiles()
	var whole []*tensor.Dense
	for _, win := range wins {
		ps := make([]patch, N)
		for i := range ps {
			ps[i] = patch{image: i, win: win, norm: norms[i]}
		}
		c, err := n.take(win.in.h()*s, win.in.w()*s, false)
		if err != nil {
			return nil, fmt.Errorf("engine: %s at %dx%d pixels: %w", n.bb.Name(), win.in.w()*s, win.in.h()*s, err)
		}
		f := c.outputs(N)
		err = c.net.Forward(ctx, []*tensor.Dense{n.load(x, ps)}, f)
		n.give(c)
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

// wholeMaps makes the feature maps of a grid of h x w cells from those of a window of it.
func wholeMaps(f []*tensor.Dense, win window, h, w int) ([]*tensor.Dense, error) {
	whole := make([]*tensor.Dense, len(f))
	for l, t := range f {
		sh := t.Shape()
		k := win.in.h() / sh[2] // cells of the finest grid per cell of this layer
		if k*sh[2] != win.in.h() || k*sh[3] != win.in.w() || h%k != 0 || w%k != 0 {
			return nil, fmt.Errorf("engine: layer %d has %dx%d cells where the finest has %dx%d: images beyond the window "+
				"limit need layers whose grids divide evenly", l, sh[3], sh[2], win.in.w(), win.in.h())
		}
		whole[l] = nd.New(sh[0], sh[1], h/k, w/k)
	}
	return whole, nil
}

// paste copies the cells that win owns from a window's feature map to the whole one. h is the finest grid's height.
func paste(whole, part *tensor.Dense, win window, h int) {
	ws, ps := whole.Shape(), part.Shape()
	k := h / ws[2]
	own := rect{win.own.y0 / k, win.own.x0 / k, (win.own.y1 + k - 1) / k, (win.own.x1 + k - 1) / k}
	y0, x0 := win.in.y0/k, win.in.x0/k
	dst, src := nd.Data(whole), nd.Data(part)
	for nc := range ws[0] * ws[1] {
		for i := own.y0; i < own.y1; i++ {
			copy(dst[(nc*ws[2]+i)*ws[3]+own.x0:][:own.w()], src[(nc*ps[2]+i-y0)*ps[3]+own.x0-x0:])
		}
	}
}
