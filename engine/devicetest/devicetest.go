package devicetest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
)

var _ engine.Device = (*Naive)(nil)

// Test runs the suite on a device. seed chooses the random data.
func Test(t *testing.T, d engine.Device, seed uint64) {
	s := suite{d, seed}
	t.Run("Gaussians", s.gaussians)
	t.Run("Bank", s.bank)
	t.Run("Maps", s.maps)
	t.Run("Smooth", s.smooth)
	t.Run("Compare", s.compare)
	t.Run("Stepper", s.stepper)
	t.Run("KCentre", s.kCentre)
	t.Run("Concurrent", s.concurrent)
	t.Run("Cancelled", s.cancelled)
}

type suite struct {
	d    engine.Device
	seed uint64
}

func (s *suite) rng(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, stream)) }

func normal(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// float32Sums is for sums of up to some thousand products in float32, in any order, against float64; Abs is for gradients'
// components, which are at most the diagonal of a factor (here 2).
var float32Sums = compare.Tolerance{Abs: 2e-5, Rel: 2e-5}

// factors makes packed lower triangles with a positive diagonal.
func factors(rng *rand.Rand, states, k int) []float32 {
	var all []float32
	for range states {
		for i := range k {
			for range i {
				all = append(all, float32(rng.NormFloat64()/math.Sqrt(float64(k))))
			}
			all = append(all, 1+rng.Float32())
		}
	}
	return all
}

func (s *suite) gaussians(t *testing.T) {
	for _, c := range []struct{ k, states, items int }{{1, 1, 1}, {3, 5, 40}, {48, 7, 100}, {100, 4, 33}, {7, 1, 70}} {
		rng := s.rng(uint64(c.k))
		mean, factor := normal(rng, c.states*c.k), factors(rng, c.states, c.k)
		x, state := normal(rng, c.items*c.k), make([]int32, c.items)
		for i := range state {
			state[i] = int32(rng.IntN(c.states))
		}
		slices.Sort(state)
		copy(x[:c.k], mean[int(state[0])*c.k:]) // at the mean: distance and gradient are 0
		g, err := s.d.Gaussians(mean, factor, c.k)
		require.NoError(t, err)
		defer func() { require.NoError(t, g.Close()) }()
		want, err := (&Naive{}).Gaussians(mean, factor, c.k)
		require.NoError(t, err)
		name := fmt.Sprintf("%d of %d values, %d vectors", c.states, c.k, c.items)

		dist, unit := nans(c.items), nans(c.items*c.k)
		wantDist, wantUnit := make([]float32, c.items), make([]float32, c.items*c.k)
		require.NoError(t, want.Distances(t.Context(), x, state, wantDist, wantUnit))
		require.NoError(t, g.Distances(t.Context(), x, state, dist, unit))
		compare.Require(t, name+": distances", dist, wantDist, float32Sums)
		compare.Require(t, name+": gradients", unit, wantUnit, float32Sums)
		require.Equal(t, make([]float32, c.k), unit[:c.k])

		// Neither the wish for a gradient nor the company changes a vector's distance.
		alone := nans(c.items)
		require.NoError(t, g.Distances(t.Context(), x, state, alone, nil))
		require.Equal(t, dist, alone)
		last := c.items - 1
		require.NoError(t, g.Distances(t.Context(), x[last*c.k:], state[last:], alone[:1], nil))
		require.Equal(t, dist[last], alone[0])
		require.NoError(t, g.Distances(t.Context(), nil, nil, nil, nil))
	}
}

func nans(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(math.NaN())
	}
	return v
}

// nearlyTied members may be told apart wrongly: squared distances of float32 sums.
var nearlyTied = compare.Tolerance{Rel: 1e-5, Abs: 1e-30}

func (s *suite) bank(t *testing.T) {
	for _, c := range []struct{ d, members, queries int }{{1, 1, 3}, {3, 7, 5}, {48, 300, 70}, {100, 131, 1}, {5, 1000, 9}} {
		rng := s.rng(uint64(1000 + c.d))
		rows, q := normal(rng, c.members*c.d), normal(rng, c.queries*c.d)
		for i := range rows {
			rows[i] += 3 // features have means
		}
		for i := range q {
			q[i] += 3
		}
		copy(q, rows[(c.members-1)*c.d:]) // a member
		if c.members > 100 {
			copy(rows[90*c.d:91*c.d], rows[(c.members-1)*c.d:]) // and its double, which counts
		}
		b, err := s.d.Bank(rows, c.d)
		require.NoError(t, err)
		defer func() { require.NoError(t, b.Close()) }()
		brute := &bank{&Naive{}, rows, c.d}
		name := fmt.Sprintf("%d of %d, %d queries", c.members, c.d, c.queries)

		winner, dist, diff := make([]int32, c.queries), make([]float64, c.queries), nans(c.queries*c.d)
		require.NoError(t, b.Nearest(t.Context(), q, winner, dist, diff))
		wantWinner, wantDist := make([]int32, c.queries), make([]float64, c.queries)
		require.NoError(t, brute.Nearest(t.Context(), q, wantWinner, wantDist, nil))
		compare.Require(t, name+": distances", dist, wantDist, nearlyTied)
		require.Equal(t, wantWinner[0], winner[0])
		require.Zero(t, dist[0])
		for i, w := range winner {
			require.True(t, w >= 0 && int(w) < c.members)
			_, err := compare.Close([]float64{brute.distance(q[i*c.d:(i+1)*c.d], int(w))}, wantDist[i:i+1], nearlyTied)
			require.NoError(t, err, "%s: query %d", name, i)
			for k := range c.d {
				require.Equal(t, q[i*c.d+k]-rows[int(w)*c.d+k], diff[i*c.d+k])
			}
		}
		alone, aloneDist := make([]int32, 1), make([]float64, 1)
		last := c.queries - 1
		require.NoError(t, b.Nearest(t.Context(), q[last*c.d:], alone, aloneDist, nil))
		require.Equal(t, dist[last], aloneDist[0])
		require.Equal(t, winner[last], alone[0])

		for _, k := range []int{1, 9} {
			near, err := b.Supports(t.Context(), q[:c.d], k)
			require.NoError(t, err)
			require.Len(t, near, 1)
			want, err := brute.Supports(t.Context(), q[:c.d], k)
			require.NoError(t, err)
			var got, wanted []float64
			for i := range near[0] {
				got = append(got, brute.distance(q[:c.d], int(near[0][i])))
			}
			for _, j := range want[0] {
				wanted = append(wanted, brute.distance(q[:c.d], int(j)))
			}
			compare.Require(t, fmt.Sprintf("%s: %d supports", name, k), got, wanted, nearlyTied)
			require.Equal(t, want[0][0], near[0][0], "the member itself, the lowest of equals")
		}
	}
	b, err := s.d.Bank([]float32{1, 2, 3, 4}, 2)
	require.NoError(t, err)
	defer b.Close()
	winner, dist := make([]int32, 2), make([]float64, 2)
	require.NoError(t, b.Nearest(t.Context(), []float32{float32(math.NaN()), 1, 3, 4}, winner, dist, nil))
	require.True(t, math.IsNaN(dist[0]))
	require.Zero(t, winner[0])
	require.Zero(t, dist[1])
	require.NoError(t, b.Nearest(t.Context(), nil, nil, nil, nil))
}

// blurred is for sums of up to some thousand weights that add up to 1, in float32.
var blurred = compare.Tolerance{Abs: 5e-6, Rel: 5e-6}

func (s *suite) maps(t *testing.T) {
	for _, o := range []method.MapOptions{
		{Sigma: 4, Radius: 16}, {Sigma: 4, Radius: 16, Reflect101: true, Nearest: true}, {}, {Nearest: true}, {Sigma: 1, Radius: 4},
	} {
		for _, c := range []struct{ n, h, w, stride int }{{1, 5, 5, 4}, {3, 9, 13, 4}, {2, 17, 8, 8}} {
			v := normal(s.rng(3), c.n*c.h*c.w)
			H, W := c.h*c.stride, c.w*c.stride
			got, want := nans(c.n*H*W), make([]float32, c.n*H*W)
			require.NoError(t, s.d.Maps(v, c.n, c.h, c.w, H, W, o, got))
			require.NoError(t, (&Naive{}).Maps(v, c.n, c.h, c.w, H, W, o, want))
			compare.Require(t, fmt.Sprintf("%+v of %v", o, c), got, want, blurred)
		}
	}
}

func (s *suite) smooth(t *testing.T) {
	for _, c := range []struct{ h, w, s int }{{1, 1, 4}, {7, 5, 4}, {20, 31, 2}} {
		z := normal(s.rng(4), c.h*c.w)
		g := pixel.NewGaussian(1)
		got, want := nans(c.h*c.w*c.s*c.s), make([]float32, c.h*c.w*c.s*c.s)
		require.NoError(t, s.d.Smooth(z, c.h, c.w, c.s, g, got))
		require.NoError(t, refine.Host{}.Smooth(z, c.h, c.w, c.s, g, want))
		compare.Require(t, fmt.Sprint(c), got, want, blurred)
	}
}

func (s *suite) compare(t *testing.T) {
	rng := s.rng(5)
	for _, c := range []struct{ k, h, w int }{{1, 1, 1}, {6, 33, 21}, {3, 8, 70}} {
		n := c.h * c.w
		y, fills := normal(rng, 3*n), normal(rng, c.k*3*n)
		copy(fills, y[:n/2]) // some pixels are their own fill, in a channel
		smooth, start := pixel.NewGaussian(1), pixel.NewGaussian(1.2)
		got, want := nans(n), make([]float32, n)
		best, wantBest := make([]int32, n), make([]int32, n)
		require.NoError(t, s.d.Compare(y, fills, c.k, c.h, c.w, smooth, start, got, best))
		require.NoError(t, refine.Host{}.Compare(y, fills, c.k, c.h, c.w, smooth, start, want, wantBest))
		compare.Require(t, fmt.Sprintf("%+v: residual", c), got, want, blurred)
		// Where two fills are equally near but for rounding, either will do.
		sq := make([]float32, c.k*n)
		pixel.FillMin(y, fills, c.k, 3, n, sq, make([]float32, n))
		for k := range c.k {
			start.Blur(sq[k*n:(k+1)*n], c.h, c.w, make([]float32, start.Scratch(c.h, c.w)))
		}
		var cost, wantCost []float32
		for p := range n {
			cost, wantCost = append(cost, sq[int(best[p])*n+p]), append(wantCost, sq[int(wantBest[p])*n+p])
		}
		compare.Require(t, fmt.Sprintf("%+v: nearest fill", c), cost, wantCost, blurred)
	}
}

// problems makes images with regions: a blob, one at a corner, one pixel.
func problems(rng *rand.Rand, h, w int, o *pixel.StepOptions) []refine.Problem {
	ps := make([]refine.Problem, 3)
	for n := range ps {
		ps[n] = refine.Problem{Y: normal(rng, 3*h*w), H: h, W: w}
	}
	reach := max(o.Share.Radius(), o.Norm.Radius())
	add := func(n int, region pixel.Box) {
		box := region.Grow(reach, h, w)
		var pixels []int32
		for y := region.Y0; y < region.Y1; y++ {
			for x := region.X0; x < region.X1; x++ {
				if (y+2*x)%7 != 0 || region.W() == 1 {
					pixels = append(pixels, int32((y-box.Y0)*box.W()+x-box.X0))
				}
			}
		}
		st := pixel.NewState(box, pixels, o)
		st.C = nans(len(st.C)) // off the region nothing may be seen of it
		for _, p := range pixels {
			st.C[p] = 0.2 + rng.Float32()
			for c := range 3 {
				st.A[c*box.H()*box.W()+int(p)] = float32(0.7 * rng.NormFloat64())
			}
		}
		ps[n].States = append(ps[n].States, st)
	}
	add(0, pixel.Box{Y0: 10, X0: 12, Y1: 24, X1: 30})
	add(0, pixel.Box{Y0: h - 4, X0: w - 5, Y1: h, X1: w})
	add(2, pixel.Box{Y0: 5, X0: 3, Y1: 6, X1: 4})
	return ps // image 1 has nothing to do
}

// loops of a dozen steps, each with a proximal decision that rounding can turn where it is close.
var (
	loop       = compare.Tolerance{Abs: 1e-4, Rel: 1e-4}
	mostTurned = 0.005 // share of pixels that a close decision may have turned
)

func (s *suite) stepper(t *testing.T) {
	const h, w, iterations = 41, 53, 12
	o := &pixel.StepOptions{
		Share: pixel.NewGaussian(1.5), Norm: pixel.NewGaussian(1), Momentum: 0.8, Decay: 0.95, Rate: 0.1, Lambda: 3,
		Penalty: pixel.NewGroupLog(0.1), From: 7,
	}
	run := func(d refine.Device) ([]refine.Problem, [][]pixel.Stats, []float32) {
		rng := s.rng(6)
		ps := problems(rng, h, w, o)
		st, err := d.Stepper(ps, o)
		require.NoError(t, err)
		defer st.Close()
		x, dx := nd.New(len(ps), 3, h, w), nd.New(len(ps), 3, h, w)
		for n := range ps {
			copy(nd.Data(x)[n*3*h*w:], ps[n].Y)
		}
		var all [][]pixel.Stats
		for i := 1; i <= iterations; i++ {
			require.NoError(t, st.Compose(x))
			copy(nd.Data(dx), normal(rng, 3*3*h*w))
			stats := make([]pixel.Stats, len(ps))
			require.NoError(t, st.Step(i, dx, stats))
			all = append(all, stats)
		}
		require.NoError(t, st.Compose(x))
		require.NoError(t, st.Finish())
		return ps, all, nd.Data(x)
	}
	got, gotStats, gotX := run(s.d)
	want, wantStats, wantX := run(refine.Host{})
	turned, pixels := 0, 0
	for n := range want {
		for j, st := range want[n].States {
			size := st.Box.H() * st.Box.W()
			pixels += len(st.Pixels)
			for _, p := range st.Pixels {
				for _, i := range []int{int(p), size + int(p), 2*size + int(p)} {
					_, err := compare.Close(got[n].States[j].A[i:i+1], st.A[i:i+1], loop)
					if err != nil {
						turned++
						break
					}
				}
			}
			require.LessOrEqual(t, float64(turned), mostTurned*float64(pixels), "pixels of A that differ, of %d", pixels)
			off := slices.Clone(got[n].States[j].A)
			for _, p := range st.Pixels {
				off[p], off[size+int(p)], off[2*size+int(p)] = 0, 0, 0
			}
			require.Equal(t, make([]float32, len(off)), off, "A off the region")
		}
	}
	t.Logf("%d of %d pixels differ", turned, pixels)
	if turned == 0 {
		compare.Require(t, "composed images", gotX, wantX, loop)
	}
	for i := range wantStats {
		for n, w := range wantStats[i] {
			g := gotStats[i][n]
			require.InDelta(t, w.Support, g.Support, mostTurned*float64(pixels), "support of image %d, iteration %d", n, i+1)
			require.InDelta(t, w.Penalty, g.Penalty, 1e-3*w.Penalty+float64(turned)*3, "penalty")
			require.InDelta(t, w.Moved, g.Moved, 1e-3*w.Moved+float64(turned), "moved")
		}
	}
	for n, p := range want {
		for j, st := range p.States {
			sum, wantSum := 0.0, 0.0
			for _, q := range st.Pixels {
				sum, wantSum = sum+float64(got[n].States[j].Sum[q]), wantSum+float64(st.Sum[q])
			}
			require.InDelta(t, wantSum, sum, 1e-3*wantSum+float64(turned)*6, "sum over the iterations")
		}
	}
}

func (s *suite) kCentre(t *testing.T) {
	for _, c := range []struct{ d, points, want, starts int }{{2, 1, 1, 1}, {3, 500, 40, 1}, {17, 300, 30, 10}} {
		x := normal(s.rng(7), c.points*c.d)
		starts := s.rng(8).Perm(c.points)[:c.starts]
		last := 0
		got, err := s.d.KCentre(t.Context(), x, c.d, c.want, starts, func(done, total int) {
			require.True(t, done > last && done <= total && total == c.want)
			last = done
		})
		require.NoError(t, err)
		want, err := (&Naive{}).KCentre(context.Background(), x, c.d, c.want, starts, nil)
		require.NoError(t, err)
		require.Equal(t, want, got, "random points are not tied")
		require.Equal(t, len(want), last)
	}
	same := slices.Repeat([]float32{1, 2, 3}, 20)
	copy(same[30:], []float32{9, 9, 9})
	got, err := s.d.KCentre(t.Context(), same, 3, 5, []int{4}, nil)
	require.NoError(t, err)
	require.Equal(t, []int{4, 10}, got, "it stops when every point coincides with a centre")
}

// concurrent: many callers at once get what one gets.
func (s *suite) concurrent(t *testing.T) {
	const k, n = 20, 50
	rng := s.rng(9)
	mean, factor, x, rows := normal(rng, k), factors(rng, 1, k), normal(rng, n*k), normal(rng, 90*k)
	g, err := s.d.Gaussians(mean, factor, k)
	require.NoError(t, err)
	defer g.Close()
	b, err := s.d.Bank(rows, k)
	require.NoError(t, err)
	defer b.Close()
	type result struct {
		s, u   []float32
		winner []int32
		dist   []float64
		err    error
	}
	run := func() (r result) {
		r = result{make([]float32, n), make([]float32, n*k), make([]int32, n), make([]float64, n), nil}
		if r.err = g.Distances(context.Background(), x, make([]int32, n), r.s, r.u); r.err == nil {
			r.err = b.Nearest(context.Background(), x, r.winner, r.dist, nil)
		}
		return r
	}
	want := run()
	require.NoError(t, want.err)
	got := make([]result, 6)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i] = run() })
	}
	wg.Wait()
	for i := range got {
		require.Equal(t, want, got[i])
	}
}

func (s *suite) cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	g, err := s.d.Gaussians([]float32{0}, []float32{1}, 1)
	require.NoError(t, err)
	defer g.Close()
	require.ErrorIs(t, g.Distances(ctx, []float32{1}, []int32{0}, make([]float32, 1), nil), context.Canceled)
	b, err := s.d.Bank([]float32{0}, 1)
	require.NoError(t, err)
	defer b.Close()
	require.ErrorIs(t, b.Nearest(ctx, []float32{1}, make([]int32, 1), make([]float64, 1), nil), context.Canceled)
	_, err = s.d.KCentre(ctx, make([]float32, 9), 3, 2, []int{0}, nil)
	require.ErrorIs(t, err, context.Canceled)
}
