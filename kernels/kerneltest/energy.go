package kerneltest

import (
	"math"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/loop"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// Energy tests the kernel energy against the hinge in Go. A window's sum is the same whatever its neighbours are.
func Energy(t *testing.T, m kernels.Machine, seed uint64) {
	hinge := loop.Hinge{Weight: 16, Margin: 0.7}
	const q50, q995 = 3.25, 4.5
	for _, sizes := range [][]int{{1}, {0, 700, 3, 128, 0, 129}} {
		Case(t, m, seed, func(r *Rig) {
			bounds := []int32{0}
			for _, n := range sizes {
				bounds = append(bounds, bounds[len(bounds)-1]+int32(n))
			}
			s := r.Normal(int(bounds[len(sizes)]))
			for i := range s {
				s[i] = 3 + 1.5*s[i]
			}
			if len(s) > 1 {
				s[0], s[1] = float32(q50-hinge.Margin*(q995-q50)), 1e30 // at the kink, and far beyond
			}
			run := func(bounds []int32, s []float32) ([]float64, []float32) {
				mb, ms, e, ds := In(r, bounds), In(r, s), Out[float64](r, len(bounds)-1), Out[float32](r, len(s))
				k := kernels.Energy{
					Windows: len(bounds) - 1, Bounds: mb.Ptr, Q50: q50, Q995: q995, Weight: hinge.Weight, Margin: hinge.Margin, S: ms.Ptr, E: e.Ptr,
					DS: ds.Ptr,
				}
				r.Run(k.Enqueue, []Array{mb, ms}, []Array{e, ds})
				return e.Read(), ds.Read()
			}
			e, ds := run(bounds, s)
			wantE, wantDS := make([]float64, len(sizes)), make([]float32, len(s))
			for k := range sizes {
				for i := bounds[k]; i < bounds[k+1]; i++ {
					z := (float64(s[i]) - q50) / (q995 - q50)
					wantE[k] += hinge.Value(z)
					wantDS[i] = float32(hinge.Slope(z) / (q995 - q50))
				}
			}
			compare.Require(r.T, "energy", e, wantE, energyRounding)
			compare.Require(r.T, "slope", ds, wantDS, rounding)
			for k, n := range sizes {
				alone, _ := run([]int32{0, int32(n)}, s[bounds[k]:bounds[k+1]])
				require.Equal(r.T, math.Float64bits(e[k]), math.Float64bits(alone[0]), "window %d alone", k)
			}
		}, "%v", sizes)
	}
	Case(t, m, seed, func(r *Rig) {
		mb, ms := In(r, []int32{0, 1, 2}), In(r, []float32{float32(math.NaN()), 2})
		e, ds := Out[float64](r, 2), Out[float32](r, 2)
		k := kernels.Energy{Windows: 2, Bounds: mb.Ptr, Q995: 1, Weight: 1, S: ms.Ptr, E: e.Ptr, DS: ds.Ptr}
		r.Run(k.Enqueue, []Array{mb, ms}, []Array{e, ds})
		require.True(r.T, math.IsNaN(e.Read()[0]) && math.IsNaN(float64(ds.Read()[0])))
		require.False(r.T, math.IsNaN(e.Read()[1]))
	}, "NaN")
	t.Run("refuses", func(t *testing.T) {
		good := kernels.Energy{Windows: 1, Bounds: 4, Q995: 1, Weight: 1, S: 4, E: 8, DS: 4}
		for what, change := range map[string]func(*kernels.Energy){
			"0 windows": func(e *kernels.Energy) { e.Windows = 0 }, "not finite": func(e *kernels.Energy) { e.Margin = math.Inf(1) },
			"both quantiles are 1": func(e *kernels.Energy) { e.Q50 = 1 }, "s is null": func(e *kernels.Energy) { e.S = 0 },
			"e is not aligned to 8": func(e *kernels.Energy) { e.E = 4 },
		} {
			e := good
			change(&e)
			require.ErrorContains(t, e.Enqueue(m), what)
		}
	})
}

// energyRounding is for logarithms of 3 units in the last place of float32, added up in float64.
var energyRounding = compare.Tolerance{Abs: 1e-6, Rel: 1e-6}

func init() {
	register("energy", Energy)
	const windows, cells = 64, 400
	registerBench(Bench{
		Kernel: "energy", Size: "64 windows of 400", Params: map[string]int{"windows": windows, "cells": cells},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			bounds := make([]int32, windows+1)
			for i := range bounds {
				bounds[i] = int32(i * cells)
			}
			e := kernels.Energy{Windows: windows, Q995: 1, Weight: 16, Margin: 0.5}
			return setUp(b, e.Cost(windows*cells), func() func(kernels.Queue) error { return e.Enqueue },
				memory{&e.Bounds, func() (kernels.Ptr, error) { return Put(b, bounds) }},
				memory{&e.S, func() (kernels.Ptr, error) { return b.Normal(windows*cells, 0, 1) }},
				memory{&e.E, func() (kernels.Ptr, error) { return b.Alloc(2 * windows) }},
				memory{&e.DS, func() (kernels.Ptr, error) { return b.Alloc(windows * cells) }})
		},
	})
}
