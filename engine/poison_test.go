package engine

import (
	"context"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad/engine/dataset"
	"f2pad/engine/exec"
	"f2pad/engine/exec/goexec"
	"f2pad/engine/graph"
	"f2pad/engine/imageio"
	"f2pad/engine/nd"
	"f2pad/engine/refine"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// poison is an executor whose network fails on red images: it gives value in their features, or in the gradient.
type poison struct {
	exec.Executor
	value    float32
	gradient bool
}

func (p *poison) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	net, err := p.Executor.Compile(g, gradient)
	return &poisoned{Net: net, p: p}, err
}

type poisoned struct {
	exec.Net
	p   *poison
	red []bool
}

func (n *poisoned) spoil(ts []*tensor.Dense) {
	for _, t := range ts {
		for i, red := range n.red {
			for per, k := nd.Size(t.Shape()[1:]...), 0; red && k < per; k++ {
				nd.Data(t)[i*per+k] = n.p.value
			}
		}
	}
}

func (n *poisoned) Forward(ctx context.Context, in, out []*tensor.Dense) error {
	n.red = nil
	pixels := nd.Size(in[0].Shape()[2:]...)
	for i := range in[0].Shape()[0] {
		r, b, reds := nd.Data(in[0])[3*i*pixels:][:pixels], nd.Data(in[0])[(3*i+2)*pixels:][:pixels], 0
		for p := range r {
			if r[p] > 1.15*b[p] {
				reds++
			}
		}
		n.red = append(n.red, reds > pixels/4) // the others have 1.11 times as much red as blue, that one 1.19
	}
	err := n.Net.Forward(ctx, in, out)
	if !n.p.gradient {
		n.spoil(out)
	}
	return err
}

func (n *poisoned) Backward(ctx context.Context, dout, din []*tensor.Dense) error {
	err := n.Net.Backward(ctx, dout, din)
	if n.p.gradient {
		n.spoil(din)
	}
	return err
}

// TestOneBadImageFailsAlone: where the network gives NaN or Inf for one image of a batch, that image has failed, and the
// others' results are, bit for bit, those without it.
func TestOneBadImageFailsAlone(t *testing.T) {
	p := fixture(t)
	hole := slices.IndexFunc(p.few, func(it dataset.Item) bool { return it.Class == "hole" })
	im, err := imageio.Decode(p.few[hole].Path, imageio.Limits{})
	require.NoError(t, err)
	red := im.RGBA()
	for i := 0; i < len(red.Pix); i += 4 {
		red.Pix[i+2] = uint8(int(red.Pix[i+2]) * 15 / 16) // so little that what is refined stays as it was
	}
	path := filepath.Join(t.TempDir(), "red.png")
	write(t, path, red)
	others := []dataset.Item{p.few[0], p.few[hole]}
	bad := dataset.Item{Path: path, ID: "red.png"}
	inf := float32(math.Inf(1))
	for name, c := range map[string]struct {
		poison
		maps []refine.Kind
		want string
	}{
		"NaN, scores": {poison{value: float32(math.NaN())}, nil, "gives scores that are not finite"},
		"NaN, maps":   {poison{value: float32(math.NaN())}, []refine.Kind{refine.Base, refine.Residual}, "gives scores that are not finite"},
		"Inf, scores": {poison{value: inf}, nil, "gives scores that are not finite"},
		"huge, maps":  {poison{value: 1e18}, []refine.Kind{refine.Base}, "beyond what a map can hold"},
		"gradient":    {poison{value: float32(math.NaN()), gradient: true}, []refine.Kind{refine.F2PAD}, "the gradient of scatter is not finite"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range methods() {
				if c.maps != nil && method != "padim" {
					continue // what follows the scores is the same
				}
				m := p.model(t, method+" native")
				if name == "huge, maps" { // on a scale on which other scores are merely large
					copied := *m
					m = &copied
					m.Info.Calibration.Q50, m.Info.Calibration.Q995 = 0, 1e-20
				}
				o := Options{Maps: c.maps}
				want := scored(t, m, o, others)
				c.poison.Executor = goexec.New()
				o.Executor = &c.poison
				for _, batch := range []int{1, 8} {
					if c.gradient && batch == 1 {
						continue
					}
					o.Batch = batch
					items := []dataset.Item{others[0], bad, others[1], {Path: path, ID: "again.png"}}
					got := scored(t, m, o, items)
					require.ErrorContains(t, got["red.png"].Err, path+": engine: ")
					require.ErrorContains(t, got["red.png"].Err, c.want)
					require.Error(t, got["again.png"].Err)
					delete(got, "red.png")
					delete(got, "again.png")
					requireSame(t, want, got)
				}
			}
		})
	}
}

func write(t *testing.T, path string, img image.Image) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, png.Encode(f, img))
	require.NoError(t, f.Close())
}
