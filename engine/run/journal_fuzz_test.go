package run

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"

	"github.com/stretchr/testify/require"
)

// FuzzJournal goes on with a run whose files hold anything: it is refused, or ends with one line for each input, in their
// order, each of which names outputs that are there; what lies beside the folder of results is not touched; and a second
// run finds nothing to do.
func FuzzJournal(f *testing.F) {
	root := f.TempDir()
	here, err := os.Getwd()
	require.NoError(f, err)
	require.NoError(f, os.Chdir(root)) // the lines hold the inputs' paths, which must be the same every time
	inputs := []string{"in/a.png", "in/b.png", "in/c.png"}
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	reset := func(t testing.TB) {
		require.NoError(t, os.RemoveAll("out"))
		for _, dir := range []string{"in", "out/masks"} {
			require.NoError(t, os.MkdirAll(dir, 0o777))
		}
		for _, name := range inputs {
			require.NoError(t, os.WriteFile(name, []byte(name), 0o666))
			require.NoError(t, os.Chtimes(name, at, at))
		}
		require.NoError(t, os.WriteFile("out/masks/a.png", []byte("in/a.png"), 0o666))
		require.NoError(t, os.WriteFile("out/masks/b.png", []byte("in/b.png"), 0o666))
		require.NoError(t, os.WriteFile("beside.png", []byte("beside"), 0o666))
	}
	line := func(t testing.TB, name string) Line {
		p, err := engine.TakeFingerprint(name)
		require.NoError(t, err)
		mask := "masks/" + filepath.Base(name)
		return Line{Name: nameOf(name), Content: contentOf(p), Mask: &mask}
	}
	reset(f)
	run, err := json.Marshal(wanted)
	require.NoError(f, err)
	var good string
	for _, name := range inputs {
		data, err := json.Marshal(line(f, name))
		require.NoError(f, err)
		good += string(data) + "\n"
	}
	lines := strings.SplitAfter(good, "\n")
	f.Add(byte(0), good, "", string(run))
	f.Add(byte(1), lines[0]+lines[1], "", string(run))
	f.Add(byte(1), lines[1], lines[0]+lines[2], string(run))
	f.Add(byte(0), good+"\x00\x00garbage", "{}\n"+lines[2], string(run))
	f.Add(byte(0), strings.ReplaceAll(good, "masks/b", "../beside"), "", string(run))
	f.Add(byte(1), `{"image":"in/a.png","error":"broken"}`+"\n", strings.ReplaceAll(good, "in/c", "in/gone"), string(run))
	f.Add(byte(1), lines[0], `{"image":"in/c.png","mask":"masks/b.png","claim":true}`+"\n", `{"version":"v2"}`)
	f.Add(byte(2), "", good, "{")
	require.NoError(f, os.Chdir(here)) // where what fails is kept
	f.Fuzz(func(t *testing.T, kind byte, results, old, run string) {
		t.Chdir(root)
		reset(t)
		for name, data := range map[string]string{[]string{ResultsFile, PartFile, "none"}[kind%3]: results, OldFile: old, RunFile: run} {
			if data != "" {
				require.NoError(t, os.WriteFile(filepath.Join("out", name), []byte(data), 0o666))
			}
		}
		work := func() (kept int, err error) {
			j, err := openJournal("out", wanted, false, false, func(string) {})
			if err != nil {
				return 0, err
			}
			defer j.close()
			for _, name := range inputs {
				k, ok, err := j.keep(dataset.Item{Path: name, ID: filepath.Base(name)})
				require.NoError(t, err)
				if ok {
					kept++
					require.NoError(t, j.copy(k))
					continue
				}
				l := line(t, name)
				require.NoError(t, j.claim(name, strings.TrimSuffix(filepath.Base(name), ".png"), claim{Mask: l.Mask}))
				require.NoError(t, os.WriteFile(filepath.Join("out", *l.Mask), []byte(name), 0o666))
				require.NoError(t, j.add(l))
			}
			return kept, j.finish(nil)
		}
		if _, err := work(); err != nil {
			_, err = work()
			require.Error(t, err, "what is refused is refused again")
		} else {
			at := 0
			for text := range strings.Lines(content(t, "out", ResultsFile)) {
				l, ok := parseLine([]byte(text))
				require.True(t, ok, text)
				require.Equal(t, inputs[at], l.Path())
				require.Equal(t, []string{"masks/" + filepath.Base(inputs[at])}, l.outputs())
				require.Equal(t, inputs[at], content(t, "out", l.Mask))
				at++
			}
			require.Equal(t, len(inputs), at)
			require.NoFileExists(t, "out/"+PartFile)
			kept, err := work()
			require.NoError(t, err)
			require.Equal(t, len(inputs), kept)
		}
		require.Equal(t, "beside", content(t, ".", "beside.png"))
		for _, name := range inputs {
			require.Equal(t, name, content(t, ".", name))
		}
		require.NoFileExists(t, "out/"+LockFile)
	})
}
