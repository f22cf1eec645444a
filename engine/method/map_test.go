package method_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
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

// Wanted pixels have the bits of the whole maps, whatever else is wanted and however it lies; the others stay as they were.
func TestWantedPixels(t *testing.T) {
	const n, h, w = 3, 9, 14
	for _, c := range []struct {
		H, W int
		o    method.MapOptions
	}{{36, 56, method.MapOptions{Sigma: 2, Radius: 8}}, {36, 56, method.MapOptions{Sigma: 1, Radius: 4, Reflect101: true, Nearest: true}},
		{72, 112, method.MapOptions{}}, {25, 31, method.MapOptions{Sigma: 1, Radius: 3}}, {5, 6, method.MapOptions{Sigma: 1, Radius: 3}}} {
		H, W := c.H, c.W
		s, whole := methodtest.Values(n*h*w, 3), make([]float32, n*H*W)
		method.BaseMaps(s, n, h, w, H, W, c.o, nil, whole)
		for name, in := range map[string]func(i, y, x int) bool{
			"none": func(i, y, x int) bool { return false }, "all": func(i, y, x int) bool { return true },
			"a pixel":     func(i, y, x int) bool { return i == 1 && y == H-1 && x == 0 },
			"two regions": func(i, y, x int) bool { return i != 1 && (y < 2 && x < W/2 || y > H/2 && x > W-3) },
			"scattered":   func(i, y, x int) bool { return (7*y+5*x+i)%11 == 0 },
			"others":      func(i, y, x int) bool { return i == y%3 },
		} {
			wanted, want := make([]bool, n*H*W), make([]float32, n*H*W)
			for p := range wanted {
				if wanted[p] = in(p/(H*W), p/W%H, p%W); wanted[p] {
					want[p] = whole[p]
				} else {
					want[p] = -7
				}
			}
			dst := slices.Repeat([]float32{-7}, n*H*W)
			method.BaseMaps(s, n, h, w, H, W, c.o, wanted, dst)
			require.Equal(t, want, dst, "%s of %+v", name, c)

			// Of the scores those that Cells names decide, whatever the others are.
			cells, poisoned := c.o.Cells(wanted, n, h, w, H, W), slices.Clone(s)
			for v, on := range cells {
				if !on {
					poisoned[v] = float32(math.NaN())
				}
			}
			method.BaseMaps(poisoned, n, h, w, H, W, c.o, wanted, dst)
			require.Equal(t, want, dst, "%s of %+v, with the cells that are asked for", name, c)
		}
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
			cells := o.Cells(wanted, 1, h, w, H, W)
			for v := range cells {
				s, dst := make([]float32, h*w), make([]float32, H*W)
				s[v] = 1
				method.BaseMap(s, h, w, H, W, o, dst)
				require.Equal(t, dst[at] != 0 || dst[30*W+40] != 0, cells[v], "%+v, pixel %d, cell %d", o, at, v)
			}
		}
	}
	require.NotContains(t, method.MapOptions{}.Cells(make([]bool, H*W), 1, h, w, H, W), true)
}
