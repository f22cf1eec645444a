package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/run"

	"github.com/stretchr/testify/require"
)

// A long run says where the time goes after 1 minute, 2, 4, ...
func TestLongRunsSayWhereTheTimeGoes(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var out, err bytes.Buffer
		p := &program{out: &out, err: &err, json: asJSON}
		p.ui = p.newUI()
		w, e := p.watchRun("", "out", "m")
		require.NoError(t, e)
		now := w.began
		w.now = func() time.Time { return now }
		stages := engine.Stages()
		w.timer()(stages[0], 1, engine.Took{Wall: 10 * time.Second})
		w.timer()(stages[2], 2, engine.Took{Wall: 30 * time.Second})
		require.True(t, stages[8].Part())
		w.timer()(stages[8], 2, engine.Took{Wall: time.Hour})
		said := func() int { return strings.Count(out.String()+err.String(), "decode") }
		tell := func(after time.Duration, e run.Event) {
			now = w.began.Add(after)
			require.NoError(t, w.tell(e))
			require.NoError(t, w.tell(run.Progress{Done: w.images, Total: 100}))
		}
		tell(59*time.Second, run.Scored{Line: run.Line{Anomalous: true}})
		require.Zero(t, said())
		tell(60*time.Second, run.Failed{Path: "b", Err: os.ErrNotExist})
		require.Equal(t, 1, said())
		tell(119*time.Second, run.Scored{})
		require.Equal(t, 1, said())
		tell(150*time.Second, run.Scored{})
		require.Equal(t, 2, said())
		tell(239*time.Second, run.Scored{})
		require.Equal(t, 2, said())
		w.end(nil)
		if !asJSON {
			require.Contains(t, err.String(), "after 60 s: 2 images, 1 anomalous, 1 failed; of the stages' time features 75 %, decode 25 %\n")
			continue
		}
		var spent []map[string]any
		for _, m := range messages(t, out.String()) {
			if m["message_type"] == "spent" {
				spent = append(spent, m)
			}
		}
		require.Len(t, spent, 2)
		require.Equal(t, map[string]any{
			"message_type": "spent", "images": 4., "anomalous": 1., "failed": 1., "seconds": 150., "stages": []any{
				map[string]any{"stage": "decode", "part": false, "seconds": 10.},
				map[string]any{"stage": "features", "part": false, "seconds": 30.},
				map[string]any{"stage": "its gradients", "part": true, "seconds": 3600.},
			},
		}, spent[1])
	}
}

func TestMetricsFile(t *testing.T) {
	in := pictures(t, "a.png", "b.png")
	require.NoError(t, os.WriteFile(filepath.Join(in, "c.png"), []byte("broken"), 0o666))
	out, file := t.TempDir(), filepath.Join(t.TempDir(), "made", "f2pad.prom")
	read := func() string {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		return string(text)
	}
	r := score(t, out, "--masks", "--json", "--metrics", file, in)
	require.Equal(t, exitPartial, r.code, r.err)
	all := messages(t, r.out)
	require.Equal(t, "summary", all[len(all)-1]["message_type"])
	text := read()
	label := `{run="` + out + `"}`
	for _, want := range []string{
		`f2pad_images_total{model="model",result="failed",run="` + out + `"} 1`,
		"f2pad_run_images" + label + " 3", "f2pad_run_finished" + label + " 1", "f2pad_run_kept_images" + label + " 0",
	} {
		require.Contains(t, text, want+"\n")
	}
	require.Regexp(t, `f2pad_images_total\{model="model",result="(normal|anomalous)",run=".*"\} 2\n`, text)
	require.Regexp(t, `f2pad_run_images_per_second\{.*\} [0-9.e-]*[1-9]`, text)
	require.Regexp(t, `f2pad_stage_seconds_total\{model="model",run=".*",stage="features"\} [0-9.e-]*[1-9]`, text)
	require.Contains(t, text, `stage="write"} 2`)
	require.Regexp(t, `f2pad_memory_bytes\{.*\} \d`, text)

	require.Equal(t, exitPartial, score(t, out, "--masks", "--metrics", file, in).code)
	require.Contains(t, read(), "f2pad_run_kept_images"+label+" 2\n")
	require.Contains(t, read(), "f2pad_run_images"+label+" 1\n", "what was kept is not to do")

	other := t.TempDir()
	r = score(t, other, "--metrics", in, in)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "--metrics "+in+" is not a regular file")
	entries, err := os.ReadDir(other)
	require.NoError(t, err)
	require.Empty(t, entries, "before there is work")
}

// The run is worth more than the file: that it cannot be written is said once.
func TestMetricsThatCannotBeWritten(t *testing.T) {
	var err bytes.Buffer
	p := &program{out: &err, err: &err}
	p.ui = p.newUI()
	file := filepath.Join(t.TempDir(), "f2pad.prom")
	w, e := p.watchRun(file, "out", "m")
	require.NoError(t, e)
	require.FileExists(t, file)
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Mkdir(file, 0o777))
	w.write()
	w.end(nil)
	require.Equal(t, 1, strings.Count(err.String(), "warning: --metrics: "), err.String())
}
