package cflow

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// fused is what PyTorch makes of one kind of fusion.
type fused struct {
	Scores []float64
	Grads  [][]float64
}

// golden is what PyTorch makes of methodtest.Golden's features and parameters: see testdata/gen_golden.py.
type golden struct {
	Tops, Means []float64
	Most        float64
	Q           [][]float64
	Published   []float64
	Sum, Mean   fused
	Loss        float64
	Parameters  [][]float64 // gradient of the loss, in the order of flow.parameters
}

var goldenLayers = []methodtest.Layer{{C: 6, H: 8, W: 12}, {C: 5, H: 4, W: 6}}

const goldenImages = 2

// single: q is a sum over some hundred products in float32, several times over.
var single = compare.Tolerance{Abs: 2e-5, Rel: 2e-5}

// goldenModel has the parameters of gen_golden.py.
func goldenModel(t *testing.T, want *golden, fuse string) *Model {
	o, err := ProfileOptions("paper")
	require.NoError(t, err)
	o.Blocks, o.Condition, o.Fuse = 3, 8, fuse
	m := &Model{opts: o, total: math.Log(want.Most)}
	for i, s := range goldenLayers {
		l := newLayer(&o, s.C, s.H, s.W)
		l.encoding = newEncoding(s.H, s.W, o.Condition)
		l.largest, l.average = want.Tops[i], want.Means[i]
		l.mixes = make([]float32, o.Blocks*s.C*s.C)
		for k := range o.Blocks {
			for y := range s.C {
				l.mixes[k*s.C*s.C+(y+s.C-1)%s.C*s.C+y] = 1
			}
		}
		l.theta = make([]float32, l.size())
		for n, p := range l.parameters() {
			copy(l.theta[p.at:], methodtest.Values(p.size(), 1000*(i+1)+n+1))
			if strings.HasPrefix(p.name, "G") {
				for k := range p.size() {
					l.theta[p.at+k] += float32(unitScale)
				}
			}
		}
		m.layers = append(m.layers, l)
	}
	return m
}

func readGolden(t *testing.T) *golden {
	data, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	want := &golden{}
	require.NoError(t, json.Unmarshal(data, want))
	return want
}

func TestGolden(t *testing.T) {
	want := readGolden(t)
	f := methodtest.Golden(goldenLayers, 0, goldenImages)
	for fuse, s := range map[string]fused{FuseSum: want.Sum, FuseMean: want.Mean} {
		t.Run(fuse, func(t *testing.T) {
			m := goldenModel(t, want, fuse)
			h, w := goldenLayers[0].H, goldenLayers[0].W
			r := &method.Result{S: nd.New(goldenImages, h, w), Gradient: true}
			require.NoError(t, m.Score(t.Context(), f, r))
			for l, v := range r.Aux.([]*view) {
				compare.Require(t, "log p / D", v.q, want.Q[l], single)
			}
			compare.Require(t, "scores", nd.Data(r.S), s.Scores, compare.Tolerance{Abs: 1e-4, Rel: 1e-4}) // differences of the above
			dS := nd.Wrap(methodtest.Values(goldenImages*h*w, 77), goldenImages, h, w)
			least := map[string]float64{FuseSum: 1e-6, FuseMean: 1e-3}[fuse]
			for i, v := range s.Scores {
				if v < least {
					nd.Data(dS)[i] = 0
				}
			}
			df := methodtest.Golden(goldenLayers, 0, goldenImages)
			require.NoError(t, m.Grad(t.Context(), f, r, dS, df))
			for l, d := range df {
				compare.Require(t, "gradient", nd.Data(d), s.Grads[l], compare.Tolerance{Abs: 1e-4, Rel: 1e-4})
			}
			if fuse == FuseSum { // the published map is a function of the scores
				published := make([]float64, len(s.Scores))
				for i, v := range nd.Data(r.S) {
					published[i] = want.Most * (1 - math.Exp(-float64(v)))
				}
				compare.Require(t, "the published map", published, want.Published, compare.Tolerance{Abs: 1e-4, Rel: 1e-4})
			}
		})
	}
}

// TestGoldenLoss compares the loss that training goes down, and its gradient, in float64.
func TestGoldenLoss(t *testing.T) {
	want := readGolden(t)
	l := goldenModel(t, want, FuseSum).layers[0]
	f := methodtest.Golden(goldenLayers, 0, goldenImages)
	var x, c []float32
	for n := range goldenImages {
		for p := range l.h * l.w {
			for k := range l.d {
				x = append(x, nd.Data(f[0])[(n*l.d+k)*l.h*l.w+p])
			}
			code := make([]float32, l.flow.c)
			l.encoding.put(code, 1, p/l.w, p%l.w)
			c = append(c, code...)
		}
	}
	var losses []float64
	grads := reference(t, &l.flow, l.theta, x, c, func(q []float64, dq []float64) {
		for i, v := range q {
			loss, slope := lossOf(LogSigmoid, v)
			losses, dq[i] = append(losses, loss), slope/float64(len(q))
		}
	}).dtheta
	loss := mean(losses)
	compare.Require(t, "loss", []float64{loss}, []float64{want.Loss}, compare.Tolerance{Rel: 1e-6})
	for i, p := range l.parameters() {
		compare.Require(t, p.name, grads[i], want.Parameters[i], compare.Tolerance{Abs: 1e-6, Rel: 1e-5})
	}
}
