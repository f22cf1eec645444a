package gpu

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"f2pad.example/engine/device"
	"f2pad.example/kernels"
)

// pool hands out device memory in blocks of size classes and keeps what is freed for the next.
//
// A block is reused while kernels that were given it may still run: at once for the stream it was allocated for, whose next
// work comes behind theirs, and for others only when all of the work it may be in use by is done. When memory runs out the
// pool waits for the device, gives the driver back what it keeps, and tries once more.
type pool struct {
	ceiling int64
	debug   bool
	memory  backing

	mu     sync.Mutex
	blocks []*block           // by address
	cached map[int64][]*block // by size, the latest freed last
	inUse  int64
	kept   int64
	peak   int64
	used   int
}

// backing is what a pool needs of a device.
type backing interface {
	alloc(bytes int64) (kernels.Ptr, error)
	free(p kernels.Ptr) error
	now() []moment // of every stream
	wait() error   // until all work submitted so far is done
	// For Debug: both wait.
	fill(p kernels.Ptr, bytes int64, value byte) error
	read(dst []byte, p kernels.Ptr) error
}

// block is memory of the driver's.
type block struct {
	p     kernels.Ptr
	size  int64
	owner clock // the stream it is for; nil: any
	live  bool
	asked int64
	busy  []moment // what must be over before anybody but owner reuses it
	site  string   // with debug
}

// clock counts a stream's work.
type clock interface {
	now() moment
	// done tells whether the work up to a moment of this clock is over; unsure is not.
	done(at uint64) bool
}

type moment struct {
	of clock
	at uint64
}

const (
	alignment = 256
	guard     = 256  // bytes behind a buffer with Debug
	poison    = 0xff // of new buffers and guards with Debug: NaN as float32
)

// class rounds a size up to one of eight steps between powers of two: at most an eighth is wasted.
func class(bytes int64) int64 {
	step := int64(alignment)
	for bytes > 16*step { // the steps from 8 step to 16 step
		step *= 2
	}
	return (bytes + step - 1) / step * step
}

// get returns memory for owner, nil for whoever comes.
func (m *pool) get(bytes int64, owner clock) (kernels.Ptr, error) {
	if bytes < 1 {
		return 0, fmt.Errorf("gpu: alloc: %d bytes", bytes)
	}
	room := bytes
	if m.debug {
		room += guard
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if room > m.ceiling {
		return 0, m.exhausted(bytes, nil)
	}
	room = class(room)
	b := m.reuse(room, owner)
	if b == nil {
		var err error
		if b, err = m.fresh(bytes, room); err != nil {
			return 0, err
		}
	}
	if m.debug {
		if err := errors.Join(m.memory.wait(), m.memory.fill(b.p, b.size, poison)); err != nil {
			m.keep(b)
			return 0, err
		}
		b.site = site()
	}
	b.live, b.asked, b.owner, b.busy = true, bytes, owner, nil
	m.used++
	m.inUse += b.size
	m.peak = max(m.peak, m.inUse)
	return b.p, nil
}

// reuse takes a cached block, the latest freed that can be had without waiting.
func (m *pool) reuse(room int64, owner clock) *block {
	kept := m.cached[room]
	for i, b := range slices.Backward(kept) {
		free := true
		for _, u := range b.busy {
			free = free && ((owner != nil && u.of == owner) || u.of.done(u.at))
		}
		if free {
			m.cached[room] = slices.Delete(kept, i, i+1)
			m.kept -= room
			return b
		}
	}
	return nil
}

// fresh asks the driver, and once more after a trim.
func (m *pool) fresh(asked, room int64) (*block, error) {
	var cause error
	for _, last := range []bool{false, true} {
		if m.inUse+m.kept+room <= m.ceiling {
			p, err := m.memory.alloc(room)
			if err == nil {
				b := &block{p: p, size: room}
				at, _ := m.find(p)
				m.blocks = slices.Insert(m.blocks, at, b)
				return b, nil
			}
			if !errors.Is(err, device.ErrOutOfMemory) {
				return nil, fmt.Errorf("gpu: alloc of %s: %w", size(asked), err)
			}
			cause = err
		}
		if !last {
			if err := m.trim(); err != nil {
				return nil, err
			}
		}
	}
	return nil, m.exhausted(asked, cause)
}

func (m *pool) exhausted(asked int64, cause error) error {
	if cause == nil {
		cause = device.ErrOutOfMemory
	}
	return fmt.Errorf("gpu: alloc of %s: %s in use by %d buffers, ceiling %s: %w",
		size(asked), size(m.inUse), m.used, size(m.ceiling), cause)
}

// put takes back what get gave.
func (m *pool) put(p kernels.Ptr) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, found := m.find(p)
	if !found {
		return fmt.Errorf("gpu: free: %#x is none of this device's buffers", uint64(p))
	}
	b := m.blocks[i]
	if !b.live {
		return fmt.Errorf("gpu: free: %#x was freed before", uint64(p))
	}
	b.live = false
	m.used--
	m.inUse -= b.size
	if b.owner != nil {
		b.busy = []moment{b.owner.now()}
	} else {
		b.busy = m.memory.now()
	}
	m.keep(b)
	if !m.debug {
		return nil
	}
	behind := make([]byte, min(guard, b.size-b.asked))
	if err := errors.Join(m.memory.wait(), m.memory.read(behind, b.p+kernels.Ptr(b.asked))); err != nil {
		return err
	}
	for i, v := range behind {
		if v != poison {
			return fmt.Errorf("gpu: free: %#x (%s, %s): written %d bytes past its end", uint64(p), size(b.asked), b.site, i+1)
		}
	}
	return nil
}

func (m *pool) keep(b *block) {
	m.cached[b.size] = append(m.cached[b.size], b)
	m.kept += b.size
}

// trim waits for the device and gives the driver back what is not in use.
func (m *pool) trim() error {
	if m.kept == 0 {
		return nil
	}
	if err := m.memory.wait(); err != nil {
		return err
	}
	var first error
	m.blocks = slices.DeleteFunc(m.blocks, func(b *block) bool {
		if b.live {
			return false
		}
		if err := m.memory.free(b.p); err != nil && first == nil {
			first = err
		}
		return true
	})
	clear(m.cached)
	m.kept = 0
	return first
}

// check refuses ranges that do not lie in one buffer in use.
func (m *pool) check(p kernels.Ptr, bytes int) error {
	if bytes < 0 {
		return fmt.Errorf("%d bytes", bytes)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i, found := m.find(p)
	if !found {
		i-- // the block that begins before p
	}
	if i < 0 || p >= m.blocks[i].p+kernels.Ptr(m.blocks[i].size) {
		return fmt.Errorf("%#x is none of this device's buffers", uint64(p))
	}
	b := m.blocks[i]
	if !b.live {
		return fmt.Errorf("%#x is in a buffer that was freed", uint64(p))
	}
	if at := int64(p - b.p); int64(bytes) > b.asked-at {
		return fmt.Errorf("%d bytes at %#x, %d bytes into a buffer of %d", bytes, uint64(p), at, b.asked)
	}
	return nil
}

// find is the index of the block at p, or of the next one.
func (m *pool) find(p kernels.Ptr) (int, bool) {
	return slices.BinarySearchFunc(m.blocks, p, func(b *block, p kernels.Ptr) int { return cmp.Compare(b.p, p) })
}

// close frees everything through last, and nothing can be had any more. The error lists what was still in use, the same size
// and place together.
func (m *pool) close(last backing) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.memory, m.ceiling = last, 0
	type kind struct {
		asked int64
		site  string
	}
	leaks := map[kind]int{}
	count, total := 0, int64(0)
	for _, b := range m.blocks {
		if b.live {
			leaks[kind{b.asked, b.site}]++
			count++
			total += b.asked
			b.live = false
			m.keep(b)
		}
	}
	m.used, m.inUse = 0, 0
	if err := m.trim(); err != nil {
		return err
	}
	if count == 0 {
		return nil
	}
	var lines []string
	for k, n := range leaks {
		line := fmt.Sprintf("%d of %s", n, size(k.asked))
		if k.site != "" {
			line += " from " + k.site
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return fmt.Errorf("%d buffers (%s) were never freed: %s", count, size(total), strings.Join(lines, "; "))
}

// site is the nearest caller outside of this package's files: "fit.go:123".
func site() string {
	var pc [16]uintptr
	frames := runtime.CallersFrames(pc[:runtime.Callers(2, pc[:])])
	for {
		f, more := frames.Next()
		if !strings.Contains(f.Function, "f2pad.example/cgo/gpu.(*") {
			return fmt.Sprintf("%s:%d", f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line)
		}
		if !more {
			return "?"
		}
	}
}
