//go:build cuda && cgo

package cuda

import (
	"testing"

	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/exectest"
)

// networks is for float32 sums in one order: n terms leave some sqrt(n) half units in the last place (6e-8) of the sum of
// magnitudes; the suite's longest have a few hundred terms of size 1, its networks a dozen layers.
var networks = exectest.Tolerances{
	Forward:  compare.Tolerance{Abs: 1e-5, Rel: 1e-5},
	Gradient: compare.Tolerance{Abs: 2e-5, Rel: 2e-5},
}

func TestExecutor(t *testing.T) {
	exectest.Test(t, opened(t, gpu.Options{}).Executor(), networks)
}
