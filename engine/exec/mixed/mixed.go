// Package mixed joins two executors, each for the networks that it is the faster one for.
package mixed

import (
	"slices"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/graph"
)

// Executor runs networks on Main, but for the gradient of those with depthwise convolutions: they go to Depthwise. A Net that
// has a gradient runs on one of the two, forward too. For windows, they go there without a gradient as well: what ONNX Runtime
// takes to open a session for each size is more than it is faster by.
type Executor struct{ Main, Depthwise exec.Executor }

var _ exec.Executor = Executor{}

// Info is Main's, and names both executors: "ort+go", "1.27.0+2".
func (e Executor) Info() exec.Info {
	info, other := e.Main.Info(), e.Depthwise.Info()
	info.Executor += "+" + other.Executor
	info.Version += "+" + other.Version
	return info
}

// Compile implements exec.Executor.
func (e Executor) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	return e.compile(g, gradient, gradient)
}

// compile has networks with depthwise convolutions go to Depthwise if that is faster.
func (e Executor) compile(g *graph.Graph, gradient, faster bool) (exec.Net, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	if faster && depthwise(g) {
		return e.Depthwise.Compile(g, gradient)
	}
	return e.Main.Compile(g, gradient)
}

// ForWindows is for exec.ForWindows.
func (e Executor) ForWindows() exec.Executor { return forWindows{e} }

type forWindows struct{ Executor }

// Compile implements exec.Executor.
func (e forWindows) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	return e.compile(g, gradient, true)
}

// depthwise says whether g has a convolution with several groups of one channel each.
func depthwise(g *graph.Graph) bool {
	return slices.ContainsFunc(g.Nodes, func(n *graph.Node) bool {
		if n.Op != graph.Conv || n.Int("group", 1) == 1 {
			return false
		}
		return g.Consts[n.In[1]].Shape()[1] == 1
	})
}
