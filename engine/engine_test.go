package engine

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/internal/stage"
	"f2pad.example/engine/method"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/peak"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"
	"f2pad.example/engine/synth"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// product is a small synthetic data set with a model of each method and kind of size, made once for all tests.
type product struct {
	dir    string
	data   *dataset.Dataset
	few    []dataset.Item // the first test image of each class
	models map[string]func() (*Model, error)
}

var theProduct = sync.OnceValues(func() (*product, error) {
	dir, err := os.MkdirTemp("", "f2pad-engine-test-")
	if err != nil {
		return nil, err
	}
	p := &product{dir: dir, models: map[string]func() (*Model, error){}}
	ctx := context.Background()
	if err := synth.Write(ctx, filepath.Join(dir, "weave"), synth.Options{Texture: "weave", Train: 12, Test: 10, Size: 96, Seed: 3}, nil); err != nil {
		return nil, err
	}
	if p.data, err = dataset.MVTec(filepath.Join(dir, "weave")); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, it := range p.data.Test {
		if !seen[it.Class] {
			p.few = append(p.few, it)
		}
		seen[it.Class] = true
	}
	for _, m := range Methods() {
		for _, size := range []Size{{}, {Px: 128}} {
			o := FitOptions{Method: m, Size: size, Seed: 5, Paintings: fewPaintings}
			p.models[m+" "+size.String()] = sync.OnceValues(func() (*Model, error) {
				return Fit(ctx, p.data.Train, o, func(it dataset.Item, err error) { panic(err) })
			})
		}
	}
	return p, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if p, err := theProduct(); err == nil {
		os.RemoveAll(p.dir)
	}
	os.Exit(code)
}

// optimiseAll has every region optimised, whatever its fill explains: those of the made-up images explain all.
func optimiseAll(m *Model) {
	m.Info.Refine.Optimiser.ExplainedFrom, m.Info.Refine.Optimiser.ExplainedTo = 0, 1
}

// fewPaintings are enough for models that are not judged by their thresholds.
const fewPaintings = 12

func fixture(t *testing.T) *product {
	t.Helper()
	p, err := theProduct()
	require.NoError(t, err)
	return p
}

func (p *product) model(t *testing.T, name string) *Model {
	t.Helper()
	m, err := p.models[name]()
	require.NoError(t, err)
	return m
}

// methods lists what is tested: with -short, as under the race detector, one stands for all.
func methods() []string {
	if testing.Short() {
		return Methods()[:1]
	}
	return Methods()
}

// names lists the models of methods.
func names() (names []string) {
	for _, m := range methods() {
		names = append(names, m+" native", m+" 128")
	}
	return names
}

// scored runs items through a model and returns the results by image.
// scored are the results of a model's engine that optimises every region.
func scored(t *testing.T, m *Model, o Options, items []dataset.Item) map[string]*Result {
	t.Helper()
	all := *m
	optimiseAll(&all)
	e, err := New(&all, o)
	require.NoError(t, err)
	defer e.Close()
	out := map[string]*Result{}
	require.NoError(t, e.Score(t.Context(), slices.Values(items), func(r *Result) error {
		out[r.Item.ID] = r
		return nil
	}))
	require.Len(t, out, len(items))
	return out
}

func requireSame(t *testing.T, want, got map[string]*Result) {
	t.Helper()
	for id, w := range want {
		g := got[id]
		require.NoError(t, w.Err)
		require.NoError(t, g.Err)
		require.Equal(t, math.Float64bits(w.Score), math.Float64bits(g.Score), id)
		require.Equal(t, w.Refined, g.Refined, id)
		for k, m := range w.Maps {
			require.Equal(t, nd.Data(m), nd.Data(g.Maps[k]), "%s: %s", id, k)
		}
	}
}

func TestSameImageSameBytes(t *testing.T) {
	p := fixture(t)
	for _, name := range names() {
		t.Run(name, func(t *testing.T) {
			m := p.model(t, name)
			one := runtime.GOMAXPROCS(1)
			defer runtime.GOMAXPROCS(one)
			want := scored(t, m, Options{Maps: Kinds(), Batch: 1}, p.few)
			refined := 0
			for _, r := range want {
				if r.Refined {
					refined++
				}
			}
			require.NotZero(t, refined, "nothing was refined: the test compares too little")
			shuffled := slices.Clone(p.few)
			rand.New(rand.NewPCG(1, 1)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			requireSame(t, want, scored(t, m, Options{Maps: Kinds(), Batch: 7}, shuffled))
			runtime.GOMAXPROCS(2)
			requireSame(t, want, scored(t, m, Options{Maps: Kinds(), Batch: 7}, p.few))
			requireSame(t, want, scored(t, m, Options{Maps: Kinds(), Batch: 32}, shuffled))
		})
	}
}

func TestAModelSurvivesItsFile(t *testing.T) {
	p := fixture(t)
	for _, name := range names() {
		t.Run(name, func(t *testing.T) {
			m := p.model(t, name)
			path := filepath.Join(t.TempDir(), "model.f2pad")
			hash, err := m.Save(path)
			require.NoError(t, err)
			loaded, err := Load(path)
			require.NoError(t, err)
			require.Equal(t, hash, loaded.SHA256())
			require.Equal(t, m.Info, loaded.Info)
			again := filepath.Join(t.TempDir(), "again.f2pad")
			rehash, err := loaded.Save(again)
			require.NoError(t, err)
			require.Equal(t, hash, rehash, "the same model is the same file")
			items := p.few
			requireSame(t, scored(t, m, Options{Maps: Kinds()}, items), scored(t, loaded, Options{Maps: Kinds()}, items))
		})
	}
}

func TestFitIsReproducible(t *testing.T) {
	p := fixture(t)
	for _, m := range methods() {
		again, err := Fit(t.Context(), p.data.Train, FitOptions{Method: m, Seed: 5, Paintings: fewPaintings}, nil)
		require.NoError(t, err)
		a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
		want, err := p.model(t, m+" native").Save(a)
		require.NoError(t, err)
		got, err := again.Save(b)
		require.NoError(t, err)
		require.Equal(t, want, got, m)
	}
}

// windowTolerance: windows add a pixel's gradient in another order than the whole image does, and the optimisation carries
// the rounding on; a map's values are of the order of one.
var windowTolerance = compare.Tolerance{Abs: 2e-3}

func TestWindowsAreSeamless(t *testing.T) {
	p := fixture(t)
	for _, method := range methods() {
		t.Run(method, func(t *testing.T) {
			m := p.model(t, method+" native")
			items := p.few
			whole := scored(t, m, Options{Maps: Kinds()}, items)
			parts := scored(t, m, Options{Maps: Kinds(), MaxPixels: 64 * 64}, items)
			for id, w := range whole {
				require.Equal(t, w.Score, parts[id].Score, id)
				require.Equal(t, nd.Data(w.Maps[refine.Base]), nd.Data(parts[id].Maps[refine.Base]), id)
				require.Equal(t, nd.Data(w.Maps[refine.Residual]), nd.Data(parts[id].Maps[refine.Residual]), id)
				compare.Require(t, id, nd.Data(parts[id].Maps[refine.F2PAD]), nd.Data(w.Maps[refine.F2PAD]), windowTolerance)
			}
		})
	}
}

// The scorer's map of an image is the method's own, calibrated, whichever image of the batch it is a variant of.
func TestMapIsTheMethodsOwn(t *testing.T) {
	p := fixture(t)
	for _, name := range names() {
		t.Run(name, func(t *testing.T) {
			m := p.model(t, name)
			e, err := New(m, Options{})
			require.NoError(t, err)
			defer e.Close()
			c := e.at[0]
			cal := m.Info.Calibration
			sc := &sight.Scorer{Detector: c.detector, Spec: c.spec, Rank: cal.maps()}
			var y [][]float32
			var H, W int
			for i := range 2 {
				f := e.decode(p.data.Test[i], ample).frame
				require.NotNil(t, f)
				H, W = f.Size()
				sc.Frames = append(sc.Frames, f)
				y, sc.Norms = append(y, nd.Data(f.Y)), append(sc.Norms, m.backbone.Normalize(f.Y))
				sc.Norms[i].Shift[0] += float32(i) // not every backbone looks at the image
			}
			require.Len(t, y[1], len(y[0]))
			x, want, v := nd.New(2, 3, H, W), nd.New(2, H, W), nd.New(1, H, W)
			copy(nd.Data(x), slices.Concat(y...))
			s, err := sc.Start(t.Context(), x, nil)
			require.NoError(t, err)
			require.NoError(t, c.detector.Maps(nd.Data(s), 2, H/e.stride, W/e.stride, H, W, nil, nd.Data(want)))
			where := make([]bool, H*W)
			for p := range where {
				where[p] = p%W > W/2 && p/W < H/3 || p == H*W-1
			}
			require.NoError(t, sc.Map(t.Context(), refine.Variants{Of: []int{1}}, where, v))
			for p, got := range nd.Data(v) {
				if where[p] {
					require.Equal(t, float32((float64(nd.Data(want)[H*W+p])-cal.MapQ50)/(cal.MapQ995-cal.MapQ50)), got)
				}
			}

			// The images as they are, in another order, and moved; the same pixels may come from outside, as changes of all of them.
			all, two, shifted := slices.Repeat([]bool{true}, 2*H*W), nd.New(2, H, W), nd.New(2, 3, H, W)
			changes := make([]refine.Change, 2)
			for k := range changes {
				changes[k].Values = nd.Data(shifted)[3*k*H*W:][:3*H*W]
				for p := range H * W {
					changes[k].Pixels = append(changes[k].Pixels, int32(p))
				}
			}
			for _, by := range [][2]int{{0, 0}, {-3, 5}} {
				for k := range 6 {
					pixel.Moved(nd.Data(shifted)[k*H*W:][:H*W], y[1-k/3][k%3*H*W:][:H*W], H, W, by[0], by[1])
				}
				require.NoError(t, sc.Map(t.Context(), refine.Variants{Of: []int{1, 0}, Changes: changes}, all, two))
				outside := slices.Clone(nd.Data(two))
				require.NoError(t, sc.Map(t.Context(), refine.Variants{Of: []int{1, 0}, DY: by[0], DX: by[1]}, all, two))
				require.Equal(t, outside, nd.Data(two), "moved by %v", by)
				require.Equal(t, by == [2]int{}, nd.Data(v)[H*W-1] == nd.Data(two)[H*W-1], "moved by %v is another image", by)
			}
		})
	}
}

// Every stage is told of, once for each image of it; what is a part of another takes no longer.
func TestTimerIsToldOfAllStages(t *testing.T) {
	p := fixture(t)
	var mu sync.Mutex
	took, images := map[Stage]time.Duration{}, map[Stage]int{}
	m := *p.model(t, names()[0])
	optimiseAll(&m)
	scored(t, &m, Options{Maps: Kinds(), Batch: 2, Timer: func(s Stage, n int, t Took) {
		mu.Lock()
		defer mu.Unlock()
		took[s] += t.Wall
		images[s] += n
	}}, p.few)
	for _, s := range Stages() {
		if s == stage.Write {
			require.NotContains(t, took, s, "the engine writes nothing")
			continue
		}
		require.Positive(t, took[s], "%s", s)
	}
	for _, s := range []Stage{stage.Decode, stage.Frame, stage.Features, stage.Scores, stage.Maps, stage.Regions, stage.Restore} {
		require.Equal(t, len(p.few), images[s], "%s", s)
	}
	require.LessOrEqual(t, took[stage.Gradients], took[stage.Optimise])
	require.LessOrEqual(t, took[stage.Asked], took[stage.Explain]+took[stage.Looks])
}

// On one core stages are told of their processor time, which together is no more than the process has had.
func TestTimerIsToldOfTheProcessor(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: only Linux tells a thread's processor time")
	}
	p := fixture(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var spent Spent
	m := *p.model(t, names()[0])
	optimiseAll(&m)
	before := peak.Clock()
	scored(t, &m, Options{Maps: Kinds(), Batch: 2, Timer: spent.Add}, p.few)
	all, sum := peak.Clock()-before, 0.0
	times := spent.Times()
	require.Len(t, times, len(Stages())-1, "all but the writing of files")
	for _, s := range times {
		require.Positive(t, s.CPU, "%s", s.Stage)
		if !s.Part {
			sum += s.CPU
		}
	}
	require.LessOrEqual(t, sum, all)
}

// What the refinement looks at is a share of the frame; the base map looks at nothing.
func TestSuspect(t *testing.T) {
	p := fixture(t)
	m := p.model(t, names()[0])
	refined := 0
	for _, r := range scored(t, m, Options{Maps: Kinds()}, p.few) {
		require.Equal(t, r.Refined, r.Suspect > 0)
		require.Less(t, r.Suspect, 0.7)
		if r.Refined {
			refined++
		}
	}
	require.Positive(t, refined)
	for _, r := range scored(t, m, Options{Maps: []refine.Kind{refine.Base}}, p.few) {
		require.Zero(t, r.Suspect)
	}
}

// The work is that of the frame, not of the file.
func TestWork(t *testing.T) {
	m := *fixture(t).model(t, names()[0])
	m.Info.Size = Size{}
	native, err := m.Work(64, 130)
	require.NoError(t, err)
	require.GreaterOrEqual(t, native.Width, 130)
	require.Zero(t, native.Width%m.backbone.Multiple())
	require.Equal(t, 64, native.Height)
	require.Positive(t, native.Values)
	m.Info.Size = Size{Px: 64}
	fixed, err := m.Work(3000, 4000)
	require.NoError(t, err)
	require.Equal(t, [2]int{64, 64}, [2]int{fixed.Height, fixed.Width})
	ratio := float64(native.Height*native.Width) / (64 * 64)
	require.InEpsilon(t, ratio*float64(fixed.Flops), native.Flops, 0.05)
	require.Equal(t, fixed.Weights, native.Weights)
}

// begun is a batch of one image that a Host has scored, with so many pixels of context around what is optimised, and its scores.
func begun(t *testing.T, m *Model, context int, x *tensor.Dense, norm backbone.Affine) (*sight.HostBatch, []float32) {
	t.Helper()
	d := sight.NewHost(goexec.New(), sight.Spec{Backbone: m.backbone, Method: m.method, MaxPixels: defaultMaxPixels, Context: context})
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	sh, stride := x.Shape(), m.backbone.Stride()
	r := &method.Result{S: nd.New(sh[0], sh[2]/stride, sh[3]/stride)}
	b, err := d.Begin(t.Context(), x, []backbone.Affine{norm}, r)
	require.NoError(t, err)
	return b.(*sight.HostBatch), nd.Data(r.S)
}

// gradientTolerance: central differences of float32 scores with a step of 1/4096. PatchCore's nearest neighbour may change
// within the step, where the score has a kink.
var gradientTolerance = compare.Tolerance{Abs: 0.005, Rel: 0.005}

func TestGradientOfTheWholeChain(t *testing.T) {
	p := fixture(t)
	for _, name := range names() {
		t.Run(name, func(t *testing.T) {
			m := p.model(t, name)
			e, err := New(m, Options{})
			require.NoError(t, err)
			d := e.decode(p.data.Test[0], ample)
			require.NoError(t, d.res.Err)
			H, W := d.frame.Size()
			norm := m.backbone.Normalize(d.frame.Y)
			cal := m.Info.Calibration
			onScale, where := cal.scores(), make([]bool, H/4*W/4)
			for _, v := range []int{0, 5, len(where) / 2, len(where)/2 + 1, len(where) - 1} {
				where[v] = true
			}
			energy := func(x []float32) float64 {
				_, raw := begun(t, m, 0, nd.Wrap(x, 1, 3, H, W), norm)
				sum := 0.0
				for v, on := range where {
					if on {
						sum += square{}.Value(onScale.Z(raw[v]))
					}
				}
				return sum
			}
			x := slices.Clone(nd.Data(d.frame.Y))
			dx, got := nd.New(1, 3, H, W), make([]float64, 1)
			batch, _ := begun(t, m, 0, nd.Wrap(x, 1, 3, H, W), norm)
			require.NoError(t, batch.Gradient(t.Context(), nd.Wrap(x, 1, 3, H, W), where, square{}, onScale, got, dx))
			require.InEpsilon(t, energy(x), got[0], 1e-5)

			// Along smooth random directions: single pixels change a score by less than float32 resolves.
			var analytic, numeric []float64
			r := rand.New(rand.NewPCG(11, 0))
			for range 6 {
				dir := make([]float32, len(x))
				fy, fx, phase := r.Float64()*0.6, r.Float64()*0.6, r.Float64()*6
				dot := 0.0
				for i := range dir {
					y, q := i/W%H, i%W
					dir[i] = float32(math.Sin(fy*float64(y)+fx*float64(q)+phase)) / 4096
					dot += float64(dir[i]) * float64(nd.Data(dx)[i])
				}
				up, down := slices.Clone(x), slices.Clone(x)
				for i, v := range dir {
					up[i] += v
					down[i] -= v
				}
				analytic = append(analytic, dot)
				numeric = append(numeric, (energy(up)-energy(down))/2)
			}
			scale := 0.0
			for _, v := range numeric {
				scale = max(scale, math.Abs(v))
			}
			for i := range numeric {
				analytic[i] /= scale
				numeric[i] /= scale
			}
			compare.Require(t, "directional derivatives", analytic, numeric, gradientTolerance)
		})
	}
}

// contextTolerance: the window adds the same numbers in another order than the whole image does.
var contextTolerance = compare.Tolerance{Abs: 1e-5, Rel: 1e-4}

// TestWindowsSeeEnough compares the gradient of a corner's cells, for which the network runs on a window, with that of the
// network and the method on the whole image.
func TestWindowsSeeEnough(t *testing.T) {
	p := fixture(t)
	for _, method := range methods() {
		t.Run(method, func(t *testing.T) {
			m := p.model(t, method+" 128")
			e, err := New(m, Options{})
			require.NoError(t, err)
			defer e.Close()
			f := e.decode(p.data.Test[0], ample).frame
			const side, cells = 128, 32
			norm := m.backbone.Normalize(f.Y)
			cal := m.Info.Calibration
			where := make([]bool, cells*cells)
			// Cells that the lattice gives no more room than they ask for.
			where[26*cells+26], where[26*cells+27] = true, true
			x := nd.Wrap(nd.Data(f.Y), 1, 3, side, side)
			windows, _ := begun(t, m, 0, x, norm)
			require.True(t, windows.Net.Exact)
			whole, _ := begun(t, m, 4*side, x, norm)
			got, energy := nd.New(1, 3, side, side), make([]float64, 1)
			require.NoError(t, windows.Gradient(t.Context(), x, where, square{}, cal.scores(), energy, got))
			want, wantEnergy, unit := nd.New(1, 3, side, side), make([]float64, 1), 0.0
			require.NoError(t, whole.Gradient(t.Context(), x, where, square{}, cal.scores(), wantEnergy, want))
			require.Equal(t, wantEnergy, energy)
			for _, v := range nd.Data(want) {
				unit = max(unit, math.Abs(float64(v)))
			}
			for i := range nd.Data(want) {
				nd.Data(want)[i] /= float32(unit)
				nd.Data(got)[i] /= float32(unit)
			}
			compare.Require(t, "gradient", nd.Data(got), nd.Data(want), contextTolerance)
		})
	}
}

// square is a smooth energy.
type square struct{}

func (square) Value(z float64) float64 { return z * z / 2 }
func (square) Slope(z float64) float64 { return z }

func TestScoreGoesOnAfterBadImages(t *testing.T) {
	p := fixture(t)
	bad := filepath.Join(t.TempDir(), "notes.png")
	require.NoError(t, os.WriteFile(bad, []byte("not an image"), 0o600))
	items := slices.Insert(slices.Clone(p.data.Test), 3,
		dataset.Item{Path: bad, ID: "notes.png"}, dataset.Item{Path: "gone.png", ID: "gone.png"})
	got := scored(t, p.model(t, "padim native"), Options{Batch: 2}, items)
	for _, it := range items {
		if r := got[it.ID]; it.Class == "" {
			require.ErrorContains(t, r.Err, it.Path)
		} else {
			require.NoError(t, r.Err)
		}
	}
}

func TestFitReportsWhatItLeavesOut(t *testing.T) {
	p := fixture(t)
	bad := filepath.Join(t.TempDir(), "empty.png")
	require.NoError(t, os.WriteFile(bad, nil, 0o600))
	var skipped []string
	skip := func(it dataset.Item, err error) { skipped = append(skipped, fmt.Sprint(it.ID, ": ", err)) }
	items := append([]dataset.Item{{Path: bad, ID: "empty.png"}}, p.data.Train[:5]...)
	m, err := Fit(t.Context(), items, FitOptions{Method: "padim"}, skip)
	require.NoError(t, err)
	require.Equal(t, 5, m.Info.Train+m.Info.HeldOut)
	require.Len(t, skipped, 1)
	require.Contains(t, skipped[0], bad)

	_, err = Fit(t.Context(), items[:4], FitOptions{Method: "padim"}, skip)
	require.ErrorIs(t, err, ErrFewImages)
	_, err = Fit(t.Context(), items, FitOptions{Method: "magic"}, skip)
	require.ErrorContains(t, err, "want one of padim, patchcore")
}

func TestCancelledScoreEmitsWholeBatches(t *testing.T) {
	p := fixture(t)
	e, err := New(p.model(t, "padim 128"), Options{Batch: 4})
	require.NoError(t, err)
	defer e.Close()
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err = e.Score(ctx, slices.Values(p.data.Test), func(r *Result) error {
		require.NoError(t, r.Err)
		n++
		cancel()
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Contains(t, []int{2, 4}, n, "the batch of the first image, and the one beside it if that had begun")
}

func TestEvalMeasuresTheGain(t *testing.T) {
	p := fixture(t)
	for _, method := range methods() {
		t.Run(method, func(t *testing.T) {
			m := p.model(t, method+" native")
			visited := 0
			rows, err := Eval(t.Context(), m, p.data.Test, EvalOptions{
				Options: Options{}, TempDir: t.TempDir(),
				Failed: func(it dataset.Item, err error) { t.Errorf("%s: %v", it.ID, err) },
				Visit:  func(*Case) error { visited++; return nil },
			})
			require.NoError(t, err)
			require.Equal(t, len(p.data.Test), visited)
			require.Len(t, rows, 3*(len(synth.Defects())+1))
			last := rows[len(rows)-3:]
			for i, k := range Kinds() {
				require.Equal(t, All, last[i].Category)
				require.Equal(t, string(k), last[i].Map)
				require.Equal(t, len(p.data.Test), last[i].Images)
			}
			base, f2pad := last[0], last[2]
			require.Greater(t, float64(f2pad.PixelAP), float64(base.PixelAP))
			require.Greater(t, float64(f2pad.DiceOracle), float64(base.DiceOracle))
			require.Greater(t, float64(f2pad.BoundaryF), float64(base.BoundaryF))

			require.Equal(t, 4*len(p.data.Test)/5, f2pad.Defective, "one class of five is normal")
			require.False(t, base.Worse.Defined())
			require.True(t, f2pad.Worse >= 0 && f2pad.Worse <= 1)
			require.Nil(t, base.OverBase)
			require.Nil(t, last[1].OverControl)
			for _, c := range []struct {
				over *metric.Interval
				gain metric.Value
			}{
				{last[1].OverBase, last[1].PixelAP - base.PixelAP},
				{f2pad.OverBase, f2pad.PixelAP - base.PixelAP},
				{f2pad.OverControl, f2pad.PixelAP - last[1].PixelAP},
			} {
				require.True(t, c.over.Low <= float64(c.gain) && float64(c.gain) <= c.over.High, "%v in %v", c.gain, *c.over)
			}
		})
	}
}

func TestLimitPerClass(t *testing.T) {
	var items []dataset.Item
	for i := range 10 {
		items = append(items, dataset.Item{ID: fmt.Sprint(i), Class: "hole"}, dataset.Item{ID: fmt.Sprint(i), Class: "good"})
	}
	items = append(items, dataset.Item{ID: "0", Class: "stain"})
	for _, c := range []struct {
		n      int
		spread bool
		want   string
	}{
		{0, true, "0123456789"}, {1, false, "0"}, {3, false, "012"}, {10, false, "0123456789"}, {99, false, "0123456789"},
		{1, true, "5"}, {2, true, "27"}, {3, true, "158"}, {5, true, "13579"}, {9, true, "012356789"}, {10, true, "0123456789"},
		{99, true, "0123456789"},
	} {
		var got, stain string
		for _, it := range limitPerClass(items, c.n, c.spread) {
			switch it.Class {
			case "hole":
				got += it.ID
			case "stain":
				stain += it.ID
			}
		}
		require.Equal(t, c.want, got, "%d, spread %v", c.n, c.spread)
		require.Equal(t, "0", stain)
	}
}

// tilesDir holds a set of real images with ground truth, beside the project on the machines that have it.
const tilesDir = "../../shared/data/magnetic-tile"

func TestRealImages(t *testing.T) {
	data, err := dataset.MVTec(tilesDir)
	if err != nil {
		t.Skipf("SKIPPED: no real images: %v", err)
	}
	m, err := Fit(t.Context(), data.Train[:20], FitOptions{Method: "padim"}, nil)
	require.NoError(t, err)
	rows, err := Eval(t.Context(), m, data.Test, EvalOptions{
		Limit: 2, TempDir: t.TempDir(),
		Failed: func(it dataset.Item, err error) { t.Errorf("%s: %v", it.ID, err) },
	})
	require.NoError(t, err)
	require.Len(t, rows, 9, "blowhole, break, all: three maps each")
	for _, r := range rows {
		require.True(t, r.PixelAP.Defined() && r.AUPRO.Defined() && r.BoundaryF.Defined(), "%+v", r)
		require.Equal(t, map[string]int{"blowhole": 4, "break": 4, All: 6}[r.Category], r.Images)
	}
}
