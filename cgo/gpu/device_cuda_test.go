//go:build cuda && cgo

package gpu

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"f2pad.example/engine/device"
	"f2pad.example/kernels"
	"f2pad.example/kernels/kerneltest"

	"github.com/stretchr/testify/require"
)

// Every kernel passes its suite on the device, each in memory that is poisoned and guarded.
func TestKernels(t *testing.T) {
	kerneltest.All(t, func(t *testing.T) kernels.Machine {
		d := open(t, Options{Debug: true})
		if real {
			return d
		}
		return ordered{d}
	}, seed)
}

// ordered is the fake driver's device, which runs threads in ascending order unless it is given a seed: package kernels tries others.
type ordered struct{ *Device }

func (ordered) Once() {}

func TestDevices(t *testing.T) {
	all, err := Devices()
	require.NoError(t, err)
	require.NotEmpty(t, all)
	d := open(t, Options{})
	i, err := d.Info()
	require.NoError(t, err)
	t.Logf("%+v", i)
	require.Positive(t, i.MemoryFree)
	require.LessOrEqual(t, i.MemoryFree, i.MemoryTotal)
	free := i.MemoryFree
	i.MemoryFree = 0
	require.Equal(t, all[0], i)
	require.NotEmpty(t, i.Name)
	require.Regexp(t, "^GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", i.UUID)
	require.GreaterOrEqual(t, i.Major, MinMajor)
	require.Positive(t, i.SMs)
	require.Positive(t, i.L2)
	require.GreaterOrEqual(t, i.Driver, 11000)
	require.GreaterOrEqual(t, i.SharedDefault, 48<<10)
	require.GreaterOrEqual(t, i.SharedMax, kernels.MaxShared)
	require.GreaterOrEqual(t, i.SharedPerSM, i.SharedMax)
	require.InEpsilon(t, 0.9*float64(free), float64(d.Stats().Ceiling), 0.1)

	text, err := json.Marshal(i)
	require.NoError(t, err)
	var back Info
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, i, back)

	for _, ordinal := range []int{-1, len(all)} {
		_, err := Open(ordinal, Options{})
		require.ErrorContains(t, err, "no device")
	}
	_, err = Open(0, Options{Memory: -1})
	require.ErrorContains(t, err, "memory ceiling")
}

// Every kernel of every module is listed, with what the driver gives it.
func TestKernelsAreListed(t *testing.T) {
	d := open(t, Options{})
	all, err := d.Kernels()
	require.NoError(t, err)
	count := map[string]int{}
	for _, k := range all {
		t.Logf("%+v", k)
		count[k.Module]++
		require.Positive(t, k.Registers, k.Kernel)
		require.LessOrEqual(t, k.Registers*k.MaxThreads, 65536, k.Kernel)
		require.Positive(t, k.Blocks, k.Kernel)
	}
	for _, m := range kernels.Modules() {
		ptx, err := kernels.PTX(m)
		require.NoError(t, err)
		declared, err := entries(ptx)
		require.NoError(t, err)
		require.Equal(t, len(declared), count[m], m)
	}
}

func TestMemory(t *testing.T) {
	d := open(t, Options{Memory: 64 << 20})
	var all []kernels.Ptr
	for _, n := range []int{1, 255, 256, 257, 100000, 10 << 20} {
		p := alloc(t, d, n)
		require.Zero(t, p%256, "alignment")
		all = append(all, p)
	}
	s := d.Stats()
	require.Equal(t, 6, s.Buffers)
	require.Equal(t, int64(64<<20), s.Ceiling)
	require.Zero(t, s.Cached)

	_, err := d.Alloc(60 << 20)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.ErrorContains(t, err, "alloc of 60.00 MiB")
	require.ErrorContains(t, err, "in use by 6 buffers, ceiling 64.00 MiB")
	free(t, d, all...)
	require.Equal(t, s.InUse, d.Stats().Cached)
	require.Equal(t, s.InUse, d.Stats().Peak)
	p := alloc(t, d, 60<<20)
	require.Zero(t, d.Stats().Cached, "what was kept made room")
	free(t, d, p)
	require.Equal(t, p, alloc(t, d, 60<<20), "a buffer of the same size is used again")

	free(t, d, p)
	require.ErrorContains(t, d.Free(p), "freed before")
	require.ErrorContains(t, d.Free(p+256), "none of this device's buffers")
	require.NoError(t, d.Trim())
	require.Zero(t, d.Stats().Cached)
	require.ErrorContains(t, d.Free(p), "none of this device's buffers")
	for _, n := range []int{0, -1} {
		_, err := d.Alloc(n)
		require.Error(t, err)
	}
}

func TestLeaksAreListed(t *testing.T) {
	d, err := Open(0, Options{Debug: true, NoCache: true})
	require.NoError(t, err)
	for range 2 {
		alloc(t, d, 3000)
	}
	_, err = d.AllocPinned(1000)
	require.NoError(t, err)
	err = d.Close()
	require.ErrorContains(t, err, "2 buffers (5.86 KiB) were never freed: 2 of 2.93 KiB from main_cuda_test.go:")
	require.ErrorContains(t, err, "1 pinned host buffers (1000 bytes) were never freed")
	require.NoError(t, d.Close(), "closing again does nothing")
}

func TestDebugFindsWhatIsWrittenBeside(t *testing.T) {
	d := open(t, Options{Debug: true})
	in, out := alloc(t, d, 4), alloc(t, d, spreadBytes-8)
	fresh := make([]byte, 4)
	require.NoError(t, d.Read(fresh, in))
	requireSpread(t, fresh, [4]byte{0xff, 0xff, 0xff, 0xff})
	require.NoError(t, d.Write(in, []byte{1, 2, 3, 4}))
	require.NoError(t, spread(d, in, out))
	err := d.Free(out)
	require.ErrorContains(t, err, "past its end")
	require.ErrorContains(t, err, "1.99 KiB, main_cuda_test.go:")
	free(t, d, in)
}

func TestClosed(t *testing.T) {
	d, err := Open(0, Options{NoCache: true})
	require.NoError(t, err)
	p := alloc(t, d, spreadBytes)
	s, err := d.NewStream()
	require.NoError(t, err)
	e, err := d.NewEvent()
	require.NoError(t, err)
	g, err := s.Capture(func(q kernels.Queue) error { return spread(q, p, p) })
	require.NoError(t, err)
	pinned, err := d.AllocPinned(8)
	require.NoError(t, err)

	// What is closed by itself.
	for range 2 {
		require.NoError(t, s.Close())
		require.NoError(t, e.Close())
		require.NoError(t, g.Close())
	}
	require.ErrorIs(t, s.Sync(), ErrClosed)
	require.ErrorIs(t, s.Upload(p, make([]byte, 4)), ErrClosed)
	require.ErrorIs(t, spread(s, p, p), ErrClosed)
	require.ErrorIs(t, d.Stream().Record(e), ErrClosed)
	require.ErrorIs(t, g.Launch(d.Stream()), ErrClosed)
	require.ErrorContains(t, d.Stream().Close(), "own stream")

	free(t, d, p)
	require.NoError(t, d.FreePinned(pinned))
	s, err = d.NewStream()
	require.NoError(t, err)
	require.NoError(t, d.Close())
	everything(t, d, s, p, ErrClosed)
	require.NoError(t, s.Close())
	_ = d.Stats()
}

// everything that can be asked of a device fails.
func everything(t *testing.T, d *Device, s *Stream, p kernels.Ptr, want error) {
	t.Helper()
	_, err := d.Info()
	require.ErrorIs(t, err, want, "Info")
	_, err = d.Alloc(4)
	require.ErrorIs(t, err, want, "Alloc")
	_, err = s.Alloc(4)
	require.ErrorIs(t, err, want, "Stream.Alloc")
	require.ErrorIs(t, d.Free(p), want, "Free")
	require.ErrorIs(t, d.Trim(), want, "Trim")
	_, err = d.NewStream()
	require.ErrorIs(t, err, want, "NewStream")
	_, err = d.NewEvent()
	require.ErrorIs(t, err, want, "NewEvent")
	_, err = d.AllocPinned(4)
	require.ErrorIs(t, err, want, "AllocPinned")
	require.ErrorIs(t, d.FreePinned([]byte{1}), want, "FreePinned")
	require.ErrorIs(t, d.Write(p, []byte{1}), want, "Write")
	require.ErrorIs(t, d.Read(make([]byte, 1), p), want, "Read")
	require.ErrorIs(t, spread(d, p, p), want, "Launch")
	require.ErrorIs(t, s.Sync(), want, "Sync")
	require.ErrorIs(t, s.Fill(p, 1, 0), want, "Fill")
	require.ErrorIs(t, s.Copy(p, p, 1), want, "Copy")
	_, err = s.Capture(func(q kernels.Queue) error { return nil })
	require.ErrorIs(t, err, want, "Capture")
}

// Close waits for what is under way; what comes later is refused.
func TestCloseWhileInUse(t *testing.T) {
	for range 5 {
		d, err := Open(0, Options{NoCache: true})
		require.NoError(t, err)
		p := alloc(t, d, 1<<20)
		started := make(chan struct{}, 4)
		var done sync.WaitGroup
		for range cap(started) {
			done.Go(func() {
				b := make([]byte, 1<<20)
				for i := 0; ; i++ {
					err := d.Write(p, b)
					if err == nil {
						err = d.Read(b, p)
					}
					if q, e := d.Alloc(1000); e == nil {
						_ = d.Free(q)
					}
					if err != nil && !errors.Is(err, ErrClosed) {
						t.Errorf("%v", err)
					}
					if i == 0 {
						started <- struct{}{}
					}
					if err != nil {
						return
					}
				}
			})
		}
		for range cap(started) {
			<-started
		}
		_ = d.Close() // which lists p, and perhaps what was in use just now
		done.Wait()
	}
}

func TestCompiledKernelsAreKept(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cubin")
	use := func() Stats {
		d := open(t, Options{Cache: cache})
		in, out := alloc(t, d, 4), alloc(t, d, spreadBytes)
		defer free(t, d, in, out)
		require.NoError(t, d.Write(in, []byte{5, 6, 7, 8}))
		for range 2 {
			require.NoError(t, spread(d, in, out))
		}
		got := make([]byte, spreadBytes)
		require.NoError(t, d.Read(got, out))
		requireSpread(t, got, [4]byte{5, 6, 7, 8})
		return d.Stats()
	}
	counts := func(s Stats) [2]int { return [2]int{s.Compiled, s.Loaded} }
	require.Equal(t, [2]int{1, 0}, counts(use()))
	require.Equal(t, [2]int{0, 1}, counts(use()))

	files, err := filepath.Glob(filepath.Join(cache, "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files[0], text[:len(text)-1], 0o600))
	require.Equal(t, [2]int{1, 0}, counts(use()), "a damaged file is of no use")
	require.Equal(t, [2]int{0, 1}, counts(use()), "and is replaced")

	require.NoError(t, cubins{dir: cache}.store(files[0], []byte("what no driver takes for a module")))
	require.Equal(t, [2]int{1, 0}, counts(use()), "nor is one that the driver refuses")
	require.Equal(t, [2]int{0, 1}, counts(use()))

	blocked := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	cache = blocked
	require.Equal(t, [2]int{1, 0}, counts(use()), "a cache that cannot be written is no error")
}

func TestModulesThatDoNotCompile(t *testing.T) {
	d := open(t, Options{NoCache: true})
	ptx, err := d.ptx("upsample")
	require.NoError(t, err)
	text := map[string][]byte{
		"upsample": ptx,
		"wrong":    ptx[:strings.LastIndex(string(ptx), "}")],
		"cut":      ptx[:strings.Index(string(ptx), "{")],
	}
	other := d.ptx
	d.ptx = func(module string) ([]byte, error) {
		if t := text[module]; t != nil {
			return t, nil
		}
		return other(module)
	}
	launch := func(module string) error {
		return d.Launch(kernels.Launch{Module: module, Kernel: "upsample", Block: 32})
	}
	err = launch("wrong")
	require.ErrorContains(t, err, "module wrong: cuLink")
	require.ErrorContains(t, err, "CUDA_ERROR_INVALID_PTX (218)")
	var e *Error
	require.ErrorAs(t, err, &e)
	require.NotEmpty(t, e.Log, "what the compiler says")
	require.ErrorContains(t, err, e.Log)
	require.ErrorContains(t, launch("cut"), "without a body")
	require.ErrorContains(t, launch("no-such-module"), "no-such-module")
	require.ErrorContains(t, launch("upsample"), "parameters", "the device works on")
}

func TestLaunchRefuses(t *testing.T) {
	d := open(t, Options{})
	in, out := alloc(t, d, 4), alloc(t, d, spreadBytes)
	defer free(t, d, in, out)
	good := kernels.Launch{}
	require.NoError(t, spread(queue(func(l kernels.Launch) error { good = l; return nil }), in, out))
	i, err := d.Info()
	require.NoError(t, err)
	for what, change := range map[string]func(l *kernels.Launch){
		"no such kernel":              func(l *kernels.Launch) { l.Kernel = "downsample" },
		"blocks of 0 threads":         func(l *kernels.Launch) { l.Block = 0 },
		"blocks of 48":                func(l *kernels.Launch) { l.Block = 48 },
		"want a multiple of 32 up to": func(l *kernels.Launch) { l.Block = 1024 },
		"-32 threads":                 func(l *kernels.Launch) { l.Block = -32 },
		"grid of [0 0 65536]":         func(l *kernels.Launch) { l.Grid = [3]int{0, 0, 65536} },
		"grid of [-1 1 1]":            func(l *kernels.Launch) { l.Grid = [3]int{-1, 1, 1} },
		"-4 bytes of shared":          func(l *kernels.Launch) { l.Shared = -4 },
		"bytes of shared":             func(l *kernels.Launch) { l.Shared = i.SharedMax + 4 },
		" 1 parameters":               func(l *kernels.Launch) { l.Args = l.Args[:1] },
		"20 parameters":               func(l *kernels.Launch) { l.Args = make([]kernels.Arg, 20) },
	} {
		l := good
		change(&l)
		require.ErrorContains(t, d.Launch(l), what)
		_, err := d.Stream().Capture(func(q kernels.Queue) error { return q.Launch(l) })
		require.ErrorContains(t, err, what, "captured")
	}
	good.Shared = i.SharedMax
	require.NoError(t, d.Write(in, []byte{1, 2, 3, 4}))
	require.NoError(t, d.Launch(good), "all the shared memory there is")
	good.Shared = kernels.MaxShared
	require.NoError(t, d.Launch(good))
	got := make([]byte, spreadBytes)
	require.NoError(t, d.Read(got, out))
	requireSpread(t, got, [4]byte{1, 2, 3, 4})
}

type queue func(l kernels.Launch) error

func (q queue) Launch(l kernels.Launch) error { return q(l) }

// Goroutines with streams of their own share a device, its memory and its staging.
func TestConcurrentUse(t *testing.T) {
	d := open(t, Options{Memory: 16 << 20})
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for k := range cap(errs) {
		wg.Go(func() { errs <- work(d, rand.New(rand.NewPCG(seed, uint64(k)))) })
	}
	wg.Wait()
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	require.Zero(t, d.Stats().Buffers)
}

func work(d *Device, r *rand.Rand) (err error) {
	s, err := d.NewStream()
	if err != nil {
		return err
	}
	check := func(e error) {
		if err == nil {
			err = e
		}
	}
	defer func() { check(s.Close()) }()
	for range 10 {
		n := 1 + r.IntN(200000)
		in, e := s.Alloc(n + 3)
		check(e)
		between, e := d.Alloc(n)
		check(e)
		out, e := s.Alloc(spreadBytes)
		check(e)
		if err != nil {
			return err
		}
		data := random(n+3, r)
		sent := append([]byte(nil), data...)
		check(s.Upload(in, sent))
		clear(sent)
		check(s.Copy(between, in, n))
		check(spread(s, in, out))
		got, wide := make([]byte, n), make([]byte, spreadBytes)
		check(s.Download(got, between))
		check(d.Free(in)) // out is in the making
		check(s.Download(wide, out))
		check(d.Free(between))
		check(d.Free(out))
		if string(got) != string(data[:n]) {
			return errDiffers
		}
		for i, b := range wide {
			if b != data[i%4] {
				return errDiffers
			}
		}
	}
	return err
}

var errDiffers = errors.New("what came back differs")
