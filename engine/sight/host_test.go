package sight_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/backbone/backbonetest"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/cflow"
	"f2pad.example/engine/method/padim"
	"f2pad.example/engine/method/patchcore"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func noise(seed uint64, shape ...int) *tensor.Dense {
	rng := rand.New(rand.NewPCG(seed, 1))
	x := nd.New(shape...)
	for i := range nd.Data(x) {
		nd.Data(x)[i] = rng.Float32()
	}
	return x
}

// Locations that are asked for get the bits that they have where all are, in windows and in whole images, and others stay as they are.
func TestWhatIsAskedForIsWhatTheWholeImageGives(t *testing.T) {
	ctx := t.Context()
	const H, W = 128, 160
	scatter := backbone.NewScatter()
	require.NoError(t, scatter.Fit(ctx, goexec.New(), func(_ context.Context, visit func(*tensor.Dense) error) error {
		for i := range 4 {
			if err := visit(noise(uint64(i), 3, H, W)); err != nil {
				return err
			}
		}
		return nil
	}, 1))
	deep, err := backbone.OpenONNX(backbonetest.Write(t, "net.onnx", backbonetest.Residual(t, H, W, 1)), backbonetest.Layers, backbone.ImageNet)
	require.NoError(t, err)
	for _, bb := range []backbone.Backbone{scatter, backbone.Backbone(deep)} {
		methods := fitted(t, bb, H, W)
		if bb == deep {
			methods = methods[:1] // what differs is the network's matter
		}
		for _, m := range methods {
			t.Run(bb.Name()+" "+m.Name(), func(t *testing.T) {
				// In the second, windows and whole images beyond the limit are split.
				for _, limit := range []int{1 << 20, 96 * 96} {
					d := sight.NewHost(goexec.New(), sight.Spec{Backbone: bb, Method: m, MaxPixels: limit})
					requireAsked(t, d, bb, H, W)
					require.NoError(t, d.Close())
				}
			})
		}
	}
}

// fitted are small models of all methods.
func fitted(t *testing.T, bb backbone.Backbone, H, W int) []method.Method {
	t.Helper()
	net := sight.NewNetwork(bb, goexec.New(), sight.NewWindows(bb, 1<<20, 0))
	defer net.Close()
	features := func(ctx context.Context, visit func([]*tensor.Dense) error) error {
		for i := range 4 {
			x := noise(uint64(10+i), 1, 3, H, W)
			f, err := net.Features(ctx, x, []backbone.Affine{bb.Normalize(nd.Wrap(nd.Data(x), 3, H, W))})
			if err == nil {
				err = visit(f)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	gaussians, err := padim.ProfileOptions("anomalib")
	require.NoError(t, err)
	gaussians.Keep, gaussians.Ridge = 8, 0.1
	pd, err := padim.Fit(t.Context(), features, gaussians)
	require.NoError(t, err)
	bank, err := patchcore.ProfileOptions("f2pad")
	require.NoError(t, err)
	bank.MaxBank = 30
	pc, err := patchcore.Fit(t.Context(), features, bank)
	require.NoError(t, err)
	flow, err := cflow.ProfileOptions("compact")
	require.NoError(t, err)
	flow.Blocks, flow.Condition, flow.Batch, flow.MaxSteps = 2, 8, 64, 4
	fl, err := cflow.Fit(t.Context(), flow, method.Fitting{Features: features})
	require.NoError(t, err)
	return []method.Method{pd, pc, fl}
}

func requireAsked(t *testing.T, d *sight.Host, bb backbone.Backbone, H, W int) {
	t.Helper()
	const n = 5
	h, w := H/bb.Stride(), W/bb.Stride()
	x := noise(99, n, 3, H, W)
	var norms []backbone.Affine
	for i := range n {
		norms = append(norms, bb.Normalize(nd.Wrap(nd.Data(x)[i*3*H*W:][:3*H*W], 3, H, W)))
	}
	whole := &method.Result{S: nd.New(n, h, w)}
	b, err := d.Begin(t.Context(), x, norms, whole)
	require.NoError(t, err)
	defer b.Close()

	// One location, a corner and a place apart, nothing, all, a row.
	asked := [n]func(y, x int) bool{
		func(y, x int) bool { return y == h/2 && x == w/2 },
		func(y, x int) bool { return y < 3 && x < 2 || y == h-4 && x > w-6 },
		func(y, x int) bool { return false },
		func(y, x int) bool { return true },
		func(y, x int) bool { return y == h-1 },
	}
	r := &method.Result{S: nd.New(n, h, w), Where: make([]bool, n*h*w)}
	untouched := float32(math.Inf(-1))
	for v := range r.Where {
		r.Where[v] = asked[v/(h*w)](v/w%h, v%w)
		nd.Data(r.S)[v] = untouched
	}
	require.NoError(t, b.Score(t.Context(), refine.Variants{Of: []int{0, 1, 2, 3, 4}}, r))
	for v, on := range r.Where {
		want := untouched
		if on {
			want = nd.Data(whole.S)[v]
		}
		require.Equal(t, math.Float32bits(want), math.Float32bits(nd.Data(r.S)[v]), fmt.Sprint("image ", v/(h*w), " row ", v/w%h, " column ", v%w))
	}
}

// elsewhere is an executor that has another for windows.
type elsewhere struct {
	exec.Executor
	windows exec.Executor
}

func (e elsewhere) ForWindows() exec.Executor { return e.windows }

// noted keeps the sizes that it compiles for.
type noted struct {
	exec.Executor
	sizes *[]graph.Shape
}

func (n noted) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	*n.sizes = append(*n.sizes, g.Inputs[0].Shape)
	return n.Executor.Compile(g, gradient)
}

// Whole images run on the executor, windows that are asked about on what it has for windows.
func TestWindowsThatAreAskedAboutRunElsewhere(t *testing.T) {
	const side = 160
	bb := backbone.NewScatter()
	require.NoError(t, bb.Fit(t.Context(), goexec.New(), func(_ context.Context, visit func(*tensor.Dense) error) error {
		return visit(noise(1, 3, side, side))
	}, 1))
	var whole, windows []graph.Shape
	d := sight.NewHost(elsewhere{noted{goexec.New(), &whole}, noted{goexec.New(), &windows}}, sight.Spec{
		Backbone: bb, Method: fitted(t, bb, side, side)[1], MaxPixels: 1 << 20,
	})
	defer d.Close()
	const cells = side / 4
	x := noise(2, 1, 3, side, side)
	b, err := d.Begin(t.Context(), x, []backbone.Affine{bb.Normalize(nd.Wrap(nd.Data(x), 3, side, side))}, &method.Result{S: nd.New(1, cells, cells)})
	require.NoError(t, err)
	defer b.Close()
	ask := func(where func(v int) bool) {
		r := &method.Result{S: nd.New(1, cells, cells), Where: make([]bool, cells*cells)}
		for v := range r.Where {
			r.Where[v] = where(v)
		}
		require.NoError(t, b.Score(t.Context(), refine.Variants{Of: []int{0}}, r))
	}
	ask(func(int) bool { return true })
	require.Len(t, whole, 1, "it is there")
	require.Empty(t, windows)
	ask(func(v int) bool { return v == 0 })
	require.Len(t, whole, 1)
	require.Len(t, windows, 1)
	require.Less(t, windows[0][2], side)
}
