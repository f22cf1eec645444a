package cflow

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/method"
)

// Adam's constants.
const (
	momentum = 0.9
	decay    = 0.999
	tiny     = 1e-8
)

// progress is where training is: what a checkpoint keeps beside the parameters.
type progress struct {
	Revision int     `json:"revision"`
	Key      string  `json:"key"` // of options and vectors
	Layer    int     `json:"layer"`
	Step     int     `json:"step"`
	Best     float64 `json:"best"`  // the least loss of what is watched
	Since    int     `json:"since"` // looks without a better one
}

// trainer trains one layer's flow.
type trainer struct {
	*layer
	o      *Options
	sample *sample
	steps  int
	at     progress
	m, v   []float32 // Adam's moments
	best   []float32 // the parameters with at.Best
	grad   []float32
	saved  time.Time // the last checkpoint
}

// train trains all flows, and goes on from a checkpoint of the same work.
func (m *Model) train(ctx context.Context, samples []*sample, f method.Fitting, every time.Duration) error {
	key, saved, start, err := m.resume(samples, f)
	if err != nil {
		return err
	}
	total := 0
	all := make([]*trainer, len(m.layers))
	for i, l := range m.layers {
		all[i] = newTrainer(l, &m.opts, samples[i])
		all[i].at = progress{Revision: progressRevision, Key: key, Layer: i, Best: math.MaxFloat64}
		total += all[i].steps
	}
	done := 0
	for i, t := range all {
		if saved != nil && i <= start.Layer {
			if err := t.restore(saved, i, &start); err != nil {
				return err
			}
		} else {
			t.theta = t.initial(m.opts.rng(streamParameters, i))
			t.m, t.v, t.best = make([]float32, len(t.theta)), make([]float32, len(t.theta)), slices.Clone(t.theta)
		}
		if saved == nil || i >= start.Layer {
			err := t.run(ctx, f, func(last bool) error {
				if f.Checkpoint == nil || !last && time.Since(t.saved) < every {
					return nil
				}
				t.saved = time.Now()
				return m.save(f.Checkpoint, t)
			}, done, total)
			if err != nil {
				return fmt.Errorf("layer %d: %w", i+1, err)
			}
		}
		done += t.steps
	}
	return nil
}

// resume finds what this work has left; saved is nil if there is nothing.
func (m *Model) resume(samples []*sample, f method.Fitting) (key string, saved *artifact.File, at progress, err error) {
	if f.Checkpoint == nil {
		return "", nil, at, nil
	}
	if key, err = keyOf(&m.opts, samples, gemm.Best().Name); err != nil {
		return "", nil, at, err
	}
	if saved, err = f.Checkpoint.Load(); err != nil || saved == nil {
		return key, nil, at, err
	}
	if err = saved.Options("checkpoint/info", progressRevision, func(int) any { return &at }); err != nil {
		return "", nil, at, err
	}
	if at.Key != key || at.Layer < 0 || at.Layer >= len(m.layers) || at.Step < 0 {
		return key, nil, progress{}, nil
	}
	return key, saved, at, nil
}

// progressRevision is that of the section "checkpoint/info".
const progressRevision = 1

// keyOf names the work: options, vectors, and what computes.
func keyOf(o *Options, samples []*sample, on string) (string, error) {
	h := sha256.New()
	text, err := json.Marshal(map[string]any{"options": o, "on": on})
	if err != nil {
		return "", err
	}
	h.Write(text)
	for _, s := range samples {
		for _, r := range []*reservoir{&s.train, &s.watched} {
			parts := []any{[]int64{int64(s.d), int64(s.h), int64(s.w), int64(len(r.x))}, r.at}
			for x := range slices.Chunk(r.x, 1<<16) { // binary.Write makes a copy
				parts = append(parts, x)
			}
			for _, part := range parts {
				if err := binary.Write(h, binary.LittleEndian, part); err != nil {
					return "", err
				}
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// save writes a checkpoint while t is at work.
func (m *Model) save(to method.Checkpoint, t *trainer) error {
	w := artifact.NewWriter()
	errs := []error{
		w.JSON("checkpoint/info", t.at),
		w.Float32("checkpoint/m", t.m), w.Float32("checkpoint/v", t.v), w.Float32("checkpoint/best", t.best),
	}
	for i, l := range m.layers[:t.at.Layer+1] {
		errs = append(errs, w.Float32(fmt.Sprintf("checkpoint/layer%02d", i), l.theta))
	}
	return errors.Join(append(errs, to.Save(w))...)
}

// restore reads what save wrote.
func (t *trainer) restore(f *artifact.File, i int, at *progress) (err error) {
	n := t.size()
	read := func(name string) []float32 {
		x, _, e := f.Float32(name, n)
		err = errors.Join(err, e)
		return slices.Clone(x)
	}
	t.theta = read(fmt.Sprintf("checkpoint/layer%02d", i))
	if i == at.Layer {
		t.at = *at
		t.m, t.v, t.best = read("checkpoint/m"), read("checkpoint/v"), read("checkpoint/best")
	}
	return err
}

// steps is how many there are of a layer with so many vectors.
func (o *Options) steps(vectors int) int {
	steps := int(math.Ceil(o.Passes * float64(vectors) / float64(o.Batch)))
	if o.MaxSteps > 0 {
		steps = min(steps, o.MaxSteps)
	}
	return steps
}

func newTrainer(l *layer, o *Options, s *sample) *trainer {
	return &trainer{layer: l, o: o, sample: s, steps: o.steps(s.train.len()), grad: make([]float32, l.size()), saved: time.Now()}
}

// fill puts vectors of a reservoir into a panel.
func (t *trainer) fill(to *panel, r *reservoir, at []int) {
	for j, i := range at {
		for c, x := range r.x[i*t.d : (i+1)*t.d] {
			to.x[c*width+j] = x
		}
		if t.flow.c > 0 {
			t.encoding.put(to.encodings(t.flow.c)[j:], width, int(r.at[2*i]), int(r.at[2*i+1]))
		}
	}
}

// rate is Adam's at a step: up a line, then down a cosine.
func (t *trainer) rate(step int) float64 {
	o := t.o
	rise := o.WarmUp * float64(t.steps)
	if s := float64(step); s < rise {
		return o.Rate * (0.1 + 0.9*s/rise)
	}
	last := o.Rate * o.LastRate
	return last + (o.Rate-last)*(1+math.Cos(math.Pi*(float64(step)-rise)/max(float64(t.steps)-rise, 1)))/2
}

// saveEvery is the time from one checkpoint to the next.
const saveEvery = 20 * time.Second

// run trains from where t is to the end, or until what is watched gets no better. save is called after every step, and for the
// last time when ctx has ended.
func (t *trainer) run(ctx context.Context, f method.Fitting, save func(last bool) error, before, total int) error {
	s := t.newStep()
	every := t.steps + 1
	if t.o.Checks > 0 && t.sample.watched.len() > 0 {
		every = max(1, t.steps/t.o.Checks)
	}
	began, from := time.Now(), t.at.Step
	loss := 0.0
	for t.at.Step < t.steps && (t.o.Patience == 0 || t.at.Since < t.o.Patience) {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, save(true))
		}
		if loss = s.gradient(); math.IsNaN(loss) || math.IsInf(loss, 0) {
			return fmt.Errorf("the loss is %g at step %d: the features are too large, or the rate is", loss, t.at.Step)
		}
		t.adam(t.rate(t.at.Step), t.at.Step+1)
		t.at.Step++
		if t.at.Step%every == 0 {
			s.load(t.theta)
			if err := t.look(context.WithoutCancel(ctx), s.packed); err != nil {
				return err
			}
		}
		if err := save(false); err != nil {
			return err
		}
		left := time.Duration(float64(time.Since(began)) / float64(t.at.Step-from) * float64(total-before-t.at.Step))
		f.Progress(method.Progress{Phase: "training", Done: before + t.at.Step, Total: total, Loss: loss, Left: left})
	}
	if t.at.Best < math.MaxFloat64 {
		t.theta = slices.Clone(t.best)
	}
	return ctx.Err()
}

// step is what a trainer's steps are computed with.
type step struct {
	*packed
	t       *trainer
	panels  []*panel
	sum     *gradient
	at      []int // vectors
	losses  []float64
	weights [][width]float32 // slopes of the mean loss
}

func (t *trainer) newStep() *step {
	s := &step{packed: t.pack(t.theta), t: t, at: make([]int, t.o.Batch), losses: make([]float64, t.o.Batch)}
	s.panels = make([]*panel, (t.o.Batch+width-1)/width)
	for i := range s.panels {
		s.panels[i] = s.newPanel(true)
	}
	s.weights = make([][width]float32, len(s.panels))
	s.sum = s.newGradient(len(s.panels))
	return s
}

// gradient fills t.grad for the vectors of the step that t is at, and returns their mean loss.
func (s *step) gradient() float64 {
	t := s.t
	rng := rand.New(rand.NewPCG(t.o.Seed, uint64(t.at.Step)<<16|uint64(t.at.Layer*streams+streamSteps)))
	for k := range s.at {
		s.at[k] = rng.IntN(t.sample.train.len())
	}
	s.load(t.theta)
	par.For(len(s.panels), func(i int) {
		v, lo, hi := s.panels[i], i*width, min((i+1)*width, len(s.at))
		t.fill(v, &t.sample.train, s.at[lo:hi])
		s.forward(v)
		for j, q := range v.q[:hi-lo] {
			loss, slope := lossOf(t.o.Loss, float64(q))
			s.losses[lo+j], s.weights[i][j] = loss, float32(slope/float64(len(s.at)))
		}
		s.backward(v, &s.weights[i])
	})
	weight := 0.0
	for _, w := range s.weights {
		for _, x := range w {
			weight += float64(x)
		}
	}
	s.sum.add(t.grad, t.theta, s.panels, weight)
	return mean(s.losses)
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// lossOf returns the loss of q, and its slope.
func lossOf(kind string, q float64) (loss, slope float64) {
	if kind == LogSigmoid {
		return softplus(-q), -1 / (1 + math.Exp(q))
	}
	return -q, -1
}

// look measures the loss of what is watched, and keeps the best parameters, p's.
func (t *trainer) look(ctx context.Context, p *packed) error {
	watched := &t.sample.watched
	q, all := make([]float32, watched.len()), make([]int, watched.len())
	for k := range all {
		all[k] = k
	}
	if err := p.density(ctx, func(to *panel, lo, hi int) { t.fill(to, watched, all[lo:hi]) }, q, nil); err != nil {
		return err
	}
	losses := make([]float64, len(q))
	for i, v := range q {
		losses[i], _ = lossOf(t.o.Loss, float64(v))
	}
	loss := mean(losses)
	if loss < t.at.Best {
		t.at.Best, t.at.Since = loss, 0
		copy(t.best, t.theta)
	} else {
		t.at.Since++
	}
	return nil
}

// adam takes a step, the n-th.
func (t *trainer) adam(rate float64, n int) {
	a, b := 1-math.Pow(momentum, float64(n)), 1-math.Pow(decay, float64(n))
	par.Range(len(t.theta), 1<<14, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			g := float64(t.grad[i])
			m := momentum*float64(t.m[i]) + (1-momentum)*g
			v := decay*float64(t.v[i]) + (1-decay)*g*g
			t.m[i], t.v[i] = float32(m), float32(v)
			t.theta[i] = float32(float64(t.theta[i]) - rate*(m/a)/(math.Sqrt(v/b)+tiny))
		}
	})
}
