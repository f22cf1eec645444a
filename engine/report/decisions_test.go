package report

import (
	"math"
	"strings"
	"testing"

	"f2pad.example/engine/metric"

	"github.com/stretchr/testify/require"
)

// decisionsOf decides on image scores.
func decisionsOf(t *testing.T, threshold float64, good, bad []float64) *Decisions {
	t.Helper()
	d := &Decisions{Good: good, Bad: bad, WithMask: len(bad), Images: &metric.Images{}}
	alarms, found := 0, 0
	for _, s := range good {
		require.NoError(t, d.Images.Add(s, false))
		if s > threshold {
			alarms++
		}
	}
	for _, s := range bad {
		require.NoError(t, d.Images.Add(s, true))
		if s > threshold {
			found++
		}
	}
	d.ImageThreshold = threshold
	d.FalseAlarms, d.Misses = metric.NewRate(alarms, len(good)), metric.NewRate(len(bad)-found, len(bad))
	if len(bad) > 0 {
		d.Recall = []metric.CategoryRate{{Category: "hole", Rate: metric.NewRate(found, len(bad))}}
	}
	d.Maps = []metric.MapDecisions{{
		Map: "base", PixelThreshold: 1.25, FalseAlarmArea: metric.NewMean([]float64{0.001, 0.0002}, 1, 0),
		DefectsFound: metric.NewRate(1, 2), FalseRegions: metric.NewMean(nil, 1, 0),
	}}
	return d
}

func TestDecisionsText(t *testing.T) {
	d := decisionsOf(t, 2, []float64{1, 2, 3}, []float64{2, 4})
	d.ImageGiven = true
	d.Worst = []Worst{{"test/hole/1.png", "miss", 2, 0.5}, {"test/good/\x1b[2J.png", "false alarm", 3, metric.Undefined()}}
	require.Equal(t, `
3 good and 2 defective images, 2 of these with ground truth; image threshold 2 (given); 95 % intervals

false alarms: good images above the threshold  1 of 3  33.3 %  6.1 to 79.2 %
misses: defective images not above it          1 of 2  50.0 %  9.5 to 90.5 %
recall of hole                                 1 of 2  50.0 %  9.5 to 90.5 %

map   threshold  marked in good images                    defects found                         false regions/image
base       1.25                0.060 %  0.060 to 0.060 %         1 of 2  50.0 %  9.5 to 90.5 %                    -  -

worst images
miss        test/hole/1.png          score 2.000 AP 0.500
false alarm "test/good/\x1b[2J.png"  score 3.000     AP -
`, d.Text())
}

func TestSmallSharesKeepTwoDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0 %", 1: "100.0 %", 0.05: "5.0 %", 0.00123: "0.12 %", 0.0000123: "0.0012 %", 1e-12: "0.000000 %"} {
		require.Equal(t, want, percent(v))
	}
	require.Equal(t, "-", percent(float64(metric.Undefined())))
}

func TestHistogramPutsEveryScoreOnItsSide(t *testing.T) {
	good, bad := []float64{0, 1, 1, 2, 2.0000001}, []float64{2, 5, 9.7}
	h := newHistogram(good, bad, 2)
	sum := map[string]float64{}
	for _, b := range h.Bars {
		right := b.X >= h.Cut-1e-9
		require.True(t, right || b.X+b.Width <= h.Cut+1e-9, "no bar lies across the threshold")
		class, wrong, _ := strings.Cut(b.Class, " ")
		require.Equal(t, right == (class == "good"), wrong == "wrong", "%+v", b)
		require.True(t, b.X >= 0 && b.X+b.Width <= histogramWidth+1e-9 && b.Height > 0 && b.Height <= histogramHeight)
		if class == "good" {
			require.InDelta(t, histogramHeight, b.Y+b.Height, 1e-9, "above the axis")
		} else {
			require.InDelta(t, histogramHeight, b.Y, 1e-9, "below it")
		}
		sum[b.Class]++
	}
	require.Equal(t, map[string]float64{"good": 3, "good wrong": 1, "bad": 2, "bad wrong": 1}, sum)
	require.Equal(t, "threshold 2", h.CutText)

	for _, at := range [][3]float64{ // divisions that round to the wrong side
		{0.015083055569955484, 3.4329217011939797, 0.49559922381667865}, {0.04420093600924546, 3.126374171741296, 1.9860523272838062},
		{0.022839732138533186, 7.302008703535264, 0.4744770350241259},
	} {
		low, high, cut := at[0], at[1], at[2]
		h := newHistogram([]float64{low, math.Nextafter(cut, high)}, []float64{cut, high}, cut)
		wrong := 0
		for _, b := range h.Bars {
			if strings.HasSuffix(b.Class, "wrong") {
				wrong++
				require.Equal(t, b.Class == "good wrong", b.X >= h.Cut-1e-9, "threshold %v of %v to %v", cut, low, high)
			}
		}
		require.Equal(t, 2, wrong)
	}

	require.Nil(t, newHistogram(nil, nil, 1))
	far := newHistogram(good, bad, 1e9)
	require.Negative(t, far.Cut)
	require.Equal(t, "the threshold 1e+09 is far beyond all scores", far.Beyond)
	require.Equal(t, [2]string{"0", "9.7"}, [2]string{far.Low, far.High})
	for _, same := range []float64{0, 3} {
		require.Len(t, newHistogram([]float64{same, same}, nil, same).Bars, 1, "all scores are the same")
	}
	require.Len(t, newHistogram([]float64{1}, nil, 2).Bars, 1)
}

func TestCurvesAreDrawn(t *testing.T) {
	plots := decisionsOf(t, 2, []float64{1, 3}, []float64{2, 4}).plots()
	require.Equal(t, "M0.0 220.0L0.0 110.0L110.0 110.0L110.0 0.0L220.0 0.0", plots[0].Path)
	require.Equal(t, metric.Point{X: 110, Y: 110}, *plots[0].Dot)
	require.Equal(t, "AUROC 0.750", plots[0].Value)
	require.Equal(t, "M110.0 0.0L110.0 110.0L220.0 73.3L220.0 110.0", plots[1].Path)
	require.Equal(t, metric.Point{X: 110, Y: 110}, *plots[1].Dot)
	require.Equal(t, "AP 0.833", plots[1].Value)

	plots = decisionsOf(t, 9, []float64{1, 3}, []float64{2, 4}).plots()
	require.NotNil(t, plots[0].Dot)
	require.Nil(t, plots[1].Dot, "nothing is above: there is no precision")
	for _, p := range decisionsOf(t, 2, []float64{1, 3}, nil).plots() {
		require.Empty(t, p.Path)
		require.Nil(t, p.Dot)
		require.NotEmpty(t, p.Missing)
	}
	many := make([]float64, 20_000)
	for i := range many {
		many[i] = float64(i)
	}
	require.Less(t, len(decisionsOf(t, 2, many, many).plots()[0].Path), 20_000, "points that nobody can tell apart are left out")
}

func TestPageShowsDecisions(t *testing.T) {
	const evil = `<script>alert(1)</script>"'`
	r := sample(t)
	r.Decisions = decisionsOf(t, 2, []float64{1, 2, 3}, []float64{2, 4})
	r.Decisions.Recall[0].Category = evil
	r.Decisions.Worst = []Worst{{evil, "miss", 2, 0.5}}
	r.Crossing, r.Left = r.Gallery[2:3], 7
	r.Crossing[0].ID = evil
	page := parse(t, write(t, r))
	require.Empty(t, named(page, "script"))
	text := strings.Join(strings.Fields(named(page, "main")[0].text), " ")
	for _, want := range []string{
		"There are 3 good and 2 defective images, 2 of these with ground truth", "false alarms: good images above the threshold1 of 333.3 %6.1 to 79.2 %",
		"recall of " + evil + "1 of 250.0 %", "base1.250.060 %", evil + "miss2.0000.500", "7 more are not shown", "AUROC 0.750", "threshold 2",
	} {
		require.Contains(t, text, want)
	}
	require.Len(t, named(page, "svg"), 3)
	require.Len(t, classed(page, "curve"), 2)
	require.Len(t, classed(page, "dot"), 2)
	require.NotEmpty(t, classed(page, "good wrong"))
	require.Len(t, named(page, "article"), 5, "the crossing one, too")

	r.Crossing, r.Decisions = nil, decisionsOf(t, 2, []float64{1, 2}, nil)
	page = parse(t, write(t, r))
	text = strings.Join(strings.Fields(named(page, "main")[0].text), " ")
	require.Contains(t, text, "No image is on the wrong side of the image threshold.")
	require.Contains(t, text, "It needs good and defective images.")
	require.Contains(t, text, "misses: defective images not above it0 of 0--")
	require.Len(t, named(page, "svg"), 1)
	for _, s := range []string{"NaN", "Inf"} {
		require.NotContains(t, string(write(t, r)), s)
	}
}

func TestGallerySaysWhyItIsEmpty(t *testing.T) {
	r := &Report{Empty: "all test images are good"}
	page := parse(t, write(t, r))
	require.Contains(t, named(page, "main")[0].text, "There are no images to show: all test images are good.")
	r = sample(t)
	r.Empty = "not said where there are some"
	require.NotContains(t, string(write(t, r)), r.Empty)
}

func TestGalleryTellsWhatItIsChosenBy(t *testing.T) {
	r := sample(t)
	require.Contains(t, string(write(t, r)), "on which refining changed the average precision")
	for i := range r.Gallery {
		r.Gallery[i].Why = LowestAP
	}
	require.NotContains(t, string(write(t, r)), "on which refining changed the average precision")

	r.Gallery = r.Gallery[:1]
	r.Gallery[0].Truth = Picture{}
	require.Contains(t, string(write(t, r)), "no ground truth")
	require.NotContains(t, string(write(t, r)), "nothing to find", "a defective image has something to find")
}

func TestGainIsThatOfTheMostRefinedMap(t *testing.T) {
	e := Entry{Maps: []Map{{Name: "base", AP: 0.5}, {Name: "residual", AP: 0.75}}}
	require.Equal(t, "+0.250", e.Gain("base").Text)
	require.Equal(t, "-", e.Gain("residual").Text)
	e.Maps = append(e.Maps, Map{Name: "f2pad", AP: 0.25})
	require.Equal(t, "−0.250", e.Gain("base").Text)
	require.Equal(t, "−0.500", e.Gain("residual").Text)
	require.Equal(t, "-", Entry{Maps: e.Maps[:1]}.Gain("base").Text)
}
