package kerneltest

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/pixel"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

var (
	// stepOnce is for one iteration on values around 1: two float32 blurs of up to 33 x 33 taps in another order, and a
	// proximal step that amplifies a difference some three times where a pixel is close to vanishing.
	stepOnce = compare.Tolerance{Abs: 3e-6, Rel: 3e-6}
	// stepSums is for float32 sums over an image.
	stepSums = compare.Tolerance{Abs: 3e-6, Rel: 3e-6}
	// stepLoop is for a dozen iterations, each of which starts from what the last one rounded.
	stepLoop = compare.Tolerance{Abs: 2e-5, Rel: 2e-5}
)

const (
	// stepCloseCall is how near two candidates of a proximal step must be, in units of n^2/2, for rounding to choose between
	// them. One that is turned moves the pixel by more than any tolerance.
	stepCloseCall = 1e-5
	// stepMostTurned is the share of pixels that may differ after a whole loop: a close call reaches the 81 pixels around it.
	stepMostTurned = 0.05
)

// stepScene is a batch to optimise.
type stepScene struct {
	name        string
	n, h, w     int
	share, norm float64 // sigmas
	iterations  int
	steep       float32 // size of the gradients
	omega       func(n, y, x int) bool
}

func stepDisc(cy, cx, r int) func(y, x int) bool {
	return func(y, x int) bool { return (y-cy)*(y-cy)+(x-cx)*(x-cx) <= r*r }
}

var stepScenes = []stepScene{
	{"one pixel", 1, 1, 1, 1.5, 1, 12, 6, func(_, _, _ int) bool { return true }},
	{"all of images smaller than the blurs", 2, 3, 5, 1.5, 1, 12, 6, func(_, _, _ int) bool { return true }},
	{"islands", 4, 71, 83, 1.5, 1, 12, 6, func(n, y, x int) bool {
		switch n {
		case 0: // far apart; at a corner; with a hole, across tiles
			return stepDisc(12, 14, 6)(y, x) || stepDisc(70, 82, 5)(y, x) || stepDisc(36, 62, 11)(y, x) && !stepDisc(36, 62, 4)(y, x)
		case 2:
			return y%30 == 3 && x%31 == 1
		case 3: // nearer than the blurs reach
			return stepDisc(31, 60, 3)(y, x) || stepDisc(33, 70, 4)(y, x)
		}
		return false
	}},
	{"all of an image", 1, 39, 68, 1.5, 1, 12, 6, func(_, _, _ int) bool { return true }},
	{"batch", 64, 6, 8, 1.5, 1, 2, 6, func(n, y, x int) bool { return (n+y*x)%3 != 0 && n%5 != 0 }},
	{"widest blurs", 2, 40, 100, 4, 3, 2, 6, func(n, y, x int) bool { return stepDisc(2, 63, 20+n)(y, x) }},
	{"steep", 1, 21, 22, 1.5, 1, 6, 300, func(_, y, x int) bool { return stepDisc(10, 10, 9)(y, x) }},
	{"many tiles", 1, 545, 70, 1.5, 1, 1, 6, func(_, y, x int) bool { return y%32 == 5 && x%63 == 3 }},
	{"no blurs", 1, 33, 67, 0, 0, 3, 6, func(_, y, x int) bool { return (x+y)%4 != 1 }},
}

// stepBench is a batch on a machine: the arrays of a PixelStep.
type stepBench struct {
	kernels.PixelStep
	scene                 stepScene
	mask                  []uint8
	pixels                [][]int32 // of each image
	gauss                 pixel.StepOptions
	dx                    *Memory[float32] // [iterations, dxStride]
	dxStride              int
	scale, a, m, v, sum   *Memory[float32]
	counter               *Memory[int32]
	stats                 *Memory[uint32]
	inputs, state, report []Array
}

const stepEps = 0.1

func newStepBench(r *Rig, s stepScene) *stepBench {
	hw := s.h * s.w
	b := &stepBench{scene: s, mask: make([]uint8, s.n*hw), pixels: make([][]int32, s.n), dxStride: (s.n*3*hw + 3) &^ 3}
	for i := range b.mask {
		if n, p := i/hw, i%hw; s.omega(n, p/s.w, p%s.w) {
			b.mask[i] = uint8(1 + i%255)
			b.pixels[n] = append(b.pixels[n], int32(p))
		}
	}
	b.gauss = pixel.StepOptions{
		Share: pixel.NewGaussian(s.share), Norm: pixel.NewGaussian(s.norm), Momentum: 0.8, Decay: 0.95, Rate: 0.1, Lambda: 3,
		Penalty: pixel.NewGroupLog(stepEps), From: s.iterations/2 + 1,
	}
	o := &b.gauss
	// Off Omega everything is NaN, of which nothing may be seen.
	dx := slices.Repeat([]float32{float32(math.NaN())}, s.iterations*b.dxStride)
	a, m, v := r.off(3*len(b.mask)), r.off(3*len(b.mask)), r.off(len(b.mask))
	sum, scale := slices.Clone(v), slices.Clone(v)
	for i := range b.mask {
		if b.mask[i] == 0 {
			continue
		}
		v[i], sum[i], scale[i] = 0, 0, 0.3+0.6*r.Rand.Float32()
		for c := range 3 {
			at := (i/hw*3+c)*hw + i%hw
			m[at] = 0
			if a[at] = 0; i%11 != 5 {
				a[at] = float32(0.35 * r.Rand.NormFloat64())
			}
			for t := range s.iterations {
				dx[t*b.dxStride+at] = s.steep * float32(r.Rand.NormFloat64())
			}
			if i/hw == 3 { // no gradient, hardly any weight of the penalty, and little or nothing left: prox's x < 0, and n = 0
				v[i] = 1e4
				if a[at] *= 1e-3; i%s.w < 64 {
					a[at] = 0
				}
				for t := range s.iterations {
					dx[t*b.dxStride+at] = 0
				}
			}
		}
	}
	list := kernels.ActiveTiles(b.mask, s.n, s.h, s.w)
	active := len(list) - s.n - 1
	share, norm := In(r, o.Share.Taps()), In(r, o.Norm.Taps())
	schedule := In(r, kernels.StepSchedule(o.Momentum, o.Decay, s.iterations, o.From))
	tiles, mask := In(r, list), In(r, b.mask)
	sq, partial := Out[float32](r, len(b.mask)), Out[uint32](r, 3*active)
	b.dx, b.scale, b.counter, b.stats = In(r, dx), In(r, scale), In(r, []int32{0}), Out[uint32](r, 3*s.n*s.iterations)
	b.a, b.m, b.v, b.sum = In(r, a), In(r, m), In(r, v), In(r, sum)
	b.inputs = []Array{share, norm, schedule, tiles, mask, b.dx, b.scale}
	b.state = []Array{b.a, b.m, b.v, b.sum, b.counter}
	b.report = []Array{b.stats}
	b.PixelStep = kernels.PixelStep{
		N: s.n, H: s.h, W: s.w, Share: share.Ptr, Norm: norm.Ptr, ShareRadius: o.Share.Radius(), NormRadius: o.Norm.Radius(),
		Momentum: o.Momentum, Decay: o.Decay, Rate: o.Rate, Lambda: o.Lambda, Eps: stepEps,
		Iterations: s.iterations, Schedule: schedule.Ptr, Tiles: tiles.Ptr, Blocks: max(active, 1), Mask: mask.Ptr,
		DX: b.dx.Ptr, Scale: b.scale.Ptr, A: b.a.Ptr, M: b.m.Ptr, V: b.v.Ptr, Sum: b.sum.Ptr,
		SQ: sq.Ptr, Partial: partial.Ptr, Stats: b.stats.Ptr,
	}
	return b
}

// off returns n values that nothing may use or change: every other one is NaN, which spreads but is not changed by addition.
func (r *Rig) off(n int) []float32 {
	v := r.Normal(n)
	for i := 0; i < n; i += 2 {
		v[i] = float32(math.NaN())
	}
	return v
}

// run runs the loop, explicit about the iteration or by the counter, with each iteration's dx or always the first, and calls
// after (which may be nil) with each iteration done.
func (b *stepBench) run(r *Rig, s kernels.PixelStep, sameDX bool, after func(t int)) {
	r.T.Helper()
	round := 0
	r.Run(func(q kernels.Queue) error {
		round++
		for t := 1; t <= s.Iterations; t++ {
			if !sameDX {
				s.DX = b.dx.Ptr.Plus((t - 1) * b.dxStride)
			}
			if s.Iteration = t; s.Counter != 0 {
				s.Iteration = 0
			}
			if err := s.Enqueue(q); err != nil {
				return err
			}
			if after != nil && round == 1 {
				after(t)
			}
		}
		return nil
	}, b.inputs, append(slices.Clone(b.state), b.report...))
}

// stepPlanes is a state as the machine has it.
type stepPlanes struct{ a, m, v, sum []float32 }

func (b *stepBench) read() stepPlanes {
	return stepPlanes{b.a.Read(), b.m.Read(), b.v.Read(), b.sum.Read()}
}

// twin is image n's state on the host, with the whole image for a window.
func (b *stepBench) twin(p stepPlanes, n int) *pixel.State {
	hw := b.H * b.W
	s := pixel.NewState(pixel.Box{Y1: b.H, X1: b.W}, b.pixels[n], &b.gauss)
	for _, q := range s.Pixels {
		i := n*hw + int(q)
		s.V[q], s.Sum[q], s.C[q] = p.v[i], p.sum[i], b.scale.initial[i]
		for c := range 3 {
			at := c*hw + int(q)
			s.A[at], s.M[at] = p.a[3*n*hw+at], p.m[3*n*hw+at]
		}
	}
	return s
}

// twinStep does iteration t on the host.
func (b *stepBench) twinStep(s *pixel.State, dx []float32, n, t int) pixel.Stats {
	at := (t-1)*b.dxStride + 3*n*b.H*b.W
	return pixel.Step(s, dx[at:at+3*b.H*b.W], b.H, b.W, t, &b.gauss)
}

// onPixels picks the values of channel planes [C,H,W] on the pixels.
func onPixels(plane []float32, pixels []int32, hw int) []float32 {
	var v []float32
	for at := 0; at < len(plane); at += hw {
		for _, p := range pixels {
			v = append(v, plane[at+int(p)])
		}
	}
	return v
}

// closeCalls marks the pixels whose proximal step hangs on rounding, from the state after it (whose V and M it used) and A
// before it.
func (b *stepBench) closeCalls(s *pixel.State, before []float32, t int) []bool {
	hw := b.H * b.W
	o := &b.gauss
	eta, sq := make([]float64, hw), make([]float32, hw)
	for _, p := range s.Pixels {
		eta[p] = o.Rate / (math.Sqrt(float64(s.V[p])/(1-math.Pow(o.Decay, float64(t)))) + o.Lambda)
		for c := range 3 {
			at := c*hw + int(p)
			v := float64(before[at]) - eta[p]/(1-math.Pow(o.Momentum, float64(t)))*float64(s.M[at])
			sq[p] += float32(v * v)
		}
	}
	o.Norm.Blur(sq, b.H, b.W, make([]float32, o.Norm.Scratch(b.H, b.W)))
	near := make([]bool, hw)
	unit := 1 / math.Log1p(1/stepEps)
	for _, p := range s.Pixels {
		n, weight := math.Sqrt(float64(sq[p])), eta[p]*o.Lambda
		disc := (n+stepEps)*(n+stepEps) - 4*weight*unit
		x := (n - stepEps + math.Sqrt(max(disc, 0))) / 2
		gain := n*n/2 - (x-n)*(x-n)/2 - weight*o.Penalty.Value(x)
		near[p] = math.Abs(gain) <= stepCloseCall*n*n/2
	}
	return near
}

// PixelStep tests the kernels of pixel_step against pixel.Step: every iteration from the state that the machine had before
// it, and the whole loop.
func PixelStep(t *testing.T, m kernels.Machine, seed uint64) {
	for _, s := range stepScenes {
		Case(t, m, seed, func(r *Rig) {
			b := newStepBench(r, s)
			hw := s.h * s.w
			start := b.read()
			was, dx := start, b.dx.Read()
			turned, kept, pixels, used := 0, 0, 0, stepShares{}
			b.run(r, b.PixelStep, false, func(iteration int) {
				now := b.read()
				stats := kernels.DecodeStats(b.stats.Read())[(iteration-1)*s.n : iteration*s.n]
				for n := range s.n {
					where := fmt.Sprintf("iteration %d, image %d", iteration, n)
					twin := b.twin(was, n)
					want := b.twinStep(twin, dx, n, iteration)
					px := b.pixels[n]
					got := b.twin(now, n)
					gradients := stepOnce
					gradients.Abs *= max(1, float64(s.steep)/10) // sums of large values may be small
					used.require(r.T, "M", where, onPixels(got.M, px, hw), onPixels(twin.M, px, hw), gradients)
					used.require(r.T, "V", where, onPixels(got.V, px, hw), onPixels(twin.V, px, hw), gradients)
					near, off := b.closeCalls(twin, b.twin(was, n).A, iteration), 0.0
					for _, p := range px {
						if near[p] && (got.A[p] == 0) != (twin.A[p] == 0) {
							turned++
							off += 2 * float64(twin.Sum[p]+got.Sum[p]+1)
							for c := range 3 {
								got.A[c*hw+int(p)] = twin.A[c*hw+int(p)]
							}
							got.Sum[p] = twin.Sum[p]
						}
					}
					used.require(r.T, "A", where, onPixels(got.A, px, hw), onPixels(twin.A, px, hw), stepOnce)
					used.require(r.T, "sum", where, onPixels(got.Sum, px, hw), onPixels(twin.Sum, px, hw), stepOnce)
					require.EqualValues(r.T, want.Support, stats[n].Support, "support, %s", where)
					used.require(r.T, "penalty", where, []float32{stats[n].Penalty}, []float32{float32(want.Penalty)}, stepSums)
					used.require(r.T, "moved", where, []float32{stats[n].Moved}, []float32{float32(want.Moved)},
						compare.Tolerance{Abs: stepSums.Abs + off, Rel: stepSums.Rel})
					pixels, kept = pixels+len(px), kept+int(stats[n].Support)
				}
				was = now
			})
			r.T.Logf("%d of %d decisions turned by rounding; A was not 0 in %d", turned, pixels, kept)
			r.T.Logf("shares of the tolerances used:%s", used)

			end := b.read()
			different, all := 0, 0
			for n := range s.n {
				twin := b.twin(start, n)
				for t := 1; t <= s.iterations; t++ {
					b.twinStep(twin, dx, n, t)
				}
				got := b.twin(end, n)
				for _, p := range b.pixels[n] {
					at := []int{int(p), hw + int(p), 2*hw + int(p)}
					for _, i := range at {
						if _, err := compare.Close(got.A[i:i+1], twin.A[i:i+1], stepLoop); err != nil {
							different++
							break
						}
					}
				}
				all += len(b.pixels[n])
			}
			r.T.Logf("%d of %d pixels differ after %d iterations", different, all, s.iterations)
			require.LessOrEqual(r.T, float64(different), 1+stepMostTurned*float64(all))

			for i, on := range b.mask {
				if on != 0 {
					continue
				}
				same := math.Float32bits(end.v[i]) == math.Float32bits(start.v[i]) &&
					math.Float32bits(end.sum[i]) == math.Float32bits(start.sum[i])
				for c := range 3 {
					at := (i/hw*3+c)*hw + i%hw
					same = same && math.Float32bits(end.a[at]) == math.Float32bits(start.a[at]) &&
						math.Float32bits(end.m[at]) == math.Float32bits(start.m[at])
				}
				require.True(r.T, same, "pixel %d is off Omega and was changed", i)
			}
		}, "%s", s.name)
	}

	// The loop by the counter gives the same bits, on any grid.
	Case(t, m, seed, func(r *Rig) {
		s := stepScenes[2]
		s.iterations = 4
		b := newStepBench(r, s)
		b.run(r, b.PixelStep, true, nil)
		want, wantStats := b.read(), b.stats.Read()
		replay := b.PixelStep
		replay.Counter, replay.Blocks = b.counter.Ptr, 2
		b.run(r, replay, true, nil)
		requireSameState(r, want, b.read())
		require.Equal(r.T, wantStats, b.stats.Read())
		require.Equal(r.T, []int32{4}, b.counter.Read())
		require.NoError(r.T, replay.Enqueue(r.M), "past the end")
		requireSameState(r, want, b.read())
		require.Equal(r.T, wantStats, b.stats.Read())

		require.NoError(r.T, replay.Clear(r.M))
		got := b.read()
		for _, p := range [][]float32{got.a, got.m, got.v, got.sum} {
			require.Equal(r.T, make([]float32, len(p)), p)
		}
		require.Equal(r.T, []int32{0}, b.counter.Read())
	}, "replay")

	// A gradient that is NaN in one image is that image's trouble, and none of the batch's.
	Case(t, m, seed, func(r *Rig) {
		s := stepScenes[2]
		s.iterations = 2
		b := newStepBench(r, s)
		start := b.read()
		b.run(r, b.PixelStep, true, nil)
		want, wantStats := b.read(), kernels.DecodeStats(b.stats.Read())
		hw := s.h * s.w
		dx := b.dx.Read()
		at := 2*3*hw + int(b.pixels[2][1])
		dx[at] = float32(math.NaN())
		b.dx.initial = dx
		b.dx.reset()
		b.run(r, b.PixelStep, true, nil)
		got, gotStats := b.read(), kernels.DecodeStats(b.stats.Read())
		for i := range gotStats {
			if i%s.n == 2 {
				require.True(r.T, math.IsNaN(float64(gotStats[i].Moved)), "the image with NaN")
				require.True(r.T, math.IsNaN(b.twinStep(b.twin(start, 2), dx, 2, 1).Moved), "the twin agrees")
			} else {
				require.Equal(r.T, wantStats[i], gotStats[i])
			}
		}
		for n := range s.n {
			if n != 2 {
				requireSameState(r, want.image(n, hw), got.image(n, hw))
			}
		}
	}, "NaN")

	// An image alone gets the bits it gets in a batch.
	Case(t, m, seed, func(r *Rig) {
		s := stepScenes[4]
		b := newStepBench(r, s)
		b.run(r, b.PixelStep, false, nil)
		hw, n := s.h*s.w, 37
		want, wantStats := b.read().image(n, hw), kernels.DecodeStats(b.stats.Read())
		alone := s
		alone.n, alone.omega = 1, func(_, y, x int) bool { return s.omega(n, y, x) }
		a := newStepBench(r, alone)
		start := stepPlanes{b.a.initial, b.m.initial, b.v.initial, b.sum.initial}.image(n, hw)
		a.a.initial, a.m.initial, a.v.initial, a.sum.initial = start.a, start.m, start.v, start.sum
		for t := range s.iterations {
			copy(a.dx.initial[t*a.dxStride:], b.dx.initial[t*b.dxStride+3*n*hw:][:3*hw])
		}
		copy(a.scale.initial, b.scale.initial[n*hw:])
		a.dx.reset()
		a.scale.reset()
		a.run(r, a.PixelStep, false, nil)
		requireSameState(r, want, a.read())
		for t, got := range kernels.DecodeStats(a.stats.Read()) {
			require.Equal(r.T, wantStats[t*s.n+n], got)
		}
	}, "alone")

	t.Run("tiles", func(t *testing.T) {
		mask := make([]uint8, 3*70*130)
		mask[31*130+64], mask[32*130+63] = 9, 1 // image 0: row 0 column 1, row 1 column 0
		mask[3*70*130-1] = 255                  // image 2: row 2, column 2
		require.Equal(t, []int32{0, 2, 2, 3, 1, 3, 2*9 + 8}, kernels.ActiveTiles(mask, 3, 70, 130))
		require.Equal(t, 9, kernels.StepTiles(70, 130))
		require.Equal(t, []int32{0, 0}, kernels.ActiveTiles(make([]uint8, 6), 1, 2, 3))
		table := kernels.StepSchedule(0.5, 0.75, 2, 2)
		require.Equal(t, []float32{2, 4, 0, 0, 4.0 / 3, 1 / (1 - 0.5625), 1, 0}, table)
	})

	t.Run("refuses", func(t *testing.T) {
		good := kernels.PixelStep{
			N: 1, H: 4, W: 4, Share: 256, Norm: 256, ShareRadius: 6, NormRadius: 4, Momentum: 0.8, Decay: 0.95, Rate: 0.1,
			Lambda: 3, Eps: 0.1, Iterations: 12, Schedule: 256, Iteration: 1, Tiles: 256, Blocks: 1, Mask: 256, DX: 256,
			Scale: 256, A: 256, M: 256, V: 256, Sum: 256, SQ: 256, Partial: 256, Stats: 256,
		}
		for _, c := range []struct {
			what   string
			change func(*kernels.PixelStep)
		}{
			{"batch", func(s *kernels.PixelStep) { s.N = 0 }},
			{"batch", func(s *kernels.PixelStep) { s.N, s.H, s.W = 60000, 1<<14, 1<<14 }},
			{"extents", func(s *kernels.PixelStep) { s.W = 1<<14 + 1 }},
			{"extents", func(s *kernels.PixelStep) { s.H = 0 }},
			{"radius 17", func(s *kernels.PixelStep) { s.NormRadius = 17 }},
			{"momentum", func(s *kernels.PixelStep) { s.Momentum = 1 }},
			{"decay", func(s *kernels.PixelStep) { s.Decay = math.NaN() }},
			{"eps", func(s *kernels.PixelStep) { s.Eps = 0 }},
			{"iteration 13 of 12", func(s *kernels.PixelStep) { s.Iteration = 13 }},
			{"iteration 0 of 12", func(s *kernels.PixelStep) { s.Iteration = 0 }},
			{"counter", func(s *kernels.PixelStep) { s.Counter = 257 }},
			{"blocks", func(s *kernels.PixelStep) { s.Blocks = 0 }},
			{"dx is null", func(s *kernels.PixelStep) { s.DX = 0 }},
			{"mask is null", func(s *kernels.PixelStep) { s.Mask = 0 }},
			{"scale is null", func(s *kernels.PixelStep) { s.Scale = 0 }},
			{"scale is not aligned", func(s *kernels.PixelStep) { s.Scale = 260 }},
			{"SQ is not aligned", func(s *kernels.PixelStep) { s.SQ = 260 }},
			{"schedule is not aligned", func(s *kernels.PixelStep) { s.Schedule = 264 }},
		} {
			s := good
			c.change(&s)
			require.ErrorContains(t, s.Enqueue(m), c.what)
		}
		s := good
		s.Sum = 0
		require.ErrorContains(t, s.Clear(m), "sum is null")
	})
}

// image is image n's part.
func (p stepPlanes) image(n, hw int) stepPlanes {
	return stepPlanes{p.a[3*n*hw : 3*(n+1)*hw], p.m[3*n*hw : 3*(n+1)*hw], p.v[n*hw : (n+1)*hw], p.sum[n*hw : (n+1)*hw]}
}

func requireSameState(r *Rig, want, got stepPlanes) {
	r.T.Helper()
	require.Equal(r.T, kernels.Bytes(want.a), kernels.Bytes(got.a), "A")
	require.Equal(r.T, kernels.Bytes(want.m), kernels.Bytes(got.m), "M")
	require.Equal(r.T, kernels.Bytes(want.v), kernels.Bytes(got.v), "V")
	require.Equal(r.T, kernels.Bytes(want.sum), kernels.Bytes(got.sum), "sum")
}

// stepShares is how much of its tolerance each of many comparisons used at most, by name.
type stepShares map[string]float64

func (s stepShares) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, " %s %.2f", name, s[name])
	}
	return b.String()
}

func (s stepShares) require(t testing.TB, name, where string, got, want []float32, tol compare.Tolerance) {
	t.Helper()
	report, err := compare.Close(got, want, tol)
	require.NoError(t, err, "%s, %s", name, where)
	s[name] = max(s[name], report.Used)
}

func init() {
	register("pixel_step", PixelStep)
	registerBench(
		stepBenchmark("32 x 3 x 512 x 512, all active", 32, 512, 512, 512),
		stepBenchmark("8 x 3 x 256 x 256, 5 % active", 8, 256, 256, 57),
	)
}

// stepSquares marks a square of the given side in each image.
func stepSquares(n, h, w, side int) []uint8 {
	mask := make([]uint8, n*h*w)
	for i := range mask {
		y, x := i/w%h-(h-side)/2, i%w-(w-side)/2
		if y >= 0 && y < side && x >= 0 && x < side {
			mask[i] = 1
		}
	}
	return mask
}

// stepMask puts a mask, whose length is a multiple of 4, on the machine.
func stepMask(b *Bed, mask []uint8) (kernels.Ptr, error) {
	p, err := b.Alloc(len(mask) / 4)
	if err != nil {
		return 0, err
	}
	return p, b.M.Write(p, mask)
}

// stepBenchmark is an iteration in the middle of a loop, with a square active in each image.
func stepBenchmark(size string, n, h, w, side int) Bench {
	return Bench{
		Kernel: "pixel_step", Size: size, Peer: "pixel_step", Params: map[string]int{"n": n, "h": h, "w": w},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			share, norm := pixel.NewGaussian(1.5), pixel.NewGaussian(1)
			mask := stepSquares(n, h, w, side)
			list := kernels.ActiveTiles(mask, n, h, w)
			s := kernels.PixelStep{
				N: n, H: h, W: w, ShareRadius: share.Radius(), NormRadius: norm.Radius(), Momentum: 0.8, Decay: 0.95,
				Rate: 0.1, Lambda: 3, Eps: 0.1, Iterations: 12, Iteration: 9, Blocks: len(list) - n - 1,
			}
			pixels := n * h * w
			for _, a := range []struct {
				p   *kernels.Ptr
				put func() (kernels.Ptr, error)
			}{
				{&s.Share, func() (kernels.Ptr, error) { return Put(b, share.Taps()) }},
				{&s.Norm, func() (kernels.Ptr, error) { return Put(b, norm.Taps()) }},
				{&s.Schedule, func() (kernels.Ptr, error) { return Put(b, kernels.StepSchedule(0.8, 0.95, 12, 7)) }},
				{&s.Tiles, func() (kernels.Ptr, error) { return Put(b, list) }},
				{&s.Mask, func() (kernels.Ptr, error) { return stepMask(b, mask) }},
				{&s.DX, func() (kernels.Ptr, error) { return b.Normal(3*pixels, 0, 6) }},
				{&s.Scale, func() (kernels.Ptr, error) { return b.Normal(pixels, 1, 0.1) }},
				{&s.A, func() (kernels.Ptr, error) { return b.Normal(3*pixels, 0, 0.7) }},
				{&s.M, func() (kernels.Ptr, error) { return b.Normal(3*pixels, 0, 0.5) }},
				{&s.V, func() (kernels.Ptr, error) { return b.Normal(pixels, 2, 0.1) }},
				{&s.Sum, func() (kernels.Ptr, error) { return b.Normal(pixels, 2, 0.1) }},
				{&s.SQ, func() (kernels.Ptr, error) { return b.Alloc(pixels) }},
				{&s.Partial, func() (kernels.Ptr, error) { return b.Alloc(3 * s.Blocks) }},
				{&s.Stats, func() (kernels.Ptr, error) { return b.Alloc(3 * n * s.Iterations) }},
			} {
				var err error
				if *a.p, err = a.put(); err != nil {
					return nil, kernels.Cost{}, err
				}
			}
			return s.Enqueue, s.Cost(n * side * side), nil
		},
	}
}
