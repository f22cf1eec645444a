package placetest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/backbone/backbonetest"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/cflow"
	"f2pad.example/engine/method/padim"
	"f2pad.example/engine/method/patchcore"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// Test runs the suite on a place: it computes what the host does. seed chooses the random data. With -short, and where few says so,
// it looks with one method.
func Test(t *testing.T, p place.Place, seed uint64, few bool) {
	s := &suite{p: p, seed: seed, few: few || testing.Short()}
	t.Run("Detector", s.detectors)
	t.Run("Smooth", s.smooth)
	t.Run("Costs", s.costs)
	t.Run("Offsets", s.offsets)
	t.Run("Spreads", s.spreads)
	t.Run("Compare", s.compare)
	t.Run("KCentre", s.kCentre)
	t.Run("Concurrent", s.concurrent)
	t.Run("Cancelled", s.cancelled)
}

type suite struct {
	p    place.Place
	seed uint64
	few  bool // methods
}

func (s *suite) rng(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, stream)) }

func normal(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

func nans(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(math.NaN())
	}
	return v
}

// blurred is for sums of up to some thousand weights that add up to 1, in float32.
var blurred = compare.Tolerance{Abs: 5e-6, Rel: 5e-6}

// side is that of the suite's images, in pixels.
const side = 64

// kind is one way to look at images: with a method, and with windows that hold all that scores depend on, or that are cut.
type kind struct {
	name string
	spec sight.Spec
}

// kinds fits a small model of each method on the features of a small network.
func (s *suite) kinds(t *testing.T) (all []kind) {
	net, err := backbone.OpenONNX(backbonetest.Write(t, "net.onnx", backbonetest.Residual(t, side, side, 1)), backbonetest.Layers, backbone.ImageNet)
	require.NoError(t, err)
	features := func(ctx context.Context, visit func([]*tensor.Dense) error) error {
		n := sight.NewNetwork(net, goexec.New(), sight.NewWindows(net, 1<<20, 0))
		defer n.Close()
		for i := range 12 {
			x, norms := s.images(net, uint64(100+i))
			f, err := n.Features(ctx, x, norms)
			if err == nil {
				err = visit(f)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	padimOptions, err := padim.ProfileOptions("anomalib")
	require.NoError(t, err)
	padimOptions.Keep, padimOptions.Ridge = 20, 0.1
	gaussians, err := padim.Fit(t.Context(), features, padimOptions)
	require.NoError(t, err)
	bankOptions, err := patchcore.ProfileOptions("f2pad")
	require.NoError(t, err)
	bankOptions.MaxBank = 60
	bank, err := patchcore.Fit(t.Context(), features, bankOptions)
	require.NoError(t, err)
	bankOptions, err = patchcore.ProfileOptions("paper")
	require.NoError(t, err)
	bankOptions.MaxBank, bankOptions.EmbedDim = 60, 32
	unfolded, err := patchcore.Fit(t.Context(), features, bankOptions)
	require.NoError(t, err)
	flowOptions, err := cflow.ProfileOptions("compact")
	require.NoError(t, err)
	flowOptions.Blocks, flowOptions.Condition, flowOptions.Batch, flowOptions.MaxSteps = 3, 8, 64, 30
	flow, err := cflow.Fit(t.Context(), flowOptions, method.Fitting{Features: features})
	require.NoError(t, err)
	for _, m := range []struct {
		name string
		method.Method
	}{{"padim", gaussians}, {"patchcore", bank}, {"patchcore, unfolded", unfolded}, {"cflow", flow}} {
		for _, c := range []struct {
			name    string
			context int
		}{{"whole", 4 * side}, {"cut", 8}} {
			all = append(all, kind{m.name + ", " + c.name, sight.Spec{Backbone: net, Method: m.Method, MaxPixels: 1 << 20, Context: c.context}})
		}
	}
	return all
}

// images are of smooth noise, one for each seed, and their normalisation.
func (s *suite) images(net backbone.Backbone, seeds ...uint64) (*tensor.Dense, []backbone.Affine) {
	x := nd.New(len(seeds), 3, side, side)
	var norms []backbone.Affine
	for i, seed := range seeds {
		y := nd.Data(x)[i*3*side*side:][:3*side*side]
		rng := s.rng(seed)
		g := pixel.NewGaussian(2)
		for c := range 3 {
			plane := y[c*side*side:][:side*side]
			for p := range plane {
				plane[p] = float32(rng.NormFloat64())
			}
			g.Blur(plane, side, side, make([]float32, g.Scratch(side, side)))
			for p := range plane {
				plane[p] = 0.5 + plane[p]
			}
		}
		norms = append(norms, net.Normalize(nd.Wrap(y, 3, side, side)))
		norms[i].Shift[1] += float32(seed%5) / 8 // each has its own
	}
	return x, norms
}

// answers is what a Detector says of a batch.
type answers struct {
	s, image, maps []float32
	varied         [][]float32 // scores of variants: changed, moved, both
	told           [][]loop.Iteration
	problems       []loop.Problem
}

// scale brings the scores of random images to where the energy has a slope.
var scale = sight.Scale{Q50: 0, Q995: 2}

// ask asks a Detector everything of the images.
func (s *suite) ask(t *testing.T, d sight.Detector, k kind, seeds ...uint64) answers {
	t.Helper()
	stride := k.spec.Backbone.Stride()
	n, h := len(seeds), side/stride
	x, norms := s.images(k.spec.Backbone, seeds...)
	r := &method.Result{S: nd.Wrap(nans(n*h*h), n, h, h), Image: nans(n)}
	b, err := d.Begin(t.Context(), x, norms, r)
	require.NoError(t, err)
	defer b.Close()
	got := answers{s: nd.Data(r.S), image: r.Image, maps: nans(n * side * side)}
	require.NoError(t, d.Maps(got.s, n, h, h, side, side, nil, got.maps))
	s.wanted(t, d, got.s, n, h, got.maps)

	// Some cells of variants, in another order.
	r = &method.Result{S: nd.New(n, h, h), Where: make([]bool, n*h*h)}
	for v := range r.Where {
		r.Where[v] = v%(h*h)%7 < 3
	}
	of, changes := make([]int, n), make([]refine.Change, n)
	for k := range of {
		of[k] = n - 1 - k
		changes[k] = s.change(seeds[of[k]])
	}
	for _, x := range []refine.Variants{
		{Of: of, Changes: changes}, {Of: of, DY: -3, DX: 5}, {Of: of, Changes: changes, DY: 1, DX: -2},
	} {
		var some []float32
		require.NoError(t, b.Score(t.Context(), x, r))
		for i := range of { // which is variant of[i]
			for v, on := range r.Where[:h*h] {
				if on {
					some = append(some, nd.Data(r.S)[of[i]*h*h+v])
				}
			}
		}
		got.varied = append(got.varied, some)
	}

	o := &loop.Options{Iterations: 3, Energy: loop.Hinge{Weight: 16, Margin: 1}, Step: &pixel.StepOptions{
		Share: pixel.NewGaussian(1.5), Norm: pixel.NewGaussian(1), Momentum: 0.8, Decay: 0.95, Rate: 0.1, Lambda: 3,
		Penalty: pixel.NewGroupLog(0.1), From: 2,
	}}
	for i, seed := range seeds {
		got.problems = append(got.problems, s.problem(nd.Data(x)[i*3*side*side:][:3*side*side], h, seed, o.Step))
	}
	got.told, err = b.Optimise(t.Context(), got.problems, scale, o)
	require.NoError(t, err)
	return got
}

// change is other values in an image, by its seed: in two places, or nowhere.
func (s *suite) change(seed uint64) (c refine.Change) {
	rng := s.rng(2000 + seed)
	for p := range side * side {
		if y, x := p/side, p%side; seed%3 < 2 && (y > 20 && y < 33 && x > 17 && x < 40 && p%5 > 0 || y < 3 && x > side-5) {
			c.Pixels = append(c.Pixels, int32(p))
		}
	}
	for range 3 * len(c.Pixels) {
		c.Values = append(c.Values, rng.Float32())
	}
	return c
}

// wanted asks for some pixels of the maps of the scores s [n,h,h]: they are those of whole maps, and the others stay.
func (s *suite) wanted(t *testing.T, d sight.Detector, scores []float32, n, h int, whole []float32) {
	t.Helper()
	wanted, want := make([]bool, n*side*side), slices.Repeat([]float32{-7}, n*side*side)
	for p := range wanted {
		y, x := p/side%side, p%side
		if p/side/side > 0 || n == 1 { // of the first one none, if there are others
			wanted[p] = y > 20 && y < 33 && x > 17 && x < 40 || (x == 0 || x == side-1) && y > 40 || y == side-1 && x%3 == 0
		}
		if wanted[p] {
			want[p] = whole[p]
		}
	}
	some := slices.Repeat([]float32{-7}, n*side*side)
	require.NoError(t, d.Maps(scores, n, h, h, side, side, wanted, some))
	require.Equal(t, want, some)
	clear(wanted)
	none := slices.Clone(some)
	require.NoError(t, d.Maps(scores, n, h, h, side, side, wanted, none))
	require.Equal(t, some, none)
}

// problem has regions by its seed: two, a corner, or none.
func (s *suite) problem(y []float32, h int, seed uint64, o *pixel.StepOptions) loop.Problem {
	p := loop.Problem{Y: y, H: side, W: side, Cells: make([]bool, h*h)}
	rng := s.rng(1000 + seed)
	regions := [][]pixel.Box{
		{{Y0: 6, X0: 8, Y1: 14, X1: 20}, {Y0: side - 9, X0: side - 12, Y1: side - 3, X1: side - 2}}, {{Y0: 0, X0: 0, Y1: 7, X1: 9}}, nil,
	}[seed%3]
	for _, region := range regions {
		p.States = append(p.States, state(rng, region, side, side, o))
		for v := range p.Cells {
			y, x := (v/h*2+1)*side/h/2, (v%h*2+1)*side/h/2
			p.Cells[v] = p.Cells[v] || y >= region.Y0-4 && y < region.Y1+4 && x >= region.X0-4 && x < region.X1+4
		}
	}
	return p
}

// state is where a region's optimisation begins.
func state(rng *rand.Rand, region pixel.Box, h, w int, o *pixel.StepOptions) *pixel.State {
	box := region.Grow(max(o.Share.Radius(), o.Norm.Radius()), h, w)
	var pixels []int32
	for y := region.Y0; y < region.Y1; y++ {
		for x := region.X0; x < region.X1; x++ {
			if (y+2*x)%7 != 0 {
				pixels = append(pixels, int32((y-box.Y0)*box.W()+x-box.X0))
			}
		}
	}
	st := pixel.NewState(box, pixels, o)
	st.C = nans(len(st.C)) // off the region nothing may be seen of it
	for _, p := range pixels {
		st.C[p] = 0.2 + rng.Float32()/4
		for c := range 3 {
			st.A[c*box.H()*box.W()+int(p)] = float32(0.7 * rng.NormFloat64())
		}
	}
	return st
}

// What places with float32 sums in another order may differ by: scores, whose method may take differences of larger numbers, and
// what three steps make of their gradients. A step has a proximal decision, and a nearest neighbour's gradient a kink, that
// rounding can turn where it is close: of so many pixels.
var (
	scores     = compare.Tolerance{Abs: 2e-3, Rel: 2e-3}
	steps      = compare.Tolerance{Abs: 2e-3, Rel: 2e-3}
	mostTurned = 0.02
)

func (s *suite) detectors(t *testing.T) {
	all := s.kinds(t)
	if s.few {
		t.Log("SKIPPED: all methods but PaDiM")
		all = all[:2]
	}
	for _, k := range all {
		t.Run(k.name, func(t *testing.T) {
			host, err := place.NewHost(nil).Detector(k.spec)
			require.NoError(t, err)
			defer host.Close()
			d, err := s.p.Detector(k.spec)
			require.NoError(t, err)
			defer func() { require.NoError(t, d.Close()) }()
			seeds := []uint64{3, 4, 5}
			want, got := s.ask(t, host, k, seeds...), s.ask(t, d, k, seeds...)
			compare.Require(t, "scores", got.s, want.s, scores)
			for i, w := range want.image {
				if math.IsNaN(float64(w)) {
					require.True(t, math.IsNaN(float64(got.image[i])), "the method has no image score of its own")
				} else {
					compare.Require(t, "image score", got.image[i:i+1], want.image[i:i+1], scores)
				}
			}
			for i, what := range []string{"changed", "moved", "changed and moved"} {
				compare.Require(t, "scores of images that are "+what, got.varied[i], want.varied[i], scores)
				require.NotEqual(t, got.varied[i], got.varied[(i+1)%3])
			}
			compare.Require(t, "own maps", got.maps, want.maps, scores)
			requireSteps(t, got, want)

			s.refuses(t, d, k)

			// An image's answers are the same bytes alone and in other company.
			at := map[uint64]int{3: 0, 4: 1, 5: 2}
			for _, company := range [][]uint64{{4}, {5, 3}, {7, 4, 6, 3, 9}} {
				again := s.ask(t, d, k, company...)
				for i, seed := range company {
					j, ok := at[seed]
					if !ok {
						continue
					}
					h := len(again.s) / len(company)
					require.Equal(t, got.s[j*h:][:h], again.s[i*h:][:h])
					for k, some := range again.varied {
						m := len(some) / len(company)
						require.Equal(t, got.varied[k][j*m:][:m], some[i*m:][:m])
					}
					require.Equal(t, math.Float32bits(got.image[j]), math.Float32bits(again.image[i]))
					require.Equal(t, got.told[j], again.told[i])
					for q, st := range got.problems[j].States {
						require.Equal(t, st.A, again.problems[i].States[q].A)
						require.Equal(t, st.Sum, again.problems[i].States[q].Sum)
					}
				}
			}
		})
	}
}

// refuses asks a Detector for variants that are none: they are refused, whatever else is asked.
func (s *suite) refuses(t *testing.T, d sight.Detector, k kind) {
	t.Helper()
	h := side / k.spec.Backbone.Stride()
	x, norms := s.images(k.spec.Backbone, 3, 4)
	b, err := d.Begin(t.Context(), x, norms, &method.Result{S: nd.New(2, h, h)})
	require.NoError(t, err)
	defer b.Close()
	of, good := []int{0, 1}, s.change(3)
	for what, v := range map[string]refine.Variants{
		"variant 1 is of image 2 of 2":          {Of: []int{0, 2}},
		"variant 0 is of image -1 of 2":         {Of: []int{-1}},
		"changes of 1 images for 2 variants":    {Of: of, Changes: []refine.Change{good}},
		"pixel 4096 of 64 x 64":                 {Of: of, Changes: []refine.Change{good, {Pixels: []int32{4, side * side}, Values: make([]float32, 6)}}},
		"pixel -1 of 64 x 64":                   {Of: of, Changes: []refine.Change{{Pixels: []int32{-1}, Values: make([]float32, 3)}, good}},
		"pixel 7 of 64 x 64 changes after":      {Of: of, Changes: []refine.Change{{Pixels: []int32{5, 9, 7}, Values: make([]float32, 9)}, good}},
		"pixel 9 of 64 x 64 changes after":      {Of: of, Changes: []refine.Change{{Pixels: []int32{9, 9}, Values: make([]float32, 6)}, good}},
		"image 1: 5 values for 2 pixels that c": {Of: of, Changes: []refine.Change{good, {Pixels: []int32{5, 9}, Values: make([]float32, 5)}}},
		"image 0: 3 values for 0 pixels that c": {Of: of, Changes: []refine.Change{{Values: make([]float32, 3)}, good}},
	} {
		require.ErrorContains(t, b.Score(t.Context(), v, &method.Result{S: nd.New(len(v.Of), h, h)}), what)
	}
}

// requireSteps compares what became of the problems.
func requireSteps(t *testing.T, got, want answers) {
	t.Helper()
	turned, pixels := 0, 0
	for n := range want.problems {
		require.Len(t, got.told[n], len(want.told[n]))
		for j, st := range want.problems[n].States {
			other := got.problems[n].States[j]
			size := st.Box.H() * st.Box.W()
			off := slices.Clone(other.A)
			for _, p := range st.Pixels {
				pixels++
				at := []int{int(p), size + int(p), 2*size + int(p)}
				if slices.ContainsFunc(at, func(i int) bool {
					_, err := compare.Close(other.A[i:i+1], st.A[i:i+1], steps)
					return err != nil
				}) {
					turned++
				}
				off[at[0]], off[at[1]], off[at[2]] = 0, 0, 0
			}
			require.Equal(t, make([]float32, len(off)), off, "A off the region")
			sum, wantSum := 0.0, 0.0
			for _, p := range st.Pixels {
				sum, wantSum = sum+float64(other.Sum[p]), wantSum+float64(st.Sum[p])
			}
			require.InDelta(t, wantSum, sum, 5e-3*wantSum+float64(turned)*6, "sum over the iterations")
		}
		for i, w := range want.told[n] {
			g := got.told[n][i]
			require.InEpsilon(t, w.Data, g.Data, 5e-3, "energy of image %d, iteration %d", n, i+1)
			require.InDelta(t, w.Support, g.Support, mostTurned*float64(pixels))
			require.InDelta(t, w.Penalty, g.Penalty, 1e-2*w.Penalty+float64(turned)*3)
			require.InDelta(t, w.Step, g.Step, 1e-2*w.Step+float64(turned)/float64(pixels))
		}
	}
	t.Logf("%d of %d pixels differ", turned, pixels)
	require.LessOrEqual(t, float64(turned), mostTurned*float64(pixels), "pixels of A that differ, of %d", pixels)
}

func (s *suite) smooth(t *testing.T) {
	for _, c := range []struct{ n, h, w, s int }{{1, 1, 1, 4}, {3, 7, 5, 4}, {2, 20, 31, 2}} {
		z := normal(s.rng(4), c.n*c.h*c.w)
		g, size := pixel.NewGaussian(1), c.h*c.w*c.s*c.s
		got, want := nans(c.n*size), make([]float32, c.n*size)
		require.NoError(t, s.p.Smooth(z, c.n, c.h, c.w, c.s, g, got))
		require.NoError(t, refine.Host{}.Smooth(z, c.n, c.h, c.w, c.s, g, want))
		compare.Require(t, fmt.Sprint(c), got, want, blurred)
		for i := range c.n {
			alone := nans(size)
			require.NoError(t, s.p.Smooth(z[i*c.h*c.w:(i+1)*c.h*c.w], 1, c.h, c.w, c.s, g, alone))
			require.Equal(t, got[i*size:(i+1)*size], alone, "%v: grid %d, alone", c, i)
		}
	}
	require.NoError(t, s.p.Smooth(nil, 0, 3, 4, 2, pixel.NewGaussian(1), nil))
}

// summed is for sums of some hundred products of values around 1, in float32 against float64.
var summed = compare.Tolerance{Abs: 3e-5, Rel: 3e-5}

func (s *suite) costs(t *testing.T) {
	rng := s.rng(11)
	normals := func(c, h, w int) *refine.Normal {
		data := make([]uint8, c*h*w)
		for i := range data {
			data[i] = uint8(rng.IntN(256))
		}
		n, err := refine.NewNormal(data, c, h, w)
		require.NoError(t, err)
		return n
	}
	colour, larger, grey := normals(3, 40, 50), normals(3, 70, 81), normals(1, side, side)
	k := s.kinds(t)[0]
	d, err := s.p.Detector(k.spec)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	seeds := []uint64{3, 4, 5}
	x, _ := s.images(k.spec.Backbone, seeds...)
	// on asks of a batch of images with those seeds.
	on := func(searches []refine.Search, seeds ...uint64) {
		x, norms := s.images(k.spec.Backbone, seeds...)
		h := side / k.spec.Backbone.Stride()
		b, err := d.Begin(t.Context(), x, norms, &method.Result{S: nd.New(len(seeds), h, h)})
		require.NoError(t, err)
		defer b.Close()
		require.NoError(t, b.Costs(searches))
		require.NoError(t, b.Costs(nil))
	}
	search := func(image, c int, blur float64, rings ...refine.Ring) refine.Search {
		q := refine.Search{
			Image: image, Y: nd.Data(x)[image*3*side*side:][:c*side*side], H: side, W: side, Blur: pixel.NewGaussian(blur), MeanShare: 0.7,
		}
		for _, r := range rings {
			r.Box = pixel.Box{Y0: 4, X0: 5, Y1: 33, X1: 44}
			for n := rng.IntN(150); len(r.Pixels) <= n; {
				r.Pixels = append(r.Pixels, int32(r.Box.Y0+rng.IntN(r.Box.H()))*side+int32(r.Box.X0+rng.IntN(r.Box.W())))
			}
			slices.Sort(r.Pixels)
			r.Costs = make([]float64, len(r.Shifts)+len(r.Normals))
			q.Rings = append(q.Rings, r)
		}
		return q
	}
	all := []refine.Search{
		search(2, 3, 1, refine.Ring{Shifts: []int32{0, 1, -7, side, 4*side + 4, -3 * side, 6}, Normals: []*refine.Normal{colour, grey}},
			refine.Ring{Normals: []*refine.Normal{larger}}, refine.Ring{Shifts: []int32{side - 1}}, refine.Ring{}),
		search(0, 1, 1, refine.Ring{Shifts: []int32{3, 2}, Normals: []*refine.Normal{grey}}),
		search(1, 3, 1, refine.Ring{Shifts: []int32{-3}, Normals: []*refine.Normal{colour, larger}}),
		search(1, 3, 0, refine.Ring{Shifts: []int32{-3}, Normals: []*refine.Normal{larger, grey}}),
		search(0, 3, 0),
	}
	all[1].Rings = append(all[1].Rings, refine.Ring{Normals: []*refine.Normal{grey}, Costs: []float64{9}}) // no ring to compare on
	copied := func(searches []refine.Search) []refine.Search {
		out := slices.Clone(searches)
		for i := range out {
			out[i].Rings = slices.Clone(out[i].Rings)
			for j, r := range out[i].Rings {
				out[i].Rings[j].Costs = slices.Repeat([]float64{math.NaN()}, len(r.Costs))
			}
		}
		return out
	}
	want, got := copied(all), copied(all)
	require.NoError(t, refine.Host{}.Costs(want))
	on(got, seeds...)
	for i, q := range want {
		alone := copied(all[i : i+1])
		alone[0].Image = 0
		on(alone, seeds[q.Image])
		for j, r := range q.Rings {
			compare.Require(t, fmt.Sprintf("search %d, ring %d", i, j), got[i].Rings[j].Costs, r.Costs, summed)
			require.Equal(t, got[i].Rings[j].Costs, alone[0].Rings[j].Costs, "search %d, ring %d, alone", i, j)
		}
	}
	require.Equal(t, []float64{0}, got[1].Rings[1].Costs)
}

func (s *suite) offsets(t *testing.T) {
	rng := s.rng(12)
	var want, got []refine.Offset
	for _, c := range []struct {
		n, m, c int
		sigma   float64
	}{{150, 400, 18, 8}, {1, 3, 1, 3}, {0, 4, 3, 3}, {77, 130, 6, 2.5}} {
		o := refine.Offset{V: normal(rng, c.n*c.c), W: 60, C: c.c, Sigma: c.sigma, Out: make([]float32, c.m*c.c)}
		for range c.n {
			o.At = append(o.At, int32(rng.IntN(50*60)))
		}
		for range c.m {
			o.To = append(o.To, int32(rng.IntN(50*60)))
		}
		want = append(want, o)
		o.Out = nans(len(o.Out))
		got = append(got, o)
	}
	require.NoError(t, refine.Host{}.Offsets(want))
	require.NoError(t, s.p.Offsets(got))
	for i, o := range want {
		compare.Require(t, fmt.Sprintf("offset %d", i), got[i].Out, o.Out, summed)
		alone := got[i]
		alone.Out = nans(len(o.Out))
		require.NoError(t, s.p.Offsets([]refine.Offset{alone}))
		require.Equal(t, got[i].Out, alone.Out, "offset %d, alone", i)
	}
	require.NoError(t, s.p.Offsets(nil))
}

func (s *suite) spreads(t *testing.T) {
	rng := s.rng(13)
	var want, got []refine.Spread
	for _, c := range []struct{ k, n int }{{6, 333}, {0, 5}, {1, 7}, {2, 64}, {5, 1}} {
		one := refine.Spread{Share: 0.9, Out: make([]float32, c.n)}
		for range c.k {
			fill := normal(rng, 3*c.n)
			for i := range fill {
				fill[i] *= 0.2
			}
			one.Fills = append(one.Fills, fill)
		}
		want = append(want, one)
		one.Out = nans(c.n)
		got = append(got, one)
	}
	require.NoError(t, refine.Host{}.Spreads(want))
	require.NoError(t, s.p.Spreads(got))
	for i, w := range want {
		compare.Require(t, fmt.Sprintf("spread %d", i), got[i].Out, w.Out, blurred)
	}
	require.NoError(t, s.p.Spreads(nil))
}

func (s *suite) compare(t *testing.T) {
	rng := s.rng(5)
	var want, got []refine.Comparison
	for _, size := range []struct {
		k, h, w int
		share   float64 // of the pixels that are the region's
	}{{1, 1, 1, 1}, {6, 33, 21, 0.3}, {3, 8, 70, 1}, {6, 40, 66, 0.8}, {2, 5, 3, 0.5}} {
		c := refine.Comparison{H: size.h, W: size.w, K: size.k}
		for p := range size.h * size.w {
			if rng.Float64() < size.share {
				c.Pixels = append(c.Pixels, int32(p))
			}
		}
		n := len(c.Pixels)
		c.Y, c.Fills = normal(rng, 3*n), normal(rng, c.K*3*n)
		copy(c.Fills, c.Y[:n/2]) // some pixels are their own fill, in a channel
		c.Residual, c.Best = make([]float32, n), make([]int32, n)
		want = append(want, c)
		c.Residual, c.Best = nans(n), slices.Repeat([]int32{-1}, n)
		got = append(got, c)
	}
	for _, sigma := range [][2]float64{{1, 1.2}, {2, 0}, {2.4, 3.1}} {
		smooth, start := pixel.NewGaussian(sigma[0]), pixel.NewGaussian(sigma[1])
		require.NoError(t, refine.Host{}.Compare(want, smooth, start))
		require.NoError(t, s.p.Compare(got, smooth, start))
		for i, c := range want {
			n := len(c.Pixels)
			compare.Require(t, fmt.Sprintf("sigma %v, region %d: residual", sigma, i), got[i].Residual, c.Residual, blurred)
			// Where two fills are equally near but for rounding, either will do.
			sq := make([]float32, c.K*n)
			pixel.FillMin(c.Y, c.Fills, c.K, 3, n, sq, make([]float32, n))
			var cost, wantCost []float32
			for k := range c.K {
				plane := make([]float32, c.H*c.W)
				for j, p := range c.Pixels {
					plane[p] = sq[k*n+j]
				}
				start.Blur(plane, c.H, c.W, make([]float32, start.Scratch(c.H, c.W)))
				for j, p := range c.Pixels {
					sq[k*n+j] = plane[p]
				}
			}
			for j := range n {
				cost, wantCost = append(cost, sq[int(got[i].Best[j])*n+j]), append(wantCost, sq[int(c.Best[j])*n+j])
			}
			compare.Require(t, fmt.Sprintf("sigma %v, region %d: nearest fill", sigma, i), cost, wantCost, blurred)
			alone := c
			alone.Residual, alone.Best = nans(n), make([]int32, n)
			require.NoError(t, s.p.Compare([]refine.Comparison{alone}, smooth, start))
			require.Equal(t, got[i].Residual, alone.Residual, "sigma %v, region %d, alone", sigma, i)
			require.Equal(t, got[i].Best, alone.Best, "sigma %v, region %d, alone", sigma, i)
		}
	}
	require.NoError(t, s.p.Compare(nil, pixel.NewGaussian(1), pixel.NewGaussian(1)))
}

func (s *suite) kCentre(t *testing.T) {
	for _, c := range []struct{ d, points, want, starts int }{{2, 1, 1, 1}, {3, 500, 40, 1}, {17, 300, 30, 10}} {
		x := normal(s.rng(7), c.points*c.d)
		starts := s.rng(8).Perm(c.points)[:c.starts]
		last := 0
		got, err := s.p.KCentre(t.Context(), x, c.d, c.want, starts, func(done, total int) {
			require.True(t, done > last && done <= total && total == c.want)
			last = done
		})
		require.NoError(t, err)
		want, err := place.NewHost(nil).KCentre(t.Context(), x, c.d, c.want, starts, nil)
		require.NoError(t, err)
		require.Equal(t, want, got, "random points are not tied")
		require.Equal(t, len(want), last)
	}
	same := slices.Repeat([]float32{1, 2, 3}, 20)
	copy(same[30:], []float32{9, 9, 9})
	got, err := s.p.KCentre(t.Context(), same, 3, 5, []int{4}, nil)
	require.NoError(t, err)
	require.Equal(t, []int{4, 10}, got, "it stops when every point coincides with a centre")
}

// concurrent: many callers at once get what one gets.
func (s *suite) concurrent(t *testing.T) {
	k := s.kinds(t)[0]
	d, err := s.p.Detector(k.spec)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	want := s.ask(t, d, k, 3, 4)
	var wg sync.WaitGroup
	got := make([]answers, 4)
	for i := range got {
		wg.Go(func() { got[i] = s.ask(t, d, k, 3, 4) })
	}
	wg.Wait()
	for i := range got {
		require.Equal(t, want.s, got[i].s)
		require.Equal(t, want.maps, got[i].maps)
		require.Equal(t, want.told, got[i].told)
		require.Equal(t, want.problems[0].States[0].A, got[i].problems[0].States[0].A)
	}
}

func (s *suite) cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	k := s.kinds(t)[0]
	d, err := s.p.Detector(k.spec)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	x, norms := s.images(k.spec.Backbone, 3)
	h := side / k.spec.Backbone.Stride()
	r := &method.Result{S: nd.New(1, h, h)}
	_, err = d.Begin(ctx, x, norms, r)
	require.ErrorIs(t, err, context.Canceled)
	b, err := d.Begin(t.Context(), x, norms, r)
	require.NoError(t, err)
	defer b.Close()
	require.ErrorIs(t, b.Score(ctx, refine.Variants{Of: []int{0}, Changes: []refine.Change{s.change(3)}}, r), context.Canceled)
	_, err = s.p.KCentre(ctx, make([]float32, 9), 3, 2, []int{0}, nil)
	require.ErrorIs(t, err, context.Canceled)
}
