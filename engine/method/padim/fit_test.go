package padim

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
	"f2pad.example/engine/method/internal/cholesky"
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
	def := profile(t, "")
	require.Equal(t, profile(t, "f2pad"), def)
	_, err := ProfileOptions("best")
	require.EqualError(t, err, `padim: unknown profile "best": want one of f2pad, paper, anomalib`)
	for name, want := range map[string]method.MapOptions{
		"f2pad":    {Sigma: 4, Radius: 16},
		"paper":    {Sigma: 4, Radius: 16},
		"anomalib": {Sigma: 4, Radius: 16, Reflect101: true},
	} {
		require.Equal(t, want, (&Model{opts: profile(t, name)}).Map())
	}
}

func TestPublishedChannelCounts(t *testing.T) {
	o := profile(t, "paper")
	for width, want := range map[int]int{48: 48, 100: 100, 448: 100, 1791: 100, 1792: 550} {
		m := &Model{opts: o}
		require.NoError(t, m.start([]*tensor.Dense{nd.New(1, width, 1, 1)}))
		require.Len(t, m.channels, want)
		require.NoError(t, checkChannels(m.channels, width))
	}
	o.Keep = 5
	first, second := &Model{opts: o}, &Model{opts: o}
	second.opts.Seed++
	for _, m := range []*Model{first, second} {
		require.NoError(t, m.start([]*tensor.Dense{nd.New(1, 40, 1, 1)}))
		require.Len(t, m.channels, 5)
	}
	require.NotEqual(t, first.channels, second.channels)
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
	native := with(func(o *Options) { o.Native = true })
	for text, c := range map[string]struct {
		feats method.Features
		o     Options
	}{
		"too few training images":               {stream(), base},
		"a covariance needs two samples":        {stream(good), base},
		"image 2: 8x9 locations, the first":     {stream(good, methodtest.Batch(1, 1, []methodtest.Layer{{C: 6, H: 8, W: 9}})), base},
		"image 2: features of layer 1":          {stream(good, methodtest.Batch(1, 1, []methodtest.Layer{{C: 7, H: 16, W: 18}})), base},
		"image 2: features of 3 layers, want 1": {stream(good, methodtest.Batch(1, 1, threeLayers)), native},
		"image 1: a batch of 2, want 1":         {stream(methodtest.Batch(1, 2, oneLayer)), base},
		"not finite at location 77":             {stream(good, spoilt(math.NaN())), base},
		"are not finite":                        {stream(spoilt(math.Inf(1)), good), native},
		"features of layer 1 is nil":            {stream([]*tensor.Dense{nil}), base},
		"features of 0 layers":                  {stream([]*tensor.Dense{}), base},
		`unknown profile "x"`:                   {stream(good), with(func(o *Options) { o.Profile = "x" })},
		"ridge 0":                               {stream(good), with(func(o *Options) { o.Ridge = 0 })},
		"ridge NaN":                             {stream(good), with(func(o *Options) { o.Ridge = math.NaN() })},
		"ridge +Inf":                            {stream(good), with(func(o *Options) { o.Ridge = math.Inf(1) })},
		"window of 4 cells":                     {stream(good), with(func(o *Options) { o.Window = 4 })},
		"window of -1 cells":                    {stream(good), with(func(o *Options) { o.Window = -1 })},
		"global share 1.5":                      {stream(good), with(func(o *Options) { o.Global = 1.5 })},
		"keep -2 channels":                      {stream(good), with(func(o *Options) { o.Keep = -2 })},
		"no channels kept":                      {stream(good), with(func(o *Options) { o.Channels = []int{} })},
		"kept channel 6 after 2":                {stream(good), with(func(o *Options) { o.Channels = []int{2, 6} })},
		"kept channel 2 after 2":                {stream(good), with(func(o *Options) { o.Channels = []int{2, 2} })},
		"kept channel -1":                       {stream(good), with(func(o *Options) { o.Channels = []int{-1} })},
	} {
		_, err := Fit(t.Context(), c.feats, c.o)
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, err, "padim: ")
	}
	boom := errors.New("boom")
	_, err := Fit(t.Context(), func(context.Context, func([]*tensor.Dense) error) error { return boom }, base)
	require.ErrorIs(t, err, boom)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Fit(ctx, stream(good, good), base)
	require.ErrorIs(t, err, context.Canceled)
}

// The same images give the same bytes on any number of cores.
func TestFitIsReproducible(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, native := range []bool{false, true} {
		o := profile(t, "f2pad")
		o.Native, o.Keep = native, 8
		var files [][]byte
		for _, cores := range []int{1, 5} {
			runtime.GOMAXPROCS(cores)
			files = append(files, methodtest.Encode(t, fitted(t, o, threeLayers)))
		}
		require.Equal(t, files[0], files[1])
	}
}

// The factors of equal float64 covariances, stored as float32.
var float32Factor = compare.Tolerance{Abs: 1e-6, Rel: 1e-6}

// A mean far above the spread costs no digits. Features are multiples of 1/8, so that moving them by 2^20 is exact.
func TestLargeMeans(t *testing.T) {
	for _, native := range []bool{false, true} {
		o := profile(t, "f2pad")
		o.Native = native
		var models []*Model
		for _, by := range []float64{0, 1 << 20} {
			var images [][]*tensor.Dense
			for i := range 12 {
				f := methodtest.Batch(uint64(i), 1, oneLayer)
				for i, v := range nd.Data(f[0]) {
					nd.Data(f[0])[i] = float32(math.Round(float64(v)*8)/8 + by)
				}
				images = append(images, f)
			}
			m, err := Fit(t.Context(), stream(images...), o)
			require.NoError(t, err)
			models = append(models, m)
		}
		compare.Require(t, "factor", models[1].factor, models[0].factor, float32Factor)
	}
}

// Native images may differ in size, and the Gaussian is that of all their locations together.
func TestNativeSizes(t *testing.T) {
	o := profile(t, "paper")
	o.Native = true
	whole := methodtest.Batch(5, 1, []methodtest.Layer{{C: 3, H: 50, W: 60}}) // more than one chunk of locations
	top, rest := nd.New(1, 3, 20, 60), nd.New(1, 3, 30, 60)
	for c := range 3 {
		plane := nd.Data(whole[0])[c*3000 : (c+1)*3000]
		copy(nd.Data(top)[c*1200:], plane[:1200])
		copy(nd.Data(rest)[c*1800:(c+1)*1800], plane[1200:])
	}
	a, err := Fit(t.Context(), stream(whole), o)
	require.NoError(t, err)
	b, err := Fit(t.Context(), stream([]*tensor.Dense{top}, []*tensor.Dense{rest}), o)
	require.NoError(t, err)
	compare.Require(t, "mean", b.mean, a.mean, float32Factor)
	compare.Require(t, "factor", b.factor, a.factor, float32Factor)
	require.NoError(t, b.Score(t.Context(), whole, &method.Result{S: nd.New(1, 50, 60), Origins: [][2]int{{1000, 0}}}))
}

func TestScoreAtTheMeanIsZeroWithZeroGradient(t *testing.T) {
	m := fitted(t, profile(t, "f2pad"), oneLayer)
	f := methodtest.Batch(1, 1, oneLayer)
	for v := range m.h * m.w {
		for k, x := range m.mean[v*len(m.channels) : (v+1)*len(m.channels)] {
			nd.Data(f[0])[k*m.h*m.w+v] = x
		}
	}
	r := &method.Result{S: nd.New(1, m.h, m.w), Image: []float32{-7}, Gradient: true}
	require.NoError(t, m.Score(t.Context(), f, r))
	require.Equal(t, make([]float32, m.h*m.w), nd.Data(r.S))
	require.Equal(t, []float32{-7}, r.Image, "the image score is the map's maximum: left to the caller")
	df := methodtest.Batch(2, 1, oneLayer)
	dS := nd.New(1, m.h, m.w)
	for i := range nd.Data(dS) {
		nd.Data(dS)[i] = 1
	}
	require.NoError(t, m.Grad(t.Context(), f, r, dS, df))
	require.Equal(t, make([]float32, len(nd.Data(df[0]))), nd.Data(df[0]))
}

func TestWindowBeyondTheModelsGrid(t *testing.T) {
	m := fitted(t, profile(t, "f2pad"), oneLayer)
	f := methodtest.Batch(1, 1, oneLayer)
	for _, origin := range [][2]int{{1, 0}, {0, 1}} {
		err := m.Score(t.Context(), f, &method.Result{S: nd.New(1, 16, 18), Origins: [][2]int{origin}})
		require.ErrorContains(t, err, "but the model has 16x18: it was fitted for one image size")
	}
}

func TestInvertCholesky(t *testing.T) {
	a := []float64{4, 2, 5, -2, 1, 6} // rows of the lower triangle
	l := slices.Clone(a)
	require.True(t, cholesky.Invert(l, 3))
	full := func(p []float64, i, j int) float64 {
		if j > i {
			return 0
		}
		return p[cholesky.Packed(i)+j]
	}
	for i := range 3 {
		for j := range 3 {
			sum := 0.0 // of M A M', which must be the identity
			for p := range 3 {
				for q := range 3 {
					sum += full(l, i, p) * full(a, max(p, q), min(p, q)) * full(l, j, q)
				}
			}
			want := 0.0
			if i == j {
				want = 1
			}
			require.InDelta(t, want, sum, 1e-12)
		}
		require.Positive(t, full(l, i, i))
	}
	require.False(t, cholesky.Invert([]float64{1, 2, 4}, 2), "singular")
	require.False(t, cholesky.Invert([]float64{math.Inf(1)}, 1))
	require.False(t, cholesky.Invert([]float64{math.NaN()}, 1))
}

func TestLoadRefuses(t *testing.T) {
	o := profile(t, "f2pad")
	o.Keep = 3
	m := fitted(t, o, oneLayer)
	info := stored{revision, name, m.opts, m.widths, [2]int{m.h, m.w}}
	change := func(f func(*stored)) any {
		c := info
		c.Layers = slices.Clone(c.Layers)
		f(&c)
		return c
	}
	states := m.h * m.w
	spoilt := slices.Clone(m.factor)
	spoilt[6*5+2] = -spoilt[6*5+2]
	zeros := make([]float32, states*3)
	for text, parts := range map[string]struct {
		info     any
		channels []int32
		mean     []float32
		factor   []float32
	}{
		`"method/info": padim: state of method "cflow"`:       {info: change(func(s *stored) { s.Method = "cflow" })},
		`"method/info": padim: unknown profile`:               {info: change(func(s *stored) { s.Options.Profile = "" })},
		`"method/info": padim: grid of 0x18 Gaussians`:        {info: change(func(s *stored) { s.Grid[0] = 0 })},
		`"method/info": padim: grid of 4294967296x4294967296`: {info: change(func(s *stored) { s.Grid = [2]int{1 << 32, 1 << 32} })},
		`"method/info": padim: grid of 16x18 Gaussians`:       {info: change(func(s *stored) { s.Options.Native = true })},
		`"method/info": padim: layer of -1 channels`:          {info: change(func(s *stored) { s.Layers[0] = -1 })},
		`"method/info": padim: layer of 32769 channels`:       {info: change(func(s *stored) { s.Layers[0] = 1<<15 + 1 })},
		`"method/info": json: unknown field`:                  {info: map[string]int{"x": 1}},
		`"method/channels": padim: kept channel 6`:            {channels: []int32{0, 1, 6}},
		`"method/channels": padim: kept channel 1 after 1`:    {channels: []int32{0, 1, 1}},
		`"method/mean": shape [288 3], want [288 2]`:          {channels: []int32{0, 1}},
		`"method/mean": shape [287 3], want [288 3]`:          {mean: zeros[3:]},
		`"method/factor": shape [287 6], want [288 6]`:        {factor: m.factor[6:]},
		`"method/factor": padim: diagonal value -`:            {factor: spoilt},
	} {
		w := artifact.NewWriter()
		channels := parts.channels
		if channels == nil {
			channels = []int32{int32(m.channels[0]), int32(m.channels[1]), int32(m.channels[2])}
		}
		mean, factor := parts.mean, parts.factor
		if mean == nil {
			mean = m.mean
		}
		if factor == nil {
			factor = m.factor
		}
		if parts.info == nil {
			parts.info = info
		}
		require.NoError(t, w.JSON("method/info", parts.info))
		require.NoError(t, w.Int32("method/channels", channels))
		require.NoError(t, w.Float32("method/mean", mean, len(mean)/3, 3))
		require.NoError(t, w.Float32("method/factor", factor, len(factor)/6, 6))
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
	o := profile(t, "paper")
	o.Keep = 7
	data, err := json.Marshal(fitted(t, o, threeLayers).Describe())
	require.NoError(t, err)
	require.JSONEq(t, `{"profile":"paper","seed":0,"native":false,"keep":7,"ridge":0.01,"window":1,"global":0,
		"layers":[5,4,3],"kept":7,"grid":[16,20]}`, string(data))
}

func TestOneGaussianIsOfWhatIsLearnedFrom(t *testing.T) {
	methodtest.LearnsWhere(t, []methodtest.Layer{{C: 4, H: 16, W: 16}, {C: 6, H: 8, W: 8}}, func(f method.Fitting) (method.Method, error) {
		o, err := ProfileOptions("f2pad")
		require.NoError(t, err)
		o.Native = true
		return FitWith(t.Context(), o, f)
	})
}

func TestPlansSayWhatAFitTakes(t *testing.T) {
	p, err := plan(method.Fitting{}, [][3]int{{48, 64, 64}}, 1000)
	require.NoError(t, err)
	require.Equal(t, method.Plan{Bytes: 64 * 64 * 6 * 48 * 49, Work: 1}, p)
	p, err = plan(method.Fitting{Profile: "paper", Native: true}, [][3]int{{256, 64, 64}, {512, 32, 32}, {1024, 16, 16}}, 10)
	require.NoError(t, err)
	require.Equal(t, method.Plan{Bytes: 6 * 550 * 551, Work: 1}, p)
}
