//go:build cuda && cgo

package gpu

/*
#include <stdlib.h>
#include <cuda.h>

// compilation is what the driver keeps addresses of, and reads and writes, until its state is destroyed.
typedef struct {
	CUlinkState state;
	CUjit_option names[2];
	void *values[2];
	char log[1 << 14];
} compilation;

// compile turns PTX, which ends in a 0, into a cubin that belongs to c->state.
static CUresult compile(compilation *c, const char *ptx, size_t n, void **cubin, size_t *size, const char **call) {
	c->names[0] = CU_JIT_ERROR_LOG_BUFFER;
	c->values[0] = c->log;
	c->names[1] = CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES;
	c->values[1] = (void *)(size_t)sizeof c->log;
	*call = "cuLinkCreate";
	CUresult r = cuLinkCreate(2, c->names, c->values, &c->state);
	if (r != CUDA_SUCCESS) {
		c->state = NULL;
		return r;
	}
	*call = "cuLinkAddData";
	r = cuLinkAddData(c->state, CU_JIT_INPUT_PTX, (void *)ptx, n, "kernel", 0, NULL, NULL);
	if (r != CUDA_SUCCESS) return r;
	*call = "cuLinkComplete";
	return cuLinkComplete(c->state, cubin, size);
}
*/
import "C"

import (
	"errors"
	"reflect"
	"strings"
	"unsafe"

	"gorgonia.org/cu"
)

// What cu lacks, or does in a way that does not hold: its linker lets go of the buffers that the driver writes its log to.
// cu's handles are structs of one pointer, which is how they are turned into this package's.

// result makes an *Error of a CUresult.
func result(call string, r C.CUresult) error {
	if r == C.CUDA_SUCCESS {
		return nil
	}
	e := &Error{Call: call, Code: int(r), Name: "unknown error"}
	var s *C.char
	if C.cuGetErrorName(r, &s) == C.CUDA_SUCCESS && s != nil {
		e.Name = C.GoString(s)
	}
	if C.cuGetErrorString(r, &s) == C.CUDA_SUCCESS && s != nil {
		e.Text = C.GoString(s)
	}
	return e
}

// said makes an *Error of what cu returned, whose type is an unexported integer.
func said(call string, err error) error {
	if err == nil {
		return nil
	}
	if v := reflect.ValueOf(err); v.CanInt() {
		return result(call, C.CUresult(v.Int()))
	}
	return &Error{Call: call, Name: err.Error()}
}

// pinnedAlloc returns page-locked host memory, which the device copies from and to by itself.
func pinnedAlloc(bytes int) ([]byte, error) {
	var p unsafe.Pointer
	if err := result("cuMemHostAlloc", C.cuMemHostAlloc(&p, C.size_t(bytes), C.CU_MEMHOSTALLOC_PORTABLE)); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), bytes), nil
}

func pinnedFree(b []byte) error {
	return said("cuMemFreeHost", cu.MemFreeHost(unsafe.Pointer(unsafe.SliceData(b))))
}

// allowShared lets blocks of a function have so many bytes of dynamic shared memory.
func allowShared(fn cu.Function, bytes int) error {
	f := *(*C.CUfunction)(unsafe.Pointer(&fn))
	r := C.cuFuncSetAttribute(f, C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(bytes))
	return result("cuFuncSetAttribute", r)
}

// preferShared asks for so many percent of a multiprocessor's memory to be shared memory, not cache, while it runs a function.
func preferShared(fn cu.Function, percent int) error {
	f := *(*C.CUfunction)(unsafe.Pointer(&fn))
	r := C.cuFuncSetAttribute(f, C.CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, C.int(percent))
	return result("cuFuncSetAttribute", r)
}

// compilePTX compiles for the current context's device.
func compilePTX(ptx []byte) (cubin []byte, err error) {
	text := C.CBytes(append(ptx[:len(ptx):len(ptx)], 0))
	defer C.free(text)
	c := (*C.compilation)(C.calloc(1, C.sizeof_compilation))
	defer C.free(unsafe.Pointer(c))
	var image unsafe.Pointer
	var n C.size_t
	var call *C.char
	r := C.compile(c, (*C.char)(text), C.size_t(len(ptx)+1), &image, &n, &call)
	if c.state != nil {
		defer func() { err = errors.Join(err, result("cuLinkDestroy", C.cuLinkDestroy(c.state))) }()
	}
	if err := result(C.GoString(call), r); err != nil {
		err.(*Error).Log = strings.TrimSpace(C.GoString(&c.log[0]))
		return nil, err
	}
	return C.GoBytes(image, C.int(n)), nil
}

// execGraph is a graph that can be launched.
type execGraph struct{ g C.CUgraphExec }

// capture makes a graph of what work submits to s. In between this thread may not do anything that the driver would have
// to wait for, such as allocating memory; other threads may.
func capture(s cu.Stream, work func() error) (x execGraph, err error) {
	stream := *(*C.CUstream)(unsafe.Pointer(&s))
	r := C.cuStreamBeginCapture(stream, C.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
	if err := result("cuStreamBeginCapture", r); err != nil {
		return x, err
	}
	failed := work()
	var g C.CUgraph
	err = result("cuStreamEndCapture", C.cuStreamEndCapture(stream, &g))
	if g != nil {
		defer func() { err = errors.Join(err, result("cuGraphDestroy", C.cuGraphDestroy(g))) }()
	}
	if failed != nil {
		return x, failed
	}
	if err != nil {
		return x, err
	}
	return x, result("cuGraphInstantiateWithFlags", C.cuGraphInstantiateWithFlags(&x.g, g, 0))
}

func (x execGraph) launch(s cu.Stream) error {
	return result("cuGraphLaunch", C.cuGraphLaunch(x.g, *(*C.CUstream)(unsafe.Pointer(&s))))
}

func (x execGraph) destroy() error { return result("cuGraphExecDestroy", C.cuGraphExecDestroy(x.g)) }
