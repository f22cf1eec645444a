package goexec

import "f2pad.example/engine/graph"

func lowerResize(o *operation) (kernel, error) {
	x, y := o.in[0], o.out
	if o.String("mode", "nearest") == "nearest" {
		return gather(nearest(o.Node, x, y), 0), nil
	}
	down, across := graph.ResizeTaps(o.Node, 2, x[2], y[2]), graph.ResizeTaps(o.Node, 3, x[3], y[3])
	return kernel{
		units: y[1] * y[2],
		cost:  4 * y[3],
		run: func(c *call, lo, hi int) {
			for u := lo; u < hi; u++ {
				v := down[u%y[2]]
				plane := c.in[0][u/y[2]*x[2]*x[3]:][:x[2]*x[3]]
				above, below := plane[v.Lo*x[3]:][:x[3]], plane[v.Hi*x[3]:][:x[3]]
				w := float32(v.W)
				row := c.out[u*y[3]:][:y[3]]
				for j, h := range across {
					row[j] = mix(mix(above[h.Lo], above[h.Hi], float32(h.W)), mix(below[h.Lo], below[h.Hi], float32(h.W)), w)
				}
			}
		},
	}, nil
}

// mix is (1-w)*a + w*b.
func mix(a, b, w float32) float32 { return float32((1-w)*a) + float32(w*b) }

// lowerResizeGrad adds each gradient to the elements that were mixed, in the order of the output.
func lowerResizeGrad(o *operation) (kernel, error) {
	x, y := o.out, o.in[0]
	if o.String("mode", "nearest") == "nearest" {
		return scatter(nearest(o.Node, x, y)), nil
	}
	down, across := graph.ResizeTaps(o.Node, 2, x[2], y[2]), graph.ResizeTaps(o.Node, 3, x[3], y[3])
	return kernel{
		units: x[1],
		cost:  8 * y[2] * y[3],
		run: func(c *call, lo, hi int) {
			clear(c.out[lo*x[2]*x[3] : hi*x[2]*x[3]])
			for u := lo; u < hi; u++ {
				plane := c.out[u*x[2]*x[3]:][:x[2]*x[3]]
				for i, v := range down {
					above, below := plane[v.Lo*x[3]:][:x[3]], plane[v.Hi*x[3]:][:x[3]]
					w := float32(v.W)
					for j, d := range c.in[0][(u*y[2]+i)*y[3]:][:y[3]] {
						h := across[j]
						wh := float32(h.W)
						up, dn := (1-w)*d, w*d
						above[h.Lo] += float32(up * (1 - wh))
						above[h.Hi] += float32(up * wh)
						below[h.Lo] += float32(dn * (1 - wh))
						below[h.Hi] += float32(dn * wh)
					}
				}
			}
		},
	}, nil
}

func nearest(n *graph.Node, before, after graph.Shape) picks {
	return newPicks(before, after, func(axis int) []int {
		from := make([]int, after[axis])
		for i := range from {
			from[i] = i
		}
		if axis >= 2 {
			for i, t := range graph.ResizeTaps(n, axis, before[axis], after[axis]) {
				from[i] = t.Lo
			}
		}
		return from
	})
}
