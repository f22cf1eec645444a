package sight

import (
	"context"
	"math"
	"testing"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
)

// looking is a Detector whose maps are values.
type looking struct {
	Detector
	values []float32
}

func (l *looking) Maps(_ []float32, _, _, _, _, _ int, wanted []bool, dst []float32) error {
	for p, on := range wanted {
		if on {
			dst[p] = l.values[p]
		}
	}
	return nil
}

// lookedAt is a Batch that keeps what it was asked for.
type lookedAt struct {
	Batch
	asked method.Result
}

func (l *lookedAt) Score(_ context.Context, _ refine.Variants, r *method.Result) error {
	l.asked = *r
	return nil
}

// coarse is a network with a cell for 2 pixels.
type coarse struct{ backbone.Backbone }

func (coarse) Name() string { return "coarse" }
func (coarse) Stride() int  { return 2 }

// blocky is a method whose maps are its scores.
type blocky struct{ method.Method }

func (blocky) Map() method.MapOptions { return method.MapOptions{Nearest: true} }

// A map is calibrated where it is asked for, and nowhere else; an image whose map is not finite there is to blame.
func TestMapsWhereTheyAreAskedFor(t *testing.T) {
	const H, W = 4, 6
	nan := float32(math.NaN())
	l, b := &looking{values: make([]float32, 3*H*W)}, &lookedAt{}
	sc := &Scorer{
		Detector: l, Spec: Spec{Backbone: coarse{}, Method: blocky{}}, Rank: Scale{Q50: 1, Q995: 3}, Frames: []*Frame{{}, {}, {}},
		scores: nd.New(3, H/2, W/2), batch: b,
	}
	where, want := make([]bool, 3*H*W), make([]float32, 3*H*W)
	v := nd.New(3, H, W)
	for p := range where {
		l.values[p], nd.Data(v)[p], want[p] = float32(p), -7, -7
		if where[p] = p%(H*W) == 9 || p%(H*W) == 10 || p == 2*H*W; where[p] {
			want[p] = (float32(p) - 1) / 2
		}
	}
	x := refine.Variants{Of: []int{2, 0, 1}}
	l.values[0] = nan // nobody asks for it
	require.NoError(t, sc.Map(t.Context(), x, where, v))
	require.Equal(t, want, nd.Data(v))
	require.NoError(t, sc.Bad.Err())
	require.Equal(t, []bool{
		false, true, true, false, false, false, // columns 3 and 4 of row 1
		false, true, true, false, false, false,
		true, true, true, false, false, false,
	}, b.asked.Where)

	l.values[H*W+10] = nan
	require.NoError(t, sc.Map(t.Context(), x, where, v))
	require.Len(t, sc.Bad.Why, 1)
	require.ErrorContains(t, sc.Bad.Why[0], "coarse gives values that are not finite for a changed image")
}
