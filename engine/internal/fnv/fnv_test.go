package fnv

import (
	"hash/fnv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOf(t *testing.T) {
	for _, s := range []string{"", "a", "test/hole/003.png", "\xff\x00ü"} {
		h := fnv.New64a()
		h.Write([]byte(s))
		require.Equal(t, h.Sum64(), Of(s))
		sum := uint64(0)
		require.Zero(t, testing.AllocsPerRun(10, func() { sum += Of(s) }))
	}
}
