package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
	"f2pad.example/engine/run"
	"f2pad.example/engine/serve"
	"f2pad.example/engine/telemetry"

	"github.com/spf13/cobra"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	models       []string // [NAME=]FILE
	backbone     string
	listen       string
	refine       string
	image, pixel *float64 // thresholds in place of the model's
	regions      region.Options
	roi          regionFile
	batch, queue int
	maxBody      int // MiB

	maxWait, timeout, readTimeout time.Duration
}

func (p *program) serve() *cobra.Command {
	o := serveOptions{
		batch: serve.DefaultBatch, queue: serve.DefaultQueue, maxBody: serve.DefaultMaxBody >> 20,
		maxWait: serve.DefaultMaxWait, timeout: serve.DefaultTimeout, readTimeout: serve.DefaultReadTimeout,
	}
	cmd := &cobra.Command{
		Use:   "serve --model MODEL",
		Short: "Score images that are sent over HTTP",
		Long: `Score images that are sent over HTTP: POST a file to /v1/score, and the answer is JSON with score, threshold, verdict and the
regions of the mask; ?output=mask,map,overlay adds these. With several models, each a --model [NAME=]FILE, images are sent to
/v1/models/NAME/score; NAME is by default FILE's without extension.

An image that comes alone is scored at once. Those that come while others are scored share a batch, --batch at most, and an image
waits up to --max-wait for others that are being received. More requests than --queue at once are refused (429, with Retry-After):
what is accepted is answered. /healthz, /readyz and /metrics (Prometheus) are for what watches, /openapi.json describes all.

SIGTERM and SIGINT refuse new images, answer those that were accepted, and end the program (exit code 0); a second one ends it at once.

There is neither a password nor encryption: whoever reaches --listen can have images scored. By default that is this machine alone.
docs/serving.md has examples in Python and curl, and what to put in front of it in a network.`,
		Example: `  f2pad serve --model leather.f2pad
  curl --data-binary @photo.png 'http://127.0.0.1:8080/v1/score?name=photo.png'
  curl --data-binary @photo.png -H 'Accept: image/png' -o mask.png 'http://127.0.0.1:8080/v1/score?output=mask'
  f2pad serve --model top=models/top.f2pad --model side=models/side.f2pad --listen 127.0.0.1:9000 --json`,
		Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			if own := o.image != nil || o.pixel != nil || o.roi.path != "" || o.backbone != ""; own && len(o.models) > 1 {
				return errors.New("--threshold, --pixel-threshold, --roi and --backbone are of one model: there are several")
			}
			return nil
		},
		RunE: p.verb(func(ctx context.Context, _ []string) error { return p.serveModels(ctx, o) }),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&o.models, "model", nil, "`[NAME=]FILE` of a model (required); several times for several")
	backboneFile(f, &o.backbone)
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "`HOST:PORT` to listen at; port 0: any that is free")
	f.Var(choice{&o.refine, refineNames}, "refine", "map that regions and outputs are of (default: the most refined of the model)")
	thresholdFlags(f, &o.image, &o.pixel)
	regionFlags(f, &o.regions)
	o.roi.flag(f, "score in this region of interest only, and in the model's if it has one")
	f.Var(number{&o.batch, 1, 1024}, "batch", "images that are scored together at most; results do not depend on it")
	f.Var(period{&o.maxWait, 0, time.Minute}, "max-wait", "time that an image waits at most for others that are being received")
	f.Var(number{&o.queue, 1, 1 << 16}, "queue", "requests for a model that are accepted at once, those in work among them")
	f.Var(number{&o.maxBody, 1, 1 << 14}, "max-body", "MiB that a request's body may have")
	f.Var(period{&o.timeout, time.Millisecond, time.Hour}, "timeout", "time from an image's receipt to its answer; then the answer is 503")
	f.Var(period{&o.readTimeout, time.Millisecond, time.Hour}, "read-timeout", "time for a request to arrive; then it is cut off (408)")
	required(cmd, "model")
	return cmd
}

// listening says that a server is there.
type listening struct {
	URL    string        `json:"url"`
	Models []servedModel `json:"models"`
	Limits serveLimits   `json:"limits"`
}

type serveLimits struct {
	Batch       int     `json:"batch"`
	MaxWait     float64 `json:"max_wait_seconds"`
	Queue       int     `json:"queue"`
	MaxBody     int     `json:"max_body"` // bytes
	Timeout     float64 `json:"timeout_seconds"`
	ReadTimeout float64 `json:"read_timeout_seconds"`
}

type servedModel struct {
	Model  string `json:"model"`
	Path   string `json:"path"`
	SHA256 string `json:"model_sha256"`
	Refine string `json:"refine"`
}

func (listening) MessageType() string { return "listening" }

func (l listening) Text(w io.Writer) error {
	for _, m := range l.Models {
		if _, err := ui.Fprintf(w, "model: %s (%s), map %s\n", m.Model, m.Path, m.Refine); err != nil {
			return err
		}
	}
	_, err := ui.Fprintf(w, "listening at %s\n", l.URL)
	return err
}

// request is a line of the access log.
type request struct{ serve.Entry }

func (request) MessageType() string { return "request" }

func (r request) Text(w io.Writer) error {
	var b strings.Builder
	ui.Fprintf(&b, "%s %d %s %s %.0f ms", r.Time.Format(time.RFC3339), r.Status, r.Method, r.Path, 1e3*r.Seconds)
	if r.Batch > 0 {
		ui.Fprintf(&b, ", %.0f of them waiting, batch of %d", 1e3*r.QueueSeconds, r.Batch)
	}
	switch {
	case r.Error != "":
		ui.Fprintf(&b, ": %s", r.Error)
	case r.Anomalous != nil:
		verdict := "normal"
		if *r.Anomalous {
			verdict = "anomalous"
		}
		ui.Fprintf(&b, ": %s %s %.5g", r.Image, verdict, *r.ImageScore)
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// tally counts requests by their status.
type tally struct {
	mu   sync.Mutex
	done map[string]int
}

func (t *tally) add(status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done[strconv.Itoa(status)]++
}

func (t *tally) all() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.done)
}

// served is the result of serve.
type served struct {
	Requests map[string]int `json:"requests"` // by status
	Seconds  float64        `json:"seconds"`
}

func (served) MessageType() string { return "summary" }

func (s served) Text(w io.Writer) error {
	sum := 0
	for _, n := range s.Requests {
		sum += n
	}
	_, err := ui.Fprintf(w, "%s in %s, %d of them with status 200\n", counted(sum, "request"), roughly(s.Seconds), s.Requests["200"])
	return err
}

func (p *program) serveModels(ctx context.Context, o serveOptions) error {
	began := time.Now()
	on, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", o.listen, err)
	}
	defer on.Close()
	if at, ok := on.Addr().(*net.TCPAddr); ok && !at.IP.IsLoopback() {
		p.ui.Warn(fmt.Sprintf("--listen %s: whoever reaches this address can have images scored: there is neither a password nor encryption", o.listen))
	}
	tally := tally{done: map[string]int{}}
	metrics := telemetry.NewServing(version())
	limits := serve.Options{
		Batch: o.batch, MaxWait: cmp.Or(o.maxWait, -1), Queue: o.queue, MaxBody: int64(o.maxBody) << 20,
		ReadTimeout: o.readTimeout, Timeout: o.timeout, Version: version(), Metrics: metrics,
		Log: func(e serve.Entry) {
			tally.add(e.Status)
			p.ui.Note(request{e})
		},
		Fault: func(err error) { p.ui.Warn(err.Error()) },
	}
	if most := p.ceiling() / bodyShare; most > 0 {
		limits.Bodies = most
	}
	s := serve.New(limits)
	// It answers while it is starting, too: that it is not ready.
	until, end := context.WithCancel(ctx)
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(until, on) }()
	engines, err := p.startServing(ctx, o, s, metrics, "http://"+on.Addr().String())
	if err == nil {
		select {
		case err = <-ended:
		case <-ctx.Done():
			err = <-ended
		}
	} else {
		end()
		<-ended
		if ctx.Err() != nil {
			err = nil // nobody's request is lost
		}
	}
	for _, e := range engines {
		if err := e.Close(); err != nil {
			p.ui.Warn(err.Error())
		}
	}
	if err != nil {
		return err
	}
	return p.ui.Show(served{tally.all(), time.Since(began).Seconds()})
}

// bodyShare of --memory is what the images may take that were received and are not decoded.
const bodyShare = 8

// startServing loads the models and starts a server with them. The engines are to be closed, also after an error.
func (p *program) startServing(
	ctx context.Context, o serveOptions, s *serve.Server, metrics *telemetry.Serving, url string,
) (engines []*engine.Engine, err error) {
	if err := o.roi.read(p); err != nil {
		return nil, err
	}
	says := listening{URL: url, Limits: serveLimits{
		o.batch, o.maxWait.Seconds(), o.queue, o.maxBody << 20, o.timeout.Seconds(), o.readTimeout.Seconds(),
	}}
	var models []serve.Model
	for _, text := range o.models {
		name, path := nameOf(text)
		if slices.ContainsFunc(models, func(m serve.Model) bool { return m.Name == name }) {
			return engines, fmt.Errorf("--model %s: another one is called %q: --model NAME=FILE gives it another name", text, name)
		}
		m, err := p.load(path, o.backbone)
		if err != nil {
			return engines, err
		}
		kind, err := p.kind(scoreOptions{refine: o.refine, maps: true}, m)
		if err != nil {
			return engines, err
		}
		opts, err := p.computing()
		if err != nil {
			return engines, err
		}
		opts.Warn, opts.Notice = nil, p.ui.Warn // the former is in the answers; the latter may come of several engines at once
		opts.Memory /= int64(len(o.models))
		opts.Batch, opts.Maps = o.batch, []refine.Kind{kind}
		warmed, unlike, timer := new(atomic.Bool), opts.Unlike, metrics.Timer(name)
		opts.Unlike = func(it dataset.Item, d engine.Difference) {
			if warmed.Load() {
				unlike(it, d)
			}
		}
		opts.Timer = func(s engine.Stage, images int, t engine.Took) {
			if warmed.Load() {
				timer(s, images, t)
			}
		}
		opts.ImageThreshold, opts.PixelThreshold, opts.ROI = o.image, o.pixel, o.roi.region
		e, err := engine.New(m, opts)
		if err != nil {
			return engines, fmt.Errorf("%s: %w", path, err)
		}
		engines = append(engines, e)
		if err := warm(ctx, e, m); err != nil {
			return engines, fmt.Errorf("%s: %w", path, err)
		}
		warmed.Store(true)
		models = append(models, serve.Model{
			Name: name, Engine: e, SHA256: m.SHA256(), Method: m.Info.Method, Backbone: m.Info.Backbone, Kind: kind, Regions: o.regions, Unlike: m.Unlike,
		})
		says.Models = append(says.Models, servedModel{name, path, m.SHA256(), run.RefineName(kind)})
	}
	if err := ctx.Err(); err != nil {
		return engines, err
	}
	if err := s.Start(models...); err != nil {
		return engines, err
	}
	p.ui.Note(says)
	return engines, nil
}

// nameOf is the name of a model and its file, of [NAME=]FILE.
func nameOf(text string) (name, path string) {
	if name, path, ok := strings.Cut(text, "="); ok && !strings.ContainsAny(name, `/\`) {
		return name, path
	}
	return modelName(text), text
}

// modelName is what a model in a file is called that nobody has given a name.
func modelName(path string) string {
	name := filepath.Base(path)
	return strings.TrimSuffix(name, filepath.Ext(name))
}

// warm scores a grey image like those that the model learned from, so that the first request does not wait for what is made once.
func warm(ctx context.Context, e *engine.Engine, m *engine.Model) error {
	const side, most = 256, 2048
	in := m.Info.Inputs
	size := func(learned int) int { return min(cmp.Or(learned, side), most) }
	grey := image.NewGray(image.Rect(0, 0, size(in.Width[1]), size(in.Height[1])))
	draw.Draw(grey, grey.Bounds(), image.NewUniform(color.Gray{128}), image.Point{}, draw.Src)
	var file bytes.Buffer
	if err := png.Encode(&file, grey); err != nil {
		return err
	}
	item := dataset.Item{Path: "a grey image to begin with", Source: dataset.Bytes(file.Bytes(), time.Time{})}
	return e.Score(ctx, slices.Values([]dataset.Item{item}), func(*engine.Result) error { return nil })
}
