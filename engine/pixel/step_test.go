package pixel

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"f2pad.example/engine/compare"

	"github.com/stretchr/testify/require"
)

// steps is for several float32 iterations against float64: a threshold in the proximal step amplifies rounding where a
// pixel is close to vanishing, but not on the data of these tests.
var steps = compare.Tolerance{Abs: 2e-5, Rel: 2e-5}

func stepOptions() *StepOptions {
	return &StepOptions{
		Share: NewGaussian(1.5), Norm: NewGaussian(1), Momentum: 0.8, Decay: 0.95, Rate: 0.1, Lambda: 3,
		Penalty: NewGroupLog(0.1), From: 3,
	}
}

// slowState is the optimiser's state on the whole image, in float64.
type slowState struct {
	h, w      int
	on        []bool
	a, m      [3][]float64
	v, sum    []float64
	iteration int
}

func newSlow(h, w int, on []bool) *slowState {
	s := &slowState{h: h, w: w, on: on, v: make([]float64, h*w), sum: make([]float64, h*w)}
	for c := range 3 {
		s.a[c], s.m[c] = make([]float64, h*w), make([]float64, h*w)
	}
	return s
}

// step follows the formulas of Step one by one, for momentum 0.8, decay 0.95, rate 0.1, lambda 3, eps 0.1, sigmas 1.5 and 1.
func (s *slowState) step(dx, unit []float32) (penalty float64, support int, moved float64) {
	s.iteration++
	n := s.h * s.w
	var g [3][]float64
	for c := range 3 {
		g[c] = make([]float64, n)
		for p := range n {
			if s.on[p] {
				g[c][p] = -float64(unit[p]) * float64(dx[c*n+p])
			}
		}
		g[c] = slowBlur(g[c], s.h, s.w, 1.5)
	}
	var b [3][]float64
	for c := range 3 {
		b[c] = make([]float64, n)
	}
	eta, sq := make([]float64, n), make([]float64, n)
	for p := range n {
		if !s.on[p] {
			continue
		}
		s.v[p] = 0.95*s.v[p] + 0.05*(g[0][p]*g[0][p]+g[1][p]*g[1][p]+g[2][p]*g[2][p])
		vHat := s.v[p] / (1 - math.Pow(0.95, float64(s.iteration)))
		eta[p] = 0.1 / (math.Sqrt(vHat) + 3)
		for c := range 3 {
			s.m[c][p] = 0.8*s.m[c][p] + 0.2*g[c][p]
			b[c][p] = s.a[c][p] - eta[p]*s.m[c][p]/(1-math.Pow(0.8, float64(s.iteration)))
			sq[p] += b[c][p] * b[c][p]
		}
	}
	sq = slowBlur(sq, s.h, s.w, 1)
	for p := range n {
		if !s.on[p] {
			continue
		}
		size := math.Sqrt(sq[p])
		tt := eta[p] * 3 / math.Log(1+1/0.1)
		kept := 0.0
		if disc := (size-0.1)*(size-0.1) - 4*(tt-size*0.1); disc >= 0 {
			x := (size - 0.1 + math.Sqrt(disc)) / 2
			if x > 0 && (x-size)*(x-size)/2+tt*math.Log(1+x/0.1) < size*size/2 {
				kept = x
			}
		}
		var was, is, d float64
		for c := range 3 {
			now := 0.0
			if size > 0 {
				now = b[c][p] * kept / size
			}
			was += s.a[c][p] * s.a[c][p]
			is += now * now
			d += (now - s.a[c][p]) * (now - s.a[c][p])
			s.a[c][p] = now
		}
		if was > 0 {
			support++
			penalty += 3 * math.Log(1+math.Sqrt(was)/0.1) / math.Log(1+1/0.1)
		}
		moved += math.Sqrt(d)
		if s.iteration >= 3 {
			s.sum[p] += math.Sqrt(is)
		}
	}
	return penalty, support, moved
}

// region is a ring-like region with a hole, at an edge of the image or inside it.
func region(h, w, cy, cx int) []bool {
	on := make([]bool, h*w)
	for i := range h {
		for j := range w {
			d := math.Hypot(float64(i-cy), float64(j-cx))
			on[i*w+j] = d < 6.5 && d > 2
		}
	}
	return on
}

// units is a plane of the anomaly's unit, from 0.05 to about 1.
func units(n int, seed uint64) []float32 {
	c := random(n, seed)
	for p, v := range c {
		c[p] = 0.05 + 0.3*float32(math.Abs(float64(v)))
	}
	return c
}

// stateOf is the window state of a region, with A/c = a and the given unit on it.
func stateOf(on []bool, a, unit []float32, h, w int, o *StepOptions) *State {
	var at []int32
	for p, v := range on {
		if v {
			at = append(at, int32(p))
		}
	}
	b := Bounds(at, w).Grow(max(o.Share.Radius(), o.Norm.Radius()), h, w)
	for k, p := range at {
		at[k] = int32((int(p)/w-b.Y0)*b.W() + int(p)%w - b.X0)
	}
	s := NewState(b, at, o)
	n := b.H() * b.W()
	for _, p := range at {
		q := (b.Y0+int(p)/b.W())*w + b.X0 + int(p)%b.W()
		s.C[p] = unit[q]
		for c := range 3 {
			s.A[c*n+int(p)] = a[c*h*w+q]
		}
	}
	return s
}

// spread puts a plane of the window into an image.
func spread(s *State, plane []float32, h, w int) []float32 {
	out := make([]float32, h*w)
	for i := range s.Box.H() {
		copy(out[(s.Box.Y0+i)*w+s.Box.X0:], plane[i*s.Box.W():(i+1)*s.Box.W()])
	}
	return out
}

func TestStepFollowsTheFormulas(t *testing.T) {
	const h, w = 26, 31
	n := h * w
	for _, at := range [][2]int{{12, 15}, {1, 2}, {25, 28}} {
		on := region(h, w, at[0], at[1])
		a0 := random(3*n, 5)
		for i := range a0 {
			a0[i] *= 0.5
			if i%n%5 == 0 {
				a0[i] = 0
			}
		}
		o, unit := stepOptions(), units(n, 6)
		s, slow := stateOf(on, a0, unit, h, w, o), newSlow(h, w, on)
		for c := range 3 {
			for p := range n {
				if on[p] {
					slow.a[c][p] = float64(a0[c*n+p])
				}
			}
		}
		vanished := false
		for it := 1; it <= 6; it++ {
			dx := random(3*n, uint64(it))
			for i := range dx {
				dx[i] *= 4
			}
			st := Step(s, dx, h, w, it, o)
			penalty, support, moved := slow.step(dx, unit)
			require.Equal(t, support, st.Support, "iteration %d", it)
			vanished = vanished || support < len(s.Pixels)
			compare.Require(t, "sums", []float64{st.Penalty, st.Moved}, []float64{penalty, moved}, steps)
			k := s.Box.H() * s.Box.W()
			for c := range 3 {
				compare.Require(t, "A", spread(s, s.A[c*k:(c+1)*k], h, w), slow.a[c], steps)
				compare.Require(t, "m", spread(s, s.M[c*k:(c+1)*k], h, w), slow.m[c], steps)
			}
			compare.Require(t, "v", spread(s, s.V, h, w), slow.v, steps)
			compare.Require(t, "sum", spread(s, s.Sum, h, w), slow.sum, steps)
		}
		require.True(t, vanished, "the data leave every pixel alone")
	}
}

func TestCompose(t *testing.T) {
	const h, w = 20, 22
	n := h * w
	on, a, y, unit := region(h, w, 9, 3), random(3*n, 1), random(3*n, 2), units(n, 4)
	x := random(3*n, 3)
	want := wide(x)
	Compose(stateOf(on, a, unit, h, w, stepOptions()), y, h, w, x)
	for i := range want {
		if on[i%n] {
			want[i] = float64(y[i]) - float64(unit[i%n])*float64(a[i])
		}
	}
	compare.Require(t, "x", x, want, rounding)
}

func TestStatsAdd(t *testing.T) {
	s := Stats{1, 2, 3}
	s.Add(Stats{10, 20, 30})
	require.Equal(t, Stats{11, 22, 33}, s)
}

func TestStepAllocatesNothing(t *testing.T) {
	const h, w = 40, 40
	o := stepOptions()
	s := stateOf(region(h, w, 20, 20), random(3*h*w, 1), units(h*w, 5), h, w, o)
	dx, x, y := random(3*h*w, 2), random(3*h*w, 3), random(3*h*w, 4)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		Compose(s, y, h, w, x)
		Step(s, dx, h, w, 1, o)
	}))
}

// The same against numbers that SciPy found, in testdata/gen_pixel.py.
func TestGolden(t *testing.T) {
	blob, err := os.ReadFile("testdata/pixel.json")
	require.NoError(t, err)
	var g struct {
		H, W                      int
		Plane, Blur1, Blur15      []float64
		Grid, Up                  []float64
		Quantiles                 map[string]float64
		Region                    []int32
		Unit, Y, X                []float64
		A0, Dx, A, M, V, Sum      []float64
		Penalty, Moved            []float64
		Support                   []int
		ProxN, ProxT, Prox, Value []float64
	}
	require.NoError(t, json.Unmarshal(blob, &g))
	n := g.H * g.W
	for _, b := range []struct {
		sigma float64
		want  []float64
	}{{1, g.Blur1}, {1.5, g.Blur15}} {
		x, k := narrow(g.Plane), NewGaussian(b.sigma)
		k.Blur(x, g.H, g.W, make([]float32, k.Scratch(g.H, g.W)))
		compare.Require(t, "blur", x, b.want, rounding)
	}
	up := make([]float32, len(g.Up))
	Upsample(narrow(g.Grid), g.H/4, g.W/4, 4, up)
	compare.Require(t, "upsampled", up, g.Up, rounding)
	compare.Require(t, "quantiles", []float64{Quantile(narrow(g.Plane), 0.9), Quantile(narrow(g.Plane), 0.95)},
		[]float64{g.Quantiles["0.9"], g.Quantiles["0.95"]}, rounding)
	l := NewGroupLog(0.1)
	for i := range g.Prox {
		// Found by bounded scalar minimisation, to 1e-6.
		require.InDelta(t, g.Prox[i], l.Prox(g.ProxN[i], g.ProxT[i]), 1e-5, "n %g, t %g", g.ProxN[i], g.ProxT[i])
		require.InDelta(t, g.Value[i], l.Value(g.ProxN[i]), 1e-6)
	}
	o := stepOptions()
	on := make([]bool, n)
	for _, p := range g.Region {
		on[p] = true
	}
	s := stateOf(on, narrow(g.A0), narrow(g.Unit), g.H, g.W, o)
	k := s.Box.H() * s.Box.W()
	for i := range g.Penalty {
		st := Step(s, narrow(g.Dx[i*3*n:(i+1)*3*n]), g.H, g.W, i+1, o)
		require.Equal(t, g.Support[i], st.Support)
		compare.Require(t, "sums", []float64{st.Penalty, st.Moved}, []float64{g.Penalty[i], g.Moved[i]}, steps)
	}
	for c := range 3 {
		compare.Require(t, "A", spread(s, s.A[c*k:(c+1)*k], g.H, g.W), g.A[c*n:(c+1)*n], steps)
		compare.Require(t, "m", spread(s, s.M[c*k:(c+1)*k], g.H, g.W), g.M[c*n:(c+1)*n], steps)
	}
	compare.Require(t, "v", spread(s, s.V, g.H, g.W), g.V, steps)
	compare.Require(t, "sum", spread(s, s.Sum, g.H, g.W), g.Sum, steps)
	x := narrow(g.Y)
	Compose(s, narrow(g.Y), g.H, g.W, x)
	compare.Require(t, "x", x, g.X, steps)
}

func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

func BenchmarkStep(b *testing.B) {
	const h, w = 256, 256
	o := stepOptions()
	on := make([]bool, h*w)
	for p := range on {
		on[p] = math.Hypot(float64(p/w-100), float64(p%w-120)) < 20
	}
	s := stateOf(on, random(3*h*w, 1), units(h*w, 3), h, w, o)
	dx := random(3*h*w, 2)
	for b.Loop() {
		Step(s, dx, h, w, 4, o)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(s.Pixels)), "ns/px")
}
