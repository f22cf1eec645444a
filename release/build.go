package main

import (
	"debug/elf"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// target is a platform that the program is built for.
type target struct {
	os, arch string
	// cuda is a program with cgo: GPUs and ONNX Runtime. It needs a C compiler for the platform, and glibc where it runs. The others
	// need nothing.
	cuda bool
}

var targets = []target{
	{"linux", "amd64", false},
	{"linux", "amd64", true},
	{"linux", "arm64", false},
	{"darwin", "arm64", false},
	{"darwin", "amd64", false},
	{"windows", "amd64", false},
}

func (t target) String() string {
	if t.cuda {
		return t.os + "_" + t.arch + "_cuda"
	}
	return t.os + "_" + t.arch
}

func (t target) exe() string {
	if t.os == "windows" {
		return ".exe"
	}
	return ""
}

func (t target) archive() string {
	if t.os == "windows" {
		return ".zip"
	}
	return ".tar.gz"
}

// native reports whether the program runs here.
func (t target) native() bool { return t.os == runtime.GOOS && t.arch == runtime.GOARCH }

// chosen are the targets of a list, separated by commas; of an empty one all that can be built here. What cannot is told.
func chosen(list string, log io.Writer) (some []target, _ error) {
	if list == "" {
		for _, t := range targets {
			if t.cuda && !(t.native() && compilesC()) {
				fmt.Fprintf(log, "warning: left out %s, for there is no C compiler for it\n", t)
				continue
			}
			some = append(some, t)
		}
		return some, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(targets, func(t target) bool { return t.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown platform %q: want some of %v", name, targets)
		}
		some = append(some, targets[i])
	}
	return some, nil
}

// compilesC reports whether Go finds a C compiler.
func compilesC() bool {
	cc, err := output(".", nil, "go", "env", "CC")
	if err != nil || strings.TrimSpace(cc) == "" {
		return false
	}
	_, err = exec.LookPath(strings.Fields(cc)[0])
	return err == nil
}

// builder builds the program from a folder with its source into another.
type builder struct {
	source  source
	dir, to string
	log     io.Writer
	built   map[target]string // paths of programs
}

// env is the environment in which a target is built: nothing in it depends on the user.
func (t target) env() []string {
	return []string{
		"GOOS=" + t.os, "GOARCH=" + t.arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=-trimpath", "GOWORK=off", "LC_ALL=C", "TZ=UTC",
		"MAKEFLAGS=", "MFLAGS=", "MAKEOVERRIDES=", // of the make that runs this
	}
}

// build builds a target, once, and returns the program's path.
func (b builder) build(t target) (string, error) {
	if b.built[t] != "" {
		return b.built[t], nil
	}
	path := filepath.Join(b.to, t.String()+t.exe())
	fmt.Fprintln(b.log, "building", t)
	cuda := "CUDA=0"
	if t.cuda {
		cuda = "CUDA=1"
	}
	if _, err := output(b.dir, t.env(), "make", "build", cuda, "VERSION="+b.source.version, "BIN="+path); err != nil {
		return "", err
	}
	b.built[t] = path
	if !t.cuda {
		return path, nil
	}
	glibc, err := neededGlibc(path)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(b.log, "%s needs glibc 2.%d\n", t, glibc)
	if glibc > mostGlibc {
		return "", fmt.Errorf("%s needs glibc 2.%d, and docs/installing.md promises 2.%d: build on a system that old", t, glibc, mostGlibc)
	}
	return path, nil
}

// mostGlibc is the 2.x of glibc that programs with cgo may need: that of Debian 12, Ubuntu 22.04 and RHEL 9, or before.
const mostGlibc = 34

// neededGlibc is the 2.x of glibc that a program needs for the functions that it takes from there.
func neededGlibc(path string) (minor int, _ error) {
	f, err := elf.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	for _, s := range symbols {
		if v, ok := strings.CutPrefix(s.Version, "GLIBC_2."); ok {
			v, _, _ = strings.Cut(v, ".")
			n, err := strconv.Atoi(v)
			if err != nil {
				return 0, fmt.Errorf("%s: version %q of %s", path, s.Version, s.Name)
			}
			minor = max(minor, n)
		}
	}
	if minor == 0 {
		return 0, fmt.Errorf("%s: needs no glibc, though it has cgo", path)
	}
	return minor, nil
}
