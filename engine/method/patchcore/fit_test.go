package patchcore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"slices"
	"testing"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// stream visits the given images.
func stream(images ...[]*tensor.Dense) method.Features {
	return func(_ context.Context, visit func([]*tensor.Dense) error) error {
		for _, f := range images {
			if err := visit(f); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestProfiles(t *testing.T) {
	require.Equal(t, profile(t, "f2pad"), profile(t, ""))
	_, err := ProfileOptions("best")
	require.EqualError(t, err, `patchcore: unknown profile "best": want one of f2pad, paper, anomalib`)
	for name, want := range map[string]method.MapOptions{
		"f2pad":    {Sigma: 4, Radius: 16},
		"paper":    {Sigma: 4, Radius: 16},
		"anomalib": {Nearest: true, Sigma: 4, Radius: 16, Reflect101: true},
	} {
		require.Equal(t, want, (&Model{opts: profile(t, name)}).Map())
	}
}

// The adjoint of a linear map A satisfies <A x, y> = <x, A' y>, for layers of grids that divide each other or not.
func TestEmbeddingAdjoint(t *testing.T) {
	for _, layers := range [][]methodtest.Layer{threeLayers, goldenLayers, oneLayer} {
		for _, dim := range []int{0, 11, 40, 97} { // concatenated; pooled; pooled and repeated; not a divisor
			var widths []int
			for _, l := range layers {
				widths = append(widths, l.C)
			}
			const n = 2
			x := methodtest.Batch(1, n, layers)
			e := newEmbedding(widths, dim)
			v := e.view(x, method.Grid{N: n, H: layers[0].H, W: layers[0].W})
			var at []int
			for i := 3; i < n*layers[0].H*layers[0].W; i += 2 {
				at = append(at, i)
			}
			y := methodtest.Values(len(at)*e.dim, 1)
			back := make([]*tensor.Dense, len(x))
			for l := range x {
				back[l] = nd.New(x[l].Shape()...)
			}
			v.pullBack(y, at, back)
			right, size := 0.0, 0.0
			for l := range x {
				right += dot(nd.Data(x[l]), nd.Data(back[l]))
				size += math.Sqrt(dot(nd.Data(x[l]), nd.Data(x[l])) * dot(nd.Data(back[l]), nd.Data(back[l])))
			}
			compare.Require(t, "dot product", []float64{dot(v.vectors(x, at), y) / size}, []float64{right / size}, adjoint)
		}
	}
}

// Relative to the product of the lengths: float32 sums.
var adjoint = compare.Tolerance{Abs: 1e-7}

func TestAdaptRepeatsWhereItMust(t *testing.T) {
	dst := make([]float32, 5)
	adapt(dst, []float32{1, 3, 8})
	require.Equal(t, []float32{1, 2, 3, 5.5, 8}, dst)
	adapt(dst[:2], []float32{1, 3, 8})
	require.Equal(t, []float32{2, 5.5}, dst[:2])
}

// Every patch of every image is kept with the same probability, and the limit is met exactly.
func TestReservoirIsUniform(t *testing.T) {
	const images, cells, limit, runs = 2, 3, 2, 900
	var all [][]*tensor.Dense
	for i := range images {
		x := []float32{float32(i) + 1, float32(10*i) + 4, float32(100*i) + 9} // patch vectors all differ
		all = append(all, []*tensor.Dense{nd.Wrap(x, 1, 1, 1, cells)})
	}
	e := newEmbedding([]int{1}, 0)
	var hits [images * cells]int
	for seed := range runs {
		o := profile(t, "f2pad")
		o.Seed, o.MaxPatches, o.Ratio, o.MaxBank = uint64(seed), limit, 1, 0
		m, err := Fit(t.Context(), stream(all...), o)
		require.NoError(t, err)
		require.Equal(t, limit, m.bank.size())
		for i, f := range all {
			for j, x := range e.view(f, method.Grid{N: 1, H: 1, W: cells}).vectors(f, []int{0, 1, 2}) {
				if slices.Contains(m.bank.rows, x) {
					hits[i*cells+j]++
				}
			}
		}
	}
	for i, n := range hits { // binomial: mean 300, standard deviation 14
		require.InDelta(t, runs*limit/len(hits), n, 60, "patch %d", i)
	}
}

func TestFitRefuses(t *testing.T) {
	good := methodtest.Batch(1, 1, oneLayer)
	spoilt := func(v float64) []*tensor.Dense {
		f := methodtest.Batch(2, 1, oneLayer)
		nd.Data(f[0])[77] = float32(v)
		return f
	}
	base := profile(t, "f2pad")
	with := func(change func(*Options)) Options {
		o := base
		change(&o)
		return o
	}
	for text, c := range map[string]struct {
		feats method.Features
		o     Options
	}{
		"no training images": {stream(), base},
		"image 2: features of layer 1 has shape": {
			stream(good, methodtest.Batch(1, 1, []methodtest.Layer{{C: 7, H: 16, W: 18}})), base,
		},
		"image 1: a batch of 2, want 1":                       {stream(methodtest.Batch(1, 2, oneLayer)), base},
		"image 2: the features are not finite at location 58": {stream(good, spoilt(math.NaN())), base}, // 77's first neighbour
		"image 1: the features are not finite":                {stream(spoilt(math.Inf(-1))), base},
		"features of layer 1 is nil":                          {stream([]*tensor.Dense{nil}), base},
		"features of 0 layers":                                {stream([]*tensor.Dense{}), base},
		`unknown profile "x"`:                                 {stream(good), with(func(o *Options) { o.Profile = "x" })},
		"embedding of -1 values":                              {stream(good), with(func(o *Options) { o.EmbedDim = -1 })},
		"embedding of 32769 values":                           {stream(good), with(func(o *Options) { o.EmbedDim = maxExtent + 1 })},
		"supports -1":                                         {stream(good), with(func(o *Options) { o.Supports = -1 })},
		"patches -1":                                          {stream(good), with(func(o *Options) { o.MaxPatches = -1 })},
		"bank -1":                                             {stream(good), with(func(o *Options) { o.MaxBank = -1 })},
		"projection -1":                                       {stream(good), with(func(o *Options) { o.ProjectDim = -1 })},
		"start points -1":                                     {stream(good), with(func(o *Options) { o.StartPoints = -1 })},
		"ratio 0":                                             {stream(good), with(func(o *Options) { o.Ratio = 0 })},
		"ratio 1.1":                                           {stream(good), with(func(o *Options) { o.Ratio = 1.1 })},
		"ratio NaN":                                           {stream(good), with(func(o *Options) { o.Ratio = math.NaN() })},
		`unknown projection "pca"`:                            {stream(good), with(func(o *Options) { o.Projection = "pca" })},
		"distortion 1":                                        {stream(good), with(func(o *Options) { o.ProjectDim, o.Epsilon = 0, 1 })},
		"distortion 0":                                        {stream(good), with(func(o *Options) { o.ProjectDim, o.Epsilon = 0, 0 })},
	} {
		_, err := Fit(t.Context(), c.feats, c.o)
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, err, "patchcore: ")
	}
	boom := errors.New("boom")
	_, err := Fit(t.Context(), func(context.Context, func([]*tensor.Dense) error) error { return boom }, base)
	require.ErrorIs(t, err, boom)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Fit(ctx, stream(good, good), base)
	require.ErrorIs(t, err, context.Canceled)
}

// The same images give the same bytes on any number of cores; another seed gives another bank.
func TestFitIsReproducible(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, name := range profiles {
		o := profile(t, name)
		o.MaxPatches, o.ProjectDim = 1000, 3
		if o.EmbedDim > 0 {
			o.EmbedDim = 20
		}
		encode := func(cores int, seed uint64) []byte {
			runtime.GOMAXPROCS(cores)
			o.Seed = seed
			return methodtest.Encode(t, fitted(t, o, threeLayers))
		}
		one := encode(1, 5)
		require.Equal(t, one, encode(6, 5))
		require.NotEqual(t, one, encode(6, 6))
	}
}

// Images may differ in size.
func TestNativeSizes(t *testing.T) {
	small := []methodtest.Layer{{C: 6, H: 9, W: 7}}
	o := profile(t, "f2pad")
	o.Ratio = 1
	m, err := Fit(t.Context(), stream(methodtest.Batch(1, 1, oneLayer), methodtest.Batch(2, 1, small)), o)
	require.NoError(t, err)
	require.Equal(t, 16*18+9*7, m.bank.size())
	for _, layers := range [][]methodtest.Layer{oneLayer, small} {
		f := methodtest.Batch(map[int]uint64{16: 1, 9: 2}[layers[0].H], 1, layers)
		r := &method.Result{S: nd.New(1, layers[0].H, layers[0].W)}
		require.NoError(t, m.Score(t.Context(), f, r))
		require.Equal(t, make([]float32, layers[0].H*layers[0].W), nd.Data(r.S), "training patches are in the bank")
	}
}

func TestProgress(t *testing.T) {
	o := profile(t, "f2pad")
	var last [2]int
	m, err := FitWith(t.Context(), o, method.Fitting{
		Features: methodtest.Images(1, 12, oneLayer),
		Progress: func(p method.Progress) {
			require.Equal(t, "coreset", p.Phase)
			last = [2]int{p.Done, p.Total}
		},
	})
	require.NoError(t, err)
	require.Equal(t, [2]int{m.bank.size(), m.bank.size()}, last)
	require.Equal(t, 12*16*18/10, m.bank.size())
}

func TestWhereIsAllThatIsSearched(t *testing.T) {
	m := fitted(t, profile(t, "f2pad"), oneLayer)
	f := methodtest.Batch(3, 1, oneLayer)
	r := &method.Result{S: nd.New(1, 16, 18), Where: make([]bool, 16*18), Gradient: true}
	r.Where[40] = true
	require.NoError(t, m.Score(t.Context(), f, r))
	require.Equal(t, []int{40}, r.Aux.(*gradients).at)
	for i, s := range nd.Data(r.S) {
		require.Equal(t, i == 40, s != 0)
	}
	dS := nd.New(1, 16, 18)
	nd.Data(dS)[41] = 1
	require.EqualError(t, m.Grad(t.Context(), f, r, dS, methodtest.Batch(3, 1, oneLayer)),
		"patchcore: gradient at location 41, which was not scored")
}

func TestGradientAtDistanceZeroIsZero(t *testing.T) {
	o := profile(t, "f2pad")
	o.Ratio = 1
	f := methodtest.Batch(3, 1, oneLayer)
	m, err := Fit(t.Context(), stream(f), o)
	require.NoError(t, err)
	r := &method.Result{S: nd.New(1, 16, 18), Image: []float32{5}, Gradient: true}
	require.NoError(t, m.Score(t.Context(), f, r))
	require.Equal(t, []float32{0}, r.Image)
	dS, df := nd.New(1, 16, 18), methodtest.Batch(4, 1, oneLayer)
	for i := range nd.Data(dS) {
		nd.Data(dS)[i] = 1
	}
	require.NoError(t, m.Grad(t.Context(), f, r, dS, df))
	require.Equal(t, make([]float32, len(nd.Data(df[0]))), nd.Data(df[0]))
}

func TestImageScoreWithoutSupports(t *testing.T) {
	f := methodtest.Batch(3, 2, oneLayer)
	for _, c := range []struct{ supports, bank int }{{0, 50}, {1, 50}, {9, 1}} {
		o := profile(t, "f2pad")
		o.Supports, o.MaxBank = c.supports, c.bank
		m := fitted(t, o, oneLayer)
		r := &method.Result{S: nd.New(2, 16, 18), Image: make([]float32, 2)}
		require.NoError(t, m.Score(t.Context(), f, r))
		s := nd.Data(r.S)
		require.Equal(t, []float32{slices.Max(s[:288]), slices.Max(s[288:])}, r.Image)
	}
}

func TestImageScoreOfWhatIsNotANumber(t *testing.T) {
	m := fitted(t, profile(t, "f2pad"), oneLayer)
	f := methodtest.Batch(3, 2, oneLayer)
	nd.Data(f[0])[100] = float32(math.NaN())
	r := &method.Result{S: nd.New(2, 16, 18), Image: make([]float32, 2)}
	require.NoError(t, m.Score(t.Context(), f, r))
	require.True(t, math.IsNaN(float64(r.Image[0])))
	require.False(t, math.IsNaN(float64(r.Image[1])))
	bad := 0
	for _, s := range nd.Data(r.S) {
		if math.IsNaN(float64(s)) {
			bad++
		}
	}
	require.Equal(t, 9, bad)
}

func TestLoadRefuses(t *testing.T) {
	m := fitted(t, profile(t, "f2pad"), oneLayer)
	info := stored{revision, name, m.opts, m.embed.widths}
	change := func(f func(*stored)) any {
		c := info
		c.Layers = slices.Clone(c.Layers)
		f(&c)
		return c
	}
	for text, part := range map[string]any{
		`"method/info": patchcore: state of method "padim"`: change(func(s *stored) { s.Method = "padim" }),
		`"method/info": patchcore: unknown profile`:         change(func(s *stored) { s.Options.Profile = "" }),
		`"method/info": patchcore: no layers`:               change(func(s *stored) { s.Layers = nil }),
		`"method/info": patchcore: layer of 0 channels`:     change(func(s *stored) { s.Layers[0] = 0 }),
		`"method/info": patchcore: layer of 32769 channels`: change(func(s *stored) { s.Layers[0] = 1<<15 + 1 }),
		`"method/info": json: unknown field`:                map[string]int{"x": 1},
		`"method/bank": shape [345 6], want [-1 7]`:         change(func(s *stored) { s.Layers[0] = 7 }),
		`"method/bank": shape [345 6], want [-1 20]`:        change(func(s *stored) { s.Options.EmbedDim = 20 }),
	} {
		w := artifact.NewWriter()
		require.NoError(t, w.JSON("method/info", part))
		require.NoError(t, w.Float32("method/bank", m.bank.rows, m.bank.size(), m.bank.d))
		var buf bytes.Buffer
		_, err := w.WriteTo(&buf)
		require.NoError(t, err)
		f, err := artifact.Read(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
		require.NoError(t, err)
		_, err = Load(f)
		require.ErrorContains(t, err, text)
	}
}

func TestDescription(t *testing.T) {
	data, err := json.Marshal(fitted(t, profile(t, "f2pad"), threeLayers).Describe())
	require.NoError(t, err)
	require.JSONEq(t, `{"profile":"f2pad","seed":0,"embed_dim":0,"squared":false,"supports":9,"max_patches":100000,"ratio":0.1,
		"max_bank":4000,"projection":"gaussian","project_dim":128,"epsilon":0,"start_points":0,
		"layers":[5,4,3],"dim":12,"bank":384}`, string(data))
}

func TestTheBankHoldsWhatIsLearnedFrom(t *testing.T) {
	for _, name := range profiles {
		methodtest.LearnsWhere(t, []methodtest.Layer{{C: 4, H: 16, W: 16}, {C: 6, H: 8, W: 8}}, func(f method.Fitting) (method.Method, error) {
			o := profile(t, name)
			o.EmbedDim = min(o.EmbedDim, 8)
			return FitWith(t.Context(), o, f)
		})
	}
	_, err := FitWith(t.Context(), profile(t, "f2pad"), method.Fitting{
		Features: methodtest.Images(1, 3, []methodtest.Layer{{C: 4, H: 8, W: 8}}),
		Where:    func(h, w int) []bool { return make([]bool, h*w) },
	})
	require.ErrorContains(t, err, "no training images")
}

// Image scores are those of the locations inside: what is beyond may be what it likes.
func TestImageScoresAreOfWhatIsInside(t *testing.T) {
	layers := []methodtest.Layer{{C: 4, H: 16, W: 16}}
	for _, name := range profiles {
		o := profile(t, name)
		o.EmbedDim = min(o.EmbedDim, 4)
		m, err := Fit(t.Context(), methodtest.Images(1, 4, layers), o)
		require.NoError(t, err)
		inside := make([]bool, 2*256)
		for i := range inside {
			inside[i] = i%16 < 8
		}
		score := func(right float32, inside []bool) []float32 {
			f := methodtest.Batch(77, 2, layers)
			for i := range nd.Data(f[0]) {
				if i%16 >= 12 {
					nd.Data(f[0])[i] += right
				}
			}
			r := &method.Result{S: nd.New(2, 16, 16), Image: make([]float32, 2), Inside: inside}
			require.NoError(t, m.Score(t.Context(), f, r))
			return r.Image
		}
		require.Equal(t, score(0, inside), score(30, inside))
		require.NotEqual(t, score(0, nil), score(30, nil))
		err = m.Score(t.Context(), methodtest.Batch(77, 2, layers), &method.Result{S: nd.New(2, 16, 16), Image: make([]float32, 2), Inside: make([]bool, 512)})
		require.ErrorContains(t, err, "no location inside")
		err = m.Score(t.Context(), methodtest.Batch(77, 2, layers), &method.Result{S: nd.New(2, 16, 16), Image: make([]float32, 2), Inside: inside[1:]})
		require.ErrorContains(t, err, "511 locations for the image scores, want 512")
	}
}

func TestPlansSayWhatFitsDo(t *testing.T) {
	layers := []methodtest.Layer{{C: 4, H: 16, W: 16}, {C: 6, H: 8, W: 8}}
	for _, name := range profiles {
		o, err := ProfileOptions(name)
		require.NoError(t, err)
		p, err := plan(method.Fitting{Profile: name}, [][3]int{{4, 16, 16}, {6, 8, 8}}, 5)
		require.NoError(t, err)
		require.Equal(t, 5*256, p.Patches)
		m, err := Fit(t.Context(), methodtest.Images(1, 5, layers), o)
		require.NoError(t, err)
		require.Equal(t, m.bank.size(), p.Bank)
		require.GreaterOrEqual(t, p.Bytes, int64(4*m.embed.dim*(p.Patches+p.Bank)))
		more, err := plan(method.Fitting{Profile: name}, [][3]int{{4, 16, 16}, {6, 8, 8}}, 10)
		require.NoError(t, err)
		require.InEpsilon(t, 4*p.Work, more.Work, 0.2, "twice the patches for twice the bank")
	}
	p, err := plan(method.Fitting{}, [][3]int{{48, 64, 64}}, 1000)
	require.NoError(t, err)
	require.Equal(t, method.Plan{Bytes: 4 * 48 * 104_000, Work: 48 * 100_000 * 4000, Patches: 100_000, Bank: 4000}, p)
	_, err = plan(method.Fitting{Profile: "x"}, nil, 1)
	require.ErrorContains(t, err, "unknown profile")
}
