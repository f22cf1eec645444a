package metric

import (
	"encoding/json"
	"os"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// The references sum in another order, in float64, a few thousand terms at most.
var sameSum = compare.Tolerance{Abs: 1e-12}

type golden struct {
	Pixels []struct {
		Name   string
		Images []struct {
			H, W   int
			Scores []float32
			Mask   string
		}
		Threshold         float64
		AUROC             *Value
		AP                *Value
		AUPRO             *Value
		DiceOracle        *Value `json:"dice_oracle"`
		IoUOracle         *Value `json:"iou_oracle"`
		DiceLabelFree     *Value `json:"dice_labelfree"`
		IoULabelFree      *Value `json:"iou_labelfree"`
		BoundaryOracle    *Value `json:"boundary_oracle"`
		BoundaryLabelFree *Value `json:"boundary_labelfree"`
	}
	Images []struct {
		Name   string
		Scores []float64
		Labels []int
		AUROC  *Value
	}
	Quantiles []struct {
		Name      string
		Values    []float32
		Shares    []float64
		Quantiles []float64
	}
}

func readGolden(t *testing.T) golden {
	t.Helper()
	raw, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var g golden
	require.NoError(t, json.Unmarshal(raw, &g))
	return g
}

// picture is an image's map and ground truth.
type picture struct{ score, mask *tensor.Dense }

func requireValue(t *testing.T, name string, got Value, want *Value) {
	t.Helper()
	if want == nil {
		require.False(t, got.Defined(), "%s is %v, want undefined", name, got)
		return
	}
	compare.Require(t, name, []Value{got}, []Value{*want}, sameSum)
}

func TestPixelMetricsAgreeWithReferences(t *testing.T) {
	for _, c := range readGolden(t).Pixels {
		t.Run(c.Name, func(t *testing.T) {
			var pictures []picture
			for _, im := range c.Images {
				p := picture{score: nd.Wrap(im.Scores, im.H, im.W)}
				if im.Mask != "" {
					p.mask = nd.New(im.H, im.W)
					for i, b := range []byte(im.Mask) {
						nd.Data(p.mask)[i] = float32(b - '0')
					}
				}
				pictures = append(pictures, p)
			}
			r := result(t, pictures, Options{}, c.Threshold)
			requireValue(t, "AUROC", r.AUROC, c.AUROC)
			requireValue(t, "AP", r.AP, c.AP)
			requireValue(t, "AUPRO", r.AUPRO, c.AUPRO)
			requireValue(t, "oracle Dice", r.Oracle.Dice(), c.DiceOracle)
			requireValue(t, "oracle IoU", r.Oracle.IoU(), c.IoUOracle)
			requireValue(t, "label-free Dice", r.LabelFree.Dice(), c.DiceLabelFree)
			requireValue(t, "label-free IoU", r.LabelFree.IoU(), c.IoULabelFree)
			require.Equal(t, c.Threshold, r.LabelFree.Threshold)

			var oracle, labelFree Boundary
			for _, p := range pictures {
				require.NoError(t, oracle.Add(p.score, p.mask, r.Oracle.Threshold))
				require.NoError(t, labelFree.Add(p.score, p.mask, c.Threshold))
			}
			requireValue(t, "boundary F, oracle", oracle.F(), c.BoundaryOracle)
			requireValue(t, "boundary F, label-free", labelFree.F(), c.BoundaryLabelFree)

			if len(pictures) == 1 {
				ap, err := AveragePrecision(pictures[0].score, pictures[0].mask)
				require.NoError(t, err)
				requireValue(t, "AP of the image", ap, c.AP)
			}
		})
	}
}

func TestImageAUROCAgreesWithScikitLearn(t *testing.T) {
	for _, c := range readGolden(t).Images {
		t.Run(c.Name, func(t *testing.T) {
			var m Images
			for i, s := range c.Scores {
				require.NoError(t, m.Add(s, c.Labels[i] == 1))
			}
			require.Equal(t, len(c.Scores), m.Len())
			requireValue(t, "AUROC", m.AUROC(), c.AUROC)
		})
	}
}

func TestQuantilesAgreeWithNumPy(t *testing.T) {
	for _, c := range readGolden(t).Quantiles {
		t.Run(c.Name, func(t *testing.T) {
			q := NewQuantiles(Options{})
			require.NoError(t, q.Add(c.Values))
			require.Equal(t, len(c.Values), q.Len())
			got, err := q.At(c.Shares...)
			require.NoError(t, err)
			compare.Require(t, "quantiles", got, c.Quantiles, sameSum)
		})
	}
}

// result streams the pictures through an accumulator.
func result(t *testing.T, pictures []picture, o Options, threshold float64) PixelResult {
	t.Helper()
	if o.TempDir == "" {
		o.TempDir = t.TempDir()
	}
	p := NewPixels(o)
	for _, c := range pictures {
		require.NoError(t, p.Add(c.score, c.mask))
	}
	r, err := p.Result(threshold)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	left, err := os.ReadDir(o.TempDir)
	require.NoError(t, err)
	require.Empty(t, left, "temporary files remain")
	return r
}
