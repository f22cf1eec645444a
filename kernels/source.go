package kernels

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed *.cu *.cuh emu/src ptx
var files embed.FS

// Files are the sources of the kernels and of their emulation, and the PTX.
func Files() fs.FS { return files }

// Modules lists the .cu files without their ending, in alphabetical order.
func Modules() []string {
	names, err := fs.Glob(files, "*.cu")
	if err != nil {
		panic(err) // the pattern is wrong
	}
	for i, n := range names {
		names[i] = strings.TrimSuffix(n, ".cu")
	}
	return names
}

// Arch is the least compute capability that the PTX is made for; drivers compile it for every later one.
const Arch = "sm_80"

// PTX returns a module's PTX. It fails for a module without any, and for PTX made from another source than this program's.
func PTX(module string) ([]byte, error) {
	text, err := files.ReadFile(path.Join("ptx", module+".ptx"))
	if err != nil {
		return nil, fmt.Errorf("kernels: no PTX of %s: run make ptx", module)
	}
	want, err := SourceLine(module)
	if err != nil {
		return nil, err
	}
	if line, _, _ := bytes.Cut(text, []byte("\n")); string(line) != want {
		return nil, fmt.Errorf("kernels: the PTX of %s is stale (its first line is %q, want %q): run make ptx", module, line, want)
	}
	return text, nil
}

// SourceLine is the first line of a module's PTX: the hash of what it is compiled from. Ends of lines are hashed as \n,
// whatever a checkout makes of them.
func SourceLine(module string) (string, error) {
	h := sha256.New()
	names, err := fs.Glob(files, "*.cuh")
	if err != nil {
		return "", err
	}
	for _, name := range append(slices.Sorted(slices.Values(names)), module+".cu") {
		text, err := files.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("kernels: no module %q", module)
		}
		fmt.Fprintf(h, "%s\n", name)
		h.Write(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))
	}
	fmt.Fprint(h, Arch)
	return "// source sha256 " + hex.EncodeToString(h.Sum(nil)), nil
}
