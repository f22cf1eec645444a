package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/peak"
	"f2pad.example/engine/perf/stats"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
)

func offlineRow(batch int, samples ...float64) *Row {
	timing, spread := stats.Of(samples), 0.0
	return &Row{
		Scenario: Offline, Device: "cpu", Map: refine.Base, Batch: batch, ImagesPerSecond: 4 / timing.Median, Round: &timing, Spread: &spread,
		Interval: &stats.Interval{}, Samples: samples, Stages: []engine.StageTime{{Stage: "features", Seconds: 0.01}},
	}
}

func streamRow(images ...float64) *Row {
	sum := 0.0
	for _, s := range images {
		sum += s
	}
	r := offlineRow(1, sum, sum, sum)
	r.Scenario, r.ImageSeconds = Stream, images
	r.ImagesPerSecond = float64(len(images)) / sum
	l := stats.Latencies(images)
	r.Latency = &l
	return r
}

func example(rows ...*Row) *Report {
	return &Report{
		Revision: Revision, Program: "v1", Go: "go1.26", Date: time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC), Complete: true,
		Model:     Model{SHA256: "0123456789abcdef", Method: "padim", Backbone: "scatter", Size: engine.Size{Px: 256}},
		Executors: []exec.Info{{Executor: "go", Device: "cpu", Precision: "float32", Version: "v1"}}, Devices: []device.Info{device.CPU},
		Machine: Machine{Processor: "Some\tprocessor", Cores: 2, MaxProcs: 2, OS: "linux", Arch: "amd64"},
		Rates:   Rates{peak.Rates{Unit: "AVX2", Flops: 1e11, Copy: 1e10}, peak.Rates{Unit: "AVX2", Flops: 2e11, Copy: 0.5e10}},
		Images:  Images{From: "photos", Count: 4, Width: 8, Height: 8, SHA256: "aa"}, Rows: rows, Cold: []*Cold{},
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.json")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
	return path
}

func text(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, r.WriteJSON(&b))
	return b.String()
}

func TestReadWhatIsWritten(t *testing.T) {
	r := example(offlineRow(1, 1, 2, 3), streamRow(1, 2, 3, 4))
	got, err := Read(write(t, text(t, r)))
	require.NoError(t, err)
	require.Equal(t, r, got)

	// The lines of --json: what comes before is passed over, and the last report counts.
	first := example()
	first.Program = "v0"
	lines := `{"message_type":"progress","done":1}` + "\n[1,2]\n"
	for _, r := range []*Report{first, r} {
		line, err := json.Marshal(r)
		require.NoError(t, err)
		lines += `{"message_type":"bench",` + string(line[1:]) + "\n"
	}
	got, err = Read(write(t, lines+`{"message_type":"exit_error","code":1}`))
	require.NoError(t, err)
	require.Equal(t, r, got)
}

func TestReadBrokenFiles(t *testing.T) {
	change := func(f func(*Report)) string {
		r := example(offlineRow(1, 1, 2, 3), streamRow(1, 2, 3, 4))
		f(r)
		return text(t, r)
	}
	good := change(func(*Report) {})
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", "not a report of f2pad bench: nothing in it"},
		"another program's": {`{"a":1}`, "nothing in it"},
		"no JSON":           {"goos: linux\n", "not a report of f2pad bench: invalid character"},
		"cut off":           {good[:len(good)-20], "unexpected EOF"},
		"a newer one":       {change(func(r *Report) { r.Revision = 3 }), "revision 3; this program reads up to 2"},
		"without revision":  {change(func(r *Report) { r.Revision = 0 }), "revision 0"},
		"wrong type":        {strings.Replace(good, `"batch": 1`, `"batch": "one"`, 1), "cannot unmarshal"},
		"unknown scenario":  {change(func(r *Report) { r.Rows[0].Scenario = "idle" }), `row 0 (idle/device=cpu/map=base/batch=1): unknown scenario "idle"`},
		"no samples":        {change(func(r *Report) { r.Rows[0].Samples = nil }), "it has no samples"},
		"a negative one":    {change(func(r *Report) { r.Rows[0].Samples[1] = -1 }), "samples_s[1] is -1"},
		"an image of zero":  {change(func(r *Report) { r.Rows[1].ImageSeconds[2] = 0 }), "row 1 (stream/device=cpu/map=base/batch=1): image_s[2] is 0"},
		"no rate":           {change(func(r *Report) { r.Rows[0].ImagesPerSecond = 0 }), "images_per_s is 0"},
		"no server":         {change(func(r *Report) { r.Rows[0].Scenario = Server }), "it says nothing of the server"},
		"twice":             {change(func(r *Report) { r.Rows = append(r.Rows, r.Rows[0]) }), "is there twice"},
		"null":              {change(func(r *Report) { r.Rows[1] = nil }), "row 1 is null"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, c.text)
			_, err := Read(path)
			require.ErrorContains(t, err, path+": ")
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := Read(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Read(t.TempDir())
	require.ErrorContains(t, err, "not a regular file")
	// A row that failed has no samples, and is no fault of the file.
	_, err = Read(write(t, change(func(r *Report) { r.Rows[0] = &Row{Scenario: Offline, Error: "boom"} })))
	require.NoError(t, err)
}

// What benchstat reads: configuration lines, and benchmarks as the Go project's proposal 14313 has them.
func TestWriteGo(t *testing.T) {
	server := &Row{Scenario: Server, Device: "cpu", Map: refine.Base, Batch: 8, ImagesPerSecond: 50, Server: &ServerRow{Rate: 50, Asked: 500, Held: true}}
	r := example(offlineRow(8, 1, 2), server, &Row{Scenario: Offline, Error: "boom", Batch: 9})
	var b strings.Builder
	require.NoError(t, r.WriteGo(&b))
	require.Equal(t, `goos: linux
goarch: amd64
pkg: f2pad.example/cmd/f2pad
cpu: Some processor
f2pad: v1
model: 0123456789abcdef
method: padim
backbone: scatter
size: 256
executor: go
BenchmarkOffline/device=cpu/map=base/batch=8-2 4 250000000 ns/op 4 images/s
BenchmarkOffline/device=cpu/map=base/batch=8-2 4 500000000 ns/op 2 images/s
BenchmarkServer/device=cpu/map=base/batch=8-2 500 20000000 ns/op
`, b.String())
	for line := range strings.Lines(b.String()) {
		require.Regexp(t, regexp.MustCompile(`^([a-z][^\s:]*: .*|Benchmark[A-Z]\S* \d+( [0-9.e+]+ \S+)+)\n$`), line)
	}
}

func TestShare(t *testing.T) {
	r := example(offlineRow(4, 1), offlineRow(1, 1))
	r.Share()
	require.Nil(t, r.Rows[0].Network, "the work is not known")
	r.Work = &engine.Work{Flops: 1e9, Values: 5e6, Weights: 4e6}
	r.Share()
	n := r.Rows[0].Network
	require.InEpsilon(t, 1e11, n.Flops, 1e-9) // 1 GFLOP in 10 ms
	require.InEpsilon(t, 0.5, *n.OfFlops, 1e-9)
	require.InEpsilon(t, 4*(5e6+1e6)/0.01, n.Bytes, 1e-9)
	require.InEpsilon(t, 0.24, n.OfCopy, 1e-9)
	require.Equal(t, "compute", n.Ceiling)
	require.InEpsilon(t, 4*(5e6+4e6)/0.01, r.Rows[1].Network.Bytes, 1e-9, "weights are read for each image")

	r.Rates = Rates{Before: peak.Rates{Copy: 1e9}}
	r.Share()
	require.Nil(t, r.Rows[0].Network.OfFlops)
	require.Equal(t, "memory", r.Rows[0].Network.Ceiling)
	r.Rows[0].Network, r.Executors[0].Device = nil, "cuda:0"
	r.Share()
	require.Nil(t, r.Rows[0].Network, "the processor does not do it")
}

func names(c *Comparison) (slower, faster []string) {
	for _, r := range c.Rows {
		if r.Slower {
			slower = append(slower, r.Row)
		}
		if r.Faster {
			faster = append(faster, r.Row)
		}
	}
	return slower, faster
}

func TestCompare(t *testing.T) {
	before := example(offlineRow(1, 4, 4.1, 3.9), offlineRow(2, 4, 4.1, 3.9), offlineRow(3, 4, 6, 3.9), offlineRow(4, 4, 4, 4), offlineRow(5, 4),
		&Row{Scenario: Offline, Error: "boom", Batch: 6, Device: "cpu", Map: refine.Base})
	after := example(offlineRow(1, 5, 5.1, 4.9), offlineRow(2, 4.12, 4.2, 4.15), offlineRow(3, 5, 5, 5), offlineRow(4, 3, 3, 3),
		offlineRow(6, 4), offlineRow(7, 4))
	c := Compare(before, after, 0.05)
	slower, faster := names(c)
	require.Equal(t, []string{"offline/device=cpu/map=base/batch=1"}, slower, "not by less than the threshold, nor where old and new overlap")
	require.Equal(t, []string{"offline/device=cpu/map=base/batch=4"}, faster)
	require.Equal(t, 1, c.Slower)
	require.Len(t, c.Rows, 4)
	r := c.Rows[0]
	require.InDelta(t, 1, r.Old, 1e-9)
	require.InDelta(t, 1.25, r.New, 1e-9)
	require.InDelta(t, 1.25, r.Ratio, 1e-9)
	require.InDelta(t, 4.9/4.1, r.Interval.Low, 1e-9)
	require.InDelta(t, 5.1/3.9, r.Interval.High, 1e-9)
	require.Zero(t, r.Pairs)
	require.Equal(t, []string{"offline/device=cpu/map=base/batch=5"}, c.Old)
	require.Equal(t, []string{"offline/device=cpu/map=base/batch=6", "offline/device=cpu/map=base/batch=7"}, c.New)
	require.Empty(t, c.Differences)
	require.Equal(t, 2, Compare(before, after, 0.01).Slower, "batch 2, by 3.75 %")

	// Another number of images: rows are compared by the image.
	after.Images.Count = 8
	for _, r := range after.Rows {
		r.ImagesPerSecond *= 2
	}
	require.InDelta(t, 0.625, Compare(before, after, 0.05).Rows[0].Ratio, 1e-9)
	require.InDelta(t, 4.9/4.1/2, Compare(before, after, 0.05).Rows[0].Interval.Low, 1e-9)
}

// Images are compared with themselves: they differ among each other far more than from run to run.
func TestComparePairs(t *testing.T) {
	old, later := []float64{0.1, 0.2, 0.4, 0.8, 1.6, 3.2}, []float64{0.11, 0.22, 0.44, 0.88, 1.76, 3.2}
	a, b := example(streamRow(old...)), example(streamRow(later...))
	c := Compare(a, b, 0.05)
	require.Equal(t, 6, c.Rows[0].Pairs)
	require.InDelta(t, 1.1, c.Rows[0].Ratio, 1e-9)
	require.InDelta(t, 1, c.Rows[0].Interval.Low, 1e-9)
	require.InDelta(t, 1.1, c.Rows[0].Interval.High, 1e-9)
	require.False(t, c.Rows[0].Slower, "one of six is not slower")
	b.Rows[0].ImageSeconds[5] = 3.5
	require.True(t, Compare(a, b, 0.05).Rows[0].Slower)
	b.Images.SHA256 = "bb"
	c = Compare(a, b, 0.05)
	require.Zero(t, c.Rows[0].Pairs, "other images")
	require.Contains(t, c.Differences, "images: aa, then bb")
}

func TestCompareServers(t *testing.T) {
	row := func(rate float64) *Row {
		return &Row{Scenario: Server, Device: "cpu", Map: refine.Base, Batch: 8, ImagesPerSecond: rate, Server: &ServerRow{Rate: rate}}
	}
	c := Compare(example(row(50)), example(row(40)), 0.05)
	require.InDelta(t, 1.25, c.Rows[0].Ratio, 1e-9)
	require.Nil(t, c.Rows[0].Interval)
	require.True(t, c.Rows[0].Slower)
	require.Zero(t, Compare(example(row(50)), example(row(49)), 0.05).Slower)
	c = Compare(example(row(50)), example(row(0)), 0.05)
	require.Empty(t, c.Rows)
	require.Equal(t, []string{"server/device=cpu/map=base/batch=8"}, c.Lost, "it was held, and is not any more")
	require.Empty(t, c.Old)
}

func TestCompareTellsWhatElseDiffers(t *testing.T) {
	a, b := example(), example()
	b.Program, b.Machine.Processor, b.Machine.MaxProcs, b.Model.Method, b.Model.SHA256 = "v2", "Other", 4, "cflow", "fedcba9876543210"
	b.Rates.Before.Flops, b.Rates.After.Flops = 1e11, 1.5e11
	require.Equal(t, []string{
		"version: v1, then v2", "processor: Some\tprocessor, then Other", "GOMAXPROCS: 2, then 4", "method: padim, then cflow",
		"model: 0123456789ab, then fedcba987654", "multiply-adds of the processor: 0.75 times as fast as before",
	}, Compare(a, b, 0.05).Differences)
}
