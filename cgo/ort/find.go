//go:build cgo

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

// find says which library Options.Library stands for: a path, or a name for the system's loader.
func find(library string) (string, error) {
	if library == "" {
		library = os.Getenv(Environment)
	}
	if library == "" {
		cached := filepath.Join(cache(), "f2pad", "ort", Version, runtime.GOOS+"-"+runtime.GOARCH, libraryName())
		if _, err := os.Stat(cached); errors.Is(err, fs.ErrNotExist) {
			return libraryName(), nil
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

// libraryName is the library's name on this system.
func libraryName() string {
	switch runtime.GOOS {
	case "windows":
		return "onnxruntime.dll"
	case "darwin":
		return "libonnxruntime.1.dylib"
	}
	return "libonnxruntime.so.1"
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
		return fmt.Errorf("%s is not a whole shared library: %w", path, err)
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
