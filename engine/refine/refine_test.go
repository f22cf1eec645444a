package refine

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"f2pad.example/engine/loop"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// texture is a woven pattern with a little noise, [3,h,w]; phases and noise depend on seed.
func texture(h, w int, colour bool, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 99))
	y := make([]float32, 3*h*w)
	for i := range h {
		for j := range w {
			warp := math.Sin(2 * math.Pi * float64(i) / 8)
			weft := math.Sin(2 * math.Pi * float64(j+i/2) / 10)
			noise := 0.02 * rng.NormFloat64()
			for c := range 3 {
				v := 0.5 + 0.15*warp + 0.1*weft + noise
				if colour {
					v += 0.05*float64(c)*warp + 0.01*rng.NormFloat64()
				}
				y[(c*h+i)*w+j] = float32(v)
			}
		}
	}
	return y
}

// defect paints an irregular dark blot and returns its mask.
func defect(y []float32, h, w, cy, cx int, seed uint64) []bool {
	rng := rand.New(rand.NewPCG(seed, 98))
	a, b := 8+3*rng.Float64(), 2.5+rng.Float64()
	turn := rng.Float64()
	mask := make([]bool, h*w)
	for i := range h {
		for j := range w {
			dy, dx := float64(i-cy), float64(j-cx)
			p, q := dy*math.Cos(turn)+dx*math.Sin(turn), dx*math.Cos(turn)-dy*math.Sin(turn)
			if p*p/(a*a)+q*q/(b*b) < 1+0.3*math.Sin(5*math.Atan2(q, p)) {
				mask[i*w+j] = true
				for c := range 3 {
					y[(c*h+i)*w+j] -= float32(0.2 + 0.1*rng.Float64())
				}
			}
		}
	}
	return mask
}

type floats = []float32

// variant is number k of x, of images that are given.
func variant(x Variants, k int, given map[int]floats, h, w int) []float32 {
	from, y := slices.Clone(given[x.Of[k]]), make([]float32, 3*h*w)
	if x.Changes != nil {
		x.Changes[k].Put(from)
	}
	for c := range 3 {
		pixel.Moved(y[c*h*w:][:h*w], from[c*h*w:][:h*w], h, w, x.DY, x.DX)
	}
	return y
}

// differ is a Scorer that knows what each image should look like: z is Gain times the mean square difference to it over
// the pixels within Reach of the cell, less 1.
type differ struct {
	Host
	normal        [][]float32    // [3,H,W] of each image
	given         map[int]floats // [3,H,W]: the image
	stride, reach int
	gain          float64
}

func (d *differ) Stride() int { return d.stride }

func (d *differ) cell(x, normal []float32, H, W, v int, dz float64, dx []float32) float64 {
	w := W / d.stride
	y0, x0 := v/w*d.stride, v%w*d.stride
	sum, n := 0.0, 0
	visit := func(f func(p int)) {
		for i := max(y0-d.reach, 0); i < min(y0+d.stride+d.reach, H); i++ {
			for j := max(x0-d.reach, 0); j < min(x0+d.stride+d.reach, W); j++ {
				for c := range 3 {
					f((c*H+i)*W + j)
				}
			}
		}
	}
	visit(func(p int) {
		e := float64(x[p] - normal[p])
		sum += e * e
		n++
	})
	if dz != 0 {
		visit(func(p int) { dx[p] += float32(dz * d.gain * 2 * float64(x[p]-normal[p]) / float64(n)) })
	}
	return d.gain*sum/float64(n) - 1
}

// own is the map [H,W] of a method with the scores z: smooth, and in units of its own.
func (d *differ) own(z []float32, H, W int) []float32 {
	v := make([]float32, H*W)
	pixel.Upsample(z, H/d.stride, W/d.stride, d.stride, v)
	g := pixel.NewGaussian(2)
	g.Blur(v, H, W, make([]float32, g.Scratch(H, W)))
	for p := range v {
		v[p] /= 2
	}
	return v
}

func (d *differ) scores(x, normal []float32, H, W int) []float32 {
	z := make([]float32, H*W/d.stride/d.stride)
	for v := range z {
		z[v] = float32(d.cell(x, normal, H, W, v, 0, nil))
	}
	return z
}

// input is image i with its scores and maps.
func (d *differ) input(y []float32, H, W, i int) Input {
	d.given[i] = y
	z := d.scores(y, d.normal[i], H, W)
	v := nd.Wrap(d.own(z, H, W), H, W)
	return Input{Y: wrap(y, H, W), Z: nd.Wrap(z, H/d.stride, W/d.stride), V: v, Base: v.Clone().(*tensor.Dense)}
}

// Map knows what an image should look like wherever it was moved to: there it looks most like that.
func (d *differ) Map(_ context.Context, x Variants, _ []bool, v *tensor.Dense) error {
	H, W := v.Shape()[1], v.Shape()[2]
	for k, i := range x.Of {
		xk := variant(x, k, d.given, H, W)
		var normal []float32
		least := math.Inf(1)
		for _, shift := range [][2]int{{0, 0}, {-2, -2}, {-2, 2}, {2, -2}, {2, 2}} {
			at, sum := make([]float32, len(xk)), 0.0
			for c := range 3 {
				pixel.Moved(at[c*H*W:(c+1)*H*W], d.normal[i][c*H*W:(c+1)*H*W], H, W, shift[0], shift[1])
			}
			for p, a := range at {
				sum += math.Pow(float64(xk[p]-a), 2)
			}
			if sum < least {
				normal, least = at, sum
			}
		}
		copy(nd.Data(v)[k*H*W:], d.own(d.scores(xk, normal, H, W), H, W))
	}
	return nil
}

func (d *differ) Gradient(
	_ context.Context, x *tensor.Dense, where []bool, e loop.Energy, energy []float64, dx *tensor.Dense,
) error {
	H, W := x.Shape()[2], x.Shape()[3]
	n, cells := 3*H*W, len(where)/len(energy)
	clear(nd.Data(dx))
	clear(energy)
	for v, on := range where {
		if on {
			i := v / cells
			xi, di := nd.Data(x)[i*n:(i+1)*n], nd.Data(dx)[i*n:(i+1)*n]
			z := d.cell(xi, d.normal[i], H, W, v%cells, 0, nil)
			energy[i] += e.Value(z)
			d.cell(xi, d.normal[i], H, W, v%cells, e.Slope(z), di)
		}
	}
	return nil
}

func (d *differ) Optimise(ctx context.Context, problems []loop.Problem, o *loop.Options) ([][]loop.Iteration, error) {
	return loop.Run(ctx, problems, o, d.Gradient)
}

// example is an image with a defect, in the company of its scorer.
type example struct {
	in     Input
	mask   []bool
	normal []float32
}

func newExample(h, w int, colour bool, seed uint64) example {
	normal := texture(h, w, colour, seed)
	y := slices.Clone(normal)
	mask := defect(y, h, w, h/2+int(seed%7), w/2-int(seed%5), seed)
	ex := example{mask: mask, normal: normal}
	ex.in = scorerOf(ex).input(y, h, w, 0)
	ex.in.Seed, ex.in.Diary = seed, true
	return ex
}

func scorerOf(ex ...example) *differ {
	d := &differ{given: map[int]floats{}, stride: 4, reach: 8, gain: 200}
	for i, e := range ex {
		d.normal = append(d.normal, e.normal)
		if e.in.Y != nil {
			d.given[i] = nd.Data(e.in.Y)
		}
	}
	return d
}

// averagePrecision of scores for a mask: the mean over its pixels of the precision at their scores.
func averagePrecision(scores []float32, mask []bool) float64 {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case scores[a] > scores[b]:
			return -1
		case scores[a] < scores[b]:
			return 1
		}
		return 0
	})
	hits, ap := 0, 0.0
	for k, p := range order {
		if mask[p] {
			hits++
			ap += float64(hits) / float64(k+1)
		}
	}
	return ap / float64(hits)
}

// newRefiner optimises whatever the fills explain.
func newRefiner(t *testing.T) *Refiner {
	o := DefaultOptions(4)
	o.Optimiser.ExplainedFrom, o.Optimiser.ExplainedTo = 0, 1
	r, err := New(o)
	require.NoError(t, err)
	return r
}

var all = []Kind{Base, Residual, F2PAD}

func wrap(y []float32, h, w int) *tensor.Dense { return nd.Wrap(y, 3, h, w) }

func run(t *testing.T, r *Refiner, kinds []Kind, ex ...example) []Output {
	t.Helper()
	in := make([]Input, len(ex))
	for i, e := range ex {
		in[i] = e.in
	}
	out, err := r.Run(context.Background(), scorerOf(ex...), in, kinds)
	require.NoError(t, err)
	require.Len(t, out, len(ex))
	for _, o := range out {
		require.Len(t, o.Maps, len(kinds))
		for _, k := range kinds {
			for p, v := range nd.Data(o.Maps[k]) {
				require.True(t, v-v == 0 && (k == Base || v >= 0), "%s[%d] is %g", k, p, v)
			}
		}
	}
	return out
}

func TestMapsOutlineADefect(t *testing.T) {
	r := newRefiner(t)
	for seed := range uint64(5) {
		ex := newExample(96, 104, seed%2 == 1, seed)
		out := run(t, r, all, ex)[0]
		require.True(t, out.Refined)
		ap := map[Kind]float64{}
		for _, k := range all {
			ap[k] = averagePrecision(nd.Data(out.Maps[k]), ex.mask)
		}
		t.Logf("seed %d: AP %v", seed, ap)
		require.Greater(t, ap[Residual], ap[Base]+0.05)
		require.Greater(t, ap[F2PAD], ap[Base]+0.05)

		it := out.Diary.Iterations
		require.Len(t, it, 3)
		first, last := it[0], it[len(it)-1]
		require.Less(t, last.Energy(), 0.8*first.Energy())
		require.Less(t, last.Data, first.Data)
		require.Less(t, last.Support, first.Support)
		require.Positive(t, last.Support)
		require.Less(t, last.Step, first.Step)
	}
}

func bits(o Output) []byte {
	var b []byte
	for _, k := range all {
		if m := o.Maps[k]; m != nil {
			for _, v := range nd.Data(m) {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
			}
		}
	}
	return b
}

// The same image, the same bytes: whatever it is scored with, in whatever order, on however many cores.
func TestResultsDependOnTheImageAlone(t *testing.T) {
	const h, w = 64, 72
	r := newRefiner(t)
	var memory []*Normal
	for k := range uint64(3) {
		m, err := Remember(wrap(texture(h, w, true, 50+k), h, w))
		require.NoError(t, err)
		memory = append(memory, m)
	}
	var ex []example
	for seed := range uint64(4) {
		e := newExample(h, w, seed%2 == 0, seed)
		e.in.Memory = memory
		ex = append(ex, e)
	}
	clear(nd.Data(ex[1].in.Z)) // nothing suspicious
	want := make([][]byte, len(ex))
	for i, e := range ex {
		out := run(t, r, all, e)[0]
		require.Equal(t, i != 1, out.Refined)
		require.Equal(t, i == 1, slices.Equal(ranked(r, nd.Data(e.in.V)), nd.Data(out.Maps[Residual])), "no evidence in image %d", i)
		want[i] = bits(out)
	}
	cores := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(cores)
	for _, n := range []int{1, 2, 5} {
		runtime.GOMAXPROCS(n)
		for _, order := range [][]int{{0, 1, 2, 3}, {3, 1, 0, 2}, {2, 2, 1}} {
			var batch []example
			for _, i := range order {
				batch = append(batch, ex[i])
			}
			for k, out := range run(t, r, all, batch...) {
				require.True(t, slices.Equal(want[order[k]], bits(out)), "image %d in %v on %d cores", order[k], order, n)
			}
		}
	}
	other := ex[0]
	other.in.Seed++
	require.False(t, slices.Equal(want[0], bits(run(t, r, all, other)[0])), "the seed does nothing")
}

// Kinds that are made together are those that are made alone.
func TestKindsShareTheirSteps(t *testing.T) {
	r := newRefiner(t)
	ex := newExample(96, 104, false, 3)
	together := run(t, r, all, ex)[0]
	for _, k := range all {
		alone := run(t, r, []Kind{k}, ex)[0]
		require.Equal(t, nd.Data(together.Maps[k]), nd.Data(alone.Maps[k]), "%s", k)
		require.Equal(t, k == F2PAD, alone.Diary != nil && len(alone.Diary.Iterations) > 0)
	}
	require.Same(t, ex.in.Base, together.Maps[Base])
}

func TestInputsAreNotChanged(t *testing.T) {
	ex := newExample(64, 64, true, 1)
	var before []*tensor.Dense
	given := []*tensor.Dense{ex.in.Y, ex.in.Z, ex.in.V, ex.in.Base}
	for _, x := range given {
		before = append(before, x.Clone().(*tensor.Dense))
	}
	run(t, newRefiner(t), all, ex)
	for i, x := range given {
		require.Equal(t, nd.Data(before[i]), nd.Data(x))
	}
}

// Where nothing is suspicious the map is g(v); away from what is, too, of the v that the map is made of.
func TestMapWithoutSuspicion(t *testing.T) {
	const h, w = 96, 104
	r := newRefiner(t)
	ex := newExample(h, w, false, 2)
	clear(nd.Data(ex.in.Z))
	nd.Data(ex.in.Z)[5], nd.Data(ex.in.Z)[100] = 0.9, -3
	want := ranked(r, nd.Data(ex.in.V))
	out := run(t, r, all, ex)[0]
	require.False(t, out.Refined)
	require.Zero(t, out.Pixels)
	require.Empty(t, out.Diary.Iterations)
	require.Equal(t, want, nd.Data(out.Maps[Residual]))
	require.Equal(t, want, nd.Data(out.Maps[F2PAD]))

	ex = newExample(h, w, false, 2)
	out = run(t, r, all, ex)[0]
	require.True(t, out.Refined)
	s := prepared(t, r, ex.in)
	pixels := 0
	for _, in := range s.omega {
		if in {
			pixels++
		}
	}
	require.Equal(t, pixels, out.Pixels)
	require.Less(t, pixels, h*w)
	require.NoError(t, r.look(t.Context(), scorerOf(ex), []*scene{s}))
	for k, v := range map[Kind][]float32{Residual: s.v, F2PAD: s.looked} {
		differs := false
		for p, g := range ranked(r, v) {
			if !s.omega[p] {
				require.Equal(t, g, nd.Data(out.Maps[k])[p], "%s[%d]", k, p)
			}
			differs = differs || g != nd.Data(out.Maps[k])[p]
		}
		require.True(t, differs, "%s is g(v) everywhere", k)
	}
}

// ranked is g(v).
func ranked(r *Refiner, v []float32) []float32 {
	rank, out := r.opts.Map.ranking(), make([]float32, len(v))
	for p, v := range v {
		out[p] = float32(rank.of(float64(v)))
	}
	return out
}

func TestDegenerateImages(t *testing.T) {
	const h, w = 48, 40
	hot := func(z float32) *tensor.Dense {
		v := make([]float32, h*w/16)
		for i := range v {
			v[i] = z
		}
		return nd.Wrap(v, h/4, w/4)
	}
	small := nd.New(h/4, w/4)
	nd.Data(small)[45] = 1e6
	memory, err := Remember(wrap(texture(h, w, false, 9), h, w))
	require.NoError(t, err)
	other, err := Remember(wrap(texture(8, 8, false, 9), 8, 8))
	require.NoError(t, err)
	normal := texture(h, w, false, 4)
	for _, c := range []struct {
		name   string
		y      []float32
		z      *tensor.Dense
		memory []*Normal
	}{
		{"everything suspicious, nothing to compare with", slices.Clone(normal), hot(5), nil},
		{"everything suspicious, a memory", slices.Clone(normal), hot(5), []*Normal{memory, other}},
		{"huge scores", slices.Clone(normal), hot(1e30), []*Normal{memory}},
		{"constant image", make([]float32, 3*h*w), small, nil},
		{"constant image, all of it", make([]float32, 3*h*w), hot(2), nil},
		{"one glaring cell", slices.Clone(normal), small, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ex := example{normal: normal}
			v := nd.Wrap(scorerOf(ex).own(nd.Data(c.z), h, w), h, w)
			ex.in = Input{Y: wrap(c.y, h, w), Z: c.z, V: v, Base: nd.New(h, w), Memory: c.memory, Diary: true}
			r := newRefiner(t)
			out := run(t, r, all, ex)[0]
			require.True(t, out.Refined)
			if c.memory == nil && c.z != small {
				require.Empty(t, out.Diary.Iterations, "there is nothing to start from")
				require.Equal(t, ranked(r, nd.Data(v)), nd.Data(out.Maps[Residual]), "evidence from nothing")
			} else {
				require.Len(t, out.Diary.Iterations, 3)
			}
		})
	}
}

// Two regions that blurs reach across share a window; far ones do not. Either way the step is that of the whole image,
// which pixel's tests show; here: windows hold their regions and are wide enough.
func TestIslands(t *testing.T) {
	const h, w, reach = 80, 90, 6
	omega := disc(h, w, 12, 12, 4)
	for p, on := range disc(h, w, 12, 26, 4) { // 14 - 8 = 6 px away
		omega[p] = omega[p] || on
	}
	for p, on := range disc(h, w, 60, 70, 5) {
		omega[p] = omega[p] || on
	}
	s := &scene{h: h, w: w, omega: omega}
	s.find()
	regions := s.pixels()
	require.Len(t, regions, 3)
	s.split(reach)
	require.Len(t, s.islands, 2)
	require.Equal(t, []int{0, 1}, s.islands[0].regions)
	require.Equal(t, []int{2}, s.islands[1].regions)
	seen := 0
	for _, is := range s.islands {
		b := is.state.Box
		for k, p := range is.state.Pixels {
			y, x := b.Y0+int(p)/b.W(), b.X0+int(p)%b.W()
			require.True(t, omega[y*w+x])
			require.True(t, k == 0 || is.state.Pixels[k-1] < p)
			require.True(t, b.Y0 == 0 || y-b.Y0 >= reach)
			require.True(t, b.X0 == 0 || x-b.X0 >= reach)
			require.True(t, b.Y1 == h || b.Y1-1-y >= reach)
			require.True(t, b.X1 == w || b.X1-1-x >= reach)
			seen++
		}
	}
	require.Equal(t, len(regions[0])+len(regions[1])+len(regions[2]), seen)
}

func TestWindowsHaveRoomForEveryBlur(t *testing.T) {
	require.Equal(t, 12, newRefiner(t).reach)
	for _, widen := range []func(*Options){
		func(o *Options) { o.Residual.SmoothPx = 5 }, func(o *Options) { o.Residual.SpreadPx = 5 },
		func(o *Options) { o.Optimiser.StartPx = 5 }, func(o *Options) { o.Optimiser.SharePx = 5 },
		func(o *Options) { o.Optimiser.NormPx = 5 }, func(o *Options) { o.Optimiser.SmoothPx = 5 },
	} {
		o := DefaultOptions(4)
		widen(&o)
		r, err := New(o)
		require.NoError(t, err)
		require.Equal(t, 20, r.reach)
	}
}

// counted is a Scorer that counts what it is asked for and takes its time over maps.
type counted struct {
	*differ
	maps, gradients int
	where           []bool // of the last gradient
	sleep           time.Duration
}

func (c *counted) Map(ctx context.Context, x Variants, where []bool, v *tensor.Dense) error {
	c.maps++
	time.Sleep(c.sleep)
	return c.differ.Map(ctx, x, where, v)
}

func (c *counted) Gradient(
	ctx context.Context, x *tensor.Dense, where []bool, e loop.Energy, energy []float64, dx *tensor.Dense,
) error {
	c.gradients++
	c.where = slices.Clone(where)
	return c.differ.Gradient(ctx, x, where, e, energy, dx)
}

func (c *counted) Optimise(ctx context.Context, problems []loop.Problem, o *loop.Options) ([][]loop.Iteration, error) {
	return loop.Run(ctx, problems, o, c.Gradient)
}

// The control never asks the network again, and what several kinds need is asked for once.
func TestKindsAskForWhatTheyNeed(t *testing.T) {
	ex := newExample(64, 64, false, 1)
	clean := newExample(64, 64, false, 2)
	clear(nd.Data(clean.in.Z))
	for _, c := range []struct {
		kinds           []Kind
		of              example
		maps, gradients int
	}{
		{[]Kind{Base}, ex, 0, 0}, {[]Kind{Base, Residual}, ex, 0, 0}, {[]Kind{F2PAD}, ex, 5, 3}, {all, ex, 5, 3}, {all, clean, 0, 0},
	} {
		sc := &counted{differ: scorerOf(c.of)}
		_, err := newRefiner(t).Run(t.Context(), sc, []Input{c.of.in}, c.kinds)
		require.NoError(t, err)
		require.Equal(t, []int{c.maps, c.gradients}, []int{sc.maps, sc.gradients}, "%v", c.kinds)
	}
}

// The data term is asked for at the cells within 2 cells, 8 px, of the region.
func TestGradientIsOfTheCellsNearTheRegion(t *testing.T) {
	const h, w = 96, 104
	ex := newExample(h, w, false, 1)
	r, sc := newRefiner(t), &counted{differ: scorerOf(ex)}
	_, err := r.Run(t.Context(), sc, []Input{ex.in}, []Kind{F2PAD})
	require.NoError(t, err)
	s := prepared(t, r, ex.in)
	want := make([]bool, h*w/16)
	for p := range s.omega {
		if slowDistance(s.omega, w, p) <= 8*8 {
			want[p/w/4*(w/4)+p%w/4] = true
		}
	}
	require.Equal(t, want, sc.where)
}

// An image is charged with the steps that were taken for it. Time is the bubble's: only the scorer takes any.
func TestSeconds(t *testing.T) {
	synctest.Test(t, testSeconds)
}

func testSeconds(t *testing.T) {
	ex, clean := newExample(64, 64, false, 1), newExample(64, 64, false, 2)
	clear(nd.Data(clean.in.Z))
	clean.in.Diary = false
	sc := &counted{differ: scorerOf(ex, clean), sleep: 100 * time.Millisecond}
	out, err := newRefiner(t).Run(t.Context(), sc, []Input{ex.in, clean.in}, all)
	require.NoError(t, err)
	require.NotNil(t, out[0].Diary)
	require.Nil(t, out[1].Diary)
	require.Equal(t, map[Kind]float64{Residual: 0, F2PAD: 0.5}, out[0].Seconds, "a fill and four looks")
	require.Equal(t, map[Kind]float64{Residual: 0, F2PAD: 0}, out[1].Seconds)
	out, err = newRefiner(t).Run(t.Context(), sc, []Input{ex.in, clean.in}, []Kind{Base})
	require.NoError(t, err)
	require.Empty(t, out[0].Seconds)
	require.False(t, out[0].Refined)
}

func TestRunRefuses(t *testing.T) {
	good := func() example { return newExample(48, 40, false, 1) }
	nan := func(x *tensor.Dense) *tensor.Dense {
		c := x.Clone().(*tensor.Dense)
		nd.Data(c)[7] = float32(math.NaN())
		return c
	}
	for want, change := range map[string]func(*Input){
		"y[7] is NaN":                        func(in *Input) { in.Y = nan(in.Y) },
		"z[7] is NaN":                        func(in *Input) { in.Z = nan(in.Z) },
		"z[0] is +Inf":                       func(in *Input) { nd.Data(in.Z)[0] = float32(math.Inf(1)) },
		"z[1] is -2e+30":                     func(in *Input) { nd.Data(in.Z)[1] = -2e30 },
		"y[0] is -17":                        func(in *Input) { in.Y = in.Y.Clone().(*tensor.Dense); nd.Data(in.Y)[0] = -17 },
		"v[7] is NaN":                        func(in *Input) { in.V = nan(in.V) },
		"v[2] is +Inf":                       func(in *Input) { nd.Data(in.V)[2] = float32(math.Inf(1)) },
		"v is nil":                           func(in *Input) { in.V = nil },
		"v has shape (12, 10), want [48 40":  func(in *Input) { in.V = in.Z },
		"y is nil":                           func(in *Input) { in.Y = nil },
		"z is nil":                           func(in *Input) { in.Z = nil },
		"base is nil":                        func(in *Input) { in.Base = nil },
		"z has shape (3, 3), want [12 10]":   func(in *Input) { in.Z = nd.New(3, 3) },
		"base has shape (4, 4), want [48 40": func(in *Input) { in.Base = nd.New(4, 4) },
		"memory[1] is nil":                   func(in *Input) { in.Memory = []*Normal{{1, 1, 1, []uint8{1}}, nil} },
	} {
		ex := []example{good(), good()}
		for i := range ex {
			both := slices.Clone(ex)
			change(&both[i].in)
			_, err := newRefiner(t).Run(context.Background(), scorerOf(both...), []Input{both[0].in, both[1].in}, all)
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, []string{"image 0", "image 1"}[i])
			ex = []example{good(), good()}
		}
	}
	ex, bigger := good(), newExample(48, 44, false, 1)
	r, ctx := newRefiner(t), context.Background()
	_, err := r.Run(ctx, scorerOf(ex), []Input{ex.in, bigger.in}, all)
	require.ErrorContains(t, err, "image 1: y has shape (3, 48, 44), want [3 48 40]")
	_, err = r.Run(ctx, scorerOf(ex), []Input{{Y: nd.New(3, 42, 40)}}, all)
	require.ErrorContains(t, err, "42 x 40 pixels, want multiples of the stride 4")
	without := ex.in
	without.V = nil
	out, err := r.Run(ctx, scorerOf(ex), []Input{without}, []Kind{Base})
	require.NoError(t, err, "the base map needs no v")
	require.Same(t, ex.in.Base, out[0].Maps[Base])
	_, err = r.Run(ctx, nil, []Input{ex.in}, all)
	require.ErrorContains(t, err, "no scorer")
	_, err = r.Run(ctx, &differ{stride: 8}, []Input{ex.in}, all)
	require.ErrorContains(t, err, "options for stride 4, the scorer has 8")
	_, err = r.Run(ctx, scorerOf(ex), []Input{ex.in}, []Kind{"best"})
	require.ErrorContains(t, err, `"best"`)
	out, err = r.Run(ctx, scorerOf(), nil, all)
	require.NoError(t, err)
	require.Empty(t, out)
}

// faulty is a Scorer that breaks down, or ends the run, in one of its gradients.
type faulty struct {
	*differ
	after int
	fault func(energy []float64, dx *tensor.Dense) error
}

func (f *faulty) Gradient(
	ctx context.Context, x *tensor.Dense, where []bool, e loop.Energy, energy []float64, dx *tensor.Dense,
) error {
	if err := f.differ.Gradient(ctx, x, where, e, energy, dx); err != nil {
		return err
	}
	if f.after--; f.after < 0 {
		return f.fault(energy, dx)
	}
	return nil
}

func (f *faulty) Optimise(ctx context.Context, problems []loop.Problem, o *loop.Options) ([][]loop.Iteration, error) {
	return loop.Run(ctx, problems, o, f.Gradient)
}

func TestFaultsEndTheRun(t *testing.T) {
	ex := newExample(64, 64, false, 1)
	boom := errors.New("boom")
	ctx, cancel := context.WithCancel(context.Background())
	for _, c := range []struct {
		ctx   context.Context
		fault func(energy []float64, dx *tensor.Dense) error
		check func(error)
	}{
		{context.Background(), func([]float64, *tensor.Dense) error { return boom }, func(err error) { require.ErrorIs(t, err, boom) }},
		{context.Background(), func(energy []float64, _ *tensor.Dense) error { energy[0] = math.NaN(); return nil },
			func(err error) { require.ErrorContains(t, err, "image 0: the scorer's energy (NaN)") }},
		{context.Background(), func(_ []float64, dx *tensor.Dense) error {
			nd.Data(dx)[32*64+32] = float32(math.NaN())
			return nil
		}, func(err error) { require.ErrorContains(t, err, "not finite in iteration 2") }},
		{context.Background(), func(_ []float64, dx *tensor.Dense) error {
			nd.Data(dx)[32*64+32] = float32(math.Inf(1))
			return nil
		}, func(err error) { require.ErrorContains(t, err, "not finite in iteration 2") }},
		{ctx, func([]float64, *tensor.Dense) error { cancel(); return nil },
			func(err error) { require.ErrorIs(t, err, context.Canceled) }},
	} {
		_, err := newRefiner(t).Run(c.ctx, &faulty{scorerOf(ex), 1, c.fault}, []Input{ex.in}, all)
		require.Error(t, err)
		c.check(err)
	}
	_, err := newRefiner(t).Run(ctx, scorerOf(ex), []Input{ex.in}, []Kind{Residual})
	require.ErrorIs(t, err, context.Canceled)
}

// badFills are sources of fills that break their contract.
type badFills struct{ fills func(s *Scene) [][][]float32 }

func (b badFills) Fill(_ Filler, scenes []*Scene, _ int) ([][][][]float32, error) {
	return eachScene(scenes, b.fills), nil
}

func TestPartsCanBeReplaced(t *testing.T) {
	ex := newExample(96, 104, false, 1)
	r := newRefiner(t)
	want := bits(run(t, r, []Kind{F2PAD}, ex)[0])
	for name, change := range map[string]func(*Refiner){
		"energy":  func(r *Refiner) { r.Energy = loop.Hinge{Weight: 4} },
		"penalty": func(r *Refiner) { r.Penalty = pixel.NewGroupLog(0.5) },
		"fills": func(r *Refiner) {
			r.Fills = badFills{func(s *Scene) [][][]float32 {
				return [][][]float32{{make([]float32, 3*len(s.Regions[0]))}}
			}}
		},
	} {
		r := newRefiner(t)
		change(r)
		require.False(t, slices.Equal(want, bits(run(t, r, []Kind{F2PAD}, ex)[0])), "%s does nothing", name)
	}
	for _, op := range []string{"smooth", "costs", "offsets", "spreads", "compare"} {
		r.Pixels = failing{op: op}
		_, err := r.Run(context.Background(), searched{scorerOf(ex), failing{op: op}.Costs}, []Input{ex.in}, all)
		require.ErrorIs(t, err, errBoom, op)
	}
	r.Pixels = Host{}
	for _, fills := range [][][][]float32{nil, {{{1, 2}}}} {
		r.Fills = badFills{func(*Scene) [][][]float32 { return fills }}
		_, err := r.Run(context.Background(), scorerOf(ex), []Input{ex.in}, []Kind{Residual})
		require.ErrorContains(t, err, "fill")
	}
}

// searched is a Scorer that compares candidates in another way.
type searched struct {
	Scorer
	costs func(s []Search) error
}

func (s searched) Costs(all []Search) error { return s.costs(all) }

var errBoom = errors.New("boom")

// failing fails in one operation.
type failing struct {
	Host
	op string
}

func (f failing) fail(op string) error {
	if f.op == op {
		return errBoom
	}
	return nil
}

func (f failing) Smooth(z []float32, n, h, w, s int, g pixel.Gaussian, u []float32) error {
	return errors.Join(f.fail("smooth"), f.Host.Smooth(z, n, h, w, s, g, u))
}

func (f failing) Costs(s []Search) error   { return errors.Join(f.fail("costs"), f.Host.Costs(s)) }
func (f failing) Offsets(o []Offset) error { return errors.Join(f.fail("offsets"), f.Host.Offsets(o)) }
func (f failing) Spreads(s []Spread) error { return errors.Join(f.fail("spreads"), f.Host.Spreads(s)) }

func (f failing) Compare(c []Comparison, smooth, start pixel.Gaussian) error {
	return errors.Join(f.fail("compare"), f.Host.Compare(c, smooth, start))
}

// calls counts what is asked of Pixels, and of a Scorer that compares candidates.
type calls struct {
	Host
	mu    sync.Mutex
	count map[string]int
	sizes map[string]int // of the last
}

func (c *calls) called(op string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[op]++
	c.sizes[op] = n
}

func (c *calls) Smooth(z []float32, n, h, w, s int, g pixel.Gaussian, u []float32) error {
	c.called("smooth", n)
	return c.Host.Smooth(z, n, h, w, s, g, u)
}

func (c *calls) Costs(s []Search) error {
	c.called("costs", len(s))
	return c.Host.Costs(s)
}

func (c *calls) Offsets(o []Offset) error {
	c.called("offsets", len(o))
	return c.Host.Offsets(o)
}

func (c *calls) Spreads(s []Spread) error {
	c.called("spreads", len(s))
	return c.Host.Spreads(s)
}

func (c *calls) Compare(k []Comparison, smooth, start pixel.Gaussian) error {
	c.called("compare", len(k))
	return c.Host.Compare(k, smooth, start)
}

// However many images and regions there are, each step is one call.
func TestStepsAreCallsForABatch(t *testing.T) {
	var all []example
	for i := range uint64(3) {
		const h, w = 96, 232
		ex := newExample(h, w, i == 1, 1+i)
		defect(nd.Data(ex.in.Y), h, w, 48, 30, 9+i)
		ex.in = scorerOf(ex).input(nd.Data(ex.in.Y), h, w, 0)
		all = append(all, ex)
	}
	clean := newExample(96, 232, false, 7) // before them all
	clear(nd.Data(clean.in.Z))
	all = append([]example{clean}, all...)
	in := make([]Input, len(all))
	for i, e := range all {
		in[i] = e.in
	}
	r := newRefiner(t)
	c := &calls{count: map[string]int{}, sizes: map[string]int{}}
	r.Pixels = c
	_, err := r.Run(t.Context(), searched{scorerOf(all...), func(s []Search) error {
		for k := range s {
			require.Equal(t, 1+k, s[k].Image)
			require.Equal(t, nd.Data(in[1+k].Y)[:len(s[k].Y)], s[k].Y)
		}
		return c.Costs(s)
	}}, in, []Kind{Residual, F2PAD})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"smooth": 1, "costs": 1, "offsets": 1, "spreads": 1, "compare": 1}, c.count)
	require.Equal(t, 4, c.sizes["smooth"])
	require.Equal(t, 3, c.sizes["costs"])
	require.Equal(t, 6, c.sizes["compare"], "islands")
}

func BenchmarkRun(b *testing.B) {
	const h, w = 256, 256
	y := texture(h, w, true, 1)
	normal := slices.Clone(y)
	defect(y, h, w, 100, 130, 1)
	z := nd.New(h/4, w/4)
	for i := range 7 {
		for j := range 7 {
			nd.Data(z)[(22+i)*w/4+29+j] = 3
		}
	}
	sc := &timed{differ: &differ{normal: [][]float32{normal}, given: map[int]floats{0: y}, stride: 4, reach: 4, gain: 50}}
	in := Input{Y: wrap(y, h, w), Z: z, V: nd.Wrap(sc.own(nd.Data(z), h, w), h, w), Seed: 1}
	for k := range uint64(24) {
		m, err := Remember(wrap(texture(h, w, true, 10+k), h, w))
		require.NoError(b, err)
		in.Memory = append(in.Memory, m)
	}
	r, err := New(DefaultOptions(4))
	require.NoError(b, err)
	for _, k := range []Kind{Residual, F2PAD} {
		b.Run(string(k), func(b *testing.B) {
			sc.spent = 0
			for b.Loop() {
				_, err := r.Run(context.Background(), sc, []Input{in}, []Kind{k})
				require.NoError(b, err)
			}
			b.ReportMetric((b.Elapsed()-sc.spent).Seconds()*1e3/float64(b.N), "ms-without-scorer/op")
		})
	}
}

// timed is a Scorer that knows how long it took.
type timed struct {
	*differ
	spent time.Duration
}

func (s *timed) Gradient(
	ctx context.Context, x *tensor.Dense, where []bool, e loop.Energy, energy []float64, dx *tensor.Dense,
) error {
	start := time.Now()
	defer func() { s.spent += time.Since(start) }()
	return s.differ.Gradient(ctx, x, where, e, energy, dx)
}

func (s *timed) Optimise(ctx context.Context, problems []loop.Problem, o *loop.Options) ([][]loop.Iteration, error) {
	return loop.Run(ctx, problems, o, s.Gradient)
}

func (s *timed) Map(ctx context.Context, x Variants, where []bool, v *tensor.Dense) error {
	start := time.Now()
	defer func() { s.spent += time.Since(start) }()
	return s.differ.Map(ctx, x, where, v)
}
