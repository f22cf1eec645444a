package engine

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/roi"

	"github.com/stretchr/testify/require"
)

// An estimate says what a fit learns from, and grows with its images; it looks at a few of them only.
func TestPlansOfAFit(t *testing.T) {
	p := fixture(t)
	items := p.data.Train
	many := slices.Repeat(items, 205)
	for _, method := range methods() {
		t.Run(method, func(t *testing.T) {
			o := FitOptions{Method: method, Size: Size{Px: 48, Wide: 64}, Seed: 5, Paintings: 1, Checkpoint: filepath.Join(t.TempDir(), "part")}
			o.Progress = func(Progress) { t.Error("an estimate reports no progress") }
			e, err := Plan(t.Context(), items, o)
			require.NoError(t, err)
			require.NoFileExists(t, o.Checkpoint)
			require.Equal(t, Estimate{Images: 12, Train: 10, HeldOut: 2, Width: 64, Height: 48}, Estimate{e.Images, e.Train, e.HeldOut, e.Width, e.Height, 0, 0, 0, 0})
			require.Positive(t, e.Seconds)
			require.Greater(t, e.Bytes, int64(1<<20))
			more, err := Plan(t.Context(), many, o)
			require.NoError(t, err)
			require.Equal(t, 2460, more.Train+more.HeldOut)
			require.Greater(t, more.Seconds, 5*e.Seconds, "205 times as many images")
			if method == "patchcore" {
				require.Equal(t, [2]int{10 * 12 * 16, 192}, [2]int{e.Patches, e.Bank})
				require.Equal(t, [2]int{100_000, 4000}, [2]int{more.Patches, more.Bank})
				require.Greater(t, more.Bytes, int64(100_000*48*4))
			}
		})
	}
}

func TestPlansFailAsFitsDo(t *testing.T) {
	p := fixture(t)
	o := FitOptions{Method: "padim", Size: Size{Px: 48}}
	_, err := Plan(t.Context(), p.data.Train[:3], o)
	require.ErrorIs(t, err, ErrFewImages)
	broken := filepath.Join(t.TempDir(), "broken.png")
	require.NoError(t, os.WriteFile(broken, []byte("no image"), 0o666))
	_, err = Plan(t.Context(), slices.Repeat([]dataset.Item{{Path: broken}}, 9), o)
	require.ErrorIs(t, err, ErrFewImages)
	require.ErrorContains(t, err, "0 of the 4 that were looked at for an estimate are usable: "+broken)
	o.ROI = leftPart(t, 20, 96, 9)
	_, err = Plan(t.Context(), p.data.Train, o)
	require.ErrorIs(t, err, roi.ErrAspect)
	o.ROI = nil
	_, err = Plan(t.Context(), slices.Repeat(p.data.Train[:1], 9), o)
	require.ErrorContains(t, err, "1 of the 4 that were looked at for an estimate are usable: the rest are copies")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Plan(ctx, p.data.Train, FitOptions{Method: "padim"})
	require.ErrorIs(t, err, context.Canceled)
	_, err = Plan(t.Context(), p.data.Train, FitOptions{Method: "flow"})
	require.ErrorContains(t, err, "flow")
}
