package engine

import (
	"context"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"
	"f2pad.example/engine/synth"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func TestConformalQuantile(t *testing.T) {
	scores := func(n int) []float64 { // n, n-1, ..., 1
		s := make([]float64, n)
		for i := range s {
			s[i] = float64(n - i)
		}
		return s
	}
	for _, c := range []struct {
		n    int
		fpr  float64
		want float64
	}{{99, 0.05, 95}, {100, 0.05, 96}, {19, 0.05, 19}, {10, 0.05, 10}, {1, 0.5, 1}, {9, 0.5, 5}} {
		require.Equal(t, c.want, conformal(scores(c.n), c.fpr), "%+v", c)
	}
}

// TestCalibrationKeepsItsPromise runs a model on the images it was calibrated on: so many of them, and of their pixels, lie
// above the thresholds as the model states.
func TestCalibrationKeepsItsPromise(t *testing.T) {
	p := fixture(t)
	for _, name := range names() {
		t.Run(name, func(t *testing.T) {
			m := p.model(t, name)
			cal := m.Info.Calibration
			_, held, err := split(p.data.Train, 0.2, m.Info.Seed)
			require.NoError(t, err)
			require.Len(t, held, m.Info.HeldOut)
			above, pixels := map[refine.Kind]int{}, 0
			for id, r := range scored(t, m, Options{Maps: Kinds()}, held) {
				require.NoError(t, r.Err)
				require.False(t, r.Anomalous, "%s: so few images that the threshold is the largest score", id)
				for k, v := range r.Maps {
					for _, s := range nd.Data(v) {
						if float64(s) > cal.PixelThreshold[k] {
							above[k]++
						}
					}
				}
				pixels += 96 * 96
			}
			for _, k := range Kinds() {
				require.Equal(t, float64(above[k])/float64(pixels), cal.Promises[k].Above, "%s", k)
				require.LessOrEqual(t, cal.Promises[k].Above, cal.PixelFPR, "%s", k)
			}
		})
	}
}

// The thresholds are the best ones, or those of the stated rate, for the held-out images and for defects painted on these:
// here they are scored as files are, one by one.
func TestPixelThresholdsAreThoseOfPaintedHeldOutImages(t *testing.T) {
	p := fixture(t)
	simulated := 0
	for _, name := range names() {
		t.Run(name, func(t *testing.T) {
			m := p.model(t, name)
			cal := m.Info.Calibration
			_, held, err := split(p.data.Train, 0.2, m.Info.Seed)
			require.NoError(t, err)
			require.Equal(t, fewPaintings, cal.Painted)
			require.ElementsMatch(t, synth.Paints(), cal.Paints)
			e, err := New(m, Options{Maps: Kinds()})
			require.NoError(t, err)
			defer e.Close()
			painted, normal := map[refine.Kind]*metric.MeanDice{}, map[refine.Kind]*metric.Quantiles{}
			for _, k := range Kinds() {
				painted[k], normal[k] = metric.NewMeanDice(), metric.NewQuantiles(metric.Options{})
			}
			add := func(im *imageio.Image, mask *tensor.Dense) {
				f, err := sight.NewFrame(im, m.Info.Size, m.backbone.Multiple(), m.backbone.MinSide())
				require.NoError(t, err)
				r, err := e.run(t.Context(), []*sight.Frame{f})
				require.NoError(t, err)
				for _, k := range Kinds() {
					v := f.Native(nd.Data(r[0].maps[k]))
					if mask == nil {
						require.NoError(t, normal[k].Add(nd.Data(v)))
					}
					require.NoError(t, painted[k].Add(v, mask))
				}
			}
			for _, tr := range trials(held, fewPaintings, m.Info.Seed) {
				im, err := imageio.Decode(tr.item.Path, imageio.Limits{})
				require.NoError(t, err)
				if tr.defect == "" {
					add(im, nil)
					continue
				}
				pix, mask, err := synth.Paint(im.RGB(), tr.defect, tr.seed)
				require.NoError(t, err)
				add(&imageio.Image{Pix: pix, Depth: 8}, mask)
			}
			for _, k := range Kinds() {
				q, err := normal[k].At(1 - cal.PixelFPR)
				require.NoError(t, err)
				best, _ := painted[k].Best()
				require.Equal(t, max(q[0], best), cal.PixelThreshold[k], "%s", k)
				require.Equal(t, painted[k].At(cal.PixelThreshold[k]), cal.Promises[k].Dice, "%s", k)
				require.Equal(t, best > q[0], cal.Promises[k].Rule == BySimulation, "%s", k)
				if best > q[0] {
					simulated++
				}
			}
		})
	}
	require.NotZero(t, simulated, "no threshold owes anything to the painted defects")
}

// crowd is an executor that counts how many images its networks run on at once.
type crowd struct {
	exec.Executor
	now, most atomic.Int64
	meet      sync.Once
	company   chan struct{} // closed when there are two
	waits     time.Duration // of one that is alone, for company
}

func (c *crowd) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	net, err := c.Executor.Compile(g, gradient)
	return &crowded{Net: net, c: c}, err
}

type crowded struct {
	exec.Net
	c *crowd
}

func (n *crowded) Forward(ctx context.Context, in, out []*tensor.Dense) error {
	now := n.c.now.Add(1)
	n.c.most.Store(max(n.c.most.Load(), now))
	defer n.c.now.Add(-1)
	if now > 1 {
		n.c.meet.Do(func() { close(n.c.company) })
	}
	select {
	case <-n.c.company:
	case <-time.After(n.c.waits):
	}
	return n.Net.Forward(ctx, in, out)
}

// TestPaintedImagesTakeTurns: of images that fill the memory there is one at a time, however many cores there are.
func TestPaintedImagesTakeTurns(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	p := fixture(t)
	m := p.model(t, "padim 128")
	for room, alone := range map[int64]bool{1: true, 1 << 30: false} {
		c := &crowd{Executor: goexec.New(), company: make(chan struct{}), waits: 5 * time.Millisecond}
		if !alone {
			c.waits = 2 * time.Minute
		}
		o := FitOptions{Method: "padim", Size: m.Info.Size, Options: Options{Place: place.NewHost(c)}}
		f := &fitter{o: o, bb: m.backbone, room: room}
		n := 0
		all := trials(p.data.Train[:2], defaultPaintings, 0)[:8]
		require.NoError(t, f.each(t.Context(), m, []refine.Kind{refine.Base}, all, func() {}, func(s seen) error {
			require.Equal(t, s.defect != "", s.mask != nil)
			n++
			return nil
		}))
		require.Equal(t, len(all), n)
		require.Equal(t, alone, c.most.Load() == 1, "%d bytes: %d at once", room, c.most.Load())
	}
}

// TestTrialsTakeNoMoreThanTheyReserve: what is asked for is what is allocated until the defect is painted, but for small buffers.
func TestTrialsTakeNoMoreThanTheyReserve(t *testing.T) {
	const h, w = 600, 700
	m := fixture(t).model(t, "padim 128")
	f := &fitter{o: FitOptions{Size: m.Info.Size}, bb: m.backbone}
	colour := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range colour.Pix {
		colour.Pix[i] = uint8(i % 251)
	}
	for name, img := range map[string]image.Image{"grey": image.NewGray(image.Rect(0, 0, w, h)), "colour": colour} {
		path := filepath.Join(t.TempDir(), name+".png")
		write(t, path, img)
		for _, defect := range []string{"", "hole", "patch"} {
			asked := int64(0)
			before := allocated()
			fr, mask, err := f.open(trial{item: dataset.Item{Path: path}, defect: defect}, func(n int64) error {
				require.Zero(t, asked)
				asked = n
				return nil
			})
			got := int64(allocated() - before)
			require.NoError(t, err)
			require.NotNil(t, fr)
			if mask != nil {
				require.Equal(t, []int{h, w}, []int(mask.Shape()))
			}
			require.Equal(t, defect != "", mask != nil)
			require.Less(t, got, asked+asked/8+1<<20, "%s %s", name, defect)
			require.Greater(t, got, asked/3, "%s %s", name, defect)
		}
	}
}

func TestTrialsPaintTheHeldOutImagesInTurn(t *testing.T) {
	for _, n := range []int{2, 4, 5, 18, 30, 48, 49, 200} {
		const painted = 48
		held := make([]dataset.Item, n)
		for i := range held {
			held[i].ID = fmt.Sprintf("%03d", i)
		}
		all := trials(held, painted, 7)
		require.Len(t, all, n+painted)
		require.Equal(t, all, trials(held, painted, 7))
		seeds, kinds, images, pairs := map[uint64]bool{}, map[string]int{}, map[string]int{}, map[string]int{}
		for i, tr := range all {
			if i < n {
				require.Equal(t, trial{item: held[i]}, tr, "first all images as they are")
				continue
			}
			seeds[tr.seed] = true
			kinds[tr.defect]++
			images[tr.item.ID]++
			pairs[tr.item.ID+tr.defect]++
		}
		require.Len(t, seeds, painted, "every defect is another one")
		require.Len(t, images, min(n, painted))
		for _, kind := range synth.Paints() {
			require.InDelta(t, float64(painted)/5, kinds[kind], 1, "%d images: %s", n, kind)
		}
		for id, k := range images {
			require.InDelta(t, float64(painted)/float64(min(n, painted)), k, 1, "%d images: %s", n, id)
		}
		for pair, k := range pairs {
			require.LessOrEqual(t, k, (images[pair[:3]]+4)/5, "%d images: %s: all kinds before one comes again", n, pair)
		}
		if n > painted {
			require.Greater(t, all[len(all)-1].item.ID, held[n-n/20-2].ID, "images from all over the list")
		}
		require.NotEqual(t, all[n].seed, trials(held, painted, 8)[n].seed, "the seed decides")
	}
}

// threshold chooses for normal pixels 1 to 1000, also around a defect of the given values.
func threshold(t *testing.T, fpr float64, defect ...float32) (float64, Promise) {
	t.Helper()
	s := newSample()
	defer s.normal.Close()
	values := make([]float32, 1000)
	for i := range values {
		values[i] = float32(1 + i)
	}
	require.NoError(t, s.add(nd.Wrap(slices.Clone(values), 40, 25), nil))
	if len(defect) > 0 {
		values = append(values, defect...)
		mask := nd.New(1, len(values))
		for i := range defect {
			nd.Data(mask)[1000+i] = 1
		}
		require.NoError(t, s.add(nd.Wrap(values, 1, len(values)), mask))
	}
	at, p, err := s.threshold(fpr)
	require.NoError(t, err)
	return at, p
}

func TestPixelThresholdFollowsTheDefects(t *testing.T) {
	const rate, step = 990.01, 1.0 / 128 // NumPy's quantile of 99 %; what thresholds are told apart by
	for _, v := range []float32{1200, 2000, 9000} {
		at, p := threshold(t, 0.01, v, v+1, v+2)
		require.Less(t, at, float64(v))
		require.InEpsilon(t, v, at, step, "all of the defect and nothing else")
		require.Equal(t, Promise{Rule: BySimulation, Above: 0, Dice: 1}, p)
	}
	at, p := threshold(t, 0.01, 900, 2000, 2001)
	require.InEpsilon(t, 2000, at, step, "one pixel of the defect would cost a hundred others")
	require.InDelta(t, 0.8, float64(p.Dice), 1e-9)

	at, p = threshold(t, 0.01, slices.Repeat([]float32{998.5}, 50)...)
	require.Equal(t, BySimulation, p.Rule)
	require.InEpsilon(t, 998.5, at, step)
	require.Greater(t, p.Above, 0.002, "some normal pixels are in the bargain")
	require.Less(t, p.Above, 0.01)

	at, p = threshold(t, 0.01, slices.Repeat([]float32{500}, 600)...) // best: more than half of everything
	require.InDelta(t, rate, at, 1e-9, "what the map does not see lowers no threshold")
	require.Equal(t, ByRate, p.Rule)
	require.Equal(t, 0.01, p.Above)
	require.Zero(t, p.Dice)
	at, _ = threshold(t, 0.3, slices.Repeat([]float32{500}, 600)...)
	require.InDelta(t, 700.3, at, 1e-9)

	at, p = threshold(t, 0.01)
	require.InDelta(t, rate, at, 1e-9)
	require.Equal(t, ByRate, p.Rule)
	require.False(t, p.Dice.Defined())
}

// Images that are too small to paint on are calibrated on as they are.
func TestSmallImagesAreNotPainted(t *testing.T) {
	dir := t.TempDir()
	var items []dataset.Item
	for i := range uint64(8) {
		img, _, err := synth.Render("grain", synth.Good, synth.MinSize, i)
		require.NoError(t, err)
		const side = synth.MinSize - 4
		out := image.NewGray(image.Rect(0, 0, side, side))
		for p := range out.Pix {
			out.Pix[p] = uint8(255 * nd.Data(img)[p/side*synth.MinSize+p%side])
		}
		path := filepath.Join(dir, fmt.Sprintf("%d.png", i))
		f, err := os.Create(path)
		require.NoError(t, err)
		require.NoError(t, png.Encode(f, out))
		require.NoError(t, f.Close())
		items = append(items, dataset.Item{Path: path, ID: filepath.Base(path)})
	}
	last := Progress{}
	m, err := Fit(t.Context(), items, FitOptions{Method: "padim", Progress: func(p Progress) { last = p }}, nil)
	require.NoError(t, err)
	require.Equal(t, Progress{"calibration", 2 + 2 + defaultPaintings, 2 + 2 + defaultPaintings}, last)
	c := m.Info.Calibration
	require.Zero(t, c.Painted)
	require.Empty(t, c.Paints)
	for _, k := range Kinds() {
		require.Equal(t, ByRate, c.Promises[k].Rule)
		require.False(t, c.Promises[k].Dice.Defined())
	}
	path := filepath.Join(dir, "m.f2pad")
	_, err = m.Save(path)
	require.NoError(t, err, "an undefined Dice is null")
	again, err := Load(path)
	require.NoError(t, err)
	require.False(t, again.Info.Calibration.Promises[refine.Base].Dice.Defined())
}

// At a rate that would take the threshold into the bulk of the map, everything would be marked.
func TestPixelThresholdIsNotBelowTheMedian(t *testing.T) {
	at, p := threshold(t, 0.9)
	require.InDelta(t, 500.5, at, 1e-9)
	require.Equal(t, 0.5, p.Above)
	require.Equal(t, 1, p.Marked)
	at, p = threshold(t, 0.01, 2000, 2001)
	require.Greater(t, at, 1000.0)
	require.Zero(t, p.Marked, "nothing is marked where there is no defect")
}

// Calibrating on the images that a fit held out gives what the fit found.
func TestCalibrateIsThatOfTheFit(t *testing.T) {
	p := fixture(t)
	for _, name := range names() {
		t.Run(name, func(t *testing.T) {
			m := p.model(t, name)
			_, held, err := split(p.data.Train, 0.2, m.Info.Seed)
			require.NoError(t, err)
			forgetful := *m
			forgetful.Info.Calibration = Calibration{ImageFPR: m.Info.Calibration.ImageFPR, PixelFPR: m.Info.Calibration.PixelFPR}
			forgetful.memory = m.memory
			again, err := Calibrate(t.Context(), &forgetful, held, CalibrateOptions{Program: "v9", Paintings: fewPaintings}, nil)
			require.NoError(t, err)
			want := m.Info.Calibration
			require.Equal(t, FromFit, want.Source.From)
			require.Equal(t, m.Info.HeldOut, want.Source.Images)
			want.Source.From, want.Source.Program = FromNew, "v9"
			require.Equal(t, want, again.Info.Calibration)
			require.Empty(t, again.SHA256())
		})
	}
}

func TestCalibrateChangesTheCalibrationAlone(t *testing.T) {
	p := fixture(t)
	m := p.model(t, "patchcore 128")
	before := m.Info
	var good []dataset.Item
	for _, it := range p.data.Test {
		if it.Normal() {
			good = append(good, it)
		}
	}
	dir := t.TempDir()
	good = append(good, copied(t, dir, good[0].Path, 6, func(i, pixel int, v uint8) uint8 { return v - v%16 + uint8(pixel*(i+3)%16) })...)
	broken := dataset.Item{Path: filepath.Join(dir, "broken.png"), ID: "broken"}
	require.NoError(t, os.WriteFile(broken.Path, []byte("no image"), 0o666))
	var skipped []string
	last := Progress{}
	image := 0.4
	unlike := func(dataset.Item, Difference) { require.Fail(t, "all images are of one kind") }
	next, err := Calibrate(t.Context(), m, append([]dataset.Item{broken}, good...), CalibrateOptions{Options: Options{Unlike: unlike}, ImageFPR: image, Progress: func(p Progress) { last = p }},
		func(it dataset.Item, err error) { skipped = append(skipped, it.ID) })
	require.NoError(t, err)
	require.Equal(t, []string{"broken"}, skipped)
	n := len(good)
	require.Equal(t, Progress{"calibration", 2*n + defaultPaintings, 2*n + defaultPaintings}, last)
	require.Equal(t, before, m.Info, "the model that was given stays as it is")
	c := next.Info.Calibration
	require.Equal(t, n, c.Source.Images)
	require.Equal(t, image, c.ImageFPR)
	require.Equal(t, before.Calibration.PixelFPR, c.PixelFPR, "the model's own")
	require.NotEqual(t, before.Calibration.ImageThreshold, c.ImageThreshold)
	after := next.Info
	after.Calibration = before.Calibration
	require.Equal(t, before, after)

	var scores []float64
	for _, r := range scored(t, next, Options{}, good) {
		scores = append(scores, r.Score)
	}
	require.Equal(t, conformal(scores, image), c.ImageThreshold)

	path := filepath.Join(t.TempDir(), "next.f2pad")
	_, err = next.Save(path)
	require.NoError(t, err)
	loaded, err := Load(path)
	require.NoError(t, err)
	require.Equal(t, next.Info, loaded.Info)
	base := Options{Maps: []refine.Kind{refine.Base}}
	requireSame(t, scored(t, m, base, p.few), scored(t, loaded, base, p.few))
}

func TestCalibrateRefusesWhatItCannotGoBy(t *testing.T) {
	p := fixture(t)
	m := p.model(t, "padim native")
	none := CalibrateOptions{Paintings: fewPaintings}
	_, err := Calibrate(t.Context(), m, p.data.Test[:1], none, nil)
	require.ErrorIs(t, err, ErrFewImages)
	_, err = Calibrate(t.Context(), m, copied(t, t.TempDir(), p.data.Test[0].Path, 4, same), none, nil)
	require.ErrorIs(t, err, ErrFewImages, "copies are one image")
	_, err = Calibrate(t.Context(), m, p.data.Train, none, nil)
	require.ErrorIs(t, err, ErrSeen)
	forgetful := *m
	forgetful.memory = nil
	_, err = Calibrate(t.Context(), &forgetful, p.data.Train, none, nil)
	require.ErrorIs(t, err, ErrSeen, "the files' hash tells")
	train, _, err := split(p.data.Train, 0.2, m.Info.Seed)
	require.NoError(t, err)
	mixed := append(copied(t, t.TempDir(), train[2].Path, 1, same), p.data.Test[:3]...)
	_, err = Calibrate(t.Context(), m, mixed, none, nil)
	require.ErrorIs(t, err, ErrSeen, "also in another file")
	require.ErrorContains(t, err, mixed[0].Path)
	_, err = Calibrate(t.Context(), m, p.data.Test, CalibrateOptions{ImageFPR: 1.5}, nil)
	require.ErrorContains(t, err, "image false-positive rate 1.5")
}

// A model whose refinement this program does not do any more has a use for one threshold.
func TestCalibrateAnOlderModel(t *testing.T) {
	for _, r := range revisions(t) {
		m, err := Load(filepath.Join(r, "padim.f2pad"))
		require.NoError(t, err)
		require.Equal(t, FromFit, m.Info.Calibration.Source.From)
		require.Equal(t, m.Info.HeldOut, m.Info.Calibration.Source.Images)
		items := copied(t, t.TempDir(), testImages[0].Path, 3, func(i, pixel int, v uint8) uint8 { return v - v%16 + uint8(pixel*(i+3)%16) })
		next, err := Calibrate(t.Context(), m, items, CalibrateOptions{Paintings: fewPaintings}, nil)
		require.NoError(t, err, r)
		require.Equal(t, m.Kinds(), next.Kinds(), r)
		require.Len(t, next.Info.Calibration.PixelThreshold, len(next.Kinds()))
		path := filepath.Join(t.TempDir(), "next.f2pad")
		_, err = next.Save(path)
		require.NoError(t, err)
		_, err = Load(path)
		require.NoError(t, err, r)
	}
}

func TestOptionsTakeThePlaceOfThresholds(t *testing.T) {
	p := fixture(t)
	m := p.model(t, "padim 128")
	image, pixel := 0.0, 7.5
	for id, r := range scored(t, m, Options{Maps: []refine.Kind{refine.Base}, ImageThreshold: &image, PixelThreshold: &pixel}, p.few) {
		require.Equal(t, image, r.Threshold)
		require.True(t, r.Anomalous, id)
		require.Equal(t, map[refine.Kind]float64{refine.Base: pixel, refine.Residual: pixel, refine.F2PAD: pixel}, r.PixelThreshold)
	}
}
