package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// instructions are those of a Containerfile, as words.
func instructions(t *testing.T) (all [][]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "Containerfile"))
	require.NoError(t, err)
	require.NotContains(t, string(data), "\\\n", "instructions of several lines are not read here")
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, strings.Fields(line))
		}
	}
	return all
}

// TestTheContainerfileBuildsWhatIsThere: no builder is needed to see that its sources, stages and targets exist.
func TestTheContainerfileBuildsWhatIsThere(t *testing.T) {
	ignored, err := os.ReadFile(filepath.Join("..", ".dockerignore"))
	require.NoError(t, err)
	stages, copies, builds := map[string]bool{"scratch": true}, 0, 0
	for _, words := range instructions(t) {
		switch words[0] {
		case "FROM":
			require.Equal(t, "AS", words[2])
			if !strings.Contains(words[1], ":") {
				require.True(t, stages[words[1]], "no stage %s", words[1])
			}
			stages[words[3]] = true
		case "COPY":
			args := words[1:]
			if stage, ok := strings.CutPrefix(args[0], "--from="); ok {
				require.True(t, stages[stage], "no stage %s", stage)
				continue
			}
			for _, name := range args[:len(args)-1] {
				copies++
				_, err := os.Stat(filepath.Join("..", name))
				require.NoError(t, err)
				require.NotContains(t, strings.Split(string(ignored), "\n"), name)
			}
		case "RUN":
			for command := range strings.SplitSeq(strings.Join(words[1:], " "), " && ") {
				args := strings.Fields(command)
				if args[0] != "make" {
					continue
				}
				builds++
				require.Equal(t, "build", args[1])
				out, err := exec.Command("make", append([]string{"-C", "..", "-n"}, args[1:]...)...).CombinedOutput()
				require.NoError(t, err, string(out))
				require.Contains(t, string(out), "-o /built/f2pad ./cmd/f2pad")
				require.Equal(t, strings.Contains(command, "CUDA=1"), strings.Contains(string(out), "-tags cuda"))
			}
		}
	}
	require.Equal(t, 5, copies)
	require.Equal(t, 2, builds)
	require.True(t, stages["cpu"])
	require.True(t, stages["cuda"])
}

// TestTheContainersGoIsTheModules: the image names the Go version that go.mod does.
func TestTheContainersGoIsTheModules(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join("..", "go.mod"))
	require.NoError(t, err)
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	require.NotNil(t, want)
	require.Contains(t, instructions(t)[0][1], "golang:"+string(want[1])+"-")
}
