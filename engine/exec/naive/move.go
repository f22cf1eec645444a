package naive

import (
	"slices"

	"f2pad.example/engine/graph"
)

func concat(n *graph.Node, in []*Array, y *Array) {
	axis, start := n.Axis(0, len(y.Shape)), 0
	for _, x := range in[:len(n.In)] {
		indices(x.Shape, func(at []int) {
			to := slices.Clone(at)
			to[axis] += start
			y.Data[y.offset(to)] = x.At(at...)
		})
		start += x.Shape[axis]
	}
}

// sliced calls visit with each index of the slice and the index of the whole that it comes from.
func sliced(n *graph.Node, whole []int, part *Array, visit func(at, from []int)) {
	s, _, err := graph.ResolveSlice(n, whole)
	if err != nil {
		panic(err) // Infer has ruled it out
	}
	from := make([]int, len(whole))
	indices(part.Shape, func(at []int) {
		for a := range at {
			from[a] = s.Start[a] + at[a]*s.Step[a]
		}
		visit(at, from)
	})
}

func slice(n *graph.Node, in []*Array, y *Array) {
	sliced(n, in[0].Shape, y, func(at, from []int) { y.Data[y.offset(at)] = in[0].At(from...) })
}

func sliceGrad(n *graph.Node, in []*Array, dx *Array) {
	sliced(n, dx.Shape, in[0], func(at, from []int) { dx.Data[dx.offset(from)] += in[0].At(at...) })
}

// padded calls visit with each index of the padded array and the index of the inner one that it reads; ok is false where
// it is the constant.
func padded(n *graph.Node, inner, outer *Array, visit func(at, from []int, ok bool)) {
	pads, mode := n.Ints("pads", nil), n.String("mode", "constant")
	from := make([]int, len(inner.Shape))
	indices(outer.Shape, func(at []int) {
		ok := true
		for a := range at {
			i, last := at[a]-pads[a], inner.Shape[a]-1
			switch {
			case i >= 0 && i <= last:
			case mode == "constant":
				ok = false
			case mode == "edge":
				i = min(max(i, 0), last)
			case i < 0: // reflect
				i = -i
			default:
				i = 2*last - i
			}
			from[a] = i
		}
		visit(at, from, ok)
	})
}

func pad(n *graph.Node, in []*Array, y *Array) {
	padded(n, in[0], y, func(at, from []int, ok bool) {
		v := float64(n.Float("value", 0))
		if ok {
			v = in[0].At(from...)
		}
		y.Data[y.offset(at)] = v
	})
}

func padGrad(n *graph.Node, in []*Array, dx *Array) {
	padded(n, dx, in[0], func(at, from []int, ok bool) {
		if ok {
			dx.Data[dx.offset(from)] += in[0].At(at...)
		}
	})
}

// resized calls visit with every pair of an index of the small or large array before the Resize and one after it that it
// contributes to, and the weight.
func resized(n *graph.Node, before, after []int, visit func(from, to []int, weight float64)) {
	var axes [4][]graph.Tap
	for a := 2; a < 4; a++ {
		axes[a] = graph.ResizeTaps(n, a, before[a], after[a])
	}
	indices(after, func(to []int) {
		row, col := axes[2][to[2]], axes[3][to[3]]
		for _, r := range []weighted{{row.Lo, 1 - row.W}, {row.Hi, row.W}} {
			for _, c := range []weighted{{col.Lo, 1 - col.W}, {col.Hi, col.W}} {
				if weight := r.weight * c.weight; weight != 0 {
					visit([]int{to[0], to[1], r.at, c.at}, to, weight)
				}
			}
		}
	})
}

type weighted struct {
	at     int
	weight float64
}

func resize(n *graph.Node, in []*Array, y *Array) {
	resized(n, in[0].Shape, y.Shape, func(from, to []int, w float64) { y.Data[y.offset(to)] += w * in[0].At(from...) })
}

func resizeGrad(n *graph.Node, in []*Array, dx *Array) {
	resized(n, dx.Shape, in[0].Shape, func(from, to []int, w float64) { dx.Data[dx.offset(from)] += w * in[0].At(to...) })
}

func reshape(_ *graph.Node, in []*Array, y *Array) { copy(y.Data, in[0].Data) }

func transpose(n *graph.Node, in []*Array, y *Array) {
	perm := n.Ints("perm", nil)
	from := make([]int, len(perm))
	indices(y.Shape, func(at []int) {
		for i, a := range perm {
			from[a] = at[i]
		}
		y.Data[y.offset(at)] = in[0].At(from...)
	})
}
