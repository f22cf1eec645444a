//go:build cuda && cgo

package cuda

import (
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/cgo/fakecuda"
	"f2pad.example/cgo/gpu"
	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/nd"
	places "f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/synth"

	"github.com/stretchr/testify/require"
)

// Three GPUs give the bytes that one gives, in the same order: when all is well, when one is lost on the way, and when another has
// little memory, which halves its own batches.
func TestFakeSeveral(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "weave")
	require.NoError(t, synth.Write(t.Context(), dir, synth.Options{Texture: "weave", Train: 8, Test: 6, Size: 64, Seed: 4}, nil))
	data, err := dataset.MVTec(dir)
	require.NoError(t, err)
	m, err := engine.Fit(t.Context(), data.Train, engine.FitOptions{Method: "padim", Seed: 1, Paintings: 8}, nil)
	require.NoError(t, err)
	items := data.Test[:min(12, len(data.Test))]
	var notices []string
	score := func(batch int, where ...places.Place) (all []*engine.Result, on map[string]int) {
		notices, on = nil, map[string]int{}
		e, err := engine.New(m, engine.Options{
			Places: where, Batch: batch, Maps: []refine.Kind{refine.Base}, Notice: func(s string) { notices = append(notices, s) },
		})
		require.NoError(t, err)
		defer func() { require.NoError(t, e.Close()) }()
		require.NoError(t, e.Score(t.Context(), slices.Values(items), func(r *engine.Result) error {
			require.NoError(t, r.Err)
			all = append(all, r)
			on[r.Device]++
			return nil
		}))
		return all, on
	}
	// three are GPUs of which the last has so many bytes; 0: as much as there is.
	three := func(lost string, memory int64) (all []places.Place) {
		t.Setenv("F2PAD_FAKE_DEVICES", "3")
		t.Setenv("F2PAD_FAKE_LOST", lost)
		fakecuda.Open(t)
		for i := range 3 {
			o := gpu.Options{Cache: filepath.Join(t.TempDir(), "cubin")}
			if i == 2 {
				o.Memory = memory
			}
			d, err := OpenWith(i, Float32, o)
			require.NoError(t, err)
			all = append(all, d)
		}
		return all
	}
	closed := func(all []places.Place) {
		for _, d := range all {
			require.NoError(t, d.(*Device).Close(), "something was left on the GPU")
		}
	}
	all := three("", 0)
	want, _ := score(1, all[0])
	most := all[0].(*Device).gpu.Stats().Peak // of one image at a time
	requireSame := func(got []*engine.Result) {
		t.Helper()
		require.Len(t, got, len(want))
		for i, w := range want {
			require.Equal(t, w.Item.ID, got[i].Item.ID)
			require.Equal(t, w.Score, got[i].Score)
			require.Equal(t, nd.Data(w.Maps[refine.Base]), nd.Data(got[i].Maps[refine.Base]))
		}
	}
	got, on := score(2, all...)
	requireSame(got)
	require.Len(t, on, 3)
	require.Empty(t, notices)
	closed(all)

	all = three("-1:0,6:719,-1:0", 0)
	got, on = score(2, all...)
	requireSame(got)
	require.Len(t, notices, 1)
	require.Contains(t, notices[0], "cuda:1: cuda:0+cuda:2 takes over its images: ")
	require.Positive(t, on["cuda:2"])
	closed(all)

	all = three("", most*5/4)
	got, _ = score(8, all...)
	requireSame(got)
	of := notices // what the small one gets is left to chance
	got, _ = score(8, all[2])
	requireSame(got)
	require.NotEmpty(t, notices)
	for _, n := range append(of, notices...) {
		require.Contains(t, n, "cuda:2: ")
		require.Contains(t, n, " images at once from now on: ")
	}
	closed(all)
}
