package imageio

import (
	"encoding/json"
	"os"
	"testing"

	"f2pad/engine/compare"
	"f2pad/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

type array struct {
	Shape []int     `json:"shape"`
	Data  []float32 `json:"data"`
}

func (a array) tensor() *tensor.Dense { return nd.Wrap(a.Data, a.Shape...) }

type resizeGolden struct {
	Src                                  array
	Pillow, Antialias, Bilinear, Reflect []array
}

func readResizeGolden(t *testing.T) (g resizeGolden) {
	t.Helper()
	raw, err := os.ReadFile("testdata/resize.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &g))
	return g
}

var (
	// Both sum in float64 and round to float32 after each pass.
	pillowTol = compare.Tolerance{Abs: 1.2e-7}
	// PyTorch computes places and weights in float32.
	torchTol = compare.Tolerance{Abs: 3e-6}
)

func TestResizeAgreesWithPillowAndPyTorch(t *testing.T) {
	g := readResizeGolden(t)
	require.NotEmpty(t, g.Pillow)
	for i, want := range g.Pillow {
		got := Resize(g.Src.tensor(), want.Shape[1], want.Shape[2])
		require.Equal(t, want.Shape, []int(got.Shape()))
		compare.Require(t, "pillow", nd.Data(got), want.Data, pillowTol)
		compare.Require(t, "torch", nd.Data(got), g.Antialias[i].Data, torchTol)
	}
	src := g.Src.tensor()
	require.Same(t, src, Resize(src, 9, 13))
}

func TestResizeMapAgreesWithPyTorch(t *testing.T) {
	g := readResizeGolden(t)
	for _, want := range g.Bilinear {
		h, w := want.Shape[1], want.Shape[2]
		got := ResizeMap(g.Src.Data[9*13:], 9, 13, h, w)
		compare.Require(t, "bilinear", got, want.Data[h*w:], torchTol)
	}
	require.Equal(t, []float32{7, 7, 7, 7, 7, 7}, ResizeMap([]float32{7}, 1, 1, 2, 3))
}

func TestPadReflectAgreesWithNumpy(t *testing.T) {
	src := nd.New(1, 9, 13)
	for i := range nd.Data(src) {
		nd.Data(src)[i] = float32(i)
	}
	g := readResizeGolden(t)
	for _, want := range g.Reflect {
		H, W := want.Shape[1], want.Shape[2]
		if want.Data[0] == 0 { // padded at the bottom and the right only
			require.Equal(t, want.Data, nd.Data(PadReflect(src, H, W)))
			continue
		}
		got, top, left := PadReflectCentred(src, H, W)
		require.Equal(t, want.Shape, []int(got.Shape()))
		require.Equal(t, want.Data, nd.Data(got))
		require.Equal(t, nd.Data(src), nd.Data(Crop(got, top, left, 9, 13)))
	}
	require.Equal(t, []float32{5, 5, 5, 5}, nd.Data(PadReflect(nd.Wrap([]float32{5}, 1, 1, 1), 2, 2)))
}

func TestPadAndCropKeepPlanesApart(t *testing.T) {
	src := nd.Wrap([]float32{1, 2, 3, 4, 5, 6, 7, 8}, 2, 2, 2)
	padded := PadReflect(src, 3, 3)
	require.Equal(t, []float32{1, 2, 1, 3, 4, 3, 1, 2, 1, 5, 6, 5, 7, 8, 7, 5, 6, 5}, nd.Data(padded))
	require.Equal(t, []float32{4, 3, 2, 1, 8, 7, 6, 5}, nd.Data(Crop(padded, 1, 1, 2, 2)))
	_, top, left := PadReflectCentred(src, 5, 7)
	require.Equal(t, []int{1, 2}, []int{top, left})
}
