package sight

import (
	"f2pad.example/engine/backbone"
	"f2pad.example/engine/internal/index"
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

// Windows says on which parts of images a backbone runs. All lengths are in cells of the finest layer's grid.
type Windows struct {
	Stride    int  // pixels of a cell
	Exact     bool // the optimisation's windows hold all that the scores in them depend on
	Embedding int  // how far a method's embedding of a location reaches

	limit   int // of the largest window
	margin  int // context around a window whose features are to be the whole image's
	context int // context around what the optimisation looks at
	lattice int // what the sides of windows snap to
}

// NewWindows measures windows for a backbone: of at most limit pixels. The receptive fields of deep networks are far wider than what
// they mostly look at: there the optimisation's windows take in context pixels only (0: enough), and boundary correction makes up
// for what is cut off.
func NewWindows(bb backbone.Backbone, limit, context int) Windows {
	s := bb.Stride()
	coarsest := bb.Multiple() / s // cells of the finest layer per cell of the coarsest
	w := Windows{Stride: s, Embedding: contextCells * coarsest, limit: limit / (s * s), margin: (bb.Margin() + s - 1) / s}
	w.lattice = index.RoundUp(max(latticePixels/s, 1), coarsest) // in phase with the strides of all layers
	all := w.margin + w.Embedding
	switch {
	case context > 0:
		w.context = (context + s - 1) / s
	case bb.Margin() > widePixels:
		w.context = (contextPixels + s - 1) / s
	default:
		w.context = all
	}
	if bb.Margin() == backbone.Whole {
		w.context = all
	}
	w.Exact = w.context >= all
	return w
}

// Tiles covers an image of h x w cells with windows whose Own cells have the features that the whole image would give: with one
// if it fits.
func (w *Windows) Tiles(h, width int) []Window {
	return layout{h: h, w: width, margin: w.margin, lattice: w.lattice, limit: w.limit}.tiles()
}

// Patch is a window of one image of a batch.
type Patch struct {
	Image int
	Window
}

// Plan says how cells of a batch are covered by windows. Every image's windows depend on that image alone.
type Plan struct {
	Jobs   [][]Patch // windows of one size, which run together
	Places [][]Place // per image, in the order in which what its windows give is added up
}

// Place is where a patch is in a plan.
type Place struct{ Job, At int }

// Plan covers the cells where [N,h,w] of a batch with the optimisation's windows.
func (w *Windows) Plan(where []bool, N, h, width int) *Plan {
	l := layout{h: h, w: width, margin: w.context, lattice: w.lattice, limit: w.limit}
	return l.plan(where, N, l.covering)
}

// Asked covers them with windows that hold all that their scores depend on: an image as a whole, where windows would be no less work.
func (w *Windows) Asked(where []bool, N, h, width int) *Plan {
	l := layout{h: h, w: width, margin: w.margin + w.Embedding, lattice: w.lattice, limit: w.limit}
	return l.plan(where, N, func(where []bool) []Window {
		wins, cells := l.covering(where), 0
		for _, win := range wins {
			cells += win.In.Area()
		}
		if cells >= l.all().Area() {
			return l.tiles()
		}
		return wins
	})
}

// plan puts the windows of each of a batch's images, which cover gives, together by size.
func (l layout) plan(where []bool, N int, cover func(where []bool) []Window) *Plan {
	p := &Plan{Places: make([][]Place, N)}
	type size struct{ h, w int }
	open := map[size]int{}
	for n := range N {
		for _, win := range cover(where[n*l.h*l.w : (n+1)*l.h*l.w]) {
			k := size{win.In.H(), win.In.W()}
			at, ok := open[k]
			if !ok || (len(p.Jobs[at])+1)*win.In.Area() > l.limit {
				at = len(p.Jobs)
				open[k] = at
				p.Jobs = append(p.Jobs, nil)
			}
			p.Places[n] = append(p.Places[n], Place{at, len(p.Jobs[at])})
			p.Jobs[at] = append(p.Jobs[at], Patch{n, win})
		}
	}
	return p
}

// Wanted are the locations of what is seen of a job's windows [len(job),h,w] that they own and where [N,h,w] names in the images' grids
// of h x width cells.
func Wanted(job []Patch, seen []Rect, where []bool, h, width int) []bool {
	sh, sw := seen[0].H(), seen[0].W()
	wanted := make([]bool, len(job)*sh*sw)
	for k, p := range job {
		own := p.Own
		for y := own.Y0; y < own.Y1; y++ {
			from := where[(p.Image*h+y)*width:]
			copy(wanted[(k*sh+y-seen[k].Y0)*sw+own.X0-seen[k].X0:], from[own.X0:own.X1])
		}
	}
	return wanted
}

// Origins are where in their images' grids begins what is seen.
func Origins(seen []Rect) [][2]int {
	all := make([][2]int, len(seen))
	for k, s := range seen {
		all[k] = [2]int{s.Y0, s.X0}
	}
	return all
}

// Seen are what a method sees of each window of a job, whose images are of h x w cells: the window itself, and where windows are
// cut also what its embedding reaches around it, which is as the image was given.
func (w *Windows) Seen(job []Patch, h, width int) []Rect {
	seen := make([]Rect, len(job))
	for k, p := range job {
		if seen[k] = p.In; !w.Exact {
			seen[k] = p.In.Widened(w.Embedding, Rect{0, 0, h, width})
		}
	}
	return seen
}
