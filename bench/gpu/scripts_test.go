package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"f2pad.example/kernels"

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
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("SKIPPED: the scripts for the GPU are not tested: there is no bash")
	}
	dir := t.TempDir()
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
	require.Regexp(t, `\n  base_map +2 comparisons, closest: x.go:8: shares of the tolerances used: A 0.01 M 0.04`, text)
	require.Regexp(t, `\n  mahalanobis +2 comparisons, closest: x.go:7: values: 3 values, 4.5 % of the tolerance used`, text)
	_, code := run(t, "gpu-check.sh", nil, "--nonsense")
	require.Equal(t, 2, code)
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
