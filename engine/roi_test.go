package engine

import (
	"encoding/json"
	"image"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/method/patchcore"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
	"f2pad.example/engine/roi"
	"f2pad.example/engine/sight"
	"f2pad.example/engine/synth"

	"github.com/stretchr/testify/require"
)

// leftPart is the region of the columns left of x of images of h x w.
func leftPart(t *testing.T, h, w, x int) *roi.Region {
	t.Helper()
	in := make([]bool, h*w)
	for i := range in {
		in[i] = i%w < x
	}
	r, err := roi.New("left", in, h, w)
	require.NoError(t, err)
	return r
}

// spoilt writes an image with a black square in it.
func spoilt(t *testing.T, it dataset.Item, x, y, side int) dataset.Item {
	t.Helper()
	im, err := imageio.Decode(it.Path, imageio.Limits{})
	require.NoError(t, err)
	out := im.RGBA()
	for i := range side * side {
		out.Set(x+i%side, y+i/side, color.Black)
	}
	it.Path = filepath.Join(t.TempDir(), "spoilt.png")
	require.NoError(t, imageio.WritePNG(it.Path, out))
	return it
}

// greyed writes an image without colour: the built-in network goes by the brightness of grey images.
func greyed(t *testing.T, it dataset.Item) dataset.Item {
	t.Helper()
	im, err := imageio.Decode(it.Path, imageio.Limits{})
	require.NoError(t, err)
	h, w := im.Size()
	im.Pix = imageio.Crop(nd.Wrap(nd.Data(im.Pix)[:h*w], 1, h, w), 0, 0, h, w)
	it.Path = filepath.Join(t.TempDir(), filepath.Base(it.Path))
	require.NoError(t, imageio.WritePNG(it.Path, im.RGBA()))
	return it
}

// What lies outside of a model's region is not learned from, scored or marked.
func TestAModelInspectsItsRegion(t *testing.T) {
	p := fixture(t)
	good := greyed(t, p.few[slices.IndexFunc(p.few, dataset.Item.Normal)])
	inside, outside := spoilt(t, good, 12, 40, 12), spoilt(t, good, 80, 40, 12)
	for _, method := range methods() {
		t.Run(method, func(t *testing.T) {
			o := FitOptions{Method: method, Size: Size{Px: 96}, Seed: 5, Paintings: 6}
			o.ROI = leftPart(t, 96, 96, 48)
			// The right part of every image is another noise: who learns from it finds nothing odd any more.
			var noisy []dataset.Item
			for i, it := range p.data.Train {
				noisy = append(noisy, noise(t, greyed(t, it), 64, uint64(i)))
			}
			m, err := Fit(t.Context(), noisy, o, nil)
			require.NoError(t, err)
			require.Equal(t, ROI{Width: 96, Height: 96, Pixels: 96 * 48}, m.Info.ROI)
			if d, ok := m.Describe().(patchcore.Description); ok {
				require.InDelta(t, d.Ratio*float64(m.Info.Train*24*12), d.Bank, 2, "half of the cells")
			}
			c := m.Info.Calibration
			pixels := metric.NewQuantiles(metric.Options{})
			for _, r := range scored(t, m, Options{Maps: []refine.Kind{refine.Base}}, heldOut(t, noisy, 5)) {
				require.NoError(t, pixels.Add(sight.Pick(nd.Data(r.Maps[refine.Base]), r.Inspected)))
			}
			q, err := pixels.At(0.5, 0.995)
			require.NoError(t, err)
			require.Equal(t, []float64{c.MapQ50, c.MapQ995}, q, "what is 0 outside is not counted")
			require.Positive(t, c.Painted)

			path := filepath.Join(t.TempDir(), "m")
			_, err = m.Save(path)
			require.NoError(t, err)
			loaded, err := Load(path)
			require.NoError(t, err)
			all := Options{Maps: Kinds()}
			plain := scored(t, m, Options{}, []dataset.Item{good})[good.ID].Score
			for _, it := range []struct {
				item dataset.Item
				bad  bool
			}{{inside, true}, {outside, false}} {
				got := scored(t, m, all, []dataset.Item{it.item})
				requireSame(t, got, scored(t, loaded, all, []dataset.Item{it.item}))
				r := got[it.item.ID]
				require.Equal(t, it.bad, r.Score > 1.2*plain, "%g, %g", r.Score, plain)
				if !it.bad {
					require.InEpsilon(t, plain, r.Score, 1e-4)
				}
				require.Len(t, r.Inspected, 96*96)
				for k, on := range r.Maps {
					most := 0.
					for i, v := range nd.Data(on) {
						require.Equal(t, i%96 < 48, r.Inspected[i])
						if !r.Inspected[i] {
							require.Zero(t, v, "%s at %d", k, i)
						}
						most = max(most, float64(v))
					}
					if it.bad {
						require.Greater(t, most, r.PixelThreshold[k], k)
					}
				}
			}
			requireThresholdsOfTheInside(t, m, heldOut(t, noisy, 5), 6)
			again, err := Calibrate(t.Context(), m, heldOut(t, noisy, 5), CalibrateOptions{Paintings: 6, Options: Options{ROI: leftPart(t, 96, 96, 9)}}, nil)
			require.NoError(t, err)
			require.Equal(t, c.ImageThreshold, again.Info.Calibration.ImageThreshold)
			require.Equal(t, c.PixelThreshold, again.Info.Calibration.PixelThreshold)
			require.Equal(t, m.Info.ROI, again.Info.ROI)
		})
	}
}

// requireThresholdsOfTheInside checks a model that inspects the left half of 96 x 96 pixels: its thresholds are those of images that are
// cut before they are measured.
func requireThresholdsOfTheInside(t *testing.T, m *Model, held []dataset.Item, paintings int) {
	t.Helper()
	o, err := FitOptions{Method: m.Info.Method, Size: m.Info.Size}.withDefaults()
	require.NoError(t, err)
	f := &fitter{o: o, bb: m.backbone, white: m.Info.WhiteLevel, room: decodeRoom(), inspect: sight.Inspect(m.roi, nil)}
	e, err := New(m, Options{Maps: []refine.Kind{refine.Base}})
	require.NoError(t, err)
	defer e.Close()
	painted, normal := metric.NewMeanDice(), metric.NewQuantiles(metric.Options{})
	for _, tr := range trials(held, paintings, m.Info.Seed) {
		fr, mask, err := f.open(tr, ample)
		require.NoError(t, err)
		r, err := e.run(t.Context(), []*sight.Frame{fr})
		require.NoError(t, err)
		v := nd.Wrap(left(nd.Data(fr.Native(nd.Data(r[0].maps[refine.Base])))), 96, 48)
		if tr.defect == "" {
			require.NoError(t, normal.Add(nd.Data(v)))
			continue
		}
		require.NoError(t, painted.Add(v, nd.Wrap(left(nd.Data(mask)), 96, 48)))
	}
	c := m.Info.Calibration
	q, err := normal.At(1-c.PixelFPR, 0.5)
	require.NoError(t, err)
	best, _ := painted.Best()
	require.Equal(t, max(q[0], q[1], best), c.PixelThreshold[refine.Base])
	require.Equal(t, painted.At(c.PixelThreshold[refine.Base]), c.Promises[refine.Base].Dice)
	above, err := normal.Above(c.PixelThreshold[refine.Base])
	require.NoError(t, err)
	require.Equal(t, above, c.Promises[refine.Base].Above)

	// Where nothing is painted, the rate alone decides.
	rate := Calibration{PixelFPR: 0.3}
	require.NoError(t, f.pixelThresholds(t.Context(), m, trials(held, 0, m.Info.Seed), func() {}, &rate))
	q, err = normal.At(0.7)
	require.NoError(t, err)
	require.Equal(t, q[0], rate.PixelThreshold[refine.Base])
}

// left are the values of the left half of 96 x 96.
func left(x []float32) (out []float32) {
	for i, v := range x {
		if i%96 < 48 {
			out = append(out, v)
		}
	}
	return out
}

// slope is an image whose brightness rises from top to bottom.
func slope(h, w int) *imageio.Image {
	im := &imageio.Image{Pix: nd.New(3, h, w)}
	for i := range nd.Data(im.Pix) {
		nd.Data(im.Pix)[i] = float32(i%(h*w)) / float32(h*w)
	}
	return im
}

// Defects are painted where they are seen.
func TestDefectsArePaintedInTheRegion(t *testing.T) {
	for seed := range uint64(10) {
		in := make([]bool, 80*120)
		for i := range in {
			in[i] = i/120 >= 20 && i/120 < 60 && i%120 >= 70 && i%120 < 110
		}
		r, err := roi.New("box", in, 80, 120)
		require.NoError(t, err)
		f := &fitter{inspect: sight.Inspect(r, nil)}
		was := func() *imageio.Image {
			return slope(80, 120)
		}
		im, tr := was(), trial{defect: synth.Paints()[seed%5], seed: seed}
		mask, err := f.paint(im, tr)
		require.NoError(t, err)
		require.Equal(t, []int{80, 120}, []int(mask.Shape()))
		changed, outside := 0, 0
		for i, v := range nd.Data(was().Pix) {
			if v != nd.Data(im.Pix)[i] {
				changed++
				if !in[i%(80*120)] {
					outside++
				}
			}
		}
		for i, v := range nd.Data(mask) {
			if v != 0 && !in[i] {
				outside++
			}
		}
		require.Positive(t, changed)
		require.Zero(t, outside)

		f.inspect, im = nil, was()
		mask, err = f.paint(im, tr)
		require.NoError(t, err)
		pix, want, err := synth.Paint(was().Pix, tr.defect, seed)
		require.NoError(t, err)
		require.Equal(t, nd.Data(want), nd.Data(mask))
		require.Equal(t, nd.Data(pix), nd.Data(im.Pix))
	}
}

// noise writes an image whose columns from x on are noise.
func noise(t *testing.T, it dataset.Item, x int, seed uint64) dataset.Item {
	t.Helper()
	im, err := imageio.Decode(it.Path, imageio.Limits{})
	require.NoError(t, err)
	out := im.RGBA()
	b := out.Bounds()
	state := seed*2862933555777941757 + 3037000493
	for y := range b.Dy() {
		for i := x; i < b.Dx(); i++ {
			state = state*6364136223846793005 + 1442695040888963407
			v := uint8(state >> 56)
			out.Set(i, y, color.RGBA{v, v, v, 255})
		}
	}
	it.Path = filepath.Join(t.TempDir(), filepath.Base(it.Path))
	require.NoError(t, imageio.WritePNG(it.Path, out))
	return it
}

// A region that is given for scoring cuts the maps: what lies well inside is as it is without, and the score is of that.
func TestScoringInARegion(t *testing.T) {
	p := fixture(t)
	good := p.few[slices.IndexFunc(p.few, dataset.Item.Normal)]
	items := []dataset.Item{spoilt(t, good, 80, 40, 12)}
	for _, name := range []string{"padim native", "padim 128"} {
		m := p.model(t, name)
		base := Options{Maps: []refine.Kind{refine.Base}}
		whole := scored(t, m, base, items)[good.ID]
		require.True(t, whole.Anomalous)
		require.Nil(t, whole.Inspected)
		base.ROI = leftPart(t, 48, 48, 24) // of another size: it is scaled
		part := scored(t, m, base, items)[good.ID]
		require.Less(t, part.Score, whole.Score/2)
		most := 0.
		for i, v := range nd.Data(part.Maps[refine.Base]) {
			switch x := i % 96; {
			case x >= 48:
				require.Zero(t, v)
			case x < 24:
				require.Equal(t, nd.Data(whole.Maps[refine.Base])[i], v)
			}
			most = max(most, float64(v))
		}
		require.InEpsilon(t, most, part.Score, 0.02)
	}
}

// Of two regions what lies in both is inspected; what has no pixel fails by its name.
func TestTwoRegionsIntersect(t *testing.T) {
	p := fixture(t)
	good := p.few[:1]
	m := *p.model(t, "padim native")
	m.roi = leftPart(t, 96, 96, 48)
	right := func(from int) *roi.Region {
		in := make([]bool, 96*96)
		for i := range in {
			in[i] = i%96 >= from
		}
		r, err := roi.New("right", in, 96, 96)
		require.NoError(t, err)
		return r
	}
	r := scored(t, &m, Options{ROI: right(32)}, good)[good[0].ID]
	require.NoError(t, r.Err)
	for i, on := range r.Inspected {
		require.Equal(t, i%96 >= 32 && i%96 < 48, on)
	}
	fails := func(o Options) error { return scored(t, &m, o, good)[good[0].ID].Err }
	require.ErrorIs(t, fails(Options{ROI: right(48)}), roi.ErrEmpty)
	require.ErrorContains(t, fails(Options{ROI: right(48)}), good[0].Path+": an empty region of interest: the model's and the one given have no pixel in common")
	require.ErrorIs(t, fails(Options{ROI: leftPart(t, 60, 96, 9)}), roi.ErrAspect)
	require.ErrorContains(t, fails(Options{ROI: leftPart(t, 60, 96, 9)}), good[0].Path+": left: a region of interest of another aspect: 96x60 pixels for an image of 96x96")
}

func TestBoxesHoldTheRegion(t *testing.T) {
	of := func(y0, x0, y1, x1 int) []bool {
		in := make([]bool, 100*50)
		in[y0*50+x0], in[(y1-1)*50+x1-1] = true, true
		return in
	}
	for _, c := range []struct {
		in   []bool
		want [4]int
	}{
		{nil, [4]int{0, 0, 100, 50}},
		{of(10, 5, 60, 45), [4]int{10, 5, 60, 45}},
		{of(50, 20, 60, 30), [4]int{39, 9, 71, 41}},
		{of(0, 0, 1, 1), [4]int{0, 0, 32, 32}},
		{of(99, 49, 100, 50), [4]int{68, 18, 100, 50}},
	} {
		y0, x0, y1, x1 := box(c.in, 100, 50, 32)
		require.Equal(t, c.want, [4]int{y0, x0, y1, x1})
	}
}

// Masks stay in the region, whatever is closed and filled.
func TestMarksStayInTheRegion(t *testing.T) {
	in := make([]bool, 100)
	m := nd.New(10, 10)
	for i := range in {
		in[i] = i%10 != 5 // two parts
		if i/10 == 4 {
			nd.Data(m)[i] = 1
		}
	}
	marked := Marked(m, 0.5, in, region.Options{Close: 3})
	for i, on := range marked {
		require.Equal(t, i/10 == 4 && in[i], on)
	}
	require.Equal(t, slices.Repeat([]bool{true}, 10), Marked(m, -1, nil, region.Options{})[:10])
	require.False(t, Marked(m, -1, in, region.Options{})[5], "whatever the threshold")
}

// An evaluation counts what is inside; an image whose defect is elsewhere is left out.
func TestEvaluateCountsWhatIsInside(t *testing.T) {
	p := fixture(t)
	good := p.few[slices.IndexFunc(p.few, dataset.Item.Normal)]
	mask := func(x int) string {
		im := image.NewGray(image.Rect(0, 0, 96, 96))
		for i := range 144 {
			im.SetGray(x+i%12, 40+i/12, color.Gray{Y: 255})
		}
		path := filepath.Join(t.TempDir(), "mask.png")
		require.NoError(t, imageio.WritePNG(path, im))
		return path
	}
	bad := func(x int, id string) dataset.Item {
		it := spoilt(t, good, x, 40, 12)
		it.ID, it.Class, it.Mask = id, "hole", mask(x)
		return it
	}
	test := []dataset.Item{good, bad(42, "across"), bad(70, "outside")}
	m := p.model(t, "padim 128")
	low := 0.01 // everything is marked
	o := EvalOptions{Options: Options{ROI: leftPart(t, 96, 96, 48), Maps: []refine.Kind{refine.Base, refine.F2PAD}, PixelThreshold: &low}, TempDir: t.TempDir()}
	var across *Case
	o.Visit = func(c *Case) error {
		if c.Item.ID == "across" {
			across = c
		}
		return nil
	}
	e := evaluated(t, test, o)
	require.Equal(t, []string{"1 defective image has nothing inside of the region of interest, first " + test[2].Path + ": left out"}, e.Remarks)
	require.Len(t, e.Bad, 1)
	require.Len(t, e.Good, 1)
	require.Equal(t, 6*12, nonzero(nd.Data(across.Mask)))

	// The same, of images that are cut before they are measured.
	maps := scored(t, m, o.Options, test)
	for _, row := range e.Rows {
		pixels := metric.NewPixels(metric.Options{})
		of := func(id string) []float32 { return left(nd.Data(maps[id].Maps[refine.Kind(row.Map)])) }
		require.NoError(t, pixels.Add(nd.Wrap(of(good.ID), 96, 48), nil))
		require.NoError(t, pixels.Add(nd.Wrap(of("across"), 96, 48), nd.Wrap(left(nd.Data(across.Mask)), 96, 48)))
		want, err := pixels.Result(low)
		require.NoError(t, err)
		require.Equal(t, want.AP, row.PixelAP)
		require.Equal(t, want.AUROC, row.PixelAUROC)
		require.Equal(t, want.AUPRO, row.AUPRO)
		require.Equal(t, want.LabelFree.Dice(), row.DiceLabelFree)
		alone, err := metric.AveragePrecision(nd.Wrap(of("across"), 96, 48), nd.Wrap(left(nd.Data(across.Mask)), 96, 48))
		require.NoError(t, err)
		require.Equal(t, alone, across.AP[refine.Kind(row.Map)])
	}
	require.InDelta(t, 1, float64(e.Decisions.Maps[0].FalseAlarmArea.Mean), 0.05, "of what is inspected")
}

func nonzero(x []float32) (n int) {
	for _, v := range x {
		if v != 0 {
			n++
		}
	}
	return n
}

func TestFitTakesImagesThatTheRegionFits(t *testing.T) {
	p := fixture(t)
	o := FitOptions{Method: "padim", Seed: 5, Paintings: 2, Size: Size{Px: 32}}
	o.ROI = leftPart(t, 50, 96, 20)
	var skipped []string
	_, err := Fit(t.Context(), p.data.Train, o, func(it dataset.Item, err error) {
		require.ErrorIs(t, err, roi.ErrAspect)
		require.ErrorContains(t, err, it.Path+": left: ")
		skipped = append(skipped, it.ID)
	})
	require.ErrorIs(t, err, ErrFewImages)
	require.Equal(t, ids(p.data.Train), skipped)

	// Polygons in the pixels of images get the size of the first.
	path := filepath.Join(t.TempDir(), "r.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"polygons": [[[0,0],[48,0],[48,48],[0,48]]]}`), 0o666))
	o.ROI, err = roi.Read(path, imageio.Limits{})
	require.NoError(t, err)
	items := slices.Clone(p.data.Train[:6])
	im, err := imageio.Decode(items[3].Path, imageio.Limits{})
	require.NoError(t, err)
	items[3].Path = filepath.Join(t.TempDir(), "wide.png")
	require.NoError(t, imageio.WritePNG(items[3].Path, (&imageio.Image{Pix: imageio.Resize(im.Pix, 48, 96)}).RGBA()))
	skipped = nil
	m, err := Fit(t.Context(), items, o, func(it dataset.Item, err error) { skipped = append(skipped, it.ID) })
	require.NoError(t, err)
	require.Equal(t, []string{items[3].ID}, skipped)
	require.Equal(t, ROI{Width: 96, Height: 96, Pixels: 48 * 48}, m.Info.ROI)

	// What no fit would write of it is refused.
	path = filepath.Join(t.TempDir(), "m")
	_, err = m.Save(path)
	require.NoError(t, err)
	with := func(key string, v any) error {
		_, err := read(resealed(t, path, func(name string, data any, shape []int) (any, []int) {
			if name != infoSection {
				return data, shape
			}
			info := map[string]any{}
			require.NoError(t, json.Unmarshal(data.(json.RawMessage), &info))
			in(info, "roi")[key] = v
			text, err := json.Marshal(info)
			require.NoError(t, err)
			return json.RawMessage(text), shape
		}))
		return err
	}
	require.NoError(t, with("pixels", 48*48))
	require.ErrorContains(t, with("pixels", 48*48+1), `section "roi": 2304 pixels are inspected, the model says 2305`)
	require.ErrorContains(t, with("pixels", 0), "engine: roi.pixels is 0, want 1 to 9216")
	require.ErrorContains(t, with("width", -8), "engine: roi.image too small")
	require.ErrorContains(t, with("height", math.MaxInt32), "engine: roi.image too large")
	require.ErrorContains(t, with("height", 97), `section "roi"`)
}

// The optimisation is not asked to explain what is not inspected.
func TestWhatIsNotInspectedHasNoEnergy(t *testing.T) {
	p := fixture(t)
	m := p.model(t, "padim native")
	e, err := New(m, Options{ROI: leftPart(t, 96, 96, 48)})
	require.NoError(t, err)
	defer e.Close()
	f := e.decode(p.few[0], ample).frame
	H, W := f.Size()
	cal := m.Info.Calibration
	c := e.at[0]
	first := func(of *sight.Frame, where []bool) (loop.Iteration, []float32) {
		sc := &sight.Scorer{
			Detector: c.detector, Spec: c.spec, Scale: cal.scores(), Norms: []backbone.Affine{m.backbone.Normalize(f.Y)}, Frames: []*sight.Frame{of},
		}
		_, err := sc.Start(t.Context(), nd.Wrap(nd.Data(f.Y), 1, 3, H, W), nil)
		require.NoError(t, err)
		defer sc.Finish()
		step := &pixel.StepOptions{
			Share: pixel.NewGaussian(1), Norm: pixel.NewGaussian(1), Momentum: 0.8, Decay: 0.9, Rate: 0.1, Lambda: 1, Penalty: pixel.NewGroupLog(0.1),
		}
		s := pixel.NewState(pixel.Box{Y1: H, X1: W}, []int32{int32(20*W + 20)}, step)
		s.C[20*W+20] = 1
		told, err := sc.Optimise(t.Context(), []loop.Problem{{Y: nd.Data(f.Y), H: H, W: W, States: []*pixel.State{s}, Cells: where}},
			&loop.Options{Iterations: 1, Energy: square{}, Step: step})
		require.NoError(t, err)
		return told[0][0], s.M
	}
	everywhere := slices.Repeat([]bool{true}, H/4*W/4)
	want, wantMoment := first(&sight.Frame{Y: f.Y}, f.Grid(H/4, W/4))
	got, moment := first(f, everywhere)
	require.Equal(t, want, got)
	require.Equal(t, wantMoment, moment)
	require.NotEqual(t, make([]float32, len(moment)), moment)
	require.True(t, everywhere[len(everywhere)-1], "what is given stays as it is")
	whole, _ := first(&sight.Frame{Y: f.Y}, everywhere)
	require.Greater(t, whole.Data, 1.2*got.Data)
}
