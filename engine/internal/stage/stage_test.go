package stage

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSpentAddsUp(t *testing.T) {
	var s Spent
	require.NotNil(t, s.Times(), "in JSON, a list")
	require.Empty(t, s.Times())
	for i, stage := range Order() {
		s.Add(stage, 1, time.Duration(i+1)*time.Second)
		s.Add(stage, 1, time.Second)
	}
	times := s.Times()
	require.Len(t, times, len(Order()))
	parts := 0
	for i, got := range times {
		require.Equal(t, Order()[i], got.Stage)
		require.Equal(t, float64(i+2), got.Seconds)
		if got.Part {
			parts++
		}
	}
	require.Equal(t, 2, parts)
	s.Reset()
	require.Empty(t, s.Times())
}
