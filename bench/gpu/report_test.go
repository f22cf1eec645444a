package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/perf/stats"

	"github.com/stretchr/testify/require"
)

func at(ms float64) stats.Timing {
	return stats.Timing{Median: ms / 1e3, P10: ms / 1e3, P90: ms / 1e3, Runs: 20}
}

// example has a case of each fate.
func example() *report {
	graph := at(3)
	return &report{
		Program: "v1", Date: time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC), CUDA: "13.0", SMI: "driver 580", Flush: 120 << 20,
		Device:   gpu.Info{Name: "NVIDIA X", Major: 9, SMs: 132, L2: 60 << 20, MemoryTotal: 139 << 30},
		Peer:     &peerHello{Torch: "2.11", CUDA: "13.0", Device: "NVIDIA X", Checked: []string{"blur 1e-7"}},
		Ceilings: ceilings{memory: 4e12, bf16: 8e14}, Overhead: overhead{Launch: 2e-6, Graph: 1e-6, Least: 4e-6},
		Probes: []result{
			{Kernel: "copy", Unit: memory, Bytes: 4e9, Time: at(1)},
			{Kernel: "mma.sync bf16", Unit: bf16, TensorFlops: 4e11, Time: at(1), Peer: &peerAnswer{Variants: []variant{
				{Name: "a @ b", MS: product / 8e14 * 1e3, P10: 1, P90: 2, Runs: 20}, {Name: "broken", Error: "no"},
			}}},
			{Kernel: "fma", Unit: fp32, Error: "boom"},
		},
		Cases: []result{
			{
				Kernel: "blur", Size: "32|64", Bytes: 8e9, Flops: 4e9, Launches: 2, Floor: 2e-3, FloorUnit: memory,
				Time: at(4), First: at(4), Again: at(4.2), Graph: &graph,
				Peer: &peerAnswer{Variants: []variant{
					{Name: "conv2d", Precision: "float32", Exact: true, MS: 10, P10: 9, P90: 11, Runs: 20},
					{Name: "conv2d", Precision: "tf32", MS: 2, P10: 2, P90: 2, Runs: 20, Note: "TF32"},
					{Name: "compiled", Precision: "float32", Exact: true, MS: 8, P10: 8, P90: 8, Runs: 20},
					{Name: "broken", Precision: "float32", Exact: true, Error: "no compiler"},
				}},
			},
			{Kernel: "coreset", Size: "big", Error: "out of device memory", OutOfMemory: true},
			{Kernel: "knn", Size: "bad", Error: "wrong"},
			{Kernel: "upsample", Size: "alone", Bytes: 1, Launches: 1, Time: at(1), First: at(1), Again: at(1), NoGraph: "no",
				Peer: &peerAnswer{Error: "no way"}},
		},
	}
}

func TestTextTable(t *testing.T) {
	var b strings.Builder
	example().caseTable().Without("10 %", "90 %", "launches", "TFLOP/s").Text(&b, "> ")
	require.Equal(t, `> kernel    size              ms  noise  graph ms    GB/s  floor ms      by  time/floor  PyTorch ms  speed-up
> blur      32|64           4.00  5.0 %      3.00    2000      2.00  memory        2.00        8.00      2.00
> coreset   big    out of memory
> knn       bad           FAILED
> upsample  alone           1.00  0.0 %            0.0000
`, b.String())
}

// tables counts the tables of a page, whose lines must all have as many cells.
func tables(t *testing.T, text string) (count int) {
	t.Helper()
	columns := 0
	for _, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if columns == 0 {
			columns = n
			count++
		}
		require.Equal(t, columns, n, line)
	}
	return count
}

// Every table row has as many cells as its head, and a size cannot break it.
func TestMarkdown(t *testing.T) {
	var b strings.Builder
	require.NoError(t, example().writeMarkdown(&b))
	text := b.String()
	require.Equal(t, 3, tables(t, text))
	for _, want := range []string{
		"# Kernels on NVIDIA X, 24 November 2026", "12:30 UTC", "driver 580", "CUDA 13.0", "PyTorch 2.11",
		"| memory | copy | 1.00 | 1.00 | 1.00 | 4000 GB | <- ceiling |",
		"| bf16 | mma.sync bf16 | 1.00 | 1.00 | 1.00 | 400 TFLOP |  |", "| bf16 | PyTorch a @ b |", "800 TFLOP | <- ceiling |",
		"TF32; less exact than the kernel, does not count", "no compiler", "no way", "blur 1e-7", "fma : boom",
		"upsample alone as a graph: no",
	} {
		require.Contains(t, text, want)
	}
}

func TestJSON(t *testing.T) {
	var b strings.Builder
	r := example()
	require.NoError(t, r.writeJSON(&b))
	var back report
	require.NoError(t, json.Unmarshal([]byte(b.String()), &back))
	require.Equal(t, r, &back)
}
