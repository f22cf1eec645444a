package mixed

import (
	"errors"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/exectest"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// refuses is an executor that compiles nothing.
type refuses struct{ err error }

func (r refuses) Info() exec.Info {
	return exec.Info{Executor: "other", Device: "elsewhere", Version: "7"}
}
func (r refuses) Compile(*graph.Graph, bool) (exec.Net, error) { return nil, r.err }

// As goexec's, whose test says why.
var tolerances = exectest.Tolerances{
	Forward:  compare.Tolerance{Abs: 1e-5, Rel: 1e-5},
	Gradient: compare.Tolerance{Abs: 2e-5, Rel: 2e-5},
}

func TestSuite(t *testing.T) { exectest.Test(t, Executor{goexec.New(), goexec.New()}, tolerances) }

func TestWhoRunsWhat(t *testing.T) {
	main, depthwise := errors.New("main"), errors.New("depthwise")
	e := Executor{refuses{main}, refuses{depthwise}}
	lite, err := exectest.Lite(64)
	require.NoError(t, err)
	for _, c := range []struct {
		name           string
		channels       int // of a group
		groups         int
		forward, graph error // without a gradient, and with
		windows        error // without, for windows
	}{
		{"plain", 6, 1, main, main, main},
		{"one channel", 1, 1, main, main, main},
		{"grouped", 3, 2, main, main, main},
		{"depthwise", 1, 6, main, depthwise, depthwise},
	} {
		b := graph.NewBuilder(c.name)
		x := b.Input("x", graph.N, c.channels*c.groups, 8, 8)
		w := b.Const(nd.New(6, c.channels, 3, 3))
		g, err := b.Graph(b.Op(graph.Relu, nil, b.Conv(x, w, "", graph.Attrs{"group": c.groups})))
		require.NoError(t, err)
		_, err = e.Compile(g, false)
		require.Equal(t, c.forward, err, c.name)
		_, err = e.Compile(g, true)
		require.Equal(t, c.graph, err, c.name)
		_, err = exec.ForWindows(e).Compile(g, false)
		require.Equal(t, c.windows, err, c.name)
		require.Equal(t, e.Info(), exec.ForWindows(e).Info())
		require.Equal(t, e.Main, exec.ForWindows(e.Main), "which says nothing of windows")
	}
	_, err = e.Compile(lite, true)
	require.Equal(t, depthwise, err)
	_, err = Executor{goexec.New(), goexec.New()}.Compile(&graph.Graph{Nodes: []*graph.Node{{Op: graph.Conv}}}, true)
	require.Error(t, err, "a graph that is not valid is an error, whoever finds it")
}

func TestInfoNamesBoth(t *testing.T) {
	e := Executor{goexec.New(), refuses{}}
	info, want := e.Info(), goexec.New().Info()
	require.Equal(t, want.Executor+"+other", info.Executor)
	require.Equal(t, want.Version+"+7", info.Version)
	require.Equal(t, want.Device, info.Device)
}
