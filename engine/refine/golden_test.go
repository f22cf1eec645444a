package refine

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// given are whole images as fills, without offsets.
type given [][]float32 // [3,H,W] each

func (g given) Fill(_ Filler, scenes []*Scene, k int) ([][][][]float32, error) {
	return eachScene(scenes, g.fill), nil
}

func eachScene(scenes []*Scene, fill func(*Scene) [][][]float32) [][][][]float32 {
	out := make([][][][]float32, len(scenes))
	for i, s := range scenes {
		out[i] = fill(s)
	}
	return out
}

func (g given) fill(s *Scene) [][][]float32 {
	out := make([][][]float32, len(s.Regions))
	for i, region := range s.Regions {
		for _, im := range g {
			f := make([]float32, 0, 3*len(region))
			for c := range 3 {
				for _, p := range region {
					f = append(f, im[c*s.H*s.W+int(p)])
				}
			}
			out[i] = append(out[i], f)
		}
	}
	return out
}

// severalSteps is for maps after some float32 iterations through a proximal threshold, against float64.
var severalSteps = compare.Tolerance{Abs: 1e-5, Rel: 1e-4}

// Steps 1 and 3 to 6 against an independent program: testdata/gen_refine.py, whose images these are.
func TestGolden(t *testing.T) {
	const h, w, reach, gain = 56, 104, 6, 500
	blob, err := os.ReadFile("testdata/refine.json")
	require.NoError(t, err)
	var g struct {
		Shares              []float64
		Margin              float64
		Trust               []float64
		Data, Penalty, Step []float64
		Support             []int
		Residual, F2PAD     []float64
	}
	require.NoError(t, json.Unmarshal(blob, &g))
	pattern := func(k int) []float32 {
		v := make([]float32, 3*h*w)
		for p := range v {
			c, i, j := p/(h*w), p%(h*w)/w, p%w
			x := 100 + 40*(i/4%2) + 12*(j/5%2) + (7*i*i+13*i*j+5*j*j+31*c+3*k+5)%5 + 2*k
			v[p] = float32(float64(x) / 255)
		}
		return v
	}
	normal, y := pattern(0), pattern(0)
	for p := range y {
		i, j := float64(p%(h*w)/w), float64(p%w)
		blot := func(cy, cx, ry, rx float64) bool { return math.Pow((i-cy)/ry, 2)+math.Pow((j-cx)/rx, 2) < 1 }
		if blot(13, 12, 4.2, 7.1) {
			y[p] -= 45. / 255
		}
		if blot(17, 27, 2.4, 2.4) {
			y[p] += 50. / 255
		}
		if p < h*w && blot(44, 90, 4.3, 2.7) {
			y[p] -= 95. / 255
		}
	}
	sc := &differ{normal: [][]float32{normal}, given: map[int]floats{}, stride: 4, reach: reach, gain: gain}
	o := DefaultOptions(4)
	o.Region.PeakCells, o.Classifier.Trust.Slope, o.Optimiser.ExplainedTo = 4, 0.25, 0.995
	r, err := New(o)
	require.NoError(t, err)
	r.Fills = given{pattern(1), pattern(2), pattern(-1)}
	in := sc.input(y, h, w, 0)
	in.Diary = true
	out, err := r.Run(t.Context(), sc, []Input{in}, []Kind{Residual, F2PAD})
	require.NoError(t, err)

	require.Len(t, g.Shares, 2)
	require.True(t, g.Shares[0] > 0.995 && g.Shares[1] < 0.995, "one region is to be optimised, one not: %v", g.Shares)
	require.Greater(t, g.Margin, 1e-4, "a pixel of the region hangs on rounding")
	for i, bounds := range []Trust{o.Map.Trust, o.Map.Trust, o.Classifier.Trust} {
		require.True(t, g.Trust[i] > bounds.Least && g.Trust[i] < bounds.Most, "the trust %g is at a bound", g.Trust[i])
	}
	require.Len(t, out[0].Diary.Iterations, len(g.Data))
	for i, it := range out[0].Diary.Iterations {
		require.Equal(t, g.Support[i], it.Support, "iteration %d", i+1)
		got := []float64{it.Data, it.Penalty, it.Step}
		compare.Require(t, "energy, step", got, []float64{g.Data[i], g.Penalty[i], g.Step[i]}, severalSteps)
	}
	compare.Require(t, "residual", nd.Data(out[0].Maps[Residual]), g.Residual, severalSteps)
	compare.Require(t, "f2pad", nd.Data(out[0].Maps[F2PAD]), g.F2PAD, severalSteps)
}
