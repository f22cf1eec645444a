package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"testing"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/perf"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// clock is one that the fake engines move.
type clock struct{ now time.Duration }

func (c *clock) Now() time.Duration { return c.now }

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.now += max(d, 0)
	return ctx.Err()
}

// fake is an engine of a device, whose time is so much for a batch and each image in it.
type fake struct {
	c           *clock
	device      string
	batch, each time.Duration
	most        int
	kind        refine.Kind
	timer       engine.Timer
	scores      func(image, call int) float32 // nil: the image's number
	calls       map[string]int
	log         *[]string
	closed      *int
	fails       error
	left        string // of its devices; "": all
}

func (f *fake) Close() error { *f.closed++; return nil }

func (f *fake) Device() device.Info { return device.Info{Device: cmp.Or(f.left, f.device)} }

func (f *fake) Score(ctx context.Context, items iter.Seq[dataset.Item], emit func(*engine.Result) error) error {
	if f.fails != nil {
		return f.fails
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var batch []dataset.Item
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		spent := f.batch + time.Duration(len(batch))*f.each
		f.c.now += spent
		f.timer("features", len(batch), engine.Took{Wall: spent / 2})
		*f.log = append(*f.log, fmt.Sprintf("%s:%d", f.device, len(batch)))
		for _, it := range batch {
			var image int
			fmt.Sscanf(it.Path, "%d", &image)
			s := float32(image)
			if f.scores != nil {
				s = f.scores(image, f.calls[it.Path])
			}
			f.calls[it.Path]++
			r := &engine.Result{
				Item: it, Score: float64(s), Device: devicesOf(f.device)[image%len(devicesOf(f.device))], Anomalous: image != 4,
				Maps: map[refine.Kind]*tensor.Dense{f.kind: nd.Wrap([]float32{s, 1}, 1, 2)}, PixelThreshold: map[refine.Kind]float64{f.kind: 2.001},
			}
			if f.kind != refine.Base && image%2 == 1 {
				r.Refined, r.Suspect = true, 0.25
			}
			if err := emit(r); err != nil {
				return err
			}
		}
		batch = nil
		return nil
	}
	for it := range items {
		if batch = append(batch, it); len(batch) == f.most {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// world is what a test measures.
type world struct {
	clock  clock
	log    []string
	made   []*fake
	closed int
	change func(*fake)
}

// place is a device with an engine that takes batch for each batch, and each for each image.
func (w *world) place(name string, batch, each time.Duration) Place {
	return Place{Info: device.Info{Device: name}, Open: func(kind refine.Kind, most int, t engine.Timer) (Scorer, error) {
		f := &fake{
			c: &w.clock, device: name, batch: batch, each: each, most: most, kind: kind, timer: t, calls: map[string]int{}, log: &w.log, closed: &w.closed,
		}
		if w.change != nil {
			w.change(f)
		}
		w.made = append(w.made, f)
		return f, nil
	}}
}

func numbered(n int) (items []dataset.Item) {
	for i := range n {
		items = append(items, dataset.Item{Path: fmt.Sprintf("%d.png", i)})
	}
	return items
}

func (w *world) options(s ...Scenario) Options {
	return Options{
		Scenarios: s, Batches: []int{1, 4}, Maps: []refine.Kind{refine.Base}, Rule: perf.Rule{Least: 3, Seconds: 10, Within: 0.02}, Clock: &w.clock,
	}
}

const milli = time.Millisecond

// Devices that compute together are one row, which says what share of the images each had; one that is lost fails it.
func TestTogether(t *testing.T) {
	w := &world{}
	const both = "cuda:0+cuda:1"
	places := []Place{w.place("cuda:0", 0, milli), w.place(both, 0, milli/2)}
	o := w.options(Offline, Server)
	o.Rate, o.Bound = 500, time.Second
	rows, err := Run(t.Context(), places, numbered(6), o)
	require.NoError(t, err)
	for i, row := range rows {
		require.Empty(t, row.Error)
		if i%2 == 0 {
			require.Nil(t, row.Shares)
			continue
		}
		require.Equal(t, both, row.Device)
		require.InDelta(t, 0.5, row.Shares["cuda:0"], 0.01)
		require.InDelta(t, 0.5, row.Shares["cuda:1"], 0.01)
		require.Zero(t, *row.Apart)
	}
	require.InDelta(t, 0.5, rows[1].Against.Ratio.Median, 1e-9)

	w.change = func(f *fake) {
		if f.device == both {
			f.left = "cuda:1"
		}
	}
	rows, err = Run(t.Context(), places, numbered(6), w.options(Offline))
	require.NoError(t, err)
	require.Empty(t, rows[0].Error)
	require.Equal(t, "of cuda:0+cuda:1 there is only cuda:1 left", rows[1].Error)
}

// A server's batches are for all devices together.
func TestServerBatchesAreForAllDevices(t *testing.T) {
	w := &world{}
	o := w.options(Server)
	o.Rate, o.Bound = 1e4, time.Hour
	rows, err := Run(t.Context(), []Place{w.place("cuda:0", milli, 0), w.place("cuda:0+cuda:1", milli, 0)}, numbered(6), o)
	require.NoError(t, err)
	require.InDelta(t, 4, rows[0].Server.Mean, 0.1)
	require.InDelta(t, 8, rows[1].Server.Mean, 0.1)
}

func TestOffline(t *testing.T) {
	w := &world{}
	o := w.options(Offline)
	o.Maps = []refine.Kind{refine.Base, refine.F2PAD}
	var told []*Row
	var steps []engine.Progress
	o.Tell, o.Progress = func(r *Row) { told = append(told, r) }, func(p engine.Progress) { steps = append(steps, p) }
	rows, err := Run(context.Background(), []Place{w.place("cpu", 10*milli, 5*milli)}, numbered(8), o)
	require.NoError(t, err)
	require.Equal(t, rows, told)
	require.Len(t, rows, 4)
	require.Equal(t, []engine.Progress{{Phase: "bench", Total: 4}, {Phase: "bench", Done: 1, Total: 4}, {Phase: "bench", Done: 2, Total: 4},
		{Phase: "bench", Done: 3, Total: 4}, {Phase: "bench", Done: 4, Total: 4}}, steps)
	for i, name := range []string{
		"offline/device=cpu/map=base/batch=1", "offline/device=cpu/map=base/batch=4",
		"offline/device=cpu/map=f2pad/batch=1", "offline/device=cpu/map=f2pad/batch=4",
	} {
		r := rows[i]
		require.Equal(t, name, r.Name())
		seconds := 8*0.015 - float64(i%2)*6*0.010 // of eight batches, or of two
		require.Empty(t, r.Error)
		require.InDelta(t, 8/seconds, r.ImagesPerSecond, 1e-6)
		require.InDelta(t, seconds, r.Round.Median, 1e-9)
		require.Len(t, r.Samples, 6, "the least that settles anything")
		require.True(t, r.Settled)
		require.InDelta(t, 0, *r.Spread, 1e-9)
		require.Len(t, r.Stages, 1)
		require.InDelta(t, seconds/8/2, r.Stages[0].Seconds, 1e-9, "of timed rounds alone")
		require.Nil(t, r.Latency)
		require.Nil(t, r.Bus)
		require.Nil(t, r.Joules)
		require.Nil(t, r.Against)
		require.Nil(t, r.Apart)
		if r.Map == refine.F2PAD {
			require.Equal(t, 4, r.Refined)
			require.InDelta(t, 0.125, r.Suspect, 1e-12)
		} else {
			require.Zero(t, r.Refined)
		}
	}
	require.Equal(t, 4, w.closed)
	for _, f := range w.made {
		require.Equal(t, 2+6, f.calls["0.png"], "two passes before what counts")
	}
}

func TestStream(t *testing.T) {
	w := &world{}
	slow := false
	w.change = func(f *fake) {
		f.scores = func(image, call int) float32 { // the first image takes longer
			if image == 0 {
				f.c.now += 100 * milli
			}
			if slow = slow || call == 5; slow {
				f.c.now += milli
			}
			return float32(image)
		}
	}
	rows, err := Run(context.Background(), []Place{w.place("cpu", 0, 10*milli)}, numbered(30), w.options(Stream))
	require.NoError(t, err)
	require.Len(t, rows, 1, "one image at once, whatever the batches")
	r := rows[0]
	require.Equal(t, 1, r.Batch)
	n := len(r.Samples)
	require.GreaterOrEqual(t, n, 6)
	require.Equal(t, 30*n, r.Latency.Count)
	require.InDelta(t, 0.1, r.Latency.Max, 0.02)
	require.InDelta(t, 0.0105, r.Latency.P50, 0.0006)
	require.NotNil(t, r.Latency.P99)
	require.Len(t, r.ImageSeconds, 30)
	require.InDelta(t, 0.1105, r.ImageSeconds[0], 0.0006)
	require.InDelta(t, 0.0105, r.ImageSeconds[7], 0.0006)
	require.InDelta(t, r.Round.Median/30, 1/r.ImagesPerSecond, 1e-9)
}

// Devices run in turn, and are compared round by round.
func TestSideBySide(t *testing.T) {
	w := &world{}
	w.change = func(f *fake) {
		if f.device == "cuda:0" {
			f.scores = func(image, _ int) float32 { return float32(image) * 1.001 }
		}
	}
	places := []Place{w.place("cpu", 0, 10*milli), w.place("cuda:0", 0, 2*milli)}
	var launches int64
	places[1].Counters = func() device.Counters {
		launches += 50 // of each run, as it is asked before and after
		return device.Counters{Launches: launches, Uploaded: 10 * launches, Enqueue: time.Duration(launches) * milli}
	}
	joules := 0.0
	o := w.options(Offline)
	o.Batches = []int{5}
	o.Energy = func() (float64, bool) { joules += 10; return joules, true }
	rows, err := Run(context.Background(), places, numbered(5), o)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Nil(t, rows[0].Against)
	require.Equal(t, "cpu", rows[1].Against.Device)
	require.InDelta(t, 0.2, rows[1].Against.Ratio.Median, 1e-9)
	require.InDelta(t, 0.001, *rows[1].Apart, 1e-5)
	require.InDelta(t, 0.001*math.Sqrt(30.0/35), *rows[1].MapsApart, 1e-6, "of maps {i,1} and {1.001 i,1}, to some 1e-6")
	require.Nil(t, rows[0].MapsApart)
	// Both mark image 3, and one image 2 (2 or 2.002), of two pixels each; image 4 is normal.
	require.InDelta(t, 0.1, *rows[1].MasksApart, 1e-12)
	require.InDelta(t, 2./3, *rows[1].MasksDice, 1e-12)
	require.Nil(t, rows[0].MasksApart)
	require.Nil(t, rows[0].MasksDice)
	require.Nil(t, rows[0].Bus)
	require.InDelta(t, 10, rows[1].Bus.Launches, 1e-9)
	require.InDelta(t, 100, rows[1].Bus.Uploaded, 1e-9)
	require.InDelta(t, 0.010, rows[1].Bus.Enqueue, 1e-9)
	require.InDelta(t, 2, *rows[0].Joules, 1e-9)
	require.Equal(t, []string{"cpu:5", "cpu:5", "cuda:0:5", "cuda:0:5", "cpu:5", "cuda:0:5", "cuda:0:5", "cpu:5"}, w.log[:8])

	o.Energy = func() (float64, bool) { return 0, false }
	rows, err = Run(context.Background(), places, numbered(5), o)
	require.NoError(t, err)
	require.Nil(t, rows[0].Joules, "nobody tells")
}

// Masks are compared by their pixels, those of all images together.
func TestMasksApart(t *testing.T) {
	of := func(masks ...[]bool) pass { return pass{masks: masks} }
	a, b := []bool{true, true, true, false}, []bool{true, false, true, true}
	share, dice, ok := of(a, b, a).masksApart(of(b, b)) // the third has no partner
	require.True(t, ok)
	require.InDelta(t, 2./8, share, 1e-12)
	require.InDelta(t, 2*5./12, dice, 1e-12)
	share, dice, ok = of(make([]bool, 4)).masksApart(of(make([]bool, 4)))
	require.True(t, ok)
	require.Zero(t, share)
	require.Equal(t, 1., dice, "empty masks are the same")
	_, dice, _ = of(make([]bool, 4)).masksApart(of(a))
	require.Zero(t, dice)
	_, _, ok = of().masksApart(of(a))
	require.False(t, ok)
}

// What differs from pass to pass is not measured; the other rows are.
func TestOtherResultsFail(t *testing.T) {
	for call, when := range map[int]string{1: "in the second pass", 4: "in a timed one"} {
		for _, s := range []Scenario{Offline, Stream, Server} {
			t.Run(fmt.Sprint(s, " ", when), func(t *testing.T) {
				w := &world{}
				w.change = func(f *fake) {
					if f.kind == refine.F2PAD {
						f.scores = func(image, now int) float32 {
							if image == 2 && now == call {
								return 2.0000002
							}
							return float32(image)
						}
					}
				}
				o := w.options(s)
				o.Batches, o.Maps, o.Bound = []int{2}, []refine.Kind{refine.Base, refine.F2PAD}, time.Second
				rows, err := Run(context.Background(), []Place{w.place("cpu", 0, 10*milli)}, numbered(4), o)
				require.NoError(t, err)
				require.Empty(t, rows[0].Error)
				require.Contains(t, rows[1].Error, "2.png: another pass gave another result")
				require.Equal(t, 2, w.closed)
			})
		}
	}
}

// The bits of maps count, not of scores alone.
func TestDigest(t *testing.T) {
	r := func(score float64, maps map[refine.Kind][]float32) *engine.Result {
		all := map[refine.Kind]*tensor.Dense{}
		for k, m := range maps {
			all[k] = nd.Wrap(m, 1, len(m))
		}
		return &engine.Result{Score: score, Maps: all}
	}
	long := func(at int, v float32) []float32 {
		m := make([]float32, 5000)
		m[at] = v
		return m
	}
	seen := map[uint64]bool{}
	for _, x := range []*engine.Result{
		r(1, nil), r(2, nil), r(1, map[refine.Kind][]float32{refine.Base: long(0, 1)}), r(1, map[refine.Kind][]float32{refine.Base: long(4999, 1)}),
		r(1, map[refine.Kind][]float32{refine.Base: long(0, 1), refine.F2PAD: long(1, 1)}),
		r(1, map[refine.Kind][]float32{refine.Base: long(1, 1), refine.F2PAD: long(0, 1)}),
	} {
		require.Equal(t, digest(x), digest(x))
		require.False(t, seen[digest(x)])
		seen[digest(x)] = true
	}
}

func TestResultsThatDependOnTheBatchAreNoted(t *testing.T) {
	w := &world{}
	w.change = func(f *fake) {
		f.scores = func(image, _ int) float32 { return float32(image) + float32(f.most)/1e6 }
	}
	rows, err := Run(context.Background(), []Place{w.place("cpu", 0, milli)}, numbered(3), w.options(Offline))
	require.NoError(t, err)
	require.Empty(t, rows[0].Note)
	require.Contains(t, rows[1].Note, "not those, bit for bit, of the first row")
}

func TestRowsThatFail(t *testing.T) {
	w := &world{}
	boom := errors.New("boom")
	places := []Place{w.place("cpu", 0, milli), w.place("cuda:0", 0, milli), w.place("cuda:1", 0, milli)}
	places[1].Open = func(refine.Kind, int, engine.Timer) (Scorer, error) { return nil, boom }
	w.change = func(f *fake) {
		if f.device == "cuda:1" {
			f.device = "cpu" // a method that computes there only
		}
	}
	o := w.options(Stream)
	rows, err := Run(context.Background(), places, numbered(3), o)
	require.NoError(t, err)
	require.Empty(t, rows[0].Error)
	require.Positive(t, rows[0].ImagesPerSecond)
	require.Equal(t, "boom", rows[1].Error)
	require.Equal(t, "0.png: computed on cpu", rows[2].Error)

	w.change = func(f *fake) { f.fails = boom }
	rows, err = Run(context.Background(), places[:1], numbered(3), o)
	require.NoError(t, err)
	require.Equal(t, "boom", rows[0].Error)

	for want, change := range map[string]func(*Options){
		"needs a bound":          func(o *Options) { o.Scenarios = []Scenario{Server} },
		"batches of [] images":   func(o *Options) { o.Batches = nil },
		"batches of [0] images":  func(o *Options) { o.Batches = []int{0} },
		"-1 arrivals a second":   func(o *Options) { o.Rate = -1 },
		"bench: no images":       func(o *Options) {},
		"more than 10000000":     func(o *Options) { o.Scenarios, o.Bound, o.Rate = []Scenario{Server}, time.Second, 1e9 },
		"bench: no device at al": nil,
	} {
		o, w := w.options(Offline), &world{}
		images, where := numbered(1), []Place{w.place("cpu", 0, milli)}
		switch {
		case change == nil:
			where, want = nil, "bench: no device"
		case want == "bench: no images":
			images = nil
		default:
			change(&o)
		}
		rows, err := Run(context.Background(), where, images, o)
		if want == "more than 10000000" {
			require.NoError(t, err)
			require.Contains(t, rows[0].Error, want)
			continue
		}
		require.ErrorContains(t, err, want)
	}
}

// The rows that are complete are not lost.
func TestInterrupted(t *testing.T) {
	for _, s := range []Scenario{Offline, Stream, Server} {
		w := &world{}
		ctx, cancel := context.WithCancel(context.Background())
		o := w.options(Offline, s)
		o.Scenarios, o.Bound, o.Batches = []Scenario{Offline, s}, time.Second, []int{2}
		o.Maps = []refine.Kind{refine.Base, refine.F2PAD}
		w.change = func(f *fake) {
			f.scores = func(image, call int) float32 {
				if f.kind == refine.F2PAD && call == 3 {
					cancel()
				}
				return float32(image)
			}
		}
		rows, err := Run(ctx, []Place{w.place("cpu", 0, milli)}, numbered(4), o)
		require.ErrorIs(t, err, context.Canceled)
		require.Len(t, rows, 1)
		require.Empty(t, rows[0].Error)
		require.Equal(t, 2, w.closed)
		cancel()
	}
}

func TestServerFindsTheRate(t *testing.T) {
	w := &world{}
	o := w.options(Server)
	o.Bound, o.Rule.Seconds = 50*milli, 30
	rows, err := Run(context.Background(), []Place{w.place("cpu", 8*milli, 2*milli)}, numbered(7), o)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	r := rows[0]
	require.Empty(t, r.Error)
	require.Equal(t, 4, r.Batch, "the largest")
	s := r.Server
	require.True(t, s.Held)
	require.False(t, s.Given)
	require.Equal(t, s.Rate, r.ImagesPerSecond)
	// 7 images in two batches take 30 ms: 233 a second. Full batches bear 250, one image alone 100.
	require.Less(t, s.Rate, 233.4)
	require.Greater(t, s.Rate, 100.0)
	require.LessOrEqual(t, s.Late, s.Asked/100)
	require.Equal(t, s.Asked, r.Latency.Count)
	require.LessOrEqual(t, *r.Latency.P99, 0.0505)
	require.Greater(t, s.Mean, 1.0)
	require.GreaterOrEqual(t, len(s.Trials), searchSteps+2)
	require.Equal(t, perf.Trial{Rate: s.Rate, Held: true}, s.Trials[len(s.Trials)-1])
	require.Nil(t, r.Round)
	each, ok := r.Seconds()
	require.True(t, ok)
	require.InDelta(t, 1/s.Rate, each, 1e-12)

	o.Bound = 5 * milli
	rows, err = Run(context.Background(), []Place{w.place("cpu", 8*milli, 2*milli)}, numbered(7), o)
	require.NoError(t, err)
	s = rows[0].Server
	require.False(t, s.Held)
	require.Zero(t, s.Rate)
	require.Len(t, s.Trials, searchSteps+1)
	require.Zero(t, rows[0].ImagesPerSecond)
	require.Nil(t, rows[0].Latency)
	_, ok = rows[0].Seconds()
	require.False(t, ok)
}

// What was held by luck is tried again under other arrivals.
func TestServerTriesOtherArrivals(t *testing.T) {
	w := &world{}
	o := w.options(Server)
	o.Bound = time.Hour
	rows, err := Run(context.Background(), []Place{w.place("cpu", 8*milli, 2*milli)}, numbered(8), o)
	require.NoError(t, err)
	s := rows[0].Server
	require.Len(t, s.Trials, 2)
	require.Equal(t, s.Trials[0], s.Trials[1])
	var tries [2][]string
	images := 0
	for _, batch := range w.log[4:] { // two passes before
		tries[images/s.Asked] = append(tries[images/s.Asked], batch)
		var n int
		fmt.Sscanf(batch, "cpu:%d", &n)
		images += n
	}
	require.Equal(t, 2*s.Asked, images)
	require.NotEqual(t, tries[0], tries[1])
}

func TestServerAtARate(t *testing.T) {
	for rate, held := range map[float64]bool{20: true, 2000: false} {
		w := &world{}
		o := w.options(Server)
		o.Bound, o.Rate, o.Rule.Seconds = 50*milli, rate, 10
		rows, err := Run(context.Background(), []Place{w.place("cpu", 8*milli, 2*milli)}, numbered(7), o)
		require.NoError(t, err)
		r := rows[0]
		require.Equal(t, held, r.Server.Held)
		require.Equal(t, rate, r.Server.Rate)
		require.Equal(t, int(10*rate), r.Server.Asked)
		require.Empty(t, r.Server.Trials)
		require.Equal(t, fmt.Sprintf("server/device=cpu/map=base/batch=4/rate=%g", rate), r.Name())
		each, ok := r.Seconds()
		require.True(t, ok)
		require.Equal(t, *r.Latency.P99, each)
		require.Less(t, r.Stages[0].Seconds, 0.0051, "half of 8 ms for each batch, and 2 ms for each image")
		require.Greater(t, r.Stages[0].Seconds, 0.0019)
		if held {
			require.Equal(t, rate, r.ImagesPerSecond)
			require.Equal(t, r.Server.Asked, r.Latency.Count)
		} else {
			require.Zero(t, r.ImagesPerSecond)
			require.Less(t, r.Latency.Count, r.Server.Asked, "the rest was not waited for")
			require.Greater(t, r.Server.Late, r.Server.Asked/2)
		}
	}
}
