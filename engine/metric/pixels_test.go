package metric

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// pictures returns seeded maps with defects that score higher on average; scores are multiples of 1/levels, so that some
// are equal.
func pictures(seed uint64, n, h, w, levels int) []picture {
	rng := rand.New(rand.NewPCG(seed, 0))
	out := make([]picture, n)
	for i := range out {
		out[i].score = nd.New(h, w)
		if i%3 != 0 {
			out[i].mask = nd.New(h, w)
			for range 3 {
				y, x := rng.IntN(h-3), rng.IntN(w-4)
				for k := range 12 {
					nd.Data(out[i].mask)[(y+k/4)*w+x+k%4] = 1
				}
			}
		}
		for j := range nd.Data(out[i].score) {
			v := rng.NormFloat64()
			if out[i].mask != nil && nd.Data(out[i].mask)[j] == 1 {
				v++
			}
			nd.Data(out[i].score)[j] = float32(math.Round(v*float64(levels)) / float64(levels))
		}
	}
	return out
}

func TestSpillingChangesNothing(t *testing.T) {
	p := pictures(1, 5, 20, 31, 200)
	want := result(t, p, Options{}, 1.5)
	for _, records := range []int{7, 100, 619, 620, 3100, 3101} {
		require.Equal(t, want, result(t, p, Options{MemoryRecords: records}, 1.5), "%d records", records)
	}
}

func TestOrderOfImagesChangesNothing(t *testing.T) {
	p := pictures(2, 7, 13, 11, 50)
	want := result(t, p, Options{}, 0.7)
	slices.Reverse(p)
	require.Equal(t, want, result(t, p, Options{}, 0.7))
	require.Equal(t, want, result(t, p, Options{MemoryRecords: 64}, 0.7))
}

func TestMonotoneTransformsKeepTheCurves(t *testing.T) {
	p := pictures(3, 4, 16, 17, 20)
	want := result(t, p, Options{}, math.NaN())
	for name, f := range map[string]func(float32) float32{
		"shift":  func(v float32) float32 { return v - 100 },
		"scale":  func(v float32) float32 { return v * 1e-30 },
		"cube":   func(v float32) float32 { return v * v * v },
		"exp":    func(v float32) float32 { return float32(math.Exp(float64(v))) },
		"negate": func(v float32) float32 { return -1 / (v + 50) },
	} {
		var q []picture
		for _, c := range p {
			s := c.score.Clone().(*tensor.Dense)
			for i, v := range nd.Data(s) {
				nd.Data(s)[i] = f(v)
			}
			q = append(q, picture{s, c.mask})
		}
		got := result(t, q, Options{}, math.NaN())
		got.Oracle.Threshold, want.Oracle.Threshold = 0, 0
		got.LabelFree.Threshold, want.LabelFree.Threshold = 0, 0
		got.Bins.lowest, want.Bins.lowest = nil, nil
		require.Equal(t, want, got, name)
	}
}

func TestThresholdsMeanGreaterThan(t *testing.T) {
	p := pictures(4, 6, 15, 14, 8)
	for _, threshold := range []float64{-100, 0.125, math.Nextafter(0.125, 0), 0.13, 1, 100, math.NaN()} {
		r := result(t, p, Options{}, threshold)
		for _, o := range []Overlap{r.Oracle, r.LabelFree} {
			want := Overlap{Threshold: o.Threshold}
			for _, c := range p {
				for i, v := range nd.Data(c.score) {
					marked := float64(v) > o.Threshold
					defect := c.mask != nil && nd.Data(c.mask)[i] == 1
					switch {
					case marked && defect:
						want.TP++
					case marked:
						want.FP++
					case defect:
						want.FN++
					}
				}
			}
			want.Threshold, o.Threshold = 0, 0
			require.Equal(t, want, o, "threshold %v", threshold)
		}
		require.LessOrEqual(t, r.LabelFree.Dice(), r.Oracle.Dice())
	}
}

func TestOracleTakesTheHighestOfEqualThresholds(t *testing.T) {
	// Dice is 2/3 at 3 (one of two defects), and again at 1 (both, and two false alarms).
	p := []picture{{nd.Wrap([]float32{3, 2, 2, 1}, 1, 4), nd.Wrap([]float32{1, 0, 0, 1}, 1, 4)}}
	require.Equal(t, Overlap{Threshold: float64(math.Nextafter32(3, 0)), TP: 1, FN: 1}, result(t, p, Options{}, 0).Oracle)
}

func TestResultMayBeAskedAgain(t *testing.T) {
	p := pictures(5, 4, 12, 12, 30)
	for _, records := range []int{0, 50} {
		a := NewPixels(Options{TempDir: t.TempDir(), MemoryRecords: records})
		for i, c := range p {
			require.NoError(t, a.Add(c.score, c.mask))
			for range 2 {
				got, err := a.Result(0.5)
				require.NoError(t, err)
				if i > 0 { // the first image is normal: its oracle threshold is NaN
					require.Equal(t, result(t, p[:i+1], Options{}, 0.5), got)
				}
			}
		}
		require.NoError(t, a.Close())
	}
}

func TestNoMaskMeansNormal(t *testing.T) {
	p := pictures(6, 3, 9, 10, 30)
	want := result(t, p, Options{}, 0)
	require.Nil(t, p[0].mask)
	p[0].mask = nd.New(9, 10)
	require.Equal(t, want, result(t, p, Options{}, 0))
}

func TestWithoutDefectsNothingIsDefined(t *testing.T) {
	r := result(t, []picture{{score: nd.Wrap([]float32{1, 2}, 1, 2)}}, Options{}, 1)
	for _, v := range []Value{r.AUROC, r.AP, r.AUPRO, r.Oracle.Dice(), r.Oracle.IoU(), r.LabelFree.Dice(), r.LabelFree.IoU()} {
		require.False(t, v.Defined())
	}
	require.True(t, math.IsNaN(r.Oracle.Threshold))
	require.Equal(t, Overlap{Threshold: 1, FP: 1}, r.LabelFree)

	r = result(t, nil, Options{}, 1)
	require.False(t, r.AUROC.Defined())
}

func TestBadImagesAreRefusedAndLeaveNoTrace(t *testing.T) {
	good := picture{nd.Wrap([]float32{1, 2, 3, 4}, 2, 2), nd.Wrap([]float32{0, 0, 1, 1}, 2, 2)}
	want := result(t, []picture{good}, Options{}, 0)
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for message, bad := range map[string]picture{
		"score is nil":                         {nil, good.mask},
		"score has shape (4)":                  {nd.Wrap([]float32{1, 2, 3, 4}, 4), nil},
		"score[1] is NaN":                      {nd.Wrap([]float32{1, nan, 3, 4}, 2, 2), good.mask},
		"score[3] is -Inf":                     {nd.Wrap([]float32{1, 2, 3, inf}, 2, 2), nil},
		"mask has shape (1, 4)":                {good.score, nd.Wrap([]float32{0, 0, 1, 1}, 1, 4)},
		"mask[2] is 0.5, want 0 or 1":          {good.score, nd.Wrap([]float32{0, 1, 0.5, 1}, 2, 2)},
		"mask[0] is NaN, want 0 or 1":          {good.score, nd.Wrap([]float32{nan, 1, 0, 1}, 2, 2)},
		"mask is float64, want float32":        {good.score, tensor.New(tensor.WithShape(2, 2), tensor.Of(tensor.Float64))},
		"score has shape (1, 2, 2), want [-1 ": {nd.New(1, 2, 2), nil},
	} {
		p := NewPixels(Options{})
		require.NoError(t, p.Add(good.score, good.mask))
		require.ErrorContains(t, p.Add(bad.score, bad.mask), message)
		got, err := p.Result(0)
		require.NoError(t, err)
		require.Equal(t, want, got)

		var b Boundary
		require.ErrorContains(t, b.Add(bad.score, bad.mask, 0), message)
		require.Equal(t, Boundary{}, b)
		_, err = AveragePrecision(bad.score, bad.mask)
		require.ErrorContains(t, err, message)
	}
}

func TestErrorsOfTheDiskStay(t *testing.T) {
	score := nd.Wrap([]float32{1, 2, 3, 4}, 2, 2)
	p := NewPixels(Options{TempDir: filepath.Join(t.TempDir(), "missing"), MemoryRecords: 4})
	require.NoError(t, p.Add(score, nil))
	_, err := p.Result(0)
	require.NoError(t, err, "nothing is spilled yet")
	require.ErrorIs(t, p.Add(score, nil), os.ErrNotExist)
	require.NoError(t, os.Mkdir(p.tally.options.TempDir, 0o700))
	require.ErrorIs(t, p.Add(score, nil), os.ErrNotExist, "half an image is lost: the disk's recovery must not hide it")
	_, err = p.Result(0)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestClosedAccumulatorsRefuse(t *testing.T) {
	p := NewPixels(Options{})
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())
	require.ErrorIs(t, p.Add(nd.New(1, 1), nil), os.ErrClosed)
	_, err := p.Result(0)
	require.ErrorIs(t, err, os.ErrClosed)

	q := NewQuantiles(Options{})
	require.NoError(t, q.Close())
	require.ErrorIs(t, q.Add([]float32{1}), os.ErrClosed)
	_, err = q.At(0.5)
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = q.Above(0.5)
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestRowInJSON(t *testing.T) {
	raw, err := json.Marshal(Row{Category: "all", Map: "base", Images: 3, Defective: 2, WithMask: 1, ImageAUROC: 0.25, PixelAP: Undefined(),
		Worse: Undefined(), OverBase: &Interval{-0.25, 0.5}})
	require.NoError(t, err)
	require.JSONEq(t, `{"category":"all","map":"base","images":3,"defective":2,"with_mask":1,"image_auroc":0.25,"pixel_auroc":0,"pixel_ap":null,
		"aupro":0,"dice_oracle":0,"iou_oracle":0,"dice_labelfree":0,"iou_labelfree":0,"boundary_f":0,
		"seconds_per_image":0,"worse":null,"pixel_ap_over_base":{"low":-0.25,"high":0.5},"pixel_ap_over_residual":null}`, string(raw))
	var back Row
	require.NoError(t, json.Unmarshal(raw, &back))
	require.False(t, back.PixelAP.Defined())
	require.Equal(t, Value(0.25), back.ImageAUROC)
	require.Error(t, json.Unmarshal([]byte(`{"aupro":"x"}`), &back))

	require.Equal(t, "n/a", Undefined().String())
	require.Equal(t, "0.2500", Value(0.25).String())
}

func TestImageScoresMustBeFinite(t *testing.T) {
	var m Images
	require.ErrorContains(t, m.Add(math.NaN(), true), "NaN")
	require.ErrorContains(t, m.Add(math.Inf(1), false), "Inf")
	require.Zero(t, m.Len())
	require.False(t, m.AUROC().Defined())
}

func TestContoursOfNormalImagesCost(t *testing.T) {
	square := nd.New(9, 9)
	for y := 3; y < 6; y++ {
		for x := 3; x < 6; x++ {
			nd.Data(square)[y*9+x] = 1
		}
	}
	var b Boundary
	require.NoError(t, b.Add(square, nil, 0.5))
	require.False(t, b.F().Defined())
	require.NoError(t, b.Add(square, square, 2))
	require.Equal(t, Value(0), b.F(), "nothing found where something is")
	b = Boundary{}
	require.NoError(t, b.Add(square, square, 0.5))
	require.Equal(t, Value(1), b.F())
	require.NoError(t, b.Add(square, nil, 0.5))
	require.InDelta(t, 2./3, float64(b.F()), 1e-15, "precision 1/2, recall 1")
	b = Boundary{}
	require.NoError(t, b.Add(square, square, 1))
	require.Equal(t, Value(0), b.F(), "a score at the threshold is not above it")
}
