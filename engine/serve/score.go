package serve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
	"f2pad.example/engine/run"
)

// Answer is what was found in an image. Names are those of a run's lines (run.Line).
type Answer struct {
	Image          string          `json:"image"` // its name, as it was sent
	Bytes          int             `json:"bytes"`
	SHA256         string          `json:"sha256"`
	Width          int             `json:"width"`
	Height         int             `json:"height"`
	Model          string          `json:"model"`
	ModelSHA256    string          `json:"model_sha256"`
	Version        string          `json:"version"`
	ImageScore     float64         `json:"image_score"`
	Threshold      float64         `json:"threshold"`
	Anomalous      bool            `json:"anomalous"`
	Refine         string          `json:"refine"`
	Refined        bool            `json:"refined"`
	PixelThreshold *float64        `json:"pixel_threshold"` // nil where no map is made
	Regions        []region.Region `json:"regions"`         // likewise
	Executor       exec.Info       `json:"executor"`
	Device         string          `json:"device"`
	Seconds        float64         `json:"seconds"`       // scoring and making the map
	QueueSeconds   float64         `json:"queue_seconds"` // from its receipt to its batch's begin
	Batch          int             `json:"batch"`         // images that were scored together
	Warnings       []string        `json:"warnings"`
	Mask           []byte          `json:"mask"` // PNG; nil if it was not asked for
	Map            []byte          `json:"map"`  // TIFF
	Overlay        []byte          `json:"overlay"`
}

// score answers to an image.
func (s *Server) score(x *exchange) {
	l, ok := s.line(x)
	if !ok {
		return
	}
	a, fail := ask(x.r)
	switch {
	case fail != nil:
	case len(a.outputs) > 0 && l.Kind == "":
		fail = &failure{http.StatusBadRequest, "bad_query", "output: no map is made here"}
	case x.r.ContentLength > s.opts.MaxBody:
		fail = tooLong(s.opts.MaxBody)
	}
	if fail != nil {
		x.fail(*fail)
		return
	}
	p, err := l.queue.enter()
	switch {
	case errors.Is(err, errStopping):
		x.failLater(1, failure{http.StatusServiceUnavailable, string(stopping), "the server is stopping"})
		return
	case err != nil:
		x.failLater(l.retryAfter(), failure{http.StatusTooManyRequests, "queue_full", fmt.Sprintf("%d images are accepted already", s.opts.Queue)})
		return
	}
	defer p.leave()
	j, fail := s.receive(x, &a)
	if fail != nil {
		p.leave() // what is refused holds nobody up
		if fail.status == http.StatusTooManyRequests {
			x.failLater(l.retryAfter(), *fail)
		} else {
			x.fail(*fail)
		}
		return
	}
	p.put(j)
	ctx, cancel := context.WithTimeout(x.r.Context(), s.opts.Timeout)
	defer cancel()
	select {
	case <-j.done:
	case <-ctx.Done():
		p.leave()
		if x.r.Context().Err() != nil {
			x.gone = true
			return
		}
		x.failLater(l.retryAfter(), failure{http.StatusServiceUnavailable, "timeout", fmt.Sprintf("%s: not scored within %s", a.name, s.opts.Timeout)})
		return
	}
	x.entry.QueueSeconds, x.entry.Batch = j.began.Sub(j.received).Seconds(), j.batch
	x.deadlines(0, s.opts.WriteTimeout)
	switch {
	case j.err != nil:
		x.fail(failure{http.StatusInternalServerError, "internal", a.name + ": the engine failed; the server's log has more"})
	case j.result.Err != nil:
		x.fail(refused(j.result.Err))
	default:
		s.answer(x, l, j, a)
	}
}

// line is the model that an image is for; if there is none, that is the answer.
func (s *Server) line(x *exchange) (*line, bool) {
	now, lines := s.now()
	if now != ready {
		x.failLater(1, failure{http.StatusServiceUnavailable, string(now), fmt.Sprintf("the server is %s", now)})
		return nil, false
	}
	var names []string
	for _, l := range lines {
		if l.Name == x.model || x.model == "" && len(lines) == 1 {
			x.entry.Model = l.Name
			return l, true
		}
		names = append(names, l.Name)
	}
	text := fmt.Sprintf("there is no model %q: there is %s", x.model, strings.Join(names, ", "))
	if x.model == "" {
		text = "there are several models: send the image to /v1/models/MODEL/score, with one of " + strings.Join(names, ", ")
	}
	x.fail(failure{http.StatusNotFound, "no_model", text})
	return nil, false
}

// receive reads the image. Its memory is set apart before, as far as its size is known.
func (s *Server) receive(x *exchange, a *asked) (*job, *failure) {
	held := x.r.ContentLength
	if held < 0 {
		held = s.opts.MaxBody
	}
	if !s.bodies.take(held) {
		return nil, &failure{http.StatusTooManyRequests, "memory_full", "the images that are accepted already leave no memory for this one"}
	}
	defer func() { s.bodies.give(held) }()
	data, fail := a.read(x.r.Body, x.r.ContentLength, s.opts.MaxBody)
	if a.name == "" {
		a.name = unnamed
	}
	x.entry.Image = a.name
	if fail != nil {
		return nil, fail
	}
	sum := sha256.Sum256(data)
	x.entry.Bytes, x.entry.SHA256 = len(data), hex.EncodeToString(sum[:])
	size := int64(len(data))
	held -= size // which the upload gives back
	return newJob(dataset.Item{Path: a.name, ID: a.name, Source: &upload{data: data, gone: func() { s.bodies.give(size) }}}), nil
}

// refused is the failure of an image that could not be scored.
func refused(err error) failure {
	f := failure{http.StatusUnprocessableEntity, "unprocessable", err.Error()}
	switch {
	case errors.Is(err, imageio.ErrTooLarge):
		f.status, f.code = http.StatusRequestEntityTooLarge, "too_large"
	case errors.Is(err, imageio.ErrFormat), errors.Is(err, imageio.ErrUnsupported):
		f.status, f.code = http.StatusUnsupportedMediaType, "unsupported"
	case errors.Is(err, imageio.ErrCorrupt):
		f.code = "corrupt"
	}
	return f
}

// answer says what was found.
func (s *Server) answer(x *exchange, l *line, j *job, a asked) {
	r := j.result
	h, w := r.Image.Size()
	out := Answer{
		Image: a.name, Bytes: x.entry.Bytes, SHA256: x.entry.SHA256, Width: w, Height: h,
		Model: l.Name, ModelSHA256: l.SHA256, Version: s.opts.Version,
		ImageScore: r.Score, Threshold: r.Threshold, Anomalous: r.Anomalous, Refine: run.RefineName(l.Kind), Refined: r.Refined,
		Executor: l.Engine.Executor(), Device: r.Device, Seconds: r.Seconds[refine.Base],
		QueueSeconds: x.entry.QueueSeconds, Batch: j.batch, Warnings: warnings(l, r),
	}
	x.entry.ImageScore, x.entry.Anomalous = &out.ImageScore, &out.Anomalous
	if l.Kind != "" {
		threshold := r.PixelThreshold[l.Kind]
		out.PixelThreshold, out.Seconds = &threshold, r.Seconds[l.Kind]
		var marked []bool
		marked, out.Regions = r.Mark(l.Kind, l.Regions)
		for _, o := range a.outputs {
			picture, err := draw(r, l.Kind, o, marked)
			if err != nil {
				s.opts.fault(fmt.Errorf("%s: its %s: %w", a.name, o, err))
				x.fail(failure{http.StatusInternalServerError, "internal", fmt.Sprintf("%s: its %s cannot be encoded", a.name, o)})
				return
			}
			if a.raw {
				head := x.w.Header()
				head.Set("F2PAD-Image-Score", strconv.FormatFloat(out.ImageScore, 'g', -1, 64))
				head.Set("F2PAD-Threshold", strconv.FormatFloat(out.Threshold, 'g', -1, 64))
				head.Set("F2PAD-Anomalous", strconv.FormatBool(out.Anomalous))
				head.Set("F2PAD-Model-SHA256", out.ModelSHA256)
				x.bytes(http.StatusOK, o.media(), picture)
				return
			}
			*map[output]*[]byte{maskOutput: &out.Mask, mapOutput: &out.Map, overlayOutput: &out.Overlay}[o] = picture
		}
	}
	x.json(http.StatusOK, out)
}

// warnings are what is odd about an image that was scored all the same.
func warnings(l *line, r *engine.Result) []string {
	all := append([]string{}, r.Image.Notes...)
	if l.Unlike != nil {
		for _, d := range l.Unlike(r.Image) {
			all = append(all, d.Text)
		}
	}
	return all
}

// draw encodes an output.
func draw(r *engine.Result, kind refine.Kind, o output, marked []bool) ([]byte, error) {
	var b bytes.Buffer
	m := r.Maps[kind]
	var err error
	switch o {
	case maskOutput:
		err = imageio.EncodeMarks(&b, marked, m.Shape()[0], m.Shape()[1])
	case mapOutput:
		err = imageio.EncodeMap(&b, m)
	case overlayOutput:
		err = imageio.EncodeOverlay(&b, r.Overlay(kind, marked, false))
	}
	return b.Bytes(), err
}
