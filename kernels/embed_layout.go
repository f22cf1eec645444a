package kernels

import (
	"fmt"
	"math"
)

// embedCells is how many cells of a layer a location's vector is of, along an axis, at the most.
const embedCells = 4

// EmbedAxis lays out, for Embed, what locations read along an axis: stencils [1 or 3][locations], each a list of cells and weights. It
// fails where a location reads more than 4 neighbouring cells, or one beyond so many.
func EmbedAxis(stencils [][][]AxisTap, cells int) ([]int32, error) {
	var table []int32
	for i := range stencils[0] {
		lo, hi, err := reach(stencils, i, cells)
		switch {
		case err != nil:
			return nil, err
		case hi-lo > embedCells:
			return nil, fmt.Errorf("kernels: embed: location %d reads %d cells, at most %d can be", i, hi-lo, embedCells)
		}
		table = append(table, int32(lo), int32(hi-lo))
		for _, taps := range stencils {
			var weights [embedCells]float32
			for _, t := range taps[i] {
				weights[t.Offset-lo] += t.Weight
			}
			for _, w := range weights {
				table = append(table, int32(math.Float32bits(w)))
			}
		}
	}
	return table, nil
}

// reach is the range of cells that location i reads through any of the stencils.
func reach(stencils [][][]AxisTap, i, cells int) (lo, hi int, err error) {
	lo = cells
	for _, taps := range stencils {
		for _, t := range taps[i] {
			if t.Offset < 0 || t.Offset >= cells {
				return 0, 0, fmt.Errorf("kernels: embed: location %d reads cell %d of %d", i, t.Offset, cells)
			}
			lo, hi = min(lo, t.Offset), max(hi, t.Offset+1)
		}
	}
	return min(lo, hi), hi, nil
}

// EmbedAxisBack lays out, for EmbedGradient, which locations read each of the cells of an axis.
func EmbedAxisBack(stencils [][][]AxisTap, cells int) []int32 {
	readers := make([]readers, cells)
	for s, taps := range stencils {
		for i, list := range taps {
			for _, t := range list {
				readers[t.Offset].add(i, s, len(stencils), t.Weight)
			}
		}
	}
	return table(readers, len(stencils))
}

// EmbedPool lays out, for Embed, how the vector's values pool a layer's raw ones: taps [D] lists raw values, which are neighbours.
func EmbedPool(taps [][]AxisTap) []int32 {
	values := make([]readers, len(taps))
	for m, list := range taps {
		for _, t := range list {
			values[m].add(t.Offset, 0, 1, t.Weight)
		}
	}
	return table(values, 1)
}

// EmbedPoolBack lays out, for EmbedGradient, which of the vector's values each raw value of a layer of C channels is pooled into.
func EmbedPoolBack(taps [][]AxisTap, c int) []int32 {
	raw := make([]readers, 9*c)
	for m, list := range taps {
		for _, t := range list {
			raw[t.Offset%9*c+t.Offset/9].add(m, 0, 1, t.Weight)
		}
	}
	return table(raw, 1)
}

// readers are neighbours from first on, with some weights each.
type readers struct {
	first   int
	weights []float32
}

// add adds to weight number s, of so many that each has, of reader i.
func (r *readers) add(i, s, stencils int, weight float32) {
	if r.weights == nil {
		r.first = i
	}
	for i < r.first {
		r.weights = append(make([]float32, stencils), r.weights...)
		r.first--
	}
	for len(r.weights) < (i-r.first+1)*stencils {
		r.weights = append(r.weights, 0)
	}
	r.weights[(i-r.first)*stencils+s] += weight
}

// table is the readers, and then their weights.
func table(all []readers, stencils int) []int32 {
	t := make([]int32, 0, 3*len(all))
	at := 3 * len(all)
	for _, r := range all {
		t = append(t, int32(r.first), int32(len(r.weights)/stencils), int32(at))
		at += len(r.weights)
	}
	for _, r := range all {
		for _, w := range r.weights {
			t = append(t, int32(math.Float32bits(w)))
		}
	}
	return t
}
