//go:build !cgo

package ort

import (
	"f2pad.example/engine/exec"
	"f2pad.example/engine/graph"
)

// Look says that the program was built without cgo.
func Look(string) Status { return Status{Reason: ErrNotBuilt.Error()} }

// Open returns ErrNotBuilt.
func Open(Options) (*Executor, error) { return nil, ErrNotBuilt }

// Executor compiles graphs for ONNX Runtime: there is none in a program without cgo.
type Executor struct{}

var _ exec.Executor = (*Executor)(nil)

// Info names nothing: no Executor can be had.
func (*Executor) Info() exec.Info { return exec.Info{} }

// Compile returns ErrNotBuilt.
func (*Executor) Compile(*graph.Graph, bool) (exec.Net, error) { return nil, ErrNotBuilt }
