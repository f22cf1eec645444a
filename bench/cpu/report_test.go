package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// example has a row of each fate.
func example() *report {
	raced := &row{Name: "network a|b", Work: 4e6, Checked: []string{"PyTorch against ours: 1e-6"}, Notes: []string{"8 images"}}
	raced.fill([]way{
		{name: "f2pad, ort", ours: "ort"}, {name: "f2pad, go", ours: "go", note: "no cgo"}, {name: "PyTorch"}, {name: "registers", peak: true},
	}, [][]float64{{1e-3, 2e-3, 3e-3}, {8e-3, 8e-3, 8e-3}, {4e-3, 4e-3, 4e-3}, {1e-10, 1e-10, 1e-10}})
	alone := &row{Name: "score", Missing: []string{"anomalib: anomalib is not installed"}}
	alone.fill([]way{{name: "f2pad, go", ours: "go"}}, [][]float64{{2}})
	return &report{
		Date: time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC), Machine: "X, 2 cores", Threads: 2, LoadBefore: "0.1", LoadAfter: "1.5",
		ORT: "1.27.0", Peers: map[string]string{"torch": "2.15", "python": "3.11"},
		Rows:    []*row{raced, alone, {Name: "broken", Error: "relative\nerror"}},
		Skipped: []string{"network c"}, Quick: true,
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	example().table().Text(&b, "")
	require.Equal(t, `work         by                              ms  10 %  90 %  runs  GFLOP/s  of peak  time / ours on ort  10 % to 90 %  time / ours on go  10 % to 90 %
network a|b  f2pad, ort                    2.00  1.20  2.80     3     2.00     20 %                                                 0.25  0.15 to 0.35
network a|b  f2pad, go                     8.00  8.00  8.00     3   0.5000      5 %                4.00  2.93 to 7.20
network a|b  PyTorch                       4.00  4.00  4.00     3     1.00     10 %                2.00  1.47 to 3.60               0.50  0.50 to 0.50
network a|b  registers                                          3     10.0    100 %
score        f2pad, go                     2000  2000  2000     1
score        anomalib: missing, see below
broken       FAILED
`, b.String())
}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	require.NoError(t, example().writeMarkdown(&b))
	text := b.String()
	columns := 0
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "|") {
			n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
			if columns == 0 {
				columns = n
			}
			require.Equal(t, columns, n, line)
		}
	}
	for _, want := range []string{
		"# CPU, 24 November 2026", "12:30 UTC. X, 2 cores. 2 threads", "ONNX Runtime 1.27.0, python 3.11, torch 2.15",
		"before the run 0.1, after it 1.5", "**A quick run", "Left out of a quick run: network c",
		"- score: anomalib: anomalib is not installed", "- broken: FAILED: relative error", "- network a|b: f2pad, go: no cgo",
		"- network a|b: 8 images", "- network a|b: PyTorch against ours: 1e-6",
	} {
		require.Contains(t, text, want)
	}
}

func TestSoftwareSaysWhatIsMissing(t *testing.T) {
	r := &report{NoORT: "no library", NoPeer: "no python3"}
	require.Equal(t, "ours without ONNX Runtime (no library), NO PEERS: no python3", r.software())
}

func TestJSON(t *testing.T) {
	var b strings.Builder
	r := example()
	require.NoError(t, r.writeJSON(&b))
	var back report
	require.NoError(t, json.Unmarshal([]byte(b.String()), &back))
	r.Rows[2].Entries, back.Rows[2].Entries = nil, nil
	require.Equal(t, r, &back)
}
