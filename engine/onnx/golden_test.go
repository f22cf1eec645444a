package onnx

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// golden: both ends of a network of up to 150 layers in float32 against float64, relative to the values' root mean square.
const golden = 1e-4

// recorded is what testdata/gen_golden.py has written.
type recorded struct {
	Name     string
	Size     int
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
	tol := compare.Tolerance{Abs: golden * s.RMS}
	sum := 0.0
	for _, v := range got {
		sum += float64(v) * float64(v)
	}
	values := []float64{math.Sqrt(sum / float64(len(got)))}
	for _, at := range s.At {
		values = append(values, float64(got[at]))
	}
	compare.Require(t, what, values, append([]float64{s.RMS}, s.Values...), tol)
}

// large networks take seconds and hundreds of megabytes.
var large = []string{"wide_resnet50_2", "vgg16_bn", "vit_b_16", "resnet50", "resnet34", "convnext_tiny", "googlenet"}

// TestGolden reads networks that PyTorch has exported, both ways, and compares features and gradients with PyTorch's.
func TestGolden(t *testing.T) {
	file, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var all []recorded
	require.NoError(t, json.Unmarshal(file, &all))
	require.NotEmpty(t, all)
	for _, want := range all {
		t.Run(want.Name, func(t *testing.T) {
			if testing.Short() && slices.Contains(large, want.Name) {
				t.Skip("SKIPPED: a large network, left out by -short")
			}
			m := open(t, want.Name)
			var layers []string
			for _, l := range want.Layers {
				layers = append(layers, l.Layer)
			}
			g, err := m.Graph(want.Size, want.Size, layers)
			require.NoError(t, err)
			net, err := goexec.New().Compile(g, true)
			require.NoError(t, err)
			defer net.Close()
			var out, dout []*tensor.Dense
			for _, l := range want.Layers {
				out = append(out, nd.New(l.Shape...))
				dout = append(dout, nd.Wrap(draw("d "+l.Layer, nd.Size(l.Shape...), 0, 1), l.Shape...))
			}
			shape := []int{2, 3, want.Size, want.Size}
			x, dx := nd.Wrap(draw(want.Image, nd.Size(shape...), 0, 1), shape...), nd.New(shape...)
			require.NoError(t, net.Forward(context.Background(), []*tensor.Dense{x}, out))
			for i, l := range want.Layers {
				l.require(t, l.Layer, nd.Data(out[i]))
			}
			require.NoError(t, net.Backward(context.Background(), dout, []*tensor.Dense{dx}))
			want.Gradient.require(t, "gradient", nd.Data(dx))
		})
	}
}

// stored is a network's file, without weights.
func stored(t testing.TB, name string) []byte {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("testdata", name+".onnx.gz"))
	require.NoError(t, err)
	z, err := gzip.NewReader(bytes.NewReader(file))
	require.NoError(t, err)
	data, err := io.ReadAll(z)
	require.NoError(t, err)
	return data
}

// open reads a network, with weights made from the recipes that it has in place of external files' names.
func open(t testing.TB, name string) *Model {
	t.Helper()
	data := stored(t, name)
	m, err := parse(data)
	require.NoError(t, err)
	require.NoError(t, m.load(data, func(name string, _ int64) ([]byte, error) {
		var r recipe
		if err := json.Unmarshal([]byte(name), &r); err != nil {
			return nil, err
		}
		values := r.make()
		raw := make([]byte, 0, 4*len(values))
		for _, v := range values {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
		return raw, nil
	}))
	return m
}

// recipe says how gen_golden.py made an initializer from the parameters of the network.
type recipe struct {
	Draw             drawing
	Columns          int      // of Draw, which is transposed, if not 0
	Gamma, Var, Mean *drawing // of the BatchNormalization that is fused in; Mean with a bias only
	Bias             *drawing // of the convolution before it
	Eps              float64
}

type drawing struct {
	Key         string
	N           int
	Base, Scale float64
}

func (d drawing) make() []float32 { return draw(d.Key, d.N, d.Base, d.Scale) }

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

func (r recipe) make() []float32 {
	v := r.Draw.make()
	if r.Columns > 0 {
		rows := len(v) / r.Columns
		turned := make([]float32, len(v))
		for i := range v {
			turned[i%r.Columns*rows+i/r.Columns] = v[i]
		}
		return turned
	}
	if r.Gamma == nil {
		return v
	}
	gamma, variance := r.Gamma.make(), r.Var.make()
	var mean, bias []float32
	if r.Mean != nil {
		mean = r.Mean.make()
	}
	if r.Bias != nil {
		bias = r.Bias.make()
	}
	per := len(v) / len(gamma)
	for i := range v {
		c := i / per
		factor := float64(gamma[c]) / math.Sqrt(float64(variance[c])+r.Eps)
		switch {
		case mean == nil:
			v[i] = float32(float64(v[i]) * factor)
		case bias == nil:
			v[i] = float32(float64(v[i]) - float64(mean[c])*factor)
		default:
			v[i] = float32(float64(v[i]) + (float64(bias[c])-float64(mean[c]))*factor)
		}
	}
	return v
}
