package engine

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/place"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// asked counts how often networks of a graph's name run.
type asked struct {
	exec.Executor
	graph string
	times atomic.Int64
}

func (a *asked) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	n, err := a.Executor.Compile(g, gradient)
	if g.Name != a.graph {
		return n, err
	}
	return &askedNet{n, a}, err
}

type askedNet struct {
	exec.Net
	a *asked
}

func (n *askedNet) Forward(ctx context.Context, in, out []*tensor.Dense) error {
	n.a.times.Add(1)
	return n.Net.Forward(ctx, in, out)
}

// A method sees an image's features as often as it likes, and the network the image once.
func TestAFitRunsTheNetworkOnceOnEachImage(t *testing.T) {
	p := fixture(t)
	for _, name := range Methods() {
		t.Run(name, func(t *testing.T) {
			m := p.model(t, name+" native")
			g, err := m.backbone.Graph(64, 64)
			require.NoError(t, err)
			count := &asked{Executor: goexec.New(), graph: g.Name}
			o, err := FitOptions{Method: name, Seed: 1, Options: Options{Places: []place.Place{place.NewHost(count)}}}.withDefaults()
			require.NoError(t, err)
			f := &fitter{o: o, bb: m.backbone, room: decodeRoom(), keeps: featureRoom}
			items := p.data.Train[:4]
			_, err = f.method(t.Context(), items)
			require.NoError(t, err)
			require.EqualValues(t, len(items), count.times.Load())
		})
	}
}

// streamed counts how often each image's features are computed.
func streamed(images, times *int, layers []methodtest.Layer) method.Features {
	return func(ctx context.Context, visit func([]*tensor.Dense) error) error {
		*times++
		return methodtest.Images(5, *images, layers)(ctx, visit)
	}
}

var keptLayers = []methodtest.Layer{{C: 3, H: 4, W: 5}, {C: 7, H: 2, W: 1}}

const keptBytes = 4 * (3*4*5 + 7*2)

// What is kept is what was computed, wherever it is, and nothing is left behind.
func TestKeptFeatures(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // Windows
	for _, room := range []int64{0, keptBytes, 2*keptBytes + 1, 4 * keptBytes} {
		images, times := 4, 0
		k := &keeper{compute: streamed(&images, &times, keptLayers), room: room, create: newScratch}
		for range 3 {
			n := 0
			require.NoError(t, k.visit(t.Context(), func(f []*tensor.Dense) error {
				want := methodtest.Batch(5+uint64(n), 1, keptLayers)
				require.Len(t, f, len(want))
				for l := range want {
					require.Equal(t, want[l].Shape(), f[l].Shape())
					require.Equal(t, nd.Data(want[l]), nd.Data(f[l]))
				}
				n++
				return nil
			}))
			require.Equal(t, images, n)
		}
		require.Equal(t, 1, times)
		require.Equal(t, room < 4*keptBytes, k.spill != nil)
		if k.spill != nil {
			info, err := k.spill.Stat()
			require.NoError(t, err)
			require.Equal(t, (4-room/keptBytes)*keptBytes, info.Size())
		}
		require.NoError(t, k.close())
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

// The file has no name that a killed process could leave, or is removed in the end.
func TestTemporaryFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // Windows
	s, err := newScratch()
	require.NoError(t, err)
	if runtime.GOOS == "linux" {
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	}
	require.NoError(t, s.discard())
	f, err := os.CreateTemp(dir, "")
	require.NoError(t, err)
	require.NoError(t, (&scratch{f, true}).discard())
	require.NoFileExists(t, f.Name())
}

// A visit that ends early has kept nothing that the next one could take for the whole.
func TestVisitsThatEndEarly(t *testing.T) {
	images, times := 4, 0
	k := &keeper{compute: streamed(&images, &times, keptLayers), room: keptBytes, create: newScratch}
	defer k.close()
	enough := errors.New("enough")
	n := 0
	count := func(want int) func([]*tensor.Dense) error {
		n = 0
		return func([]*tensor.Dense) error {
			if n++; n == want {
				return enough
			}
			return nil
		}
	}
	require.ErrorIs(t, k.visit(t.Context(), count(3)), enough)
	require.NoError(t, k.visit(t.Context(), count(0)))
	require.Equal(t, 4, n)
	require.ErrorIs(t, k.visit(t.Context(), count(2)), enough)
	require.NoError(t, k.visit(t.Context(), count(0)))
	require.Equal(t, 4, n)
	require.Equal(t, 2, times)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, k.visit(ctx, count(0)), context.Canceled)
}

// A full disk fails the fit, and the error names the file.
func TestFullDisks(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip("SKIPPED: this system has no " + full)
	}
	images, times := 4, 0
	k := &keeper{compute: streamed(&images, &times, keptLayers), room: keptBytes, create: func() (*scratch, error) {
		f, err := os.OpenFile(full, os.O_RDWR, 0)
		return &scratch{File: f}, err
	}}
	err := k.visit(t.Context(), func([]*tensor.Dense) error { return nil })
	require.ErrorContains(t, err, "engine: features beyond 0 MiB are kept in a temporary file: write /dev/full: no space left")
	require.NoError(t, k.close())

	t.Setenv("TMPDIR", "/dev/null/no")
	k.create = newScratch
	k.spill = nil
	require.ErrorContains(t, k.visit(t.Context(), func([]*tensor.Dense) error { return nil }), "/dev/null/no")
}

// A model is the same wherever the features were in the meantime.
func TestModelsOfSpilledFeatures(t *testing.T) {
	p := fixture(t)
	b := p.model(t, "padim native").backbone
	var models [][]byte
	for _, room := range []int64{featureRoom, 1} {
		o, err := FitOptions{Method: "cflow", Seed: 1}.withDefaults()
		require.NoError(t, err)
		f := &fitter{o: o, bb: b, room: decodeRoom(), keeps: room}
		m, err := f.method(t.Context(), p.data.Train[:4])
		require.NoError(t, err)
		models = append(models, methodtest.Encode(t, m))
	}
	require.True(t, bytes.Equal(models[0], models[1]))
}
