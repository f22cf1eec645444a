package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine/bench"
	"f2pad.example/engine/perf/stats"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
)

// page is what writePage makes of a folder's run.
func page(t *testing.T, dir string) string {
	t.Helper()
	require.NoError(t, writePage(dir))
	text, err := os.ReadFile(filepath.Join(dir, "gpu-first.md"))
	require.NoError(t, err)
	return string(text)
}

// section is a part of a page.
func section(t *testing.T, text, title string) string {
	t.Helper()
	_, after, found := strings.Cut(text, "\n## "+title)
	require.True(t, found, "%s in\n%s", title, text)
	before, _, _ := strings.Cut(after, "\n## ")
	return before
}

// testdata/first is a run of gpu-first.sh on the fake driver, as testdata/gen_first.sh records it.
func TestPageOfARecordedRun(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "first"))))
	text := page(t, dir)
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "#") {
			require.Contains(t, line, "NOT A GPU", "nobody takes it for a card's")
		}
	}
	require.Regexp(t, `^# NOT A GPU: A first run on Fake H200 \(no GPU\), \d+ \w+ 20\d\d\n`, text)
	require.Contains(t, text, "no figure below means anything")
	require.GreaterOrEqual(t, tables(t, text), 6)

	stages := section(t, text, "Stages")
	for _, s := range firstStages {
		if s != "tests" { // which is not recorded
			require.Regexp(t, `(?m)^\| `+s+` \| (passed|LEFT OUT) \|`, stages)
		}
	}
	require.Contains(t, stages, "| iteration | LEFT OUT | LEFT OUT: iteration: there is no no-python here |")
	require.NotContains(t, text, "What failed")
	ceilings := section(t, text, "What the card gives")
	for _, unit := range []string{memory, fp32, bf16, f16, tf32, up, down, both} {
		require.Regexp(t, `\| `+unit+` \| .* \| <- ceiling \|`, ceilings)
	}
	require.Contains(t, ceilings, "Benchmark")
	layers := section(t, text, "Convolutions")
	require.Contains(t, layers, "There was no PyTorch to compare with")
	for _, what := range []string{"forward, float16", "forward, float32", "gradient, float16", "gradient, float32"} {
		require.Regexp(t, `\| resnet18 layer1: 32 x 64 x 64 x 64 to 64, 3x3, stride 1, `+what+` \| [0-9.]+ \| .* % \|`, layers)
	}
	loop := section(t, text, "The program")
	require.Contains(t, loop, "padim on ResNet-18's layers 1 to 3 with random weights, images of 32 x 32 pixels")
	require.Regexp(t, `\| float32 \| cpu \| 1 \| 1 \| .* \|  \|\n\| float32 \| cuda:0 \| 1 \| 1 \| [^\n]* % \| [^\n]* \| \S+e-\d+ \|[^|\n]*\|[^|\n]*\|\n`, loop)
	require.Regexp(t, `\| float16 \| cuda:0 \| 1 \| 1 \| .*\d %[^\n]*e-\d+ \|[^|\n]*\|[^|\n]*\|\n`, loop)
	require.Contains(t, loop, "| optimisation |")
	require.Contains(t, section(t, text, "The other kernels"), "out of time")
	require.Contains(t, section(t, text, "What the driver made of the kernels"), "| conv | conv_f16_128x128 |")
	require.Contains(t, section(t, text, "Kernels on arrays past 4 GiB"), "Passed: base_map, blur,")
}

// put writes a file of a run.
func put(t *testing.T, dir, name string, content any) {
	t.Helper()
	text, ok := content.(string)
	if !ok {
		b, err := json.Marshal(content)
		require.NoError(t, err)
		text = string(b)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666))
}

// A card's run: what failed is named, a peer's times are beside ours, and what cannot be read keeps nothing else from the page.
func TestPage(t *testing.T) {
	dir := t.TempDir()
	_, err := os.Stat(filepath.Join(dir, "gpu-first.md"))
	require.ErrorContains(t, writePage(dir), "nothing of gpu-first.sh is here")
	require.ErrorIs(t, err, os.ErrNotExist)

	put(t, dir, "gpu-first.jsonl", `{"stage":"card","status":"passed","code":0,"seconds":1,"not_a_gpu":false}
{"stage":"far","case":"knn","errors":0,"not_a_gpu":false}
{"stage":"tests","status":"FAILED","code":1,"seconds":7,"not_a_gpu":false}
half a li`)
	put(t, dir, "gpu-first-tests.log", "--- FAIL: TestX (0.00s)\n  blur   2 comparisons, closest: x.go:8: 4 % of the tolerance used\nthe end\n")
	r := example()
	r.Cases = []result{
		{Kernel: "conv", Size: "layer, forward, float16", TensorFlops: 2e12, Time: at(4), First: at(4), Again: at(4), Floor: 3e-3, FloorUnit: f16,
			Peer: &peerAnswer{Variants: []variant{{Name: "conv2d", Precision: "f16", Exact: true, MS: 6}, {Name: "slow", Precision: "f16", Exact: true, MS: 9}}}},
		{Kernel: "conv", Size: "layer, forward, float32", Flops: 1e12, Time: at(10), First: at(10), Again: at(10),
			Peer: &peerAnswer{Variants: []variant{{Precision: "tf32", MS: 2}, {Precision: "float32", Exact: true, MS: 5}}}},
		{Kernel: "conv", Size: "wrong", Error: "value 3 is off"},
		{Kernel: "conv", Size: "late", Error: "no time was left", OutOfTime: true},
	}
	put(t, dir, "gpu-first-convolutions.json", r)
	put(t, dir, "gpu-first-ceilings.json", example())
	put(t, dir, "gpu-first-kernels.json", "{")
	spread, apart, share, dice := 0.01, 2e-6, 3e-5, 0.9987
	good := &bench.Row{
		Scenario: bench.Offline, Device: "cuda:0", Map: refine.F2PAD, Batch: 32, ImagesPerSecond: 500, Samples: []float64{1}, Spread: &spread, Suspect: 0.05,
		Round: &stats.Timing{}, Bus: &bench.Bus{Launches: 40, Uploaded: 2e6, Downloaded: 1e6, Enqueue: 1e-4, Wait: 5e-4, Busy: 1.5e-3}, MapsApart: &apart,
		MasksApart: &share, MasksDice: &dice,
	}
	loop := &bench.Report{Revision: 1, Rows: []*bench.Row{good}}
	write := func(name string) {
		var b strings.Builder
		require.NoError(t, loop.WriteJSON(&b))
		put(t, dir, name, b.String())
	}
	write("gpu-first-loop-float32-32.json")
	lone := *good
	lone.Batch, lone.Error = 1, "another pass gave another result"
	loop.Rows = []*bench.Row{&lone}
	write("gpu-first-loop-float32-1.json")
	put(t, dir, "gpu-first-loop-float16-1.json", "no report")
	put(t, dir, "gpu-first-iteration.jsonl", `{"params":{"n":32},"torch":"2.11","cuda":"13.0","device":"NVIDIA X","name":"eager","precision":"float32","ms":40,"p10_ms":39,"p90_ms":42}
{"params":{"n":32},"name":"torch.compile","precision":"float32","error":"no compiler"}
`)
	text := page(t, dir)
	require.NotContains(t, text, "NOT A GPU")
	require.True(t, strings.HasPrefix(text, "# A first run on NVIDIA X, 24 November 2026\n"))
	require.Contains(t, text, "`make gpu-first`, 12:30 UTC. NVIDIA X")
	require.Equal(t, 6, tables(t, text))
	require.Contains(t, text, "| tests | FAILED | the end | 7 |")
	failed := section(t, text, "What failed")
	for _, want := range []string{
		"- `tests: --- FAIL: TestX (0.00s)`", "- `conv wrong: value 3 is off`", "- `gpu-first.jsonl, line 4: ", "- `gpu-first-kernels.json: ",
		"- `gpu-first-loop-float16-1.json: not a report", "- `loop, float32, offline/device=cuda:0/map=f2pad/batch=1: another pass", "- `fma: boom`",
	} {
		require.Contains(t, failed, want)
	}
	require.NotContains(t, failed, "late")
	layers := section(t, text, "Convolutions")
	require.Contains(t, layers, "The peer is PyTorch 2.11 (CUDA 13.0)")
	require.Contains(t, layers, "| layer, forward, float16 | 4.00 | 4.00 | 4.00 | 500 | 75 % | f16 | 6.00 |  |  | 1.50 |\n")
	require.Contains(t, layers, "| layer, forward, float32 | 10.0 | 10.0 | 10.0 | 100 |  |  |  | 2.00 | 5.00 | 0.50 |\n")
	require.Contains(t, layers, "| wrong | FAILED |")
	require.Contains(t, layers, "| late | out of time |")
	program := section(t, text, "The program")
	require.Contains(t, program, "| float32 | cuda:0 | 1 | 0 | FAILED |", "by batch")
	require.Contains(t, program, "| float32 | cuda:0 | 32 | 0 | 5.0 % | 500 | 1.0 % | 75 % | 40.0 | 2.00 | 1.00 | 0.1000 | 0.5000 | 1.50 |  | 2.0e-06 | 3.0e-05 | 0.9987 |\n")
	iteration := section(t, text, "One iteration in PyTorch")
	require.Contains(t, iteration, "PyTorch 2.11 (CUDA 13.0) on NVIDIA X")
	require.Contains(t, iteration, "| eager | float32 | 32 | 40.0 | 39.0 | 42.0 | 800 |  |\n")
	require.Contains(t, iteration, "| torch.compile | float32 | 32 |  |  |  |  | no compiler |\n")
	require.Contains(t, section(t, text, "The other kernels"), "Not measured")
	require.Contains(t, section(t, text, "Kernels on arrays past 4 GiB"), "Passed: knn.")
	require.Contains(t, section(t, text, "Where the kernels came closest"), "4 % of the tolerance used")
}
