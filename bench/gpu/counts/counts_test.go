package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"f2pad.example/cgo/cuda"
	"f2pad.example/cgo/gpu"
	"f2pad.example/engine"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(text)
}

func TestPTXAS(t *testing.T) {
	text := read(t, "ptxas.txt")
	all, err := parsePTXAS(text)
	require.NoError(t, err)
	require.Equal(t, []assembled{
		{kernel: "small", registers: 32},
		{kernel: "large", registers: 255, stack: 64, stores: 24, loads: 40, shared: 4096, barriers: 1},
	}, all)
	for name, broken := range map[string]string{
		"nothing of a kernel":   "ptxas fatal   : no input",
		"too little of small":   strings.Replace(text, "Used 32 registers", "", 1),
		"too little of large":   strings.Replace(text, "64 bytes stack frame", "", 1),
		"too little of a third": text + "Compiling entry function 'a third' for 'sm_90'\n",
	} {
		_, err := parsePTXAS(broken)
		require.ErrorContains(t, err, name)
	}
}

// A loop within a loop counts, not the one around it, and of several the densest; a kernel without products has its multiply-adds.
func TestSASS(t *testing.T) {
	loops, err := parseSASS(read(t, "sass.txt"))
	require.NoError(t, err)
	require.Equal(t, map[string]hotLoop{"product": {6, 2, "HMMA"}, "sums": {4, 2, "FFMA"}}, loops)
	require.InDelta(t, 3, loops["product"].each(), 1e-12)
	_, err = parseSASS("nvdisasm fatal   : no cubin")
	require.ErrorContains(t, err, "no kernel")
}

func TestResidentBlocks(t *testing.T) {
	for _, c := range []struct {
		threads, registers, shared int
		arch                       string
		blocks                     int
		limit                      string
	}{
		{256, 32, 0, "sm_80", 8, "threads"},
		{32, 16, 0, "sm_90", 32, "blocks"},
		{128, 208, 68096, "sm_90", 2, "registers"},
		{64, 200, 0, "sm_90", 4, "registers"}, // there are those of ten warps, given out by fours
		{128, 64, 25856, "sm_80", 6, "shared memory"},
		{128, 64, 25856, "sm_90", 8, "registers"},
		{256, 255, 0, "sm_80", 1, "registers"},
		{128, 72, 0, "sm_90", 7, "registers"},
		{1024, 33, 0, "sm_90", 1, "registers"},
		{256, 8, 98304, "sm_80", 1, "shared memory"},
		{256, 8, 98304, "sm_90", 2, "shared memory"},
	} {
		for _, m := range multiprocessors {
			if m.arch == c.arch {
				blocks, limit := m.resident(c.threads, c.registers, c.shared)
				require.Equal(t, c.blocks, blocks, "%+v", c)
				require.Equal(t, c.limit, limit, "%+v", c)
			}
		}
	}
}

func TestLeastTime(t *testing.T) {
	c := ceiling{"", 4e12, 50e12, map[string]float64{"f16": 800e12, "tf32": 400e12}, 100}
	least := func(want float64, k kernels.Cost) {
		t.Helper()
		got := c.least(k, 0)
		require.InEpsilon(t, want, got.alone, 1e-12)
		require.Equal(t, got.alone, got.evenly)
	}
	least(2e-6, kernels.Cost{Bytes: 8e6, Flops: 50e6})
	least(3e-6, kernels.Cost{Bytes: 8e6, Flops: 150e6})
	least(3e-6, kernels.Cost{Flops: 50e6, TensorFlops: 1200e6, Tensor: "tf32"})
	least(1.5e-6, kernels.Cost{Flops: 50e6, TensorFlops: 1200e6, Tensor: "f16"})
	for blocks, want := range map[int]float64{200: 1e-6, 101: 2e-6 * 100 / 101, 25: 4e-6} { // one has two blocks; most have none
		got := c.least(kernels.Cost{Flops: 50e6}, blocks)
		require.InEpsilon(t, want, got.alone, 1e-12, blocks)
		require.InEpsilon(t, 1e-6, got.evenly, 1e-12)
	}
	b := bound{alone: 4, evenly: 1}
	require.Equal(t, 4., b.beside(2))
	require.Equal(t, 5., b.beside(5))
}

func TestTally(t *testing.T) {
	launch := func(kernel string, bytes int64, block, shared int) kernels.Launch {
		return kernels.Launch{Kernel: kernel, Grid: [3]int{132, 2}, Block: block, Shared: shared, Cost: kernels.Cost{Bytes: bytes, TensorFlops: 7, Tensor: "f16"}}
	}
	count := newTally()
	for _, g := range []gpu.Given{
		{What: gpu.Launched, Launch: launch("a", 4800, 128, 10)}, {What: gpu.Replayed, Launch: launch("a", 4800, 128, 30)}, {What: gpu.Graphed},
		{What: gpu.Launched, Launch: launch("b", 1, 32, 0), Stream: 3}, {What: gpu.Uploaded, Bytes: 5}, {What: gpu.Uploaded, Bytes: 6}, {What: gpu.Downloaded, Bytes: 7},
		{What: gpu.Copied, Bytes: 100}, {What: gpu.Filled, Bytes: 100}, {What: gpu.Waited}, {What: gpu.Waited},
	} {
		count.given(g)
	}
	sum := newTally()
	sum.add(count)
	sum.add(count)
	require.Equal(t, []int64{22, 14}, []int64{sum.up, sum.down})
	require.Equal(t, []int{4, 2, 2, 4}, []int{sum.uploads, sum.downloads, sum.graphs, sum.waits})
	require.InEpsilon(t, 4*1e-9, sum.longest[0], 1e-9, "b is in another stream")
	a := sum.kernels["a"]
	require.Equal(t, []int{4, 2, 128, 30}, []int{a.launches, a.replayed, a.block, a.shared})
	require.InEpsilon(t, 4*1e-9, a.least[0].alone, 1e-9)
	require.EqualValues(t, 400, sum.kernels[copies].bytes)
	require.EqualValues(t, 200, sum.kernels[fills].bytes)
	all := sum.total()
	require.Equal(t, []int{10, 2}, []int{all.launches, all.replayed})
	require.EqualValues(t, 4*4800+2+600, all.bytes)
	require.EqualValues(t, 6*7, all.tensorFlops())
	require.Equal(t, "f16", all.precisions())
	require.InEpsilon(t, float64(4*4800+2+600)/4.8e12, all.least[0].evenly, 1e-9)
}

// An iteration is what is between two steps of the pixels; what is before the first and after the last belongs to none.
func TestIterations(t *testing.T) {
	d := &dryDevice{}
	d.reset()
	s := &shadow{dry: []*dryDevice{d}}
	launch := func(kernel string) { d.watch(gpu.Given{What: gpu.Launched, Launch: kernels.Launch{Kernel: kernel}}) }
	for range 2 {
		require.NoError(t, s.all(partOptimise, func(d *dryDevice, _ int) error {
			launch("put")
			for range 3 {
				launch("cut")
				launch("pixel_step_stats")
			}
			launch("get")
			return nil
		}))
		require.NoError(t, s.all(partScores, func(d *dryDevice, _ int) error { launch("cut"); return nil }))
	}
	require.Equal(t, 4, d.iterations)
	require.Equal(t, 6, d.counts[partOptimise].kernels["cut"].launches)
	require.Equal(t, 2, d.counts[partOptimise].kernels["get"].launches)
	require.Equal(t, 2, d.counts[partScores].kernels["cut"].launches)
	iteration := d.counts[partIteration].kernels
	require.Len(t, iteration, 2)
	require.Equal(t, 4, iteration["cut"].launches)
	require.Equal(t, 4, iteration["pixel_step_stats"].launches)
}

func TestGroups(t *testing.T) {
	var all []engine.StageTime
	for _, s := range []string{"decode", "features", "scores", "regions, fills", "residual", "its gradients", "fills scored", "looks"} {
		all = append(all, engine.StageTime{Stage: engine.Stage(s), CPU: 1, Part: s == "its gradients"})
	}
	require.Equal(t, []group{
		{"decode", "decode", 1}, {"features", "features and scores", 2}, {"regions, fills", "regions, fills and residual", 2},
		{"looks", "fills scored and looks", 2},
	}, groups(all))
}

func TestPage(t *testing.T) {
	d := &dryDevice{}
	d.reset()
	for _, part := range []string{partScores, partOptimise, partIteration} {
		d.counts[part].given(gpu.Given{What: gpu.Launched, Launch: kernels.Launch{
			Kernel: "knn", Grid: [3]int{66}, Block: 256, Shared: 98304, Cost: kernels.Cost{TensorFlops: 989e9, Tensor: "bf16"},
		}})
	}
	d.counts[partScores].given(gpu.Given{What: gpu.Uploaded, Bytes: 640_000})
	d.counts[partIteration].longest = []float64{1.5e-3, 1.8e-3}
	for range 3 {
		d.counts[partIteration].given(gpu.Given{What: gpu.Launched, Launch: kernels.Launch{Kernel: "cut"}})
	}
	c := counted{method: "padim", precision: cuda.Float16, batch: 32, images: 2, refined: 1, suspect: 0.05, counts: d.counts, iterations: 1}
	p := &page{
		options: options{side: 256, batches: []int{32}, date: time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)}, versions: "V1",
		kernels: []kernel{
			{module: "m", arch: "sm_80", assembled: assembled{kernel: "knn", registers: 128}, threads: 256, hot: &hotLoop{149, 64, "HMMA"}},
			{module: "m", arch: "sm_90", assembled: assembled{kernel: "knn", registers: 64, stores: 4}, threads: 256, hot: &hotLoop{153, 64, "HMMA"}},
		},
		counts: []counted{c},
		shares: []share{{method: "padim", images: 2, all: 0.1, stages: []engine.StageTime{
			{Stage: "features", CPU: 0.04}, {Stage: "join", CPU: 0.01}, {Stage: "write", CPU: 0.02},
		}, places: map[string]float64{partScores: 0.04}}},
	}
	var b strings.Builder
	require.NoError(t, p.write(&b))
	text := b.String()
	require.True(t, strings.HasPrefix(text, "# What a GPU would be given to do, counted without one, 30 November 2026\n\n**No GPU was there, and nothing here is a measurement of speed.**"))
	for _, line := range []string{
		"| m | knn | 256 | 98304 | 0 | 128 | 0 | 1 | 8 | shared memory | 64 | 4 | 2 | 16 | shared memory |",
		"| m | knn | HMMA | 149 | 64 | 2.33 | 153 | 64 | 2.39 |",
		"| padim, float16, batch 32 | scores | 320 | 0.5000 | 0 | 0 | 0.5000 | 0 | 0 | 0 | 0 | 494 | 0 |",
		"| padim, float16, batch 32 | **all** | 320 | 0.5000 | 0 | 0 | 1.00 | 0 | 0 | 0 | 0 | 989 | 0 |",
		"| knn | 1.00 | 0 | 989000 | bf16 | 0 | 2000 | 1000 | 1.00 | 0 | 989000 | 0 | 2000 | 1000 |",
		"| padim, float16, batch 32 | 2000 | 1000 | 1000 | 799 | 1500 | 1000 | 200 % | 251 % | 5.00 | 1.00 |", // of .9988 ms
		"| features | 40.0 | 40.0 | 0 |", "| join | 10.0 | 0 | 10.0 |", "| **all** | 100 | 40.0 | 60.0 |",
		"An iteration of padim, float16, batch 32 has windows of 3.0 sizes: in streams it takes 75 % of what it would one after the other, evenly 50 %.",
		"So 16 cores like this one feed 267 images/s at most, 400 where nothing is written. By section 4 the card could not do more than 1000 (float16).",
	} {
		require.Contains(t, text, line+"\n")
	}
	require.Contains(t, text, "4 bytes are spilled in all")
	require.Contains(t, text, "found something in 1 (padim), in 5.0 % of the pixels")
}

func TestArguments(t *testing.T) {
	var said strings.Builder
	o, err := parse([]string{"-backbone", "x.onnx", "-batches", "1,16", "-methods", "padim"}, &said)
	require.NoError(t, err)
	require.Equal(t, []int{1, 16}, o.batches)
	require.Equal(t, 16, (&page{options: o}).largest())
	for want, args := range map[string][]string{
		"-backbone is missing": {}, "separated by commas": {"-backbone", "x", "-batches", "1,0"}, "unexpected argument": {"-backbone", "x", "y"},
		"want 1 or more": {"-backbone", "x", "-images", "0"},
	} {
		said.Reset()
		_, err := parse(args, &said)
		require.Error(t, err)
		require.Contains(t, said.String(), want)
	}
}
