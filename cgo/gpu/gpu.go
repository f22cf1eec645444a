// Package gpu runs the kernels on CUDA GPUs: devices, memory, streams, graphs, and the compilation of PTX. It is the only
// importer of gorgonia.org/cu, and adds the driver calls that cu lacks.
//
// With the build tag cuda it needs cgo, and the flags of cgo/driver; the program then starts with or without a driver, and
// Devices says why there is no device. Without the tag everything returns ErrNotBuilt.
//
// A Device and all that belongs to it are safe for concurrent use. A driver call happens on its caller's thread, which is
// locked and given the device's primary context for as long: that costs some 100 ns, where a goroutine that owns a thread and
// takes calls from others costs 30 us each, and while one goroutine waits for its stream others feed theirs.
package gpu

import (
	"errors"
	"fmt"

	"f2pad.example/engine/device"
	"f2pad.example/kernels"
)

// ErrNotBuilt is the error of everything in a program without CUDA.
var ErrNotBuilt = errors.New("gpu: this program was built without CUDA: take the archive linux_amd64_cuda, or build it with cgo and -tags cuda (make build does)")

// ErrClosed is the error of what is used after it, or its device, was closed.
var ErrClosed = errors.New("closed")

// MinMajor is the least major compute capability: the kernels are made for 8.0 and later.
const MinMajor = 8

// Info describes a device. Sizes are in bytes.
type Info struct {
	Ordinal       int    `json:"ordinal"`
	Name          string `json:"name"`
	UUID          string `json:"uuid"`           // as nvidia-smi writes it, GPU-...
	Major         int    `json:"major"`          // of the compute capability
	Minor         int    `json:"minor"`          //
	Driver        int    `json:"driver_version"` // of CUDA that the driver supports: 12040 is 12.4
	SMs           int    `json:"sms"`
	MemoryTotal   int64  `json:"memory_total"`
	MemoryFree    int64  `json:"memory_free"` // when asked
	L2            int64  `json:"l2"`
	SharedPerSM   int    `json:"shared_per_sm"`
	SharedDefault int    `json:"shared_default"` // that a block gets without asking
	SharedMax     int    `json:"shared_max"`     // that a block may ask for
}

// Options are what Open needs to know. The zero value is usable.
type Options struct {
	Memory  int64  // ceiling of device memory in bytes; 0: nine tenths of what is free when the device is opened
	Cache   string // folder of compiled kernels; "": f2pad/cubin in the user's cache folder
	NoCache bool   // compile always
	// Debug remembers where buffers were allocated, for Close to tell, and checks when they are freed that nothing was
	// written past their ends, which waits for the device.
	Debug bool
	// Watch is told what the device is given to do, from several goroutines; it must not call the device. May be nil.
	Watch func(Given)
}

// Given is a thing that a device is given to do, or that its host waits for.
type Given struct {
	What   What
	Launch kernels.Launch // Launched and Replayed: the kernel
	Bytes  int            // Uploaded, Downloaded, Copied and Filled
	Stream int            // which of the device's it is in; 0: none, or its own
}

// What is a kind of Given.
type What int

const (
	Launched   What = iota // a kernel by itself
	Replayed               // a kernel of a graph that is launched
	Graphed                // a launch of a graph, after what it replays
	Uploaded               // a copy to the device
	Downloaded             // and from it
	Copied                 // within it
	Filled                 // memory set to a value
	Waited                 // the host has waited for work that was not known to be done
)

// Stats is the state of a Device. Sizes are in bytes, as the pool rounds them.
type Stats struct {
	Buffers  int   `json:"buffers"`  // in use
	InUse    int64 `json:"in_use"`   // by buffers
	Cached   int64 `json:"cached"`   // kept for buffers to come
	Peak     int64 `json:"peak"`     // largest InUse so far
	Ceiling  int64 `json:"ceiling"`  // of InUse and Cached together
	Pinned   int64 `json:"pinned"`   // host memory: staging and AllocPinned
	Compiled int   `json:"compiled"` // modules compiled from PTX
	Loaded   int   `json:"loaded"`   // modules found compiled
}

// KernelInfo is what the driver made of a kernel.
type KernelInfo struct {
	Module     string `json:"module"`
	Kernel     string `json:"kernel"`
	Registers  int    `json:"registers"`   // of a thread
	Local      int    `json:"local"`       // bytes of memory of a thread: registers that were spilled, arrays
	Shared     int    `json:"shared"`      // bytes of a block, besides what a launch asks for
	MaxThreads int    `json:"max_threads"` // of a block
	Blocks     int    `json:"blocks"`      // of as many threads, and no more memory, on a multiprocessor at once
}

// Work is what both a Stream and a graph can do: the queue that Capture hands out is one, too.
type Work interface {
	kernels.Queue
	// Copy copies bytes within the device's memory; the two do not overlap.
	Copy(dst, src kernels.Ptr, bytes int) error
	// Fill sets bytes to value.
	Fill(p kernels.Ptr, bytes int, value byte) error
}

// Error is what a driver call returned.
type Error struct {
	Call string // cuMemAlloc
	Code int    // CUresult
	Name string // CUDA_ERROR_OUT_OF_MEMORY
	Text string // the driver's explanation
	Log  string // of the compiler, where there is one
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s (%d)", e.Call, e.Name, e.Code)
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.Log != "" {
		s += "\n" + e.Log
	}
	return s
}

// Is makes errors.Is find device.ErrOutOfMemory.
func (e *Error) Is(target error) bool { return target == device.ErrOutOfMemory && e.Code == 2 }

// sticky tells whether the driver will answer every later call in this context with an error, too.
func (e *Error) sticky() bool {
	switch e.Code {
	case 4, // DEINITIALIZED
		46,  // DEVICE_UNAVAILABLE
		201, // INVALID_CONTEXT: somebody reset the primary context
		214, // ECC_UNCORRECTABLE
		220, // NVLINK_UNCORRECTABLE
		226, // CONTAINED
		700, // ILLEGAL_ADDRESS
		702, // LAUNCH_TIMEOUT
		709, // CONTEXT_IS_DESTROYED
		710, // ASSERT
		714, // HARDWARE_STACK_ERROR
		715, // ILLEGAL_INSTRUCTION
		716, // MISALIGNED_ADDRESS
		717, // INVALID_ADDRESS_SPACE
		718, // INVALID_PC
		719, // LAUNCH_FAILED
		721, // TENSOR_MEMORY_LEAK
		999: // UNKNOWN
		return true
	}
	return false
}

// size writes a number of bytes for people.
func size(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.2f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.2f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", bytes)
}
