package engine

import (
	"fmt"
	"testing"

	"f2pad/engine/dataset"

	"github.com/stretchr/testify/require"
)

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

func TestModelsRememberTrainingImages(t *testing.T) {
	p := fixture(t)
	m := p.model(t, "padim native")
	require.Len(t, m.memory, m.Info.Train, "fewer than 24: all")
	few, err := Fit(t.Context(), p.data.Train, FitOptions{Method: "padim", Remember: 3, Paintings: fewPaintings}, nil)
	require.NoError(t, err)
	require.Len(t, few.memory, 3)
	none, err := Fit(t.Context(), p.data.Train, FitOptions{Method: "padim", Remember: -1, Paintings: fewPaintings}, nil)
	require.NoError(t, err)
	require.Empty(t, none.memory)
}
