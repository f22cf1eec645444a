package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"f2pad.example/kernels"
)

// kernel is a kernel for an architecture.
type kernel struct {
	module, arch string
	assembled
	threads int      // of a block, at most
	hot     *hotLoop // nil: it has no loop of multiply-adds
}

var threadsLine = regexp.MustCompile(`(?s)\.entry (\w+)\([^)]*\)\s*\.maxntid (\d+)`)

// assemble asks the assembler and the disassembler about every kernel, for every architecture; versions is what they call themselves.
func assemble(ctx context.Context, o options, dir string) (all []kernel, versions string, err error) {
	said, err := tool(ctx, o.ptxas, "--version")
	if err != nil {
		return nil, "", err
	}
	versions = regexp.MustCompile(`V[\d.]+`).FindString(said)
	for _, module := range kernels.Modules() {
		ptx, err := kernels.PTX(module)
		if err != nil {
			return nil, "", err
		}
		threads := map[string]int{}
		for _, m := range threadsLine.FindAllSubmatch(ptx, -1) {
			n := 0
			_, _ = fmt.Sscan(string(m[2]), &n) // of digits
			threads[string(m[1])] = n
		}
		file := filepath.Join(dir, module+".ptx")
		if err := os.WriteFile(file, bytes.TrimRight(ptx, "\x00"), 0o644); err != nil {
			return nil, "", err
		}
		for _, on := range multiprocessors {
			cubin := filepath.Join(dir, module+"."+on.arch+".cubin")
			said, err := tool(ctx, o.ptxas, "-v", "-arch="+on.arch, "-o", cubin, file)
			if err != nil {
				return nil, "", err
			}
			made, err := parsePTXAS(said)
			if err != nil {
				return nil, "", fmt.Errorf("%s: %w", module, err)
			}
			listing, err := tool(ctx, o.nvdisasm, "-c", cubin)
			if err != nil {
				return nil, "", err
			}
			loops, err := parseSASS(listing)
			if err != nil {
				return nil, "", fmt.Errorf("%s: %w", module, err)
			}
			for _, a := range made {
				k := kernel{module: module, arch: on.arch, assembled: a, threads: threads[a.kernel]}
				if l, ok := loops[a.kernel]; ok {
					k.hot = &l
				}
				all = append(all, k)
			}
		}
	}
	return all, versions, nil
}

// tool runs a program, and returns what it says.
func tool(ctx context.Context, name string, args ...string) (string, error) {
	said, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(said))
	}
	return string(said), nil
}
