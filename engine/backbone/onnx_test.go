package backbone

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/backbone/backbonetest"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func residual(t *testing.T) string {
	t.Helper()
	return backbonetest.Write(t, "net.onnx", backbonetest.Residual(t, 64, 96, 1))
}

func TestONNXMeasuresItsNetwork(t *testing.T) {
	path := residual(t)
	b, err := OpenONNX(path, []string{"layer3", "layer1"}, ImageNet)
	require.NoError(t, err)
	require.Equal(t, "net.onnx", b.Name())
	require.Equal(t, 4, b.Stride())
	require.Equal(t, 16, b.Multiple())
	require.Equal(t, 16, b.MinSide())
	g, err := b.Graph(64, 96)
	require.NoError(t, err)
	radius, ok := g.Margin()
	require.True(t, ok)
	require.Equal(t, radius, b.Margin())
	// The stem sees 7 pixels, the pooling and layer1 2+16 steps of 2 and 4, layers 2 and 3 as many of 8 and 16.
	require.InDelta(t, 211.0/2, float64(b.Margin()), 8)
	shapes, err := g.Infer()
	require.NoError(t, err)
	require.Equal(t, graph.Shape{graph.N, 8, 16, 24}, shapes[g.Outputs[0]], "the finest layer comes first")
	require.Equal(t, graph.Shape{graph.N, 24, 4, 6}, shapes[g.Outputs[1]])
}

func TestONNXRefuses(t *testing.T) {
	path := residual(t)
	for name, c := range map[string]struct {
		path   string
		layers []string
		p      Preprocess
		want   string
	}{
		"no file":      {filepath.Join(t.TempDir(), "gone.onnx"), []string{"layer1"}, ImageNet, "gone.onnx"},
		"no layers":    {path, nil, ImageNet, "no layers"},
		"no such one":  {path, []string{"layer9"}, ImageNet, "layer9"},
		"std of 0":     {path, []string{"layer1"}, Preprocess{Range: 1}, "std"},
		"range of 0":   {path, []string{"layer1"}, Preprocess{Std: ImageNet.Std}, "range"},
		"not a number": {path, []string{"layer1"}, Preprocess{Mean: [3]float32{nan(), 0, 0}, Std: ImageNet.Std, Range: 1}, "mean"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenONNX(c.path, c.layers, c.p)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, filepath.Base(c.path))
		})
	}
}

func nan() float32 { z := float32(0); return z / z }

// run gives the features that the network makes of an image.
func run(t *testing.T, b *ONNX, img *tensor.Dense) []float64 {
	t.Helper()
	g, err := b.Graph(img.Shape()[1], img.Shape()[2])
	require.NoError(t, err)
	out, err := naive.Run(g, map[string]*naive.Array{g.Inputs[0].Name: widen(b.Normalize(img).apply(img))})
	require.NoError(t, err)
	return out[g.Outputs[0]].Data
}

// preprocessTolerance: the same numbers, scaled before or after they are rounded to float32.
var preprocessTolerance = compare.Tolerance{Abs: 1e-5, Rel: 1e-5}

func TestONNXPreprocesses(t *testing.T) {
	path := residual(t)
	img := testImage(32, 32, false)
	open := func(p Preprocess) *ONNX {
		b, err := OpenONNX(path, []string{"layer1"}, p)
		require.NoError(t, err)
		return b
	}
	a := open(ImageNet).Normalize(img)
	for c := range 3 {
		require.InDelta(t, (0.5-ImageNet.Mean[c])/ImageNet.Std[c], 0.5*a.Scale[c]+a.Shift[c], 1e-6)
	}
	want := run(t, open(ImageNet), img)

	scaled := Preprocess{Range: 255}
	for c := range 3 {
		scaled.Mean[c], scaled.Std[c] = 255*ImageNet.Mean[c], 255*ImageNet.Std[c]
	}
	compare.Require(t, "255", run(t, open(scaled), img), want, preprocessTolerance)

	plain := Preprocess{Std: [3]float32{1, 1, 1}, Range: 1}
	swapped := plain
	swapped.BGR = true
	mirrored := each(32, 32, func(c, y, x int) float32 { return at(img, 2-c, y, x) })
	require.Equal(t, run(t, open(plain), mirrored), run(t, open(swapped), img))
	require.NotEqual(t, run(t, open(plain), img), run(t, open(swapped), img))
}

// A network of one channel sees what one of three does that goes by the luminance.
func TestONNXOfOneChannel(t *testing.T) {
	open := func(grey bool, p Preprocess) (*ONNX, error) {
		return OpenONNX(backbonetest.Write(t, "net.onnx", backbonetest.Stem(t, 32, 48, 3, grey)), []string{"layer1"}, p)
	}
	one, err := open(true, ImageNet)
	require.NoError(t, err)
	three, err := open(false, ImageNet)
	require.NoError(t, err)
	require.Equal(t, three.Stride(), one.Stride())
	require.Equal(t, three.Margin(), one.Margin())
	require.Equal(t, []int{8}, one.Widths())
	img := testImage(32, 48, false)
	compare.Require(t, "luminance", run(t, one, img), run(t, three, img), preprocessTolerance)
	require.NotEqual(t, run(t, one, img), run(t, one, testImage(32, 48, true)))
	bgr := ImageNet
	bgr.BGR = true
	_, err = open(true, bgr)
	require.ErrorContains(t, err, "net.onnx: it takes images of one channel, which has no order")
}

func TestONNXGraphsShareTheirConstants(t *testing.T) {
	b, err := OpenONNX(residual(t), backbonetest.Layers, ImageNet)
	require.NoError(t, err)
	small, err := b.Graph(32, 32)
	require.NoError(t, err)
	large, err := b.Graph(64, 48)
	require.NoError(t, err)
	require.NotEmpty(t, small.Consts)
	require.Equal(t, backbonetest.Constants(small), backbonetest.Constants(large))
}

func TestONNXRoundTrip(t *testing.T) {
	path := residual(t)
	b, err := OpenONNX(path, backbonetest.Layers, ImageNet)
	require.NoError(t, err)
	w := artifact.NewWriter()
	require.NoError(t, b.Save(w))
	data := written(t, w)
	loaded, err := Load(open(t, data))
	require.NoError(t, err)
	again := loaded.(*ONNX)
	require.Equal(t, b.Describe(), again.Describe())
	require.Equal(t, path, again.File())
	require.False(t, again.Bound())
	_, err = again.Graph(32, 32)
	require.ErrorContains(t, err, "not loaded")

	other := backbonetest.Write(t, "net.onnx", backbonetest.Residual(t, 64, 96, 2))
	require.ErrorIs(t, again.Bind(other), ErrOtherNetwork)
	require.False(t, again.Bound())
	moved := filepath.Join(t.TempDir(), "renamed.onnx")
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(moved, file, 0o600))
	require.NoError(t, again.Bind(moved))
	img := testImage(32, 32, false)
	require.Equal(t, run(t, b, img), run(t, again, img))
}

func TestLoadRefusesBrokenONNXSections(t *testing.T) {
	b, err := OpenONNX(residual(t), backbonetest.Layers, ImageNet)
	require.NoError(t, err)
	for name, breaks := range map[string]func(i *onnxInfo){
		"stride":                        func(i *onnxInfo) { i.Stride = 0 },
		"multiple":                      func(i *onnxInfo) { i.Multiple = 6 },
		"least side":                    func(i *onnxInfo) { i.MinSide = 4 },
		"margin":                        func(i *onnxInfo) { i.Margin = -1 },
		"layers":                        func(i *onnxInfo) { i.Layers = nil },
		"features":                      func(i *onnxInfo) { i.Features = i.Features[:1] },
		"std":                           func(i *onnxInfo) { i.Preprocess.Std[1] = 0 },
		"min_side, is 1048576":          func(i *onnxInfo) { i.MinSide = 1 << 20 },
		"min_side, is 92233720":         func(i *onnxInfo) { i.MinSide = math.MaxInt },
		"multiple is 1073741824":        func(i *onnxInfo) { i.Multiple, i.MinSide = 1<<30, 1<<30 },
		"stride is 16384":               func(i *onnxInfo) { i.Stride, i.Multiple, i.MinSide = 1<<14, 1<<14, 1<<14 },
		`layer "layer1" are 1073741824`: func(i *onnxInfo) { i.Features[0] = 1 << 30 },
		`layer "layer1" are 0`:          func(i *onnxInfo) { i.Features[0] = 0 },
		"number of layers is 65": func(i *onnxInfo) {
			i.Layers, i.Features = make([]string, 65), slices.Repeat([]int{1}, 65)
		},
		"multiple is 512": func(i *onnxInfo) { i.Multiple, i.MinSide = 512, 512 },
		"sha256":          func(i *onnxInfo) { i.SHA256 = "" },
	} {
		t.Run(name, func(t *testing.T) {
			broken := b.info
			broken.Layers, broken.Features = slices.Clone(broken.Layers), slices.Clone(broken.Features)
			breaks(&broken)
			w := artifact.NewWriter()
			require.NoError(t, w.JSON("backbone/info", info{Name: onnxName}))
			require.NoError(t, w.JSON("backbone/onnx", broken))
			_, err := Load(open(t, written(t, w)))
			require.ErrorContains(t, err, "backbone/onnx")
			require.ErrorContains(t, err, name)
		})
	}
}
