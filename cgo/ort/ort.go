// Package ort runs graphs and their gradients on ONNX Runtime, whose shared library it loads when it is first asked to: the
// program starts without it. "make ort" fetches one. The package needs cgo; built without, it has the same API and returns
// ErrNotBuilt.
package ort

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Version is that of the library which install.sh fetches, the oldest one that has what this package calls.
const Version = "1.27.0"

// Environment names the variable that names the library.
const Environment = "F2PAD_ORT_LIB"

// ErrNoLibrary says that the library could not be loaded; the error around it says why. ErrNotBuilt says that the program
// was built without cgo.
var (
	ErrNoLibrary = errors.New("ort: ONNX Runtime is not available")
	ErrNotBuilt  = errors.New("ort: this program was built without cgo, and so without ONNX Runtime")
)

// Options say how to run.
type Options struct {
	// Library is the path of ONNX Runtime's shared library. Where it is empty, F2PAD_ORT_LIB has it; then it is looked for
	// in the user's cache, where install.sh puts it; then by its name where the system looks for libraries.
	Library string
	// Threads is the number of cores to use, 0 for GOMAXPROCS at each run.
	Threads int
	// Provider is CPU (also where it is empty), CUDA or TensorRT; Ordinal says which GPU. The latter two need a library
	// that was built with them.
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

// find says which library Options.Library stands for: a path, or a name for the system's loader.
func find(library string) (string, error) {
	if library == "" {
		library = os.Getenv(Environment)
	}
	name := map[string]string{"windows": "onnxruntime.dll", "darwin": "libonnxruntime.1.dylib"}[runtime.GOOS]
	if name == "" {
		name = "libonnxruntime.so.1"
	}
	if library == "" {
		cached := filepath.Join(cache(), "f2pad", "ort", Version, runtime.GOOS+"-"+runtime.GOARCH, name)
		if _, err := os.Stat(cached); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
		library = cached
	}
	path, err := filepath.Abs(library)
	if err == nil {
		err = checkFile(path)
	}
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return library, err
	}
	return path, nil
}

// cache is the user's cache as install.sh knows it, on every system.
func cache() string {
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "" // nothing is cached
	}
	return filepath.Join(home, ".cache")
}

// checkFile refuses what the system's loader would not survive or not explain: on systems with ELF files that loader takes
// a file's headers at their word, and the process dies on the first page behind the end of one that was cut off.
func checkFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	if runtime.GOOS != "linux" {
		return nil
	}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s is not a shared library: %w", path, err)
	}
	defer f.Close()
	if f.Type != elf.ET_DYN {
		return fmt.Errorf("%s is not a shared library", path)
	}
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	if machine != elf.EM_NONE && f.Machine != machine {
		return fmt.Errorf("%s is for %v, not for %v", path, f.Machine, machine)
	}
	for _, p := range f.Progs {
		if p.Off+p.Filesz < p.Off || p.Off+p.Filesz > uint64(info.Size()) {
			return fmt.Errorf("%s has been cut off: %d bytes are left", path, info.Size())
		}
	}
	return nil
}
