//go:build cuda && cgo

package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"f2pad.example/cgo/fakecuda"
	"f2pad.example/engine/bench"
	"f2pad.example/kernels/emu"

	"github.com/stretchr/testify/require"
)

// withFake runs the program with a fake driver that has one GPU; env says what is wrong with it.
func withFake(t *testing.T, env []string, args ...string) outcome {
	t.Helper()
	lib, err := fakecuda.Build()
	if errors.Is(err, emu.ErrNoCompiler) {
		t.Skip("SKIPPED: the program is not tested with a GPU: there is no g++ to compile the fake driver")
	}
	require.NoError(t, err)
	cmd := command(args...)
	cmd.Env = append(append(cmd.Env, "F2PAD_LIBCUDA="+lib, "XDG_CACHE_HOME="+t.TempDir()), env...)
	return finish(t, cmd)
}

// lastOf is the last message.
func lastOf(t *testing.T, out string) map[string]any {
	all := messages(t, out)
	return all[len(all)-1]
}

func TestCUDADevices(t *testing.T) {
	cmd := command("devices")
	cmd.Env = append(cmd.Env, "F2PAD_LIBCUDA=/nowhere/libcuda.so.1")
	r := finish(t, cmd)
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^cpu +\w+, \d+ cores$`, r.out)
	require.Regexp(t, `(?m)^cuda +none: .*/nowhere/libcuda.so.1`, r.out)

	r = withFake(t, nil, "devices")
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^cuda:0 +Fake H200 .*compute capability 9.0, 132 SMs, .* free of `, r.out)
	require.Regexp(t, `(?m)^driver +12\.4 `, r.out)

	all := messages(t, withFake(t, []string{"F2PAD_FAKE_DEVICES=2"}, "devices", "--json").out)
	require.Len(t, all[0]["cuda"].(map[string]any)["devices"], 2)
}

func TestCUDAThatIsNotThere(t *testing.T) {
	setup(t)
	image := filepath.Join(data(), "test", "good", "000.png")
	score := func(device string) outcome {
		cmd := command("score", "--device", device, "--model", model(), "--out", t.TempDir(), image)
		cmd.Env = append(cmd.Env, "F2PAD_LIBCUDA=/nowhere/libcuda.so.1")
		return finish(t, cmd)
	}
	r := score("cuda:0")
	require.Equal(t, exitFailure, r.code)
	require.Regexp(t, `f2pad: --device cuda:0: .*/nowhere/libcuda.so.1`, r.err)
	r = score("auto")
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^device: cpu \(.*/nowhere/libcuda.so.1`, r.err)
	r = score("cpu")
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^device: cpu$`, r.err)
}

func TestCUDAScoresWhatTheCPUScores(t *testing.T) {
	setup(t)
	args := func(device string) []string {
		return []string{
			"score", "--json", "--device", device, "--model", model(), "--out", t.TempDir(), "--refine", "f2pad",
			filepath.Join(data(), "test"),
		}
	}
	r := f2pad(t, args("cpu")...)
	require.Equal(t, exitOK, r.code, r.out)
	want := scores(t, r.out)
	r = withFake(t, nil, args("cuda:0")...)
	require.Equal(t, exitOK, r.code, r.out)
	require.NotContains(t, types(messages(t, r.out)), "warning")
	got := scores(t, r.out)
	require.Len(t, got, len(want))
	for image, w := range want {
		require.Equal(t, "cpu", w["device"])
		require.Equal(t, "cuda:0", got[image]["device"])
		require.InEpsilon(t, w["image_score"], got[image]["image_score"], 1e-4)
		require.Equal(t, w["refined"], got[image]["refined"])
	}

	// A GPU that dies on the way: the CPU takes over the rest and says so, or the run ends.
	dies := []string{"F2PAD_FAKE_LOST=40:719"}
	r = withFake(t, dies, args("auto")...)
	require.Equal(t, exitOK, r.code, r.out)
	require.Contains(t, r.out, "the CPU takes over the remaining images")
	require.Len(t, scores(t, r.out), len(want))
	r = withFake(t, dies, args("cuda:0")...)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.out, "device lost")
}

// Two GPUs give what one gives, byte by byte and in the same order, also where one of them is lost on the way.
func TestCUDASeveral(t *testing.T) {
	setup(t)
	two := []string{"F2PAD_FAKE_DEVICES=2"}
	var images []string
	for _, class := range []string{"good", "hole"} {
		all, err := filepath.Glob(filepath.Join(data(), "test", class, "*.png"))
		require.NoError(t, err)
		images = append(images, all[:min(2, len(all))]...)
	}
	score := func(env []string, device string) (outcome, string) {
		out := t.TempDir()
		args := []string{"score", "--json", "--device", device, "--model", model(), "--out", out, "--maps", "--batch", "2"}
		return withFake(t, append(two, env...), append(args, images...)...), out
	}
	found := func(dir string) (all []map[string]any) {
		for _, l := range lines(t, dir) {
			l["map"] = content(t, dir, l["map"].(string))
			delete(l, "seconds")
			delete(l, "device")
			all = append(all, l)
		}
		return all
	}
	r, one := score(nil, "cuda:1")
	require.Equal(t, exitOK, r.code, r.out)
	n := float64(len(images))
	require.Equal(t, map[string]any{"cuda:1": n}, lastOf(t, r.out)["devices"])
	want := found(one)
	require.Len(t, want, len(images))

	r, both := score(nil, "cuda:0,cuda:1")
	require.Equal(t, exitOK, r.code, r.out)
	require.Equal(t, want, found(both))
	all := messages(t, r.out)
	require.NotContains(t, types(all), "warning")
	require.Contains(t, r.out, `{"message_type":"device","device":"cuda:0+cuda:1","name":"Fake H200 (no GPU)"`)
	require.Len(t, lastOf(t, r.out)["devices"], 2, "each has some")

	r, lost := score([]string{"F2PAD_FAKE_LOST=-1:0,8:719"}, "auto")
	require.Equal(t, exitOK, r.code, r.out)
	require.Equal(t, want, found(lost))
	require.Contains(t, r.out, "cuda:1: cuda:0 takes over its images: ")
	require.Equal(t, map[string]any{"cuda:0": n}, lastOf(t, r.out)["devices"])

	r, _ = score(nil, "cuda:0,cuda:2")
	require.Equal(t, exitUsage, r.code, r.out)
	require.Contains(t, r.out, "--device cuda:0,cuda:2: there is no cuda:2: there are cuda:0 to cuda:1")
	r, _ = score([]string{"F2PAD_FAKE_FAIL=cuDevicePrimaryCtxRetain:2:46"}, "cuda")
	require.Equal(t, exitFailure, r.code, r.out)
	require.Contains(t, r.out, "--device cuda: gpu: device 1 ")
}

// auto takes GPUs of one kind, cuda all that the kernels are made for; what somebody else has is left out by auto.
func TestCUDAChoosesGPUs(t *testing.T) {
	setup(t)
	image := filepath.Join(data(), "test", "good", "000.png")
	kinds := []string{"F2PAD_FAKE_DEVICES=4", "F2PAD_FAKE_CAPABILITY=7.5,9.0,8.6,9.0"}
	r := withFake(t, kinds, "devices", "--json")
	require.Equal(t, []any{"cuda:1", "cuda:3"}, messages(t, r.out)[0]["auto"])
	require.Regexp(t, `(?m)^auto +cuda:1, cuda:3$`, withFake(t, kinds, "devices").out)
	require.Regexp(t, `(?m)^auto +cpu$`, withFake(t, []string{"F2PAD_FAKE_CAPABILITY=7.5"}, "devices").out)
	for device, want := range map[string]string{"auto": "cuda:1+cuda:3", "cuda": "cuda:1+cuda:2+cuda:3", "cuda:3,cuda:2": "cuda:3+cuda:2"} {
		r := withFake(t, kinds, "score", "--device", device, "--model", model(), "--out", t.TempDir(), image)
		require.Equal(t, exitOK, r.code, r.err)
		require.Regexp(t, `(?m)^device: `+regexp.QuoteMeta(want)+`, Fake H200`, r.err)
	}
	r = withFake(t, append(kinds, "F2PAD_FAKE_FAIL=cuDevicePrimaryCtxRetain:1:46"), "score", "--model", model(), "--out", t.TempDir(), image)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.err, "a GPU is left out: gpu: device 1 ")
	require.Regexp(t, `(?m)^device: cuda:3, `, r.err)
}

// The network is the GPU's, too, and in what is written; its precision can be chosen.
func TestCUDANetwork(t *testing.T) {
	setup(t)
	image := filepath.Join(data(), "test", "good", "000.png")
	args := func(flags ...string) []string {
		return append([]string{"score", "--json", "--model", model(), "--out", t.TempDir(), image}, flags...)
	}
	for _, precision := range []string{"float32", "float16"} {
		r := withFake(t, nil, args("--precision", precision)...)
		require.Equal(t, exitOK, r.code, r.out)
		said := 0
		for _, m := range messages(t, r.out) {
			if m["message_type"] == "executor" {
				said++
				require.Equal(t, []any{"cuda", "cuda:0", precision}, []any{m["executor"], m["device"], m["precision"]})
			}
		}
		require.Equal(t, 1, said)
	}
	// What was asked for is there, or nothing is.
	cmd := command(args("--precision", "float16")...)
	cmd.Env = append(cmd.Env, "F2PAD_LIBCUDA=/nowhere/libcuda.so.1")
	r := finish(t, cmd)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.out, "/nowhere/libcuda.so.1")
	// What networks run on beside the CPU's work leaves the GPU alone.
	r = withFake(t, nil, args("--executor", "go")...)
	require.Equal(t, exitOK, r.code, r.out)
	require.NotContains(t, r.out, "cuda")
}

func TestCUDAFitAndEval(t *testing.T) {
	if os.Getenv("F2PAD_LONG") == "" {
		t.Skip("SKIPPED: the emulation takes long for it: see make test-gpu-long")
	}
	setup(t)
	file := filepath.Join(t.TempDir(), "bank")
	r := withFake(t, nil, "fit", "--json", "--device", "cuda:0", "--data", data(), "--method", "patchcore", "--size", "32", "--out", file)
	require.Equal(t, exitOK, r.code, r.out)
	require.NotContains(t, types(messages(t, r.out)), "warning")
	require.Contains(t, f2pad(t, "inspect", file).out, "method and calibration on cuda:0")
	r = withFake(t, nil, "eval", "--json", "--device", "cuda:0", "--data", data(), "--model", file, "--limit", "1")
	require.Equal(t, exitOK, r.code, r.out)
	all := messages(t, r.out)
	require.Equal(t, "cuda:0", all[len(all)-1]["device"].(map[string]any)["device"])
	require.NotContains(t, strings.Join(types(all), " "), "warning")
}

// CPU and GPU side by side, in turn, with what goes over the bus.
func TestCUDABench(t *testing.T) {
	setup(t)
	out := filepath.Join(t.TempDir(), "b.json")
	args := []string{
		"bench", "--device", "cpu,cuda:0", "--model", model(), "--data", filepath.Join(data(), "test"), "--count", "2", "--refine", "none",
		"--batch", "2", "--seconds", "0.01", "--cold", "1", "--out", out,
	}
	r := withFake(t, nil, args...)
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^cuda:0 +Fake H200 .*, driver 12.4; unknown before; unknown after$`, r.out)
	require.Regexp(t, `(?m)^offline/device=cuda:0/map=base/batch=2( +\d\S*){6}$`, r.out)
	require.Regexp(t, `offline/device=cuda:0/map=base/batch=2: image scores (differ by \S+ at most from|are) those on cpu; maps differ by \S+ \(RMS\), masks in \S+ of the pixels \(Dice [01]\.\d{4}\)\.`, r.out)
	report, err := bench.Read(out)
	require.NoError(t, err)
	require.Len(t, report.Rows, 4)
	for i, row := range report.Rows {
		if i%2 == 0 {
			require.Equal(t, "cpu", row.Device)
			require.Nil(t, row.Bus)
			require.Nil(t, row.Against)
			continue
		}
		require.Equal(t, "cuda:0", row.Device)
		require.Equal(t, "cpu", row.Against.Device)
		require.Positive(t, row.Against.Ratio.Median)
		require.Less(t, *row.Apart, 1e-4)
		require.Less(t, *row.MasksApart, 1e-3)
		require.Greater(t, *row.MasksDice, 0.99)
		require.Greater(t, row.Bus.Launches, 0.9)
		require.Greater(t, row.Bus.Downloaded, 4.*64*64-1, "a map at least")
		require.Positive(t, row.Bus.Uploaded)
		require.Positive(t, row.Bus.Enqueue)
		require.Positive(t, row.Bus.Wait)
		require.Positive(t, row.Bus.Busy)
	}
	require.Len(t, report.Cold, 2)
	require.Empty(t, report.Cold[1].Error)

	// Two together are a row of their own beside one of them.
	args[2], args[len(args)-3] = "cuda:0,cuda:0+cuda:1,cuda", "0"
	r = withFake(t, []string{"F2PAD_FAKE_DEVICES=2"}, append(args, "--scenario", "offline", "--batch", "1")...)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.err, "--device cuda is cuda:0+cuda:1, which is measured already")
	require.Regexp(t, `(?m)^cuda:1 +Fake H200 .*, driver 12.4; `, r.out)
	require.Regexp(t, `offline/device=cuda:0\+cuda:1/map=base/batch=1: of the images, cuda:0 \d+ %, cuda:1 \d+ %\.`, r.out)
	require.Regexp(t, `offline/device=cuda:0\+cuda:1/map=base/batch=1: image scores are those on cuda:0; `, r.out)
	report, err = bench.Read(out)
	require.NoError(t, err)
	require.Equal(t, "cuda:0+cuda:1", report.Devices[1].Device)
	require.Len(t, report.Rows, 2)
	require.Len(t, report.Rows[1].Shares, 2)
	require.Positive(t, report.Rows[1].Bus.Launches)
	args[2] = "cpu,cuda:0"

	// A GPU that is lost on the way: its rows fail, those of the CPU that were not measured beside it stay.
	r = withFake(t, []string{"F2PAD_FAKE_LOST=7:719"}, append(args, "--cold", "0")...)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.out, "FAILED: ")
	require.Contains(t, r.err, "could not be measured")
	require.NotContains(t, r.err, "takes over")

	cmd := command("bench", "--device", "cpu,cuda:0", "--method", "padim")
	cmd.Env = append(cmd.Env, "F2PAD_LIBCUDA=/nowhere/libcuda.so.1")
	r = finish(t, cmd)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "f2pad: --device cuda:0: ")
	require.NotContains(t, r.err, "calibration", "it is known before a model is fitted")
}
