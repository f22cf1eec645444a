package engine

import (
	"fmt"
	"testing"

	"f2pad/engine/dataset"
	"f2pad/engine/nd"
	"f2pad/engine/refine"

	"github.com/stretchr/testify/require"
)

func TestConformalQuantile(t *testing.T) {
	scores := func(n int) []float64 { // n, n-1, ..., 1
		s := make([]float64, n)
		for i := range s {
			s[i] = float64(n - i)
		}
		return s
	}
	for _, c := range []struct {
		n    int
		fpr  float64
		want float64
	}{{99, 0.05, 95}, {100, 0.05, 96}, {19, 0.05, 19}, {10, 0.05, 10}, {1, 0.5, 1}, {9, 0.5, 5}} {
		require.Equal(t, c.want, conformal(scores(c.n), c.fpr), "%+v", c)
	}
}

func TestSplitKeepsEveryImageOnce(t *testing.T) {
	for _, n := range []int{4, 5, 11, 100} {
		items := make([]dataset.Item, n)
		for i := range items {
			items[i].ID = fmt.Sprintf("%03d", i)
		}
		train, held, err := split(items, 0.2, 9)
		require.NoError(t, err)
		require.Len(t, held, max(2, (n+2)/5))
		require.IsIncreasing(t, ids(train))
		require.IsIncreasing(t, ids(held))
		require.ElementsMatch(t, items, append(train, held...))
		if n == 100 {
			_, other, err := split(items, 0.2, 10)
			require.NoError(t, err)
			require.NotEqual(t, held, other, "the seed chooses")
		}
	}
	_, _, err := split(make([]dataset.Item, 3), 0.2, 0)
	require.ErrorIs(t, err, ErrFewImages)
}

func ids(items []dataset.Item) (ids []string) {
	for _, it := range items {
		ids = append(ids, it.ID)
	}
	return ids
}

// TestCalibrationKeepsItsPromise runs a model on the images it was calibrated on: so many of them, and of their pixels, lie
// above the thresholds as the model states.
func TestCalibrationKeepsItsPromise(t *testing.T) {
	p := fixture(t)
	for _, name := range names() {
		t.Run(name, func(t *testing.T) {
			m := p.model(t, name)
			cal := m.Info.Calibration
			_, held, err := split(p.data.Train, 0.2, m.Info.Seed)
			require.NoError(t, err)
			require.Len(t, held, m.Info.HeldOut)
			above, pixels := map[refine.Kind]int{}, 0
			for id, r := range scored(t, m, Options{Maps: Kinds()}, held) {
				require.NoError(t, r.Err)
				require.False(t, r.Anomalous, "%s: so few images that the threshold is the largest score", id)
				for k, v := range r.Maps {
					for _, s := range nd.Data(v) {
						if float64(s) > cal.PixelThreshold[k] {
							above[k]++
						}
					}
				}
				pixels += 96 * 96
			}
			for _, k := range Kinds() {
				require.InDelta(t, cal.PixelFPR*float64(pixels), above[k], 1.5, "%s", k)
			}
		})
	}
}

func TestModelsRememberTrainingImages(t *testing.T) {
	p := fixture(t)
	m := p.model(t, "padim native")
	require.Len(t, m.memory, m.Info.Train, "fewer than 24: all")
	few, err := Fit(t.Context(), p.data.Train, FitOptions{Method: "padim", Remember: 3}, nil)
	require.NoError(t, err)
	require.Len(t, few.memory, 3)
	none, err := Fit(t.Context(), p.data.Train, FitOptions{Method: "padim", Remember: -1}, nil)
	require.NoError(t, err)
	require.Empty(t, none.memory)
}
