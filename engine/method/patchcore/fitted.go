package patchcore

import (
	"fmt"
	"math"

	"f2pad.example/engine/method/internal/axis"
)

// Fitted is what a fitted Model computes with, for whoever does that elsewhere. It shares the model's memory.
type Fitted struct {
	Widths   []int     // channels of each layer
	Dim      int       // D
	Unfolded bool      // vectors are pooled from three stencils along each axis; otherwise there is one, and a channel is a value
	Bank     []float32 // [M,D]
	Squared  bool      // scores are squared distances
	// Supports is how many of the bank's members, those nearest to a patch's own, re-weight an image's score; 0: none do.
	Supports int

	embed embedding
}

// Fitted returns the fitted state.
func (m *Model) Fitted() Fitted {
	f := Fitted{
		Widths: m.embed.widths, Dim: m.embed.dim, Unfolded: m.embed.unfolded, Bank: m.bank.rows, Squared: m.opts.Squared, embed: m.embed,
	}
	if min(m.opts.Supports, m.bank.size()) >= 2 {
		f.Supports = m.opts.Supports
	}
	return f
}

// Taps says what a value is of: sum_k W[k] * input[Lo+k], 0 where W is empty.
type Taps = axis.Taps

// Axis says, for each stencil, what each of finest locations along an axis reads of a layer's cells.
func (f *Fitted) Axis(cells, finest int) [][]Taps {
	var all [][]Taps
	for _, m := range f.embed.axis(cells, finest) {
		all = append(all, m)
	}
	return all
}

// Pool says, for each layer, what each of an unfolded vector's D values takes of the layer's 9 C values: those of a channel lie side by
// side, stencil of rows by stencil of rows. The vector is the sum over the layers.
func (f *Fitted) Pool() [][]Taps {
	all := make([][]Taps, len(f.Widths))
	for l, c := range f.Widths {
		all[l] = make([]Taps, f.Dim)
		for m := range f.Dim {
			first, end := bin(m, len(f.Widths)*f.Dim, f.Dim) // of all layers' values, one layer after another
			lo, hi := max(first-l*f.Dim, 0), min(end-l*f.Dim, f.Dim)
			if lo >= hi {
				continue
			}
			t := &all[l][m]
			t.Lo, _ = bin(lo, 9*c, f.Dim)
			_, last := bin(hi-1, 9*c, f.Dim)
			t.W = make([]float32, last-t.Lo)
			for i := lo; i < hi; i++ {
				a, b := bin(i, 9*c, f.Dim)
				for k := a; k < b; k++ {
					t.W[k-t.Lo] += 1 / float32((b-a)*(end-first))
				}
			}
		}
	}
	return all
}

// Row is member j of the bank.
func (f *Fitted) Row(j int32) []float32 { return f.Bank[int(j)*f.Dim:][:f.Dim] }

// Greatest returns which of the scores s [n,cells] is the greatest of each image, of those inside (nil: all): the first of equals,
// or the last NaN. It fails where an image has none inside.
func (f *Fitted) Greatest(s []float32, n int, inside []bool) ([]int, error) {
	top, cells := make([]int, n), len(s)/max(n, 1)
	for image := range top {
		top[image] = -1
		for i := image * cells; i < (image+1)*cells; i++ {
			if inside != nil && !inside[i] {
				continue
			}
			if at := top[image]; at < 0 || s[i] > s[at] || math.IsNaN(float64(s[i])) {
				top[image] = i
			}
		}
		if top[image] < 0 {
			return nil, fmt.Errorf("patchcore: image %d of the batch has no location inside", image)
		}
	}
	return top, nil
}

// Reweighed is the score s of patch q times 1 - exp(d_1)/sum_k exp(d_k): d_k are the distances of q to the members nearest to its own
// nearest member, which is the first of them (equation 7 of the paper).
func (f *Fitted) Reweighed(s float32, q []float32, near []int32) float32 {
	d := make([]float64, len(near))
	far := 0.0
	for k, j := range near {
		d[k] = math.Sqrt(distance(q, f.Row(j)))
		far = max(far, d[k])
	}
	sum := 0.0
	for _, x := range d {
		sum += math.Exp(x - far)
	}
	return float32((1 - math.Exp(d[0]-far)/sum) * float64(s))
}
