package peak

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOperations(t *testing.T) {
	perRound := map[string]float64{"AVX-512": 16 * 16, "AVX2": 12 * 8, "": 0}[Unit()]
	require.Equal(t, 2*perRound*rounds, Run(1))
	require.Equal(t, 3*Run(1), Run(3))
}
