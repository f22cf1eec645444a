package method_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"

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

// A score matters to the wanted pixels if and only if Cells says so.
func TestCellsOfPixels(t *testing.T) {
	const h, w, H, W = 9, 12, 36, 48
	for _, o := range []method.MapOptions{{}, {Nearest: true}, {Sigma: 1, Radius: 4}, {Sigma: 2, Radius: 8, Reflect101: true}} {
		for _, at := range []int{0, W - 1, 17*W + 20, (H-1)*W + 3} {
			wanted := make([]bool, H*W)
			wanted[at] = true
			wanted[30*W+40] = true
			cells := o.Cells(wanted, h, w, H, W)
			for v := range cells {
				s, dst := make([]float32, h*w), make([]float32, H*W)
				s[v] = 1
				method.BaseMap(s, h, w, H, W, o, dst)
				require.Equal(t, dst[at] != 0 || dst[30*W+40] != 0, cells[v], "%+v, pixel %d, cell %d", o, at, v)
			}
		}
	}
	require.NotContains(t, method.MapOptions{}.Cells(make([]bool, H*W), h, w, H, W), true)
}
