//go:build cuda && cgo

package gpu

import (
	"strings"
	"testing"

	"f2pad.example/kernels"
	"f2pad.example/kernels/kerneltest"

	"github.com/stretchr/testify/require"
)

// copier is a device that copies on its own stream.
type copier struct{ *Device }

func (c copier) Copy(dst, src kernels.Ptr, bytes int) error { return c.stream.Copy(dst, src, bytes) }

// Every kernel gets arrays of more than 4 GiB right, what 32 bits can address. On the fake driver they are of some kilobytes.
func TestFar(t *testing.T) {
	d := open(t, Options{})
	info, err := d.Info()
	require.NoError(t, err)
	limit, fake := int64(1<<32), strings.Contains(info.Name, "Fake") // also where gpu-first.sh takes it for a GPU
	if fake {
		limit = 1 << 15
	}
	if info.MemoryFree < 2*limit {
		t.Skipf("SKIPPED: no kernel is tested on arrays of more than 4 GiB: %s of the card's memory are free", size(info.MemoryFree))
	}
	kerneltest.Far(t, copier{d}, limit, fake, seed)
}
