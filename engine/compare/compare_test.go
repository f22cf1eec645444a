package compare

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCloseRejectsWhatIsNotANumber(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	loose := Tolerance{Abs: 1e30, Rel: 1e30}
	for _, c := range [][2]float64{{nan, 1}, {1, nan}, {nan, nan}, {inf, inf}, {inf, 1}, {-inf, 1}} {
		_, err := Close([]float64{0, c[0]}, []float64{0, c[1]}, loose)
		require.ErrorContains(t, err, "worst at [1]")
	}
	_, err := Close([]float32{1}, []float32{1, 2}, loose)
	require.ErrorContains(t, err, "1 values, want 2")
}

func TestCloseReportsTheShareUsed(t *testing.T) {
	r, err := Close([]float64{1, 2.5, 3}, []float64{1, 2, 3}, Tolerance{Abs: 1})
	require.NoError(t, err)
	require.Equal(t, Report{Worst: 1, Used: 0.5}, r)
	_, err = Close([]float64{1, 2.5, 3}, []float64{1, 2, 3}, Tolerance{Rel: 0.2})
	require.ErrorContains(t, err, "1 of 3")
	_, err = Close([]float64{0}, []float64{0}, Tolerance{})
	require.NoError(t, err)
}
