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
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"f2pad.example/engine/run/lock"
	"f2pad.example/kernels"
)

// ErrNoCompiler says that there is no C++ compiler.
var ErrNoCompiler = errors.New("emu: no C++ compiler (g++)")

// Flags of g++: for everything, and what the kernels are checked for. A kernel that reads a variable before writing it reads
// a pattern.
var (
	common = []string{"-x", "c++", "-std=c++20", "-O2", "-g1", "-fPIC", "-ffp-contract=off", "-Wall", "-Wno-unused-function",
		"-Wno-unknown-pragmas", "-DF2PAD_EMULATE", "-I."}
	checked = []string{"-fsanitize=alignment,bounds,signed-integer-overflow,integer-divide-by-zero,shift",
		"-ftrivial-auto-var-init=pattern"}
)

// Build compiles the kernels, the emulation and the given C++ sources (by name: .cu are kernels, .cc the rest, others are only
// included) into name, a program or, with "-shared" among the linker's flags, a library, and returns its path. A source that has the
// name of a kernel's takes its place. What was built before from the same text is found again in the user's cache folder.
func Build(name string, sources map[string][]byte, link ...string) (string, error) {
	return build(name, sources, false, link...)
}

// build is Build; what it builds finds races if it is to watch.
func build(name string, sources map[string][]byte, watch bool, link ...string) (string, error) {
	compiler, err := exec.LookPath("g++")
	if err != nil {
		return "", ErrNoCompiler
	}
	version, err := exec.Command(compiler, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("emu: g++ --version: %w", err)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	cache := filepath.Join(base, "f2pad", "emu")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("emu: %w", err)
	}

	text := maps.Clone(sources)
	if text == nil {
		text = map[string][]byte{}
	}
	own := map[string]bool{} // package kernels' sources, and the headers that they may include
	err = fs.WalkDir(kernels.Files(), ".", func(path string, d fs.DirEntry, err error) error {
		isSource := strings.HasSuffix(path, ".cu") || strings.HasSuffix(path, ".cuh") || strings.HasSuffix(path, ".h")
		isOurs := path == "emu/src/emu.cc" || path == "emu/src/tensor.cc" || path == "emu/src/races.cc" && watch
		if err != nil || !isSource && !isOurs {
			return err
		}
		_, given := text[path]
		own[path] = !given || !isUnit(path)
		if !given {
			text[path], err = fs.ReadFile(kernels.Files(), path)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("emu: %w", err)
	}
	work, err := os.MkdirTemp(cache, "build")
	if err != nil {
		return "", fmt.Errorf("emu: %w", err)
	}
	defer os.RemoveAll(work)

	for path, source := range text {
		p := filepath.Join(work, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return "", fmt.Errorf("emu: %w", err)
		}
		if err := os.WriteFile(p, source, 0o644); err != nil {
			return "", fmt.Errorf("emu: %w", err)
		}
	}
	units := unitsOf(version, text, own, watch)
	objects := make([]string, len(units))
	errs := make([]error, len(units))
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, u := range units {
		objects[i] = filepath.Join(cache, u.key+".o")
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = compile(work, objects[i], compiler, append(u.args, "-c", u.path)...)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	dir := filepath.Join(cache, key(nil, slices.Concat(objects, link), name, nil))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("emu: %w", err)
	}
	out := filepath.Join(dir, name)
	prune(cache)
	return out, compile(work, out, compiler, append(objects, link...)...)
}

// unit is a source that is compiled by itself.
type unit struct {
	path string
	args []string // of the compiler
	key  string   // a hash of all that its object depends on
}

// unitsOf are the units among sources, in order. Those of package kernels include its headers only, so that every program and library
// takes the same objects; others may include any header.
func unitsOf(version []byte, text map[string][]byte, own map[string]bool, watch bool) (units []unit) {
	ours, all := sha256.New(), sha256.New()
	for _, h := range []hash.Hash{ours, all} {
		fmt.Fprintf(h, "%s\n", version)
	}
	paths := slices.Sorted(maps.Keys(text))
	for _, path := range paths {
		if isUnit(path) {
			continue
		}
		fmt.Fprintf(all, "%s %d\n%s", path, len(text[path]), text[path])
		if own[path] {
			fmt.Fprintf(ours, "%s %d\n%s", path, len(text[path]), text[path])
		}
	}
	for _, path := range paths {
		if !isUnit(path) {
			continue
		}
		u, headers := unit{path: path, args: slices.Clone(common)}, all
		if own[path] {
			headers = ours
		}
		if watch {
			u.args = append(u.args, "-DF2PAD_RACES")
		}
		if strings.HasSuffix(path, ".cu") {
			u.args = append(u.args, checked...)
			if watch {
				u.args = append(u.args, "-fsanitize=thread")
			}
		}
		u.key = key(headers.Sum(nil), u.args, path, text[path])
		units = append(units, u)
	}
	return units
}

func isUnit(path string) bool {
	return strings.HasSuffix(path, ".cu") || strings.HasSuffix(path, ".cc")
}

// prune forgets what was not used for a week. What it cannot remove stays.
func prune(cache string) {
	all, err := os.ReadDir(cache)
	if err != nil {
		return
	}
	for _, e := range all {
		if i, err := e.Info(); err == nil && time.Since(i.ModTime()) > 7*24*time.Hour {
			os.RemoveAll(filepath.Join(cache, e.Name()))
		}
	}
}

func key(prefix []byte, args []string, name string, text []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%x %q %s\n%s", prefix, args, name, text)
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// compile runs the compiler for one file, out, unless it is there. Where several processes want the same, one compiles it.
func compile(work, out, compiler string, args ...string) error {
	for !exists(out) {
		l, err := lock.Take(out + ".lock")
		if errors.Is(err, lock.ErrHeld) {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if err != nil {
			return fmt.Errorf("emu: %w", err)
		}
		defer l.Release()
		break
	}
	if exists(out) {
		now := time.Now()
		return errors.Join(os.Chtimes(out, now, now), os.Chtimes(filepath.Dir(out), now, now))
	}
	temp := filepath.Join(work, filepath.Base(out)+".made")
	cmd := exec.Command(compiler, append(slices.Clone(args), "-o", temp)...)
	cmd.Dir = work
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("emu: g++: %w\n%s", err, said)
	}
	if err := os.Rename(temp, out); err != nil {
		return fmt.Errorf("emu: %w", err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Machine is an emulated machine. It is for one goroutine at a time. After a kernel has touched what is not its own
// every call fails.
type Machine struct {
	// Seed chooses the order in which threads and blocks run: 0 is ascending. A right kernel gives the same bits in any.
	Seed uint64

	program string
	cmd     *exec.Cmd
	in      *bufio.Writer
	out     *bufio.Reader
	stdin   io.Closer
	said    *bytes.Buffer
	wait    func() error // ends the process, the first time
	broken  error
}

var _ kernels.Machine = (*Machine)(nil)

// Start builds the emulation if need be and starts it. Its kernels are all of package kernels and those of the given
// sources, .cu files by name.
func Start(sources ...map[string][]byte) (*Machine, error) { return start(sources, false) }

// StartWatched is Start with a watch on memory, which makes kernels several times slower: a launch fails in which two threads
// touch a byte, one of them to write it, in no order, whether or not that does harm. What orders them is sync(), within a warp
// syncWarp(), and, for what is copied, cpWait().
func StartWatched(sources ...map[string][]byte) (*Machine, error) { return start(sources, true) }

func start(sources []map[string][]byte, watch bool) (*Machine, error) {
	server, err := fs.ReadFile(kernels.Files(), "emu/src/server.cc")
	if err != nil {
		return nil, fmt.Errorf("emu: %w", err)
	}
	all := map[string][]byte{"emu/src/server.cc": server}
	for _, more := range sources {
		maps.Copy(all, more)
	}
	program, err := build("emu", all, watch)
	if err != nil {
		return nil, err
	}
	m := &Machine{program: program, cmd: exec.Command(program), said: &bytes.Buffer{}}
	m.cmd.Stderr = m.said
	in, err := m.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("emu: %w", err)
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("emu: %w", err)
	}
	m.stdin, m.in, m.out = in, bufio.NewWriterSize(in, 1<<16), bufio.NewReaderSize(out, 1<<16)
	m.wait = sync.OnceValue(m.cmd.Wait)
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("emu: %w", err)
	}
	return m, nil
}

// Close ends the process. It returns nothing that another call has returned already.
func (m *Machine) Close() error {
	m.stdin.Close()
	if err := m.wait(); err != nil && m.broken == nil {
		m.broken = fmt.Errorf("emu: %w %s", err, m.said.Bytes())
		return m.broken
	}
	return nil
}

func (m *Machine) put(vs ...uint64) {
	for _, v := range vs {
		m.in.Write(binary.LittleEndian.AppendUint64(nil, v))
	}
}

// end notes that the process is of no more use, and why.
func (m *Machine) end(why error) error {
	m.stdin.Close()
	err := m.wait() // after this, said is complete
	if why == nil {
		why = fmt.Errorf("emu: the process has ended: %v %s", err, m.said.Bytes())
	}
	m.broken = why
	return why
}

// answer sends the request and reads its status.
func (m *Machine) answer() error {
	if m.broken != nil {
		return m.broken
	}
	if err := m.in.Flush(); err != nil {
		return m.end(nil)
	}
	status, err := m.out.ReadByte()
	if err != nil {
		return m.end(nil)
	}
	if status == 0 {
		return nil
	}
	var n [4]byte
	if _, err := io.ReadFull(m.out, n[:]); err != nil {
		return m.end(nil)
	}
	said := make([]byte, binary.LittleEndian.Uint32(n[:]))
	if _, err := io.ReadFull(m.out, said); err != nil {
		return m.end(nil)
	}
	err = fmt.Errorf("emu: %s", m.locate(string(said)))
	if status == 2 {
		return m.end(err)
	}
	return err
}

var code = regexp.MustCompile(`code \+(0x[0-9a-f]+)`)

// locate puts lines of the kernel's source where a message has addresses in the program.
func (m *Machine) locate(said string) string {
	return code.ReplaceAllStringFunc(said, func(at string) string {
		out, err := exec.Command("addr2line", "-s", "-i", "-e", m.program, code.FindStringSubmatch(at)[1]).Output()
		if err != nil || bytes.HasPrefix(out, []byte("??")) {
			return at
		}
		// The innermost call first; what the dialect's words do inside is of no interest.
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		inKernel := func(l string) bool { return strings.Contains(l, ".cu:") }
		line, _, _ := strings.Cut(lines[max(0, slices.IndexFunc(lines, inKernel))], " ")
		return line
	})
}

// receive reads what follows a good status.
func (m *Machine) receive(p []byte) error {
	if _, err := io.ReadFull(m.out, p); err != nil {
		return m.end(nil)
	}
	return nil
}

// Alloc implements kernels.Machine. The memory holds NaN; behind it lies a page that cannot be touched.
func (m *Machine) Alloc(bytes int) (kernels.Ptr, error) {
	m.in.WriteByte('a')
	m.put(uint64(bytes))
	if err := m.answer(); err != nil {
		return 0, err
	}
	var p [8]byte
	err := m.receive(p[:])
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
	return m.receive(dst)
}

// Launch implements kernels.Queue.
func (m *Machine) Launch(l kernels.Launch) error {
	m.in.WriteByte('l')
	m.put(uint64(len(l.Kernel)))
	m.in.WriteString(l.Kernel)
	for _, g := range l.Grid {
		if g == 0 {
			g = 1
		}
		m.put(uint64(g))
	}
	m.put(uint64(l.Block), uint64(l.Shared), m.Seed, uint64(len(l.Args)))
	for _, a := range l.Args {
		m.put(uint64(a))
	}
	return m.answer()
}
