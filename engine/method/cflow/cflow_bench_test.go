package cflow

import (
	"testing"

	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// benchmarked is the default profile on what scatter makes of images of 256 x 256 pixels.
func benchmarked(b *testing.B) (*Model, []methodtest.Layer) {
	layers := []methodtest.Layer{{C: 48, H: 64, W: 64}}
	o, err := ProfileOptions("compact")
	require.NoError(b, err)
	o.MaxSteps = 1
	m, err := Fit(b.Context(), o, method.Fitting{Features: methodtest.Images(1, 8, layers)})
	require.NoError(b, err)
	return m, layers
}

func BenchmarkScore(b *testing.B) {
	m, layers := benchmarked(b)
	f := methodtest.Batch(1, 1, layers)
	for b.Loop() {
		r := &method.Result{S: nd.New(1, 64, 64)}
		require.NoError(b, m.Score(b.Context(), f, r))
	}
}

// BenchmarkStep is a step of the training.
func BenchmarkStep(b *testing.B) {
	m, layers := benchmarked(b)
	samples, err := collect(b.Context(), &m.opts, method.Fitting{Features: methodtest.Images(1, 8, layers)})
	require.NoError(b, err)
	o := m.opts
	o.MaxSteps, o.Checks = b.N, 0
	t := newTrainer(m.layers[0], &o, samples[0])
	t.steps = b.N
	t.m, t.v, t.best = make([]float32, len(t.theta)), make([]float32, len(t.theta)), t.theta
	b.ResetTimer()
	require.NoError(b, t.run(b.Context(), method.Fitting{Progress: func(method.Progress) {}}, func(bool) error { return nil }, 0, b.N))
}
