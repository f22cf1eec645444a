//go:build cuda && cgo

package fakecuda

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

static void callReset(void *f) { ((void (*)(void))f)(); }
static void callFail(void *f, const char *spec) { ((void (*)(const char *))f)(spec); }
static void callLose(void *f, int64_t after, int code) { ((void (*)(int64_t, int))f)(after, code); }
static void callNumber(void *f, uint64_t n) { ((void (*)(uint64_t))f)(n); }
static int64_t callCount(void *f, const char *what) { return ((int64_t (*)(const char *))f)(what); }
static int callAny(void *f, const uintptr_t *a) {
	typedef uintptr_t u;
	int (*g)(u, u, u, u, u, u, u, u, u, u, u) = f;
	return g(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10]);
}
static size_t callText(void *f, char *to, size_t room) { return ((size_t (*)(char *, size_t))f)(to, room); }
*/
import "C"

import (
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

// Driver is the fake driver of this process, as tests see it behind the driver API. It is safe for concurrent use.
type Driver struct {
	lib unsafe.Pointer
	t   testing.TB
}

// Open returns the driver that Main or Use chose, as new: nothing is left in it of earlier tests, whose contexts are destroyed.
func Open(t testing.TB) *Driver {
	t.Helper()
	path := C.CString(os.Getenv(Variable))
	defer C.free(unsafe.Pointer(path))
	lib := C.dlopen(path, C.RTLD_NOW|C.RTLD_LOCAL)
	if lib == nil {
		t.Fatalf("fakecuda: %s: %s", Variable, C.GoString(C.dlerror()))
	}
	d := &Driver{lib: lib, t: t}
	d.Reset()
	return d
}

func (d *Driver) function(name string) unsafe.Pointer {
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	f := C.dlsym(d.lib, n)
	if f == nil {
		d.t.Fatalf("fakecuda: %s is not the fake driver: it has no %s", os.Getenv(Variable), name)
	}
	return f
}

// Reset destroys all contexts and reads the environment anew.
func (d *Driver) Reset() { C.callReset(d.function("f2fake_reset")) }

// Fail lets the nth call from now (1: the next) of a function fail with a code, once. The name is the one that the library
// exports: cuMemAlloc_v2.
func (d *Driver) Fail(call string, nth, code int) {
	spec := C.CString(fmt.Sprintf("%s:%d:%d", call, nth, code))
	defer C.free(unsafe.Pointer(spec))
	C.callFail(d.function("f2fake_fail"), spec)
}

// Lose lets every kernel after the next n of each device fail with a code, as on a lost one; n < 0: none.
func (d *Driver) Lose(n, code int) { C.callLose(d.function("f2fake_lose"), C.int64_t(n), C.int(code)) }

// Memory sets how many bytes each device has.
func (d *Driver) Memory(bytes int64) { C.callNumber(d.function("f2fake_memory"), C.uint64_t(bytes)) }

// Seed chooses the order in which work runs; 0 is the latest possible.
func (d *Driver) Seed(seed uint64) { C.callNumber(d.function("f2fake_seed"), C.uint64_t(seed)) }

// Call calls a function of the driver API by the name that the library exports, and returns its CUresult. Arguments are
// integers, and addresses (unsafe.Pointer), which stay in place during the call only.
func (d *Driver) Call(name string, args ...any) int {
	var a [11]uintptr
	var pins runtime.Pinner
	defer pins.Unpin()
	for i, arg := range args {
		if p, ok := arg.(unsafe.Pointer); ok {
			if p != nil {
				pins.Pin(p)
			}
			a[i] = uintptr(p)
		} else if v := reflect.ValueOf(arg); v.CanInt() {
			a[i] = uintptr(v.Int())
		} else {
			a[i] = uintptr(v.Uint())
		}
	}
	return int(C.callAny(d.function(name), (*C.uintptr_t)(unsafe.Pointer(&a))))
}

func (d *Driver) count(function, what string) int {
	w := C.CString(what)
	defer C.free(unsafe.Pointer(w))
	return int(C.callCount(d.function(function), w))
}

// Live counts what was made and not destroyed: "memory", "pinned" (allocations), "bytes" (of device memory), "module",
// "stream", "event", "graph", "exec", "link", "context"; and "pending", the work that has not run.
func (d *Driver) Live(what string) int {
	n := d.count("f2fake_live", what)
	if n < 0 {
		d.t.Fatalf("fakecuda: nothing is called %q", what)
	}
	return n
}

// Calls counts the calls of a function since Reset, by the name that the library exports.
func (d *Driver) Calls(name string) int { return d.count("f2fake_calls", name) }

// Log lists the calls since Reset, some with what they were about: "cuLaunchKernel upsample grid 1,1,1 block 256,1,1 shared 0".
func (d *Driver) Log() []string {
	return strings.Split(strings.TrimSuffix(d.text("f2fake_log"), "\n"), "\n")
}

// LastError explains the last error that a call answered.
func (d *Driver) LastError() string { return d.text("f2fake_last_error") }

func (d *Driver) text(function string) string {
	f := d.function(function)
	for room := 1 << 12; ; room *= 2 {
		to := (*C.char)(C.malloc(C.size_t(room)))
		n := int(C.callText(f, to, C.size_t(room)))
		var s string
		if n <= room {
			s = C.GoStringN(to, C.int(n))
		}
		C.free(unsafe.Pointer(to))
		if n <= room {
			return s
		}
	}
}
