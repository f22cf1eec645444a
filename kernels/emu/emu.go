// Package emu runs the kernels without a GPU: g++ compiles the same .cu files against an emulation of the machine (src/), in
// a process of its own, so that a kernel that goes astray ends that process and not the test. It is for tests.
package emu

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"f2pad/kernels"
)

// ErrNoCompiler says that there is no C++ compiler.
var ErrNoCompiler = errors.New("emu: no C++ compiler (g++)")

// Build compiles the kernels, the emulation and the given C++ sources (by name) into name, a program or, with "-shared"
// among the flags, a library, and returns its path. What was built before from the same text is found again in the user's
// cache folder.
func Build(name string, sources map[string][]byte, flags ...string) (string, error) {
	compiler, err := exec.LookPath("g++")
	if err != nil {
		return "", ErrNoCompiler
	}
	version, err := exec.Command(compiler, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("emu: g++ --version: %w", err)
	}
	flags = append([]string{"-x", "c++", "-std=c++20", "-O2", "-g1", "-fPIC", "-ffp-contract=off", "-Wall", "-Wno-unused-function",
		"-Wno-unknown-pragmas", "-DF2PAD_EMULATE", "-I."}, flags...)

	h := sha256.New()
	fmt.Fprintf(h, "%s\n%q\n", version, flags)
	text := map[string][]byte{}
	err = fs.WalkDir(kernels.Files(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".ptx") {
			return err
		}
		text[path], err = fs.ReadFile(kernels.Files(), path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(text[path]), text[path])
		return err
	})
	if err != nil {
		return "", fmt.Errorf("emu: %w", err)
	}
	var units []string
	for _, m := range kernels.Modules() {
		units = append(units, m+".cu")
	}
	units = append(units, "emu/src/emu.cc")
	for _, path := range slices.Sorted(maps.Keys(sources)) {
		text[path] = sources[path]
		fmt.Fprintf(h, "%s %d\n%s", path, len(sources[path]), sources[path])
		if strings.HasSuffix(path, ".cc") {
			units = append(units, path)
		}
	}

	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("emu: %w", err)
	}
	dir := filepath.Join(cache, "f2pad", "emu", hex.EncodeToString(h.Sum(nil))[:32])
	out := filepath.Join(dir, name)
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("emu: %w", err)
	}
	work, err := os.MkdirTemp(dir, "build")
	if err != nil {
		return "", fmt.Errorf("emu: %w", err)
	}
	defer os.RemoveAll(work)
	for path, t := range text {
		p := filepath.Join(work, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return "", fmt.Errorf("emu: %w", err)
		}
		if err := os.WriteFile(p, t, 0o644); err != nil {
			return "", fmt.Errorf("emu: %w", err)
		}
	}
	cmd := exec.Command(compiler, append(append(flags, "-o", "built"), units...)...)
	cmd.Dir = work
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("emu: g++: %w\n%s", err, said)
	}
	return out, os.Rename(filepath.Join(work, "built"), out)
}

// Machine is an emulated machine. It is for one goroutine at a time. After a kernel has gone astray every call fails.
type Machine struct {
	// Seed chooses the order in which threads and blocks run: 0 is ascending. A right kernel gives the same bits in any.
	Seed uint64

	cmd    *exec.Cmd
	in     *bufio.Writer
	out    *bufio.Reader
	stdin  io.Closer
	said   *bytes.Buffer
	broken error
}

var _ kernels.Machine = (*Machine)(nil)

// Start builds the emulation if need be and starts it.
func Start() (*Machine, error) {
	server, err := fs.ReadFile(kernels.Files(), "emu/src/server.cc")
	if err != nil {
		return nil, err
	}
	program, err := Build("emu", map[string][]byte{"emu/src/server.cc": server})
	if err != nil {
		return nil, err
	}
	m := &Machine{cmd: exec.Command(program), said: &bytes.Buffer{}}
	m.cmd.Stderr = m.said
	in, err := m.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	m.stdin, m.in, m.out = in, bufio.NewWriterSize(in, 1<<16), bufio.NewReaderSize(out, 1<<16)
	return m, m.cmd.Start()
}

// Close ends the process.
func (m *Machine) Close() error {
	m.stdin.Close()
	return m.cmd.Wait()
}

func (m *Machine) put(vs ...uint64) {
	for _, v := range vs {
		m.in.Write(binary.LittleEndian.AppendUint64(nil, v))
	}
}

// answer sends the request and reads its status.
func (m *Machine) answer() error {
	if m.broken != nil {
		return m.broken
	}
	status := byte(0)
	err := m.in.Flush()
	if err == nil {
		status, err = m.out.ReadByte()
	}
	if err != nil {
		m.broken = fmt.Errorf("emu: the process has ended: %w %s", err, m.said.Bytes())
		return m.broken
	}
	if status == 0 {
		return nil
	}
	var n [4]byte
	if _, err := io.ReadFull(m.out, n[:]); err != nil {
		return err
	}
	said := make([]byte, binary.LittleEndian.Uint32(n[:]))
	if _, err := io.ReadFull(m.out, said); err != nil {
		return err
	}
	return fmt.Errorf("emu: %s", said)
}

// Alloc implements kernels.Machine. The memory holds NaN; behind it lies a page that cannot be touched.
func (m *Machine) Alloc(bytes int) (kernels.Ptr, error) {
	m.in.WriteByte('a')
	m.put(uint64(bytes))
	if err := m.answer(); err != nil {
		return 0, err
	}
	var p [8]byte
	_, err := io.ReadFull(m.out, p[:])
	return kernels.Ptr(binary.LittleEndian.Uint64(p[:])), err
}

// Free implements kernels.Machine. It says whether a kernel wrote beside the memory.
func (m *Machine) Free(p kernels.Ptr) error {
	m.in.WriteByte('f')
	m.put(uint64(p))
	return m.answer()
}

// Write implements kernels.Machine.
func (m *Machine) Write(dst kernels.Ptr, src []byte) error {
	m.in.WriteByte('w')
	m.put(uint64(dst), uint64(len(src)))
	m.in.Write(src)
	return m.answer()
}

// Read implements kernels.Machine.
func (m *Machine) Read(dst []byte, src kernels.Ptr) error {
	m.in.WriteByte('r')
	m.put(uint64(src), uint64(len(dst)))
	if err := m.answer(); err != nil {
		return err
	}
	_, err := io.ReadFull(m.out, dst)
	return err
}

// Launch implements kernels.Queue.
func (m *Machine) Launch(l kernels.Launch) error {
	m.in.WriteByte('l')
	m.put(uint64(len(l.Kernel)))
	m.in.WriteString(l.Kernel)
	for _, g := range l.Grid {
		m.put(uint64(max(g, 1)))
	}
	m.put(uint64(l.Block), uint64(l.Shared), m.Seed, uint64(len(l.Args)))
	for _, a := range l.Args {
		m.put(uint64(a))
	}
	return m.answer()
}
