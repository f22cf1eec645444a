package arena

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBuffersInUseTogetherLieApart(t *testing.T) {
	const align = 16
	rng := rand.New(rand.NewPCG(5, 0))
	for range 50 {
		var buffers []*Buffer
		for range 60 {
			first := rng.IntN(100)
			buffers = append(buffers, &Buffer{Size: 1 + rng.IntN(500), First: first, Last: first + rng.IntN(20)})
		}
		size := Place(buffers, align)
		total, most := 0, 0
		for now := range 120 {
			live := 0
			for i, a := range buffers {
				require.Zero(t, a.Offset%align)
				require.LessOrEqual(t, a.Offset+a.Size, size)
				if now < a.First || now > a.Last {
					continue
				}
				live += a.Size
				for _, b := range buffers[:i] {
					if b.First <= now && now <= b.Last {
						require.True(t, a.Offset+a.Size <= b.Offset || b.Offset+b.Size <= a.Offset, "%+v and %+v", a, b)
					}
				}
			}
			most = max(most, live)
		}
		for _, b := range buffers {
			total += b.Size
		}
		require.Less(t, size, total/2, "buffers are reused")
		require.Less(t, float64(size), 1.4*float64(most)+align*60, "it is not much larger than what is in use at once")
	}
}
