//go:build !cgo

package ort

import (
	"testing"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/graph"

	"github.com/stretchr/testify/require"
)

func TestWithoutCgo(t *testing.T) {
	require.Equal(t, Status{Reason: ErrNotBuilt.Error()}, Look(""))
	_, err := Open(Options{})
	require.ErrorIs(t, err, ErrNotBuilt)
	require.ErrorIs(t, err, ErrNoLibrary)
	e := &Executor{}
	_, err = e.Compile(&graph.Graph{}, true)
	require.ErrorIs(t, err, ErrNotBuilt)
	require.Equal(t, exec.Info{}, e.Info())
}
