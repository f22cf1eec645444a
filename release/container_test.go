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
	stages, copies := map[string]bool{"scratch": true}, 0
	built := map[string]string{} // what the stages make, by their names
	stage, args := "", ""
	for _, words := range instructions(t) {
		switch words[0] {
		case "FROM":
			require.Equal(t, "AS", words[2])
			if !strings.Contains(words[1], ":") {
				require.True(t, stages[words[1]], "no stage %s", words[1])
			}
			stage, args = words[3], ""
			stages[stage] = true
		case "ARG":
			args += words[1] + " "
		case "COPY":
			if from, ok := strings.CutPrefix(words[1], "--from="); ok {
				require.Contains(t, built[from], words[2], "stage %s", from)
				require.Equal(t, stage, strings.TrimSuffix(from, "-build"))
				continue
			}
			for _, name := range words[1 : len(words)-1] {
				copies++
				_, err := os.Stat(filepath.Join("..", name))
				require.NoError(t, err)
				require.NotContains(t, strings.Split(string(ignored), "\n"), name)
			}
		case "RUN":
			for command := range strings.SplitSeq(strings.Join(words[1:], " "), " && ") {
				words := strings.Fields(command)
				if words[0] == "mkdir" {
					built[stage] += words[len(words)-1] + " "
				}
				if words[0] != "make" {
					continue
				}
				require.Equal(t, "build", words[1])
				require.Contains(t, command, `VERSION="$VERSION"`)
				require.Contains(t, args, "VERSION", "an ARG is its stage's alone")
				built[stage] += "/built/f2pad "
				out, err := exec.Command("make", append([]string{"-C", "..", "-n"}, words[1:]...)...).CombinedOutput()
				require.NoError(t, err, string(out))
				require.Contains(t, string(out), "-o /built/f2pad ./cmd/f2pad")
				require.Equal(t, strings.Contains(command, "CUDA=1"), strings.Contains(string(out), "-tags cuda"))
			}
		}
	}
	require.Equal(t, 5, copies)
	require.Len(t, built, 2)
	require.True(t, stages["cpu"] && stages["cuda"])
}

// TestTheContainersGoIsTheModules: the image names the Go version that go.mod does.
func TestTheContainersGoIsTheModules(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join("..", "go.mod"))
	require.NoError(t, err)
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	require.NotNil(t, want)
	require.Contains(t, instructions(t)[0][1], "golang:"+string(want[1])+"-")
}
