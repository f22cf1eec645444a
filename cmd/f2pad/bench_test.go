package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"f2pad.example/engine/bench"
	"f2pad.example/engine/synth"

	"github.com/stretchr/testify/require"
)

// quickly is a run of bench that takes next to nothing, and quicklyMade one that makes its images and its model.
func quickly(args ...string) []string {
	return append([]string{"bench", "--device", "cpu", "--seconds", "1e-6", "--cold", "0"}, args...)
}

func quicklyMade(args ...string) []string {
	return quickly(append([]string{"--size", "64", "--count", "3"}, args...)...)
}

// All that bench does without a model: it fits one, measures every scenario, and starts processes.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	out, lines := filepath.Join(dir, "new", "b.json"), filepath.Join(dir, "b.txt")
	temp := t.TempDir()
	cmd := command(quicklyMade("--method", "padim", "--scenario", "offline,stream,server", "--bound", "60000", "--batch", "2,1", "--cold", "1",
		"--out", out, "--benchfmt", lines)...)
	cmd.Env = append(cmd.Env, "TMPDIR="+temp)
	r := finish(t, cmd)
	require.Equal(t, exitOK, r.code, r.err)
	require.Empty(t, filesBelow(t, temp), "the model is thrown away")
	for _, s := range []string{
		`(?m)^model +padim on scatter, 64 px; fitted for this run, sha256 [0-9a-f]{12}$`,
		`(?m)^images +3 of 64x64 px, weave as 'f2pad synth' makes it, 2 with a defect$`,
		`(?m)^offline +base +cpu +2 +\S+ +\S+ +\S+ % \* +3 `,
		`(?m)^stream +f2pad +cpu +1 .* % `,
		`(?m)^server +base +cpu +2 .* 0 of \d+ `,
		`(?m)^features +\S+ +\S+$`,
		`(?m)^decode +\S+ +\S+$`,
		`(?m)^cpu( +\d\S*){10}$`,
		`Every pass of a row gave the same results`,
		`not within 2.0 % when 1e-06 s were over`,
	} {
		require.Regexp(t, s, r.out)
	}
	require.NotContains(t, r.out, "J/image", "nobody tells of it, or it is not empty")
	require.Contains(t, r.err, "stream/device=cpu/map=f2pad/batch=1: ")

	report, err := bench.Read(out)
	require.NoError(t, err)
	require.True(t, report.Complete)
	require.Equal(t, "padim", report.Model.Method)
	require.Len(t, report.Model.SHA256, 64)
	require.Equal(t, 2, report.Images.Defective)
	require.Positive(t, report.Rates.Before.Copy)
	require.Positive(t, report.Work.Flops)
	var names []string
	for _, row := range report.Rows {
		names = append(names, row.Name())
		require.Empty(t, row.Error)
		require.Empty(t, row.Note, "results do not depend on the batch")
		require.Positive(t, row.ImagesPerSecond)
		require.NotEmpty(t, row.Stages)
		require.NotNil(t, row.Network)
		require.Nil(t, row.Bus)
		if row.Scenario != bench.Server {
			require.Len(t, row.Samples, 3)
		}
		if row.Map == "f2pad" {
			require.Positive(t, row.Refined)
			require.Positive(t, row.Suspect)
		}
	}
	require.Equal(t, []string{
		"offline/device=cpu/map=base/batch=2", "offline/device=cpu/map=base/batch=1",
		"offline/device=cpu/map=f2pad/batch=2", "offline/device=cpu/map=f2pad/batch=1",
		"stream/device=cpu/map=base/batch=1", "stream/device=cpu/map=f2pad/batch=1",
		"server/device=cpu/map=base/batch=2", "server/device=cpu/map=f2pad/batch=2",
	}, names)
	require.Len(t, report.Cold, 1)
	c := report.Cold[0]
	require.Empty(t, c.Error)
	require.InDelta(t, c.Total.Median, c.Start+c.Load+c.Open+c.Engine+c.First, 1e-6)
	for _, s := range []float64{c.Start, c.Load, c.Open, c.Engine, c.First, c.Next} {
		require.Positive(t, s)
	}
	text, err := os.ReadFile(lines)
	require.NoError(t, err)
	require.Len(t, regexp.MustCompile(`(?m)^Benchmark(Offline|Stream|Server)/device=cpu/map=`).FindAll(text, -1), 6*3+2)

	r = f2pad(t, "bench", "compare", out, out)
	require.Equal(t, exitOK, r.code, r.err)
	require.NotContains(t, r.out, "differs")
	require.Len(t, regexp.MustCompile(`(?m)^\S+/batch=\d +\S+ +\S+ +1\.000( |$)`).FindAllString(r.out, -1), 8)
}

// A model, images of the user's own, and lines of JSON, which compare reads, too.
func TestBenchOfAModel(t *testing.T) {
	in := pictures(t, "a.png", "b.png", "notes.txt")
	require.NoError(t, os.WriteFile(filepath.Join(in, "broken.png"), []byte("no image"), 0o666))
	r := f2pad(t, "bench", "--json", "--device", "cpu", "--model", model(), "--data", in, "--refine", "none", "--batch", "4", "--seconds", "0.01", "--cold", "0")
	require.Equal(t, exitPartial, r.code, r.out)
	all := messages(t, r.out)
	said := types(all)
	if text, _ := all[0]["warning"].(string); strings.HasPrefix(text, "the load average is ") {
		said = said[1:] // of a machine that is busy with other tests
	}
	require.Equal(t, []string{"executor", "device", "warning", "error", "bench_row", "bench_row", "bench"}, said)
	last := all[len(all)-1]
	require.Equal(t, model(), last["model"].(map[string]any)["path"])
	require.Equal(t, in, last["images"].(map[string]any)["from"])
	require.Equal(t, 2.0, last["images"].(map[string]any)["count"])
	require.Equal(t, -1.0, last["images"].(map[string]any)["defective"])
	require.NotEmpty(t, last["program"])
	for _, name := range []string{"date", "executors", "devices", "machine", "ceilings", "options", "rows"} {
		require.Contains(t, last, name)
	}
	for _, name := range []string{"processor", "cores", "gomaxprocs", "os", "arch"} {
		require.Contains(t, last["machine"], name)
	}
	file := filepath.Join(t.TempDir(), "lines")
	require.NoError(t, os.WriteFile(file, []byte(r.out), 0o666))
	r = f2pad(t, "bench", "compare", file, file)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.out, "stream/device=cpu/map=base/batch=1")
}

// The exit code tells whether something has become slower; a file that is none is a failure.
func TestBenchCompare(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old.json")
	r := f2pad(t, quicklyMade("--refine", "none", "--scenario", "offline", "--batch", "1,2", "--out", old)...)
	require.Equal(t, exitOK, r.code, r.err)
	changed := func(name string, change func(*bench.Report)) string {
		report, err := bench.Read(old)
		require.NoError(t, err)
		change(report)
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		require.NoError(t, err)
		require.NoError(t, report.WriteJSON(f))
		require.NoError(t, f.Close())
		return path
	}
	scaled := func(by float64) func(*bench.Report) {
		return func(r *bench.Report) {
			row := r.Rows[1]
			row.ImagesPerSecond /= by
			most := 0.0
			for _, s := range row.Samples {
				most = max(most, s)
			}
			for i := range row.Samples {
				row.Samples[i] = most * by
			}
		}
	}
	slow := changed("slow.json", scaled(1.2))
	r = f2pad(t, "bench", "compare", old, slow)
	require.Equal(t, exitSlower, r.code)
	require.Regexp(t, `(?m)^offline/device=cpu/map=base/batch=2 .* SLOWER$`, r.out)
	require.Equal(t, 1, strings.Count(r.out, "SLOWER"))
	require.Contains(t, r.err, "slower: 1 row takes more than 5 % longer")
	require.Equal(t, exitOK, f2pad(t, "bench", "compare", "--threshold", "30", old, slow).code)
	r = f2pad(t, "bench", "compare", "--json", old, slow)
	require.Equal(t, exitSlower, r.code)
	all := messages(t, r.out)
	require.Equal(t, []string{"bench_comparison", "exit_error"}, types(all))
	require.Equal(t, 1.0, all[0]["slower"])
	require.Equal(t, 4.0, all[1]["code"])

	lost := changed("lost.json", func(r *bench.Report) { r.Rows[0].Error = "boom" })
	r = f2pad(t, "bench", "compare", old, lost)
	require.Equal(t, exitSlower, r.code)
	require.Contains(t, r.out, "without a result any more: offline/device=cpu/map=base/batch=1")
	none := changed("none.json", func(r *bench.Report) { r.Rows = nil })
	r = f2pad(t, "bench", "compare", old, none)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "no row in common")

	broken := filepath.Join(dir, "broken.json")
	require.NoError(t, os.WriteFile(broken, []byte(`{"message_type":"bench"`), 0o666))
	for _, args := range [][]string{{old, broken}, {broken, old}, {old, filepath.Join(dir, "missing")}, {old, dir}} {
		r := f2pad(t, append([]string{"bench", "compare"}, args...)...)
		require.Equal(t, exitFailure, r.code, args)
		for _, a := range args {
			if a != old {
				require.Contains(t, r.err, a)
			}
		}
	}
	require.Equal(t, exitUsage, f2pad(t, "bench", "compare", old).code)
	require.Equal(t, exitUsage, f2pad(t, "bench", "compare", "--threshold", "-1", old, old).code)
}

func TestBenchRefuses(t *testing.T) {
	setup(t)
	for want, args := range map[string][]string{
		"needs --bound":                      {"--scenario", "server"},
		"--rate and --bound are for":         {"--rate", "5"},
		"--method is for a model":            {"--model", model(), "--method", "padim"},
		"--backbone must be":                 {"--backbone", "resnet18.onnx"},
		"--defective is for images":          {"--data", data(), "--defective", "0.1"},
		"comma-separated list of offline":    {"--scenario", "online"},
		"names cpu twice":                    {"--device", "cpu,cpu"},
		"auto is one row":                    {"--device", "auto,cpu"},
		`"tpu" must be auto, cpu, cuda for`:  {"--device", "tpu"},
		"names cuda:1 twice":                 {"--device", "cpu,cuda:1+cuda:1"},
		"names cpu beside GPUs":              {"--device", "cuda:0+cpu"},
		"; commas separate what is compared": {"--device", "cuda:0+tpu"},
		"whole numbers from 1 to 1024":       {"--batch", "8,0"},
		"must be a number above 0":           {"--seconds", "0"},
		`"NaN" for "--bound"`:                {"--bound", "NaN"},
		"must be a share from 0 to 1":        {"--defective", "2"},
		"must be a whole number from 1 to 1": {"--count", "0"},
	} {
		r := f2pad(t, append([]string{"bench"}, args...)...)
		require.Equal(t, exitUsage, r.code, want)
		require.Contains(t, r.err, want)
	}
	empty := t.TempDir()
	for want, args := range map[string][]string{
		"no such file":          {"--model", filepath.Join(empty, "none")},
		empty:                   {"--model", model(), "--data", empty},
		"is not a regular file": {"--model", model(), "--out", empty},
	} {
		r := f2pad(t, quickly(args...)...)
		require.Equal(t, exitFailure, r.code, r.err)
		require.Contains(t, r.err, want)
	}
	r := f2pad(t, "bench", "--device", "cpu", "--data", empty)
	require.Equal(t, exitFailure, r.code, r.err)
	require.Contains(t, r.err, empty)
	require.NotContains(t, r.err, "calibration", "nothing is fitted for images that there are not")
	bad := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bad, "broken.png"), []byte("no image"), 0o666))
	r = f2pad(t, quickly("--model", model(), "--data", bad)...)
	require.Equal(t, exitFailure, r.code, r.err)
	require.Contains(t, r.err, "no image can be scored")
	require.Contains(t, r.err, "broken.png")
}

// A process that cannot start is said in place of its figures.
func TestBenchColdStartThatFails(t *testing.T) {
	setup(t)
	var said struct{ Code int }
	r := f2pad(t, "bench", "first-result", "--json", "--device", "cpu", "--model", model(), "--refine", "none", filepath.Join(data(), "none.png"))
	require.Equal(t, exitFailure, r.code)
	all := strings.Split(strings.TrimSpace(r.out), "\n")
	require.NoError(t, json.Unmarshal([]byte(all[len(all)-1]), &said))
	require.Equal(t, exitFailure, said.Code)
	require.Contains(t, r.out, "none.png")
}

// As many have a defect as is said, of every kind and among the others, and none is the same as another or as one that is learned.
func TestBenchMakesImages(t *testing.T) {
	items, defective, err := benchImages{count: 10, size: 32, defective: 0.5}.made(t.Context())
	require.NoError(t, err)
	require.Equal(t, 5, defective)
	normal, err := rendered(t.Context(), synth.Good, benchNormal, 32, 0, 0)
	require.NoError(t, err)
	count, seen := map[string]int{}, map[string]bool{}
	for _, it := range append(items, normal...) {
		data, err := readItem(it)
		require.NoError(t, err)
		require.False(t, seen[string(data)], it.Path)
		seen[string(data)] = true
	}
	for _, it := range items {
		count[filepath.Dir(it.Path)]++
	}
	require.Equal(t, map[string]int{"good": 5, "hole": 2, "scratch": 1, "stain": 1, "structural": 1}, count)
	_, defective, err = benchImages{count: 3, size: 32}.made(t.Context())
	require.NoError(t, err)
	require.Zero(t, defective)
}
