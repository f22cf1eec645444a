package engine_test

import (
	"os"
	"path/filepath"
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/method"
	"f2pad.example/engine/synth"

	"github.com/stretchr/testify/require"
)

func TestProfilesAreThoseOfTheMethods(t *testing.T) {
	require.Equal(t, []string{"padim", "patchcore", "cflow"}, engine.Methods())
	require.Equal(t, []string{"f2pad", "paper", "anomalib", "compact"}, engine.Profiles())
	require.Equal(t, []string{"compact", "paper", "anomalib"}, engine.Profiles("cflow"))
	_, err := engine.Fit(t.Context(), nil, engine.FitOptions{Method: "cflow", Profile: "f2pad"}, nil)
	require.EqualError(t, err, `engine: unknown profile of cflow "f2pad": want one of compact, paper, anomalib`)
	_, err = engine.Fit(t.Context(), nil, engine.FitOptions{Method: "flow"}, nil)
	require.EqualError(t, err, `engine: unknown method "flow": want one of padim, patchcore, cflow`)
}

// A fit that is done leaves no checkpoint.
func TestCheckpoints(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "weave")
	require.NoError(t, synth.Write(t.Context(), dir, synth.Options{Texture: "weave", Train: 8, Test: 5, Size: 48, Seed: 4}, nil))
	d, err := dataset.MVTec(dir)
	require.NoError(t, err)
	steps, part := 0, filepath.Join(t.TempDir(), "m.part")
	m := fit(t, d, engine.FitOptions{Method: "cflow", Seed: 1, Checkpoint: part, Training: func(p method.Progress) { steps = p.Done }})
	require.Positive(t, steps)
	require.NoFileExists(t, part, "the work took less than a checkpoint's time")
	require.Equal(t, "compact", m.Info.Profile)

	// What lies at the checkpoint's place and is something else is not replaced.
	require.NoError(t, os.WriteFile(part, []byte("notes"), 0o666))
	_, err = engine.Fit(t.Context(), d.Train, engine.FitOptions{Method: "cflow", Checkpoint: part}, nil)
	require.ErrorContains(t, err, part)
}
