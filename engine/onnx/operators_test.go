package onnx

import (
	"encoding/json"
	"os"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/naive"

	"github.com/stretchr/testify/require"
)

// once: ONNX Runtime computes in float32, and the file keeps 8 digits; sums have up to some hundred terms.
var once = compare.Tolerance{Abs: 2e-6, Rel: 1e-5}

// TestOperators compares what is read with ONNX Runtime (testdata/gen_operators.py).
func TestOperators(t *testing.T) {
	file, err := os.ReadFile("testdata/operators.json")
	require.NoError(t, err)
	var cases []struct {
		Name   string
		Model  []byte
		Shape  []int
		Values []float64
	}
	require.NoError(t, json.Unmarshal(file, &cases))
	require.NotEmpty(t, cases)
	x := naive.New(2, 3, 6, 8)
	for i, v := range draw("operators", len(x.Data), 0, 1) {
		x.Data[i] = float64(v)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			m, err := Read(c.Model)
			require.NoError(t, err)
			g, err := m.whole()
			require.NoError(t, err)
			values, err := naive.Run(g, map[string]*naive.Array{"x": x})
			require.NoError(t, err)
			y := values[g.Outputs[0]]
			require.Equal(t, c.Shape, y.Shape)
			compare.Require(t, "y", y.Data, c.Values, once)
		})
	}
}
