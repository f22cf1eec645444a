package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"f2pad.example/bench/internal/peer"
)

// question is what cpu.py is asked.
type question struct {
	Do      string `json:"do"`
	Threads int    `json:"threads,omitempty"` // hello
	Case    string `json:"case,omitempty"`    // open
	Params  any    `json:"params,omitempty"`  // open
	Way     string `json:"way,omitempty"`     // check, run
	Arch    string `json:"arch,omitempty"`    // export
	Path    string `json:"path,omitempty"`    // check, export: file to write
}

type answer struct {
	Versions map[string]string `json:"versions"` // hello
	Ways     map[string]string `json:"ways"`     // open: those there are, with notes
	Missing  map[string]string `json:"missing"`  // open: those there are not, and why
	Seconds  float64           `json:"seconds"`  // run
	Error    string            `json:"error"`
}

// patience is how long an answer may take: modules load slowly, and the largest rows run for a while.
const patience = 10 * time.Minute

// kernelsAuto lets the peers' BLAS choose its kernels by itself.
const kernelsAuto = ""

// peerEnvironment takes back what this environment says about kernels and sets the threads.
func peerEnvironment(threads int, kernels string) []string {
	env := []string{"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"}
	if kernels != kernelsAuto {
		env[0] += "=" + kernels
	}
	for _, name := range []string{"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"} {
		env = append(env, fmt.Sprintf("%s=%d", name, threads))
	}
	return env
}

// meet starts the peers' process; without one the benchmark goes on.
func (m *meter) meet() {
	m.peers = map[string]*peer.Process{}
	if m.python == "" {
		m.NoPeer = "not asked for"
		return
	}
	if _, err := m.ask(kernelsAuto, question{Do: "hello", Threads: m.threads}); err != nil {
		m.NoPeer = err.Error()
	}
}

// ask asks the peer that was told to use those kernels, and starts it if need be.
func (m *meter) ask(kernels string, q question) (a answer, err error) {
	if m.NoPeer != "" {
		return a, errors.New(m.NoPeer)
	}
	p := m.peers[kernels]
	if p == nil {
		var hello answer
		first := question{Do: "hello", Threads: m.threads}
		p, err = peer.Start(m.python, m.script, peerEnvironment(m.threads, kernels), patience, first, &hello)
		if err != nil {
			return a, err
		}
		m.peers[kernels] = p
		if kernels == kernelsAuto {
			m.Peers = hello.Versions
		}
		if q.Do == "hello" {
			return hello, nil
		}
	}
	err = p.Ask(q, &a)
	if errors.Is(err, peer.ErrGone) {
		delete(m.peers, kernels) // the next question starts another
		err = errors.Join(err, p.Close())
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	return a, err
}

// part ends the peers.
func (m *meter) part() error {
	var errs []error
	for _, p := range m.peers {
		errs = append(errs, p.Close())
	}
	clear(m.peers)
	return errors.Join(errs...)
}

// opened is a case that the peer has set up.
type opened struct {
	m       *meter
	kernels string
	ways    map[string]string
}

// open sets a case up at the peer, until the row is done. What is missing there is noted in the row, and no error.
func (m *meter) open(r *row, kernels, name string, params any) (*opened, error) {
	if m.NoPeer != "" {
		r.Missing = append(r.Missing, "peers: "+m.NoPeer)
		return &opened{m: m}, nil
	}
	a, err := m.ask(kernels, question{Do: "open", Case: name, Params: params})
	if err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	for _, way := range slices.Sorted(maps.Keys(a.Missing)) {
		r.Missing = append(r.Missing, way+": "+a.Missing[way])
	}
	m.closers = append(m.closers, func() error {
		_, err := m.ask(kernels, question{Do: "close"})
		return err
	})
	return &opened{m, kernels, a.Ways}, nil
}

// names lists the ways there are.
func (o *opened) names() []string { return slices.Sorted(maps.Keys(o.ways)) }

// result runs a way once and returns what it computed.
func (o *opened) result(name string) ([]float32, error) {
	path, err := filepath.Abs(filepath.Join(o.m.work(), "peer.bin"))
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	if _, err := o.m.ask(o.kernels, question{Do: "check", Way: name, Path: path}); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return readRaw(path)
}

// way is a way of the peer's, as the race runs it.
func (o *opened) way(name string) way {
	return way{name: name, note: o.ways[name], run: func() (float64, error) {
		a, err := o.m.ask(o.kernels, question{Do: "run", Way: name})
		return a.Seconds, err
	}}
}

// file writes values for the peer and returns the path of the file.
func (m *meter) file(name string, values []float32) (string, error) {
	path, err := filepath.Abs(filepath.Join(m.work(), name+".bin"))
	if err != nil {
		return "", err
	}
	return path, writeRaw(path, values)
}

// writeRaw and readRaw are how arrays travel: little-endian, one after another.
func writeRaw[T float32 | int32 | uint8](path string, values []T) error {
	buf, err := binary.Append(nil, binary.LittleEndian, values)
	if err != nil {
		return err
	}
	return os.WriteFile(path, buf, 0o666)
}

func readRaw(path string) ([]float32, error) {
	buf, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(buf)%4 != 0 {
		return nil, fmt.Errorf("%s: %d bytes are no float32", path, len(buf))
	}
	out := make([]float32, len(buf)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(buf[4*i:]))
	}
	return out, nil
}
