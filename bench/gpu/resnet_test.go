package main

import (
	"os"
	"path/filepath"
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/onnx"

	"github.com/stretchr/testify/require"
)

func TestResNet(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.onnx")
	require.NoError(t, writeResNet(options{resnet: file, side: 64, width: 16}))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	m, err := onnx.Read(text)
	require.NoError(t, err)
	g, err := m.Graph(64, 64, []string{"layer1", "layer2", "layer3"}) // as fit asks for them
	require.NoError(t, err)
	shapes, err := g.Infer()
	require.NoError(t, err)
	require.Len(t, g.Outputs, 3)
	for i, name := range g.Outputs {
		require.Equal(t, graph.Shape{graph.N, 16 << i, 16 >> i, 16 >> i}, shapes[name])
	}
	convolutions := 0
	for _, n := range g.Nodes {
		if n.Op == graph.Conv {
			convolutions++
		}
	}
	require.Equal(t, 1+3*4+2, convolutions)
}
