//go:build cuda && cgo

package gpu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"f2pad.example/cgo/fakecuda"
	"f2pad.example/engine/device"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"
)

// kinds of what Close must leave nothing of.
var kinds = []string{"memory", "pinned", "module", "stream", "event", "graph", "exec", "link", "context"}

// live counts what there is.
func live(f *fakecuda.Driver) map[string]int {
	count := map[string]int{}
	for _, k := range kinds {
		if n := f.Live(k); n > 0 {
			count[k] = n
		}
	}
	return count
}

// tour uses all of the package once. The first error ends it.
func tour(cache string) (err error) {
	d, err := Open(0, Options{Cache: cache, Memory: 1 << 20})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if _, err := d.Info(); err != nil {
		return err
	}
	s, err := d.NewStream()
	if err != nil {
		return err
	}
	var e [2]*Event
	for i := range e {
		if e[i], err = d.NewEvent(); err != nil {
			return err
		}
	}
	pinned, err := d.AllocPinned(spreadBytes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.FreePinned(pinned)) }()
	in, err := d.Alloc(1000)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Free(in)) }()
	out, err := s.Alloc(100 << 10)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Free(out)) }()
	large := make([]byte, 100<<10)
	work := func(q kernels.Queue) error {
		w := q.(Work)
		err := errors.Join(w.Fill(out, spreadBytes, 3), spread(w, in, out), w.Copy(out+spreadBytes, out, spreadBytes))
		if err != nil {
			return err
		}
		wide := kernels.Launch{}
		if err := spread(queue(func(l kernels.Launch) error { wide = l; return nil }), in, out); err != nil {
			return err
		}
		wide.Shared = kernels.MaxShared
		return w.Launch(wide)
	}
	steps := []func() error{
		func() error { return s.Record(e[0]) },
		func() error { return s.Upload(in, []byte{1, 2, 3, 4}) },
		func() error { return s.Upload(out, large) },
		func() error { return work(s) },
		func() error { return s.Record(e[1]) },
		func() error { return d.Stream().Wait(e[1]) },
		func() error { return s.DownloadAsync(pinned, out) },
		func() error { return s.UploadAsync(out, pinned) },
		func() error { return s.Download(large, out) },
		func() error { _, err := e[1].Elapsed(e[0]); return err },
		func() error {
			g, err := s.Capture(work)
			if err != nil {
				return err
			}
			return errors.Join(g.Launch(s), s.Sync(), g.Close())
		},
		func() error {
			x, err := d.Alloc(700 << 10)
			if err != nil {
				return err
			}
			if err := d.Free(x); err != nil {
				return err
			}
			if x, err = d.Alloc(800 << 10); err != nil { // after a trim
				return err
			}
			return d.Free(x)
		},
		func() error { return e[0].Close() },
		func() error { return s.Close() },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	for i, b := range large[:2*spreadBytes] {
		if b != byte(1+i%4) {
			return fmt.Errorf("byte %d is %d", i, b)
		}
	}
	return nil
}

// calls lists the driver functions that were called, and how often.
func calls(f *fakecuda.Driver) map[string]int {
	count := map[string]int{}
	for _, line := range f.Log() {
		name, _, _ := strings.Cut(line, " ")
		count[name]++
	}
	return count
}

func TestFakeCloseLeavesNothing(t *testing.T) {
	f := fake(t)
	// The context lives on with another user of it, and nothing of the first may stay in it.
	other, err := Open(0, Options{NoCache: true})
	require.NoError(t, err)
	before := live(f)
	require.NoError(t, tour(t.TempDir()))
	require.Equal(t, before, live(f))

	// Nor of one whose user has closed nothing.
	d, err := Open(0, Options{NoCache: true})
	require.NoError(t, err)
	in, out := alloc(t, d, 4), alloc(t, d, spreadBytes)
	s, err := d.NewStream()
	require.NoError(t, err)
	e, err := d.NewEvent()
	require.NoError(t, err)
	g, err := s.Capture(func(q kernels.Queue) error { return spread(q, in, out) })
	require.NoError(t, err)
	b, err := d.AllocPinned(spreadBytes)
	require.NoError(t, err)
	require.NoError(t, errors.Join(s.Upload(in, []byte{1, 2, 3, 4}), g.Launch(s), s.DownloadAsync(b, out), s.Record(e)))
	require.ErrorContains(t, d.Close(), "never freed")
	require.Equal(t, before, live(f))
	require.NoError(t, other.Close())
	require.Equal(t, map[string]int{}, live(f))
	require.NotContains(t, f.Log(), "cuCtxCreate_v2")
}

// What is done once is done once: compiling, and asking for shared memory.
func TestFakeOnce(t *testing.T) {
	f := fake(t)
	require.NoError(t, tour(t.TempDir()))
	attributes := map[string]int{}
	for _, line := range f.Log() {
		if call, what, _ := strings.Cut(line, " "); call == "cuFuncSetAttribute" {
			attribute, _, _ := strings.Cut(what, " ")
			attributes[attribute]++
		}
	}
	require.Equal(t, map[string]int{"8": 1, "9": 1}, attributes, "shared memory that is allowed, and preferred")
	require.Equal(t, 1, f.Calls("cuLinkComplete"))
}

// A function gets the share of shared memory that its blocks can use: asked for when one has more than any before.
func TestFakeCarvesSharedMemory(t *testing.T) {
	f := fake(t)
	d := open(t, Options{NoCache: true})
	in, out := alloc(t, d, 4), alloc(t, d, spreadBytes)
	require.NoError(t, d.Write(in, make([]byte, 4)))
	var l kernels.Launch
	require.NoError(t, spread(queue(func(x kernels.Launch) error { l = x; return nil }), in, out))
	for _, shared := range []int{0, 1 << 10, 100, 64 << 10, 64 << 10, 200 << 10} {
		l.Shared = shared
		require.NoError(t, d.Launch(l))
	}
	require.NoError(t, d.Stream().Sync())
	free(t, d, in, out)
	var asked []string
	for _, line := range f.Log() {
		if percent, found := strings.CutPrefix(line, "cuFuncSetAttribute 9 = "); found {
			asked = append(asked, percent)
		}
	}
	// Of 228 KiB: 16 blocks of 128 threads with 2 KiB each, 3 with 65, 1 with 201.
	require.Equal(t, []string{"15", "86", "89"}, asked)
}

// Waiting takes no core from the network: neither for the context's streams nor for events. A context that others have is taken
// as it is.
func TestFakeWaitsBlock(t *testing.T) {
	f := fake(t)
	require.NoError(t, tour(t.TempDir()))
	events := 0
	for _, line := range f.Log() {
		if call, flags, _ := strings.Cut(line, " "); call == "cuEventCreate" {
			n, err := strconv.ParseUint(flags, 10, 32)
			require.NoError(t, err)
			require.NotZero(t, n&1, line)
			events++
		}
	}
	require.Positive(t, events)
	d, err := Open(0, Options{NoCache: true})
	require.NoError(t, err)
	flags, active, err := d.dev.PrimaryCtxState()
	require.NoError(t, err)
	require.Equal(t, []any{cu.SchedBlockingSync, 1}, []any{flags, active})
	f.Fail("cuDevicePrimaryCtxSetFlags_v2", 1, 708)
	again, err := Open(0, Options{NoCache: true})
	require.NoError(t, err)
	require.NoError(t, again.Close())
	f.Fail("cuDevicePrimaryCtxSetFlags_v2", 1, 999)
	_, err = Open(0, Options{NoCache: true})
	require.ErrorContains(t, err, "cuDevicePrimaryCtxSetFlags: CUDA_ERROR_UNKNOWN")
	require.NoError(t, d.Close())
}

// Memory that a stream's work may still use goes to nobody else.
func TestFakeReuseWaits(t *testing.T) {
	fake(t)
	d := open(t, Options{NoCache: true})
	s, err := d.NewStream()
	require.NoError(t, err)
	for what, get := range map[string]func(int) (kernels.Ptr, error){"the device's": d.Alloc, "the stream's": s.Alloc} {
		p, err := get(1000)
		require.NoError(t, err)
		require.NoError(t, s.Fill(p, 1000, 1))
		free(t, d, p)
		q := alloc(t, d, 1000)
		require.NotEqual(t, p, q, what)
		require.NoError(t, s.Sync())
		again := alloc(t, d, 1000)
		require.Equal(t, p, again, what)
		free(t, d, q, again)
		require.NoError(t, d.Trim())
	}
	require.NoError(t, s.Close())
}

// Whatever call of the driver fails, and in whatever way, the error is told, and what can be released is.
func TestFakeEveryCallMayFail(t *testing.T) {
	f := fake(t)
	require.NoError(t, tour(t.TempDir()))
	count := calls(f)
	require.Greater(t, len(count), 30)
	var names []string
	for name := range count {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch name {
		case "cuInit", "cuDriverGetVersion", "cuGetErrorName", "cuGetErrorString":
			continue
		}
		for _, code := range []int{1, 2, 700} { // INVALID_VALUE, OUT_OF_MEMORY, ILLEGAL_ADDRESS
			for _, nth := range []int{1, count[name]} {
				when := fmt.Sprintf("call %d of %s fails with %d", nth, name, code)
				f.Reset()
				other, err := Open(0, Options{NoCache: true})
				require.NoError(t, err, when)
				before := live(f)
				f.Fail(name, nth, code)
				err = tour(t.TempDir())
				harmless := name == "cuStreamQuery" || name == "cuMemAlloc_v2" && code == 2 // one is asked, the other tried again
				if !harmless {
					require.Error(t, err, when)
				}
				if err != nil {
					var e *Error
					require.ErrorAs(t, err, &e, when)
					require.Equal(t, code, e.Code, when)
					require.Equal(t, strings.TrimSuffix(name, "_v2"), strings.Fields(e.Call)[0], when)
					require.Equal(t, code == 2, errors.Is(err, device.ErrOutOfMemory), when)
					inContext := !strings.HasPrefix(name, "cuDevice")
					require.Equal(t, code == 700 && inContext, errors.Is(err, device.ErrLost), when)
				}
				if code != 700 && !releases.MatchString(name) { // all but what could not be released is
					require.Equal(t, before, live(f), when)
				}
				if err := other.Close(); name != "cuStreamEndCapture" { // after which the stream remains captured
					require.NoError(t, err, when)
				}
			}
		}
	}
}

var releases = regexp.MustCompile("Free|Destroy|Release|Unload|EndCapture|CtxSetCurrent")

// A lost device: the first cause is in every error that follows.
func TestFakeLost(t *testing.T) {
	f := fake(t)
	for code, name := range map[int]string{46: "CUDA_ERROR_DEVICE_UNAVAILABLE", 214: "CUDA_ERROR_ECC_UNCORRECTABLE",
		700: "CUDA_ERROR_ILLEGAL_ADDRESS", 719: "CUDA_ERROR_LAUNCH_FAILED", 999: "CUDA_ERROR_UNKNOWN"} {
		f.Reset()
		d, err := Open(0, Options{NoCache: true})
		require.NoError(t, err)
		in, out := alloc(t, d, 4), alloc(t, d, spreadBytes)
		s, err := d.NewStream()
		require.NoError(t, err)
		got := make([]byte, spreadBytes)
		f.Lose(2, code)
		for range 3 {
			require.NoError(t, s.Upload(in, []byte{1, 2, 3, 4}))
			require.NoError(t, spread(s, in, out))
		}
		err = s.Download(got, out)
		require.ErrorIs(t, err, device.ErrLost)
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, d.info.Name)
		cause := err.Error()[strings.Index(err.Error(), "device 0"):]
		for _, stream := range []*Stream{s, d.Stream()} {
			everything(t, d, stream, in, device.ErrLost)
		}
		require.ErrorContains(t, spread(d, in, out), cause)
		before := f.Log()
		require.ErrorContains(t, s.Sync(), cause)
		require.Equal(t, before, f.Log(), "the driver is not asked any more")
		again := d.enter(func() error { return &Error{Call: "cuSomething", Code: 999} })
		require.ErrorContains(t, again, cause, "the first cause, whoever else comes upon another")
		require.NoError(t, d.Close(), "the memory of a lost device is no leak")
	}
}

// A kernel that goes astray is a lost device.
func TestFakeIllegalAddress(t *testing.T) {
	fake(t)
	d := open(t, Options{NoCache: true})
	in := alloc(t, d, 4)
	require.NoError(t, spread(d, in, 1<<40))
	err := d.Stream().Sync()
	require.ErrorIs(t, err, device.ErrLost)
	require.ErrorContains(t, err, "CUDA_ERROR_ILLEGAL_ADDRESS (700)")
}

// Others use the memory of the device, too: the ceiling is not all.
func TestFakeDriverOutOfMemory(t *testing.T) {
	f := fake(t)
	f.Memory(64 << 20)
	d := open(t, Options{Memory: 1 << 30, NoCache: true})
	p := alloc(t, d, 40<<20)
	_, err := d.Alloc(32 << 20)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.NotErrorIs(t, err, device.ErrLost)
	require.ErrorContains(t, err, "gpu: alloc of 32.00 MiB: 40.00 MiB in use by 1 buffers, ceiling 1.00 GiB: "+
		"cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (2): out of memory")
	free(t, d, p)
	p = alloc(t, d, 32<<20) // after a trim
	free(t, d, p)

	// What waits in a stream is done before its memory goes back.
	s, err := d.NewStream()
	require.NoError(t, err)
	in, out := alloc(t, d, 4), alloc(t, d, 20<<20)
	got, err := d.AllocPinned(spreadBytes)
	require.NoError(t, err)
	require.NoError(t, s.Upload(in, []byte{1, 2, 3, 4}))
	require.NoError(t, spread(s, in, out))
	require.NoError(t, s.DownloadAsync(got, out))
	free(t, d, out)
	p = alloc(t, d, 50<<20)
	require.NoError(t, s.Sync())
	requireSpread(t, got, [4]byte{1, 2, 3, 4})
	free(t, d, p, in)
	require.NoError(t, d.FreePinned(got))
}

// Work runs in other orders, where streams leave it open.
func TestFakeOrders(t *testing.T) {
	f := fake(t)
	for s := range uint64(20) {
		f.Seed(s)
		require.NoError(t, tour(t.TempDir()), "seed %d", s)
	}
}

func TestFakeOldDevice(t *testing.T) {
	f := fake(t)
	t.Setenv("F2PAD_FAKE_CAPABILITY", "7.5")
	f.Reset()
	all, err := Devices()
	require.NoError(t, err)
	require.Equal(t, 7, all[0].Major, "it is listed")
	_, err = Open(0, Options{})
	require.ErrorContains(t, err, "has compute capability 7.5, the kernels need 8.0 or later")
	require.Empty(t, live(f))
}

// The PTX is compiled anew for another driver or another device.
func TestFakeCubinsAreForOneDriverAndDevice(t *testing.T) {
	f := fake(t)
	cache := t.TempDir()
	require.NoError(t, tour(cache))
	for _, v := range [][2]string{{"F2PAD_FAKE_DRIVER", "12060"}, {"F2PAD_FAKE_CAPABILITY", "8.6"}} {
		t.Setenv(v[0], v[1])
		f.Reset()
		require.NoError(t, tour(cache))
		require.Equal(t, 1, f.Calls("cuLinkComplete"), v[0])
		require.NoError(t, tour(cache))
		require.Equal(t, 1, f.Calls("cuLinkComplete"), v[0])
	}
	files, err := filepath.Glob(filepath.Join(cache, "*"))
	require.NoError(t, err)
	require.Len(t, files, 3)
}

// Without a device, in processes of their own: this one has its driver already.
func TestFakeNoDevice(t *testing.T) {
	fake(t)
	for env, reason := range map[string]string{
		fakecuda.Variable + "=/no/such/libcuda.so": "/no/such/libcuda.so: cannot open shared object file",
		"F2PAD_FAKE_DEVICES=0":                     "no CUDA-capable device is detected (CUDA_ERROR_NO_DEVICE, 100)",
		"F2PAD_FAKE_FAIL=cuInit:1:803":             "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childKey+"=1", env)
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", said)
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		require.Len(t, lines, 2, "%s", said)
		for _, line := range lines {
			require.Contains(t, line, "gpu: no CUDA device: ")
			require.Contains(t, line, reason)
		}
	}
}
