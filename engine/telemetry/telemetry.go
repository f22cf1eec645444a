// Package telemetry names what a program that scores tells Prometheus: the same names of a server (engine/serve) and of a run into a
// folder.
//
//	telemetry.go  what both tell: images, stages, memory
//	serving.go    what a server tells beside that
//	run.go        what a run tells beside that
//	file.go       a file for node_exporter's textfile collector
//	memory*.go    what the process takes
//
// docs/serving.md lists the names.
package telemetry

import (
	"f2pad.example/engine/internal/stage"

	"github.com/prometheus/client_golang/prometheus"
)

// Labels of the metrics.
const (
	modelLabel  = "model"
	resultLabel = "result"
	deviceLabel = "device"
	stageLabel  = "stage"
	pathLabel   = "path"
	codeLabel   = "code"
)

// Result is what became of an image.
type Result string

const (
	Normal    Result = "normal"
	Anomalous Result = "anomalous"
	Failed    Result = "failed" // it could not be scored
)

// Scored is Normal or Anomalous.
func Scored(anomalous bool) Result {
	if anomalous {
		return Anomalous
	}
	return Normal
}

// Scoring is what every program tells that scores. It is safe for concurrent use.
type Scoring struct {
	Registry *prometheus.Registry

	images, devices, seconds, worked *prometheus.CounterVec
}

// NewScoring returns one of a program of that version, with a registry of its own. Each metric has the labels.
func NewScoring(version string, labels prometheus.Labels) *Scoring {
	reg := prometheus.NewRegistry()
	all := prometheus.WrapRegistererWith(labels, reg)
	s := &Scoring{
		Registry: reg,
		images: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "f2pad_images_total", Help: "Images that are done, by result: normal, anomalous, failed.",
		}, []string{modelLabel, resultLabel}),
		devices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "f2pad_device_images_total", Help: "Images that each device computed: cpu, cuda:0.",
		}, []string{modelLabel, deviceLabel}),
		seconds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "f2pad_stage_seconds_total", Help: "Time that each stage of the work on images took; stages run beside one another.",
		}, []string{modelLabel, stageLabel}),
		worked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "f2pad_stage_images_total", Help: "Images that each stage worked on.",
		}, []string{modelLabel, stageLabel}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "f2pad_build_info", Help: "1, with the program's version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	all.MustRegister(build, s.images, s.devices, s.seconds, s.worked, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "f2pad_memory_bytes", Help: "Memory of the process: its resident set on Linux, elsewhere what Go has of the system.",
	}, func() float64 { return float64(Memory()) }))
	return s
}

// Model says that images will be scored with the model of that name: its counters begin at 0 and are there.
func (s *Scoring) Model(name string) {
	for _, r := range []Result{Normal, Anomalous, Failed} {
		s.images.WithLabelValues(name, string(r))
	}
}

// Image counts an image that is done, and that a device computed; "": it has failed.
func (s *Scoring) Image(model string, r Result, device string) {
	s.images.WithLabelValues(model, string(r)).Inc()
	if device != "" {
		s.devices.WithLabelValues(model, device).Inc()
	}
}

// Timer returns what counts the stages of an engine (engine.Options.Timer) with the model of that name.
func (s *Scoring) Timer(model string) stage.Timer {
	seconds, worked := s.seconds.MustCurryWith(prometheus.Labels{modelLabel: model}), s.worked.MustCurryWith(prometheus.Labels{modelLabel: model})
	return func(st stage.Stage, images int, t stage.Took) {
		seconds.WithLabelValues(string(st)).Add(t.Wall.Seconds())
		worked.WithLabelValues(string(st)).Add(float64(images))
	}
}
