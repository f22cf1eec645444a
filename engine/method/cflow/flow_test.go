package cflow

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"f2pad.example/engine/autodiff"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/gemm"

	"github.com/stretchr/testify/require"
)

// Steps of 1e-4 in float64 leave some 1e-8 of third derivatives; constants of the graph are rounded to float32.
var differences = compare.Tolerance{Abs: 1e-6, Rel: 1e-5}

const difference = 1e-4

// subject is a flow with parameters far from where training begins, so that nothing of it is nearly linear.
func subject(d, c, blocks int, whiten, soft bool) (*flow, []float32) {
	rng := rand.New(rand.NewPCG(uint64(d), uint64(c)))
	f := &flow{d: d, c: c, blocks: blocks, clamp: 1.9}
	f.mix(rng, soft)
	if whiten {
		f.mean, f.whiten = make([]float32, d), make([]float32, d*d)
		for i := range d {
			f.mean[i] = float32(rng.NormFloat64())
			for j := i; j < d; j++ {
				f.whiten[i*d+j] = float32(rng.NormFloat64())
			}
			f.whiten[i*d+i] = 0.5 + rng.Float32()
		}
	}
	theta := f.initial(rng)
	for _, p := range f.parameters() {
		for i := range p.size() {
			theta[p.at+i] += float32(rng.NormFloat64())
			if strings.HasPrefix(p.name, "W2") {
				theta[p.at+i] *= 3 // through the factor 0.1 to where tanh bends
			}
		}
	}
	return f, theta
}

type size struct {
	name           string
	d, c, blocks   int
	whitened, soft bool
}

var subjects = []size{
	{"smallest", 2, 0, 1, false, true},
	{"odd", 5, 4, 3, false, true},
	{"permuted", 4, 8, 3, false, false},
	{"whitened", 4, 4, 2, true, true},
}

// inputs are random arrays for the graph's inputs, those that are parameters from theta.
func inputs(g *graph.Graph, f *flow, theta []float32, n int) map[string]*naive.Array {
	rng := rand.New(rand.NewPCG(5, 6))
	all := map[string]*naive.Array{}
	for _, in := range g.Inputs {
		a := naive.New(append([]int{n}, in.Shape[1:]...)...)
		for i := range a.Data {
			a.Data[i] = rng.NormFloat64()
		}
		for _, p := range f.parameters() {
			if p.name == in.Name {
				for i := range a.Data {
					a.Data[i] = float64(theta[p.at+i%p.size()])
				}
			}
		}
		all[in.Name] = a
	}
	return all
}

// value evaluates an output of the flow.
func value(t *testing.T, g *graph.Graph, in map[string]*naive.Array, out int) []float64 {
	t.Helper()
	all, err := naive.Run(g, in)
	require.NoError(t, err)
	return all[g.Outputs[out]].Data
}

// inverse undoes the flow in float64, block by block, by its definition.
func inverse(f *flow, theta []float32, z, c []float64) []float64 {
	of := map[string][]float32{}
	for _, p := range f.parameters() {
		of[p.name] = theta[p.at : p.at+p.size()]
	}
	y := slices.Clone(z)
	for k := f.blocks - 1; k >= 0; k-- {
		name := func(s string) []float32 { return of[s+string(rune('0'+k))] }
		mix := f.mixes[k*f.d*f.d:]
		u := make([]float64, f.d) // R' y = g y0 + o
		for i := range u {
			for j := range f.d {
				u[i] += float64(mix[i*f.d+j]) * y[j]
			}
			u[i] = (u[i] - float64(name("o")[i])) / (0.2 * softplus(float64(name("G")[i])/2))
		}
		in := append(slices.Clone(u[:f.left()]), c...)
		a := slices.Repeat([]float64{0}, 2*f.right())
		for j := range f.hidden() {
			h := float64(name("b1.")[j])
			for i, v := range in {
				h += v * float64(name("W1.")[i*f.hidden()+j])
			}
			for i := range a {
				a[i] += max(h, 0) * float64(name("W2.")[j*2*f.right()+i])
			}
		}
		for i := range a {
			a[i] = 0.1 * (a[i] + float64(name("b2.")[i]))
		}
		for i := range f.right() {
			u[f.left()+i] = (u[f.left()+i] - a[f.right()+i]) * math.Exp(-f.clamp*math.Tanh(a[i]))
		}
		y = u
	}
	if f.mean == nil {
		return y
	}
	x := make([]float64, f.d) // y = W'(x - mean), W upper triangular
	for j := range f.d {
		x[j] = y[j]
		for i := range j {
			x[j] -= x[i] * float64(f.whiten[i*f.d+j])
		}
		x[j] /= float64(f.whiten[j*f.d+j])
	}
	for j := range x {
		x[j] += float64(f.mean[j])
	}
	return x
}

func TestFlowsAreInvertible(t *testing.T) {
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			f, theta := subject(s.d, s.c, s.blocks, s.whitened, s.soft)
			g, err := f.graph(7, latent)
			require.NoError(t, err)
			in := inputs(g, f, theta, 1)
			z := value(t, g, in, 0)
			var got []float64
			for i := range 7 {
				var c []float64
				if s.c > 0 {
					c = in[position].Data[i*s.c : (i+1)*s.c]
				}
				got = append(got, inverse(f, theta, z[i*s.d:(i+1)*s.d], c)...)
			}
			// A rotation is orthogonal to float32 only, and scales of up to exp(1.9) a block carry that on.
			compare.Require(t, "inverse", got, in[features].Data, compare.Tolerance{Abs: 1e-3, Rel: 1e-3})
		})
	}
}

// determinant by elimination with pivots.
func determinant(m [][]float64) float64 {
	det := 1.0
	for i := range m {
		p := i
		for r := i; r < len(m); r++ {
			if math.Abs(m[r][i]) > math.Abs(m[p][i]) {
				p = r
			}
		}
		if p != i {
			m[p], m[i] = m[i], m[p]
			det = -det
		}
		det *= m[i][i]
		for r := i + 1; r < len(m); r++ {
			for c := len(m) - 1; c >= i; c-- {
				m[r][c] -= m[r][i] / m[i][i] * m[i][c]
			}
		}
	}
	return det
}

func TestDensityIsThatOfTheJacobian(t *testing.T) {
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			f, theta := subject(s.d, s.c, s.blocks, s.whitened, s.soft)
			g, err := f.graph(1, logDense, latent)
			require.NoError(t, err)
			in := inputs(g, f, theta, 1)
			q := value(t, g, in, 0)[0]
			sum := 0.0
			for _, z := range value(t, g, in, 1) {
				sum += z * z
			}
			jacobian := make([][]float64, s.d)
			x := in[features].Data
			for j := range jacobian {
				jacobian[j] = make([]float64, s.d)
				at := x[j]
				x[j] = at + difference
				up := value(t, g, in, 1)
				x[j] = at - difference
				down := value(t, g, in, 1)
				x[j] = at
				for i := range up {
					jacobian[j][i] = (up[i] - down[i]) / (2 * difference)
				}
			}
			want := math.Log(math.Abs(determinant(jacobian))) - sum/2 - float64(s.d)/2*math.Log(2*math.Pi)
			compare.Require(t, "log p", []float64{q * float64(s.d)}, []float64{want}, compare.Tolerance{Abs: 1e-5, Rel: 1e-5})
		})
	}
}

// The gradient of a weighted sum of q w.r.t. features, positions and every parameter.
func TestGradientIsThatOfDifferences(t *testing.T) {
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			f, theta := subject(s.d, s.c, s.blocks, s.whitened, s.soft)
			const rows = 3
			g, err := f.graph(rows, logDense)
			require.NoError(t, err)
			in := inputs(g, f, theta, 2)
			weights := []float64{1, -2, 0.5, 3, 0.25, -1}
			r, err := autodiff.Gradient(g)
			require.NoError(t, err)
			values, err := naive.Run(g, in)
			require.NoError(t, err)
			back := map[string]*naive.Array{r.Graph.Inputs[0].Name: {Shape: []int{2, rows, 1}, Data: weights}}
			for _, name := range r.Saved {
				back[name] = values[name]
			}
			d, err := naive.Run(r.Graph, back)
			require.NoError(t, err)
			total := func() float64 {
				sum := 0.0
				for i, q := range value(t, g, in, 0) {
					sum += weights[i] * q
				}
				return sum
			}
			for k, input := range g.Inputs {
				x := in[input.Name].Data
				want := make([]float64, len(x))
				for i, at := range x {
					x[i] = at + difference
					up := total()
					x[i] = at - difference
					want[i] = (up - total()) / (2 * difference)
					x[i] = at
				}
				compare.Require(t, input.Name, d[r.Graph.Outputs[k]].Data, want, differences)
			}
		})
	}
}

// What runs says what the definition says, and its gradients, whatever the number of vectors and on every kernel.
func TestPanelsSayWhatTheDefinitionSays(t *testing.T) {
	for _, s := range append(subjects, size{"wide", 19, 8, 2, true, true}) {
		for _, n := range []int{1, width - 1, width, 2*width + 5} {
			t.Run(fmt.Sprint(s.name, n), func(t *testing.T) {
				f, theta := subject(s.d, s.c, s.blocks, s.whitened, s.soft)
				rng := rand.New(rand.NewPCG(11, uint64(n)))
				x, c := make([]float32, n*s.d), make([]float32, n*s.c)
				for _, v := range [][]float32{x, c} {
					for i := range v {
						v[i] = float32(rng.NormFloat64())
					}
				}
				weights := make([]float64, n)
				for i := range weights {
					weights[i] = rng.NormFloat64()
				}
				want := reference(t, f, theta, x, c, func(_, w []float64) { copy(w, weights) })
				for _, isa := range gemm.ISAs() {
					p := f.packFor(isa, theta)
					fill := func(v *panel, lo, hi int) {
						for j := range hi - lo {
							for k := range s.d {
								v.x[k*width+j] = x[(lo+j)*s.d+k]
							}
							for k := range s.c {
								v.encodings(s.c)[k*width+j] = c[(lo+j)*s.c+k]
							}
						}
					}
					q, unit := make([]float32, n), make([]float32, (n+width-1)/width*width*s.d)
					require.NoError(t, p.density(t.Context(), fill, q, unit))
					compare.Require(t, isa.Name+": log p / D", q, want.q, panelled(want.q))
					again := make([]float32, n)
					require.NoError(t, p.density(t.Context(), fill, again, nil))
					require.Equal(t, q, again, "%s: without gradients", isa.Name)
					dx := make([]float64, len(x))
					for i := range n {
						for k := range s.d {
							dx[i*s.d+k] = weights[i] * float64(row(unit[i/width*width*s.d:], k)[i%width])
						}
					}
					compare.Require(t, isa.Name+": dq/dx", dx, want.dx, panelled(want.dx))

					panels := make([]*panel, (n+width-1)/width)
					total := 0.0
					for i := range panels {
						var w [width]float32
						v, lo, hi := p.newPanel(true), i*width, min((i+1)*width, n)
						for j := range hi - lo {
							w[j] = float32(weights[lo+j])
							total += weights[lo+j]
						}
						fill(v, lo, hi)
						p.forward(v)
						p.backward(v, &w)
						panels[i] = v
					}
					got := make([]float32, len(theta))
					p.newGradient(len(panels)).add(got, theta, panels, total)
					for i, q := range f.parameters() {
						compare.Require(t, isa.Name+": "+q.name, got[q.at:q.at+q.size()], want.dtheta[i], panelled(want.dtheta[i]))
					}
				}
			})
		}
	}
}

// panelled: sums of some dozens of products in float32, several times over, whose terms are as large as the largest result and are scaled by up to exp(1.9) a block.
func panelled(want []float64) compare.Tolerance {
	most := 0.0
	for _, v := range want {
		most = max(most, math.Abs(v))
	}
	return compare.Tolerance{Abs: 1e-4 * most}
}

func TestMixes(t *testing.T) {
	for _, soft := range []bool{true, false} {
		f := &flow{d: 7, blocks: 3}
		f.mix(rand.New(rand.NewPCG(1, 0)), soft)
		for k := range 3 {
			m := f.mixes[k*49 : (k+1)*49]
			var got, want []float64
			for i := range 7 {
				for j := range 7 {
					sum := 0.0
					for c := range 7 {
						sum += float64(m[i*7+c]) * float64(m[j*7+c])
					}
					got = append(got, sum)
					want = append(want, map[bool]float64{true: 1}[i == j])
				}
			}
			compare.Require(t, "R R'", got, want, compare.Tolerance{Abs: 1e-6})
		}
		require.NotEqual(t, f.mixes[:49], f.mixes[49:98])
	}
}
