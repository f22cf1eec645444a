package telemetry

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Serving is what a server tells. It is safe for concurrent use.
type Serving struct {
	*Scoring

	requests        *prometheus.CounterVec
	seconds, queued *prometheus.HistogramVec
	batches         *prometheus.HistogramVec
	places, limit   *prometheus.GaugeVec
	bodies, ready   prometheus.Gauge
}

// NewServing returns one of a server of that version.
func NewServing(version string) *Serving {
	s := &Serving{
		Scoring: NewScoring(version, nil),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "f2pad_requests_total", Help: "Requests that were answered, by the route's path and the status; 499: the client was gone.",
		}, []string{pathLabel, codeLabel}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "f2pad_request_seconds", Help: "Time from a request's headers to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14), // to 41 s
		}, []string{pathLabel}),
		queued: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "f2pad_queue_seconds", Help: "Time that images waited, once they were received, until their batch began.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16), // to 33 s
		}, []string{modelLabel}),
		batches: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "f2pad_batch_images", Help: "Images that were scored together.", Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512},
		}, []string{modelLabel}),
		places: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "f2pad_accepted_requests", Help: "Requests that are accepted and not answered yet: received, waiting, in work.",
		}, []string{modelLabel}),
		limit: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "f2pad_accepted_requests_limit", Help: "How many may be: those beyond are answered with 429.",
		}, []string{modelLabel}),
		bodies: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "f2pad_body_bytes", Help: "Memory set apart for images that are received and not decoded yet.",
		}),
		ready: prometheus.NewGauge(prometheus.GaugeOpts{Name: "f2pad_ready", Help: "1 while images are accepted, else 0."}),
	}
	s.Registry.MustRegister(s.requests, s.seconds, s.queued, s.batches, s.places, s.limit, s.bodies, s.ready,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// Model says that so many requests may be accepted for the model of that name.
func (s *Serving) Model(name string, limit int) {
	s.Scoring.Model(name)
	s.limit.WithLabelValues(name).Set(float64(limit))
	s.places.WithLabelValues(name)
}

// Request counts a request to a route's path that was answered with code.
func (s *Serving) Request(path string, code int, d time.Duration) {
	s.requests.WithLabelValues(path, strconv.Itoa(code)).Inc()
	s.seconds.WithLabelValues(path).Observe(d.Seconds())
}

// Batch counts a batch whose images waited so long.
func (s *Serving) Batch(model string, waited []time.Duration) {
	s.batches.WithLabelValues(model).Observe(float64(len(waited)))
	for _, d := range waited {
		s.queued.WithLabelValues(model).Observe(d.Seconds())
	}
}

// Accepted says how many requests are accepted, of those for a model.
func (s *Serving) Accepted(model string, n int) { s.places.WithLabelValues(model).Set(float64(n)) }

// Bodies says how much is set apart for images that were received.
func (s *Serving) Bodies(bytes int64) { s.bodies.Set(float64(bytes)) }

// Ready says whether images are accepted.
func (s *Serving) Ready(is bool) {
	s.ready.Set(0)
	if is {
		s.ready.Set(1)
	}
}
