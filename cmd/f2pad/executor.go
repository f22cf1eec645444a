package main

import (
	"fmt"
	"io"
	"sync"

	"f2pad.example/cgo/cuda"
	"f2pad.example/cgo/ort"
	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/exec/mixed"
	"f2pad.example/engine/graph"
)

// The values of --executor.
const (
	autoExecutor = "auto"
	goExecutor   = "go"
	ortExecutor  = "ort"
)

var (
	executors    = []string{autoExecutor, goExecutor, ortExecutor}
	ortProviders = []string{ort.CPU, ort.CUDA, ort.TensorRT}
	precisions   = []string{string(cuda.Float32), string(cuda.Float16)}
)

// executing says what the network runs on.
type executing struct {
	exec.Info
	Library string `json:"library,omitempty"` // of ONNX Runtime
	Reason  string `json:"reason,omitempty"`  // why auto took pure Go
}

func (executing) MessageType() string { return "executor" }

func (r executing) Text(w io.Writer) error {
	text := fmt.Sprintf("network: %s %s on %s", r.Executor, r.Version, r.Device)
	if r.Precision != string(cuda.Float32) {
		text += " in " + r.Precision
	}
	switch {
	case r.Library != "":
		text += " (" + r.Library + ")"
	case r.Reason != "":
		text += " (" + r.Reason + ")"
	}
	_, err := ui.Fprintf(w, "%s\n", text)
	return err
}

// byHand reports whether the command line says what networks run on beside the CPU's own work.
func (p *program) byHand() bool {
	return p.executorName != autoExecutor || p.ortLib != "" || p.ortProvider != ort.CPU
}

// checkPlace refuses flags that contradict each other.
func (p *program) checkPlace() error {
	gpus, err := ordinals(p.device, ",")
	switch {
	case err != nil:
		return err
	case (len(gpus) > 0 || p.device == allDevices) && p.byHand():
		return fmt.Errorf("--executor, --ort-lib and --ort-provider say what networks run on with --device cpu: --device %s runs them itself", p.device)
	case p.precision != string(cuda.Float32) && (p.device == cpuDevice || p.byHand()):
		return fmt.Errorf("--precision %s is for a GPU's networks: --device cuda:N", p.precision)
	}
	if err := there(gpus); err != nil {
		return fmt.Errorf("--device %s: %w", p.device, err)
	}
	return nil
}

// network returns what --executor names to run networks on, and says so, once. With auto that is ONNX Runtime where its library
// can be loaded, otherwise pure Go; on a CPU pure Go takes the gradients of networks with depthwise convolutions, which it
// is faster at. What was named by hand is never replaced by another.
func (p *program) network() (exec.Executor, error) {
	if p.executor != nil {
		return p.executor, nil
	}
	var why error
	if p.executorName != goExecutor {
		opened, err := ort.Open(ort.Options{Library: p.ortLib, Provider: p.ortProvider})
		if err == nil {
			p.executor = opened
			if p.ortProvider != ort.CPU {
				p.executor = tellingGradients(opened, p.ortProvider, p.ui.Warn)
			}
			if p.executorName == autoExecutor && p.ortProvider == ort.CPU {
				p.executor = mixed.Executor{Main: opened, Depthwise: goexec.New()}
			}
			p.ui.Note(executing{Info: p.executor.Info(), Library: ort.Look(p.ortLib).Library})
			return p.executor, nil
		}
		// What was named by hand has to be there.
		if p.byHand() {
			return nil, err
		}
		why = err
	}
	ex := goexec.New()
	p.executor = ex
	note := executing{Info: ex.Info()}
	if why != nil {
		note.Reason = why.Error()
	}
	p.ui.Note(note)
	return ex, nil
}

// telling is an executor that calls tell when a gradient is compiled.
type telling struct {
	exec.Executor
	tell func()
}

func (t telling) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	if gradient {
		t.tell()
	}
	return t.Executor.Compile(g, gradient)
}

// tellingGradients warns, once, of what gradients cost with a provider that is a GPU: the binding to ONNX Runtime has no values
// in the GPU's memory.
func tellingGradients(e exec.Executor, provider string, warn func(string)) exec.Executor {
	return telling{e, sync.OnceFunc(func() {
		warn(fmt.Sprintf("--ort-provider %s takes the network's gradients image by image, and what it keeps for them crosses the bus "+
			"twice in each iteration: compare the time with --ort-provider %s", provider, ort.CPU))
	})}
}
