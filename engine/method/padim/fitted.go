package padim

import "fmt"

// Gaussians are what a fitted Model measures features with, for whoever does that elsewhere. They share the model's memory.
type Gaussians struct {
	Channels [][]int   // of each layer those that are kept, ascending: K in all, in the order of the vectors' values
	Native   bool      // one Gaussian serves all locations
	H, W     int       // grid of the Gaussians; 1x1 if Native
	Mean     []float32 // [H*W,K]
	Factor   []float32 // [H*W,K(K+1)/2]: M row by row
}

// Gaussians returns the fitted state.
func (m *Model) Gaussians() Gaussians {
	g := Gaussians{Channels: make([][]int, len(m.widths)), Native: m.opts.Native, H: m.h, W: m.w, Mean: m.mean, Factor: m.factor}
	first, layer := 0, 0
	for _, c := range m.channels {
		for c-first >= m.widths[layer] {
			first += m.widths[layer]
			layer++
		}
		g.Channels[layer] = append(g.Channels[layer], c-first)
	}
	return g
}

// K is the length of vectors.
func (g *Gaussians) K() int { return len(g.Mean) / (g.H * g.W) }

// Of is the index of the Gaussian of a cell of an image's grid.
func (g *Gaussians) Of(row, col int) int {
	if g.Native {
		return 0
	}
	return row*g.W + col
}

// Cover says whether there are Gaussians for a window of h x w cells at a cell of an image's grid.
func (g *Gaussians) Cover(h, w, row, col int) error {
	if !g.Native && (row+h > g.H || col+w > g.W) {
		return fmt.Errorf("padim: %dx%d locations at cell (%d,%d), but the model has %dx%d: it was fitted for one image size",
			h, w, row, col, g.H, g.W)
	}
	return nil
}

// Cell is which of a layer's cells along an axis location i of finest reads: floor(i cells/finest).
func Cell(i, cells, finest int) int { return i * cells / finest }
