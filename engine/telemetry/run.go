package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Run is what a run into a folder tells. It is safe for concurrent use.
type Run struct {
	*Scoring

	kept, finished prometheus.Gauge
	began          time.Time
	now            func() time.Time

	mu          sync.Mutex
	done, total int
	ended       time.Time // zero: it has not
}

// NewRun returns one of a run of that version that writes to dir, and begins now. Every metric has dir as the label run: the files of
// several runs can lie beside one another.
func NewRun(version, dir string) *Run { return newRun(version, dir, time.Now) }

func newRun(version, dir string, now func() time.Time) *Run {
	labels := prometheus.Labels{"run": dir}
	r := &Run{
		Scoring: NewScoring(version, labels), began: now(), now: now,
		kept: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "f2pad_run_kept_images", Help: "Images that an earlier run has finished; they count nowhere else.",
		}),
		finished: prometheus.NewGauge(prometheus.GaugeOpts{Name: "f2pad_run_finished", Help: "1 once all inputs are done, else 0."}),
	}
	start := prometheus.NewGauge(prometheus.GaugeOpts{Name: "f2pad_run_start_time_seconds", Help: "When the run began, in Unix time."})
	start.Set(float64(r.began.UnixMilli()) / 1e3)
	prometheus.WrapRegistererWith(labels, r.Registry).MustRegister(r.kept, r.finished, start, pace{r})
	return r
}

// Progress says that so many of total images are done; 0: not known.
func (r *Run) Progress(done, total int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done, r.total = done, total
}

// Kept counts an image that an earlier run has finished.
func (r *Run) Kept() { r.kept.Inc() }

// End says that nothing more will come; finished, that nothing is left to do.
func (r *Run) End(finished bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = r.now()
	if finished {
		r.finished.Set(1)
	}
}

// pace collects what is known at some times only, and made of the clock.
type pace struct{ *Run }

var (
	totalDesc   = prometheus.NewDesc("f2pad_run_images", "Images to do, those done among them, those kept not; not there while it is not known.", nil, nil)
	secondsDesc = prometheus.NewDesc("f2pad_run_seconds", "Time since the run began, or that it took.", nil, nil)
	rateDesc    = prometheus.NewDesc("f2pad_run_images_per_second", "Images done by the time since the run began.", nil, nil)
	leftDesc    = prometheus.NewDesc("f2pad_run_seconds_remaining", "Time that the images left will take at that rate; not there while it is not known.", nil, nil)
)

func (p pace) Describe(all chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{totalDesc, secondsDesc, rateDesc, leftDesc} {
		all <- d
	}
}

func (p pace) Collect(all chan<- prometheus.Metric) {
	p.mu.Lock()
	defer p.mu.Unlock()
	tell := func(d *prometheus.Desc, v float64) { all <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	until := p.ended
	if until.IsZero() {
		until = p.now()
	}
	seconds, rate := until.Sub(p.began).Seconds(), 0.
	if seconds > 0 {
		rate = float64(p.done) / seconds
	}
	tell(secondsDesc, seconds)
	tell(rateDesc, rate)
	if p.total > 0 {
		tell(totalDesc, float64(p.total))
		if rate > 0 && p.ended.IsZero() {
			tell(leftDesc, float64(p.total-p.done)/rate)
		}
	}
}
