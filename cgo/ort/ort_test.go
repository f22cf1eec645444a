//go:build cgo

package ort

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/exectest"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// Sums are taken in float32, in blocks: n terms leave an error of at most some sqrt(n) half units in the last place (6e-8)
// of the sum of magnitudes; the suite's longest sums have a few hundred terms of size 1, its networks a dozen layers.
var tolerances = exectest.Tolerances{
	Forward:  compare.Tolerance{Abs: 1e-5, Rel: 1e-5},
	Gradient: compare.Tolerance{Abs: 2e-5, Rel: 2e-5},
}

// Two executors that sum in different orders: each of some 15 layers of ResNet-18 adds an error of some 1e-6 of values
// of size 1, and the gradients, of size 10, come through both ways.
var (
	deepForward  = compare.Tolerance{Abs: 2e-5, Rel: 2e-5}
	deepGradient = compare.Tolerance{Abs: 2e-4, Rel: 2e-4}
)

// open is Open, or the reason to skip.
func open(t testing.TB, o Options) *Executor {
	t.Helper()
	e, err := Open(o)
	if errors.Is(err, ErrNoLibrary) {
		t.Skipf("SKIPPED: %v; make ort fetches it", err)
	}
	require.NoError(t, err)
	return e
}

func TestSuite(t *testing.T) { exectest.Test(t, open(t, Options{}), tolerances) }

func TestInfo(t *testing.T) {
	e := open(t, Options{})
	s := Look("")
	require.True(t, s.Loaded)
	require.Empty(t, s.Reason)
	require.NotEmpty(t, s.Library)
	require.Equal(t, exec.Info{Executor: "ort", Device: "cpu", Precision: "float32", Version: s.Version}, e.Info())
	require.Regexp(t, `^1\.\d+\.\d+`, s.Version)
}

func TestProvidersThatTheLibraryLacks(t *testing.T) {
	open(t, Options{})
	for _, p := range []string{CUDA, TensorRT} {
		if _, err := Open(Options{Provider: p, Ordinal: 1 << 10}); err == nil || errors.Is(err, ErrNoLibrary) {
			t.Fatalf("%s: %v", p, err)
		}
	}
}

// compile makes a net that is closed in the end.
func compile(t testing.TB, ex exec.Executor, g *graph.Graph, gradient bool) exec.Net {
	n, err := ex.Compile(g, gradient)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// run is Forward and Backward.
func run(t testing.TB, n exec.Net, a arrays) [][]float32 {
	ctx := context.Background()
	require.NoError(t, n.Forward(ctx, a.x, a.y))
	require.NoError(t, n.Backward(ctx, a.dy, a.dx))
	return a.results()
}

// The layers that the machine's time goes to have more channels than the suite's, and other code in ONNX Runtime.
func TestResNetAgreesWithGo(t *testing.T) {
	e := open(t, Options{})
	g := resnet18.build(t, 64)
	a := newArrays(t, g, 3)
	want := run(t, compile(t, goexec.New(), g, true), a)
	got := run(t, compile(t, e, g, true), a)
	for i := range want {
		what, tol := fmt.Sprint("output ", i), deepForward
		if i == len(a.y) {
			what, tol = "gradient", deepGradient
		}
		compare.Require(t, what, got[i], want[i], tol)
	}
}

// Each image's bits are the same in any company, on any number of cores, whether it has them to itself or not.
func TestResNetIsInvariant(t *testing.T) {
	g := resnet18.build(t, 64)
	const images = 3
	a := newArrays(t, g, images)
	want := run(t, compile(t, open(t, Options{Threads: 1}), g, true), a)
	for _, threads := range []int{2, 3, 8} {
		n := compile(t, open(t, Options{Threads: threads}), g, true)
		require.Equal(t, want, run(t, n, a), "%d threads", threads)
		for i := range images {
			got := run(t, n, a.image(i))
			for k := range want {
				size := len(want[k]) / images
				require.Equal(t, want[k][i*size:][:size], got[k], "image %d alone on %d threads", i, threads)
			}
		}
	}
}

// transposed is a ConvTranspose whose product ONNX Runtime shares out along the pixels, and along the terms of the sums
// where a share has few pixels.
func transposed(t testing.TB) *graph.Graph {
	r := &resnet{Builder: graph.NewBuilder("transposed")}
	w := nd.New(512, 16, 3, 3)
	for i := range nd.Data(w) {
		nd.Data(w)[i] = float32(i%1013)/1013 - 0.5
	}
	attr := graph.Attrs{"strides": []int{2, 2}, "pads": []int{1, 1, 1, 1}, "output_padding": []int{1, 1}}
	g, err := r.Graph(r.Op(graph.ConvTranspose, attr, r.Input("x", graph.N, 512, 16, 16), r.Const(w)))
	require.NoError(t, err)
	return g
}

// Threads that would show in the results are not used; fewer that do not are.
func TestThreadsThatShowAreNotUsed(t *testing.T) {
	const many = 64
	g := transposed(t)
	a := newArrays(t, g, 1)
	want := run(t, compile(t, open(t, Options{Threads: 1}), g, true), a)
	e := open(t, Options{Threads: many})
	n := compile(t, e, g, true).(*net)
	s := n.forward.steps[0]
	wide, err := e.session(s, many)
	require.NoError(t, err)
	defer wide.close()
	require.Equal(t, want, run(t, n, a))
	require.NotNil(t, s.wide)
	require.Nil(t, s.part, "what sessions are made of is dropped")

	sl, err := n.slot()
	require.NoError(t, err)
	bits := func(session *session) []uint32 {
		sl.fill(s)
		require.NoError(t, sl.run(s, session))
		b, telling := sl.bits(s)
		require.True(t, telling)
		return b
	}
	require.True(t, slices.Equal(bits(s.session), bits(s.wide)))
	if slices.Equal(bits(s.session), bits(wide)) {
		t.Skipf("SKIPPED: on this machine %d threads do not show", many)
	}
}

// Where all results are NaN the trial tells nothing.
func TestThreadsThatWereNotTriedAreNotUsed(t *testing.T) {
	b := graph.NewBuilder("logarithm")
	g, err := b.Graph(b.Op(graph.Log, nil, b.Op(graph.Mul, nil, b.Input("x", graph.N, 4), b.Scalar(-1))))
	require.NoError(t, err)
	n := compile(t, open(t, Options{Threads: 2}), g, false).(*net)
	a := newArrays(t, g, 1)
	require.NoError(t, n.Forward(context.Background(), a.x, a.y))
	require.True(t, n.widened)
	require.Nil(t, n.forward.steps[0].wide)
}

// What is cut where: a MaxPool's gradient is a step of its own, all else as few as can be.
func TestCut(t *testing.T) {
	pool := graph.Attrs{"kernel_shape": []int{2, 2}}
	b := graph.NewBuilder("pools")
	x := b.Input("x", graph.N, 2, 6, 6)
	left := b.Op(graph.MaxPool, pool, b.Op(graph.Exp, nil, x))
	right := b.Op(graph.MaxPool, pool, b.Op(graph.Tanh, nil, x))
	y := b.Op(graph.MaxPool, pool, b.Op(graph.Mul, nil, left, right))
	g, err := b.Graph(y)
	require.NoError(t, err)
	p := &planner{}
	forward, backward, err := p.plan(g, true)
	require.NoError(t, err)
	require.Len(t, forward.steps, 1)
	var kinds []string
	for _, s := range backward.steps {
		if s.host != nil {
			kinds = append(kinds, "go")
			continue
		}
		kinds = append(kinds, fmt.Sprint(len(s.part.Nodes)))
	}
	require.Equal(t, "go 2 go go 5", strings.Join(kinds, " "), "all of Tanh's slope and Exp's gradient comes last")
}

// What is needed before and after Go's node is made before, what is needed after only is made after.
func TestLevels(t *testing.T) {
	b := graph.NewBuilder("levels")
	x := b.Input("x", graph.N, 2, 6, 6)
	both, after := b.Op(graph.Step, nil, x), b.Op(graph.Sign, nil, x)
	top := b.Op(graph.MaxPoolGrad, graph.Attrs{"kernel_shape": []int{1, 1}}, b.Op(graph.Mul, nil, x, both), x)
	g, err := b.Graph(b.Op(graph.Add, nil, b.Op(graph.Mul, nil, top, both), after))
	require.NoError(t, err)
	level := levels(g)
	require.Equal(t, []int{0, 1, 2, 2}, []int{level[both], level[top], level[g.Outputs[0]], level[after]})
	_, crossing := cut(g)
	require.True(t, crossing[both] && crossing[top])
	require.False(t, crossing[after])
}

func TestBackwardNeedsItsOwnForward(t *testing.T) {
	g := transposed(t)
	n := compile(t, open(t, Options{}), g, true)
	a := newArrays(t, g, 1)
	run(t, n, a)
	ctx := context.Background()
	require.ErrorContains(t, n.Backward(ctx, a.dy, a.dx), "Forward of its own")

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.NoError(t, n.Forward(ctx, a.x, a.y))
	require.Error(t, n.Forward(cancelled, a.x, a.y))
	require.ErrorContains(t, n.Backward(ctx, a.dy, a.dx), "Forward of its own", "after a Forward that failed")
}

func TestSpread(t *testing.T) {
	for _, cores := range []int{1, 2, 5} {
		var done [40]atomic.Int64
		require.NoError(t, spread(cores, len(done), func(core, i int) error {
			done[i].Add(1)
			if core < 0 || core >= cores {
				return fmt.Errorf("core %d", core)
			}
			return nil
		}))
		for i := range done {
			require.EqualValues(t, 1, done[i].Load())
		}
	}
	calls := 0
	err := spread(1, 10, func(_, i int) error {
		calls++
		if i == 3 {
			return errors.New("third")
		}
		return nil
	})
	require.EqualError(t, err, "third")
	require.Equal(t, 4, calls, "nothing is begun after a failure")
}

// A run stops at the step or the image where it learns of the cancellation, and leaves the net in order.
func TestCancelledOnTheWay(t *testing.T) {
	g := resnet18.build(t, 32)
	n := compile(t, open(t, Options{Threads: 2}), g, true)
	a := newArrays(t, g, 4)
	want := run(t, n, a)
	for left := range 8 { // each of 4 images asks before and after its step
		ctx := &countdown{Context: context.Background(), left: left}
		require.ErrorIs(t, n.Forward(ctx, a.x, a.y), context.Canceled, "after %d", left)
		require.Error(t, n.Backward(context.Background(), a.dy, a.dx))
	}
	require.Equal(t, want, run(t, n, a))
}

// countdown is a context that is cancelled when it has been asked a number of times.
type countdown struct {
	context.Context
	sync.Mutex
	left int
}

func (c *countdown) Err() error {
	c.Lock()
	defer c.Unlock()
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestCompileRefusesWhatNoMemoryHolds(t *testing.T) {
	const side = 30000
	b := graph.NewBuilder("vast")
	large := b.Op(graph.Resize, graph.Attrs{"sizes": []int{-1, 1, side, side}}, b.Input("x", graph.N, 1, 10, 10))
	g, err := b.Graph(large, b.Op(graph.Exp, nil, large), b.Op(graph.Tanh, nil, large))
	require.NoError(t, err)
	_, err = open(t, Options{}).Compile(g, false)
	require.ErrorContains(t, err, "floats")
}

// An executor serves several goroutines.
func TestConcurrentUse(t *testing.T) {
	e := open(t, Options{})
	g := transposed(t)
	want := run(t, compile(t, e, g, true), newArrays(t, g, 2))
	var all sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		all.Go(func() {
			n, err := e.Compile(g, true)
			if err != nil {
				t.Error(err)
				return
			}
			defer n.Close()
			a := newArrays(t, g, 2)
			if err := errors.Join(n.Forward(context.Background(), a.x, a.y), n.Backward(context.Background(), a.dy, a.dx)); err != nil {
				t.Error(err)
				return
			}
			for i, got := range a.results() {
				if _, err := compare.Close(got, want[i], compare.Tolerance{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// Graphs for images of different sizes run on the same sessions, for as long as one of them is in use.
func TestSizesShareSessions(t *testing.T) {
	e := open(t, Options{Threads: 1})
	var nets []*net
	for _, side := range []int{16, 24, 40} {
		g := sized(t, side)
		n, err := e.Compile(g, true)
		require.NoError(t, err)
		nets = append(nets, n.(*net))
		a := newArrays(t, g, 2)
		require.Equal(t, run(t, compile(t, open(t, Options{Threads: 1}), g, true), a), run(t, n, a))
	}
	shared := len(e.sessions.all)
	require.Len(t, nets[0].steps, shared)
	for i, n := range nets {
		require.Len(t, e.sessions.all, shared)
		for k, s := range n.steps {
			require.Same(t, nets[0].steps[k].session, s.session)
		}
		if i > 0 {
			require.NoError(t, n.Close())
		}
	}
	other, err := e.Compile(sized(t, 18), true) // a stride that ends elsewhere: another gradient
	require.NoError(t, err)
	require.Greater(t, len(e.sessions.all), shared)
	require.NoError(t, other.Close())
	require.NoError(t, nets[0].Close())
	require.Empty(t, e.sessions.all)
}

// sized is a small network for square images.
func sized(t *testing.T, side int) *graph.Graph {
	r := &resnet{Builder: graph.NewBuilder("sized")}
	rng := rand.New(rand.NewPCG(4, 0))
	weights := func(m, c int) string {
		w := nd.New(m, c, 3, 3)
		for i := range nd.Data(w) {
			nd.Data(w)[i] = rng.Float32() - 0.5
		}
		return r.Const(w)
	}
	attr := graph.Attrs{"strides": []int{2, 2}, "pads": []int{1, 1, 1, 1}}
	x := r.Op(graph.Relu, nil, r.Op(graph.Conv, attr, r.Input("x", graph.N, 3, side, side), weights(8, 3)))
	g, err := r.Graph(r.Op(graph.Conv, attr, x, weights(8, 8)))
	require.NoError(t, err)
	return g
}
