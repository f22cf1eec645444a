package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"f2pad.example/kernels"
	"f2pad.example/kernels/kerneltest"

	"github.com/stretchr/testify/require"
)

// list is what gpu-check.sh says that must run, of one of its lists.
func list(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile("gpu-check.sh")
	require.NoError(t, err)
	m := regexp.MustCompile(`(?s)\n` + name + `="(.*?)"`).FindSubmatch(text)
	require.NotNil(t, m)
	return strings.Fields(string(m[1]))
}

// No kernel may be forgotten on the GPU, and no test is asked for that there is not.
func TestCheckNamesAllKernels(t *testing.T) {
	var named []string
	for _, r := range list(t, "required_gpu") {
		if kernel, ok := strings.CutPrefix(r, "TestKernels/"); ok {
			named = append(named, kernel)
		}
	}
	require.Equal(t, kernels.Modules(), named)
	for variable, dir := range map[string]string{"required_gpu": "gpu", "required_cuda": "cuda"} {
		sources, err := filepath.Glob(filepath.Join("..", "..", "cgo", dir, "*_test.go"))
		require.NoError(t, err)
		all := ""
		for _, s := range sources {
			text, err := os.ReadFile(s)
			require.NoError(t, err)
			all += string(text)
		}
		for _, r := range list(t, variable) {
			test, _, _ := strings.Cut(r, "/")
			require.Contains(t, all, "\nfunc "+test+"(", "in cgo/%s", dir)
		}
	}
}

// run runs a script in a folder with programs that are themselves scripts.
func run(t *testing.T, script string, programs map[string]string, args ...string) (string, int) {
	t.Helper()
	return runIn(t, t.TempDir(), script, programs, args...)
}

func runIn(t *testing.T, dir, script string, programs map[string]string, args ...string) (string, int) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("SKIPPED: the scripts for the GPU are not tested: there is no bash")
	}
	text, err := os.ReadFile(script)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, script), text, 0o755))
	for name, p := range programs {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+p), 0o755))
	}
	cmd := exec.Command(filepath.Join(dir, script), args...)
	cmd.Env = append(os.Environ(), "OUT="+dir, "F2PAD_LIBCUDA=", "PATH="+dir+":"+os.Getenv("PATH"))
	said, err := cmd.CombinedOutput()
	if err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	return string(said), cmd.ProcessState.ExitCode()
}

// passes is a program that says that tests passed.
func passes(tests []string) string {
	text := "test \"$F2PAD_GPU\" = 1 || exit 3\ncat <<'END'\n"
	for i, t := range tests {
		text += fmt.Sprintf("=== RUN   %s\n    x.go:8: shares of the tolerances used: A 0.01 M 0.04 V 0.02\n", t)
		text += fmt.Sprintf("    x.go:7: values: 3 values, %d.5 %% of the tolerance used (worst at [2])\n", i%5)
		text += fmt.Sprintf("    --- PASS: %s (0.00s)\n", t)
	}
	return text + "PASS\nEND\n"
}

func TestGPUCheck(t *testing.T) {
	onGPU, onCUDA := list(t, "required_gpu"), list(t, "required_cuda")
	good := passes(onGPU)
	for _, c := range []struct {
		what, gpu, cuda, want string
		code                  int
	}{
		{"all is well", good, passes(onCUDA), "gpu-check: passed", 0},
		{"a test fails", good + "echo '--- FAIL: TestX (0.00s)'\nexit 1\n", passes(onCUDA), "--- FAIL: TestX", 1},
		{"a program dies", "echo on the way; exit 2", passes(onCUDA), "on the way", 1},
		{"a test is skipped", good, passes(onCUDA) + "echo '    --- SKIP: TestY/z (0.00s)'\n", "cuda.test skipped tests", 1},
		{"a kernel is missing", passes(append(onGPU[:1:1], onGPU[2:]...)), passes(onCUDA), onGPU[1] + " has not run", 1},
		{"another's name is longer", good, passes([]string{onCUDA[0] + "Too", onCUDA[1]}), onCUDA[0] + " has not run", 1},
	} {
		text, code := run(t, "gpu-check.sh", map[string]string{"gpu.test": c.gpu, "cuda.test": c.cuda})
		require.Equal(t, c.code, code, "%s:\n%s", c.what, text)
		require.Contains(t, text, c.want, c.what)
		require.Equal(t, c.code == 0, strings.Contains(text, "gpu-check: passed"), c.what)
	}
	text, _ := run(t, "gpu-check.sh", map[string]string{"gpu.test": good, "cuda.test": passes(onCUDA)})
	require.Regexp(t, `\n  [a-z_]+ +2 comparisons, closest: x.go:8: shares of the tolerances used: A 0.01 M 0.04`, text)
	require.Regexp(t, `\n  [a-z_]+ +2 comparisons, closest: x.go:7: values: 3 values, 4.5 % of the tolerance used`, text)
	_, code := run(t, "gpu-check.sh", nil, "--nonsense")
	require.Equal(t, 2, code)
}

// All of it has one limit, so that a card on loan is not lost in the middle of a test.
func TestGPUCheckKeepsItsLimit(t *testing.T) {
	programs := map[string]string{"gpu.test": `echo "$@"; exit 1`, "cuda.test": "exit 1", "compute-sanitizer": "exit 1"}
	text, _ := run(t, "gpu-check.sh", programs)
	require.Regexp(t, `-test\.timeout (540|5[0-3]\d|[1-4]?\d?\d)s`, text)
	t.Setenv("LIMIT", "0")
	text, code := run(t, "gpu-check.sh", programs, "--sanitize")
	require.Equal(t, 1, code)
	for _, what := range []string{"gpu.test", "cuda.test", "memcheck", "racecheck"} {
		require.Contains(t, text, "FAILED: "+what+": no time is left of 0 s")
	}
	t.Setenv("LIMIT", "2")
	programs["gpu.test"], programs["cuda.test"] = passes(list(t, "required_gpu")), passes(list(t, "required_cuda"))
	programs["compute-sanitizer"] = "exec sleep 60"
	text, code = run(t, "gpu-check.sh", programs, "--sanitize")
	require.Equal(t, 1, code)
	require.Regexp(t, `memcheck: (exit code 124|no time is left)`, text)
}

func TestGPUCheckSanitizes(t *testing.T) {
	programs := map[string]string{"gpu.test": passes(list(t, "required_gpu")), "cuda.test": passes(list(t, "required_cuda"))}
	for summary, want := range map[string]int{"ERROR SUMMARY: 0 errors": 0, "ERROR SUMMARY: 3 errors": 1, "nothing": 1} {
		programs["compute-sanitizer"] = "shift 4\n\"$@\"\necho '========= " + summary + "'\n"
		text, code := run(t, "gpu-check.sh", programs, "--sanitize")
		require.Equal(t, want, code, "%s:\n%s", summary, text)
	}
	programs["compute-sanitizer"] = "shift 4\n\"$@\"\necho 'ERROR SUMMARY: 0 errors'\nexit 9\n"
	text, code := run(t, "gpu-check.sh", programs, "--sanitize")
	require.Equal(t, 1, code)
	require.Contains(t, text, "memcheck: exit code 9")
}

func TestGPUBench(t *testing.T) {
	programs := map[string]string{
		"gpubench": `echo "$@"; exit 1`, "nvidia-smi": `case $1 in -L) echo "GPU 0: X";; *) echo "NVIDIA X 100";; esac`,
	}
	text, code := run(t, "gpu-bench.sh", programs, "-quick")
	require.Equal(t, 1, code, "that of gpubench")
	require.Contains(t, text, "GPU 0: X\n")
	require.Regexp(t, `-peer python3 -json \S+/gpu-bench.json -markdown \S+/20\d\d-\d\d-\d\d-gpu-nvidia-x-100.md -quick\n`, text)
}

// firstPrograms are what gpu-first.sh runs, all of which works.
func firstPrograms() map[string]string {
	return map[string]string{
		"f2pad":             `case $1 in bench) echo "f2pad $*" >>"$OUT/benches";; esac; exit 0`,
		"gpubench":          `case $1 in -page) echo "page of $2";; *) echo "gpubench $*";; esac`,
		"python3":           `echo '{"name":"eager","ms":1}'; echo "$@" >>"$OUT/python"`,
		"gpu-check.sh":      "echo \"  blur   2 comparisons, closest: x.go:8: 4 % of the tolerance used\"\necho \"limit $LIMIT\"",
		"gpu.test":          `echo "gpu.test $* hammer ${F2PAD_HAMMER-}"`,
		"ncu":               `for a; do case $last in --log-file) echo figures >"$a";; esac; last=$a; done`,
		"compute-sanitizer": `exit 0`,
		"nvidia-smi":        `echo "GPU 0: X"`,
	}
}

// stageLines are the lines of the stages in the results, by stage.
func stageLines(t *testing.T, text string) map[string]string {
	t.Helper()
	status := map[string]string{}
	_, stages, found := strings.Cut(text, "\nstages:\n")
	require.True(t, found, text)
	for _, line := range strings.Split(stages, "\n") {
		if m := regexp.MustCompile(`^  (\w+) +(passed|FAILED|LEFT OUT|OUT OF TIME) +\d+ s`).FindStringSubmatch(line); m != nil {
			status[m[1]] = m[2]
		}
	}
	return status
}

var firstStages = []string{
	"card", "open", "tests", "far", "ceilings", "convolutions", "loop", "iteration", "kernels", "hammer", "copies", "ncu", "sanitizer",
}

// unhurried lets stages take as long as a busy machine takes for them.
func unhurried(t *testing.T) {
	t.Setenv("SLOWER", "100")
	t.Setenv("LIMIT", "100000")
}

func TestGPUFirst(t *testing.T) {
	unhurried(t)
	text, code := run(t, "gpu-first.sh", firstPrograms())
	require.Zero(t, code, text)
	require.Contains(t, text, "gpu-first: passed")
	require.NotContains(t, text, "NOT A GPU")
	require.Contains(t, text, "GPU 0: X")
	require.Contains(t, text, "4 % of the tolerance used")
	require.Contains(t, text, "page of /")
	status := stageLines(t, text)
	for _, s := range firstStages {
		require.Equal(t, "passed", status[s], s)
	}
	require.Len(t, status, len(firstStages))
}

// A stage that fails, hangs or lacks its tool is named, and the others run.
func TestGPUFirstGoesOn(t *testing.T) {
	unhurried(t)
	for _, c := range []struct {
		what, program, does, stage, status, says string
		code                                     int
	}{
		{"a failure", "gpu-check.sh", "echo boom; exit 1", "tests", "FAILED", "boom", 1},
		{"a crash", "f2pad", "kill -SEGV $$", "card", "FAILED", "", 1},
		{"a missing tool", "ncu", "", "ncu", "LEFT OUT", "LEFT OUT: ncu: there is no ncu here", 0},
		{"no permission", "ncu", `for a; do case $last in --log-file) echo ERR_NVGPUCTRPERM >"$a";; esac; last=$a; done; exit 1`,
			"ncu", "LEFT OUT", "there is no permission to read the card's counters", 0},
		{"another missing tool", "compute-sanitizer", "", "sanitizer", "LEFT OUT", "there is no compute-sanitizer here", 0},
		{"bad accesses", "compute-sanitizer", "echo invalid read; exit 9", "sanitizer", "FAILED", "invalid read", 1},
	} {
		programs := firstPrograms()
		if programs[c.program] = c.does; c.does == "" {
			if path, err := exec.LookPath(c.program); err == nil {
				t.Logf("SKIPPED: %s: there is %s", c.what, path)
				continue
			}
			delete(programs, c.program)
		}
		text, code := run(t, "gpu-first.sh", programs)
		require.Equal(t, c.code, code, "%s:\n%s", c.what, text)
		require.Contains(t, text, c.says, c.what)
		status := stageLines(t, text)
		require.Len(t, status, len(firstStages), c.what)
		require.Equal(t, c.status, status[c.stage], c.what)
		if c.program != "f2pad" { // which several stages use
			for _, s := range firstStages {
				require.True(t, s == c.stage || status[s] == "passed", "%s: %s", c.what, s)
			}
		}
		require.Equal(t, c.code == 0, strings.Contains(text, "gpu-first: passed"), c.what)
	}
}

// The whole has a limit, and so has each stage; what is named alone runs alone.
func TestGPUFirstKeepsItsLimits(t *testing.T) {
	t.Setenv("LIMIT", "2")
	programs := firstPrograms()
	programs["f2pad"] = "exec sleep 60"
	text, code := run(t, "gpu-first.sh", programs, "card", "open")
	require.Equal(t, 1, code)
	require.Equal(t, map[string]string{"card": "OUT OF TIME", "open": "OUT OF TIME"}, stageLines(t, text))
	require.Contains(t, text, "no time is left of 2 s")
	t.Setenv("LIMIT", "100")
	text, code = run(t, "gpu-first.sh", firstPrograms(), "tests")
	require.Zero(t, code)
	require.Equal(t, map[string]string{"tests": "passed"}, stageLines(t, text))
	require.Regexp(t, "limit (100|[1-9]?[0-9])\n", text)
	text, code = run(t, "gpu-first.sh", nil, "nonsense")
	require.Equal(t, 2, code)
	require.Contains(t, text, "no stage nonsense")
}

// Everything is on the card; the CPU is beside it in runs of their own.
func TestGPUFirstLoop(t *testing.T) {
	dir := t.TempDir()
	text, code := runIn(t, dir, "gpu-first.sh", firstPrograms(), "loop")
	require.Zero(t, code, text)
	said, err := os.ReadFile(filepath.Join(dir, "benches"))
	require.NoError(t, err)
	for _, precision := range []string{"float32", "float16"} {
		for _, batch := range []string{"1", "8", "32", "128"} {
			count := map[string]string{"1": "16", "8": "16"}[batch] // no fewer images than make a measurement
			require.Regexp(t, `--device cuda:0 --precision `+precision+` --refine f2pad --scenario offline --batch `+batch+` --count `+
				cmp.Or(count, batch)+` --size 256 .*gpu-first-loop-`+precision+`-`+batch+`.json`, string(said))
		}
		require.Regexp(t, `--device cpu,cuda:0 --precision `+precision+` .* --batch 8 --count 8 `, string(said))
	}
	runs := strings.Count(string(said), "\n")
	require.Equal(t, 10, runs)
	lines, err := os.ReadFile(filepath.Join(dir, "gpu-first.jsonl"))
	require.NoError(t, err)
	require.Equal(t, runs, strings.Count(string(lines), `"stage":"loop","case"`))
	programs := firstPrograms()
	programs["f2pad"] = `case "$*" in *float16-32*) echo boom; exit 1;; esac`
	text, code = run(t, "gpu-first.sh", programs, "loop")
	require.Equal(t, 1, code)
	require.Contains(t, text, "boom")
	require.Equal(t, "FAILED", stageLines(t, text)["loop"])
}

// Ceilings are measured once, and a Python without PyTorch is no failure.
func TestGPUFirstFigures(t *testing.T) {
	dir := t.TempDir()
	programs := firstPrograms()
	programs["gpubench"] = `for a; do case $last in -json) echo {} >"$a";; esac; last=$a; done; echo "gpubench $*"`
	text, code := runIn(t, dir, "gpu-first.sh", programs, "ceilings", "convolutions", "kernels")
	require.Zero(t, code, text)
	require.Regexp(t, `gpu-first-ceilings.json -probe\n`, text)
	require.Regexp(t, `-json \S+-convolutions.json -ceilings \S+/gpu-first-ceilings.json -run \^conv +-limit 90s\n`, text)
	require.Regexp(t, `-json \S+-kernels.json -ceilings \S+/gpu-first-ceilings.json -skip \^conv +-limit \d+s\n`, text)

	text, code = runIn(t, dir, "gpu-first.sh", firstPrograms(), "iteration")
	require.Zero(t, code, text)
	require.FileExists(t, filepath.Join(dir, "gpu-first-iteration.jsonl"))
	require.FileExists(t, filepath.Join(dir, "gpu-first-ceilings.json"), "stages that were named leave the others' results")
	asked, err := os.ReadFile(filepath.Join(dir, "python"))
	require.NoError(t, err)
	require.Contains(t, string(asked), "gpu_torch.py --time padim_iteration n=32 side=256 compiled=0 --time")
	programs["python3"] = `echo '{"error": "this Python has no PyTorch"}'`
	text, code = runIn(t, dir, "gpu-first.sh", programs, "iteration")
	require.Zero(t, code, text)
	require.Equal(t, "LEFT OUT", stageLines(t, text)["iteration"])
	require.NoFileExists(t, filepath.Join(dir, "gpu-first-iteration.jsonl"))
}

// What of far was skipped for lack of memory is no success.
func TestGPUFirstFar(t *testing.T) {
	programs := firstPrograms()
	programs["gpu.test"] = "echo '--- SKIP: TestFar (0.01s)'"
	text, code := run(t, "gpu-first.sh", programs, "far")
	require.Zero(t, code, text)
	require.Equal(t, "LEFT OUT", stageLines(t, text)["far"])
	programs["gpu.test"] = "printf '%s\\n' '    --- PASS: TestFar/knn (0.01s)' '    --- FAIL: TestFar/conv (0.01s)' '--- FAIL: TestFar (0.01s)'; exit 1"
	dir := t.TempDir()
	text, code = runIn(t, dir, "gpu-first.sh", programs, "far")
	require.Equal(t, 1, code, text)
	lines, err := os.ReadFile(filepath.Join(dir, "gpu-first.jsonl"))
	require.NoError(t, err)
	require.Contains(t, string(lines), `"stage":"far","case":"knn"`)
	require.NotContains(t, string(lines), `"case":"conv"`)
}

// Each of ncu's runs is of one case.
func TestGPUFirstCounts(t *testing.T) {
	text, err := os.ReadFile("gpu-first.sh")
	require.NoError(t, err)
	runs := regexp.MustCompile(`\t"(\w+) (\^.*)"[ ;]`).FindAllSubmatch(text, -1)
	require.Len(t, runs, 4)
	for _, r := range runs {
		var cases []string
		for _, b := range kerneltest.Benches() {
			if name := b.Kernel + " " + b.Size; regexp.MustCompile(string(r[2])).MatchString(name) {
				cases = append(cases, name)
			}
		}
		require.NotEmpty(t, cases, "%s", r[2])
		require.LessOrEqual(t, len(cases), 2)
	}
}

// compute-sanitizer runs on every kernel.
func TestGPUFirstSanitizesAllKernels(t *testing.T) {
	text, err := os.ReadFile("gpu-first.sh")
	require.NoError(t, err)
	m := regexp.MustCompile(`for kernel in (.*); do`).FindSubmatch(text)
	require.NotNil(t, m)
	require.Equal(t, kernels.Modules(), strings.Fields(string(m[1])))
}
