// Package kerneltest is the suite that every kernel passes on every machine: the emulation, the fake driver, and a GPU. Each
// kernel is compared with its pure-Go twin in engine, on random data, over sizes that are not multiples of anything.
package kerneltest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// Value is what memory holds.
type Value interface {
	float32 | float64 | int32 | uint32 | uint16 | uint8
}

// Rig is a machine under test and its memory, which is freed, and checked for what was written beside it, when the test ends.
type Rig struct {
	T    testing.TB
	M    kernels.Machine
	Rand *rand.Rand
}

// New returns a Rig; seed chooses its random data. GPU runs draw fresh seeds, which the test prints.
func New(t testing.TB, m kernels.Machine, seed uint64) *Rig {
	return &Rig{T: t, M: m, Rand: rand.New(rand.NewPCG(seed, 0))}
}

// Normal returns n values of a normal distribution.
func (r *Rig) Normal(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.Rand.NormFloat64())
	}
	return v
}

// Memory is an array on the machine.
type Memory[T Value] struct {
	Ptr     kernels.Ptr
	Len     int
	rig     *Rig
	initial []T // nil: poison
}

func alloc[T Value](r *Rig, n int) *Memory[T] {
	var one [1]T
	p, err := r.M.Alloc(max(n, 1) * len(kernels.Bytes(one[:])))
	require.NoError(r.T, err)
	r.T.Cleanup(func() { require.NoError(r.T, r.M.Free(p)) })
	return &Memory[T]{Ptr: p, Len: n, rig: r}
}

// In puts values on the machine. Run checks that the kernel leaves them alone.
func In[T Value](r *Rig, v []T) *Memory[T] {
	m := alloc[T](r, len(v))
	m.initial = slices.Clone(v)
	m.reset()
	return m
}

// Out makes room for n values: poison (all bits set: NaN) before each run.
func Out[T Value](r *Rig, n int) *Memory[T] {
	m := alloc[T](r, n)
	m.reset()
	return m
}

// Read returns the values.
func (m *Memory[T]) Read() []T {
	v := make([]T, m.Len)
	if m.Len > 0 {
		require.NoError(m.rig.T, m.rig.M.Read(kernels.Bytes(v), m.Ptr))
	}
	return v
}

func (m *Memory[T]) reset() {
	v := m.initial
	if v == nil {
		v = make([]T, m.Len)
		for i, b := 0, kernels.Bytes(v); i < len(b); i++ {
			b[i] = 0xff
		}
	}
	if m.Len > 0 {
		require.NoError(m.rig.T, m.rig.M.Write(m.Ptr, kernels.Bytes(v)))
	}
}

func (m *Memory[T]) bytes() []byte { return kernels.Bytes(m.Read()) }
func (m *Memory[T]) changed() bool {
	return m.initial != nil && !slices.Equal(m.bytes(), kernels.Bytes(m.initial))
}

// Array is a Memory of any type.
type Array interface {
	reset()
	bytes() []byte
	changed() bool
}

// Once is a machine on which a second run says no more than the first: threads have one order, or it does not matter.
type Once interface {
	kernels.Machine
	Once()
}

// Run runs work twice, each time from the state in which in and out were made, and requires the same bits both times (the
// emulation draws another order of threads each time), and that nothing in in was changed. out holds what is written: made
// by Out, or by In where the kernel works in place. A Once machine runs it once.
func (r *Rig) Run(work func(q kernels.Queue) error, in, out []Array) {
	r.T.Helper()
	var first [][]byte
	rounds := 2
	if _, once := r.M.(Once); once {
		rounds = 1
	}
	for round := range rounds {
		for _, o := range out {
			o.reset()
		}
		require.NoError(r.T, work(r.M))
		for i, a := range in {
			require.False(r.T, a.changed(), "input %d was changed", i)
		}
		for i, o := range out {
			b := o.bytes()
			if round == 0 {
				first = append(first, b)
			} else if !slices.Equal(first[i], b) {
				r.T.Fatalf("output %d differs between two runs (first at byte %d)", i, differ(first[i], b))
			}
		}
	}
}

func differ(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// Case runs f as a subtest on a fresh Rig with a seed of its own.
func Case(t *testing.T, m kernels.Machine, seed uint64, f func(r *Rig), format string, args ...any) {
	t.Helper()
	t.Run(fmt.Sprintf(format, args...), func(t *testing.T) {
		t.Helper()
		f(New(t, m, seed))
	})
}
