package engine_test

import (
	"os"
	"path/filepath"
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/devicetest"
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

// A method that computes on the CPU only does so where a device is asked for, and says it.
func TestFlowsStayOnTheCPU(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "weave")
	require.NoError(t, synth.Write(t.Context(), dir, synth.Options{Texture: "weave", Train: 8, Test: 5, Size: 48, Seed: 4}, nil))
	d, err := dataset.MVTec(dir)
	require.NoError(t, err)
	var notices []string
	o := engine.Options{Device: &devicetest.Naive{}, Notice: func(s string) { notices = append(notices, s) }}
	steps, part := 0, filepath.Join(t.TempDir(), "m.part")
	m := fit(t, d, engine.FitOptions{
		Method: "cflow", Seed: 1, Options: o, Checkpoint: part, Training: func(p method.Progress) { steps = p.Done },
	})
	require.Positive(t, steps)
	require.NoFileExists(t, part, "the work took less than a checkpoint's time")
	require.Equal(t, device.CPU, m.Info.Device)
	require.Equal(t, "compact", m.Info.Profile)
	require.Len(t, notices, 1)
	require.Contains(t, notices[0], "cflow computes on the CPU only")
	want, err := score(t, m, engine.Options{}, d.Test)
	require.NoError(t, err)
	got, err := score(t, m, o, d.Test)
	require.NoError(t, err)
	require.Len(t, notices, 2)
	for i, r := range got {
		require.Equal(t, device.CPU.Device, r.Device)
		require.Equal(t, want[i].Score, r.Score)
	}

	// What lies at the checkpoint's place and is something else is not replaced.
	require.NoError(t, os.WriteFile(part, []byte("notes"), 0o666))
	_, err = engine.Fit(t.Context(), d.Train, engine.FitOptions{Method: "cflow", Checkpoint: part}, nil)
	require.ErrorContains(t, err, part)
}
