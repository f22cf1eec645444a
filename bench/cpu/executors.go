package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"f2pad.example/cgo/ort"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/onnx"

	"gorgonia.org/tensor"
)

// executor is one of ours.
type executor struct {
	column string // "ort", "go"
	name   string // for people
	exec.Executor
}

// executors opens what there is: ONNX Runtime first, if it is installed.
func (m *meter) executors() {
	e, err := ort.Open(ort.Options{Library: m.library, Threads: m.threads})
	if err != nil {
		m.NoORT = err.Error()
	} else {
		m.ORT = e.Info().Version
		m.ours = append(m.ours, executor{"ort", "f2pad, ort", e})
	}
	m.ours = append(m.ours, executor{"go", "f2pad, go", goexec.New()})
}

// withoutORT notes in the row that ONNX Runtime is missing, if it is.
func (m *meter) withoutORT(r *row) {
	if m.NoORT != "" {
		r.Missing = append(r.Missing, "f2pad, ort: "+m.NoORT)
	}
}

// layers of the ResNets.
var layers = []string{"layer1", "layer2", "layer3"}

// lite is the one network that is not a ResNet, with layers of its own.
const lite = "efficientnet-lite0"

var liteLayers = []string{"_blocks.2", "_blocks.4", "_blocks.10"}

// size of the images, in pixels.
const size = 256

// onnxFile is the exported network, which the peer makes where it is not there yet. One that an earlier export.py made fails
// the comparison with PyTorch.
func (m *meter) onnxFile(arch string) (string, error) {
	path, err := filepath.Abs(filepath.Join(m.work(), arch+".onnx"))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if _, err := m.ask(kernelsAuto, question{Do: "export", Arch: arch, Path: path}); err != nil {
		return "", missing{fmt.Errorf("all: %s is exported by PyTorch: %w", arch, err)}
	}
	return path, nil
}

// exported reads the exported network for images of the bench's size.
func (m *meter) exported(arch string) (path string, g *graph.Graph, err error) {
	if path, err = m.onnxFile(arch); err != nil {
		return "", nil, err
	}
	model, err := onnx.Open(path)
	if err != nil {
		return "", nil, err
	}
	read := layers
	if arch == lite {
		read = liteLayers
	}
	g, err = model.Graph(size, size, read)
	return path, g, err
}

// operations are those of a graph's convolutions for one image, an addition and a multiplication each counting.
func operations(g *graph.Graph) (float64, error) {
	shapes, err := g.Infer()
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, n := range g.Nodes {
		if n.Op != graph.Conv {
			continue
		}
		w := g.Consts[n.In[1]].Shape()
		sum += 2 * float64(shapes[n.Out].PerImage()) * float64(nd.Size(w[1:]...))
	}
	return sum, nil
}

// running is a graph compiled by one of ours, with the tensors of a batch.
type running struct {
	net       exec.Net
	gradient  bool
	in, out   []*tensor.Dense
	dout, din []*tensor.Dense
}

// compile compiles g for the images x [N,...]; with seeds, the gradients of the outputs, it has a gradient, too.
func (e executor) compile(g *graph.Graph, x *tensor.Dense, seeds []*tensor.Dense) (*running, error) {
	net, err := e.Compile(g, seeds != nil)
	if err != nil {
		return nil, err
	}
	shapes, err := g.Infer()
	if err != nil {
		return nil, errors.Join(err, net.Close())
	}
	n := x.Shape()[0]
	u := &running{net: net, gradient: seeds != nil, in: []*tensor.Dense{x}, dout: seeds}
	for _, name := range g.Outputs {
		u.out = append(u.out, nd.New(append([]int{n}, shapes[name][1:]...)...))
	}
	if u.gradient {
		u.din = []*tensor.Dense{nd.New(x.Shape()...)}
	}
	return u, nil
}

func (u *running) run() error {
	if err := u.net.Forward(context.Background(), u.in, u.out); err != nil || !u.gradient {
		return err
	}
	return u.net.Backward(context.Background(), u.dout, u.din)
}

// results are the values of all outputs, one after another, and the gradient, if there is one.
func (u *running) results() (outputs, gradient []float32) {
	for _, t := range u.out {
		outputs = append(outputs, nd.Data(t)...)
	}
	if u.gradient {
		gradient = append(gradient, nd.Data(u.din[0])...)
	}
	return outputs, gradient
}

// normal fills a tensor with seeded normal values of the given spread.
func normal(seed uint64, spread float64, shape ...int) *tensor.Dense {
	t := nd.New(shape...)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range nd.Data(t) {
		nd.Data(t)[i] = float32(spread * r.NormFloat64())
	}
	return t
}
