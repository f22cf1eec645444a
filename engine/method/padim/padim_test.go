package padim

import (
	"testing"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"

	"github.com/stretchr/testify/require"
)

var (
	oneLayer    = []methodtest.Layer{{C: 6, H: 16, W: 18}}
	threeLayers = []methodtest.Layer{{C: 5, H: 16, W: 20}, {C: 4, H: 8, W: 10}, {C: 3, H: 4, W: 5}}
	sameGrid    = []methodtest.Layer{{C: 3, H: 16, W: 16}, {C: 2, H: 16, W: 16}, {C: 2, H: 8, W: 16}}
)

func profile(t testing.TB, name string) Options {
	t.Helper()
	o, err := ProfileOptions(name)
	require.NoError(t, err)
	return o
}

func fitted(t testing.TB, o Options, layers []methodtest.Layer) *Model {
	t.Helper()
	m, err := Fit(t.Context(), methodtest.Images(1, 12, layers), o)
	require.NoError(t, err)
	return m
}

func load(f *artifact.File) (method.Method, error) { return Load(f) }

func TestMethod(t *testing.T) {
	some := profile(t, "paper")
	some.Keep, some.Seed = 7, 3
	native := profile(t, "f2pad")
	native.Native = true
	for name, c := range map[string]struct {
		o      Options
		layers []methodtest.Layer
	}{
		"f2pad":    {profile(t, "f2pad"), oneLayer},
		"paper":    {some, threeLayers},
		"anomalib": {profile(t, "anomalib"), threeLayers},
		"same":     {profile(t, "f2pad"), sameGrid},
		"native":   {native, threeLayers},
	} {
		t.Run(name, func(t *testing.T) {
			methodtest.Test(t, methodtest.Suite{Method: fitted(t, c.o, c.layers), Load: load, Layers: c.layers})
		})
	}
}
