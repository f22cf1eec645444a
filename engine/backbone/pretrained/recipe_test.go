package pretrained

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/onnx"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// golden: networks of some 60 layers in float32 against float64, relative to the values' root mean square.
const golden = 1e-4

// recorded is what testdata/gen_golden.py has written.
type recorded struct {
	Name     string
	Weights  string // drawn or real
	Size     [2]int
	Image    string // key that it is drawn from
	Layers   []sampled
	Gradient sampled
}

type sampled struct {
	Layer  string
	Shape  []int
	RMS    float64
	At     []int
	Values []float64
}

// require compares the samples and the root mean square of all values.
func (s sampled) require(t *testing.T, what string, got []float32) {
	t.Helper()
	sum := 0.0
	for _, v := range got {
		sum += float64(v) * float64(v)
	}
	values := []float64{math.Sqrt(sum / float64(len(got)))}
	for _, at := range s.At {
		values = append(values, float64(got[at]))
	}
	compare.Require(t, what, values, append([]float64{s.RMS}, s.Values...), compare.Tolerance{Abs: golden * s.RMS})
}

func goldens(t *testing.T, weights string) (list []recorded) {
	t.Helper()
	file, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var all []recorded
	require.NoError(t, json.Unmarshal(file, &all))
	for _, r := range all {
		if r.Weights == weights {
			list = append(list, r)
		}
	}
	require.Len(t, list, len(Networks()))
	return list
}

// draw is n numbers base + scale*u, u uniform in [-1,1) from a counter; gen_golden.py has the same.
func draw(key string, n int, base, scale float64) []float32 {
	h := fnv.New64a()
	h.Write([]byte(key))
	seed := h.Sum64()
	v := make([]float32, n)
	for i := range v {
		z := seed + uint64(i+1)*0x9E3779B97F4A7C15
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		z ^= z >> 31
		u := float32(z>>40)/(1<<23) - 1
		v[i] = float32(base) + float32(float32(scale)*u)
	}
	return v
}

// drawn are weights as gen_golden.py draws them.
func drawn(name string, shape ...int) (*tensor.Dense, error) {
	base, scale := 0.0, 0.1
	switch {
	case strings.HasSuffix(name, ".running_var"):
		base, scale = 1, 0.25
	case len(shape) > 1:
		scale = math.Sqrt(6 / float64(nd.Size(shape[1:]...)))
	case strings.HasSuffix(name, ".weight"):
		base, scale = 0.8, 0.2
	}
	return nd.Wrap(draw(name, nd.Size(shape...), base, scale), shape...), nil
}

// drawnFile is a network with drawn weights, as an ONNX file.
func drawnFile(t *testing.T, n Network) []byte {
	t.Helper()
	g, err := n.Build(drawn)
	require.NoError(t, err)
	data, err := onnx.WriteOpen(g)
	require.NoError(t, err)
	return data
}

// requireGolden compares features and gradients of an ONNX file with PyTorch's.
func requireGolden(t *testing.T, file []byte, want recorded) {
	t.Helper()
	m, err := onnx.Read(file)
	require.NoError(t, err)
	var layers []string
	for _, l := range want.Layers {
		layers = append(layers, l.Layer)
	}
	h, w := want.Size[0], want.Size[1]
	g, err := m.Graph(h, w, layers)
	require.NoError(t, err)
	require.NoError(t, g.Fold())
	net, err := goexec.New().Compile(g, true)
	require.NoError(t, err)
	defer net.Close()
	var out, dout []*tensor.Dense
	for _, l := range want.Layers {
		out = append(out, nd.New(l.Shape...))
		dout = append(dout, nd.Wrap(draw("d "+l.Layer, nd.Size(l.Shape...), 0, 1), l.Shape...))
	}
	x, dx := nd.Wrap(draw(want.Image, 3*h*w, 0, 1), 1, 3, h, w), nd.New(1, 3, h, w)
	require.NoError(t, net.Forward(context.Background(), []*tensor.Dense{x}, out))
	for i, l := range want.Layers {
		l.require(t, l.Layer, nd.Data(out[i]))
	}
	require.NoError(t, net.Backward(context.Background(), dout, []*tensor.Dense{dx}))
	want.Gradient.require(t, "gradient", nd.Data(dx))
}

func TestRecipesAgreeWithPyTorch(t *testing.T) {
	for _, want := range goldens(t, "drawn") {
		t.Run(want.Name, func(t *testing.T) {
			n, ok := Find(Networks(), want.Name)
			require.True(t, ok)
			requireGolden(t, drawnFile(t, n), want)
		})
	}
}

// TestRealNetworks compares the networks that make backbones has fetched on this machine.
func TestRealNetworks(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("SKIPPED: the real networks are not tested: %v", err)
	}
	for _, want := range goldens(t, "real") {
		t.Run(want.Name, func(t *testing.T) {
			n, ok := Find(Networks(), want.Name)
			require.True(t, ok)
			path, err := n.Locate(filepath.Join(cache, "f2pad", "backbones"))
			if err != nil {
				t.Skipf("SKIPPED: the real network is not tested: %v; make backbones BACKBONES=%s fetches it", err, n.Name)
			}
			file, err := os.ReadFile(path)
			require.NoError(t, err)
			requireGolden(t, file, want)
		})
	}
}

// The bytes of recipes are what models count on: a change of them, or of the writer, is seen here.
var drawnSums = map[string]string{
	"efficientnet-lite0": "9a38581809ec17f6991450c641066b84992a36acc5440dad0d4f84e5c075ae2d",
	"efficientnet-lite1": "7542e61808b5661a0fde04e4884c63bf30fe25107d6987cdb312463159045619",
	"efficientnet-lite2": "a1b3a9edf7fa7543c5038d1757a30f49d9f66adf3bf3476f55065267402b6dbe",
}

func TestRecipesKeepTheirBytes(t *testing.T) {
	require.Len(t, drawnSums, len(Networks()))
	for _, n := range Networks() {
		require.Equal(t, drawnSums[n.Name], digest(drawnFile(t, n)), n.Name)
	}
}

// What the catalogue says of a network is what the network is.
func TestCatalogueIsTrue(t *testing.T) {
	const side = 256
	for _, n := range Networks() {
		t.Run(n.Name, func(t *testing.T) {
			file := drawnFile(t, n)
			require.EqualValues(t, n.Bytes, len(file))
			path := filepath.Join(t.TempDir(), n.File())
			require.NoError(t, os.WriteFile(path, file, 0o600))
			b, err := backbone.OpenONNX(path, n.Layers, n.Preprocess)
			require.NoError(t, err)
			require.Equal(t, n.Strides[0], b.Stride())
			require.Equal(t, n.Strides[len(n.Strides)-1], b.Multiple())
			require.Equal(t, n.Strides[len(n.Strides)-1], b.MinSide())
			require.NotEqual(t, backbone.Whole, b.Margin())
			for _, size := range [][2]int{{side, side}, {16, 48}, {512, 80}} { // any multiple of the deepest layer's stride
				g, err := b.Graph(size[0], size[1])
				require.NoError(t, err)
				shapes, err := g.Infer()
				require.NoError(t, err)
				require.Len(t, g.Outputs, len(n.Layers))
				for i, out := range g.Outputs {
					require.Equal(t, []int{n.Features[i], size[0] / n.Strides[i], size[1] / n.Strides[i]}, []int(shapes[out][1:]))
				}
				if size == [2]int{side, side} {
					flops, err := g.FLOPs()
					require.NoError(t, err)
					require.Equal(t, n.FLOPs, flops)
				}
			}
			a := b.Normalize(nil)
			for c := range 3 {
				require.Equal(t, float32(-127.0/128), a.Shift[c])
				require.Equal(t, float32(1), a.Scale[c]+a.Shift[c], "white is (255-127)/128")
			}
			m, err := onnx.Open(path)
			require.NoError(t, err)
			s, err := m.Inspect(side, side)
			require.NoError(t, err)
			require.Empty(t, s.Unsupported)
			var listed []string
			for _, l := range s.Layers {
				listed = append(listed, l.Name)
			}
			require.Subset(t, listed, n.Layers)
		})
	}
}
