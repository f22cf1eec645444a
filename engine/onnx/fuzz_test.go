package onnx

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRead: whatever a file holds, reading, summarising and building end with a valid graph or an error.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"resnet18_ts", "resnet18_dynamo", "squeezenet1_1"} {
		f.Add(stored(f, name))
	}
	file, err := os.ReadFile("testdata/operators.json")
	require.NoError(f, err)
	var cases []struct{ Model []byte }
	require.NoError(f, json.Unmarshal(file, &cases))
	for _, c := range cases {
		f.Add(c.Model)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse(data)
		if err != nil {
			return
		}
		// External data are zeros, so that files without weights are of use.
		if m.load(data, func(string, int64) ([]byte, error) { return make([]byte, 1<<16), nil }) != nil {
			return
		}
		if len(m.nodes) > 500 {
			return
		}
		s, err := m.Inspect(24, 16)
		if err == nil {
			for _, l := range s.Layers {
				g, err := m.Graph(24, 16, []string{l.Tensor})
				require.NoError(t, err, l.Tensor)
				require.NoError(t, g.Validate())
			}
		}
		for _, out := range m.outputs {
			if g, err := m.Graph(24, 16, []string{out.name}); err == nil {
				require.NoError(t, g.Validate())
			}
		}
	})
}
