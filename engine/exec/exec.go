// Package exec says what it means to run a graph and its gradient. Executors (pure Go in goexec; ONNX Runtime and CUDA
// outside engine) all pass the suite in exectest.
package exec

import (
	"context"

	"f2pad.example/engine/graph"

	"gorgonia.org/tensor"
)

// Info says what ran; results record it.
type Info struct {
	Executor  string `json:"executor"`  // "go"
	Device    string `json:"device"`    // "cpu"
	Precision string `json:"precision"` // "float32"
	Version   string `json:"version"`
}

// Executor compiles graphs for one device. It is safe for concurrent use.
type Executor interface {
	Info() Info
	// Compile prepares g for the input shapes it declares. With gradient, Backward works too, and Forward keeps what
	// it needs. The graph is validated; errors name the node.
	Compile(g *graph.Graph, gradient bool) (Net, error)
}

// ForWindows is what to run a network on that ex runs on whole images, where there are windows of many sizes and few of each: what it
// says by a method of this name, or ex itself.
func ForWindows(ex Executor) Executor {
	if w, ok := ex.(interface{ ForWindows() Executor }); ok {
		return w.ForWindows()
	}
	return ex
}

// Net is a compiled graph with its buffers, for one caller at a time. Any batch size works; one image's results do not
// depend on the others, nor on the number of cores.
type Net interface {
	// Forward reads in (one [N,...] tensor for each graph input, in order) and fills out (one per graph output, made
	// by the caller with the right shape). It keeps no reference to either.
	Forward(ctx context.Context, in, out []*tensor.Dense) error
	// Backward takes the gradient of a scalar w.r.t. each output of the last Forward and fills the gradient w.r.t. each
	// input (nil entries of din are skipped). N is that of the last Forward, which serves one Backward: what it kept is
	// overwritten.
	Backward(ctx context.Context, dout, din []*tensor.Dense) error
	// Close frees the buffers. The Net cannot be used afterwards.
	Close() error
}
