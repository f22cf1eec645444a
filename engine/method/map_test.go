package method_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"f2pad/engine/compare"
	"f2pad/engine/method"
	"f2pad/engine/method/methodtest"

	"github.com/stretchr/testify/require"
)

// float32 sums of up to 33 products per axis, against float64; the recorded numbers have 8 digits.
var float32Sums = compare.Tolerance{Abs: 1e-6, Rel: 1e-6}

func TestBaseMapEqualsTorchAndScipy(t *testing.T) {
	data, err := os.ReadFile("testdata/map.json")
	require.NoError(t, err)
	var cases []struct {
		Cells      [2]int
		Nearest    bool
		Sigma      float64
		Reflect101 bool
		Radius     int
		Seed       int
		Map        []float64
		Size       [2]int
	}
	require.NoError(t, json.Unmarshal(data, &cases))
	for i, c := range cases {
		dst := make([]float32, len(c.Map))
		for i := range dst {
			dst[i] = 9 // whatever was there is overwritten
		}
		o := method.MapOptions{Nearest: c.Nearest, Sigma: c.Sigma, Reflect101: c.Reflect101, Radius: c.Radius}
		s := methodtest.Values(c.Cells[0]*c.Cells[1], c.Seed)
		method.BaseMap(s, c.Cells[0], c.Cells[1], c.Size[0], c.Size[1], o, dst)
		compare.Require(t, fmt.Sprint("map ", i), dst, c.Map, float32Sums)
	}
}
