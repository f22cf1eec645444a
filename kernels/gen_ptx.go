//go:build ignore

// gen_ptx compiles every .cu to ptx/, or another folder, with clang (no CUDA toolkit needed) or nvcc:
//
//	go run gen_ptx.go [-nvcc] [-out FOLDER] [compiler]
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"f2pad.example/kernels"
)

func main() {
	nvcc := flag.Bool("nvcc", false, "compile with nvcc")
	out := flag.String("out", "ptx", "folder to write to")
	flag.Parse()
	compiler := flag.Arg(0)
	if compiler == "" {
		compiler = "clang++-19"
		if *nvcc {
			compiler = "nvcc"
		}
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, "gen_ptx:", err)
		os.Exit(1)
	}
	for _, m := range kernels.Modules() {
		if err := compile(compiler, *nvcc, m, *out); err != nil {
			fmt.Fprintln(os.Stderr, "gen_ptx:", err)
			os.Exit(1)
		}
	}
}

func compile(compiler string, nvcc bool, module, out string) error {
	args := []string{
		"-x", "cuda", "--cuda-device-only", "--cuda-gpu-arch=" + kernels.Arch, "-nocudainc", "-nocudalib",
		"--cuda-feature=+ptx78", "-std=c++17", "-O3", "-Wall", "-Werror", "-Wno-unused-function", "-S", "-o", "-", module + ".cu",
	}
	if nvcc {
		// 128: a loop that one instance of a template never reaches.
		args = []string{"-ptx", "-arch=" + kernels.Arch, "-std=c++17", "-O3", "-diag-suppress=128", "-Werror=all-warnings",
			"-o", "/dev/stdout", module + ".cu"}
	}
	cmd := exec.Command(compiler, args...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s %s.cu: %w", compiler, module, err)
	}
	line, err := kernels.SourceLine(module)
	if err != nil {
		return err
	}
	// What the compiler says of itself and of the machine's files stays out.
	text = regexp.MustCompile(`(?m)[ \t]*//.*$`).ReplaceAll(text, nil)
	text = regexp.MustCompile(`\n(?:[ \t]*\n)+`).ReplaceAll(text, []byte("\n"))
	text = regexp.MustCompile(`(?m)[ \t]+$`).ReplaceAll(text, nil)
	text = append(bytes.TrimSpace(text), '\n')
	return os.WriteFile(filepath.Join(out, module+".ptx"), append([]byte(line+"\n"), text...), 0o644)
}
