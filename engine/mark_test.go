package engine

import (
	"testing"

	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func TestMarkIsEmptyOfANormalImage(t *testing.T) {
	m := nd.New(2, 3)
	copy(nd.Data(m), []float32{0, 2, 0, 0, 3, 0})
	r := &Result{
		Score: 2.51, Threshold: 1.234567, Anomalous: true,
		Maps: map[refine.Kind]*tensor.Dense{refine.Base: m}, PixelThreshold: map[refine.Kind]float64{refine.Base: 1},
	}
	marked, regions := r.Mark(refine.Base, region.Options{})
	require.Equal(t, []bool{false, true, false, false, true, false}, marked)
	require.Len(t, regions, 1)
	require.EqualValues(t, 3, regions[0].Peak)
	require.Equal(t, "anomalous 2.51 > 1.235", r.verdict())

	_, regions = r.Mark(refine.Base, region.Options{MinArea: 3})
	require.Empty(t, regions)
	r.Inspected = []bool{true, true, true, true, false, true}
	marked, _ = r.Mark(refine.Base, region.Options{})
	require.False(t, marked[4])

	r.Anomalous, r.Threshold = false, 3
	marked, regions = r.Mark(refine.Base, region.Options{})
	require.Equal(t, make([]bool, 6), marked)
	require.NotNil(t, regions, "JSON has a list, also of none")
	require.Empty(t, regions)
	require.Equal(t, "normal 2.51 <= 3", r.verdict())
}
