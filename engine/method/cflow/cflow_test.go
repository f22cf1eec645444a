package cflow

import (
	"testing"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"

	"github.com/stretchr/testify/require"
)

var (
	oneLayer    = []methodtest.Layer{{C: 6, H: 16, W: 18}}
	threeLayers = []methodtest.Layer{{C: 5, H: 16, W: 20}, {C: 4, H: 8, W: 10}, {C: 3, H: 4, W: 5}}
	sameGrid    = []methodtest.Layer{{C: 3, H: 16, W: 16}, {C: 2, H: 16, W: 16}, {C: 2, H: 8, W: 16}}
)

// rounded: a score is the difference of two likelihoods, each rounded to float32 at some 5 times it, and differences are of 0.2 %
// of it.
var rounded = compare.Tolerance{Rel: 4e-3}

// small is a profile with so few steps that a test can wait for them.
func small(t testing.TB, profile string) Options {
	t.Helper()
	o, err := ProfileOptions(profile)
	require.NoError(t, err)
	o.Blocks, o.Condition, o.Batch, o.MaxSteps, o.Seed = 3, 8, 64, 30, 7
	o.Checks = 5
	return o
}

func fitted(t testing.TB, o Options, layers []methodtest.Layer) *Model {
	t.Helper()
	m, err := Fit(t.Context(), o, method.Fitting{Features: methodtest.Images(1, 12, layers)})
	require.NoError(t, err)
	return m
}

func load(f *artifact.File) (method.Method, error) { return Load(f) }

func TestMethod(t *testing.T) {
	native, mean, root := small(t, "compact"), small(t, "paper"), small(t, "paper")
	native.Native = true
	mean.Fuse, root.Fuse = FuseMean, FuseRoot
	for name, c := range map[string]struct {
		o      Options
		layers []methodtest.Layer
	}{
		"compact":  {small(t, "compact"), oneLayer},
		"paper":    {small(t, "paper"), threeLayers},
		"anomalib": {small(t, "anomalib"), threeLayers},
		"mean":     {mean, threeLayers},
		"root":     {root, threeLayers},
		"same":     {small(t, "compact"), sameGrid},
		"native":   {native, threeLayers},
	} {
		t.Run(name, func(t *testing.T) {
			methodtest.Test(t, methodtest.Suite{Method: fitted(t, c.o, c.layers), Load: load, Layers: c.layers, Context: 6, Kink: 0.002, Differences: rounded})
		})
	}
}
