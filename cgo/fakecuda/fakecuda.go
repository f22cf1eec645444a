// Package fakecuda is an NVIDIA driver for tests: a libcuda.so.1 with devices that are emulations (kernels/emu). It is built by
// g++ when a test first asks for it. It is for tests only, and no measure of speed.
//
// It answers as a driver does, and where the driver API leaves something open it chooses what hurts:
//
//   - Nothing on a stream runs before somebody waits for it, and then only what must. (Polling gets on, too: a second question
//     whether an event is over makes a step.) So a forgotten synchronisation shows as wrong data. Seeds other than 0 draw
//     other orders, in which unneeded work runs now and then.
//   - Copies from pinned memory read it when they run, those from pageable memory take it at once; copies to the host write
//     when they run.
//   - Memory starts as NaN and ends at a guard page; freed memory cannot be touched, and freed handles are never valid again.
//   - What goes wrong in a kernel comes out at the next wait, and then from every call in the context (cuDevicePrimaryCtxReset
//     helps). So does what was written beside memory that is freed.
//   - Calls that a stream's capture forbids fail and invalidate it.
//   - PTX must be text that ends in a 0, of a version and target that the device takes; its entries must have the parameters
//     that the emulated kernels of the same names have. A cubin is a header and the PTX.
//   - What cuLinkCreate was given must be in place, unchanged, when cuLinkDestroy is called.
//
// It lacks arrays, textures, two-dimensional copies, managed memory, peers, graphs that are built node by node, and clusters:
// those calls answer CUDA_ERROR_NOT_SUPPORTED.
//
// Environment variables, read by cuInit:
//
//	F2PAD_FAKE_DEVICES=1            how many devices; with 0, cuInit answers CUDA_ERROR_NO_DEVICE
//	F2PAD_FAKE_MEMORY=1073741824    bytes of memory
//	F2PAD_FAKE_CAPABILITY=9.0       compute capability
//	F2PAD_FAKE_DRIVER=12040         version of CUDA that the driver supports
//	F2PAD_FAKE_SEED=0               of the order in which work runs
//	F2PAD_FAKE_FAIL=cuMemAlloc_v2:3:2,cuInit:1:999   the third call of cuMemAlloc_v2 fails with 2, cuInit with 999
//	F2PAD_FAKE_LOST=5:700           after 5 kernels every call in a context of the device answers 700
//	F2PAD_FAKE_DRY=1                kernels are checked, not run, and memory on the device holds nothing: what is copied from it is 0.
//	                                For counts of what is asked of a device, whose sizes then cost nothing
//
// Of memory, compute capability and loss there may be a list, F2PAD_FAKE_LOST=-1:0,5:700: a part for each device, the last for all
// that follow.
//
// A program opens one driver, once: F2PAD_LIBCUDA must name the fake before the first call. Packages that test with it call
// Main from TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(fakecuda.Main(m)) }
package fakecuda

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"testing"

	"f2pad.example/cgo/driver"
	"f2pad.example/kernels/emu"
)

//go:embed src
var src embed.FS

// Variable is the environment variable that names the library to take for the driver.
const Variable = "F2PAD_LIBCUDA"

// Build compiles the fake driver with the emulation of all kernels, and of those in more, .cu files by name, and returns the
// library's path. It fails with emu.ErrNoCompiler where there is no g++. What was built before is found again.
func Build(more ...map[string][]byte) (string, error) {
	sources := map[string][]byte{}
	for _, tree := range []struct {
		fs fs.FS
		to string
	}{{src, "fakecuda"}, {driver.Headers(), "."}} {
		err := fs.WalkDir(tree.fs, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			sources[path.Join(tree.to, name)], err = fs.ReadFile(tree.fs, name)
			return err
		})
		if err != nil {
			return "", fmt.Errorf("fakecuda: %w", err)
		}
	}
	for _, m := range more {
		for name, text := range m {
			sources[name] = text
		}
	}
	return emu.Build("libcuda.so.1", sources, "-shared", "-Wl,-Bsymbolic")
}

// Main builds the fake driver, makes it the one that this process will open, and runs the tests. It returns the exit status:
// without g++ it says that the tests are skipped, and returns 0.
func Main(m *testing.M, more ...map[string][]byte) int {
	path, err := Build(more...)
	if errors.Is(err, emu.ErrNoCompiler) {
		fmt.Println("SKIPPED: nothing of this package is tested: there is no g++ to compile the fake driver")
		return 0
	}
	if err == nil {
		err = os.Setenv(Variable, path)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return m.Run()
}

// Use makes the fake the driver that this process will open, if it has not opened one. Without g++ it skips the test.
func Use(t testing.TB) {
	t.Helper()
	path, err := Build()
	if errors.Is(err, emu.ErrNoCompiler) {
		t.Skip("SKIPPED: not tested: there is no g++ to compile the fake driver")
	}
	if err == nil {
		err = os.Setenv(Variable, path)
	}
	if err != nil {
		t.Fatal(err)
	}
}
