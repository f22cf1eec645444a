package padim

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// golden is what NumPy, PyTorch and anomalib make of methodtest.Golden's features: see testdata/gen_golden.py.
type golden struct {
	Scores []float64
	Grads  [][]float64
	Map    []float64 // every third pixel of every third row of the last image's map
	Image  []float64 // its maximum
}

const goldenTrain, goldenTest = 9, 3

var (
	// Layers whose grids do not divide each other, and more samples than channels only for the pooled covariances.
	goldenLayers = []methodtest.Layer{{C: 5, H: 8, W: 10}, {C: 4, H: 4, W: 5}, {C: 3, H: 2, W: 3}}
	goldenKept   = []int{0, 2, 3, 6, 7, 9, 11}

	// The factor, the features and their products are float32, the golden numbers float64.
	float32State = compare.Tolerance{Abs: 2e-6, Rel: 2e-6}
)

func readGolden(t *testing.T) map[string]golden {
	data, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var g map[string]golden
	require.NoError(t, json.Unmarshal(data, &g))
	return g
}

func TestGolden(t *testing.T) {
	for name, want := range readGolden(t) {
		t.Run(name, func(t *testing.T) {
			o := profile(t, "f2pad")
			if o.Native = name == "native"; !o.Native {
				o = profile(t, name)
			}
			o.Channels = goldenKept
			m, err := Fit(t.Context(), methodtest.GoldenImages(goldenLayers, goldenTrain), o)
			require.NoError(t, err)

			f := methodtest.Golden(goldenLayers, goldenTrain, goldenTest)
			h, w := goldenLayers[0].H, goldenLayers[0].W
			r := &method.Result{S: nd.New(goldenTest, h, w), Gradient: true}
			require.NoError(t, m.Score(t.Context(), f, r))
			s := nd.Data(r.S)
			compare.Require(t, "scores", s, want.Scores, float32State)

			dst := make([]float32, 16*h*w)
			method.BaseMap(s[(goldenTest-1)*h*w:], h, w, 4*h, 4*w, m.Map(), dst)
			compare.Require(t, "image score", []float32{slices.Max(dst)}, want.Image, float32State)
			var thin []float32
			for i := 0; i < 4*h; i += 3 {
				for j := 0; j < 4*w; j += 3 {
					thin = append(thin, dst[i*4*w+j])
				}
			}
			compare.Require(t, "map", thin, want.Map, float32State)

			df := make([]*tensor.Dense, len(f))
			for l := range f {
				df[l] = nd.New(f[l].Shape()...)
			}
			dS := nd.Wrap(methodtest.Values(len(s), 777), goldenTest, h, w)
			require.NoError(t, m.Grad(t.Context(), f, r, dS, df))
			for l := range df {
				compare.Require(t, "gradient", nd.Data(df[l]), want.Grads[l], float32State)
			}
		})
	}
}
