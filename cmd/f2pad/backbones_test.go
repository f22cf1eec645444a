package main

import (
	"context"
	"testing"

	"f2pad/engine/backbone"
	"f2pad/engine/exec/goexec"
	"f2pad/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func TestScatterFLOPs(t *testing.T) {
	s := backbone.NewScatter()
	img := nd.New(3, 64, 64)
	for i := range nd.Data(img) {
		nd.Data(img)[i] = float32(i*7919%251) / 255
	}
	require.NoError(t, s.Fit(t.Context(), goexec.New(), func(_ context.Context, visit func(*tensor.Dense) error) error { return visit(img) }, 0))
	require.False(t, s.Grey())
	g, err := s.Graph(freeSide, freeSide)
	require.NoError(t, err)
	flops, err := g.FLOPs()
	require.NoError(t, err)
	require.Equal(t, scatterFLOPs, flops)
}
