//go:build cgo

package ort

import (
	"testing"

	"f2pad/engine/compare"
	"f2pad/engine/exec/exectest"

	"github.com/stretchr/testify/require"
)

var tolerances = exectest.Tolerances{
	Forward:  compare.Tolerance{Abs: 1e-5, Rel: 1e-5},
	Gradient: compare.Tolerance{Abs: 2e-5, Rel: 2e-5},
}

func TestSuite(t *testing.T) {
	e, err := Open(Options{})
	require.NoError(t, err)
	exectest.Test(t, e, tolerances)
}
