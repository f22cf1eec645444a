package patchcore

import (
	"encoding/json"
	"os"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// golden is what anomalib and PyTorch make of methodtest.Golden's features: see testdata/gen_golden.py.
type golden struct {
	Dims      []int     // of the sparse projection, by anomalib
	Embedding []float64 // every seventh patch of the first test image
	Coreset   []int
	Scores    []float64
	Winners   []int32
	Image     []float64
	Map       []float64 // every third pixel of every third row of the last image's map
	Grads     [][]float64
}

const goldenTrain, goldenTest = 9, 3

var (
	goldenLayers = []methodtest.Layer{{C: 5, H: 8, W: 10}, {C: 4, H: 4, W: 5}, {C: 3, H: 2, W: 3}} // grids that do not divide each other
	goldenStarts = []int{17, 3, 600, 250, 81, 333, 404, 555, 7, 199}

	// Patch vectors are float32 sums of up to 16 products, the golden numbers float64.
	float32Sums = compare.Tolerance{Abs: 2e-6, Rel: 2e-6}
)

func readGolden(t *testing.T) map[string]golden {
	data, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var g map[string]golden
	require.NoError(t, json.Unmarshal(data, &g))
	return g
}

func TestGolden(t *testing.T) {
	const projectDim, embedDim = 6, 40
	for name, want := range readGolden(t) {
		t.Run(name, func(t *testing.T) {
			o := profile(t, name)
			starts := goldenStarts[:max(o.StartPoints, 1)]
			if o.EmbedDim > 0 {
				o.EmbedDim = embedDim
			}
			widths := []int{goldenLayers[0].C, goldenLayers[1].C, goldenLayers[2].C}
			m := &Model{opts: o, embed: newEmbedding(widths, o.EmbedDim)}
			c := &collector{embed: &m.embed}
			require.NoError(t, methodtest.GoldenImages(goldenLayers, goldenTrain)(t.Context(), func(f []*tensor.Dense) error {
				return c.add(f, &method.Fitting{})
			}))
			d := m.embed.dim
			small := project(c.rows, d, methodtest.Values(projectDim*d, 778), projectDim)
			chosen, err := KCentre(t.Context(), small, projectDim, len(want.Coreset), starts, nil)
			require.NoError(t, err)
			require.Equal(t, want.Coreset, chosen)
			m.bank = newBank(pick(c.rows, d, chosen), d)

			f := methodtest.Golden(goldenLayers, goldenTrain, goldenTest)
			h, w := goldenLayers[0].H, goldenLayers[0].W
			v := m.embed.view(f, method.Grid{N: goldenTest, H: h, W: w})
			var at []int
			for i := 0; i < h*w; i += 7 {
				at = append(at, i)
			}
			compare.Require(t, "embedding", v.vectors(f, at), want.Embedding, float32Sums)

			r := &method.Result{S: nd.New(goldenTest, h, w), Image: make([]float32, goldenTest), Gradient: true}
			require.NoError(t, m.Score(t.Context(), f, r))
			s := nd.Data(r.S)
			compare.Require(t, "scores", s, want.Scores, float32Sums)
			all := make([]int, goldenTest*h*w)
			for i := range all {
				all[i] = i
			}
			winner, dist := make([]int32, len(all)), make([]float64, len(all))
			require.NoError(t, m.bank.Nearest(t.Context(), v.vectors(f, all), winner, dist, nil))
			require.Equal(t, want.Winners, winner)
			compare.Require(t, "image scores", r.Image, want.Image, float32Sums)

			dst := make([]float32, 16*h*w)
			method.BaseMap(s[(goldenTest-1)*h*w:], h, w, 4*h, 4*w, m.Map(), dst)
			var thin []float32
			for i := 0; i < 4*h; i += 3 {
				for j := 0; j < 4*w; j += 3 {
					thin = append(thin, dst[i*4*w+j])
				}
			}
			compare.Require(t, "map", thin, want.Map, float32Sums)

			df := make([]*tensor.Dense, len(f))
			for l := range f {
				df[l] = nd.New(f[l].Shape()...)
			}
			dS := nd.Wrap(methodtest.Values(len(s), 777), goldenTest, h, w)
			require.NoError(t, m.Grad(t.Context(), f, r, dS, df))
			for l := range df {
				compare.Require(t, "gradient", nd.Data(df[l]), want.Grads[l], float32Sums)
			}
		})
	}
}

func TestProjectedDimIsScikitLearns(t *testing.T) {
	o := profile(t, "anomalib")
	for i, count := range []int{10, 1000, 200_000} {
		require.Equal(t, readGolden(t)["anomalib"].Dims[i], o.projectedDim(count))
	}
}
