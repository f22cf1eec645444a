// Package floors checks what stands on what in engine.
package floors

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "f2pad.example/"

// floors are from the ground up: a package may import those of its own floor and of the floors that it stands on. The last line
// that a path matches is its own.
var floors = []struct {
	name, packages string
	on             []string
}{
	{"small", `internal/.*|nd|pixel|device|compare|peak|perf|perf/.*|region`, nil},
	{"files", `artifact|imageio|dataset|truth|roi|synth|metric|report|statedict`, []string{"small"}},
	{"telemetry", `telemetry`, []string{"small", "files"}},
	{"graphs", `graph|autodiff|onnx`, []string{"small"}},
	{"exec", `exec|exec/.*`, []string{"small", "graphs"}},
	{"backbones", `backbone|backbone/.*`, []string{"small", "files", "graphs", "exec"}},
	{"methods", `method|method/.*`, []string{"small", "files"}},
	{"loop", `loop`, []string{"small"}},
	{"refinement", `refine`, []string{"small", "files", "loop"}},
	{"sight", `sight`, []string{"small", "files", "graphs", "exec", "backbones", "methods", "loop", "refinement"}},
	{"place", `place|place/.*`, []string{"small", "exec", "backbones", "methods", "loop", "refinement", "sight"}},
	{"engine", ``, []string{"small", "files", "graphs", "exec", "backbones", "methods", "loop", "refinement", "sight", "place"}},
	{"run", `run|run/.*`, []string{"small", "files", "exec", "refinement", "engine"}},
	{"bench", `bench`, []string{"small", "files", "exec", "refinement", "engine"}},
	{"export", `export`, []string{"small", "files", "run"}},
	{"serve", `serve`, []string{"small", "files", "telemetry", "exec", "refinement", "engine", "run"}},
}

func floorOf(t *testing.T, pkg string) int {
	t.Helper()
	is := -1
	for i, f := range floors {
		if regexp.MustCompile(`^(?:` + f.packages + `)$`).MatchString(pkg) {
			is = i
		}
	}
	require.GreaterOrEqual(t, is, 0, "engine/%s stands on no floor", pkg)
	return is
}

// Imports in engine point down only, and none leaves it for what is built on it.
func TestFloors(t *testing.T) {
	root := filepath.Join("..", "..")
	checked := 0
	require.NoError(t, filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return err
		}
		rel, err := filepath.Rel(root, file)
		require.NoError(t, err)
		rel = filepath.ToSlash(rel)
		if strings.Contains(rel, "testdata/") || strings.Contains(rel, "/avo/") {
			return nil
		}
		pkg := strings.TrimPrefix(path.Dir(rel), ".")
		floor := floors[floorOf(t, pkg)]
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range parsed.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			require.NoError(t, err)
			require.NotEqual(t, "gorgonia.org/cu", imported, "engine/%s", rel)
			of, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			of, below := strings.CutPrefix(of+"/", "engine/")
			require.True(t, below, "engine/%s imports %s, which stands on engine", rel, imported)
			to := floors[floorOf(t, strings.TrimSuffix(of, "/"))]
			checked++
			if to.name != floor.name {
				require.Contains(t, floor.on, to.name, "engine/%s, on the floor of %s, imports %s, which is %s", rel, floor.name, imported, to.name)
			}
		}
		return nil
	}))
	require.Greater(t, checked, 200, "the walk finds engine")
}
