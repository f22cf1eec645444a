//go:build cuda && cgo

package driver_test

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"f2pad.example/cgo/driver"
)

// toolkit returns the include folder of an installed toolkit. The Python packages nvidia-cuda-runtime-cu12 and
// nvidia-cuda-runtime have the headers of CUDA 12 and 13: the folder that has their include/ in it serves as CUDA_HOME.
func toolkit(t *testing.T) string {
	home := os.Getenv("CUDA_HOME")
	if home == "" {
		t.Skip("SKIPPED: cuda.h is not checked against a toolkit's: CUDA_HOME is not set")
	}
	include := filepath.Join(home, "include")
	text, err := os.ReadFile(filepath.Join(include, "cuda.h"))
	require.NoError(t, err)
	m := regexp.MustCompile(`#define CUDA_VERSION (\d+)`).FindSubmatch(text)
	require.NotNil(t, m)
	version, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	if version < 12010 {
		t.Skipf("SKIPPED: cuda.h is not checked against a toolkit's: that of CUDA_HOME is %d, and lacks what came with 12.1", version)
	}
	return include
}

// The compiler would not notice if two arguments of one type were swapped, or a function called by an older name.
func TestCallsAreConsistent(t *testing.T) {
	list := header(t, "cuda_calls.h")
	calls := regexp.MustCompile(`X\((\w+),\s*\(([^()]*)\),\s*\(([^()]*)\)\)`).FindAllStringSubmatch(list, -1)
	require.Len(t, calls, strings.Count(list, "X(cu"))
	newer := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#define (cu\w+) (\w+)$`).FindAllStringSubmatch(header(t, "cuda.h"), -1) {
		newer[m[2]] = m[1]
	}
	for _, m := range calls {
		parameters := regexp.MustCompile(`\w+(,|$)`).FindAllString(strings.TrimSuffix(m[2], "void"), -1)
		require.Equal(t, strings.Join(parameters, " "), strings.Join(strings.Fields(m[3]), " "), m[1])
		if base, _, versioned := strings.Cut(m[1], "_v"); versioned {
			require.Equal(t, base, newer[m[1]])
			delete(newer, m[1])
		}
	}
	require.Empty(t, newer, "names that are not in cuda_calls.h")
}

func TestHeaderHasTheToolkitsValuesAndLayouts(t *testing.T) {
	theirs := toolkit(t)
	text := header(t, "cuda.h")
	var source strings.Builder
	source.WriteString("#include <stddef.h>\n#include <stdio.h>\n#include <cuda.h>\n#ifndef F2PAD_CUDA_H\n" +
		"#define CUDA_KERNEL_NODE_PARAMS CUDA_KERNEL_NODE_PARAMS_v1\n#endif\nint main(void) {\n")
	print := func(what string) {
		fmt.Fprintf(&source, "printf(\"%%lld %%s\\n\", (long long)(%s), %q);\n", what, what)
	}

	constants, fields := 0, 0
	for _, m := range regexp.MustCompile(`(?m)^(?:    |#define |X\()(CU(?:DA)?_\w+)(?:,? =?|,) ?\d`).FindAllStringSubmatch(
		text+header(t, "cuda_errors.h"), -1) {
		if m[1] != "CUDA_VERSION" {
			print(m[1])
			constants++
		}
	}
	structs := regexp.MustCompile(`(?s)typedef (?:struct|union) \w+ \{(.*?)\n\}[^;]*?(\w+);`)
	for _, m := range structs.FindAllStringSubmatch(text, -1) {
		print("sizeof(" + m[2] + ")")
		for _, declaration := range regexp.MustCompile(`(?m)^    [a-zA-Z}].*?;`).FindAllString(m[1], -1) {
			for _, field := range regexp.MustCompile(`(\w+)(?:\[.*?\])?(?:,|;)`).FindAllStringSubmatch(declaration, -1) {
				print("offsetof(" + m[2] + ", " + field[1] + ")")
				fields++
			}
		}
	}
	source.WriteString("}\n")
	// A header that is written in another way must not slip through.
	require.Greater(t, constants, 350)
	require.Greater(t, fields, 110)

	file := filepath.Join(t.TempDir(), "values.c")
	require.NoError(t, os.WriteFile(file, []byte(source.String()), 0o600))
	values := func(include string) []string {
		out, err := exec.Command(compile(t, "values", "-I"+include, file)).Output()
		require.NoError(t, err)
		return strings.Split(string(out), "\n")
	}
	want, got := values(theirs), values("include")
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i], got[i])
	}
}

func TestHeaderDeclaresFunctionsAsTheToolkitDoes(t *testing.T) {
	compile(t, "signatures.o", "-c", "-I"+toolkit(t), "-Wno-deprecated-declarations", "testdata/signatures.c")
}

// Every name is one that a driver exports: the one of this machine, or the stub of a toolkit.
func TestDriverExportsTheNames(t *testing.T) {
	lib := driver.Status().Path
	if lib == "" {
		lib = filepath.Join(os.Getenv("CUDA_HOME"), "lib64", "stubs", "libcuda.so")
	}
	f, err := elf.Open(lib)
	if err != nil {
		t.Skip("SKIPPED: the names of cuda_calls.h are not checked against a driver's: ", err)
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	require.NoError(t, err)
	exported := map[string]bool{}
	for _, s := range symbols {
		exported[s.Name] = s.Section != elf.SHN_UNDEF
	}
	for _, m := range regexp.MustCompile(`(?m)^X\((\w+)`).FindAllStringSubmatch(header(t, "cuda_calls.h"), -1) {
		require.True(t, exported[m[1]], "%s does not export %s", lib, m[1])
	}
}

func header(t *testing.T, name string) string {
	text, err := os.ReadFile(filepath.Join("include", name))
	require.NoError(t, err)
	return string(text)
}
