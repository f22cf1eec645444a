package telemetry

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"f2pad.example/engine/internal/stage"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

// written are the lines of a file of metrics without comments, and without what changes from run to run.
func written(t *testing.T, s *Scoring) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f2pad.prom")
	require.NoError(t, s.WriteFile(path))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	_, err = parser.TextToMetricFamilies(strings.NewReader(string(text)))
	require.NoError(t, err)
	problems, err := promlint.New(strings.NewReader(string(text))).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "f2pad_memory_bytes") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestRun(t *testing.T) {
	now := time.Unix(1000, 500e6)
	r := newRun("v1", "out/\"a\"", func() time.Time { return now })
	r.Model("m")
	now = now.Add(10 * time.Second)
	first := written(t, r.Scoring)
	require.NotContains(t, first, "f2pad_run_images{", "the total is not known")
	require.NotContains(t, first, "f2pad_run_seconds_remaining")
	require.Contains(t, first, `f2pad_images_total{model="m",result="failed",run="out/\"a\""} 0`)
	r.Image("m", Scored(true), "cuda:0")
	r.Image("m", Scored(false), "cuda:1")
	r.Image("m", Failed, "")
	r.Kept()
	timer := r.Timer("m")
	timer(stage.Features, 2, stage.Took{Wall: 1500 * time.Millisecond})
	timer(stage.Features, 1, stage.Took{Wall: 500 * time.Millisecond})
	timer(stage.Write, 1, stage.Took{Wall: time.Second})
	r.Progress(4, 24)
	second := written(t, r.Scoring)
	const want = `f2pad_build_info{run="out/\"a\"",version="v1"} 1
f2pad_device_images_total{device="cuda:0",model="m",run="out/\"a\""} 1
f2pad_device_images_total{device="cuda:1",model="m",run="out/\"a\""} 1
f2pad_images_total{model="m",result="anomalous",run="out/\"a\""} 1
f2pad_images_total{model="m",result="failed",run="out/\"a\""} 1
f2pad_images_total{model="m",result="normal",run="out/\"a\""} 1
f2pad_run_finished{run="out/\"a\""} 0
f2pad_run_images{run="out/\"a\""} 24
f2pad_run_images_per_second{run="out/\"a\""} 0.4
f2pad_run_kept_images{run="out/\"a\""} 1
f2pad_run_seconds{run="out/\"a\""} 10
f2pad_run_seconds_remaining{run="out/\"a\""} 50
f2pad_run_start_time_seconds{run="out/\"a\""} 1000.5
f2pad_stage_images_total{model="m",run="out/\"a\"",stage="features"} 3
f2pad_stage_images_total{model="m",run="out/\"a\"",stage="write"} 1
f2pad_stage_seconds_total{model="m",run="out/\"a\"",stage="features"} 2
f2pad_stage_seconds_total{model="m",run="out/\"a\"",stage="write"} 1
`
	require.Equal(t, want, second)
	now = now.Add(6 * time.Second)
	r.Progress(24, 24)
	r.End(true)
	now = now.Add(time.Hour)
	last := written(t, r.Scoring)
	require.Contains(t, last, "f2pad_run_finished{run=\"out/\\\"a\\\"\"} 1")
	require.Contains(t, last, "f2pad_run_images_per_second{run=\"out/\\\"a\\\"\"} 1.5\n")
	require.Contains(t, last, "f2pad_run_seconds{run=\"out/\\\"a\\\"\"} 16\n")
	require.NotContains(t, last, "remaining")
}

// A run's names must not be those of the collector that reads its file: it would refuse all.
func TestRunHasNamesOfItsOwn(t *testing.T) {
	r := NewRun("v1", "out")
	families, err := r.Registry.Gather()
	require.NoError(t, err)
	require.NotEmpty(t, families)
	for _, f := range families {
		require.Regexp(t, "^f2pad_", f.GetName())
		for _, m := range f.GetMetric() {
			require.Contains(t, m.String(), `name:"run"`, f.GetName())
		}
	}
}

func TestServingTellsWhatProcessesTell(t *testing.T) {
	s := NewServing("v1")
	s.Model("m", 3)
	s.Ready(true)
	text := written(t, s.Scoring)
	require.Contains(t, text, `f2pad_accepted_requests_limit{model="m"} 3`)
	require.Contains(t, text, "f2pad_ready 1\n")
	s.Ready(false)
	require.Contains(t, written(t, s.Scoring), "f2pad_ready 0\n")
	require.Contains(t, text, "go_goroutines ")
	if runtime.GOOS == "linux" {
		require.Contains(t, text, "process_resident_memory_bytes ")
	}
}

func TestMemory(t *testing.T) {
	require.Greater(t, Memory(), int64(1<<20))
	require.Less(t, Memory(), int64(1<<40))
}

// docs/serving.md lists every name, and none that is not there.
func TestPageListsTheMetrics(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "serving.md"))
	require.NoError(t, err)
	listed := map[string]bool{}
	for _, name := range regexp.MustCompile("`(f2pad_[a-z_]+)").FindAllStringSubmatch(string(page), -1) {
		listed[name[1]] = true
	}
	there := map[string]bool{}
	s := NewServing("v1")
	s.Model("m", 1)
	s.Image("m", Scored(true), "cpu")
	s.Request("/", 200, 0)
	s.Batch("m", []time.Duration{0})
	s.Timer("m")(stage.Decode, 1, stage.Took{Wall: time.Second})
	r := NewRun("v1", "out")
	r.Progress(1, 2)
	for _, reg := range []*Scoring{s.Scoring, r.Scoring} {
		families, err := reg.Registry.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if strings.HasPrefix(f.GetName(), "f2pad_") {
				there[f.GetName()] = true
			}
		}
	}
	require.Equal(t, there, listed)
}
