package engine

import (
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"

	"github.com/stretchr/testify/require"
)

// evaluated evaluates test images by a model's base map.
func evaluated(t *testing.T, test []dataset.Item, o EvalOptions) *Evaluation {
	t.Helper()
	if o.Maps == nil {
		o.Maps = []refine.Kind{refine.Base}
	}
	o.TempDir = t.TempDir()
	o.Failed = func(it dataset.Item, err error) { t.Errorf("%s: %v", it.ID, err) }
	e, err := Evaluate(t.Context(), fixture(t).model(t, "padim 128"), test, o)
	require.NoError(t, err)
	return e
}

// bare returns items without the ground truth of some of them.
func bare(items []dataset.Item, which func(it dataset.Item) bool) []dataset.Item {
	items = slices.Clone(items)
	for i := range items {
		if which(items[i]) {
			items[i].Mask = ""
		}
	}
	return items
}

func rowOf(t *testing.T, e *Evaluation, category string) metric.Row {
	t.Helper()
	for _, r := range e.Rows {
		if r.Category == category {
			return r
		}
	}
	t.Fatalf("no row of %s", category)
	return metric.Row{}
}

func TestEvaluateMeasuresImagesWithoutGroundTruth(t *testing.T) {
	p := fixture(t)
	whole := evaluated(t, p.data.Test, EvalOptions{})
	require.Empty(t, whole.Remarks)
	holes := func(it dataset.Item) bool { return it.Class == "hole" }
	one := true
	some := evaluated(t, bare(p.data.Test, func(it dataset.Item) bool {
		first := holes(it) && one
		one = one && !first
		return first
	}), EvalOptions{})
	want, got := rowOf(t, whole, "hole"), rowOf(t, some, "hole")
	require.Equal(t, want.ImageAUROC, got.ImageAUROC, "it is an image with a defect all the same")
	require.Equal(t, want.Images, got.Images)
	require.Equal(t, [2]int{2, 1}, [2]int{got.Defective, got.WithMask})
	require.NotEqual(t, want.PixelAP, got.PixelAP)
	require.True(t, got.PixelAP.Defined() && got.AUPRO.Defined() && got.BoundaryF.Defined())
	require.Len(t, some.Remarks, 1)
	require.Contains(t, some.Remarks[0], "1 of 8 defective images have no ground truth, first "+p.data.Test[2].Path)
	require.Equal(t, [3]int{2, 8, 7}, [3]int{len(some.Good), len(some.Bad), some.WithMask})

	// The pixels are those of the others: leaving the image out altogether gives the same.
	without := slices.DeleteFunc(slices.Clone(p.data.Test), func(it dataset.Item) bool { return it.Path == p.data.Test[2].Path })
	require.Equal(t, rowOf(t, evaluated(t, without, EvalOptions{}), All).PixelAP, rowOf(t, some, All).PixelAP)

	none := evaluated(t, bare(p.data.Test, func(dataset.Item) bool { return true }), EvalOptions{})
	for _, r := range none.Rows {
		require.True(t, r.ImageAUROC.Defined())
		require.Positive(t, r.Defective)
		require.Zero(t, r.WithMask)
		for _, v := range []metric.Value{r.PixelAUROC, r.PixelAP, r.AUPRO, r.DiceOracle, r.IoUOracle, r.DiceLabelFree, r.IoULabelFree, r.BoundaryF, r.Worse} {
			require.False(t, v.Defined(), "%+v", r)
		}
	}
	require.Equal(t, whole.Decisions.Misses, none.Decisions.Misses)
	require.Zero(t, none.Decisions.Maps[0].DefectsFound.Of)
}

func TestEvaluateOnlyNormalOrOnlyDefectiveImages(t *testing.T) {
	p := fixture(t)
	good := slices.DeleteFunc(slices.Clone(p.data.Test), func(it dataset.Item) bool { return !it.Normal() })
	e := evaluated(t, good, EvalOptions{})
	require.Len(t, e.Rows, 1)
	require.Equal(t, All, e.Rows[0].Category)
	require.False(t, e.Rows[0].ImageAUROC.Defined() || e.Rows[0].PixelAP.Defined() || e.Rows[0].DiceLabelFree.Defined())
	require.Equal(t, []string{"all test images are good: what needs defective ones is not measured"}, e.Remarks)
	require.Equal(t, len(good), e.Decisions.FalseAlarms.Of)
	require.False(t, e.Decisions.Misses.Share.Defined())
	require.Empty(t, e.Decisions.Recall)
	require.True(t, e.Decisions.Maps[0].FalseAlarmArea.Mean.Defined())

	bad := slices.DeleteFunc(slices.Clone(p.data.Test), func(it dataset.Item) bool { return it.Normal() })
	e = evaluated(t, bad, EvalOptions{})
	require.False(t, rowOf(t, e, All).ImageAUROC.Defined())
	require.True(t, rowOf(t, e, All).PixelAP.Defined(), "defective images have normal pixels")
	require.False(t, e.Decisions.FalseAlarms.Share.Defined() || e.Decisions.Maps[0].FalseAlarmArea.Mean.Defined())
	require.Equal(t, []string{"there are no good test images: what needs them is not measured"}, e.Remarks)

	e = evaluated(t, bare(bad, func(dataset.Item) bool { return true }), EvalOptions{})
	require.False(t, rowOf(t, e, All).PixelAUROC.Defined(), "there is nothing to measure")
	require.Len(t, e.Remarks, 2)
}

func TestEvaluateSaysHowMasksWereRead(t *testing.T) {
	p := fixture(t)
	items := slices.Clone(p.data.Test)
	dir := t.TempDir()
	for i, it := range items {
		if it.Class != "hole" {
			continue
		}
		im, err := imageio.Decode(it.Mask, imageio.Limits{})
		require.NoError(t, err)
		h, w := im.Size()
		dark := image.NewGray(image.Rect(0, 0, w, h))
		for j, v := range nd.Data(im.Pix) {
			dark.Pix[j] = uint8(v) // 0 and 1
		}
		items[i].Mask = filepath.Join(dir, filepath.Base(it.Path))
		require.NoError(t, imageio.WritePNG(items[i].Mask, dark))
	}
	want, got := evaluated(t, p.data.Test, EvalOptions{}), evaluated(t, items, EvalOptions{})
	seconds := func(e *Evaluation) []metric.Row {
		for i := range e.Rows {
			e.Rows[i].SecondsPerImage, e.Rows[i].Worse = 0, 0
		}
		return e.Rows
	}
	require.Equal(t, seconds(want), seconds(got), "0 and 1 mean what 0 and 255 mean")
	require.Equal(t, []string{"2 masks are nowhere brighter than half, but not 0 everywhere, first " + filepath.Join(dir, "000.png") +
		": all that is not 0 counts as the defect"}, got.Remarks, "said once")

	for i := range items {
		if items[i].Class == "hole" {
			f, err := os.Create(items[i].Mask)
			require.NoError(t, err)
			require.NoError(t, png.Encode(f, image.NewGray(image.Rect(0, 0, 96, 96))))
			require.NoError(t, f.Close())
			items = items[:i+1]
			break
		}
	}
	got = evaluated(t, items, EvalOptions{})
	require.Len(t, got.Remarks, 1)
	require.Contains(t, got.Remarks[0], "1 mask of a defective image marks nothing, first "+filepath.Join(dir, "000.png"))
}

func TestDecisionsCountWhatTheThresholdsDecide(t *testing.T) {
	p := fixture(t)
	m := p.model(t, "padim 128")
	results := scored(t, m, Options{Maps: []refine.Kind{refine.Base}}, p.data.Test)
	for _, image := range []float64{m.Info.Calibration.ImageThreshold, math.Inf(-1), results["test/good/000.png"].Score} {
		for _, pixel := range []float64{m.Info.Calibration.PixelThreshold[refine.Base], -1e9, 1e9} {
			o := EvalOptions{Options: Options{ImageThreshold: &image, PixelThreshold: &pixel}, Worst: 100}
			alarms, misses, found, area, goods := 0, 0, map[string]int{}, 0.0, 0
			for _, it := range p.data.Test {
				r := results[it.ID]
				above := r.Score > image
				if above && !it.Normal() {
					found[it.Class]++
				}
				if !above && !it.Normal() {
					misses++
				}
				if it.Normal() {
					goods++
					if above {
						alarms++
					}
					on := 0
					for _, v := range nd.Data(r.Maps[refine.Base]) {
						if float64(v) > pixel {
							on++
						}
					}
					area += float64(on) / float64(r.Maps[refine.Base].Size())
				}
			}
			e := evaluated(t, p.data.Test, o)
			d := e.Decisions
			require.Equal(t, metric.NewRate(alarms, goods), d.FalseAlarms)
			require.Equal(t, metric.NewRate(misses, len(p.data.Test)-goods), d.Misses)
			require.Equal(t, image, d.ImageThreshold)
			require.True(t, d.ImageGiven && d.Maps[0].PixelGiven)
			require.Len(t, d.Recall, 4)
			for _, r := range d.Recall {
				require.Equal(t, metric.NewRate(found[r.Category], 2), r.Rate, r.Category)
			}
			require.InDelta(t, area/float64(goods), float64(d.Maps[0].FalseAlarmArea.Mean), 1e-12)
			require.Equal(t, goods, d.Maps[0].FalseAlarmArea.Images)
			require.Equal(t, len(p.data.Test), d.Maps[0].FalseRegions.Images)
			switch pixel {
			case -1e9:
				require.EqualValues(t, 1, d.Maps[0].DefectsFound.Share, "all is marked")
				require.InDelta(t, 0.2, float64(d.Maps[0].FalseRegions.Mean), 1e-12, "one region in each good image")
				require.Less(t, float64(rowOf(t, e, All).DiceLabelFree), 0.2)
			case 1e9:
				require.Zero(t, d.Maps[0].DefectsFound.Count)
				require.Positive(t, d.Maps[0].DefectsFound.Of)
				require.Zero(t, d.Maps[0].FalseRegions.Mean)
				require.Zero(t, rowOf(t, e, All).DiceLabelFree)
			}

			require.Len(t, e.Worst, misses+alarms+len(p.data.Test)-goods-misses, "but for good images that are called so")
			for i, w := range e.Worst {
				want := LowAP
				switch {
				case i < misses:
					want = Miss
				case i < misses+alarms:
					want = FalseAlarm
				}
				require.Equal(t, want, w.Why)
				if i == 0 || e.Worst[i-1].Why != w.Why {
					continue
				}
				switch before := e.Worst[i-1]; want {
				case Miss:
					require.LessOrEqual(t, before.Score, w.Score)
				case FalseAlarm:
					require.GreaterOrEqual(t, before.Score, w.Score)
				case LowAP:
					require.LessOrEqual(t, float64(before.AP), float64(w.AP))
				}
			}
		}
	}
	e := evaluated(t, p.data.Test, EvalOptions{Worst: 3})
	require.Equal(t, m.Info.Calibration.ImageThreshold, e.Decisions.ImageThreshold)
	require.Equal(t, m.Info.Calibration.PixelThreshold[refine.Base], e.Decisions.Maps[0].PixelThreshold)
	require.False(t, e.Decisions.ImageGiven || e.Decisions.Maps[0].PixelGiven)
	require.Len(t, e.Worst, 3)
}

func TestEvaluateMeasuresMasksAsRegionsLeaveThem(t *testing.T) {
	p := fixture(t)
	kinds := []refine.Kind{refine.Base, refine.Residual}
	plain := evaluated(t, p.data.Test, EvalOptions{Options: Options{Maps: kinds}})
	same := evaluated(t, p.data.Test, EvalOptions{Options: Options{Maps: kinds}, Regions: region.Options{MinArea: 1}})
	for i := range plain.Rows {
		require.Equal(t, plain.Rows[i].DiceLabelFree, same.Rows[i].DiceLabelFree, "both ways of counting agree")
		require.Equal(t, plain.Rows[i].IoULabelFree, same.Rows[i].IoULabelFree)
	}
	visited := 0
	sifted := evaluated(t, p.data.Test, EvalOptions{
		Options: Options{Maps: kinds}, Regions: region.Options{MinArea: 96 * 96},
		Visit: func(c *Case) error {
			visited++
			for _, k := range kinds {
				require.NotContains(t, c.Marked(k), true)
			}
			require.Equal(t, c.Anomalous == c.Item.Normal(), c.Wrong())
			return nil
		},
	})
	require.Equal(t, len(p.data.Test), visited)
	for i, r := range sifted.Rows {
		require.Zero(t, r.DiceLabelFree, "no region is as large as that")
		require.Equal(t, plain.Rows[i].PixelAP, r.PixelAP, "the map is as it was")
	}
	require.Zero(t, sifted.Decisions.Maps[1].DefectsFound.Count)
	require.Positive(t, plain.Decisions.Maps[1].DefectsFound.Count)
	require.Zero(t, sifted.Decisions.Maps[0].FalseAlarmArea.Mean)
}

func TestEvaluateReadsADatasetWithOtherNames(t *testing.T) {
	p := fixture(t)
	root := filepath.Join(t.TempDir(), "set")
	require.NoError(t, os.CopyFS(root, os.DirFS(p.data.Root)))
	require.NoError(t, os.Rename(filepath.Join(root, "test", "good"), filepath.Join(root, "test", "ok")))
	require.NoError(t, os.Rename(filepath.Join(root, "ground_truth", "hole"), filepath.Join(root, "ground_truth", "Hole")))
	for _, it := range p.data.Test { // one file becomes two whose union it was
		if it.Class != "stain" {
			continue
		}
		file := filepath.Join(root, "ground_truth", "stain", filepath.Base(it.Mask))
		im, err := imageio.Decode(file, imageio.Limits{})
		require.NoError(t, err)
		dir := filepath.Join(root, "ground_truth", "stain", strings.TrimSuffix(filepath.Base(it.Path), ".png"))
		require.NoError(t, os.Mkdir(dir, 0o700))
		h, w := im.Size()
		for part, name := range []string{"000.png", "001.png"} {
			m := image.NewGray(image.Rect(0, 0, w, h))
			for i, v := range nd.Data(im.Pix) {
				if v > 0.5 && i%2 == part {
					m.SetGray(i%w, i/w, color.Gray{Y: 255})
				}
			}
			require.NoError(t, imageio.WritePNG(filepath.Join(dir, name), m))
		}
		require.NoError(t, os.Remove(file))
	}
	d, err := dataset.MVTec(root)
	require.NoError(t, err)
	want, got := evaluated(t, p.data.Test, EvalOptions{}), evaluated(t, d.Test, EvalOptions{})
	require.Empty(t, got.Remarks)
	require.Len(t, got.Rows, len(want.Rows))
	for i := range want.Rows {
		require.Equal(t, want.Rows[i].PixelAP, got.Rows[i].PixelAP)
		require.Equal(t, want.Rows[i].ImageAUROC, got.Rows[i].ImageAUROC)
	}
}

func TestAllIsWhatDataSetsKeepFree(t *testing.T) { require.Equal(t, dataset.All, All) }
