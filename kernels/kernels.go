// Package kernels holds the CUDA kernels and what launches them, whatever runs them: a GPU (cgo/gpu), a fake driver
// (cgo/fakecuda) or the emulation (kernels/emu).
//
// A kernel x is three files: x.cu says what it computes and how (formula, layouts, geometry, bytes, operations), x.go is
// its typed launch, which checks sizes and alignment first, and x_test.go runs kerneltest's suite for it. Its pure-Go twin is
// in engine. All kernels give the same bits in every run (no float atomics), and a result does not depend on what else is
// in the batch.
//
// The PTX under ptx/ is made by `make ptx` (clang or nvcc), is committed, and names the hash of its source.
package kernels

import (
	"fmt"
	"math"
	"unsafe"
)

// Ptr is an address in the memory of what runs the kernels.
type Ptr uint64

// Plus is the address so many float32 (or other 4-byte values) further on.
func (p Ptr) Plus(values int) Ptr { return p + Ptr(4*values) }

// Arg is a kernel's parameter in an 8-byte cell, the value in the lowest bytes.
type Arg uint64

// Arg makes a parameter of a pointer, which may be 0.
func (p Ptr) Arg() Arg { return Arg(p) }

// Int is an int32_t parameter.
func Int(v int) Arg {
	if v != int(int32(v)) {
		panic(fmt.Sprintf("kernels: parameter %d does not fit an int32", v))
	}
	return Arg(uint32(int32(v)))
}

// Bool is an int32_t parameter, 1 or 0.
func Bool(v bool) Arg {
	if v {
		return Int(1)
	}
	return Int(0)
}

// Uint64 is a uint64_t parameter.
func Uint64(v uint64) Arg { return Arg(v) }

// Float is a float parameter.
func Float(v float32) Arg { return Arg(math.Float32bits(v)) }

// Launch is one launch of a kernel.
type Launch struct {
	Module string // the .cu file, without the ending
	Kernel string
	Grid   [3]int // blocks; 0 counts as 1
	Block  int    // threads, a multiple of 32
	Shared int    // bytes of dynamic shared memory
	Args   []Arg
	Cost   Cost // as far as who launches knows it: what tables on the device name, pixels of Omega or of windows, does not count
}

// MaxShared is the dynamic shared memory that a kernel may count on: what every GPU since compute capability 8.0 gives a
// block (99 KiB).
const MaxShared = 99 << 10

// Queue runs launches in order, asynchronously: an error may belong to an earlier one.
type Queue interface {
	Launch(l Launch) error
}

// Machine is a Queue with memory, as tests and benchmarks need it. Alloc aligns to 16 bytes at least; what new memory holds
// is undefined. Write and Read are in order with the launches; when Read returns, its bytes are there.
type Machine interface {
	Queue
	Alloc(bytes int) (Ptr, error)
	Free(p Ptr) error
	Write(dst Ptr, src []byte) error
	Read(dst []byte, src Ptr) error
}

// Cost is what a launch cannot do without: each input byte read once, each output byte written once, and the arithmetic.
type Cost struct {
	Bytes int64 // of device memory
	Flops int64 // float32 operations outside the tensor cores; a multiply-add is two
	// TensorFlops are those of the tensor cores, in their precision Tensor ("bf16", "f16", "tf32").
	TensorFlops int64
	Tensor      string
}

// Bytes views a slice of plain values as bytes.
func Bytes[T float32 | float64 | int32 | uint32 | uint16 | uint8 | uint64](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(s[0])))
}

// aligned refuses null and misaligned pointers by name.
func aligned(kernel string, at int, ps ...named) error {
	for _, p := range ps {
		if p.p == 0 {
			return fmt.Errorf("kernels: %s: %s is null", kernel, p.name)
		}
		if int(p.p)%at != 0 {
			return fmt.Errorf("kernels: %s: %s is not aligned to %d bytes", kernel, p.name, at)
		}
	}
	return nil
}

type named struct {
	name string
	p    Ptr
}

// ceil is a/b rounded up.
func ceil(a, b int) int { return (a + b - 1) / b }
