//go:build cuda && cgo

package fakecuda_test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"f2pad.example/cgo/fakecuda"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	text, err := os.ReadFile(filepath.Join("testdata", "probes.cu"))
	if err != nil {
		panic(err)
	}
	os.Exit(fakecuda.Main(m, map[string][]byte{"probes.cu": text}))
}

// Results that tests expect.
const (
	success            = 0
	invalidValue       = 1
	outOfMemory        = 2
	noDevice           = 100
	invalidDevice      = 101
	invalidImage       = 200
	invalidContext     = 201
	noBinary           = 209
	invalidPTX         = 218
	newPTX             = 222
	invalidHandle      = 400
	notFound           = 500
	notReady           = 600
	illegalAddress     = 700
	destroyed          = 709
	misaligned         = 716
	launchFailed       = 719
	notSupported       = 801
	captureUnsupported = 900
	captureInvalidated = 901
	captureUnjoined    = 904
	captureIsolation   = 905
	captureImplicit    = 906
	capturedEvent      = 907
	wrongThread        = 908
	unknown            = 999
)

const ptx = `//
.version 7.8
.target sm_80
.address_size 64
.visible .entry affine(.param .u64 a, .param .u32 b, .param .f32 c, .param .f32 d)
.maxntid 128, 1, 1
{ ret; }
.visible .entry relay(.param .u64 a, .param .u64 b) .maxntid 256, 1, 1 { ret; }
.visible .entry write(.param .u64 a, .param .u32 b) { ret; }
.visible .entry writeByte(.param .u64 a, .param .u32 b) { ret; }
.visible .entry misaligned(.param .u64 a) { ret; }
.visible .entry stuck(.param .u64 a) { ret; }
.visible .entry unknown(.param .u64 a) { ret; }
.visible .entry count(.param .u64 a, .param .u64 b) { ret; }
`

type handle = uint64

// rig is a driver with a context that is current on the test's thread.
type rig struct {
	*fakecuda.Driver
	t       *testing.T
	context handle
	module  handle
}

func open(t *testing.T) *rig {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r := &rig{Driver: fakecuda.Open(t), t: t}
	r.retain(0)
	t.Cleanup(func() { r.Call("cuCtxSetCurrent", 0) })
	return r
}

// retain makes a device's primary context current, and loads the module.
func (r *rig) retain(ordinal int) {
	r.t.Helper()
	r.must("cuInit", 0)
	r.must("cuDevicePrimaryCtxRetain", out(&r.context), ordinal)
	r.must("cuCtxSetCurrent", r.context)
	image := append([]byte(ptx), 0)
	r.must("cuModuleLoadData", out(&r.module), unsafe.Pointer(&image[0]))
}

func out[T any](p *T) unsafe.Pointer { return unsafe.Pointer(p) }

func (r *rig) must(name string, args ...any) {
	r.t.Helper()
	r.wants(success, name, args...)
}

func (r *rig) wants(code int, name string, args ...any) {
	r.t.Helper()
	got := r.Call(name, args...)
	require.Equal(r.t, code, got, "%s: %s", name, r.LastError())
}

func (r *rig) stream(flags int) (s handle) {
	r.t.Helper()
	r.must("cuStreamCreate", out(&s), flags)
	return s
}

const nonBlocking = 1

func (r *rig) event() (e handle) {
	r.t.Helper()
	r.must("cuEventCreate", out(&e), 0)
	return e
}

func (r *rig) alloc(n int) (p handle) {
	r.t.Helper()
	r.must("cuMemAlloc_v2", out(&p), 4*n)
	return p
}

func (r *rig) pinned(n int) []float32 {
	r.t.Helper()
	var p unsafe.Pointer
	r.must("cuMemHostAlloc", out(&p), 4*n, 0)
	return unsafe.Slice((*float32)(p), n)
}

func addr(v []float32) unsafe.Pointer { return unsafe.Pointer(&v[0]) }
func host(v []float32) uintptr        { return uintptr(unsafe.Pointer(&v[0])) } // of pinned memory

func (r *rig) function(name string) (f handle) {
	r.t.Helper()
	n := append([]byte(name), 0)
	r.must("cuModuleGetFunction", out(&f), r.module, unsafe.Pointer(&n[0]))
	return f
}

// launch returns the result of cuLaunchKernel.
func (r *rig) launch(f handle, grid, block, shared int, s handle, args ...kernels.Arg) int {
	var pins runtime.Pinner
	defer pins.Unpin()
	cells := make([]uintptr, len(args)+1)
	for i := range args {
		pins.Pin(&args[i])
		cells[i] = uintptr(unsafe.Pointer(&args[i]))
	}
	return r.Call("cuLaunchKernel", f, grid, 1, 1, block, 1, 1, shared, s, unsafe.Pointer(&cells[0]), 0)
}

// affine launches p = a p + b.
func (r *rig) affine(s, p handle, n int, a, b float32) {
	r.t.Helper()
	require.Equal(r.t, success, r.launch(r.function("affine"), (n+127)/128, 128, 0, s,
		kernels.Ptr(p).Arg(), kernels.Int(n), kernels.Float(a), kernels.Float(b)), "%s", r.LastError())
}

// read waits for the whole device.
func (r *rig) read(p handle, n int) []float32 {
	r.t.Helper()
	v := make([]float32, n)
	r.must("cuCtxSynchronize")
	r.must("cuMemcpyDtoH_v2", addr(v), p, 4*n)
	return v
}

func filled(n int, v float32) []float32 { return slices.Repeat([]float32{v}, n) }

// What nobody waited for has not happened; and it has, afterwards.
func TestNothingRunsBeforeItMust(t *testing.T) {
	r := open(t)
	const n = 300
	s := r.stream(nonBlocking)
	p, in, result := r.alloc(n), r.pinned(n), r.pinned(n)
	copy(in, filled(n, 1))
	copy(result, filled(n, -1))
	r.must("cuMemcpyHtoDAsync_v2", p, host(in), 4*n, s)
	r.affine(s, p, n, 2, 3)
	r.must("cuMemcpyDtoHAsync_v2", host(result), p, 4*n, s)
	require.Equal(t, filled(n, -1), result)
	require.Equal(t, 3, r.Live("pending"))
	r.must("cuStreamSynchronize", s)
	require.Equal(t, filled(n, 5), result)
	require.Equal(t, 0, r.Live("pending"))
}

// A dry driver checks and counts, and computes and copies nothing: it has as much memory as is asked for.
func TestDry(t *testing.T) {
	t.Setenv("F2PAD_FAKE_DRY", "1")
	t.Setenv("F2PAD_FAKE_MEMORY", fmt.Sprint(1<<40))
	r := open(t)
	const n = 300
	s := r.stream(nonBlocking)
	p, q, in, result := r.alloc(1<<36), r.alloc(n), r.pinned(n), r.pinned(n)
	copy(in, filled(n, 1))
	for _, from := range [][]float32{in, filled(n, 2)} {
		copy(result, filled(n, -1))
		r.must("cuMemcpyHtoDAsync_v2", p, addr(from), 4*n, s)
		r.affine(s, p, n, 2, 3)
		r.must("cuMemcpyDtoDAsync_v2", q, p, 4*n, s)
		r.must("cuMemsetD32Async", q, 7, n, s)
		r.must("cuMemcpyDtoHAsync_v2", host(result), q, 4*n, s)
		r.must("cuStreamSynchronize", s)
		require.Equal(t, filled(n, 0), result)
	}
	require.Equal(t, 2, r.Calls("cuLaunchKernel"))
	require.Equal(t, invalidValue, r.launch(r.function("affine"), 1, 2048, 0, s, kernels.Ptr(p).Arg(), kernels.Int(n), kernels.Float(1), kernels.Float(1)))
	r.must("cuMemFree_v2", p)
	r.wants(invalidValue, "cuMemFree_v2", p)
	require.Equal(t, 4*n, r.Live("bytes"))
	r.must("cuMemFree_v2", q)
	t.Setenv("F2PAD_FAKE_DRY", "0")
	r.Reset() // later tests' driver is none
}

// Polling makes progress, and an event is over when what came before it is.
func TestPolling(t *testing.T) {
	r := open(t)
	s, e := r.stream(nonBlocking), r.event()
	p := r.alloc(8)
	r.must("cuEventQuery", e)
	r.must("cuMemsetD32Async", p, 0, 8, s)
	r.affine(s, p, 8, 1, 1)
	r.must("cuEventRecord", e, s)
	r.affine(s, p, 8, 1, 1)
	for range 3 {
		r.wants(notReady, "cuEventQuery", e)
	}
	r.must("cuEventQuery", e)
	require.Equal(t, 1, r.Live("pending"))
	r.wants(notReady, "cuStreamQuery", s)
	r.must("cuStreamQuery", s)
	require.Equal(t, filled(8, 2), r.read(p, 8))
}

// A pinned buffer may not be used again before its copy has run; a pageable one may.
func TestReusedHostMemory(t *testing.T) {
	r := open(t)
	s := r.stream(nonBlocking)
	for _, in := range [][]float32{r.pinned(4), make([]float32, 4)} {
		p := r.alloc(4)
		copy(in, filled(4, 1))
		r.must("cuMemcpyHtoDAsync_v2", p, addr(in), 16, s)
		copy(in, filled(4, 2))
		r.must("cuStreamSynchronize", s)
		want := float32(1)
		if len(in) == 4 && r.Call("cuPointerGetAttribute", out(new(uint32)), 2, addr(in)) == success {
			want = 2
		}
		require.Equal(t, filled(4, want), r.read(p, 4))
	}
}

// Two streams without an event between them are in no order; with one they are, under all seeds.
func TestStreamsAndEvents(t *testing.T) {
	for _, wait := range []bool{true, false} {
		right := 0
		const seeds = 20
		for seed := range uint64(seeds) {
			r := open(t)
			r.Seed(seed)
			a, b, e := r.stream(nonBlocking), r.stream(nonBlocking), r.event()
			p := r.alloc(8)
			r.must("cuMemsetD32Async", p, 0, 8, a)
			r.affine(a, p, 8, 1, 3)
			r.must("cuEventRecord", e, a)
			if wait {
				r.must("cuStreamWaitEvent", b, e, 0)
			}
			r.affine(b, p, 8, 2, 0)
			if seed%2 == 0 {
				r.must("cuStreamSynchronize", b)
			}
			r.must("cuCtxSynchronize")
			if slices.Equal(filled(8, 6), r.read(p, 8)) {
				right++
			}
		}
		if wait {
			require.Equal(t, seeds, right)
		} else {
			require.Less(t, right, seeds)
		}
	}
}

// The default stream waits for blocking streams and they for it; non-blocking ones keep to themselves, and a copy from
// pageable memory by cuMemcpyHtoD may not have arrived for them.
func TestDefaultStream(t *testing.T) {
	r := open(t)
	p := r.alloc(8)
	s := r.stream(0)
	r.must("cuMemcpyHtoD_v2", p, addr(filled(8, 1)), 32)
	r.affine(s, p, 8, 1, 1)
	r.affine(0, p, 8, 3, 0)
	r.affine(s, p, 8, 1, 4)
	got := make([]float32, 8)
	r.must("cuMemcpyDtoH_v2", addr(got), p, 32)
	require.Equal(t, filled(8, 10), got)

	result := r.pinned(8)
	r.must("cuMemcpyHtoD_v2", p, addr(filled(8, 5)), 32)
	r.must("cuMemcpyDtoHAsync_v2", host(result), p, 32, s)
	r.must("cuStreamSynchronize", s)
	require.Equal(t, filled(8, 5), result, "a blocking stream waits")

	r.must("cuMemcpyHtoD_v2", p, addr(filled(8, 1)), 32)
	n := r.stream(nonBlocking)
	r.affine(n, p, 8, 1, 1)
	r.must("cuStreamSynchronize", n)
	require.Equal(t, filled(8, 1), r.read(p, 8), "the kernel came before the copy")
}

func (r *rig) capture(s handle, mode int, work func()) (graph, exec handle) {
	r.t.Helper()
	r.must("cuStreamBeginCapture_v2", s, mode)
	work()
	r.must("cuStreamEndCapture", s, out(&graph))
	r.must("cuGraphInstantiateWithFlags", out(&exec), graph, 0)
	return graph, exec
}

// A captured stream does nothing; its graph does it, as often as it is launched, with the parameters of the capture.
func TestCaptureAndReplay(t *testing.T) {
	for seed := range uint64(10) {
		r := open(t)
		r.Seed(seed)
		a, b, fork, join := r.stream(nonBlocking), r.stream(nonBlocking), r.event(), r.event()
		p, q, result := r.alloc(8), r.alloc(8), r.pinned(16)
		r.must("cuMemsetD32Async", p, 0, 8, a)
		graph, exec := r.capture(a, 0, func() {
			r.affine(a, p, 8, 1, 1)
			r.must("cuEventRecord", fork, a)
			r.must("cuStreamWaitEvent", b, fork, 0)
			r.must("cuMemcpyDtoDAsync_v2", q, p, 32, b)
			r.affine(b, q, 8, 10, 0)
			r.must("cuEventRecord", join, b)
			r.must("cuStreamWaitEvent", a, join, 0)
			r.must("cuMemcpyDtoHAsync_v2", host(result), p, 32, a)
			r.must("cuMemcpyDtoHAsync_v2", host(result[8:]), q, 32, a)
		})
		var nodes uint64
		r.must("cuGraphGetNodes", graph, 0, out(&nodes))
		require.EqualValues(t, 5, nodes)
		require.Equal(t, filled(8, 0), r.read(p, 8), "captured, not done")
		for i := range 3 {
			r.must("cuGraphLaunch", exec, a)
			r.must("cuStreamSynchronize", a)
			require.Equal(t, append(filled(8, float32(i+1)), filled(8, float32(10*(i+1)))...), result)
		}
		// Launches of one graph are in order, on whatever streams.
		r.must("cuGraphLaunch", exec, a)
		r.must("cuGraphLaunch", exec, b)
		r.must("cuGraphDestroy", graph)
		r.must("cuStreamSynchronize", b)
		require.Equal(t, filled(8, 5), result[:8])
		r.must("cuGraphExecDestroy", exec)
		require.Equal(t, [2]int{}, [2]int{r.Live("graph"), r.Live("exec")})
		r.wants(invalidValue, "cuGraphLaunch", exec, a)
	}
}

func TestIllegalDuringCapture(t *testing.T) {
	var p handle
	for _, c := range []struct {
		name string
		code int
		call func(r *rig, s handle) int
	}{
		{"alloc", captureUnsupported, func(r *rig, s handle) int { return r.Call("cuMemAlloc_v2", out(&p), 16) }},
		{"alloc pinned", captureUnsupported, func(r *rig, s handle) int { return r.Call("cuMemHostAlloc", out(&p), 16, 0) }},
		{"free", captureUnsupported, func(r *rig, s handle) int { return r.Call("cuMemFree_v2", p) }},
		{"copy", captureUnsupported, func(r *rig, s handle) int { return r.Call("cuMemcpyDtoH_v2", addr(make([]float32, 1)), p, 4) }},
		{"synchronise", captureUnsupported, func(r *rig, s handle) int { return r.Call("cuStreamSynchronize", s) }},
		{"another stream", captureUnsupported, func(r *rig, s handle) int {
			return r.Call("cuStreamSynchronize", r.stream(nonBlocking))
		}},
		{"query", captureUnsupported, func(r *rig, s handle) int { return r.Call("cuStreamQuery", s) }},
		{"context", captureUnsupported, func(r *rig, s handle) int { return r.Call("cuCtxSynchronize") }},
		{"destroy", captureUnsupported, func(r *rig, s handle) int { return r.Call("cuStreamDestroy_v2", s) }},
		{"default stream", captureImplicit, func(r *rig, s handle) int { return r.Call("cuMemsetD32Async", p, 0, 1, 0) }},
		{"outside", captureIsolation, func(r *rig, s handle) int {
			e, other := r.event(), r.stream(nonBlocking)
			r.must("cuMemsetD32Async", p, 0, 1, other)
			r.must("cuEventRecord", e, other)
			return r.Call("cuStreamWaitEvent", s, e, 0)
		}},
		{"captured event", capturedEvent, func(r *rig, s handle) int {
			e := r.event()
			r.must("cuEventRecord", e, s)
			return r.Call("cuEventSynchronize", e)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := open(t)
			p = r.alloc(4)
			s := r.stream(0)
			for _, threadLocal := range []int{0, 1} {
				r.must("cuStreamBeginCapture_v2", s, threadLocal)
				require.Equal(t, c.code, c.call(r, s), r.LastError())
				require.Equal(t, captureInvalidated, r.launch(r.function("write"), 1, 32, 0, s, kernels.Ptr(p).Arg(), kernels.Int(0)))
				graph := handle(1)
				r.wants(captureInvalidated, "cuStreamEndCapture", s, out(&graph))
				require.Zero(t, graph)
				r.affine(s, p, 4, 0, 7) // and the stream is a stream again
				require.Equal(t, filled(4, 7), r.read(p, 4))
			}
		})
	}
	t.Run("unjoined", func(t *testing.T) {
		r := open(t)
		a, b, e := r.stream(nonBlocking), r.stream(nonBlocking), r.event()
		p := r.alloc(4)
		r.must("cuStreamBeginCapture_v2", a, 0)
		r.affine(a, p, 4, 1, 1)
		r.must("cuEventRecord", e, a)
		r.must("cuStreamWaitEvent", b, e, 0)
		r.affine(b, p, 4, 1, 1)
		var graph handle
		r.wants(captureUnjoined, "cuStreamEndCapture", a, out(&graph))
	})
	t.Run("other threads", func(t *testing.T) {
		for _, c := range []struct{ mode, alloc int }{{0, captureUnsupported}, {1, success}, {2, success}} {
			r := open(t)
			s := r.stream(nonBlocking)
			r.must("cuStreamBeginCapture_v2", s, c.mode)
			elsewhere(func() {
				r.must("cuCtxSetCurrent", r.context)
				r.wants(c.alloc, "cuMemAlloc_v2", out(&p), 16)
				var g handle
				if c.mode == 1 {
					r.wants(wrongThread, "cuStreamEndCapture", s, out(&g))
				}
			})
			var g handle
			r.wants(map[bool]int{true: success, false: captureInvalidated}[c.alloc == success], "cuStreamEndCapture", s, out(&g))
		}
	})
}

// elsewhere runs f on another thread.
func elsewhere(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		f()
	}()
	<-done
}

// What goes wrong in a kernel comes out at the next wait, then everywhere, until the context is reset.
func TestErrorsAreSticky(t *testing.T) {
	for _, c := range []struct {
		kernel  string
		threads int
		pointer func(r *rig, p handle) handle
		at      int
		code    int
		says    string
	}{
		{"write", 32, itself, 64, illegalAddress, "write: access outside of all memory"},
		{"write", 32, func(*rig, handle) handle { return 0 }, 0, illegalAddress, "at 0x0"},
		{"write", 32, func(*rig, handle) handle { return handle(host(ofGo[:])) }, 0, illegalAddress, "parameter 0 is not an address"},
		{"write", 32, freed, 0, illegalAddress, "parameter 0 is not an address"},
		{"misaligned", 32, itself, -1, misaligned, "misaligned or null address in probes.cu"},
		{"stuck", 64, itself, -1, launchFailed, "stuck: deadlock"},
	} {
		r := open(t)
		s := r.stream(nonBlocking)
		p := r.alloc(64)
		args := []kernels.Arg{kernels.Ptr(c.pointer(r, p)).Arg()}
		if c.at >= 0 {
			args = append(args, kernels.Int(c.at))
		}
		require.Equal(t, success, r.launch(r.function(c.kernel), 1, c.threads, 0, s, args...), r.LastError())
		r.must("cuMemsetD8Async", p, 1, 4, s)
		r.wants(c.code, "cuStreamSynchronize", s)
		require.Contains(t, r.LastError(), c.says)
		r.wants(c.code, "cuMemAlloc_v2", out(&p), 16)
		r.wants(c.code, "cuMemFree_v2", p)
		r.wants(c.code, "cuCtxSynchronize")
		elsewhere(func() {
			r.must("cuCtxSetCurrent", r.context)
			r.wants(c.code, "cuMemAlloc_v2", out(&p), 16)
		})
		require.Contains(t, r.LastError(), c.says)
		r.must("cuDevicePrimaryCtxReset_v2", 0)
		r.wants(destroyed, "cuCtxSynchronize")
		require.Equal(t, [3]int{}, [3]int{r.Live("memory"), r.Live("stream"), r.Live("module")})
		r.retain(0)
		p = r.alloc(4)
		r.affine(0, p, 4, 0, 1)
		require.Equal(t, filled(4, 1), r.read(p, 4))
	}
}

func itself(_ *rig, p handle) handle { return p }

func freed(r *rig, _ handle) handle {
	p := r.alloc(4)
	r.must("cuMemFree_v2", p)
	return p
}

// ofGo is host memory, which a kernel must not touch.
var ofGo [4]float32

// Go's own faults still are Go's, although the driver watches for those of kernels.
func TestFaultsOfGo(t *testing.T) {
	r := open(t)
	p := r.alloc(4)
	r.affine(0, p, 4, 0, 1)
	r.must("cuCtxSynchronize")
	require.PanicsWithError(t, "runtime error: invalid memory address or nil pointer dereference", func() {
		var nothing *float32
		*nothing = 1
	})
	require.PanicsWithError(t, "runtime error: integer divide by zero", func() {
		zero := len(t.Name()) * 0
		t.Log(1 / zero)
	})
}

// What a kernel writes beside memory, too near for a guard page, shows when that is freed.
func TestWritesBeside(t *testing.T) {
	r := open(t)
	var p handle
	r.must("cuMemAlloc_v2", out(&p), 17)
	require.Equal(t, success, r.launch(r.function("writeByte"), 1, 32, 0, 0, kernels.Ptr(p).Arg(), kernels.Int(17)))
	r.must("cuCtxSynchronize")
	r.wants(illegalAddress, "cuMemFree_v2", p)
	require.Contains(t, r.LastError(), "written past the end of an allocation of 17 bytes")
}

func TestMemoryRunsOut(t *testing.T) {
	r := open(t)
	r.Memory(1000)
	var p, q handle
	r.must("cuMemAlloc_v2", out(&p), 600)
	r.wants(outOfMemory, "cuMemAlloc_v2", out(&q), 401)
	var available, total uint64
	r.must("cuMemGetInfo_v2", out(&available), out(&total))
	require.Equal(t, [2]uint64{400, 1000}, [2]uint64{available, total})
	r.must("cuMemAlloc_v2", out(&q), 400)
	require.Equal(t, [2]int{2, 1000}, [2]int{r.Live("memory"), r.Live("bytes")})
	r.must("cuMemFree_v2", p)
	r.wants(invalidValue, "cuMemFree_v2", p)
	r.must("cuMemAlloc_v2", out(&p), 600)
	r.wants(invalidValue, "cuMemAlloc_v2", out(&p), 0)
	require.True(t, math.IsNaN(float64(r.read(p, 1)[0])), "new memory is NaN")

	// cuMemFree waits for what uses the memory.
	r.affine(r.stream(nonBlocking), q, 4, 0, 1)
	r.must("cuMemFree_v2", q)
	r.must("cuCtxSynchronize")

	// In the order of a stream: what is freed there still serves the work before.
	s := r.stream(nonBlocking)
	r.must("cuMemFreeAsync", p, s)
	r.wants(outOfMemory, "cuMemAllocAsync", out(&p), 600, s)
	r.must("cuStreamSynchronize", s)
	r.must("cuMemAllocAsync", out(&p), 600, s)
}

func TestInjectedFailures(t *testing.T) {
	r := open(t)
	var p handle
	r.Fail("cuMemAlloc_v2", 2, outOfMemory)
	r.Fail("cuMemGetInfo_v2", 1, unknown)
	r.must("cuMemAlloc_v2", out(&p), 16)
	r.wants(outOfMemory, "cuMemAlloc_v2", out(&p), 16)
	require.Equal(t, "cuMemAlloc_v2: injected", r.LastError())
	r.must("cuMemAlloc_v2", out(&p), 16)
	r.wants(unknown, "cuMemGetInfo_v2", out(&p), out(&p))
	require.Equal(t, 3, r.Calls("cuMemAlloc_v2"))
	log := r.Log()
	require.Contains(t, log, "cuMemAlloc_v2 16")
	require.Equal(t, "cuMemGetInfo_v2", log[len(log)-1])
}

func TestLostDevice(t *testing.T) {
	r := open(t)
	p := r.alloc(4)
	r.must("cuMemsetD32_v2", p, 0, 4)
	r.Lose(2, unknown)
	for range 2 {
		r.affine(0, p, 4, 1, 1)
	}
	require.Equal(t, filled(4, 2), r.read(p, 4))
	r.affine(0, p, 4, 1, 1)
	r.wants(unknown, "cuCtxSynchronize")
	require.Equal(t, "the device is lost", r.LastError())
	r.wants(unknown, "cuMemGetInfo_v2", out(&p), out(&p))
}

// Devices have memory, a compute capability and an end of their own.
func TestDevicesDiffer(t *testing.T) {
	t.Setenv("F2PAD_FAKE_DEVICES", "3")
	t.Setenv("F2PAD_FAKE_MEMORY", "4096,1000")
	t.Setenv("F2PAD_FAKE_CAPABILITY", "9.0,8.6")
	t.Setenv("F2PAD_FAKE_LOST", "-1:0,1:999")
	r := open(t)
	for ordinal, want := range [][2]uint64{{4096, 9}, {1000, 8}, {1000, 8}} {
		var available, total uint64
		var major int32
		r.retain(ordinal)
		r.must("cuMemGetInfo_v2", out(&available), out(&total))
		r.must("cuDeviceGetAttribute", out(&major), 75, ordinal)
		require.Equal(t, want, [2]uint64{total, uint64(major)})
		p := r.alloc(4)
		r.affine(0, p, 4, 1, 1)
		r.must("cuCtxSynchronize")
		r.affine(0, p, 4, 1, 1)
		r.wants([]int{success, unknown, unknown}[ordinal], "cuCtxSynchronize")
	}
	r.Lose(0, 719)
	r.retain(0)
	r.affine(0, r.alloc(4), 4, 1, 1)
	r.wants(launchFailed, "cuCtxSynchronize")
}

// Contexts are current per thread, and the primary one lives as long as it is retained.
func TestContexts(t *testing.T) {
	r := open(t)
	var p, again, current handle
	elsewhere(func() {
		r.wants(invalidContext, "cuMemAlloc_v2", out(&p), 16)
		r.must("cuCtxPushCurrent_v2", r.context)
		r.must("cuMemAlloc_v2", out(&p), 16)
		r.must("cuCtxPopCurrent_v2", out(&current))
		require.Equal(t, r.context, current)
		r.wants(invalidContext, "cuMemAlloc_v2", out(&p), 16)
	})
	r.must("cuDevicePrimaryCtxRetain", out(&again), 0)
	require.Equal(t, r.context, again)
	r.must("cuDevicePrimaryCtxRelease_v2", 0)
	r.must("cuMemAlloc_v2", out(&p), 16)
	require.Equal(t, 1, r.Live("context"))
	r.must("cuDevicePrimaryCtxRelease_v2", 0)
	require.Equal(t, 0, r.Live("context"))
	r.wants(destroyed, "cuMemAlloc_v2", out(&p), 16)
	r.wants(invalidContext, "cuDevicePrimaryCtxRelease_v2", 0)
	r.wants(invalidDevice, "cuDevicePrimaryCtxRetain", out(&again), 1)
	r.wants(invalidContext, "cuCtxSetCurrent", 12345)
}

func TestModules(t *testing.T) {
	r := open(t)
	for what, c := range map[string]struct {
		image string
		code  int
	}{
		"empty":      {"", invalidPTX},
		"other text": {"hello", invalidPTX},
		"a cut":      {ptx[:len(ptx)-5], invalidPTX},
		"garbage":    {ptx + "\x01\x02", invalidPTX},
		"too new":    {strings.Replace(ptx, "7.8", "8.5", 1), newPTX},
		"another":    {strings.Replace(ptx, "sm_80", "sm_100", 1), noBinary},
		"32 bits":    {strings.Replace(ptx, "address_size 64", "address_size 32", 1), invalidPTX},
		"an ELF":     {"\x7fELF", invalidImage},
	} {
		var m handle
		image := append([]byte(c.image), 0)
		log := make([]byte, 64)
		pins := runtime.Pinner{}
		pins.Pin(&log[0])
		options, values := [2]int32{5, 6}, [2]uintptr{uintptr(unsafe.Pointer(&log[0])), 64}
		got := r.Call("cuModuleLoadDataEx", out(&m), unsafe.Pointer(&image[0]), 2, out(&options), out(&values))
		require.Equal(t, c.code, got, what)
		require.Equal(t, c.code != invalidImage, log[0] != 0, "%s: %s", what, log)
		pins.Unpin()
	}
	var f handle
	for name, says := range map[string]string{"nobody": "no such entry", "unknown": "no such kernel", "count": "no such kernel"} {
		n := append([]byte(name), 0)
		r.wants(notFound, "cuModuleGetFunction", out(&f), r.module, unsafe.Pointer(&n[0]))
		require.Contains(t, r.LastError(), says)
	}
	f = r.function("affine")
	p := r.alloc(4)
	r.must("cuModuleUnload", r.module)
	require.Equal(t, invalidHandle, r.launch(f, 1, 32, 0, 0, kernels.Ptr(p).Arg(), 0, 0, 0))
	require.Equal(t, 0, r.Live("module"))
}

// PTX whose parameters differ from the emulated kernel's is found out.
func TestParametersMustAgree(t *testing.T) {
	r := open(t)
	image := append([]byte(strings.Replace(ptx, ".param .u32 b, .param .f32 c", ".param .u64 b, .param .f32 c", 1)), 0)
	r.must("cuModuleLoadData", out(&r.module), unsafe.Pointer(&image[0]))
	name := append([]byte("affine"), 0)
	var f handle
	r.wants(notFound, "cuModuleGetFunction", out(&f), r.module, unsafe.Pointer(&name[0]))
	require.Contains(t, r.LastError(), "its parameters have 8844 bytes, in the emulation 8444")
}

func TestLinker(t *testing.T) {
	r := open(t)
	link := func(text string, ended int) (code int, cubin []byte) {
		var state, data, n handle
		r.must("cuLinkCreate_v2", 0, 0, 0, out(&state))
		image := append([]byte(text), 0)
		if code = r.Call("cuLinkAddData_v2", state, 1, unsafe.Pointer(&image[0]), len(text)+ended, 0, 0, 0, 0); code == success {
			r.must("cuLinkComplete", state, out(&data), out(&n))
			cubin = slices.Clone(unsafe.Slice(*(**byte)(unsafe.Pointer(&data)), n))
		}
		r.must("cuLinkDestroy", state)
		return code, cubin
	}
	code, cubin := link(ptx, 1)
	require.Equal(t, success, code)
	r.must("cuModuleLoadData", out(&r.module), unsafe.Pointer(&cubin[0]))
	p := r.alloc(4)
	r.affine(0, p, 4, 0, 1)
	require.Equal(t, filled(4, 1), r.read(p, 4))

	cubin[len(cubin)/2] ^= 1
	r.wants(invalidImage, "cuModuleLoadData", out(&r.module), unsafe.Pointer(&cubin[0]))
	code, _ = link(ptx, 0)
	require.Equal(t, invalidPTX, code, "not ended by a 0")
	code, _ = link("nonsense", 1)
	require.Equal(t, invalidPTX, code)
	require.Equal(t, 0, r.Live("link"))
}

func TestLaunchChecks(t *testing.T) {
	r := open(t)
	relay, p, q := r.function("relay"), r.alloc(256), r.alloc(256)
	args := []kernels.Arg{kernels.Ptr(p).Arg(), kernels.Ptr(q).Arg()}
	require.Equal(t, success, r.launch(relay, 1, 256, 1024, 0, args...))
	for _, c := range []struct {
		grid, block, shared int
		says                string
	}{
		{0, 256, 1024, "grid of 0"}, {1, 288, 1024, "at most 256 threads"}, {1, 0, 1024, "blocks of 0"},
		{1, 48, 1024, "blocks of 48"}, {1, 256, 48<<10 + 1, "49152 bytes of shared memory"},
	} {
		require.Equal(t, invalidValue, r.launch(relay, c.grid, c.block, c.shared, 0, args...))
		require.Contains(t, r.LastError(), c.says)
	}
	const maxShared = 8
	r.wants(invalidValue, "cuFuncSetAttribute", relay, maxShared, 227<<10+1)
	r.must("cuFuncSetAttribute", relay, maxShared, 99<<10)
	var got int32
	r.must("cuFuncGetAttribute", out(&got), maxShared, relay)
	require.EqualValues(t, 99<<10, got)
	require.Equal(t, success, r.launch(relay, 1, 256, 99<<10, 0, args...))
	require.Equal(t, invalidValue, r.launch(relay, 1, 256, 99<<10+1, 0, args...))
	require.Equal(t, invalidHandle, r.launch(relay, 1, 256, 1024, 999, args...))
	require.Equal(t, invalidHandle, r.launch(999, 1, 256, 1024, 0, args...))
	r.must("cuCtxSynchronize")
	r.wants(notSupported, "cuGraphAddEmptyNode", 0, 0, 0, 0)
}

func TestCopyChecks(t *testing.T) {
	r := open(t)
	p, q, v := r.alloc(4), r.alloc(4), make([]float32, 5)
	r.wants(invalidValue, "cuMemcpyHtoD_v2", p, addr(v), 20)
	r.wants(invalidValue, "cuMemcpyHtoD_v2", p+4, addr(v), 16)
	r.wants(invalidValue, "cuMemcpyDtoH_v2", addr(v), p, 20)
	r.wants(invalidValue, "cuMemcpyDtoD_v2", p, addr(v), 16)
	r.wants(invalidValue, "cuMemcpyHtoD_v2", p, q, 16)
	r.wants(invalidValue, "cuMemsetD32_v2", p+2, 0, 1)
	r.wants(invalidValue, "cuMemsetD8_v2", p, 0, 17)
	r.must("cuMemsetD16_v2", p, 0x0102, 8)
	r.must("cuMemcpyDtoD_v2", q, p, 16)
	require.Equal(t, slices.Repeat([]byte{2, 1}, 8), kernels.Bytes(r.read(q, 4)))
	s := r.stream(nonBlocking)
	r.must("cuMemFreeAsync", q, s)
	r.must("cuMemcpyDtoDAsync_v2", q, p, 16, s)
	r.wants(illegalAddress, "cuStreamSynchronize", s)
	require.Contains(t, r.LastError(), "memory that was freed")
}

// Handles that were destroyed are no handles.
func TestStaleHandles(t *testing.T) {
	r := open(t)
	s, e := r.stream(nonBlocking), r.event()
	p := r.alloc(4)
	r.affine(s, p, 4, 0, 3)
	r.must("cuEventDestroy_v2", e)
	r.must("cuStreamDestroy_v2", s)
	require.Equal(t, [3]int{0, 0, 1}, [3]int{r.Live("stream"), r.Live("event"), r.Live("pending")})
	r.wants(invalidHandle, "cuStreamSynchronize", s)
	r.wants(invalidHandle, "cuEventQuery", e)
	require.Equal(t, filled(4, 3), r.read(p, 4), "what was submitted before still runs")
}

func TestDevice(t *testing.T) {
	r := open(t)
	name := make([]byte, 64)
	r.must("cuDeviceGetName", unsafe.Pointer(&name[0]), 64, 0)
	require.True(t, strings.HasPrefix(string(name), "Fake H200 (no GPU)\x00"), "%s", name)
	for attribute, want := range map[int]int32{75: 9, 76: 0, 16: 132, 10: 32, 97: 227 << 10, 8: 48 << 10, 38: 50 << 20} {
		var got int32
		r.must("cuDeviceGetAttribute", out(&got), attribute, 0)
		require.Equal(t, want, got, attribute)
	}
	var version int32
	r.must("cuDriverGetVersion", out(&version))
	require.EqualValues(t, 12040, version)
	r.wants(invalidDevice, "cuDeviceGet", out(&version), 1)
}

// Many threads at once, each with its own stream.
func TestThreads(t *testing.T) {
	r := open(t)
	r.Seed(7)
	f := r.function("affine")
	var wg sync.WaitGroup
	const threads, rounds, n = 8, 20, 64
	results := make([][]float32, threads)
	for i := range threads {
		wg.Go(func() {
			elsewhere(func() {
				var p, s handle
				results[i] = make([]float32, n)
				ok := r.Call("cuCtxSetCurrent", r.context) + r.Call("cuStreamCreate", out(&s), nonBlocking) +
					r.Call("cuMemAlloc_v2", out(&p), 4*n) + r.Call("cuMemsetD32Async", p, 0, n, s)
				for range rounds {
					ok += r.launch(f, 1, 128, 0, s, kernels.Ptr(p).Arg(), kernels.Int(n), kernels.Float(1), kernels.Float(float32(i)))
				}
				ok += r.Call("cuStreamSynchronize", s) + r.Call("cuMemcpyDtoH_v2", addr(results[i]), p, 4*n) + r.Call("cuMemFree_v2", p)
				if ok != success {
					results[i] = nil
				}
			})
		})
	}
	wg.Wait()
	for i, got := range results {
		require.Equal(t, filled(n, float32(rounds*i)), got, i)
	}
}

// The environment is read by cuInit, once in a process: in another one.
func TestEnvironment(t *testing.T) {
	if want := os.Getenv("F2PAD_FAKE_TEST"); want != "" {
		d := fakecuda.Open(t)
		got := fmt.Sprint(d.Call("cuInit", 0))
		var n, version, major int32
		var bytes uint64
		d.Call("cuDeviceGetCount", out(&n))
		d.Call("cuDriverGetVersion", out(&version))
		d.Call("cuDeviceGetAttribute", out(&major), 75, 0)
		d.Call("cuDeviceTotalMem_v2", out(&bytes), 0)
		var ctx, p handle
		d.Call("cuDevicePrimaryCtxRetain", out(&ctx), 0)
		runtime.LockOSThread()
		d.Call("cuCtxSetCurrent", ctx)
		for range 2 {
			got += fmt.Sprint(" ", d.Call("cuMemAlloc_v2", out(&p), 16))
		}
		require.Equal(t, want, fmt.Sprint(got, " ", n, " ", version, " ", major, " ", bytes))
		return
	}
	for _, c := range []struct {
		env  string
		want string
	}{
		{"F2PAD_FAKE_DEVICES=1", "0 0 0 1 12040 9 1073741824"},
		{"F2PAD_FAKE_DEVICES=0", "100 3 3 0 12040 0 0"},
		{"F2PAD_FAKE_FAIL=cuInit:1:999", "999 3 3 0 12040 0 0"},
		{"F2PAD_FAKE_FAIL=cuMemAlloc_v2:2:46", "0 0 46 1 12040 9 1073741824"},
		{"F2PAD_FAKE_DEVICES=3", "0 0 0 3 12040 9 1073741824"},
		{"F2PAD_FAKE_MEMORY=4096", "0 0 0 1 12040 9 4096"},
		{"F2PAD_FAKE_DRIVER=11080", "0 0 0 1 11080 9 1073741824"},
		{"F2PAD_FAKE_CAPABILITY=7.5", "0 0 0 1 12040 7 1073741824"},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestEnvironment$")
		cmd.Env = append(os.Environ(), "F2PAD_FAKE_TEST="+c.want, c.env, "GORACE=atexit_sleep_ms=0")
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", c.env, said)
	}
}

// The real kernels' PTX is taken, and agrees with the emulation in the parameters of every entry.
func TestAllModules(t *testing.T) {
	r := open(t)
	for _, name := range kernels.Modules() {
		text, err := kernels.PTX(name)
		require.NoError(t, err)
		image := append(slices.Clone(text), 0)
		r.must("cuModuleLoadData", out(&r.module), unsafe.Pointer(&image[0]))
		entries := 0
		for line := range strings.Lines(string(text)) {
			if _, rest, ok := strings.Cut(line, ".entry "); ok {
				kernel, _, _ := strings.Cut(rest, "(")
				r.function(strings.TrimSpace(kernel))
				entries++
			}
		}
		require.Positive(t, entries, name)
	}
}
