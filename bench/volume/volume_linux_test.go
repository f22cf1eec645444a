package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"f2pad.example/engine/run"

	"github.com/stretchr/testify/require"
)

// small is a run of this program with few images.
func small(t *testing.T) (*volume, *bytes.Buffer) {
	var said bytes.Buffer
	return &volume{images: 250, shards: 4, kills: 3, out: &said, random: rand.New(rand.NewPCG(1, 0))}, &said
}

func TestAFewHundredImages(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short, and it builds f2pad")
	}
	program := filepath.Join(t.TempDir(), "f2pad")
	build := exec.Command("go", "build", "-o", program, "f2pad.example/cmd/f2pad")
	text, err := build.CombinedOutput()
	require.NoError(t, err, string(text))
	v, said := small(t)
	dir := t.TempDir()
	require.NoError(t, v.run(program, dir), said)
	require.Len(t, regexp.MustCompile(`(?m)^ +\d+ +[\d.]+ +\d+ +\d+ +\d+$`).FindAllString(said.String(), -1), tenths, "a line for each tenth")
	require.Regexp(t, `(?m)^[1-3] kills, `, said.String())
	require.Contains(t, said.String(), "250 lines: each image once, in order")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestWhatIsNotThereIsFound: a line that is missing, twice, out of order, failed, of another content or with another score.
func TestWhatIsNotThereIsFound(t *testing.T) {
	v, _ := small(t)
	archives := []string{"0.tar", "1.tar", "2.tar", "3.tar"}
	want := map[string]verdict{"00": {1, 2, false, 10}, "01": {3, 2, true, 10}}
	var lines []string
	archive := 0
	for i := range v.images {
		if archive < 3 && i == v.first(archive+1) {
			archive++
		}
		content := []string{
			`"bytes":10,"sha256":"00","image_score":1,"threshold":2,"anomalous":false`, `"bytes":10,"sha256":"01","image_score":3,"threshold":2,"anomalous":true`,
		}[i%2]
		lines = append(lines, `{"image":"`+archives[archive]+"/"+member(i)+`",`+content+"}\n")
	}
	check := func(lines ...string) error {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, run.RunFile), []byte("{}"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, run.ResultsFile), []byte(strings.Join(lines, "")), 0o600))
		return v.verify(dir, archives, want)
	}
	require.NoError(t, check(lines...))
	require.ErrorContains(t, check(lines[1:]...), "line 1 is of 0.tar/0000001.png, not of 0.tar/0000000.png")
	require.ErrorContains(t, check(lines[:249]...), "249 lines of 250 images")
	require.ErrorContains(t, check(append([]string{lines[0]}, lines...)...), "line 2 is of 0.tar/0000000.png")
	change := func(n int, old, by string) []string {
		changed := append([]string(nil), lines...)
		changed[n] = strings.Replace(changed[n], old, by, 1)
		require.NotEqual(t, lines[n], changed[n])
		return changed
	}
	require.ErrorContains(t, check(change(200, `"image_score":1`, `"image_score":1.5`)...), "but {score:1 ")
	require.ErrorContains(t, check(change(200, `"00"`, `"02"`)...), "has another content")
	require.ErrorContains(t, check(change(7, `,"bytes":10`, `,"error":"broken","bytes":10`)...), "line 8: broken")
	require.ErrorContains(t, check(change(7, `{`, ``)...), "line 8: broken line")
}
