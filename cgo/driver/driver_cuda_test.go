//go:build cuda && cgo

package driver_test

import (
	"cmp"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"f2pad.example/cgo/driver"
)

// A process opens the driver once, so each test asks a process of its own: this very binary, which imports cu and would not
// have been linked if the shim lacked one of cu's functions.

// childKey is set in the environment of the processes that tests start.
const childKey = "F2PAD_DRIVER_TEST_CHILD"

// answers is what such a process finds.
type answers struct {
	Before  bool // the driver was open before it was needed
	Status  driver.State
	Devices int
	Version int
	Calls   map[string]string // what driver calls returned
	Address cu.DevicePtr      // of an allocation of 41 bytes
}

func TestMain(m *testing.M) {
	if os.Getenv(childKey) != "" {
		if err := json.NewEncoder(os.Stdout).Encode(child()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child() answers {
	a := answers{Before: mapped(os.Getenv("F2PAD_LIBCUDA")), Calls: map[string]string{}}
	said := func(call string, err error) { a.Calls[call] = fmt.Sprint(err) }
	// All at once: one of them opens the driver, the others wait for it.
	var wg sync.WaitGroup
	var first [8]error
	for i := range first {
		wg.Go(func() { _, first[i] = cu.MemAlloc(1) })
	}
	wg.Wait()
	said("first", cmp.Or(first[:]...))

	var err error
	a.Devices, err = cu.NumDevices()
	said("cuDeviceGetCount", err)
	a.Version = cu.Version()
	a.Address, err = cu.MemAlloc(41)
	said("cuMemAlloc_v2", err)
	said("cuMemFree_v2", cu.MemFree(a.Address))
	said("cuCtxSynchronize", cu.Synchronize())
	one, stream, arg := uintptr(1), uintptr(9), uint64(0) // handles are structs of one pointer
	said("cuLaunchKernel", (*(*cu.Function)(unsafe.Pointer(&one))).Launch(2, 3, 4, 5, 6, 7, 8,
		*(*cu.Stream)(unsafe.Pointer(&stream)), []unsafe.Pointer{unsafe.Pointer(&arg)}))
	a.Status = driver.Status()
	return a
}

// mapped tells whether this process has opened the library.
func mapped(lib string) bool {
	maps, err := os.ReadFile("/proc/self/maps")
	return err == nil && lib != "" && strings.Contains(string(maps), lib)
}

func ask(t *testing.T, lib string, env ...string) answers {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childKey+"=1", "F2PAD_LIBCUDA="+lib, "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", out)
	var a answers
	require.NoError(t, json.Unmarshal(out, &a), "%s", out)
	return a
}

// compile makes a file of C, against the project's header.
func compile(t *testing.T, name string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	args = append([]string{"-std=c11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-o", out}, args...)
	args = append(args, "-Iinclude", "-iquote", "include") // an -I in args comes first
	said, err := exec.Command(cmp.Or(os.Getenv("CC"), "cc"), args...).CombinedOutput()
	require.NoError(t, err, "%s", said)
	return out
}

func fake(t *testing.T) string {
	return compile(t, "libfake.so", "-shared", "-fPIC", "-fvisibility=default", "testdata/fake.c")
}

func TestWithoutADriver(t *testing.T) {
	lib := filepath.Join(t.TempDir(), "no-such-libcuda.so")
	a := ask(t, lib)
	require.False(t, a.Status.Loaded)
	require.Contains(t, a.Status.Reason, "F2PAD_LIBCUDA")
	require.Contains(t, a.Status.Reason, lib+": cannot open shared object file")
	require.Empty(t, a.Status.Path)
	require.Empty(t, a.Status.Version)
	require.Zero(t, a.Devices)
	require.Zero(t, a.Version)
	none := cu.NoDevice.Error()
	require.Equal(t, map[string]string{"first": none, "cuDeviceGetCount": "<nil>", "cuMemAlloc_v2": none,
		"cuMemFree_v2": none, "cuCtxSynchronize": none, "cuLaunchKernel": none}, a.Calls)
}

func TestForwards(t *testing.T) {
	lib := fake(t)
	a := ask(t, lib)
	require.False(t, a.Before, "cu's init opened the driver")
	require.Equal(t, driver.State{Loaded: true, Path: lib, Version: "12.4"}, a.Status)
	require.Equal(t, 3, a.Devices)
	require.Equal(t, 12040, a.Version)
	require.Equal(t, cu.DevicePtr(42), a.Address)
	lacks := cu.NotFound.Error()
	require.Equal(t, map[string]string{"first": "<nil>", "cuDeviceGetCount": "<nil>", "cuMemAlloc_v2": "<nil>",
		"cuMemFree_v2": lacks, "cuCtxSynchronize": lacks, "cuLaunchKernel": "<nil>"}, a.Calls)
}

func TestDriverThatDoesNotWork(t *testing.T) {
	lib := fake(t)
	for code, reason := range map[string]string{
		"100":  "the NVIDIA driver cannot be used: no CUDA-capable device is detected (CUDA_ERROR_NO_DEVICE, 100)",
		"999":  "the NVIDIA driver cannot be used: the fake has no idea (CUDA_ERROR_UNKNOWN, 999)",
		"4242": "the NVIDIA driver cannot be used: the fake is newer than the header (unnamed, 4242)",
		"4343": "the NVIDIA driver cannot be used: no explanation (unnamed, 4343)",
	} {
		a := ask(t, lib, "FAKE_INIT="+code)
		require.Equal(t, driver.State{Path: lib, Version: "12.4", Reason: reason}, a.Status)
		require.Zero(t, a.Devices)
		require.Zero(t, a.Version)
		require.Equal(t, cu.NoDevice.Error(), a.Calls["cuMemAlloc_v2"], "what the driver has is not called, either")
		require.Equal(t, cu.NoDevice.Error(), a.Calls["cuCtxSynchronize"])
	}
	hidden := ask(t, lib, "FAKE_INIT=100", "CUDA_VISIBLE_DEVICES=-1")
	require.Contains(t, hidden.Status.Reason, `CUDA_VISIBLE_DEVICES is "-1"`)
	require.Empty(t, ask(t, lib, "CUDA_VISIBLE_DEVICES=1").Status.Reason)
}

func TestLibraryThatIsNoDriver(t *testing.T) {
	lib := compile(t, "libother.so", "-shared", "-fPIC", "-include", "cuda.h", "-x", "c", os.DevNull)
	a := ask(t, lib)
	require.Equal(t, driver.State{Path: lib, Reason: lib + " is not a CUDA driver: it has no cuInit"}, a.Status)
	require.Equal(t, cu.NoDevice.Error(), a.Calls["cuMemAlloc_v2"])
}

func TestErrorTexts(t *testing.T) {
	probe := compile(t, "probe", "testdata/probe.c", "shim.c", "-ldl", "-pthread")
	say := func(lib string) string {
		cmd := exec.Command(probe)
		cmd.Env = append(os.Environ(), "F2PAD_LIBCUDA="+lib)
		out, err := cmd.Output()
		require.NoError(t, err)
		codes, _, _ := strings.Cut(string(out), "driver ")
		return codes
	}
	const known = "0: 0 CUDA_SUCCESS, 0 no error\n" +
		"2: 0 CUDA_ERROR_OUT_OF_MEMORY, 0 out of memory\n" +
		"100: 0 CUDA_ERROR_NO_DEVICE, 0 no CUDA-capable device is detected\n" +
		"500: 0 CUDA_ERROR_NOT_FOUND, 0 not found\n"
	require.Equal(t, known+"999: 0 CUDA_ERROR_UNKNOWN, 0 unknown error\n4242: 1 -, 1 -\n"+
		"cuMemAlloc: 100 0, cuTensorMapEncodeTiled: 100\n", say("/no/such/file"))
	require.Equal(t, known+"999: 0 CUDA_ERROR_UNKNOWN, 0 the fake has no idea\n4242: 1 -, 0 the fake is newer than the header\n"+
		"cuMemAlloc: 0 42, cuTensorMapEncodeTiled: 500\n", say(fake(t)))
}

// Where the linker finds no driver, other folders may have one; of one that cannot be opened the reason is given.
func TestFoldersOfTheDriver(t *testing.T) {
	if path := driver.Status().Path; path != "" {
		t.Skip("SKIPPED: the driver's other folders are not tested: the linker finds ", path)
	}
	lib, err := os.ReadFile(fake(t))
	require.NoError(t, err)
	empty, broken, good := t.TempDir(), t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(broken, "libcuda.so.1"), []byte("no library"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(good, "libcuda.so.1"), lib, 0o755))
	say := func(folders ...string) string {
		probe := compile(t, "probe", fmt.Sprintf(`-DF2PAD_DRIVER_FOLDERS="%s"`, strings.Join(folders, `", "`)),
			"testdata/probe.c", "shim.c", "-ldl", "-pthread")
		cmd := exec.Command(probe)
		cmd.Env = append(os.Environ(), "F2PAD_LIBCUDA=")
		out, err := cmd.Output()
		require.NoError(t, err)
		return string(out)
	}
	opened := "libcuda.so.1, loaded 1: \n"
	require.Contains(t, say(empty, broken, good), "\ndriver "+filepath.Join(good, opened))
	require.Contains(t, say(good, broken), "\ndriver "+filepath.Join(good, opened))
	said := say(empty, broken)
	require.Contains(t, said, "\ndriver , loaded 0: the NVIDIA driver's library cannot be opened: "+broken)
	require.Contains(t, say(empty), "\ndriver , loaded 0: the NVIDIA driver's library cannot be opened: libcuda.so.1: ")
}

// Nothing has to be found before main, toolkit installed or not.
func TestLinkedWithoutLibcuda(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	f, err := elf.Open(self)
	require.NoError(t, err)
	defer f.Close()
	libs, err := f.ImportedLibraries()
	require.NoError(t, err)
	require.NotEmpty(t, libs)
	require.NotContains(t, strings.Join(libs, " "), "cuda")
}

// No other library of the process may find the shim in the driver's place.
func TestShimIsHidden(t *testing.T) {
	f, err := elf.Open(compile(t, "shim.so", "-shared", "-fPIC", "shim.c", "-ldl", "-pthread"))
	require.NoError(t, err)
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	require.NoError(t, err)
	require.NotEmpty(t, symbols)
	for _, s := range symbols {
		require.Equal(t, elf.SHN_UNDEF, s.Section, "%s is exported", s.Name)
	}
}
