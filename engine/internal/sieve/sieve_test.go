package sieve

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func normal(rng *rand.Rand, n int, scale float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(scale * rng.NormFloat64())
	}
	return x
}

func square(a, b []float32) float64 {
	sum := 0.0
	for i, x := range a {
		d := float64(x) - float64(b[i])
		sum += d * d
	}
	return sum
}

// cases are members and queries [,d] of many kinds.
func cases(rng *rand.Rand, each func(name string, members, queries []float32, d int)) {
	for _, d := range []int{1, 16, 50, 129} {
		for _, members := range []int{2, 33, 200} {
			m, q := normal(rng, members*d, 1), normal(rng, 20*d, 1)
			each("random", m, q, d)
			each("members", m, m[:min(len(m), 35*d)], d)
			each("outside of the box", m, normal(rng, 20*d, 30), d)
			each("far", m, normal(rng, 3*d, 1e12), d)
			near := append([]float32{}, m[:d]...)
			for i := range near {
				near[i] += 1e-6 * float32(rng.NormFloat64())
			}
			each("almost a member", m, near, d)
			off := make([]float32, len(m))
			for i := range m {
				if off[i] = 1000 + m[i]; i%d%2 == 1 {
					off[i] = -7 // always
				}
			}
			if d > 1 {
				each("far from the origin, constant values", off, off[:d], d)
			}
			one := append([]float32{}, m...) // one of them fixes the step for all
			one[len(one)-1] = 5000
			each("an outlier", one, q, d)
			small, large := append([]float32{}, m...), append([]float32{}, m...)
			for i := range m {
				small[i] *= 1e-7
				large[i] *= 1e12
			}
			each("small", small, normal(rng, 3*d, 1e-7), d)
			each("large", large, normal(rng, 3*d, 1e12), d)
		}
	}
}

// Whoever is within a limit is kept, by every kernel, and so is who is nearest by its bytes.
func TestKeepIsCertain(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	cases(rng, func(name string, members, queries []float32, d int) {
		count := len(members) / d
		for _, k := range Kernels() {
			s := New(k, members, d)
			require.NotNil(t, s, name)
			b := s.NewBatch(count)
			for first := 0; first < len(queries)/d; first += Rows {
				n := min(Rows, len(queries)/d-first)
				row := func(r int) []float32 { return queries[(first+r)*d:][:d] }
				for r := range n {
					require.True(t, b.Set(r, row(r)))
				}
				b.Least(0, count)
				for r, kept := range keptBy(b, count)[:n] {
					require.NotEmpty(t, kept, "%s, %d of %d values, %s, row %d: the nearest by its bytes", name, count, d, k.Name, r)
				}
				var limits [Rows]float64
				for r := range n {
					limits[r] = square(row(r), members[rng.IntN(count)*d:][:d])
					b.Limit(r, limits[r])
				}
				for r, kept := range keptBy(b, count)[:n] {
					for j := range count {
						if square(row(r), members[j*d:][:d]) <= limits[r] {
							require.True(t, kept[j], "%s, %d of %d values, %s, row %d, member %d", name, count, d, k.Name, r, j)
						}
					}
				}
			}
		}
	})
}

// keptBy are the members that each row keeps.
func keptBy(b *Batch, count int) []map[int]bool {
	kept := make([]map[int]bool, Rows)
	for r := range kept {
		kept[r] = map[int]bool{}
	}
	for _, record := range b.Keep(0, count) {
		for c := range Cols {
			if record>>c&1 != 0 {
				kept[int(record>>32)%Rows][int(record>>32)/Rows*Cols+c] = true
			}
		}
	}
	return kept
}

// It must not keep everybody, either: of random members few are as near as one in a thousand.
func TestKeepDropsMost(t *testing.T) {
	const d, members = 100, 2000
	rng := rand.New(rand.NewPCG(2, 0))
	m, q := normal(rng, members*d, 1), normal(rng, Rows*d, 1)
	b := New(Kernels()[0], m, d).NewBatch(members)
	for r := range Rows {
		require.True(t, b.Set(r, q[r*d:][:d]))
		least := math.Inf(1)
		for j := range members {
			least = min(least, square(q[r*d:][:d], m[j*d:][:d]))
		}
		b.Limit(r, least)
	}
	total := 0
	for _, kept := range keptBy(b, members) {
		total += len(kept)
	}
	require.Less(t, total, Rows*members/100)
	for i := range q {
		q[i] *= 3 // some values of each lie outside of the box then
	}
	for r := range Rows {
		b.Set(r, q[r*d:][:d])
		b.Limit(r, 1e-9)
	}
	require.Empty(t, b.Keep(0, members), "nobody is there")
}

func TestRowsThatAreNotSetKeepNobody(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	m := normal(rng, 64*7, 1)
	for _, k := range Kernels() {
		b := New(k, m, 7).NewBatch(64)
		require.True(t, b.Set(5, m[:7]))
		for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e30, -math.MaxFloat32} {
			q := append([]float32{}, m[:7]...)
			q[3] = float32(v)
			require.False(t, b.Set(6, q), "%g", v)
		}
		b.Least(0, 64)
		for r, kept := range keptBy(b, 64) {
			require.Equal(t, r == 5, len(kept) > 0, "row %d", r)
		}
	}
}

func TestNoSieve(t *testing.T) {
	for _, rows := range [][]float32{
		{1, 2, 1, 2}, {1, float32(math.NaN()), 2, 3}, {1, 2, float32(math.Inf(1)), 3}, {0, 0, 1e-12, 0}, {0, 0, 0, 1e20},
		{-math.MaxFloat32, 0, math.MaxFloat32, 0},
	} {
		require.Nil(t, New(Kernels()[0], rows, 2), "%g", rows)
	}
	require.Nil(t, New(Kernels()[0], make([]float32, 2*(widest+1)), widest+1))
}

// All kernels keep the same and find the same maxima, and write nowhere else.
func TestKernels(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	for _, tiles := range []int{1, 2, 5} {
		for _, panels := range []int{0, 1, 2, 7} {
			pitch := tiles * depth
			q, b, half := aligned[int8](Rows*pitch), aligned[uint8](panels*Cols*pitch+1), make([]int32, panels*Cols)
			quads := pitch/4 - panels
			for i := range q {
				if i%pitch < 4*quads {
					q[i] = int8(rng.IntN(255) - 127)
				}
			}
			for i := range b {
				b[i] = uint8(rng.IntN(256))
			}
			for i := range half {
				half[i] = rng.Int32N(1 << 20)
			}
			var limits [Rows]int32
			for r := range limits {
				limits[r] = rng.Int32N(1<<20) * int32(r%3) // none, some, most
			}
			var want []Record
			var most []int32
			for i := len(Kernels()) - 1; i >= 0; i-- {
				k := Kernels()[i]
				w := &working{scratch: aligned[int32](Rows * Cols), kept: make([]Record, panels*Rows+3)}
				w.kept[panels*Rows+1], w.kept[panels*Rows+2] = 77, 77
				kept := k.keep(q, pitch, quads, b, half, &limits, w)
				require.EqualValues(t, []Record{77, 77}, w.kept[panels*Rows+1:])
				for l := range w.most {
					w.most[l] = none
				}
				k.most(q, pitch, quads, b, half, w)
				if want == nil {
					want, most = append([]Record{}, kept...), append([]int32{}, w.most[:]...)
				}
				require.Equal(t, want, append([]Record{}, kept...), k.Name)
				require.Equal(t, most, w.most[:], k.Name)
			}
		}
	}
}

func TestQuantize(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 0))
	for d := range 70 {
		x, centre := normal(rng, d, 60), normal(rng, d, 1)
		if d == 40 {
			x[3], x[20] = float32(math.Inf(-1)), math.MaxFloat32
		}
		y, z := make([]int8, d+1), make([]int8, d+1)
		y[d], z[d] = 33, 33
		var a, b sums
		const step = 0.5
		quantize(y[:d:d], x, centre, 1/float32(step), step, &a)
		quantizeGo(z[:d:d], x, centre, 1/float32(step), step, &b)
		require.Equal(t, z, y, "%d values", d)
		require.Equal(t, b.sum, a.sum)
		require.Equal(t, b.norm, a.norm)
		for l := range lanes {
			within(t, b.in[l], a.in[l], 1e-3) // the residual is exact to some units of the value's last place
			within(t, b.out[l], a.out[l], 1e-3)
		}
	}
}

func within(t *testing.T, want, got float32, share float64) {
	t.Helper()
	if math.IsInf(float64(want), 1) {
		require.Equal(t, want, got)
		return
	}
	require.LessOrEqual(t, math.Abs(float64(got)-float64(want)), share*(math.Abs(float64(want))+1e-6), "want %g, got %g", want, got)
}

func TestSquares(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 0))
	for d := range 140 {
		if d == 0 {
			continue
		}
		q, rows := normal(rng, 5*d, 1), normal(rng, 7*d, 1)
		pairs := make([]Pair, d%9)
		for i := range pairs {
			pairs[i] = Pair{rng.Int32N(5), rng.Int32N(7)}
		}
		for _, f := range []func(to []float32, pairs []Pair, q, rows []float32, d int){Squares, squaresGo} {
			to := make([]float32, len(pairs)+1)
			to[len(pairs)] = -77
			f(to[:len(pairs):len(pairs)], pairs, q, rows, d)
			require.EqualValues(t, -77, to[len(pairs)])
			for i, p := range pairs {
				want := square(q[int(p.Query)*d:][:d], rows[int(p.Member)*d:][:d])
				require.InEpsilon(t, want, to[i], float64(d+8)*0x1p-24, "%d values", d)
			}
		}
	}
}
