// Package serve answers with what engines find in images that are sent over HTTP.
//
//	serve.go    Server, what it is asked for, and its life: starting, ready, stopping
//	queue.go    who waits for a model, and which images are scored together
//	line.go     a model at work
//	routes.go   what there is to be asked, and by whom it is answered
//	request.go  what is read of a request
//	score.go    the answer to an image
//	answer.go   how answers, and failures, are written
//	api.json    all that, as OpenAPI has it
//	listen.go   a Server on a listener of its own
//
// docs/serving.md describes it for its users.
package serve

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"regexp"
	"runtime/debug"
	"sync"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
	"f2pad.example/engine/telemetry"
)

// Engine scores the images: an *engine.Engine. As many batches as it has places when the server starts are scored at once.
type Engine interface {
	Score(ctx context.Context, items iter.Seq[dataset.Item], emit func(*engine.Result) error) error
	Executor() exec.Info
	Device() device.Info
	Places() int
}

// Model is what images can be sent to.
type Model struct {
	Name     string // in paths: letters, digits, ".", "-" and "_", not "." first
	Engine   Engine
	SHA256   string
	Method   string
	Backbone string
	Kind     refine.Kind    // the map that answers are of, one that the engine makes; "": scores alone, without regions and outputs
	Regions  region.Options // what is done to its mask
	// Unlike says in what an image differs from those that the model learned from (engine.Model's); may be nil.
	Unlike func(*imageio.Image) []engine.Difference
}

// Options of a Server. Zero fields mean the defaults.
type Options struct {
	Batch int // images of a model that are scored together at most; default 8. Results do not depend on it
	// MaxWait is how long an image waits at most for others, and only while such are being received; default 10 ms, negative: not at all.
	MaxWait      time.Duration
	Queue        int           // requests for a model that are accepted at once; default 64. Those beyond are answered with 429
	MaxBody      int64         // bytes of a request's body; default 64 MiB
	Bodies       int64         // bytes of all bodies that are not decoded yet; default 1 GiB, at least MaxBody. Those beyond are answered with 429
	ReadTimeout  time.Duration // for a body to arrive; default 10 s
	Timeout      time.Duration // from there to the answer; default 30 s
	WriteTimeout time.Duration // for the answer to be taken; default 30 s
	Version      string        // of the program
	Metrics      *telemetry.Serving
	// Log is told of every request that has been answered, and Fault of what went wrong that no request is to blame for. They are called
	// from several goroutines; either may be nil.
	Log   func(Entry)
	Fault func(error)
}

// Defaults of Options.
const (
	DefaultBatch        = 8
	DefaultMaxWait      = 10 * time.Millisecond
	DefaultQueue        = 64
	DefaultMaxBody      = 64 << 20
	DefaultReadTimeout  = 10 * time.Second
	DefaultTimeout      = 30 * time.Second
	DefaultWriteTimeout = 30 * time.Second

	defaultBodies = 1 << 30
)

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if o.Batch == 0 {
		o.Batch = DefaultBatch
	}
	if o.Queue == 0 {
		o.Queue = DefaultQueue
	}
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Bodies == 0 {
		o.Bodies = defaultBodies
	}
	o.Bodies = max(o.Bodies, o.MaxBody)
	def(&o.MaxWait, DefaultMaxWait)
	def(&o.ReadTimeout, DefaultReadTimeout)
	def(&o.Timeout, DefaultTimeout)
	def(&o.WriteTimeout, DefaultWriteTimeout)
	if o.Metrics == nil {
		o.Metrics = telemetry.NewServing(o.Version)
	}
	return o
}

// Server is an http.Handler. It answers from the beginning: with 503 where images are concerned, until Start. It is safe for
// concurrent use.
type Server struct {
	opts   Options
	routes []*route
	bodies *bodies

	mu    sync.Mutex
	state state
	lines []*line        // in the order of the models
	work  sync.WaitGroup // the lines'
}

type state string

const (
	starting state = "starting"
	ready    state = "ready"
	stopping state = "stopping"
)

var _ http.Handler = (*Server)(nil)

// New returns a server that is starting.
func New(o Options) *Server {
	o = o.withDefaults()
	s := &Server{opts: o, state: starting, bodies: &bodies{free: o.Bodies, most: o.Bodies, tell: o.Metrics.Bodies}}
	s.routes = s.table()
	o.Metrics.Ready(false)
	return s
}

var modelName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$`)

// Start accepts images for the models from now on. The engines stay the caller's, and are used until Stop has returned.
func (s *Server) Start(models ...Model) error {
	if len(models) == 0 {
		return errors.New("serve: no model")
	}
	seen := map[string]bool{}
	for _, m := range models {
		if !modelName.MatchString(m.Name) {
			return fmt.Errorf("serve: model %q: its name is to be of letters, digits, \".\", \"-\" and \"_\", not \".\" first, 100 at most", m.Name)
		}
		if seen[m.Name] {
			return fmt.Errorf("serve: two models are called %q", m.Name)
		}
		seen[m.Name] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != starting {
		return fmt.Errorf("serve: the server is %s", s.state)
	}
	for _, m := range models {
		l := newLine(m, s.opts)
		s.lines = append(s.lines, l)
		for range m.Engine.Places() {
			s.work.Go(l.run)
		}
	}
	s.state = ready
	s.opts.Metrics.Ready(true)
	return nil
}

// Stop refuses new images, and returns when those that were accepted have been answered, or with ctx's error when that ends first.
func (s *Server) Stop(ctx context.Context) error {
	s.refuse()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.work.Wait()
		_, lines := s.now()
		for _, l := range lines {
			l.queue.empty()
		}
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refuse refuses new images.
func (s *Server) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = stopping
	s.opts.Metrics.Ready(false)
	for _, l := range s.lines {
		l.queue.stop()
	}
}

// now is the state, and the models that there are.
func (s *Server) now() (state, []*line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.lines
}

// fault tells what no request is to blame for.
func (o *Options) fault(err error) {
	if o.Fault != nil {
		o.Fault(err)
	}
}

// guarded turns a panic into an error.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("this is a bug in f2pad: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
}
