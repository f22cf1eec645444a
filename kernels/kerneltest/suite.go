package kerneltest

import (
	"maps"
	"slices"
	"testing"

	"f2pad.example/kernels"
)

// Suite tests one kernel on a machine; seed chooses the random data.
type Suite func(t *testing.T, m kernels.Machine, seed uint64)

var suites = map[string]Suite{} // filled by the kernels' files while the program starts, and then left alone

func register(kernel string, s Suite) { suites[kernel] = s }

// Kernels lists the kernels that have a suite.
func Kernels() []string { return slices.Sorted(maps.Keys(suites)) }

// All runs every suite as a subtest of the kernel's name, each on a machine of its own from open.
func All(t *testing.T, open func(t *testing.T) kernels.Machine, seed uint64) {
	for _, k := range Kernels() {
		t.Run(k, func(t *testing.T) { suites[k](t, open(t), seed) })
	}
}
