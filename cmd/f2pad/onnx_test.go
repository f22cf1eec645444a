package main

import (
	"os"
	"path/filepath"
	"testing"

	"f2pad.example/cgo/ort"
	"f2pad.example/engine/backbone/backbonetest"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// A network in an ONNX file goes through every verb.
func TestONNXBackbone(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	net := backbonetest.Write(t, "net.onnx", backbonetest.Residual(t, 64, 64, 1))

	r := f2pad(t, "inspect", net)
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^ *layer2 .*8x8`, r.out)
	all := messages(t, f2pad(t, "inspect", net, "--json").out)
	require.Equal(t, []string{"network"}, types(all))
	require.NotEmpty(t, all[0]["layers"])

	file := filepath.Join(dir, "deep")
	r = f2pad(t, "fit", "--data", data(), "--method", "patchcore", "--size", "64", "--backbone", net, "--layers", "layer1,layer2",
		"--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2", "--channels", "bgr", "--out", file, "--json")
	require.Equal(t, exitOK, r.code, r.out)
	all = messages(t, r.out)
	require.Equal(t, []string{"executor", "device", "model"}, types(all))
	require.Equal(t, "go", all[0]["executor"])
	require.Contains(t, all[0]["reason"], noORT)
	model := all[len(all)-1]
	require.Equal(t, "net.onnx", model["info"].(map[string]any)["backbone"])
	described := model["backbone"].(map[string]any)
	require.Equal(t, []any{"layer1", "layer2"}, described["layers"])
	require.Equal(t, map[string]any{"mean": []any{0.5, 0.5, 0.5}, "std": []any{0.2, 0.2, 0.2}, "range": 1.0, "bgr": true}, described["preprocess"])

	score := func(args ...string) outcome {
		args = append([]string{"score", "--model", file, "--out", filepath.Join(t.TempDir(), "out"), "--masks"}, args...)
		return f2pad(t, append(args, filepath.Join(data(), "test", "good"))...)
	}
	r = score()
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.err, "network: go ")
	require.Equal(t, exitOK, f2pad(t, "eval", "--data", data(), "--model", file, "--limit", "1").code)

	moved := filepath.Join(dir, "moved.onnx")
	require.NoError(t, os.Rename(net, moved))
	r = score()
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, net)
	require.Contains(t, r.err, "--backbone")
	require.Equal(t, exitOK, score("--backbone", moved).code)
	require.Equal(t, exitOK, f2pad(t, "inspect", file).code, "a model can be looked at without its network")
	other := backbonetest.Write(t, "net.onnx", backbonetest.Residual(t, 64, 64, 2))
	r = score("--backbone", other)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "not the network that the model was fitted with")
}

// So does one that takes images of one channel.
func TestONNXBackboneOfOneChannel(t *testing.T) {
	setup(t)
	net, file := backbonetest.Write(t, "grey.onnx", backbonetest.Stem(t, 64, 64, 1, true)), filepath.Join(t.TempDir(), "m")
	r := f2pad(t, "inspect", net)
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^input +image anyx1x64x64$`, r.out)
	fit := []string{"fit", "--data", data(), "--method", "padim", "--size", "64", "--backbone", net, "--layers", "layer1", "--out", file, "--json"}
	r = f2pad(t, append(fit, "--mean", "0.5", "--std", "0.2")...)
	require.Equal(t, exitOK, r.code, r.out)
	all := messages(t, r.out)
	described := all[len(all)-1]["backbone"].(map[string]any)
	require.Equal(t, map[string]any{"mean": []any{0.5, 0.5, 0.5}, "std": []any{0.2, 0.2, 0.2}, "range": 1.0, "bgr": false}, described["preprocess"])
	r = f2pad(t, "score", "--model", file, "--out", t.TempDir(), "--masks", filepath.Join(data(), "test", "hole"))
	require.Equal(t, exitOK, r.code, r.err)
	r = f2pad(t, append(fit, "--channels", "bgr")...)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.out, "one channel, which has no order")
}

// What was asked for by name has to be there; auto goes on without it, and says so.
func TestExecutorThatIsNotThere(t *testing.T) {
	setup(t)
	score := func(args ...string) outcome {
		args = append([]string{"score", "--model", model(), "--out", t.TempDir()}, args...)
		return f2pad(t, append(args, filepath.Join(data(), "test", "good", "000.png"))...)
	}
	r := score("--executor", "ort")
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, noORT)
	r = score("--ort-lib", "/elsewhere/libonnxruntime.so")
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "/elsewhere/libonnxruntime.so")
	r = score("--executor", "auto")
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^network: go .*`+noORT, r.err)
	r = score("--executor", "go")
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^network: go [^(]*$`, r.err)
	r = f2pad(t, "devices")
	require.Equal(t, exitOK, r.code)
	require.Regexp(t, `(?m)^ort +none: .*`+noORT, r.out)
}

// withORT runs the program with the ONNX Runtime of this machine.
func withORT(t *testing.T, args ...string) outcome {
	t.Helper()
	s := ort.Look("")
	if !s.Loaded {
		t.Skip("SKIPPED: the program is not tested with ONNX Runtime: " + s.Reason)
	}
	cmd := command(args...)
	cmd.Env = append(cmd.Env, ort.Environment+"="+s.Library)
	return finish(t, cmd)
}

// What two executors may differ by: float32 rounding in scores, and pixels that it moves over a threshold.
var executorTolerance = compare.Tolerance{Rel: 1e-4}

const maskShare = 0.001

func TestORTScoresWhatGoScores(t *testing.T) {
	setup(t)
	r := withORT(t, "devices")
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^ort +ONNX Runtime \d+\.\d+`, r.out)

	net := backbonetest.Write(t, "net.onnx", backbonetest.Residual(t, 64, 64, 1))
	file := filepath.Join(t.TempDir(), "deep")
	r = f2pad(t, "fit", "--data", data(), "--method", "padim", "--size", "64", "--backbone", net, "--layers", "layer1,layer2", "--out", file)
	require.Equal(t, exitOK, r.code, r.err)
	dir := t.TempDir()
	args := func(executor, refine string) []string {
		return []string{
			"score", "--json", "--executor", executor, "--model", file, "--out", filepath.Join(dir, executor+refine),
			"--refine", refine, "--maps", "--masks", filepath.Join(data(), "test"),
		}
	}
	for _, refine := range []string{"none", "f2pad"} {
		r = f2pad(t, args("go", refine)...)
		require.Equal(t, exitOK, r.code, r.out)
		want := scores(t, r.out)
		r = withORT(t, args("ort", refine)...)
		require.Equal(t, exitOK, r.code, r.out)
		require.Equal(t, "ort", messages(t, r.out)[0]["executor"])
		got := scores(t, r.out)
		require.Len(t, got, len(want))
		differ, pixels, marked := 0, 0, 0
		for image, w := range want {
			g := got[image]
			require.InEpsilon(t, w["image_score"], g["image_score"], executorTolerance.Rel)
			require.Equal(t, w["refined"], g["refined"])
			open := func(executor, kind string, read func(string) (*tensor.Dense, error)) []float32 {
				m, err := read(filepath.Join(dir, executor+refine, w[kind].(string)))
				require.NoError(t, err)
				return nd.Data(m)
			}
			if refine == "none" {
				compare.Require(t, image, open("ort", "map", imageio.ReadMap), open("go", "map", imageio.ReadMap), executorTolerance)
				continue
			}
			mask := func(path string) (*tensor.Dense, error) { return imageio.ReadMask(path, imageio.Limits{}) }
			theirs := open("ort", "mask", mask)
			for i, v := range open("go", "mask", mask) {
				pixels++
				if v != 0 {
					marked++
				}
				if v != theirs[i] {
					differ++
				}
			}
		}
		if refine == "f2pad" {
			require.Positive(t, marked)
			require.LessOrEqual(t, float64(differ), maskShare*float64(pixels))
		}
	}
	r = withORT(t, args("auto", "none")...)
	require.Equal(t, exitOK, r.code, r.out)
	require.Equal(t, "ort+go", messages(t, r.out)[0]["executor"])
	r = withORT(t, append(args("ort", "none"), "--force", "--ort-provider", "cuda")...)
	require.Equal(t, exitFailure, r.code, "this library has no CUDA")
}
