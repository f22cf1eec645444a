package main

import (
	"path/filepath"
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/run"

	"github.com/stretchr/testify/require"
)

// altered writes the tests' model with a change.
func altered(t *testing.T, change func(*engine.ModelInfo)) string {
	t.Helper()
	setup(t)
	m, err := engine.Load(model())
	require.NoError(t, err)
	change(&m.Info)
	path := filepath.Join(t.TempDir(), "altered.f2pad")
	_, err = m.Save(path)
	require.NoError(t, err)
	return path
}

func TestVerbsUseTheMapsThatAModelMakes(t *testing.T) {
	m := altered(t, func(i *engine.ModelInfo) {
		i.Calibration.PixelThreshold = map[refine.Kind]float64{refine.Base: i.Calibration.PixelThreshold[refine.Base]}
	})
	const why = "the model does not make residual and f2pad (it makes [base]): it has no thresholds for them; fit it again to get them"
	image := filepath.Join(data(), "test", "hole", "000.png")

	all := messages(t, f2pad(t, "inspect", "--json", m).out)
	require.Equal(t, []any{"base"}, all[0]["kinds"])
	r := f2pad(t, "inspect", m)
	require.Regexp(t, `(?m)^base map +threshold `, r.out)
	require.NotRegexp(t, `(?m)^(residual|f2pad) map`, r.out)
	require.Contains(t, r.out, why)
	require.Equal(t, []any{"base", "residual", "f2pad"}, messages(t, f2pad(t, "inspect", "--json", model()).out)[0]["kinds"])

	// Without --refine: what there is, and a word about it.
	dir := t.TempDir()
	r = f2pad(t, "score", "--model", m, "--out", dir, "--maps", image)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.err, "warning: engine: the model does not make f2pad (it makes [base])")
	require.Contains(t, content(t, dir, run.RunFile), `"refine": "none"`)
	require.FileExists(t, filepath.Join(dir, lines(t, dir)[0]["map"].(string)))
	r = f2pad(t, "score", "--model", m, "--out", t.TempDir(), image)
	require.Equal(t, exitOK, r.code, r.err)
	require.NotContains(t, r.err, "warning")

	all = messages(t, f2pad(t, "eval", "--model", m, "--data", data(), "--limit", "1", "--json").out)
	require.Equal(t, []string{"warning", "executor", "device", "summary"}, types(all))
	sum := all[len(all)-1]
	require.Len(t, sum["rows"], 5)
	for _, row := range sum["rows"].([]any) {
		require.Equal(t, "base", row.(map[string]any)["map"])
	}
	require.Equal(t, []any{"engine: " + why}, sum["notices"])

	// A map that is asked for by name is made or refused.
	for _, kinds := range []string{"f2pad", "none,residual"} {
		r = f2pad(t, "eval", "--model", m, "--data", data(), "--refine", kinds)
		require.Equal(t, exitFailure, r.code, kinds)
		require.Contains(t, r.err, "the model does not make")
		require.Contains(t, r.err, "fit it again to get them; --refine none makes base")
	}
	for _, args := range [][]string{{"--refine", "residual"}, {"--refine", "f2pad", "--masks"}} {
		dir := filepath.Join(t.TempDir(), "out")
		r = f2pad(t, append([]string{"score", "--model", m, "--out", dir, image}, args...)...)
		require.Equal(t, exitFailure, r.code, args)
		require.Contains(t, r.err, "; --refine none makes base")
		require.NoDirExists(t, dir)
	}
	require.Equal(t, exitOK, f2pad(t, "score", "--model", m, "--out", t.TempDir(), "--refine", "none", "--masks", image).code)
	require.Equal(t, exitOK, f2pad(t, "eval", "--model", m, "--data", data(), "--limit", "1", "--refine", "none").code)
}

func TestAModelOfANewerProgramIsRefused(t *testing.T) {
	m := altered(t, func(i *engine.ModelInfo) { i.Refine.Revision = refine.Revision + 1 })
	for _, args := range [][]string{
		{"inspect", m}, {"score", "--model", m, "--out", t.TempDir(), data()}, {"eval", "--model", m, "--data", data()},
	} {
		r := f2pad(t, args...)
		require.Equal(t, exitFailure, r.code, args)
		require.Contains(t, r.err, m, args)
		require.Contains(t, r.err, "made by a newer f2pad", args)
	}
}

// The program reads the models of every revision, whatever it makes of them.
func TestModelsOfEveryRevisionAreScored(t *testing.T) {
	dir := filepath.Join("..", "..", "engine", "testdata")
	models, err := filepath.Glob(filepath.Join(dir, "r*", "*.f2pad"))
	require.NoError(t, err)
	require.NotEmpty(t, models)
	for _, m := range models {
		out := t.TempDir()
		r := f2pad(t, "score", "--model", m, "--out", out, "--maps", filepath.Join(dir, "hole.png"), filepath.Join(dir, "good.png"))
		require.Equal(t, exitOK, r.code, r.err)
		require.Equal(t, exitOK, f2pad(t, "inspect", m).code)
		hole, good := lines(t, out)[0], lines(t, out)[1]
		require.Equal(t, true, hole["anomalous"], m)
		require.Equal(t, false, good["anomalous"], m)
	}
}
