package backbone

import (
	"context"
	"testing"

	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// One 256 x 256 image through the fitted colour network.
func BenchmarkScatter(b *testing.B) {
	const side = 256
	ctx := context.Background()
	s := fit(b, testImage(24, 28, false))
	g, err := s.Graph(side, side)
	require.NoError(b, err)
	x := s.Normalize(testImage(side, side, false)).apply(testImage(side, side, false))
	f := nd.New(1, s.Features(), side/4, side/4)
	dx := nd.New(1, 3, side, side)
	for _, gradient := range []bool{false, true} {
		name := "forward"
		if gradient {
			name = "forward+backward"
		}
		b.Run(name, func(b *testing.B) {
			net, err := goexec.New().Compile(g, gradient)
			require.NoError(b, err)
			defer net.Close()
			for b.Loop() {
				require.NoError(b, net.Forward(ctx, []*tensor.Dense{x}, []*tensor.Dense{f}))
				if gradient {
					require.NoError(b, net.Backward(ctx, []*tensor.Dense{f}, []*tensor.Dense{dx}))
				}
			}
		})
	}
}
