//go:build cgo

package ort

import (
	"context"
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"syscall"
	"testing"
	"time"

	"f2pad/engine/exec"
	"f2pad/engine/graph"
	"f2pad/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// resnet builds the first three stages of a ResNet, its BatchNormalizations folded, with random weights.
type resnet struct {
	*graph.Builder
	rng *rand.Rand
	macs float64
}

func (r *resnet) conv(x string, to, k, stride int) string {
	from := r.Shape(x)[1]
	weights, bias := nd.New(to, from, k, k), nd.New(to)
	scale := 2 / float32(k*k*from)
	for i := range nd.Data(weights) {
		nd.Data(weights)[i] = float32(r.rng.NormFloat64()) * sqrt(scale)
	}
	p := k / 2
	y := r.Conv(x, r.Const(weights), r.Const(bias), graph.Attrs{"pads": []int{p, p, p, p}, "strides": []int{stride, stride}})
	s := r.Shape(y)
	r.macs += float64(s[2]*s[3]*to*from*k*k)
	return y
}

func sqrt(x float32) float32 { z := x; for range 30 { z = (z + x/z)/2 }; return z }

func (r *resnet) relu(x string) string { return r.Op(graph.Relu, nil, x) }

func (r *resnet) stem(size int) string {
	x := r.Input("x", graph.N, 3, size, size)
	return r.Op(graph.MaxPool, graph.Attrs{"kernel_shape": []int{3, 3}, "strides": []int{2, 2}, "pads": []int{1, 1, 1, 1}},
		r.relu(r.conv(x, 64, 7, 2)))
}

func (r *resnet) shortcut(x string, to, stride int) string {
	if stride == 1 && r.Shape(x)[1] == to {
		return x
	}
	return r.conv(x, to, 1, stride)
}

func (r *resnet) basic(x string, to, stride int) string {
	y := r.conv(r.relu(r.conv(x, to, 3, stride)), to, 3, 1)
	return r.relu(r.Op(graph.Add, nil, y, r.shortcut(x, to, stride)))
}

func (r *resnet) bottleneck(x string, to, stride int) string {
	y := r.conv(r.relu(r.conv(r.relu(r.conv(x, to/2, 1, 1)), to/2, 3, stride)), to, 1, 1)
	return r.relu(r.Op(graph.Add, nil, y, r.shortcut(x, to, stride)))
}

func newResnet(t testing.TB, name string, size int) (*graph.Graph, float64) {
	r := &resnet{graph.NewBuilder(name), rand.New(rand.NewPCG(1, 2)), 0}
	x := r.stem(size)
	var outs []string
	for stage := range 3 {
		blocks := 2
		if name == "wrn50" { blocks = []int{3, 4, 6}[stage] }
		for b := range blocks {
			stride := 1
			if stage > 0 && b == 0 { stride = 2 }
			if name == "wrn50" {
				x = r.bottleneck(x, 256<<stage, stride)
			} else {
				x = r.basic(x, 64<<stage, stride)
			}
		}
		outs = append(outs, x)
	}
	g, err := r.Graph(outs...)
	require.NoError(t, err)
	return g, r.macs
}

func TestExperiment(t *testing.T) {
	name := os.Getenv("EXP")
	if name == "" { t.Skip() }
	batch, _ := strconv.Atoi(os.Getenv("BATCH"))
	reps, _ := strconv.Atoi(os.Getenv("REPS"))
	var strategies []int
	for _, c := range os.Getenv("STRAT") { strategies = append(strategies, int(c-'0')) }
	g, macs := newResnet(t, name, 256)
	t.Logf("%s: %.2f GMAC", name, macs/1e9)
	e, err := Open(Options{})
	require.NoError(t, err)
	start := time.Now()
	n, err := e.Compile(g, true)
	require.NoError(t, err)
	t.Logf("compile %v", time.Since(start))
	rng := rand.New(rand.NewPCG(3, 4))
	x := nd.New(batch, 3, 256, 256)
	for i := range nd.Data(x) { nd.Data(x)[i] = rng.Float32() }
	shapes, _ := g.Infer()
	var out []*tensor.Dense
	for _, o := range g.Outputs {
		out = append(out, nd.New(append([]int{batch}, shapes[o][1:]...)...))
	}
	dx := []*tensor.Dense{nd.New(batch, 3, 256, 256)}
	times := map[[2]int][]float64{}
	run(t, n, x, out, dx)
	for range reps {
		for _, s := range strategies {
			Strategy = s
			a, b := run(t, n, x, out, dx)
			times[[2]int{s, 0}] = append(times[[2]int{s, 0}], a)
			times[[2]int{s, 1}] = append(times[[2]int{s, 1}], b)
		}
	}
	for _, s := range strategies {
		f, b := median(times[[2]int{s, 0}]), median(times[[2]int{s, 1}])
		t.Logf("strategy %d: forward %.1f ms (%.0f GFLOP/s), fwd+bwd %.1f ms, ratio %.2f", s, f*1e3, 2*macs*float64(batch)/f/1e9, (f+b)*1e3, (f+b)/f)
	}
}

func run(t testing.TB, n exec.Net, x *tensor.Dense, out, dx []*tensor.Dense) (float64, float64) {
	t0 := cpu()
	require.NoError(t, n.Forward(context.Background(), []*tensor.Dense{x}, out))
	t1 := cpu()
	require.NoError(t, n.Backward(context.Background(), out, dx))
	t2 := cpu()
	return t1-t0, t2-t1
}

func median(v []float64) float64 { sort.Float64s(v); return v[len(v)/2] }

func cpu() float64 {
	if os.Getenv("WALL") != "" { return float64(time.Now().UnixNano()) / 1e9 }
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return float64(r.Utime.Nano()+r.Stime.Nano())/1e9
}
