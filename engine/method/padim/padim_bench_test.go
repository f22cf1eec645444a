package padim

import (
	"context"
	"fmt"
	"testing"

	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

var benchLayers = []methodtest.Layer{{C: 48, H: 64, W: 64}}

// Score and gradient of all locations, with a Gaussian per location and with one for all.
func BenchmarkScoreGrad(b *testing.B) {
	for _, native := range []bool{false, true} {
		o := profile(b, "paper")
		o.Native = native
		m, err := Fit(b.Context(), methodtest.Images(1, 4, benchLayers), o)
		require.NoError(b, err)
		for _, batch := range []int{1, 4} {
			b.Run(fmt.Sprintf("64x64x48/batch%d/native=%v", batch, native), func(b *testing.B) {
				f, df := methodtest.Batch(9, batch, benchLayers), methodtest.Batch(9, batch, benchLayers)
				r := &method.Result{S: nd.New(batch, 64, 64), Gradient: true}
				for b.Loop() {
					require.NoError(b, m.Score(b.Context(), f, r))
					require.NoError(b, m.Grad(b.Context(), f, r, r.S, df))
				}
			})
		}
	}
}

func BenchmarkFit(b *testing.B) {
	images := make([][]*tensor.Dense, 20)
	for i := range images {
		images[i] = methodtest.Batch(uint64(i), 1, benchLayers)
	}
	feats := func(_ context.Context, visit func([]*tensor.Dense) error) error {
		for _, f := range images {
			if err := visit(f); err != nil {
				return err
			}
		}
		return nil
	}
	for _, native := range []bool{false, true} {
		o := profile(b, "f2pad")
		o.Native = native
		b.Run(fmt.Sprintf("20x64x64x48/native=%v", native), func(b *testing.B) {
			for b.Loop() {
				_, err := Fit(b.Context(), feats, o)
				require.NoError(b, err)
			}
		})
	}
}
