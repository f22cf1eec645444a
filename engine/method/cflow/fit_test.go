package cflow

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// density is a distribution of x [2] in column j of 16, whose entropy is known.
type density struct {
	draw    func(rng *rand.Rand, j int) (x, y float64)
	entropy float64
}

// stream makes images of 16 x 16 cells with it.
func (d density) stream(count int) method.Features {
	return func(_ context.Context, visit func([]*tensor.Dense) error) error {
		rng := rand.New(rand.NewPCG(11, 12))
		for range count {
			f := nd.New(1, 2, 16, 16)
			for i := range 256 {
				x, y := d.draw(rng, i%16)
				nd.Data(f)[i], nd.Data(f)[256+i] = float32(x), float32(y)
			}
			if err := visit([]*tensor.Dense{f}); err != nil {
				return err
			}
		}
		return nil
	}
}

// entropyOf is that of independent Gaussians of the given deviations.
func entropyOf(sigmas ...float64) (h float64) {
	for _, s := range sigmas {
		h += 0.5*math.Log(2*math.Pi*math.E) + math.Log(s)
	}
	return h
}

// The mean of -log p over fresh samples is the entropy, which no model can be below, plus what the flow has not learned.
func TestLikelihoodOfKnownDensities(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short: trains flows")
	}
	widths := 0.0 // mean log of the deviations below
	for j := range 16 {
		widths += math.Log(0.5+float64(j)/8) / 16
	}
	for name, d := range map[string]density{
		"bent": {func(rng *rand.Rand, _ int) (float64, float64) {
			x := rng.NormFloat64()
			return x, x*x/2 + 0.4*rng.NormFloat64()
		}, entropyOf(1, 0.4)},
		"of the position": {func(rng *rand.Rand, j int) (float64, float64) {
			return 2*math.Sin(float64(j)/3) + rng.NormFloat64(), (0.5 + float64(j)/8) * rng.NormFloat64()
		}, entropyOf(1, 1) + widths},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := ProfileOptions("compact")
			require.NoError(t, err)
			o.Blocks, o.Batch, o.Passes, o.MaxSteps, o.Rate, o.Patience = 8, 256, 100, 2500, 5e-3, 0
			m, err := Fit(t.Context(), o, method.Fitting{Features: d.stream(160)})
			require.NoError(t, err)
			sum, n := 0.0, 0.0
			require.NoError(t, d.stream(400)(t.Context(), func(f []*tensor.Dense) error {
				g := method.Grid{N: 1, H: 16, W: 16}
				views, err := m.views(f, g, &method.Result{})
				require.NoError(t, err)
				require.NoError(t, views[0].look(t.Context(), f[0], 1, false))
				if n++; n <= 160 { // what it was trained on
					return nil
				}
				for _, q := range views[0].q {
					sum -= float64(q) * 2
				}
				return nil
			}))
			got := sum / (240 * 256)
			t.Logf("entropy %.4f, found %.4f", d.entropy, got)
			require.InEpsilon(t, d.entropy, got, 0.02)
		})
	}
}

func TestSameBytesOnAnyNumberOfCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one := methodtest.Encode(t, fitted(t, small(t, "compact"), threeLayers))
	runtime.GOMAXPROCS(5)
	require.Equal(t, one, methodtest.Encode(t, fitted(t, small(t, "compact"), threeLayers)))
	other := small(t, "compact")
	other.Seed++
	require.NotEqual(t, one, methodtest.Encode(t, fitted(t, other, threeLayers)), "the seed chooses")
}

// kept is a checkpoint in memory.
type kept struct {
	data  []byte
	saves int
}

func (k *kept) Load() (*artifact.File, error) {
	if k.data == nil {
		return nil, nil
	}
	return artifact.Read(bytes.NewReader(k.data), int64(len(k.data)))
}

func (k *kept) Save(w *artifact.Writer) error {
	var buf bytes.Buffer
	_, err := w.WriteTo(&buf)
	k.data = buf.Bytes()
	k.saves++
	return err
}

// A fit that is killed at any step, and started again, ends with the bytes of one that was not.
func TestResume(t *testing.T) {
	o := small(t, "compact")
	want := methodtest.Encode(t, fitted(t, o, threeLayers))
	errKilled := errors.New("killed")
	for _, dies := range []int{1, 17, 30, 31, 65, 90} {
		k := &kept{}
		func() { // as if the process had ended
			defer func() { require.Equal(t, errKilled, recover()) }()
			_, _ = fit(t.Context(), o, method.Fitting{
				Features: methodtest.Images(1, 12, threeLayers), Checkpoint: k,
				Progress: func(p method.Progress) {
					if p.Phase == "training" && p.Done == dies {
						panic(errKilled)
					}
				},
			}, 0)
		}()
		first := 0
		m, err := fit(t.Context(), o, method.Fitting{
			Features: methodtest.Images(1, 12, threeLayers), Checkpoint: k,
			Progress: func(p method.Progress) {
				if first == 0 {
					first = p.Done
				}
			},
		}, time.Hour)
		require.NoError(t, err)
		require.Equal(t, want, methodtest.Encode(t, m), "killed at step %d", dies)
		if dies < 90 {
			require.Equal(t, dies+1, first, "it goes on where it was")
		}
	}
}

// A fit that is cancelled keeps its work, too.
func TestCancelledFitsKeepTheirWork(t *testing.T) {
	o := small(t, "compact")
	k := &kept{}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Fit(ctx, o, method.Fitting{
		Features: methodtest.Images(1, 12, oneLayer), Checkpoint: k,
		Progress: func(p method.Progress) {
			if p.Done == 12 {
				cancel()
			}
		},
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, k.saves)
	first := 0
	m, err := Fit(t.Context(), o, method.Fitting{
		Features: methodtest.Images(1, 12, oneLayer), Checkpoint: k,
		Progress: func(p method.Progress) {
			if first == 0 {
				first = p.Done
			}
		},
	})
	require.NoError(t, err)
	require.Equal(t, 13, first)
	require.Equal(t, methodtest.Encode(t, fitted(t, o, oneLayer)), methodtest.Encode(t, m))

	// What other work has left is no use.
	o.Rate *= 2
	other, err := Fit(t.Context(), o, method.Fitting{Features: methodtest.Images(1, 12, oneLayer), Checkpoint: k})
	require.NoError(t, err)
	require.Equal(t, methodtest.Encode(t, fitted(t, o, oneLayer)), methodtest.Encode(t, other))
	model := &kept{data: methodtest.Encode(t, m)}
	_, err = Fit(t.Context(), o, method.Fitting{Features: methodtest.Images(1, 12, oneLayer), Checkpoint: model})
	require.ErrorContains(t, err, `section "checkpoint/info": missing`)
	require.Zero(t, model.saves, "a model is not replaced")
	broken := &kept{data: k.data[:len(k.data)-1]}
	_, err = Fit(t.Context(), o, method.Fitting{Features: methodtest.Images(1, 12, oneLayer), Checkpoint: broken})
	require.ErrorIs(t, err, artifact.ErrCorrupt)
}

// Training ends where the held-out likelihood gets no better, with the parameters of its best.
func TestEarlyStop(t *testing.T) {
	o := small(t, "compact")
	o.HoldOut, o.Rate, o.WarmUp, o.LastRate, o.Passes, o.MaxSteps, o.Checks, o.Patience = 3, 0.05, 0, 1, 1e6, 600, 60, 3
	o.MaxLocations = 100 // few enough to learn by heart
	steps := 0
	_, err := Fit(t.Context(), o, method.Fitting{
		Features: methodtest.Images(1, 12, oneLayer), Progress: func(p method.Progress) { steps = p.Done },
	})
	require.NoError(t, err)
	require.Less(t, steps, 300)
	require.Zero(t, steps%10, "it ends after a look")

	// What it ends with is better than what it learned by heart after that.
	watched := func(patience int) float64 {
		o.Patience = patience
		m, err := Fit(t.Context(), o, method.Fitting{Features: methodtest.Images(1, 12, oneLayer)})
		require.NoError(t, err)
		samples, err := collect(t.Context(), &o, method.Fitting{Features: methodtest.Images(1, 12, oneLayer)})
		require.NoError(t, err)
		tr := newTrainer(m.layers[0], &o, samples[0])
		tr.at.Best, tr.best = math.MaxFloat64, make([]float32, len(tr.theta))
		require.NoError(t, tr.look(t.Context(), tr.pack(tr.theta)))
		require.Equal(t, tr.theta, tr.best)
		first := tr.at.Best
		tr.theta[len(tr.theta)-1] += 1000 // worse, and not kept
		require.NoError(t, tr.look(t.Context(), tr.pack(tr.theta)))
		require.Equal(t, first, tr.at.Best)
		require.Equal(t, 1, tr.at.Since)
		require.NotEqual(t, tr.theta, tr.best)
		return first
	}
	best := watched(3)
	require.InDelta(t, best, watched(0), 0.05, "the best is kept where training goes on, too")
	o.Checks = 0
	require.Greater(t, watched(0), best+0.2, "nobody looks")
}

// Every location has the same chance to be kept.
func TestReservoirs(t *testing.T) {
	r := reservoir{limit: 400, rng: rand.New(rand.NewPCG(3, 3))}
	for image := range 50 {
		f := make([]float32, 200)
		for i := range f {
			f[i] = float32(image)
		}
		require.NoError(t, r.add(f, 2, 10, 10, func(int) bool { return true }))
	}
	require.Equal(t, 400, r.len())
	require.Len(t, r.x, 800)
	image, row := 0.0, 0.0
	for i := range r.len() {
		image += float64(r.x[2*i]) / 400
		row += float64(r.at[2*i]) / 400
	}
	require.InDelta(t, 24.5, image, 2.9, "four standard errors")
	require.InDelta(t, 4.5, row, 0.6)
}

func TestRate(t *testing.T) {
	o, err := ProfileOptions("paper")
	require.NoError(t, err)
	tr := &trainer{o: &o, steps: 1000}
	require.InDelta(t, 2e-5, tr.rate(0), 1e-12)
	require.InDelta(t, 1.1e-4, tr.rate(40), 1e-12)
	require.InDelta(t, 2e-4, tr.rate(80), 1e-12)
	require.InDelta(t, (2e-4+2e-7)/2, tr.rate(540), 1e-12)
	require.InDelta(t, 2e-7, tr.rate(1000), 1e-12)
	if o, err = ProfileOptions("anomalib"); err != nil {
		require.NoError(t, err)
	}
	tr = &trainer{o: &o, steps: 1000}
	require.InDelta(t, 1e-4, tr.rate(0), 1e-12)
	require.InDelta(t, 1e-4, tr.rate(999), 1e-12)
}

// A step goes down the gradient of the mean loss over all of its vectors, whatever parts they are computed in.
func TestStep(t *testing.T) {
	o := small(t, "paper")
	o.MaxSteps, o.Batch, o.Rate, o.WarmUp = 1, 20, 1e-3, 0
	feats := methodtest.Images(1, 2, oneLayer)
	samples, err := collect(t.Context(), &o, method.Fitting{Features: feats})
	require.NoError(t, err)
	l := newLayer(&o, 6, 16, 18)
	l.encoding = newEncoding(16, 18, l.flow.c)
	l.mix(o.rng(streamMixes, 0), true)
	l.theta = l.initial(o.rng(streamParameters, 0))
	first := slices.Clone(l.theta)
	tr := newTrainer(l, &o, samples[0])
	tr.m, tr.v = make([]float32, len(l.theta)), make([]float32, len(l.theta))
	tr.at.Best = math.MaxFloat64
	require.NoError(t, tr.run(t.Context(), method.Fitting{Progress: func(method.Progress) {}},
		func(bool) error { return nil }, 0, 1))
	rng := rand.New(rand.NewPCG(o.Seed, streamSteps))
	at := make([]int, 20)
	for k := range at {
		at[k] = rng.IntN(samples[0].train.len())
	}
	after := tr.layer.theta
	l.theta = first
	r := &samples[0].train
	var x, c []float32
	for _, i := range at {
		code := make([]float32, o.Condition)
		l.encoding.put(code, 1, int(r.at[2*i]), int(r.at[2*i+1]))
		x, c = append(x, r.x[i*6:(i+1)*6]...), append(c, code...)
	}
	grads := reference(t, &l.flow, l.theta, x, c, func(q, dq []float64) {
		for i, v := range q {
			dq[i] = -1 / (1 + math.Exp(v)) / 20
		}
	}).dtheta
	for i, p := range l.parameters() {
		compare.Require(t, p.name, tr.grad[p.at:p.at+p.size()], grads[i], compare.Tolerance{Abs: 1e-6, Rel: 1e-4})
		for k, g := range grads[i] {
			if math.Abs(g) > 1e-5 { // Adam's first step is the rate, down the sign
				require.InDelta(t, float64(first[p.at+k])-math.Copysign(1e-3, g), after[p.at+k], 3e-6)
			}
		}
	}
}

func TestLosses(t *testing.T) {
	for _, kind := range []string{LogSigmoid, Likelihood} {
		for _, q := range []float64{-80, -1.4, 0, 2, 70} {
			l, slope := lossOf(kind, q)
			up, _ := lossOf(kind, q+1e-6)
			down, _ := lossOf(kind, q-1e-6)
			require.InDelta(t, (up-down)/2e-6, slope, 1e-6)
			require.False(t, math.IsInf(l, 0) || math.IsNaN(l))
		}
	}
	l, _ := lossOf(LogSigmoid, -1.4)
	require.InDelta(t, -math.Log(1/(1+math.Exp(1.4))), l, 1e-12)
}

func TestFitRefuses(t *testing.T) {
	stream := func(all ...[]*tensor.Dense) method.Features {
		return func(_ context.Context, visit func([]*tensor.Dense) error) error {
			for _, f := range all {
				if err := visit(f); err != nil {
					return err
				}
			}
			return nil
		}
	}
	one := methodtest.Batch(1, 1, oneLayer)
	broken := methodtest.Batch(2, 1, oneLayer)
	nd.Data(broken[0])[40] = float32(math.NaN())
	o := small(t, "compact")
	for text, feats := range map[string]method.Features{
		"cflow: no training images":                                       stream(),
		"image 2: layer 1: the features are not finite at location 40":    stream(one, broken),
		"image 1: a batch of 2, want 1":                                   stream(methodtest.Batch(1, 2, oneLayer)),
		"image 2: layer 1 has 16x16 locations, the first image has 16x18": stream(one, methodtest.Batch(1, 1, []methodtest.Layer{{C: 6, H: 16, W: 16}})),
		"layer 1 has 1 channels: want 2 to 8192":                          stream(methodtest.Batch(1, 1, []methodtest.Layer{{C: 1, H: 16, W: 18}})),
	} {
		_, err := Fit(t.Context(), o, method.Fitting{Features: feats})
		require.ErrorContains(t, err, text)
	}
	_, err := ProfileOptions("best")
	require.EqualError(t, err, `cflow: unknown profile "best": want one of compact, paper, anomalib`)
	o.Condition = 6
	_, err = Fit(t.Context(), o, method.Fitting{Features: stream(one)})
	require.EqualError(t, err, "cflow: condition's remainder by 4 is 2, want 0 to 0")
}

// All training images have the score 0 somewhere at the best place, and none is above by a constant that others set.
func TestConstantsComeFromTheTrainingImages(t *testing.T) {
	for _, fuse := range []string{FuseSum, FuseRoot, FuseMean} {
		o := small(t, "compact")
		o.Fuse = fuse
		m := fitted(t, o, threeLayers)
		least, sum, n, best := math.Inf(1), 0.0, 0.0, 0
		for i := range 12 {
			r := &method.Result{S: nd.New(1, 16, 20)}
			require.NoError(t, m.Score(t.Context(), methodtest.Batch(1+uint64(i), 1, threeLayers), r))
			for _, s := range nd.Data(r.S) {
				least = min(least, float64(s))
				sum += float64(s) * float64(s)
				n++
				if s < 1e-6 {
					best++
				}
			}
		}
		require.LessOrEqual(t, best, 2, "one location is the most normal of all")
		require.GreaterOrEqual(t, least, 0.0)
		require.Less(t, least, 0.7)
		if fuse == FuseMean {
			require.InDelta(t, 1, math.Sqrt(sum/n), 0.2, "an average location has 1")
		} else {
			require.InDelta(t, 0, least, 1e-5)
		}
	}
}

// Far from everything normal the score is finite, and so is its gradient, which has not vanished.
func TestScoresDoNotSaturate(t *testing.T) {
	for _, fuse := range []string{FuseSum, FuseRoot, FuseMean} {
		o := small(t, "compact")
		o.Fuse = fuse
		m := fitted(t, o, threeLayers)
		last := 0.0
		for _, far := range []float32{1, 30, 1000} {
			f := methodtest.Batch(1, 1, threeLayers)
			for _, layer := range f {
				for i := range nd.Data(layer) {
					nd.Data(layer)[i] *= far
				}
			}
			r := &method.Result{S: nd.New(1, 16, 20), Gradient: true}
			require.NoError(t, m.Score(t.Context(), f, r))
			dS, df := nd.New(1, 16, 20), methodtest.Batch(1, 1, threeLayers)
			nd.Data(dS)[100] = 1
			require.NoError(t, m.Grad(t.Context(), f, r, dS, df))
			norm := 0.0
			for _, d := range df {
				for _, v := range nd.Data(d) {
					norm += float64(v) * float64(v)
				}
			}
			s := float64(nd.Data(r.S)[100])
			require.Greater(t, s, last)
			require.False(t, math.IsInf(s, 0))
			require.Greater(t, norm, 0.0)
			require.False(t, math.IsInf(norm, 0))
			last = s
		}
	}
}

func TestFlowsLearnWhereTheyAreTo(t *testing.T) {
	for _, name := range []string{"compact", "paper"} {
		methodtest.LearnsWhere(t, []methodtest.Layer{{C: 8, H: 16, W: 16}, {C: 8, H: 8, W: 8}}, func(f method.Fitting) (method.Method, error) {
			return Fit(t.Context(), small(t, name), f)
		})
	}
}

// A plan knows the steps that training reports.
func TestPlansKnowTheSteps(t *testing.T) {
	total := 0
	ctx, stop := context.WithCancel(t.Context())
	_, err := Family().Fit(ctx, method.Fitting{Profile: "compact", Features: methodtest.Images(1, 9, []methodtest.Layer{{C: 8, H: 16, W: 16}, {C: 8, H: 8, W: 8}}),
		Progress: func(p method.Progress) {
			if p.Phase == "training" {
				total = p.Total
				stop()
			}
		}})
	require.ErrorIs(t, err, context.Canceled)
	p, err := plan(method.Fitting{}, [][3]int{{8, 16, 16}, {8, 8, 8}}, 9)
	require.NoError(t, err)
	require.Equal(t, float64(total*8*8), p.Work)
	require.Equal(t, int64(4*(8+2)*(256+64)*8), p.Bytes)
	most, err := plan(method.Fitting{}, [][3]int{{8, 64, 64}}, 1000)
	require.NoError(t, err)
	require.Equal(t, method.Plan{Bytes: 4 * 10 * 100_000, Work: 2000 * 64}, most)
}
