package main

import (
	"errors"
	"testing"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/graph"

	"github.com/stretchr/testify/require"
)

// compiled counts what it is asked for.
type compiled struct{ forward, gradient int }

var errNotCompiled = errors.New("not compiled")

func (c *compiled) Info() exec.Info { return exec.Info{Executor: "ort", Device: "cuda:0"} }
func (c *compiled) Compile(_ *graph.Graph, gradient bool) (exec.Net, error) {
	if gradient {
		c.gradient++
	} else {
		c.forward++
	}
	return nil, errNotCompiled
}

// Whoever takes gradients from a GPU behind ONNX Runtime is told, once, what they cost; whoever does not is told nothing.
func TestGradientsOfAProviderAreTold(t *testing.T) {
	var said []string
	inner := &compiled{}
	e := tellingGradients(inner, "tensorrt", func(text string) { said = append(said, text) })
	require.Equal(t, inner.Info(), e.Info())
	_, err := e.Compile(nil, false)
	require.ErrorIs(t, err, errNotCompiled)
	require.Empty(t, said)
	for range 2 {
		_, err = e.Compile(nil, true)
		require.ErrorIs(t, err, errNotCompiled)
	}
	require.Equal(t, compiled{forward: 1, gradient: 2}, *inner)
	require.Len(t, said, 1)
	require.Contains(t, said[0], "--ort-provider tensorrt takes the network's gradients image by image")
}
