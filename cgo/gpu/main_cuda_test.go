//go:build cuda && cgo

package gpu

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"f2pad.example/cgo/fakecuda"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// The tests run on the fake driver, or, with F2PAD_GPU=1, on the first GPU, with fresh random data. Those named TestFake
// inject what a real driver does not do on demand.
var (
	real = os.Getenv("F2PAD_GPU") == "1"
	seed = uint64(1)
)

// childKey is set in the environment of processes that tests start.
const childKey = "F2PAD_GPU_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childKey) != "" {
		_, devices := Devices()
		_, open := Open(0, Options{})
		fmt.Printf("%v\n%v\n", devices, open)
		return
	}
	if real {
		seed = rand.Uint64()
		fmt.Printf("on a GPU, with seed %d\n", seed)
		os.Exit(m.Run())
	}
	os.Exit(fakecuda.Main(m))
}

// fake begins a test that needs the fake driver.
func fake(t *testing.T) *fakecuda.Driver {
	t.Helper()
	if real {
		t.Skip("SKIPPED: this test is for the fake driver")
	}
	f := fakecuda.Open(t)
	t.Cleanup(f.Reset)
	return f
}

// open opens the device for a test, which leaves nothing behind on it.
func open(t testing.TB, o Options) *Device {
	t.Helper()
	if o.Cache == "" && !real {
		o.NoCache = true
	}
	d, err := Open(0, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func random(n int, r *rand.Rand) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func alloc(t testing.TB, d *Device, bytes int) kernels.Ptr {
	t.Helper()
	p, err := d.Alloc(bytes)
	require.NoError(t, err)
	return p
}

func free(t testing.TB, d *Device, ps ...kernels.Ptr) {
	t.Helper()
	for _, p := range ps {
		require.NoError(t, d.Free(p))
	}
}

// spread launches a kernel whose result is easily told: 8 x 64 floats at out, all of them what the one at in is.
func spread(q kernels.Queue, in, out kernels.Ptr) error {
	return kernels.Upsample{N: 1, GridH: 1, GridW: 1, H: 8, W: 64, Nearest: true, Grid: in, Out: out}.Enqueue(q)
}

const spreadBytes = 4 * 8 * 64

func requireSpread(t testing.TB, got []byte, value [4]byte) {
	t.Helper()
	for i, v := range got {
		if v != value[i%4] {
			t.Fatalf("byte %d is %#x, want %#x", i, v, value[i%4])
		}
	}
}
