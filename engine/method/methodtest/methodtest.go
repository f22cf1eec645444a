// Package methodtest is the suite that every method.Method must pass.
package methodtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// Layer is the shape of one layer's feature map of one image.
type Layer struct{ C, H, W int }

// Batch makes reproducible feature maps of n images: a pattern of their own per layer and location, and noise.
func Batch(seed uint64, n int, layers []Layer) []*tensor.Dense {
	rng := rand.New(rand.NewPCG(seed, 0))
	f := make([]*tensor.Dense, len(layers))
	for l, s := range layers {
		f[l] = nd.New(n, s.C, s.H, s.W)
		for i := range nd.Data(f[l]) {
			v := i % (s.C * s.H * s.W)
			nd.Data(f[l])[i] = float32(2*math.Sin(float64(v)*0.7+float64(l)) + rng.NormFloat64())
		}
	}
	return f
}

// Images streams count images like Batch's.
func Images(seed uint64, count int, layers []Layer) method.Features {
	return func(_ context.Context, visit func([]*tensor.Dense) error) error {
		for i := range count {
			if err := visit(Batch(seed+uint64(i), 1, layers)); err != nil {
				return err
			}
		}
		return nil
	}
}

// Suite is a fitted method and what it is tested on.
type Suite struct {
	Method method.Method
	Load   func(*artifact.File) (method.Method, error)
	// Layers of the images; every layer's grid divides the first one's, which has at least 16 x 16 cells.
	Layers []Layer
	// Differences is what the gradient may differ by from differences; none: a relative 1e-3.
	Differences compare.Tolerance
	// Kink is by which share of the slope differences to both sides may disagree where the score is smooth; 0: 0.01. A method with
	// many small kinks needs less: half of it may be left in their mean.
	Kink float64
	// Context is how many cells around a location its score may depend on.
	Context int
}

const (
	images = 5
	seed   = 1000
)

// Test runs the suite.
func Test(t *testing.T, s Suite) {
	t.Run("Gradient", s.gradient)
	t.Run("Batch", s.batch)
	t.Run("Cores", s.cores)
	t.Run("Where", s.where)
	t.Run("Window", s.window)
	t.Run("File", s.file)
	t.Run("Concurrent", s.concurrent)
	t.Run("Description", s.description)
	t.Run("BadInput", s.badInput)
	t.Run("Cancelled", s.cancelled)
}

// run is what a method says about a batch.
type run struct {
	s, image []float32
	df       [][]float32
}

// eval scores f, with image scores if where is nil, and pulls back dS (nil: a fixed pattern on the wanted locations).
func eval(t require.TestingT, m method.Method, f []*tensor.Dense, where []bool, origins [][2]int, dS []float32) run {
	sh := f[0].Shape()
	r := &method.Result{S: nd.New(sh[0], sh[2], sh[3]), Where: where, Origins: origins, Gradient: true}
	if where == nil {
		r.Image = make([]float32, sh[0])
	}
	require.NoError(t, m.Score(context.Background(), f, r))
	if dS == nil {
		dS = make([]float32, sh[0]*sh[2]*sh[3])
		for i := range dS {
			if where == nil || where[i] {
				dS[i] = weight(i % (sh[2] * sh[3]))
			}
		}
	}
	df := make([]*tensor.Dense, len(f))
	for l := range f {
		df[l] = nd.New(f[l].Shape()...)
		for i := range nd.Data(df[l]) {
			nd.Data(df[l])[i] = float32(math.NaN()) // Grad must overwrite everything
		}
	}
	require.NoError(t, m.Grad(context.Background(), f, r, nd.Wrap(dS, sh[0], sh[2], sh[3]), df))
	out := run{s: nd.Data(r.S), image: r.Image}
	for _, d := range df {
		out.df = append(out.df, nd.Data(d))
	}
	return out
}

// weight is a gradient of the score at a location, zero at every fifth.
func weight(location int) float32 { return float32(location%5) * float32(1+location%3) * 0.25 }

func (s Suite) cells() int { return s.Layers[0].H * s.Layers[0].W }

// Central differences over steps that move the score by about 0.2 %: its third derivative leaves some 1e-5 of the slope,
// float32 rounding of the score 1e-4.
var differences = compare.Tolerance{Rel: 1e-3}

// gradient compares Grad with finite differences of Score, one location and one random direction at a time. Where the
// score has a kink within the step (a nearest neighbour changes), differences to both sides disagree and say nothing.
func (s Suite) gradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed, 1))
	f := Batch(seed, 1, s.Layers)
	var got, want []float64
	const tries = 40
	for range tries {
		v := rng.IntN(s.cells())
		where, dS := make([]bool, s.cells()), make([]float32, s.cells())
		where[v], dS[v] = true, 1
		here := eval(t, s.Method, f, where, nil, dS)
		move := func(by float64, dir [][]float64) float64 {
			g := make([]*tensor.Dense, len(f))
			for l := range f {
				x := slices.Clone(nd.Data(f[l]))
				for i := range x {
					x[i] += float32(by * dir[l][i])
				}
				g[l] = nd.Wrap(x, f[l].Shape()...)
			}
			return float64(eval(t, s.Method, g, where, nil, dS).s[v])
		}
		dir := make([][]float64, len(f))
		slope := 0.0
		for l := range f {
			dir[l] = make([]float64, len(here.df[l]))
			for i, d := range here.df[l] {
				dir[l][i] = rng.NormFloat64() + 30*float64(d) // mostly uphill: far from zero slope
				slope += dir[l][i] * float64(d)
			}
		}
		centre := float64(here.s[v])
		step := 0.002 * centre / math.Abs(slope)
		up, down := (move(step, dir)-centre)/step, (centre-move(-step, dir))/step
		if math.Abs(up-down) > cmp.Or(s.Kink, 0.01)*math.Abs(slope) {
			continue
		}
		got, want = append(got, slope), append(want, (up+down)/2)
	}
	require.Greater(t, len(got), tries/2, "smooth locations")
	compare.Require(t, "gradient", got, want, cmp.Or(s.Differences, differences))
}

// batch: an image's results are bitwise the same alone and among others, in any order.
func (s Suite) batch(t *testing.T) {
	f := Batch(seed, images, s.Layers)
	all := eval(t, s.Method, f, nil, nil, nil)
	for n := range images {
		one := make([]*tensor.Dense, len(f))
		for l, t := range f {
			size := nd.Size(t.Shape()[1:]...)
			one[l] = nd.Wrap(nd.Data(t)[n*size:(n+1)*size], append([]int{1}, t.Shape()[1:]...)...)
		}
		alone := eval(t, s.Method, one, nil, nil, nil)
		require.Equal(t, all.s[n*s.cells():(n+1)*s.cells()], alone.s)
		require.Equal(t, all.image[n], alone.image[0])
		for l, d := range alone.df {
			require.Equal(t, all.df[l][n*len(d):(n+1)*len(d)], d)
		}
	}
}

// cores: results are bitwise the same on one core and on many.
func (s Suite) cores(t *testing.T) {
	f := Batch(seed, images, s.Layers)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one := eval(t, s.Method, f, nil, nil, nil)
	runtime.GOMAXPROCS(7)
	require.Equal(t, one, eval(t, s.Method, f, nil, nil, nil))
}

// where: wanted locations get the scores and gradients that they get when all are wanted.
func (s Suite) where(t *testing.T) {
	const n = 2
	f := Batch(seed, n, s.Layers)
	rng := rand.New(rand.NewPCG(seed, 2))
	where, dS := make([]bool, n*s.cells()), make([]float32, n*s.cells())
	for i := range where {
		if where[i] = rng.IntN(7) == 0; where[i] {
			dS[i] = 1 + weight(i)
		}
	}
	full, part := eval(t, s.Method, f, nil, nil, dS), eval(t, s.Method, f, where, nil, dS)
	for i, on := range where {
		if on {
			require.Equal(t, full.s[i], part.s[i])
		}
	}
	require.Equal(t, full.df, part.df)
	none := eval(t, s.Method, f, make([]bool, n*s.cells()), nil, nil)
	for _, d := range none.df {
		require.Equal(t, make([]float32, len(d)), d)
	}
}

// window: windows of a batch that start in phase with every layer, each at a place of its own image, give their inner locations
// what the whole image gives them.
func (s Suite) window(t *testing.T) {
	phase := 1
	for _, l := range s.Layers {
		phase = max(phase, s.Layers[0].H/l.H, s.Layers[0].W/l.W)
	}
	origins := [][2]int{{phase, 2 * phase}, {0, 0}, {phase, 0}, {phase, 2 * phase}}
	N, H, W := len(origins), s.Layers[0].H, s.Layers[0].W
	h, w := H-phase, W-2*phase
	f := Batch(seed, N, s.Layers)
	cut := make([]*tensor.Dense, len(f))
	for l, s := range s.Layers {
		kh, kw := H/s.H, W/s.W
		h, w := h/kh, w/kw
		cut[l] = nd.New(N, s.C, h, w)
		for nc := range N * s.C {
			o := origins[nc/s.C]
			for i := range h {
				copy(nd.Data(cut[l])[(nc*h+i)*w:][:w], nd.Data(f[l])[(nc*s.H+i+o[0]/kh)*s.W+o[1]/kw:])
			}
		}
	}
	// inner says that a location depends on nothing that was cut off.
	inner := func(at, origin, size, whole int) bool {
		return (origin == 0 || at >= s.Context) && (origin+size == whole || at < size-s.Context)
	}
	whereCut, where := make([]bool, N*h*w), make([]bool, N*H*W)
	dSCut, dS := make([]float32, N*h*w), make([]float32, N*H*W)
	in := func(v int) int { // the whole image's location
		n, i, j := v/(h*w), v/w%h, v%w
		return (n*H+i+origins[n][0])*W + j + origins[n][1]
	}
	for v := range whereCut {
		o := origins[v/(h*w)]
		if u := in(v); inner(v/w%h, o[0], h, H) && inner(v%w, o[1], w, W) {
			whereCut[v], where[u] = true, true
			dSCut[v], dS[u] = 1+weight(u), 1+weight(u)
		}
	}
	full, part := eval(t, s.Method, f, where, nil, dS), eval(t, s.Method, cut, whereCut, origins, dSCut)
	for v, on := range whereCut {
		if on {
			require.Equal(t, full.s[in(v)], part.s[v], "image %d, cell %d,%d of the window", v/(h*w), v/w%h, v%w)
		}
	}
	for l, s := range s.Layers {
		kh, kw := H/s.H, W/s.W
		h, w := h/kh, w/kw
		for nc := range N * s.C {
			o := origins[nc/s.C]
			for i := range h {
				require.Equal(t, full.df[l][(nc*s.H+i+o[0]/kh)*s.W+o[1]/kw:][:w], part.df[l][(nc*h+i)*w:][:w], "layer %d", l)
			}
		}
	}
}

// file: a saved model loads, scores the same and saves to the same bytes.
func (s Suite) file(t *testing.T) {
	data := Encode(t, s.Method)
	require.Equal(t, data, Encode(t, s.Method))
	file, err := artifact.Read(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	loaded, err := s.Load(file)
	require.NoError(t, err)
	require.Equal(t, data, Encode(t, loaded))
	require.Equal(t, s.Method.Name(), loaded.Name())
	require.Equal(t, s.Method.Map(), loaded.Map())
	f := Batch(seed, images, s.Layers)
	require.Equal(t, eval(t, s.Method, f, nil, nil, nil), eval(t, loaded, f, nil, nil, nil))
}

// Encode returns a model file that holds m alone.
func Encode(t testing.TB, m method.Method) []byte {
	t.Helper()
	w := artifact.NewWriter()
	require.NoError(t, m.Save(w))
	var buf bytes.Buffer
	_, err := w.WriteTo(&buf)
	require.NoError(t, err)
	return buf.Bytes()
}

// concurrent: many callers at once get what one gets. Run it with -race.
// LearnsWhere checks that fit learns nothing from cells that Where leaves out: the left half alone is learned from, and what the
// last quarter is like makes no difference. Layers are at least 4 cells wide.
func LearnsWhere(t *testing.T, layers []Layer, fit func(method.Fitting) (method.Method, error)) {
	t.Helper()
	strange := func(ctx context.Context, visit func([]*tensor.Dense) error) error {
		return Images(seed, images, layers)(ctx, func(f []*tensor.Dense) error {
			for l, s := range layers {
				for i := range nd.Data(f[l]) {
					if i%s.W >= s.W-s.W/4 {
						nd.Data(f[l])[i] += 20
					}
				}
			}
			return visit(f)
		})
	}
	left := func(h, w int) []bool {
		where := make([]bool, h*w)
		for i := range where {
			where[i] = i%w < w/2
		}
		return where
	}
	encoded := func(feats method.Features, where func(h, w int) []bool) []byte {
		m, err := fit(method.Fitting{Features: feats, Where: where})
		require.NoError(t, err)
		return Encode(t, m)
	}
	plain := Images(seed, images, layers)
	require.Equal(t, encoded(plain, left), encoded(strange, left))
	require.NotEqual(t, encoded(plain, nil), encoded(strange, nil), "all is learned from where nothing is left out")
	require.NotEqual(t, encoded(plain, nil), encoded(plain, left))
}

func (s Suite) concurrent(t *testing.T) {
	f := Batch(seed, 2, s.Layers)
	want := eval(t, s.Method, f, nil, nil, nil)
	got := make([]run, 4)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i] = eval(panics{}, s.Method, f, nil, nil, nil) })
	}
	wg.Wait()
	for i := range got {
		require.Equal(t, want, got[i])
	}
}

// panics is a TestingT for goroutines that are not the test's own.
type panics struct{}

func (panics) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (panics) FailNow()                          {}

func (s Suite) description(t *testing.T) {
	data, err := json.Marshal(s.Method.Describe())
	require.NoError(t, err)
	require.Contains(t, string(data), `"profile"`)
	require.NotEmpty(t, s.Method.Name())
	shape := s.Method.Shape()
	for l, layer := range s.Layers {
		require.Equal(t, layer.C, shape.Widths[l])
	}
	require.Len(t, shape.Widths, len(s.Layers))
	require.Contains(t, []method.Shape{{}, {H: s.Layers[0].H, W: s.Layers[0].W}}, method.Shape{H: shape.H, W: shape.W})
}

// badInput: arguments that do not fit each other are errors.
func (s Suite) badInput(t *testing.T) {
	H, W := s.Layers[0].H, s.Layers[0].W
	f := Batch(seed, 1, s.Layers)
	wide := slices.Clone(s.Layers)
	wide[len(wide)-1].C++
	fine := slices.Clone(s.Layers)
	fine[0].H--
	for what, c := range map[string]struct {
		f []*tensor.Dense
		r method.Result
	}{
		"no layers":         {nil, method.Result{S: nd.New(1, H, W)}},
		"too many layers":   {append(slices.Clone(f), f[0]), method.Result{S: nd.New(1, H, W)}},
		"too many channels": {Batch(seed, 1, wide), method.Result{S: nd.New(1, H, W)}},
		"other grid":        {Batch(seed, 1, fine), method.Result{S: nd.New(1, H, W)}},
		"no scores":         {f, method.Result{}},
		"too few scores":    {f, method.Result{S: nd.New(1, H, W-1)}},
		"too many images":   {f, method.Result{S: nd.New(2, H, W)}},
		"short mask":        {f, method.Result{S: nd.New(1, H, W), Where: make([]bool, 3)}},
		"image scores":      {f, method.Result{S: nd.New(1, H, W), Image: make([]float32, 2)}},
		"part of an image":  {f, method.Result{S: nd.New(1, H, W), Image: make([]float32, 1), Where: make([]bool, H*W)}},
		"negative origin":   {f, method.Result{S: nd.New(1, H, W), Origins: [][2]int{{0, -1}}}},
		"too few origins":   {f, method.Result{S: nd.New(1, H, W), Origins: [][2]int{}}},
	} {
		require.ErrorContains(t, s.Method.Score(context.Background(), c.f, &c.r), s.Method.Name()+": ", what)
	}
	r := method.Result{S: nd.New(1, H, W)}
	require.NoError(t, s.Method.Score(context.Background(), f, &r))
	require.ErrorContains(t, s.Method.Grad(context.Background(), f, &r, nd.New(1, H, W), Batch(seed, 1, s.Layers)), "has not prepared")
	r.Gradient = true
	require.NoError(t, s.Method.Score(context.Background(), f, &r))
	for what, c := range map[string]struct {
		dS *tensor.Dense
		df []*tensor.Dense
	}{
		"no gradient":         {nil, f},
		"short gradient":      {nd.New(1, H, W-1), f},
		"no place":            {nd.New(1, H, W), nil},
		"place of other size": {nd.New(1, H, W), Batch(seed, 2, s.Layers)},
	} {
		require.ErrorContains(t, s.Method.Grad(context.Background(), f, &r, c.dS, c.df), s.Method.Name()+": ", what)
	}
}

func (s Suite) cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	f := Batch(seed, 1, s.Layers)
	r := method.Result{S: nd.New(1, s.Layers[0].H, s.Layers[0].W), Gradient: true}
	require.NoError(t, s.Method.Score(ctx, f, &r))
	cancel()
	dS := nd.New(1, s.Layers[0].H, s.Layers[0].W)
	nd.Data(dS)[0] = 1
	require.ErrorIs(t, s.Method.Grad(ctx, f, &r, dS, Batch(seed, 1, s.Layers)), context.Canceled)
	require.ErrorIs(t, s.Method.Score(ctx, f, &r), context.Canceled)
}

// Values are count reproducible numbers in [-1,1), multiples of 2^-23: those that testdata/values.py makes, so that
// golden files hold results only.
func Values(count, seed int) []float32 {
	x := make([]float32, count)
	for i := range x {
		h := uint32(i+seed*1000003) * 2654435761
		h ^= h >> 15
		h *= 2246822519
		h ^= h >> 13
		x[i] = float32(h>>8)/(1<<23) - 1
	}
	return x
}

// Golden makes the feature maps of n images, from number first on, out of Values.
func Golden(layers []Layer, first, n int) []*tensor.Dense {
	f := make([]*tensor.Dense, len(layers))
	for l, s := range layers {
		var x []float32
		for i := range n {
			x = append(x, Values(s.C*s.H*s.W, (first+i)*len(layers)+l)...)
		}
		f[l] = nd.Wrap(x, n, s.C, s.H, s.W)
	}
	return f
}

// GoldenImages streams images 0 to count-1 of Golden.
func GoldenImages(layers []Layer, count int) method.Features {
	return func(_ context.Context, visit func([]*tensor.Dense) error) error {
		for i := range count {
			if err := visit(Golden(layers, i, 1)); err != nil {
				return err
			}
		}
		return nil
	}
}
