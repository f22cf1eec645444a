package kerneltest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// triangular is for products with triangular matrices in float32, on sums that cancel little: some units in the last place
// (6e-8) of numbers around 1 to 10, for what splitting leaves out and tensor cores cut off.
var triangular = compare.Tolerance{Abs: 2e-6, Rel: 2e-6}

// gaussians are random Gaussians for tests: means, and inverse Cholesky factors packed row by row.
type gaussians struct {
	k            int
	mean, factor []float32
}

func (g *gaussians) of(state int32) (mean, factor []float32) {
	t := g.k * (g.k + 1) / 2
	return g.mean[int(state)*g.k:][:g.k], g.factor[int(state)*t:][:t]
}

// newGaussians has states Gaussians whose factors are 1 to 2 on the diagonal, with noise of 1/sqrt(k) below it.
func newGaussians(r *Rig, states, k int) *gaussians {
	g := &gaussians{k: k, mean: r.Normal(states * k)}
	for range states {
		row := r.Normal(k * (k + 1) / 2)
		for i := range k {
			for j := range i {
				row[i*(i+1)/2+j] /= float32(math.Sqrt(float64(k)))
			}
			row[i*(i+1)/2+i] = 1 + r.Rand.Float32()
		}
		g.factor = append(g.factor, row...)
	}
	return g
}

// measure is the distance of x and its gradient, in float64.
func (g *gaussians) measure(state int32, x []float64) (s float64, unit []float64) {
	mean, factor := g.of(state)
	z := make([]float64, g.k)
	for i := range z {
		for j, m := range factor[i*(i+1)/2 : (i+1)*(i+2)/2] {
			z[i] += float64(m) * (x[j] - float64(mean[j]))
		}
		s = math.Hypot(s, z[i])
	}
	unit = make([]float64, g.k)
	if s == 0 {
		return 0, unit
	}
	for i := range z {
		for j, m := range factor[i*(i+1)/2 : (i+1)*(i+2)/2] {
			unit[j] += float64(m) * z[i] / s
		}
	}
	return s, unit
}

// bfloat16 returns Gaussians whose factors are rounded to bfloat16, ties to even.
func (g *gaussians) bfloat16() *gaussians {
	h := *g
	h.factor = make([]float32, len(g.factor))
	for i, v := range g.factor {
		if v != 0 {
			step := math.Ldexp(1, math.Ilogb(float64(v))-7)
			h.factor[i] = float32(math.RoundToEven(float64(v)/step) * step)
		}
	}
	return &h
}

// measured is what the kernel gives.
type measured struct {
	s, unit []float32
}

// run measures x [L,k] against the Gaussians state [L] in the given groups, with gradient and without, and requires the same
// distances of both, in whatever order.
func (g *gaussians) run(r *Rig, x []float32, groups []int32, bf16 bool) measured {
	r.T.Helper()
	n := kernels.FactorLen(g.k)
	states := len(g.mean) / g.k
	single, half := make([]float32, states*n), make([]uint16, states*n)
	for i := range states {
		_, factor := g.of(int32(i))
		kernels.PackFactor(single[i*n:(i+1)*n], g.k, factor)
		kernels.PackFactorBF16(half[i*n:(i+1)*n], g.k, factor)
	}
	group, vectors, mean := In(r, groups), In(r, x), In(r, g.mean)
	s, unit := Out[float32](r, len(x)/g.k), Out[float32](r, len(x))
	m := kernels.Mahalanobis{
		Items: len(x) / g.k, Groups: len(groups) / 3, Gaussians: states, K: g.k, BF16: bf16,
		Group: group.Ptr, X: vectors.Ptr, Mean: mean.Ptr, S: s.Ptr,
	}
	in := []Array{group, vectors, mean}
	if bf16 {
		factor := In(r, half)
		m.Factor, in = factor.Ptr, append(in, factor)
	} else {
		factor := In(r, single)
		m.Factor, in = factor.Ptr, append(in, factor)
	}
	r.Run(m.Enqueue, in, []Array{s})
	score := s.Read()
	var backwards []int32
	for i := range score {
		backwards = append(backwards, int32(len(score)-1-i))
	}
	order := In(r, backwards)
	m.Unit, m.Order = unit.Ptr, order.Ptr
	r.Run(m.Enqueue, append(in, order), []Array{s, unit})
	got := measured{s.Read(), unit.Read()}
	slices.Reverse(got.s)
	require.Equal(r.T, kernels.Bytes(score), kernels.Bytes(got.s), "distances with and without gradient")
	return got
}

// near returns a vector for each state, from a normal distribution around its mean.
func (g *gaussians) near(r *Rig, state []int32) []float32 {
	x := r.Normal(len(state) * g.k)
	for l, v := range state {
		mean, _ := g.of(v)
		for j := range mean {
			x[l*g.k+j] += mean[j]
		}
	}
	return x
}

func wide(x []float32) []float64 {
	w := make([]float64, len(x))
	for i, v := range x {
		w[i] = float64(v)
	}
	return w
}

// require compares with float64.
func (g *gaussians) require(r *Rig, x []float32, state []int32, got measured) {
	r.T.Helper()
	var s, unit []float64
	for l, v := range state {
		d, u := g.measure(v, wide(x[l*g.k:(l+1)*g.k]))
		s, unit = append(s, d), append(unit, u...)
	}
	compare.Require(r.T, "distances", got.s, s, triangular)
	compare.Require(r.T, "gradients", got.unit, unit, triangular)
}

// counted has so many vectors of Gaussian i as counts[i] says.
func counted(counts ...int) []int32 {
	var state []int32
	for i, n := range counts {
		state = append(state, slices.Repeat([]int32{int32(i)}, n)...)
	}
	return state
}

// Mahalanobis tests the kernel mahalanobis.
func Mahalanobis(t *testing.T, m kernels.Machine, seed uint64) {
	both := []bool{false, true}
	for _, c := range []struct {
		k     int
		state []int32
		bf16  []bool // large ones take their time in the emulation
	}{
		{1, counted(1), both}, {1, counted(3, 0, 16), both}, {2, counted(5, 2), both}, {15, counted(0, 7, 0, 0, 9), both},
		{16, counted(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 33), both}, {17, counted(8, 1), both},
		{48, counted(64), both}, {48, counted(8, 8, 8), both}, {100, counted(2, 9), both}, {128, counted(1), both},
		{129, counted(3, 16), both}, {550, counted(16), both}, {640, counted(1), both[:1]}, {641, counted(9), both[:1]},
		{2048, counted(1), both[1:]},
	} {
		Case(t, m, seed, func(r *Rig) {
			g := newGaussians(r, int(slices.Max(c.state))+1, c.k)
			x := g.near(r, c.state)
			groups := kernels.MahalanobisGroups(c.state)
			for _, bf16 := range c.bf16 {
				want := g
				if bf16 {
					want = g.bfloat16()
				}
				want.require(r, x, c.state, g.run(r, x, groups, bf16))
			}
		}, "K=%d, %d vectors", c.k, len(c.state))
	}
	for _, c := range []struct {
		k    int
		bf16 bool
	}{{20, false}, {20, true}, {130, false}, {130, true}, {641, true}} {
		Case(t, m, seed, func(r *Rig) { mahalanobisGrouping(r, c.k, c.bf16) }, "groups do not matter, K=%d, bfloat16 %t", c.k, c.bf16)
	}
	Case(t, m, seed, func(r *Rig) { mahalanobisExtremes(r) }, "extremes")
	Case(t, m, seed, func(r *Rig) { mahalanobisDifferences(r) }, "finite differences")
	for _, condition := range []float64{1e2, 1e3, 1e4, 1e5} {
		Case(t, m, seed, func(r *Rig) { mahalanobisPrecision(r, condition) }, "condition %.0e", condition)
	}
	t.Run("shared memory", func(t *testing.T) {
		for k := 1; k <= 2048; k++ {
			m := kernels.Mahalanobis{Items: 1, Groups: 1, Gaussians: 1, K: k, Group: 16, X: 16, Mean: 16, Factor: 16, S: 16}
			for _, m.BF16 = range both {
				for _, m.Unit = range []kernels.Ptr{0, 16} {
					require.NoError(t, m.Enqueue(modest{}))
				}
			}
		}
	})
	t.Run("groups", func(t *testing.T) {
		require.Empty(t, kernels.MahalanobisGroups(nil))
		require.Equal(t, []int32{3, 0, 1, 5, 1, 2, 6, 3, 16, 6, 19, 1, 3, 20, 1},
			kernels.MahalanobisGroups(slices.Concat([]int32{3, 5, 5}, slices.Repeat([]int32{6}, 17), []int32{3})))
	})
	t.Run("refuses", func(t *testing.T) {
		good := kernels.Mahalanobis{
			Items: 20, Groups: 2, Gaussians: 2, K: 5, Group: 256, X: 512, Mean: 1024, Factor: 2048, S: 4096, Unit: 8192,
		}
		for what, change := range map[string]func(*kernels.Mahalanobis){
			"K = 0":            func(m *kernels.Mahalanobis) { m.K = 0 },
			"K = 2049":         func(m *kernels.Mahalanobis) { m.K = 2049 },
			"0 Gaussians":      func(m *kernels.Mahalanobis) { m.Gaussians = 0 },
			"0 groups":         func(m *kernels.Mahalanobis) { m.Groups = 0 },
			"1073741824 group": func(m *kernels.Mahalanobis) { m.Groups, m.K = 1<<30, 641 },
			"33 vectors":       func(m *kernels.Mahalanobis) { m.Items = 33 },
			"1 vectors":        func(m *kernels.Mahalanobis) { m.Items = 1 },
			"group is null":    func(m *kernels.Mahalanobis) { m.Group = 0 },
			"s is null":        func(m *kernels.Mahalanobis) { m.S = 0 },
			"factor is not":    func(m *kernels.Mahalanobis) { m.Factor += 4 },
			"unit or order is": func(m *kernels.Mahalanobis) { m.Unit += 2 },
			"or order is not":  func(m *kernels.Mahalanobis) { m.Order = 2 },
		} {
			bad := good
			change(&bad)
			require.ErrorContains(t, bad.Enqueue(m), what)
		}
	})
}

// modest is a queue that launches nothing and refuses what asks for more shared memory than there is.
type modest struct{}

func (modest) Launch(l kernels.Launch) error {
	if l.Shared > kernels.MaxShared {
		return fmt.Errorf("%s: %d bytes of shared memory", l.Kernel, l.Shared)
	}
	return nil
}

// mahalanobisGrouping: a vector's bits are the same alone, in a group, at any place of it, and beside a vector that is not
// finite, which gets NaN.
func mahalanobisGrouping(r *Rig, k int, bf16 bool) {
	state := counted(0, 16, 2)
	g := newGaussians(r, 3, k)
	x := g.near(r, state)
	want := g.run(r, x, kernels.MahalanobisGroups(state), bf16)
	require.Equal(r.T, want, g.run(r, x, []int32{1, 0, 5, 2, 16, 2, 1, 5, 11}, bf16), "other groups")

	// Two vectors change places, and one is spoilt.
	const a, b, spoilt = 0, 3, 7
	swap := func(v []float32, n int) {
		for j := range n {
			v[a*n+j], v[b*n+j] = v[b*n+j], v[a*n+j]
		}
	}
	swap(x, k)
	x[spoilt*k+k/2] = float32(math.NaN())
	got := g.run(r, x, kernels.MahalanobisGroups(state), bf16)
	require.True(r.T, math.IsNaN(float64(got.s[spoilt])))
	swap(got.s, 1)
	swap(got.unit, k)
	got.s[spoilt] = want.s[spoilt]
	copy(got.unit[spoilt*k:(spoilt+1)*k], want.unit[spoilt*k:])
	require.Equal(r.T, want, got, "beside others")
}

// mahalanobisExtremes: the mean itself, distances whose squares are beyond float32, and infinity.
func mahalanobisExtremes(r *Rig) {
	const k = 33
	state := counted(6)
	g := newGaussians(r, 1, k)
	clear(g.mean[:k/2])
	x := g.near(r, state)
	copy(x, g.mean)
	for j := range k {
		x[1*k+j] *= 1e25
		x[2*k+j] *= 1e10
		x[3*k+j] = 0
		if j < k/2 {
			x[3*k+j] = 1e-25 * float32(r.Rand.NormFloat64())
		} else {
			x[3*k+j] = g.mean[j]
		}
	}
	x[4*k] = float32(math.Inf(-1))
	for _, bf16 := range []bool{false, true} {
		got := g.run(r, x, kernels.MahalanobisGroups(state), bf16)
		require.Equal(r.T, make([]float32, 1+k), append(got.unit[:k:k], got.s[0]), "at the mean")
		require.False(r.T, got.s[4] < math.MaxFloat32, "infinite")
		g := g
		if bf16 {
			g = g.bfloat16()
		}
		for _, l := range []int{1, 2, 3, 5} {
			s, unit := g.measure(0, wide(x[l*k:(l+1)*k]))
			require.InEpsilon(r.T, s, float64(got.s[l]), triangular.Rel, "vector %d", l)
			compare.Require(r.T, "gradient", got.unit[l*k:(l+1)*k], unit, triangular)
		}
	}
}

// mahalanobisDifferences compares gradients with central differences of the distance in float64.
func mahalanobisDifferences(r *Rig) {
	const k, h = 37, 1e-4
	state := counted(1, 2)
	g := newGaussians(r, 2, k)
	x := g.near(r, state)
	got := g.run(r, x, kernels.MahalanobisGroups(state), false)
	want := make([]float64, len(x))
	for i := range want {
		v := wide(x[i/k*k : (i/k+1)*k])
		v[i%k] += h
		plus, _ := g.measure(state[i/k], v)
		v[i%k] -= 2 * h
		minus, _ := g.measure(state[i/k], v)
		want[i] = (plus - minus) / (2 * h)
	}
	compare.Require(r.T, "gradients", got.unit, want, triangular)
}

// correlated is a Gaussian of k correlated features whose covariance has the given condition number, and vectors from it.
func correlated(r *Rig, k, n int, condition float64) (g *gaussians, x []float32) {
	// A random rotation Q of axes whose variances fall from 1 to 1/condition: Sigma = Q diag Q'.
	q := make([][]float64, k)
	for i := range q {
		q[i] = wide(r.Normal(k))
		for pass := 0; pass < 2; pass++ {
			for _, p := range q[:i] {
				dot := 0.0
				for j, v := range p {
					dot += v * q[i][j]
				}
				for j, v := range p {
					q[i][j] -= dot * v
				}
			}
		}
		norm := 0.0
		for _, v := range q[i] {
			norm = math.Hypot(norm, v)
		}
		for j := range q[i] {
			q[i][j] /= norm
		}
	}
	variance := func(a int) float64 { return math.Pow(condition, -float64(a)/float64(k-1)) }
	// Sigma = L L', M = L^-1.
	l, m := make([][]float64, k), make([][]float64, k)
	for i := range k {
		l[i], m[i] = make([]float64, k), make([]float64, k)
		for j := range i + 1 {
			sum := 0.0
			for a := range k {
				sum += q[a][i] * q[a][j] * variance(a)
			}
			for a := range j {
				sum -= l[i][a] * l[j][a]
			}
			if i == j {
				l[i][i] = math.Sqrt(sum)
			} else {
				l[i][j] = sum / l[j][j]
			}
		}
	}
	g = &gaussians{k: k, mean: r.Normal(k)}
	for i := range k {
		for j := range i + 1 {
			sum := 0.0
			if i == j {
				sum = 1
			}
			for a := j; a < i; a++ {
				sum -= l[i][a] * m[a][j]
			}
			m[i][j] = sum / l[i][i]
			g.factor = append(g.factor, float32(m[i][j]))
		}
	}
	for range n {
		e := r.Normal(k)
		for i := range k {
			v := float64(g.mean[i])
			for j := range i + 1 {
				v += l[i][j] * float64(e[j])
			}
			x = append(x, float32(v))
		}
	}
	return g, x
}

// plain measures in float32 as the CPU does: products added up one after another.
func (g *gaussians) plain(x []float32) (s float64, unit []float32) {
	z := make([]float32, g.k)
	for i := range z {
		for j, m := range g.factor[i*(i+1)/2 : (i+1)*(i+2)/2] {
			z[i] += m * (x[j] - g.mean[j])
		}
		s = math.Hypot(s, float64(z[i]))
	}
	unit = make([]float32, g.k)
	for i := range z {
		for j, m := range g.factor[i*(i+1)/2 : (i+1)*(i+2)/2] {
			unit[j] += m * (z[i] / float32(s))
		}
	}
	return s, unit
}

// off is |a-b|/|b|.
func off(a []float32, b []float64) float64 {
	var d, n float64
	for i, v := range b {
		d, n = math.Hypot(d, float64(a[i])-v), math.Hypot(n, v)
	}
	return d / n
}

// mahalanobisPrecision: on vectors from a Gaussian, whose sums cancel the more the worse the condition, the kernel errs no
// more than float32 sums do, and storing the factor as bfloat16 moves distances and gradients within bounds: a rounded M_ij
// is off by at most 2^-9 |M_ij|, signs being random. So the mean square of what z = M d is off, d a vector from the Gaussian,
// is at most 2^-18 sum_ij M_ij^2 Sigma_jj <= 2^-18 |M|_F^2 max Sigma <= 2^-18 K condition, and |z|^2 is some K. M' stretches
// z and what it is off alike, both being random, and is off by 2^-9 itself.
func mahalanobisPrecision(r *Rig, condition float64) {
	const k, n = 100, 32
	g, x := correlated(r, k, n, condition)
	groups := kernels.MahalanobisGroups(make([]int32, n))
	single, half := g.run(r, x, groups, false), g.run(r, x, groups, true)
	var kernel, chain, rounded [2]float64 // of distances and gradients, root mean squares
	note := func(to *[2]float64, s, wantS float64, unit []float32, wantUnit []float64) {
		to[0] = math.Hypot(to[0], (s/wantS-1)/math.Sqrt(n))
		to[1] = math.Hypot(to[1], off(unit, wantUnit)/math.Sqrt(n))
	}
	for l := range n {
		v := x[l*k : (l+1)*k]
		s, unit := g.measure(0, wide(v))
		plainS, plainUnit := g.plain(v)
		note(&kernel, float64(single.s[l]), s, single.unit[l*k:(l+1)*k], unit)
		note(&chain, plainS, s, plainUnit, unit)
		note(&rounded, float64(half.s[l]), s, half.unit[l*k:(l+1)*k], unit)
	}
	r.T.Logf("relative errors of distances and gradients, rms: kernel %.2g, float32 sums %.2g, bfloat16 factor %.2g", kernel, chain, rounded)
	const ulp = 6e-8 // of float32: what a result is rounded to
	for i := range kernel {
		// A product of TF32 parts is off by up to 3 ulp, a sum cut off by a tensor core by one.
		require.LessOrEqual(r.T, kernel[i], 3*chain[i]+2*ulp)
		require.LessOrEqual(r.T, rounded[i], (math.Sqrt(condition)+1)/512)
	}
}

func mahalanobisBench(locations, k, batch, gradient int, bf16 bool) Bench {
	size := map[int]string{0: "", 1: ", gradient"}[gradient]
	if bf16 {
		size += ", bfloat16"
	}
	return Bench{
		Kernel: "mahalanobis", Size: fmt.Sprintf("%d x %d, batch %d%s", locations, k, batch, size), Peer: "mahalanobis",
		Params: map[string]int{"l": locations, "k": k, "n": batch, "gradient": gradient},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			m := kernels.Mahalanobis{Items: locations * batch, Gaussians: locations, K: k, BF16: bf16}
			var err error
			get := func(p *kernels.Ptr, make func() (kernels.Ptr, error)) {
				if err == nil {
					*p, err = make()
				}
			}
			state := make([]int32, m.Items)
			for l := range state {
				state[l] = int32(l / batch)
			}
			groups := kernels.MahalanobisGroups(state)
			m.Groups = len(groups) / 3
			get(&m.Group, func() (kernels.Ptr, error) { return Put(b, groups) })
			get(&m.X, func() (kernels.Ptr, error) { return b.Normal(m.Items*k, 0, 1) })
			get(&m.Mean, func() (kernels.Ptr, error) { return b.Normal(locations*k, 0, 1) })
			get(&m.Factor, func() (kernels.Ptr, error) {
				if bf16 {
					return halves(b, locations*kernels.FactorLen(k))
				}
				return b.Normal(locations*kernels.FactorLen(k), 0, 0.1)
			})
			get(&m.S, func() (kernels.Ptr, error) { return b.Alloc(m.Items) })
			if gradient == 1 {
				get(&m.Unit, func() (kernels.Ptr, error) { return b.Alloc(m.Items * k) })
			}
			return m.Enqueue, m.Cost(), err
		},
	}
}

// halves returns n bfloat16 values.
func halves(b *Bed, n int) (kernels.Ptr, error) {
	p, err := b.Alloc(n / 2)
	block := make([]uint32, min(n/2, 1<<20+17))
	for i := range block {
		half := math.Float32bits(float32(0.1*b.Rand.NormFloat64())) >> 16
		block[i] = half<<16 | half
	}
	for at := 0; at < n/2 && err == nil; at += len(block) {
		err = b.M.Write(p.Plus(at), kernels.Bytes(block[:min(len(block), n/2-at)]))
	}
	return p, err
}

func init() {
	register("mahalanobis", Mahalanobis)
	for _, gradient := range []int{0, 1} {
		registerBench(mahalanobisBench(4096, 48, 8, gradient, false))
		for _, batch := range []int{1, 16} {
			registerBench(mahalanobisBench(3136, 550, batch, gradient, false), mahalanobisBench(3136, 550, batch, gradient, true))
		}
	}
}
