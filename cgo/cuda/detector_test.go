//go:build cuda && cgo

package cuda

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"f2pad.example/cgo/fakecuda"
	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/backbone"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/cflow"
	"f2pad.example/engine/method/methodtest"
	"f2pad.example/engine/method/padim"
	"f2pad.example/engine/method/patchcore"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// pair is a network of two layers, with a cell for 2 and for 4 pixels.
type pair struct {
	backbone.Backbone // nil: nothing else is asked of it
	gain              [3]float32
}

func (pair) Name() string                { return "pair" }
func (pair) Stride() int                 { return 2 }
func (pair) Multiple() int               { return 4 }
func (pair) Margin() int                 { return 9 }
func (pair) MinSide() int                { return 8 }
func (pair) Widths() []int               { return []int{8, 12} }
func (pair) Save(*artifact.Writer) error { return nil }
func (pair) Describe() any               { return nil }
func (p pair) Normalize(*tensor.Dense) backbone.Affine {
	return backbone.Affine{Scale: [3]float32{1.5, 1.25, 0.75}, Shift: [3]float32{-0.5, 0.25, 0}}
}

// Graph has convolutions with seeded weights, each times a gain.
func (p pair) Graph(h, w int) (*graph.Graph, error) {
	rng := rand.New(rand.NewPCG(6, 0))
	b := graph.NewBuilder("pair")
	conv := func(x string, gain float32, to, stride int) string {
		from := b.Shape(x)[1]
		weights := nd.New(to, from, 3, 3)
		for i := range nd.Data(weights) {
			nd.Data(weights)[i] = gain * float32(rng.NormFloat64()*math.Sqrt(2/float64(9*from)))
		}
		return b.Conv(x, b.Const(weights), "", graph.Attrs{"strides": []int{stride, stride}, "pads": []int{1, 1, 1, 1}})
	}
	x := b.Op(graph.Relu, nil, conv(b.Input("image", graph.N, 3, h, w), p.gain[0], 8, 2))
	return b.Graph(x, conv(b.Op(graph.Relu, nil, conv(x, p.gain[1], 8, 1)), p.gain[2], 12, 2))
}

var network1 = pair{gain: [3]float32{1, 1, 1}}

// squares is a method whose score of a cell is the mean square of its features, from each layer. It has no head.
type squares struct {
	method.Method // nil
	asked         func()
}

func (squares) Name() string           { return "squares" }
func (squares) Map() method.MapOptions { return method.MapOptions{Sigma: 2, Radius: 8} }

func (s squares) Score(ctx context.Context, f []*tensor.Dense, r *method.Result) error {
	if s.asked != nil {
		s.asked()
	}
	sh := r.S.Shape()
	for v := range nd.Data(r.S) {
		if r.Where != nil && !r.Where[v] {
			continue
		}
		sum := 0.0
		each(f, sh, v, func(l, at int) { sum += math.Pow(float64(nd.Data(f[l])[at]), 2) / float64(f[l].Shape()[1]) })
		nd.Data(r.S)[v] = float32(sum)
	}
	for n := range r.Image {
		r.Image[n] = 0
		for v, s := range nd.Data(r.S)[n*sh[1]*sh[2]:][:sh[1]*sh[2]] {
			if r.Inside == nil || r.Inside[n*sh[1]*sh[2]+v] {
				r.Image[n] = max(r.Image[n], s)
			}
		}
	}
	return ctx.Err()
}

func (s squares) Grad(ctx context.Context, f []*tensor.Dense, r *method.Result, dS *tensor.Dense, df []*tensor.Dense) error {
	for l := range df {
		clear(nd.Data(df[l]))
	}
	for v, d := range nd.Data(dS) {
		if r.Where[v] {
			each(f, r.S.Shape(), v, func(l, at int) { nd.Data(df[l])[at] += 2 * d * nd.Data(f[l])[at] / float32(f[l].Shape()[1]) })
		}
	}
	return ctx.Err()
}

// each visits the features of cell v of a grid.
func each(f []*tensor.Dense, grid []int, v int, visit func(l, at int)) {
	n, y, x := v/(grid[1]*grid[2]), v/grid[2]%grid[1], v%grid[2]
	for l := range f {
		s := f[l].Shape()
		k := grid[1] / s[2]
		for c := range s[1] {
			visit(l, ((n*s[1]+c)*s[2]+y/k)*s[3]+x/k)
		}
	}
}

// given are images with their problems, by seeds: h x w pixels, with regions of any shape.
type given struct {
	x        *tensor.Dense
	norms    []backbone.Affine
	problems []loop.Problem
}

var stepOptions = &pixel.StepOptions{
	Share: pixel.NewGaussian(1.5), Norm: pixel.NewGaussian(1), Momentum: 0.8, Decay: 0.95, Rate: 0.1, Lambda: 3,
	Penalty: pixel.NewGroupLog(0.1), From: 2,
}

var loopOptions = &loop.Options{Iterations: 3, Energy: loop.Hinge{Weight: 4, Margin: 1}, Step: stepOptions}

var pairScale = sight.Scale{Q50: 0.1, Q995: 1.6}

func givenOf(h, w int, seeds ...uint64) given {
	g := given{x: nd.New(len(seeds), 3, h, w)}
	reach := max(stepOptions.Share.Radius(), stepOptions.Norm.Radius())
	for i, seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 1))
		y := nd.Data(g.x)[i*3*h*w:][:3*h*w]
		for p := range y {
			y[p] = rng.Float32()
		}
		g.norms = append(g.norms, pair{}.Normalize(nil))
		g.norms[i].Shift[0] += float32(seed) / 64
		p := loop.Problem{Y: y, H: h, W: w, Cells: make([]bool, h/2*(w/2))}
		for range seed % 3 { // regions of disjoint quarters
			quarter := len(p.States)
			region := pixel.Box{Y0: quarter * h / 2, X0: quarter * w / 2}
			region.Y0, region.X0 = region.Y0+rng.IntN(h/8), region.X0+rng.IntN(w/8)
			region.Y1, region.X1 = region.Y0+1+rng.IntN(h/4), region.X0+1+rng.IntN(w/4)
			box := region.Grow(reach, h, w)
			var pixels []int32
			for y := region.Y0; y < region.Y1; y++ {
				for x := region.X0; x < region.X1; x++ {
					if len(pixels) == 0 || rng.IntN(4) > 0 {
						pixels = append(pixels, int32((y-box.Y0)*box.W()+x-box.X0))
						p.Cells[y/2*(w/2)+x/2] = true
					}
				}
			}
			s := pixel.NewState(box, pixels, stepOptions)
			for _, q := range pixels {
				s.C[q] = 0.1 + rng.Float32()/4
				for c := range 3 {
					s.A[c*len(s.V)+int(q)] = float32(rng.NormFloat64())
				}
			}
			p.States = append(p.States, s)
		}
		g.problems = append(g.problems, p)
	}
	return g
}

// variants are those images as they are, and with negatives of some of their pixels, moved: each other one from the right edge on.
func (g given) variants() []refine.Variants {
	s := g.x.Shape()
	x := refine.Variants{Changes: make([]refine.Change, s[0]), DY: 2, DX: -3}
	for i := range s[0] {
		x.Of = append(x.Of, i)
		c := &x.Changes[i]
		for p := range s[2] * s[3] {
			if y, col := p/s[3], p%s[3]; y%17 < 9 && (i%2 == 1 && col > s[3]-4 || col < 5) || y == 20 && col%2 == 0 {
				c.Pixels = append(c.Pixels, int32(p))
			}
		}
		for ch := range 3 {
			for _, p := range c.Pixels {
				c.Values = append(c.Values, 1-nd.Data(g.x)[(3*i+ch)*s[2]*s[3]+int(p)])
			}
		}
	}
	return []refine.Variants{{Of: x.Of}, x}
}

// answer is what a detector says of images.
type answer struct {
	s, image, some, maps []float32 // some: scores of variants
	told                 [][]loop.Iteration
	problems             []loop.Problem
}

func ask(t *testing.T, d sight.Detector, g given) answer {
	t.Helper()
	sh := g.x.Shape()
	n, h, w := sh[0], sh[2]/2, sh[3]/2
	r := &method.Result{S: nd.New(n, h, w), Image: make([]float32, n), Inside: make([]bool, n*h*w)}
	for v := range r.Inside {
		r.Inside[v] = v%(h*w)%5 > 0
	}
	b, err := d.Begin(t.Context(), g.x, g.norms, r)
	require.NoError(t, err)
	defer b.Close()
	a := answer{s: nd.Data(r.S), image: r.Image, maps: make([]float32, n*sh[2]*sh[3]), problems: g.problems}
	require.NoError(t, d.Maps(a.s, n, h, w, sh[2], sh[3], nil, a.maps))
	some := &method.Result{S: nd.New(n, h, w), Where: make([]bool, n*h*w)}
	for v := range some.Where {
		some.Where[v] = v%(h*w)%3 == 0
	}
	for _, x := range g.variants() {
		require.NoError(t, b.Score(t.Context(), x, some))
		for v, on := range some.Where {
			if on {
				a.some = append(a.some, nd.Data(some.S)[v])
			}
		}
	}
	a.told, err = b.Optimise(t.Context(), g.problems, pairScale, loopOptions)
	require.NoError(t, err)
	return a
}

// pairRounding is for two layers of sums of 72 products, and what three steps make of gradients of them: nothing in it has a kink but ReLUs.
var pairRounding = compare.Tolerance{Abs: 2e-5, Rel: 2e-5}

func requireAlike(t *testing.T, got, want answer, tol compare.Tolerance) {
	t.Helper()
	compare.Require(t, "scores", got.s, want.s, tol)
	compare.Require(t, "image scores", got.image, want.image, tol)
	compare.Require(t, "some scores", got.some, want.some, tol)
	compare.Require(t, "own maps", got.maps, want.maps, tol)
	for i, p := range want.problems {
		require.Len(t, got.told[i], len(want.told[i]))
		for k, w := range want.told[i] {
			g := got.told[i][k]
			compare.Require(t, "iteration", []float64{g.Data, g.Penalty, float64(g.Support), g.Step}, []float64{w.Data, w.Penalty, float64(w.Support), w.Step}, tol)
		}
		for j, s := range p.States {
			o := got.problems[i].States[j]
			compare.Require(t, "A", o.A, s.A, tol)
			compare.Require(t, "M", o.M, s.M, tol)
			compare.Require(t, "V", o.V, s.V, tol)
			compare.Require(t, "sum", o.Sum, s.Sum, tol)
		}
	}
}

// What the device finds is what the host finds, whether windows hold all that scores depend on, are cut, or images pass in tiles; and
// an image's bytes are the same in any company, up to seven.
func TestDetector(t *testing.T) {
	d := opened(t, gpu.Options{Debug: true})
	for name, s := range map[string]sight.Spec{
		"exact": {MaxPixels: 1 << 20, Context: 100}, "cut": {MaxPixels: 1 << 20, Context: 4}, "tiles": {MaxPixels: 40 * 40, Context: 100},
		"tiles, cut": {MaxPixels: 40 * 40, Context: 4}, "one window after another": {MaxPixels: 1000, Context: 4},
	} {
		t.Run(name, func(t *testing.T) {
			s.Backbone, s.Method = network1, squares{}
			require.Equal(t, s.Context == 100, s.Windows().Exact)
			if name == "tiles" {
				w := s.Windows()
				require.Greater(t, len(w.Tiles(24, 36)), 2)
			}
			host := sight.NewHost(goexec.New(), s)
			defer host.Close()
			dev, err := d.Detector(s)
			require.NoError(t, err)
			defer func() { require.NoError(t, dev.Close()) }()
			seeds, companies := []uint64{1, 2, 3, 4, 5, 7, 8}, [][]int{{4}, {6, 1, 4}}
			if s.MaxPixels < 1<<20 {
				seeds, companies = []uint64{2, 4, 5}, [][]int{{1}}
			}
			want := ask(t, host, givenOf(48, 72, seeds...))
			got := ask(t, dev, givenOf(48, 72, seeds...))
			requireAlike(t, got, want, pairRounding)
			for _, company := range companies {
				var some []uint64
				for _, i := range company {
					some = append(some, seeds[i])
				}
				again := ask(t, dev, givenOf(48, 72, some...))
				cells := len(got.s) / len(seeds)
				for k, i := range company {
					require.Equal(t, got.s[i*cells:][:cells], again.s[k*cells:][:cells])
					require.Equal(t, got.image[i], again.image[k])
					require.Equal(t, got.told[i], again.told[k])
					for j, st := range got.problems[i].States {
						require.Equal(t, [][]float32{st.A, st.M, st.V, st.Sum}, [][]float32{
							again.problems[k].States[j].A, again.problems[k].States[j].M, again.problems[k].States[j].V, again.problems[k].States[j].Sum,
						}, "image %d in %v", i, company)
					}
				}
			}
			require.NoError(t, dev.Close())
			require.Zero(t, d.gpu.Stats().Buffers, "nothing is left")
		})
	}
}

// Float16 rounds features to 11 bits, and gradients, which reach an image by way of a few ReLUs' kinks.
func TestDetectorInFloat16(t *testing.T) {
	d := opened(t, gpu.Options{})
	s := sight.Spec{Backbone: network1, Method: squares{}, MaxPixels: 1 << 20, Context: 4}
	host := sight.NewHost(goexec.New(), s)
	defer host.Close()
	dev, err := d.detector(s, newExecutor(d, Float16))
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	want, got := ask(t, host, givenOf(48, 72, 1, 2, 4)), ask(t, dev, givenOf(48, 72, 1, 2, 4))
	off := rms(t, got.s, want.s)
	require.Less(t, off, 1e-3)
	require.Greater(t, off, 1e-6, "it is float16")
	for i, p := range want.problems {
		for j, st := range p.States {
			require.Less(t, rms(t, got.problems[i].States[j].A, st.A), 0.03)
		}
	}
}

// Gradients that overflow float16 are tried again, smaller; the images beside them are not.
func TestOverflowsAreTriedAgain(t *testing.T) {
	d := opened(t, gpu.Options{})
	steep := pair{gain: [3]float32{0x1p-14, 0x1p11, 0x1p12}}
	asked := 0
	s := sight.Spec{Backbone: steep, Method: squares{asked: func() { asked++ }}, MaxPixels: 1 << 20, Context: 100}
	dev, err := d.detector(s, newExecutor(d, Float16))
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	host := sight.NewHost(goexec.New(), s)
	defer host.Close()
	want := ask(t, host, givenOf(48, 72, 1, 2))
	asked = 0
	got := ask(t, dev, givenOf(48, 72, 1, 2))
	require.Greater(t, asked, 2+loopOptions.Iterations, "it is tried again")
	for i, p := range want.problems {
		for j, st := range p.States {
			require.Less(t, rms(t, got.problems[i].States[j].A, st.A), 0.05)
		}
	}
}

// An image whose values are not finite is named, and the states stay as they were.
func TestBadImagesAreNamed(t *testing.T) {
	d := opened(t, gpu.Options{})
	s := sight.Spec{Backbone: network1, Method: squares{}, MaxPixels: 1 << 20, Context: 100}
	dev, err := d.Detector(s)
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	g := givenOf(48, 72, 1, 2, 4)
	bad := g.problems[1].States[0]
	bad.A[bad.Pixels[0]] = float32(math.Inf(1))
	before := append([]float32{}, bad.A...)
	b, err := dev.Begin(t.Context(), g.x, g.norms, &method.Result{S: nd.New(3, 24, 36)})
	require.NoError(t, err)
	defer b.Close()
	_, err = b.Optimise(t.Context(), g.problems, pairScale, loopOptions)
	var frames *sight.BadFrames
	require.ErrorAs(t, err, &frames)
	require.Len(t, frames.Why, 1)
	require.ErrorContains(t, frames.Why[1], "pair")
	require.Equal(t, before, bad.A)
}

func TestOptimiseRefuses(t *testing.T) {
	d := opened(t, gpu.Options{})
	dev, err := d.Detector(sight.Spec{Backbone: network1, Method: squares{}, MaxPixels: 1 << 20, Context: 100})
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	g := givenOf(48, 72, 1, 3)
	b, err := dev.Begin(t.Context(), g.x, g.norms, &method.Result{S: nd.New(2, 24, 36)})
	require.NoError(t, err)
	defer b.Close()
	refused := func(what string, problems []loop.Problem, change func(o *loop.Options)) {
		o, step := *loopOptions, *stepOptions
		o.Step = &step
		change(&o)
		_, err := b.Optimise(t.Context(), problems, pairScale, &o)
		require.ErrorContains(t, err, what)
	}
	refused("energy", g.problems, func(o *loop.Options) { o.Energy = nil })
	refused("penalty", g.problems, func(o *loop.Options) { o.Step.Penalty = nil })
	refused("1 problems of 2 images", g.problems[:1], func(*loop.Options) {})
	refused("problem 0 of an image of 24x24", givenOf(24, 24, 1, 3).problems, func(*loop.Options) {})
	told, err := b.Optimise(t.Context(), givenOf(48, 72, 3, 6).problems, pairScale, loopOptions)
	require.NoError(t, err, "nothing to optimise")
	require.Equal(t, make([][]loop.Iteration, 2), told)
	_, err = dev.Begin(t.Context(), g.x, g.norms[:1], &method.Result{S: nd.New(2, 24, 36)})
	require.ErrorContains(t, err, "1 normalisations")
}

// Wherever the memory ends there is an error that says so, and nothing is left; networks that wait give theirs to who needs it.
func TestDetectorBeyondTheMemory(t *testing.T) {
	const most = 16 << 20
	d := opened(t, gpu.Options{Memory: most})
	s := sight.Spec{Backbone: network1, Method: squares{}, MaxPixels: 1 << 20, Context: 4}
	g := givenOf(48, 72, 1, 2)
	once := func() error {
		dev, err := d.Detector(s)
		require.NoError(t, err)
		defer func() { require.NoError(t, dev.Close()) }()
		b, err := dev.Begin(t.Context(), g.x, g.norms, &method.Result{S: nd.New(2, 24, 36)})
		if err != nil {
			return err
		}
		defer b.Close()
		_, err = b.Optimise(t.Context(), givenOf(48, 72, 1, 2).problems, pairScale, loopOptions)
		return err
	}
	const step = 16 << 10
	failed := map[string]int{}
	for room := step; ; room += step * max(1, room/step/12) {
		var hogs []kernels.Ptr
		for range (most - room) / step {
			p, err := d.gpu.Alloc(step)
			require.NoError(t, err)
			hogs = append(hogs, p)
		}
		err := once()
		require.Equal(t, len(hogs), d.gpu.Stats().Buffers, "with room for %d bytes", room)
		for _, p := range hogs {
			require.NoError(t, d.gpu.Free(p))
		}
		if err == nil {
			break
		}
		require.ErrorIs(t, err, device.ErrOutOfMemory)
		require.ErrorContains(t, err, "cuda:0")
		what, _, _ := strings.Cut(err.Error(), " on")
		failed[what]++
		require.Less(t, room, most/2)
	}
	t.Logf("calls that failed: %v", failed)
	require.Positive(t, failed["scores"])
	require.Positive(t, failed["optimisation"])
}

// Networks that wait give their memory to whoever needs it.
func TestNetworksGiveWay(t *testing.T) {
	const most, step = 16 << 20, 16 << 10
	d := opened(t, gpu.Options{Memory: most})
	dev, err := d.Detector(sight.Spec{Backbone: network1, Method: squares{}, MaxPixels: 1 << 20, Context: 4})
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	score := func(h, w int) []float32 {
		g, s := givenOf(h, w, 1), nd.New(1, h/2, w/2)
		b, err := dev.Begin(t.Context(), g.x, g.norms, &method.Result{S: s})
		require.NoError(t, err)
		b.Close()
		return nd.Data(s)
	}
	want := score(96, 96)
	const tables = 128 << 10                                // of another size
	for range (most - d.gpu.Stats().Peak - tables) / step { // who scores this once more has the room that it has taken
		p, err := d.gpu.Alloc(step)
		require.NoError(t, err)
		defer func() { require.NoError(t, d.gpu.Free(p)) }()
	}
	holds := func() (all []bool) {
		for _, s := range d.nets.idle {
			all = append(all, s.memory != 0)
		}
		return all
	}
	score(96, 96)
	require.Equal(t, []bool{true}, holds())
	score(96, 92)
	require.Equal(t, []bool{false, true}, holds())
	require.Equal(t, want, score(96, 96))
	require.Equal(t, []bool{false, true}, holds())
}

// A call that is cancelled while it runs ends with the context's error, and leaves nothing.
func TestDetectorCancelled(t *testing.T) {
	d := opened(t, gpu.Options{})
	for _, last := range []int{1, 2, 3} { // the whole images, and in two iterations
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		m := squares{asked: func() {
			if asked++; asked == last {
				cancel()
			}
		}}
		dev, err := d.Detector(sight.Spec{Backbone: network1, Method: m, MaxPixels: 1 << 20, Context: 4})
		require.NoError(t, err)
		g := givenOf(48, 72, 1)
		b, err := dev.Begin(ctx, g.x, g.norms, &method.Result{S: nd.New(1, 24, 36)})
		if err == nil {
			_, err = b.Optimise(ctx, g.problems, pairScale, loopOptions)
			b.Close()
		}
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, last, asked)
		require.NoError(t, dev.Close())
		require.Zero(t, d.gpu.Stats().Buffers)
	}
}

// Callers of one detector share its networks, one after the other.
func TestDetectorShared(t *testing.T) {
	d := opened(t, gpu.Options{})
	dev, err := d.Detector(sight.Spec{Backbone: network1, Method: squares{}, MaxPixels: 1 << 20, Context: 4})
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	want := ask(t, dev, givenOf(48, 72, 1, 2))
	got := make([]answer, 6)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i] = ask(t, dev, givenOf(48, 72, 1, 2)) })
	}
	wg.Wait()
	for _, g := range got {
		require.Equal(t, want, g)
	}
	require.LessOrEqual(t, len(d.nets.idle), 4*streams)
}

// An image crosses the bus once, whatever is asked of it later; and what comes down of maps is what is asked for.
func TestImagesCrossTheBusOnce(t *testing.T) {
	const n, h, w = 3, 64, 96
	features := methodtest.Images(1, 6, []methodtest.Layer{{C: 8, H: h / 2, W: w / 2}, {C: 12, H: h / 4, W: w / 4}})
	o, err := padim.ProfileOptions("f2pad")
	require.NoError(t, err)
	m, err := padim.Fit(t.Context(), features, o)
	require.NoError(t, err)
	d := opened(t, gpu.Options{})
	spec := sight.Spec{Backbone: network1, Method: m, MaxPixels: 1 << 20, Context: 100}
	dev, err := d.Detector(spec)
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	g := givenOf(h, w, 1, 2, 3)
	start := func() *sight.Scorer {
		sc := &sight.Scorer{Detector: dev, Spec: spec, Scale: pairScale, Rank: pairScale, Norms: g.norms}
		for _, p := range g.problems {
			sc.Frames = append(sc.Frames, &sight.Frame{Y: nd.Wrap(p.Y, 3, h, w)})
		}
		_, err := sc.Start(t.Context(), g.x, nil)
		require.NoError(t, err)
		return sc
	}
	start().Finish() // the network goes there
	where := make([]bool, n*h*w)
	x := refine.Variants{Of: []int{0, 1, 2}, Changes: make([]refine.Change, n)}
	var searches []refine.Search
	for i := range n {
		c := &x.Changes[i]
		for p := range h * w {
			if y, x := p/w, p%w; y >= 30 && y < 46 && x >= 60 && x < 76 { // 4 % of an image
				where[i*h*w+p] = true
				c.Pixels = append(c.Pixels, int32(p))
			}
		}
		c.Values = make([]float32, 3*len(c.Pixels))
		ring := refine.Ring{Pixels: []int32{9*w + 8}, Box: pixel.Box{Y0: 9, X0: 8, Y1: 10, X1: 9}, Shifts: []int32{5}, Costs: []float64{0}}
		searches = append(searches, refine.Search{
			Image: i, Y: g.problems[i].Y, H: h, W: w, Blur: pixel.NewGaussian(1), MeanShare: 0.7, Rings: []refine.Ring{ring},
		})
	}

	const images, maps = 4 * n * 3 * h * w, 4 * n * h * w
	v, before := nd.New(n, h, w), d.Counters()
	since := func() device.Counters { return d.Counters().Sub(before) }
	sc := start()
	defer sc.Finish()
	require.GreaterOrEqual(t, since().Uploaded, int64(images))
	require.NoError(t, sc.Costs(searches))
	require.NoError(t, sc.Map(t.Context(), x, where, v))
	t.Logf("%d bytes of images: %d bytes there, %d back", images, since().Uploaded, since().Downloaded)
	require.Less(t, since().Uploaded, int64(2*images), "as they are, searched, and changed")
	before = d.Counters()
	require.NoError(t, sc.Map(t.Context(), refine.Variants{Of: x.Of, DY: -1, DX: 1}, where, v))
	t.Logf("a look: %d bytes there, %d back", since().Uploaded, since().Downloaded)
	require.Less(t, since().Uploaded, int64(images/2), "tables, and scores that maps are made of")
	require.Less(t, since().Downloaded, int64(maps/4), "the pixels, and the scores that they are made of")
}

// However many iterations there are, the host waits and sends as often as for one: all of it stays on the device.
func TestFakeIterationsDoNotWait(t *testing.T) {
	features := methodtest.Images(1, 6, []methodtest.Layer{{C: 8, H: 24, W: 36}, {C: 12, H: 12, W: 18}})
	padimOptions, err := padim.ProfileOptions("f2pad")
	require.NoError(t, err)
	gaussians, err := padim.Fit(t.Context(), features, padimOptions)
	require.NoError(t, err)
	bankOptions, err := patchcore.ProfileOptions("f2pad")
	require.NoError(t, err)
	bankOptions.MaxBank = 50
	bank, err := patchcore.Fit(t.Context(), features, bankOptions)
	require.NoError(t, err)
	flowOptions, err := cflow.ProfileOptions("compact")
	require.NoError(t, err)
	flowOptions.Condition, flowOptions.Blocks, flowOptions.MaxSteps = 8, 2, 5
	flow, err := cflow.Fit(t.Context(), flowOptions, method.Fitting{Features: features})
	require.NoError(t, err)
	driver := fakecuda.Open(t)
	d := opened(t, gpu.Options{})
	for _, m := range []method.Method{gaussians, bank, flow} {
		dev, err := d.Detector(sight.Spec{Backbone: network1, Method: m, MaxPixels: 1 << 20, Context: 4})
		require.NoError(t, err)
		var calls [][]int // the first compiles the networks
		for _, iterations := range []int{1, 1, 4} {
			g, o := givenOf(48, 72, 1, 2), *loopOptions
			o.Iterations = iterations
			b, err := dev.Begin(t.Context(), g.x, g.norms, &method.Result{S: nd.New(2, 24, 36)})
			require.NoError(t, err)
			count := func() (all []int) {
				for _, name := range []string{"cuStreamSynchronize", "cuEventSynchronize", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2"} {
					all = append(all, driver.Calls(name))
				}
				return all
			}
			before := count()
			_, err = b.Optimise(t.Context(), g.problems, pairScale, &o)
			require.NoError(t, err)
			after := count()
			for k := range after {
				after[k] -= before[k]
			}
			calls = append(calls, after)
			b.Close()
		}
		require.Equal(t, calls[1], calls[2], m.Name())
		require.Positive(t, calls[1][0])
		require.NoError(t, dev.Close())
	}
}

// A network's features are still there when their gradients come, which a head writes while it reads the features.
func TestFeaturesOutliveForward(t *testing.T) {
	d := opened(t, gpu.Options{})
	for side := 8; side <= 64; side += 4 {
		g, err := network1.Graph(side, side)
		require.NoError(t, err)
		n, err := d.ex.network(g, true, true)
		require.NoError(t, err)
		for _, f := range n.forward.out {
			for _, df := range n.backward.in {
				a, b := f.value.buffer, df.value.buffer
				require.True(t, a.Offset+a.Size <= b.Offset || b.Offset+b.Size <= a.Offset, "%d pixels: %+v and %+v", side, a, b)
			}
		}
		require.NoError(t, n.close())
	}
}

// A stream waits for the work of the one that had a network before.
func TestFakeNetworksAreWaitedFor(t *testing.T) {
	driver := fakecuda.Open(t)
	d := opened(t, gpu.Options{})
	dev, err := d.detector(sight.Spec{Backbone: network1, Method: squares{}, MaxPixels: 1 << 20, Context: 4}, d.ex)
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	for range 2 {
		before := driver.Calls("cuStreamWaitEvent")
		waited := len(d.nets.idle)
		require.NoError(t, d.do(t.Context(), "test", func(j *job) {
			s := dev.take(j, 16, 16, false, 1)
			j.forward(s, 1)
			dev.give(j, s)
		}))
		require.Equal(t, waited, driver.Calls("cuStreamWaitEvent")-before)
	}
}

// Windows of several sizes are in streams beside each other: they wait for what they need, and what needs them waits for them, whatever
// the streams' order.
func TestWindowsSideBySide(t *testing.T) {
	order, fail := func(uint64) {}, func(int) bool { return false }
	if !onGPU {
		driver := fakecuda.Open(t)
		order = driver.Seed
		fail = func(nth int) bool { driver.Fail("cuLaunchKernel", nth, 1); return true }
	}
	d := opened(t, gpu.Options{})
	const h, w = 112, 144
	o, err := padim.ProfileOptions("f2pad")
	require.NoError(t, err)
	m, err := padim.Fit(t.Context(), methodtest.Images(1, 6, []methodtest.Layer{{C: 8, H: h / 2, W: w / 2}, {C: 12, H: h / 4, W: w / 4}}), o)
	require.NoError(t, err)
	s := sight.Spec{Backbone: network1, Method: m, MaxPixels: 1 << 20, Context: 4}
	given := func() given { return givenOf(h, w, 1, 2, 4, 5) }
	where, of := []bool{}, given()
	for i := range of.problems {
		where = append(where, of.problems[i].Cells...)
	}
	sizes := map[[2]int]bool{}
	windows := s.Windows()
	for _, ps := range windows.Plan(where, len(of.problems), h/2, w/2).Jobs {
		sizes[[2]int{ps[0].In.H(), ps[0].In.W()}] = true
	}
	require.Greater(t, len(sizes), 2)

	host := sight.NewHost(goexec.New(), s)
	defer host.Close()
	dev, err := d.Detector(s)
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	begin := func(d sight.Detector) sight.Batch {
		b, err := d.Begin(t.Context(), of.x, of.norms, &method.Result{S: nd.New(4, h/2, w/2)})
		require.NoError(t, err)
		return b
	}
	optimised := func(b sight.Batch) (a answer) {
		a.problems = given().problems
		a.told, err = b.Optimise(t.Context(), a.problems, pairScale, loopOptions)
		require.NoError(t, err)
		return a
	}
	want := optimised(begin(host))
	b := begin(dev)
	defer b.Close()
	for seed := range uint64(6) {
		order(seed)
		requireAlike(t, optimised(b), want, compare.Tolerance{Abs: 1e-4, Rel: 1e-4}) // as PaDiM's gradient, three steps of it
	}
	for nth := 20; nth < 200; nth += 45 { // a launch is refused on the way: what comes afterwards finds nothing at work
		if !fail(nth) {
			break
		}
		_, err := b.Optimise(t.Context(), given().problems, pairScale, loopOptions)
		require.Error(t, err)
		requireAlike(t, optimised(b), want, compare.Tolerance{Abs: 1e-4, Rel: 1e-4})
	}
}

// Tables that are put one after the other are sent together, and each is where it was put, also when there are more than one part has
// room for. A large one goes by itself.
func TestTablesCrossTheBusTogether(t *testing.T) {
	uploads := 0
	d := opened(t, gpu.Options{Watch: func(g gpu.Given) {
		if g.What == gpu.Uploaded {
			uploads++
		}
	}})
	sizes := []int{1, 3, 256, 257, 0, 100_000, 240_000, 250_000, 250_000, 250_000, 200_000, 7, packBytes/4 + 4, 5}
	err := d.do(t.Context(), "a test", func(j *job) {
		j.pack()
		var at []kernels.Ptr
		table := func(i int) []uint8 { return slices.Repeat([]uint8{uint8(i + 1)}, sizes[i]) }
		for i := range sizes {
			at = append(at, put(j, table(i)))
			require.Zero(t, at[i]%256)
		}
		j.flush()
		j.flush()
		require.Equal(t, 3, uploads)
		for i, p := range at {
			got := make([]uint8, sizes[i])
			get(j, got, p)
			require.Equal(t, table(i), got, i)
		}
	})
	require.NoError(t, err)
}
