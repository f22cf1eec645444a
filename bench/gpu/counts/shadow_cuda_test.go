//go:build cuda && cgo

package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/cgo/cuda"
	"f2pad.example/cgo/fakecuda"
	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(fakecuda.Main(m)) }

// What a dry device beside the host is given is what one is given that computes, in the emulation.
func TestCountsAreThoseOfADeviceThatComputes(t *testing.T) {
	o := options{images: 4, side: 64} // with scatter
	data, err := images(t.Context(), o, filepath.Join(t.TempDir(), "data"))
	require.NoError(t, err)
	require.Len(t, data.Test, 4)
	f, err := fitted(t.Context(), o, "padim", data)
	require.NoError(t, err)
	t.Setenv("F2PAD_FAKE_DRY", "1")
	t.Setenv("F2PAD_FAKE_DEVICES", "2")
	driver := fakecuda.Open(t)
	var c counted
	for _, it := range data.Test { // until there is one to optimise
		f.items = []dataset.Item{it}
		counts, err := f.count(t.Context(), 1, false, t.TempDir())
		require.NoError(t, err)
		require.Len(t, counts, 2)
		require.Equal(t, cuda.Float16, counts[1].precision)
		if c = counts[0]; c.iterations > 0 {
			break
		}
	}
	require.Positive(t, c.iterations)
	require.Equal(t, 1, c.refined)
	require.Zero(t, driver.Live("bytes"), "something was left on the devices")

	t.Setenv("F2PAD_FAKE_DRY", "0")
	driver.Reset()
	d, err := openDry(0, cuda.Float32, t.TempDir()) // which it is not
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	e, err := engine.New(f.model, engine.Options{Maps: []refine.Kind{refine.F2PAD}, Places: []place.Place{d.Device}, Batch: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	d.reset()
	require.NoError(t, e.Score(t.Context(), slices.Values(f.items), func(r *engine.Result) error { return r.Err }))
	want, got := d.counts[partOnce], c.all()
	require.Equal(t, []int64{want.up, want.down}, []int64{got.up, got.down})
	require.Equal(t, []int{want.uploads, want.downloads}, []int{got.uploads, got.downloads})
	require.Equal(t, slices.Sorted(maps.Keys(want.kernels)), slices.Sorted(maps.Keys(got.kernels)))
	for name, w := range want.kernels {
		require.Equal(t, []int{w.launches, w.replayed}, []int{got.kernels[name].launches, got.kernels[name].replayed}, name)
	}
}
