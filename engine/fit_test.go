package engine

import (
	"fmt"
	"path/filepath"
	"testing"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/refine"

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

// A model of images that are not square does all that one of squares does.
func TestModelsThatAreNotSquare(t *testing.T) {
	p := fixture(t)
	for _, method := range methods() {
		t.Run(method, func(t *testing.T) {
			size := Size{Px: 48, Wide: 80, KeepAspect: method == "patchcore"}
			m, err := Fit(t.Context(), p.data.Train, FitOptions{Method: method, Size: size, Seed: 5, Paintings: 3}, nil)
			require.NoError(t, err)
			if shape := m.method.Shape(); shape.H > 0 {
				require.Equal(t, [2]int{12, 20}, [2]int{shape.H, shape.W})
			}
			path := filepath.Join(t.TempDir(), "m")
			_, err = m.Save(path)
			require.NoError(t, err)
			again, err := Load(path)
			require.NoError(t, err)
			require.Equal(t, size, again.Info.Size)
			all := Options{Maps: Kinds()}
			got := scored(t, m, all, p.few[:2])
			requireSame(t, got, scored(t, again, all, p.few[:2]))
			for _, r := range got {
				require.Equal(t, []int{96, 96}, []int(r.Maps[refine.F2PAD].Shape()))
			}
		})
	}
	require.Equal(t, "48x80 (HxW), aspect kept", Size{Px: 48, Wide: 80, KeepAspect: true}.String())
	_, err := Fit(t.Context(), nil, FitOptions{Method: "padim", Size: Size{Wide: 80}}, nil)
	require.EqualError(t, err, "engine: size.wide needs a size.px above 0")
}
