// Package bench measures how fast an engine scores images and refines their maps: what f2pad bench does, for other programs, too.
// Its loops and statistics are perf's.
//
// A row is one kind of work on one device: a scenario, a map, and how many images are in work at once. The devices of a row run in
// turn. Before a row is timed, all images pass twice, and every pass from the second on, timed or not, must give what the first
// gave, bit for bit.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/perf"
	"f2pad.example/engine/perf/stats"
	"f2pad.example/engine/refine"
)

// Scenario says how images come. The names are MLPerf Inference's.
type Scenario string

const (
	Offline Scenario = "offline" // all at once: the time of all of them counts
	Stream  Scenario = "stream"  // one when the one before is done: the time of each counts
	Server  Scenario = "server"  // at random moments: the time from each one's arrival to its result counts
)

// Scenarios lists them all.
func Scenarios() []Scenario { return []Scenario{Offline, Stream, Server} }

// Scorer is an engine, or what stands for one.
type Scorer interface {
	Score(ctx context.Context, items iter.Seq[dataset.Item], emit func(*engine.Result) error) error
	Device() device.Info // that it computes on at the moment
	Close() error
}

// Place is what to measure on: a device, or several that compute together.
type Place struct {
	Info device.Info // of several, as place.Together has it
	// Open makes an engine that makes a map, with so many images in work at once on each device, and tells the timer.
	Open func(kind refine.Kind, batch int, t engine.Timer) (Scorer, error)
	// Counters are the device's, of several their sum; nil: nobody counts, as of the CPU.
	Counters func() device.Counters
}

// Options say what to measure. Clock and the functions may be left out.
type Options struct {
	Scenarios []Scenario
	Batches   []int // images in work at once: a row each of Offline; Server takes the largest, Stream one
	Maps      []refine.Kind
	Rule      perf.Rule     // of each row; of Server, Seconds is how long a rate is tried
	Rate      float64       // of Server, arrivals a second; 0: the highest that is held is looked for
	Bound     time.Duration // of Server: 99 of 100 images have their result within it
	Seed      uint64        // of arrivals

	Clock    perf.Clock
	Energy   func() (joules float64, ok bool) // of the processor since some moment
	Progress func(engine.Progress)            // a row is a step
	Tell     func(*Row)                       // a row is measured, or has failed
}

// searchSteps is how often Server halves what is between rates: the answer is a 32nd of the throughput uncertain.
const searchSteps = 5

// kind is what the rows of several devices have in common.
type kind struct {
	scenario Scenario
	made     refine.Kind
	batch    int
}

func (o *Options) kinds() (all []kind) {
	for _, s := range o.Scenarios {
		for _, k := range o.Maps {
			switch s {
			case Offline:
				for _, b := range o.Batches {
					all = append(all, kind{s, k, b})
				}
			case Stream:
				all = append(all, kind{s, k, 1})
			case Server:
				all = append(all, kind{s, k, slices.Max(o.Batches)})
			}
		}
	}
	return all
}

func (o *Options) check(places []Place, images []dataset.Item) error {
	switch {
	case len(places) == 0:
		return errors.New("bench: no device")
	case len(images) == 0:
		return errors.New("bench: no images")
	case len(o.Batches) == 0 || slices.Min(o.Batches) < 1:
		return fmt.Errorf("bench: batches of %v images", o.Batches)
	case slices.Contains(o.Scenarios, Server) && o.Bound <= 0:
		return errors.New("bench: the scenario server needs a bound of the latency")
	case !(o.Rate >= 0) || math.IsInf(o.Rate, 0):
		return fmt.Errorf("bench: %g arrivals a second", o.Rate)
	}
	return nil
}

// Run measures every row. One that fails has its Error, and the rest goes on. When ctx ends, it returns ctx's error and the rows that
// are complete; other errors are of the options. The images are read again in every pass: let their Source be memory.
func Run(ctx context.Context, places []Place, images []dataset.Item, o Options) ([]*Row, error) {
	if err := o.check(places, images); err != nil {
		return nil, err
	}
	if o.Clock == nil {
		o.Clock = perf.Wall()
	}
	b := &bencher{Options: o, images: images, several: len(places) > 1, known: map[string]pass{}}
	var rows []*Row
	todo := o.kinds()
	for i, k := range todo {
		if o.Progress != nil {
			o.Progress(engine.Progress{Phase: "bench", Done: i, Total: len(todo)})
		}
		measured := b.measure(ctx, k, places)
		if err := ctx.Err(); err != nil {
			return rows, err
		}
		rows = append(rows, measured...)
		for _, r := range measured {
			if o.Tell != nil {
				o.Tell(r)
			}
		}
	}
	if o.Progress != nil {
		o.Progress(engine.Progress{Phase: "bench", Done: len(todo), Total: len(todo)})
	}
	return rows, nil
}

// bencher is a run of Run.
type bencher struct {
	Options
	images  []dataset.Item
	known   map[string]pass // results by device and map
	first   string          // device
	several bool            // devices
}

// mapsKept is how many maps and masks of a pass are kept to be compared with another device's.
const mapsKept = 32

// lane is a device's part in a row.
type lane struct {
	b      *bencher
	row    *Row
	place  *Place
	scorer Scorer
	spent  engine.Spent
	first  pass
	keep   int           // maps of the first images of a pass to keep
	second time.Duration // that the second pass took

	images int            // of timed runs
	worked map[string]int // the same by device, where there are several
	used   device.Counters
	joules float64
	blind  bool // nobody told of the energy
	times  [][]float64
}

// measure measures a kind of row on all devices.
func (b *bencher) measure(ctx context.Context, k kind, places []Place) (rows []*Row) {
	var lanes []*lane
	for i := range places {
		l := &lane{b: b, place: &places[i], blind: b.Energy == nil, row: &Row{
			Scenario: k.scenario, Map: k.made, Batch: k.batch, Device: places[i].Info.Device,
		}}
		rows = append(rows, l.row)
		err := l.open(ctx, k)
		if l.scorer != nil {
			defer func() {
				if err := l.scorer.Close(); err != nil && l.row.Error == "" {
					l.row.Error = err.Error()
				}
			}()
		}
		if err != nil {
			l.row.Error = err.Error()
			continue
		}
		lanes = append(lanes, l)
	}
	var err error
	if k.scenario == Server {
		for _, l := range lanes {
			if err := l.serve(ctx, k); err != nil {
				l.row.Error = err.Error()
			}
		}
	} else {
		err = b.race(ctx, k, lanes)
	}
	for _, l := range lanes {
		if err != nil {
			l.row.Error = err.Error()
		}
		if l.row.Error == "" {
			l.sum()
		}
	}
	return rows
}

// open makes the engine, warms it up, and checks that it gives the same twice.
func (l *lane) open(ctx context.Context, k kind) (err error) {
	if l.scorer, err = l.place.Open(k.made, k.batch, l.spent.Add); err != nil {
		l.scorer = nil // not an interface that holds a nil engine
		return err
	}
	all := slices.Values(l.b.images)
	if l.b.several {
		l.keep = mapsKept
	}
	l.first, err = l.look(ctx, all)
	l.keep = 0
	if err != nil {
		return err
	}
	start := l.b.Clock.Now()
	again, err := l.look(ctx, all)
	l.second = l.b.Clock.Now() - start
	if err != nil {
		return err
	}
	if err := l.first.same(again.digests, 0); err != nil {
		return err
	}
	l.row.Refined, l.row.Suspect = l.first.refined, l.first.suspect/float64(len(l.b.images))
	if l.b.first == "" {
		l.b.first = l.row.Device
	}
	key := func(device string) string { return device + " " + string(k.made) }
	if own, ok := l.b.known[key(l.row.Device)]; !ok {
		own = l.first
		if l.row.Device != l.b.first {
			own.maps, own.masks = nil, nil // which nobody's are compared with
		}
		l.b.known[key(l.row.Device)] = own
	} else if own.same(l.first.digests, 0) != nil {
		l.row.Note = "its results are not those, bit for bit, of the first row with this map on this device"
	}
	if other, ok := l.b.known[key(l.b.first)]; ok && l.b.first != l.row.Device {
		apart := l.first.apart(other)
		l.row.Apart = &apart
		if apart, ok := l.first.mapsApart(other); ok {
			l.row.MapsApart = &apart
		}
		if share, dice, ok := l.first.masksApart(other); ok {
			l.row.MasksApart, l.row.MasksDice = &share, &dice
		}
	}
	l.first.maps, l.first.masks = nil, nil
	l.spent.Reset()
	l.worked = map[string]int{}
	return nil
}

// race measures Offline and Stream, the devices in turn.
func (b *bencher) race(ctx context.Context, k kind, lanes []*lane) error {
	ways := make([]perf.Way, len(lanes))
	for i, l := range lanes {
		run := l.offline
		if k.scenario == Stream {
			run = l.stream
		}
		ways[i] = perf.Way{Name: l.row.Device, Run: func() (float64, error) { return run(ctx) }}
	}
	results, err := perf.Race(ctx, b.Clock, b.Rule, ways...)
	if err != nil {
		return err
	}
	n := float64(len(b.images))
	for i, l := range lanes {
		r, s := l.row, results[i].Samples
		sorted := slices.Sorted(slices.Values(s))
		timing := stats.Of(s)
		interval, _ := stats.MedianInterval(sorted)
		spread, _ := stats.Spread(s)
		r.Round, r.Interval, r.Spread, r.Settled, r.Samples = &timing, &interval, &spread, results[i].Settled, s
		r.ImagesPerSecond = n / timing.Median
		if i > 0 {
			r.Against = &Against{Device: lanes[0].row.Device, Ratio: stats.Ratios(s, results[0].Samples)}
		}
		if k.scenario == Stream {
			latency := stats.Latencies(slices.Concat(l.times...))
			r.Latency = &latency
			for image := range b.images {
				var own []float64
				for _, round := range l.times {
					own = append(own, round[image])
				}
				r.ImageSeconds = append(r.ImageSeconds, stats.Of(own).Median)
			}
		}
	}
	return nil
}

// offline scores all images at once and returns the seconds.
func (l *lane) offline(ctx context.Context) (seconds float64, err error) {
	err = l.timed(len(l.b.images), func() error {
		start := l.b.Clock.Now()
		got, err := l.look(ctx, slices.Values(l.b.images))
		seconds = (l.b.Clock.Now() - start).Seconds()
		return cmp.Or(err, l.first.same(got.digests, 0))
	})
	return seconds, err
}

// stream scores one image after the other and returns the seconds of all.
func (l *lane) stream(ctx context.Context) (seconds float64, err error) {
	times := make([]float64, len(l.b.images))
	err = l.timed(len(l.b.images), func() error {
		for i, it := range l.b.images {
			start := l.b.Clock.Now()
			got, err := l.look(ctx, slices.Values([]dataset.Item{it}))
			times[i] = (l.b.Clock.Now() - start).Seconds()
			if err := cmp.Or(err, l.first.same(got.digests, i)); err != nil {
				return err
			}
			seconds += times[i]
		}
		return nil
	})
	l.times = append(l.times, times)
	return seconds, err
}

// serve measures Server: at the rate that was asked for, or at the highest that is held.
func (l *lane) serve(ctx context.Context, k kind) error {
	o := &l.b.Options
	var last perf.Served
	// bears runs a load. Without patience it ends when too many images are late already.
	bears := func(rate float64, seed uint64, patience bool) (held bool, err error) {
		count := math.Ceil(rate * o.Rule.Seconds)
		if count > mostArrivals {
			return false, fmt.Errorf("%g images a second for %g s are more than %d", rate, o.Rule.Seconds, mostArrivals)
		}
		n := int(count)
		load := perf.Load{
			Rate: rate, Count: n, Seed: seed, Batch: k.batch * len(devicesOf(l.row.Device)), Bound: o.Bound, Late: n / lateOf,
			Limit: time.Duration(serverPatience * o.Rule.Seconds * float64(time.Second)),
		}
		if patience {
			load.Late = -1
		}
		served := 0
		err = l.timed(0, func() (err error) {
			last, err = perf.Serve(ctx, o.Clock, load, func(from, n int) error {
				items := make([]dataset.Item, n)
				for i := range items {
					items[i] = l.b.images[(from+i)%len(l.b.images)]
				}
				got, err := l.look(ctx, slices.Values(items))
				served += n
				return cmp.Or(err, l.first.same(got.digests, from))
			})
			return err
		})
		l.images += served
		s := l.row.Server
		s.Rate, s.Asked, s.Late, s.Held = rate, n, last.Late, last.Late <= n/lateOf
		return s.Held, err
	}
	s := &ServerRow{Bound: o.Bound.Seconds(), Given: o.Rate > 0}
	l.row.Server = s
	if s.Given {
		if _, err := bears(o.Rate, o.Seed, true); err != nil {
			return err
		}
	} else {
		most := float64(len(l.b.images)) / l.second.Seconds()
		rate, trials, err := perf.Search(most, searchSteps, func(rate float64, n int) (bool, error) {
			return bears(rate, o.Seed+uint64(n), false)
		})
		if err != nil {
			return err
		}
		if s.Trials = trials; rate == 0 {
			*s = ServerRow{Bound: s.Bound, Trials: trials}
			return nil
		}
	}
	if len(last.Latencies) > 0 {
		latency := stats.Latencies(last.Latencies)
		l.row.Latency = &latency
	}
	if s.Mean = float64(len(last.Latencies)) / float64(max(last.Batches, 1)); s.Held {
		l.row.ImagesPerSecond = s.Rate
	}
	return nil
}

const (
	lateOf         = 100 // one image in so many may be late
	serverPatience = 3   // times what arrivals take: then Server waits for no more results
	mostArrivals   = 10_000_000
)

// timed runs what counts, on so many images.
func (l *lane) timed(images int, f func() error) error {
	var before device.Counters
	if l.place.Counters != nil {
		before = l.place.Counters()
	}
	joules, told := l.energy()
	err := f()
	after, still := l.energy()
	l.blind = l.blind || !told || !still
	l.joules += after - joules
	if l.place.Counters != nil {
		l.used = l.used.Add(l.place.Counters().Sub(before))
	}
	l.images += images
	return err
}

func (l *lane) energy() (float64, bool) {
	if l.b.Energy == nil {
		return 0, false
	}
	return l.b.Energy()
}

// sum gives the row what was added up over its timed runs.
func (l *lane) sum() {
	if l.images == 0 {
		return
	}
	n, r := float64(l.images), l.row
	r.Stages = l.spent.Times()
	for i := range r.Stages {
		r.Stages[i].Seconds /= n
		r.Stages[i].CPU /= n
	}
	if !l.blind {
		j := l.joules / n
		r.Joules = &j
	}
	if len(devicesOf(r.Device)) > 1 {
		r.Shares = map[string]float64{}
		for _, d := range devicesOf(r.Device) {
			r.Shares[d] = float64(l.worked[d]) / n
		}
	}
	if l.place.Counters != nil {
		r.Bus = &Bus{
			Launches: float64(l.used.Launches) / n, Uploaded: float64(l.used.Uploaded) / n, Downloaded: float64(l.used.Downloaded) / n,
			Enqueue: l.used.Enqueue.Seconds() / n, Wait: l.used.Wait.Seconds() / n, Busy: l.used.Busy.Seconds() / n,
		}
	}
}
