package metric

import (
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// BenchmarkPixels streams 32 images of 256 x 256 distinct scores, one in eight with a defect, through an accumulator that
// has to spill, and takes the result.
func BenchmarkPixels(b *testing.B) {
	const images, side = 32, 256
	rng := rand.New(rand.NewPCG(1, 0))
	mask := nd.New(side, side)
	for y := 100; y < 140; y++ {
		for x := 90; x < 130; x++ {
			nd.Data(mask)[y*side+x] = 1
		}
	}
	score := nd.New(side, side)
	for i := range nd.Data(score) {
		nd.Data(score)[i] = float32(rng.ExpFloat64())
	}
	b.SetBytes(images * side * side) // MB/s reads as million pixels per second
	for b.Loop() {
		p := NewPixels(Options{TempDir: b.TempDir()})
		for i := range images {
			nd.Data(score)[i] += 1
			truth := mask
			if i%8 != 0 {
				truth = nil
			}
			require.NoError(b, p.Add(score, truth))
		}
		_, err := p.Result(5)
		require.NoError(b, err)
		require.NoError(b, p.Close())
	}
}
