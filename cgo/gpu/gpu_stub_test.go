//go:build !cuda || !cgo

package gpu

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNotBuilt(t *testing.T) {
	_, err := Devices()
	require.ErrorIs(t, err, ErrNotBuilt)
	require.ErrorContains(t, err, "built without CUDA")
	d, err := Open(0, Options{})
	require.ErrorIs(t, err, ErrNotBuilt)
	require.ErrorIs(t, d.Close(), ErrNotBuilt)
	t.Log("SKIPPED: the device, its streams and its graphs are tested with -tags cuda only")
}
