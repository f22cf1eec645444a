package cflow

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"f2pad/engine/autodiff"
	"f2pad/engine/compare"
	"f2pad/engine/exec/goexec"
	"f2pad/engine/exec/naive"
	"f2pad/engine/graph"

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

var subjects = []struct {
	name           string
	d, c, blocks   int
	whitened, soft bool
}{
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
			g, err := f.graph(7, nil, latent)
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
			g, err := f.graph(1, nil, logDense, latent)
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
			g, err := f.graph(rows, nil, logDense)
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

// The graph with constants, which folds some of them, says what the graph with inputs says, and the executor what both say.
func TestConstantsSayWhatInputsSay(t *testing.T) {
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			f, theta := subject(s.d, s.c, s.blocks, s.whitened, s.soft)
			g, err := f.graph(rows, nil, logDense)
			require.NoError(t, err)
			in := inputs(g, f, theta, 1)
			want := value(t, g, in, 0)
			if g, err = f.graph(rows, theta, logDense); err != nil {
				require.NoError(t, err)
			}
			single := compare.Tolerance{Abs: 1e-5, Rel: 1e-5} // g R is rounded to float32, and sums
			compare.Require(t, "constants", value(t, g, map[string]*naive.Array{features: in[features], position: in[position]}, 0), want, single)

			l := &layer{flow: *f, theta: theta, ex: goexec.New()}
			v := l.newVectors(rows)
			for i, x := range in[features].Data {
				v.x[i] = float32(x)
			}
			for i := range v.c {
				v.c[i] = float32(in[position].Data[i])
			}
			q := make([]float32, rows)
			require.NoError(t, l.density(t.Context(), v, q, nil))
			got := make([]float64, rows)
			for i, x := range q {
				got[i] = float64(x)
			}
			compare.Require(t, "executor", got, want, compare.Tolerance{Abs: 2e-5, Rel: 2e-5})
		})
	}
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
