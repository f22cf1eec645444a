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

	"f2pad/engine/artifact"
	"f2pad/engine/internal/par"
	"f2pad/engine/internal/vec"
	"f2pad/engine/method"
	"f2pad/engine/nd"

	"gorgonia.org/tensor"
)

// Adam's constants.
const (
	momentum = 0.9
	decay    = 0.999
	tiny     = 1e-8
)

// shards is how many parts the vectors of a step are computed in, side by side. It is fixed, so that sums are the same on any
// number of cores.
const shards = 4

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
	o       *Options
	sample  *sample
	steps   int
	at      progress
	m, v    []float32 // Adam's moments
	best    []float32 // the parameters with at.Best
	grad    []float32
	watched vectors
	saved   time.Time // the last checkpoint
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
	if key, err = keyOf(&m.opts, samples, f.Executor.Info()); err != nil {
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
func keyOf(o *Options, samples []*sample, on any) (string, error) {
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
	t := &trainer{layer: l, o: o, sample: s, steps: o.steps(s.train.len()), grad: make([]float32, l.size()), saved: time.Now()}
	t.watched = t.gather(&s.watched, nil)
	return t
}

// gather takes vectors out of a reservoir; all of them if at is nil.
func (t *trainer) gather(r *reservoir, at []int) vectors {
	if at == nil {
		at = make([]int, r.len())
		for k := range at {
			at[k] = k
		}
	}
	v := t.newVectors(len(at))
	for k, i := range at {
		copy(v.x[k*t.d:(k+1)*t.d], r.x[i*t.d:])
		if t.flow.c > 0 {
			t.encoding.put(v.c[k*t.flow.c:(k+1)*t.flow.c], int(r.at[2*i]), int(r.at[2*i+1]))
		}
	}
	return v
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
	per := (t.o.Batch + shards - 1) / shards
	g, err := t.graph(per, nil, logDense)
	if err != nil {
		return err
	}
	net, err := f.Executor.Compile(g, true)
	if err != nil {
		return err
	}
	defer net.Close()
	all := t.parameters()
	in := []*tensor.Dense{nd.New(shards, per, t.d)}
	din := []*tensor.Dense{nil}
	if t.flow.c > 0 {
		in, din = append(in, nd.New(shards, per, t.flow.c)), append(din, nil)
	}
	first := len(in)
	for _, p := range all {
		shape := append([]int{shards}, p.shape...)
		in, din = append(in, nd.New(shape...)), append(din, nd.New(shape...))
	}
	q, dq := nd.New(shards, per, 1), nd.New(shards, per, 1)
	every := t.steps + 1
	if t.o.Checks > 0 && len(t.watched.x) > 0 {
		every = max(1, t.steps/t.o.Checks)
	}
	began, from := time.Now(), t.at.Step
	loss := 0.0
	for t.at.Step < t.steps && (t.o.Patience == 0 || t.at.Since < t.o.Patience) {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, save(true))
		}
		rng := rand.New(rand.NewPCG(t.o.Seed, uint64(t.at.Step)<<16|uint64(t.at.Layer*streams+streamSteps)))
		at := make([]int, shards*per)
		for k := range at {
			at[k] = rng.IntN(t.sample.train.len())
		}
		batch := t.gather(&t.sample.train, at)
		copy(nd.Data(in[0]), batch.x)
		if t.flow.c > 0 {
			copy(nd.Data(in[1]), batch.c)
		}
		for i, p := range all {
			for s := range shards {
				copy(nd.Data(in[first+i])[s*p.size():], t.theta[p.at:p.at+p.size()])
			}
		}
		if err := net.Forward(context.WithoutCancel(ctx), in, []*tensor.Dense{q}); err != nil {
			return err
		}
		loss = t.loss(nd.Data(q), nd.Data(dq))
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			return fmt.Errorf("the loss is %g at step %d: the features are too large, or the rate is", loss, t.at.Step)
		}
		if err := net.Backward(context.WithoutCancel(ctx), []*tensor.Dense{dq}, din); err != nil {
			return err
		}
		for i, p := range all {
			to, d := t.grad[p.at:p.at+p.size()], nd.Data(din[first+i])
			copy(to, d)
			for s := 1; s < shards; s++ {
				vec.Add(to, to, d[s*len(to):][:len(to)])
			}
		}
		t.adam(t.rate(t.at.Step), t.at.Step+1)
		t.at.Step++
		if t.at.Step%every == 0 {
			if err := t.look(context.WithoutCancel(ctx)); err != nil {
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

// loss is the mean over a step's vectors, and dq its gradient.
func (t *trainer) loss(q, dq []float32) float64 {
	sum := 0.0
	for i, v := range q {
		l, d := lossOf(t.o.Loss, float64(v))
		sum += l
		dq[i] = float32(d / float64(len(q)))
	}
	return sum / float64(len(q))
}

// lossOf returns the loss of q, and its slope.
func lossOf(kind string, q float64) (loss, slope float64) {
	if kind == LogSigmoid {
		return softplus(-q), -1 / (1 + math.Exp(q))
	}
	return -q, -1
}

// look measures the loss of what is watched, and keeps the best parameters.
func (t *trainer) look(ctx context.Context) error {
	q := make([]float32, len(t.watched.x)/t.d)
	if err := t.fresh().density(ctx, t.watched, q, nil); err != nil {
		return err
	}
	loss := t.loss(q, make([]float32, len(q)))
	if loss < t.at.Best {
		t.at.Best, t.at.Since = loss, 0
		copy(t.best, t.theta)
	} else {
		t.at.Since++
	}
	return nil
}

// fresh is the layer with today's parameters, which a compiled flow holds as constants.
func (t *trainer) fresh() *layer {
	l := newLayer(t.o, t.d, t.layer.h, t.layer.w, t.ex)
	l.flow = t.flow
	l.theta = slices.Clone(t.theta)
	return l
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
