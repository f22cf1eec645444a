//go:build cuda && cgo

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"f2pad.example/cgo/fakecuda"
	"f2pad.example/kernels"
	"f2pad.example/kernels/kerneltest"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(fakecuda.Main(m)) }

// copies is a case of so many launches that does some work.
func copies(name, peer string, launches int) kerneltest.Bench {
	return kerneltest.Bench{Kernel: name, Size: "16 KiB", Peer: peer, Params: map[string]int{"n": launches},
		Setup: func(b *kerneltest.Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			k := kernels.CeilingCopy{N: 4096}
			var err error
			if k.In, err = b.Normal(k.N, 0, 1); err != nil {
				return nil, kernels.Cost{}, err
			}
			if k.Out, err = b.Alloc(k.N); err != nil {
				return nil, kernels.Cost{}, err
			}
			return func(q kernels.Queue) error {
				for range launches {
					if err := k.Enqueue(q); err != nil {
						return err
					}
				}
				return nil
			}, k.Cost(), nil
		}}
}

// failing is a case whose work is as wrong as work says.
func failing(name string, work func(b *kerneltest.Bed, p kernels.Ptr) error) kerneltest.Bench {
	return kerneltest.Bench{Kernel: name, Size: "x",
		Setup: func(b *kerneltest.Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			p, err := b.Alloc(64)
			return func(kernels.Queue) error { return work(b, p) }, kernels.Cost{Bytes: 1}, err
		}}
}

var all = []kerneltest.Bench{
	copies("good", "good", 1),
	copies("many", "refuse", 3),
	failing("idle", func(*kerneltest.Bed, kernels.Ptr) error { return nil }),
	failing("broken", func(*kerneltest.Bed, kernels.Ptr) error { return errors.New("boom") }),
	failing("huge", func(b *kerneltest.Bed, _ kernels.Ptr) error { _, err := b.Alloc(1 << 40); return err }),
	copies("dying", "die", 1),
	copies("after", "good", 1),
}

func measured(t *testing.T, o options, cases []kerneltest.Bench) (string, error) {
	t.Helper()
	if o.run == nil {
		o.run = regexp.MustCompile("")
	}
	var out bytes.Buffer
	err := measure(o, cases, &out)
	return out.String(), err
}

// One case's fate does not change another's, the peer's end does not end the benchmark, and no line can be taken for a GPU's.
func TestBench(t *testing.T) {
	fakecuda.Open(t)
	interpreter, script := python(t)
	t.Setenv("STUB_DEVICE", "Fake H200 (no GPU)")
	text, err := measured(t, options{python: interpreter, script: script}, all)
	require.ErrorContains(t, err, "2 failed: idle x; broken x")
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		require.Contains(t, line, "NOT A GPU")
	}
	for _, want := range []string{
		"against float64: good1; refuse3; die1; good1; matmul_bf168192; ", "FAILED: idle x: the kernel wrote nothing", "FAILED: broken x: boom",
		"OUT OF MEMORY, left out: huge x: ", "peer: many 16 KiB: no", "peer: dying 16 KiB: the peer is gone",
	} {
		require.Contains(t, text, want)
	}
	for _, probe := range []string{
		"memory +cuMemcpy", "bf16 +mma.sync bf16", "f16 +mma.sync f16", "tf32 +mma.sync tf32", "fp32 +fma", "both ways +pinned memory",
	} {
		require.Regexp(t, probe, text)
	}
	at := strings.LastIndex(text, "kernel  size")
	require.Positive(t, at)
	rows := strings.Split(strings.TrimSpace(text[at:]), "\n")[1:]
	require.Len(t, rows, len(all))
	for i, row := range rows {
		require.Contains(t, row, "NOT A GPU: "+all[i].Kernel)
		require.Equal(t, i == 0, strings.Contains(row, " 4.00 "), "the best of the peer: %s", row)
	}
}

func TestBenchWithoutPeer(t *testing.T) {
	fakecuda.Open(t)
	text, err := measured(t, options{}, all[:1])
	require.NoError(t, err)
	require.NotContains(t, text, "NO PEER")
	text, err = measured(t, options{python: "no-such-python"}, all[:1])
	require.NoError(t, err)
	require.Contains(t, text, "NO PEER: nothing is compared with PyTorch: no no-such-python")
	interpreter, script := python(t)
	t.Setenv("STUB_DEVICE", "another")
	text, err = measured(t, options{python: interpreter, script: script}, all[:1])
	require.NoError(t, err)
	require.Contains(t, text, `NO PEER: nothing is compared with PyTorch: it runs on another device, "another"`)
}

// Times of a fake make no page that could be taken for a GPU's, and their figures say what they are.
func TestBenchRefuses(t *testing.T) {
	fakecuda.Open(t)
	page := filepath.Join(t.TempDir(), "x")
	_, err := measured(t, options{markdown: page}, all[:1])
	require.ErrorContains(t, err, "mean nothing")
	require.NoFileExists(t, page)
	text, err := measured(t, options{run: regexp.MustCompile("^nothing$")}, all[:2])
	require.ErrorContains(t, err, "finds none")
	require.Contains(t, text, "good 16 KiB\nmany 16 KiB\n")
	_, err = measured(t, options{device: 7}, all[:1])
	require.ErrorContains(t, err, "no device 7")
}

// A lost device loses what comes after it, and nothing that came before.
func TestBenchOnALostDevice(t *testing.T) {
	f := fakecuda.Open(t)
	lose := failing("losing", func(*kerneltest.Bed, kernels.Ptr) error { f.Lose(0, 700); return nil })
	lose.Setup = func(b *kerneltest.Bed) (func(kernels.Queue) error, kernels.Cost, error) {
		work, cost, err := all[0].Setup(b)
		f.Lose(0, 700)
		return work, cost, err
	}
	text, err := measured(t, options{}, []kerneltest.Bench{all[0], lose, all[6]})
	require.ErrorContains(t, err, "2 failed: losing x; after 16 KiB")
	require.Contains(t, text, "CUDA_ERROR_ILLEGAL_ADDRESS")
	require.Contains(t, text[strings.LastIndex(text, "kernel "):], "good")
}

// saved is what is in a JSON file.
func saved(t *testing.T, file string) (r report) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &r))
	return r
}

// Figures are in the file as soon as they are known, and it says whether there is more to come.
func TestBenchSavesCaseByCase(t *testing.T) {
	fakecuda.Open(t)
	file := filepath.Join(t.TempDir(), "x.json")
	var during report
	last := failing("last", func(*kerneltest.Bed, kernels.Ptr) error {
		during = saved(t, file)
		return errors.New("boom")
	})
	_, err := measured(t, options{json: file}, []kerneltest.Bench{all[0], last})
	require.ErrorContains(t, err, "1 failed: last x")
	require.True(t, during.NotAGPU)
	require.False(t, during.Complete)
	require.NotEmpty(t, during.Probes)
	require.Len(t, during.Cases, 1)
	require.Equal(t, "good", during.Cases[0].Kernel)
	after := saved(t, file)
	require.True(t, after.NotAGPU)
	require.True(t, after.Complete)
	require.Len(t, after.Cases, 2)
	require.Equal(t, "boom", after.Cases[1].Error)
}

// What there is no time for is said, and is no failure.
func TestBenchLeavesOutWhatIsTooLate(t *testing.T) {
	fakecuda.Open(t)
	file := filepath.Join(t.TempDir(), "x.json")
	text, err := measured(t, options{json: file, limit: 1}, all[:1])
	require.NoError(t, err)
	require.Contains(t, text, "OUT OF TIME, left out: good 16 KiB")
	require.Regexp(t, `good +16 KiB +out of time`, text)
	r := saved(t, file)
	require.True(t, r.Complete)
	require.True(t, r.Cases[0].OutOfTime)
	require.Positive(t, r.Ceilings[memory], "without which no time means much")
}

// -open measures nothing, and tells of every kernel.
func TestOpen(t *testing.T) {
	fakecuda.Open(t)
	file := filepath.Join(t.TempDir(), "x.json")
	text, err := measured(t, options{json: file, open: true}, all)
	require.NoError(t, err)
	require.Regexp(t, `NOT A GPU: knn +knn_topk +\d+ +0 +0 +256 +\d+\n`, text)
	r := saved(t, file)
	require.True(t, r.Complete)
	require.Empty(t, r.Cases)
	modules := map[string]bool{}
	for _, k := range r.Kernels {
		modules[k.Module] = true
	}
	require.Len(t, modules, len(kernels.Modules()))
}

// The ceilings of an earlier run are taken from its file, where that is of this card and has any.
func TestBenchTakesCeilings(t *testing.T) {
	fakecuda.Open(t)
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.json"), filepath.Join(dir, "second.json")
	text, err := measured(t, options{json: first, probe: true}, all)
	require.NoError(t, err)
	require.NotContains(t, text, "good")
	was := saved(t, first)
	require.True(t, was.Complete)
	require.Empty(t, was.Cases)
	for _, unit := range []string{memory, fp32, bf16, f16, tf32, up, down, both} {
		require.Positive(t, was.Ceilings[unit], unit)
	}
	_, err = measured(t, options{json: second, ceilings: first}, all[:1])
	require.NoError(t, err)
	now := saved(t, second)
	require.Equal(t, "first.json", now.Probed)
	require.Equal(t, was.Ceilings, now.Ceilings)
	require.Equal(t, was.Probes, now.Probes)
	require.Equal(t, was.Overhead, now.Overhead)
	require.Positive(t, now.Cases[0].Floor)

	put(t, dir, "none.json", report{Device: was.Device})
	put(t, dir, "broken.json", "{")
	was.Device.UUID = "GPU-of-another"
	put(t, dir, "other.json", was)
	for name, why := range map[string]string{"other.json": "another card", "none.json": "has no ceilings", "broken.json": "broken.json: ", "gone.json": "gone.json"} {
		text, err := measured(t, options{json: second, ceilings: filepath.Join(dir, name)}, all[:1])
		require.NoError(t, err)
		require.Regexp(t, "the ceilings are measured again: .*"+why, text)
		now := saved(t, second)
		require.Empty(t, now.Probed)
		require.Positive(t, now.Ceilings[memory])
	}
}

// What is wrong is not measured, and layers are, at small sizes, on a fake driver.
func TestBenchChecks(t *testing.T) {
	fakecuda.Open(t)
	wrong := copies("wrong", "", 1)
	setup := wrong.Setup
	wrong.Setup = func(b *kerneltest.Bed) (func(kernels.Queue) error, kernels.Cost, error) {
		b.Check = func() error { return errors.New("value 3 is off") }
		return setup(b)
	}
	file := filepath.Join(t.TempDir(), "x.json")
	o := options{json: file, run: regexp.MustCompile("^wrong |^conv resnet18 layer2, first: .* gradient,"), skip: regexp.MustCompile("float32$")}
	text, err := measured(t, o, append(kerneltest.Benches(), wrong))
	require.ErrorContains(t, err, "1 failed: wrong 16 KiB")
	require.Contains(t, text, "FAILED: wrong 16 KiB: value 3 is off")
	r := saved(t, file)
	require.Len(t, r.Cases, 2)
	require.Equal(t, 4, r.Cases[0].Launches, "a phase each of stride 2")
	require.Equal(t, f16, r.Cases[0].FloorUnit)
	require.NotNil(t, r.Cases[0].Graph)
}
