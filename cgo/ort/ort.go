// Package ort runs graphs and their gradients on ONNX Runtime, whose shared library it loads when it is first asked to: the
// program starts without it. "make ort" fetches one. The package needs cgo; built without, it has the same API and returns
// ErrNotBuilt.
package ort

import (
	"errors"
	"fmt"
)

// Version is that of the library which install.sh fetches, the oldest one that has what this package calls.
const Version = "1.27.0"

// Environment names the variable that names the library.
const Environment = "F2PAD_ORT_LIB"

// ErrNoLibrary says that there is no ONNX Runtime to work with; the error around it says why. ErrNotBuilt, which is one, says
// that the program was built without cgo.
var (
	ErrNoLibrary = errors.New("ort: ONNX Runtime is not available")
	ErrNotBuilt  = fmt.Errorf("%w: the program was built without cgo; the archive linux_amd64_cuda has it", ErrNoLibrary)
)

// Options say how to run.
type Options struct {
	// Library is the path of ONNX Runtime's shared library. Where it is empty, F2PAD_ORT_LIB has it; then it is looked for
	// in the user's cache, where install.sh puts it; then by its name where the system looks for libraries.
	Library string
	// Threads is the number of cores to use, 0 for GOMAXPROCS at each run.
	Threads int
	// Provider is CPU (also where it is empty), CUDA or TensorRT; Ordinal says which GPU. The latter two need a library
	// that was built with them. They take one image at a time, out of host memory, and what Forward keeps for Backward
	// goes to the host and back: onnxruntime_go has no values in a GPU's memory.
	Provider string
	Ordinal  int
}

// The values of Options.Provider.
const (
	CPU      = "cpu"
	CUDA     = "cuda"
	TensorRT = "tensorrt"
)

// Status says whether there is a library to work with.
type Status struct {
	// Loaded: the library is in the process, and all is well with it.
	Loaded bool `json:"loaded"`
	// Library is the path, or the name, of what was loaded or tried.
	Library string `json:"library,omitempty"`
	// Version of the library, if it is loaded.
	Version string `json:"version,omitempty"`
	// Reason in words why it is not loaded; empty if it is.
	Reason string `json:"reason,omitempty"`
}
