package main

import (
	"testing"

	"f2pad.example/beam/scoring"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
)

func TestCommandLines(t *testing.T) {
	sound := scoring.Job{
		Computing: scoring.Computing{Model: "m", Batch: 1, ImageMemory: 1, Executor: scoring.GoExecutor},
		Inputs:    [][]byte{[]byte("x")}, Out: "d", Shards: 1,
	}
	require.NoError(t, check(sound))
	for why, change := range map[string]func(*scoring.Job){
		"--model and --out are required": func(j *scoring.Job) { j.Out = "" },
		"no INPUT":                       func(j *scoring.Job) { j.Inputs = nil },
		"at least 1":                     func(j *scoring.Job) { j.Shards = 0 },
		"at least 0":                     func(j *scoring.Job) { j.Regions.Close = -1 },
		"--executor is go or ort":        func(j *scoring.Job) { j.Executor = "auto" },
		"need a map: --refine":           func(j *scoring.Job) { j.Regions.Fill = true },
	} {
		j := sound
		change(&j)
		require.ErrorContains(t, check(j), why)
	}
	sound.Kind, sound.Regions.Fill = refine.F2PAD, true
	require.NoError(t, check(sound))
}
