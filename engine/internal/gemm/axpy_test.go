package gemm

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAxpy(t *testing.T) {
	x := wave(100, 127)
	for taps := range 30 {
		w, at := wave(taps, 131), make([]int, taps)
		for k := range at {
			at[k] = k * k % 83
		}
		for n := range 18 {
			y, whole := guarded(n)
			copy(y, wave(n, 113))
			want := append([]float32(nil), y...)
			for i := range want {
				for k := range w {
					want[i] += float32(w[k] * x[at[k]+i])
				}
			}
			axpy(y, x, at, w)
			require.Equal(t, want, append([]float32(nil), y...), "%d taps, %d elements", taps, n)
			untouched(t, whole)
		}
	}
}
