//go:build cuda && cgo

package gpu

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"f2pad.example/kernels"

	"gorgonia.org/cu"
)

// handle is what can be closed while others use it.
type handle struct {
	gate   sync.RWMutex
	closed bool
}

func (h *handle) use(what string, f func() error) error {
	h.gate.RLock()
	defer h.gate.RUnlock()
	if h.closed {
		return fmt.Errorf("this %s: %w", what, ErrClosed)
	}
	return f()
}

// end waits for those that use it; it tells whether it was open.
func (h *handle) end() bool {
	h.gate.Lock()
	defer h.gate.Unlock()
	open := !h.closed
	h.closed = true
	return open
}

// Stream does work in order, asynchronously: an error may belong to earlier work. Streams run beside each other.
type Stream struct {
	d      *Device
	s      cu.Stream
	number int // among the device's
	handle
	capturing atomic.Bool

	// Work is counted once the driver has it. Waiting reads submitted first: what others submit meanwhile is not done.
	submitted, finished atomic.Uint64

	fetching sync.Mutex
	fetched  []fetched // what Fetch has under way, in order
}

var _ Work = (*Stream)(nil)

// NewStream opens a stream.
func (d *Device) NewStream() (*Stream, error) {
	s := &Stream{d: d}
	err := d.do(func() (err error) {
		if s.s, err = cu.MakeStream(cu.NonBlocking); err != nil {
			return said("cuStreamCreate", err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.made++
		s.number = d.made
		d.streams = append(d.streams, s)
		return nil
	})
	if err != nil {
		return nil, wrap("stream", err)
	}
	return s, nil
}

// Close waits for the stream's work and closes it; the device's own stream it does not close.
func (s *Stream) Close() error {
	if s == s.d.stream {
		return errors.New("gpu: the device's own stream is closed with it")
	}
	err := s.deliver()
	if !s.end() {
		return nil
	}
	s.finished.Store(math.MaxUint64)
	s.d.mu.Lock()
	s.d.streams = slices.DeleteFunc(s.d.streams, func(t *Stream) bool { return t == s })
	s.d.mu.Unlock()
	if err == nil {
		err = s.d.do(func() error { return said("cuStreamDestroy", s.s.Destroy()) })
	}
	if errors.Is(err, ErrClosed) { // with the device
		return nil
	}
	return wrap("closing a stream", err)
}

// uncaptured refuses calls while the stream is captured.
func (s *Stream) uncaptured(what string) error {
	if s.capturing.Load() {
		return fmt.Errorf("gpu: %s while the stream is captured: a graph holds what goes through its queue, nothing else", what)
	}
	return nil
}

// run makes driver calls that submit work.
func (s *Stream) run(what string, f func(cu.Stream) error) error {
	if err := s.uncaptured(what); err != nil {
		return err
	}
	return wrap(what, s.use("stream", func() error {
		defer s.submitted.Add(1)
		defer s.d.counted.enqueued(time.Now())
		return s.d.do(func() error { return f(s.s) })
	}))
}

// wait waits for what was submitted, captured or not.
func (s *Stream) wait() error {
	return s.settle(func() error {
		s.d.watch(Given{What: Waited})
		return said("cuStreamSynchronize", s.s.Synchronize())
	})
}

func (s *Stream) settle(f func() error) error {
	return s.use("stream", func() error {
		n := s.submitted.Load()
		if s.finished.Load() >= n {
			return s.d.alive()
		}
		defer s.d.counted.waited(time.Now())
		if err := s.d.do(f); err != nil {
			return err
		}
		for old := s.finished.Load(); old < n && !s.finished.CompareAndSwap(old, n); old = s.finished.Load() {
		}
		return nil
	})
}

func (s *Stream) now() moment { return moment{s, s.submitted.Load()} }

func (s *Stream) done(at uint64) bool {
	if s.finished.Load() >= at {
		return true
	}
	s.settle(func() error { return said("cuStreamQuery", s.s.Query()) }) // an error, not ready, leaves finished as it is
	return s.finished.Load() >= at
}

// Sync waits until all work submitted so far is done, and what Fetch was asked for is there.
func (s *Stream) Sync() error {
	if err := s.uncaptured("sync"); err != nil {
		return err
	}
	return wrap("sync", s.deliver())
}

// Alloc is Device.Alloc for memory that only this stream's work uses: what the stream freed it gets back at once, without
// waiting for the work before.
func (s *Stream) Alloc(bytes int) (kernels.Ptr, error) {
	if err := s.uncaptured("alloc"); err != nil {
		return 0, err
	}
	return s.d.alloc(bytes, s)
}

// Launch implements kernels.Queue. It checks the launch against the device and what the PTX declares.
func (s *Stream) Launch(l kernels.Launch) error {
	work, err := s.d.launch(l)
	if err != nil {
		return err
	}
	s.d.counted.launches.Add(1)
	s.d.watch(Given{What: Launched, Launch: l, Stream: s.number})
	return s.run("launch of "+l.Kernel, work)
}

// Copy implements Work.
func (s *Stream) Copy(dst, src kernels.Ptr, bytes int) error {
	work, err := s.d.copy(dst, src, bytes)
	if err != nil || bytes == 0 {
		return err
	}
	s.d.watch(Given{What: Copied, Bytes: bytes, Stream: s.number})
	return s.run("copy", work)
}

// Fill implements Work.
func (s *Stream) Fill(p kernels.Ptr, bytes int, value byte) error {
	work, err := s.d.fill(p, bytes, value)
	if err != nil || bytes == 0 {
		return err
	}
	s.d.watch(Given{What: Filled, Bytes: bytes, Stream: s.number})
	return s.run("fill", work)
}

func (d *Device) copy(dst, src kernels.Ptr, bytes int) (func(cu.Stream) error, error) {
	if err := errors.Join(d.within(dst, bytes), d.within(src, bytes)); err != nil {
		return nil, wrap("copy", err)
	}
	return func(s cu.Stream) error {
		return said("cuMemcpyDtoDAsync", cu.MemcpyDtoDAsync(cu.DevicePtr(dst), cu.DevicePtr(src), int64(bytes), s))
	}, nil
}

func (d *Device) fill(p kernels.Ptr, bytes int, value byte) (func(cu.Stream) error, error) {
	if err := d.within(p, bytes); err != nil {
		return nil, wrap("fill", err)
	}
	return func(s cu.Stream) error {
		return said("cuMemsetD8Async", cu.MemsetD8Async(cu.DevicePtr(p), value, int64(bytes), s))
	}, nil
}

// Upload copies src, one part behind the other, to the device. The slices may change as soon as Upload returns: the bytes wait in pinned
// memory for their turn in the stream. Upload itself waits when that is full.
func (s *Stream) Upload(dst kernels.Ptr, src ...[]byte) error {
	from := cursor{parts: src}
	n := from.left()
	if err := s.d.within(dst, n); err != nil {
		return wrap("upload", err)
	}
	for n > 0 {
		done, err := s.upload(dst, n, &from)
		if err != nil {
			return err
		}
		dst, n = dst+kernels.Ptr(done), n-done
	}
	return nil
}

func (s *Stream) upload(dst kernels.Ptr, left int, from *cursor) (int, error) {
	ring := s.d.ring(left)
	slot, err := s.slot(ring, s.deliver)
	if err != nil {
		return 0, wrap("upload", err)
	}
	defer func() { ring <- slot }()
	if err := slot.ready(s.d); err != nil {
		return 0, wrap("upload", err)
	}
	n := min(left, slot.size)
	to := slot.mem[:0]
	for len(to) < n {
		to = append(to, from.next(n-len(to))...)
	}
	s.d.counted.up.Add(int64(n))
	s.d.watch(Given{What: Uploaded, Bytes: n, Stream: s.number})
	defer slot.usedBy(s)
	return n, s.run("upload", func(stream cu.Stream) error {
		if err := cu.MemcpyHtoDAsync(cu.DevicePtr(dst), unsafe.Pointer(&slot.mem[0]), int64(n), stream); err != nil {
			return said("cuMemcpyHtoDAsync", err)
		}
		return said("cuEventRecord", slot.event.Record(stream))
	})
}

// UploadAsync copies memory of AllocPinned to the device, in order with the stream's work: the bytes must stay as they are until
// Sync, or an event.
func (s *Stream) UploadAsync(dst kernels.Ptr, src []byte) error {
	if err := s.d.within(dst, len(src)); err != nil {
		return wrap("upload", err)
	}
	if !s.d.isPinned(src) {
		return errors.New("gpu: upload: the memory is not of AllocPinned")
	}
	if len(src) == 0 {
		return nil
	}
	s.d.counted.up.Add(int64(len(src)))
	s.d.watch(Given{What: Uploaded, Bytes: len(src), Stream: s.number})
	return s.run("upload", func(stream cu.Stream) error {
		return said("cuMemcpyHtoDAsync", cu.MemcpyHtoDAsync(cu.DevicePtr(dst), unsafe.Pointer(&src[0]), int64(len(src)), stream))
	})
}

// Download copies from the device, and waits: for the stream's work before, and until the bytes are in dst.
func (s *Stream) Download(dst []byte, src kernels.Ptr) error {
	if err := s.Fetch(src, dst); err != nil {
		return err
	}
	return s.Sync()
}

// fetched is what a copy brings from the device.
type fetched struct {
	ring chan *staging
	slot *staging
	to   [][]byte
}

// Fetch copies from the device to dst, one part behind the other: the bytes are there after Sync. Of more than a slot of pinned memory
// holds, all but the last of them arrive meanwhile.
func (s *Stream) Fetch(src kernels.Ptr, dst ...[]byte) error {
	to := cursor{parts: dst}
	n := to.left()
	if err := s.d.within(src, n); err != nil {
		return wrap("download", err)
	}
	s.fetching.Lock()
	defer s.fetching.Unlock()
	for part := 0; n > 0; part++ {
		f := fetched{ring: s.d.ring(n)}
		var err error
		if f.slot, err = s.slot(f.ring, s.settled); err != nil {
			return wrap("download", err)
		}
		size := min(n, f.slot.size)
		if err := s.download(f.slot, size, src); err != nil {
			f.ring <- f.slot
			return err
		}
		for left := size; left > 0; left -= len(f.to[len(f.to)-1]) {
			f.to = append(f.to, to.next(left))
		}
		s.fetched = append(s.fetched, f)
		if before := len(s.fetched) - 1; part > 0 { // one arrives while the other is copied
			err := s.fetched[before-1].slot.ready(s.d)
			s.arrive(before, err)
			if err != nil {
				return wrap("download", err)
			}
		}
		n, src = n-size, src+kernels.Ptr(size)
	}
	return nil
}

func (s *Stream) download(slot *staging, n int, src kernels.Ptr) error {
	if err := slot.ready(s.d); err != nil {
		return wrap("download", err)
	}
	s.d.counted.down.Add(int64(n))
	s.d.watch(Given{What: Downloaded, Bytes: n, Stream: s.number})
	defer slot.usedBy(s)
	return s.run("download", func(stream cu.Stream) error {
		if err := cu.MemcpyDtoHAsync(unsafe.Pointer(&slot.mem[0]), cu.DevicePtr(src), int64(n), stream); err != nil {
			return said("cuMemcpyDtoHAsync", err)
		}
		return said("cuEventRecord", slot.event.Record(stream))
	})
}

// deliver waits for the stream, and for what it fetches.
func (s *Stream) deliver() error {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	return s.settled()
}

// settled is deliver for who fetches.
func (s *Stream) settled() error {
	err := s.wait()
	s.arrive(len(s.fetched), err)
	return err
}

// arrive copies the first n fetched to where they belong, unless they failed, and gives their slots back.
func (s *Stream) arrive(n int, failed error) {
	for _, f := range s.fetched[:n] {
		from := f.slot.mem
		for _, to := range f.to {
			if failed == nil {
				from = from[copy(to, from):]
			}
		}
		f.ring <- f.slot
	}
	s.fetched = slices.Delete(s.fetched, 0, n)
}

// forget gives up what is fetched.
func (s *Stream) forget() {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	s.arrive(len(s.fetched), ErrClosed)
}

// slot takes a slot for a copy. Before it waits for one it gives back, by settle, those that the stream holds: nobody waits who has some,
// as all might.
func (s *Stream) slot(ring chan *staging, settle func() error) (*staging, error) {
	select {
	case slot := <-ring:
		return slot, nil
	default:
	}
	if err := settle(); err != nil {
		return nil, err
	}
	return <-ring, nil
}

// DownloadAsync copies from the device into memory of AllocPinned, in order with the stream's work: the bytes are there
// after Sync, or an event.
func (s *Stream) DownloadAsync(dst []byte, src kernels.Ptr) error {
	if err := s.d.within(src, len(dst)); err != nil {
		return wrap("download", err)
	}
	if !s.d.isPinned(dst) {
		return errors.New("gpu: download: the memory is not of AllocPinned")
	}
	if len(dst) == 0 {
		return nil
	}
	s.d.counted.down.Add(int64(len(dst)))
	s.d.watch(Given{What: Downloaded, Bytes: len(dst), Stream: s.number})
	return s.run("download", func(stream cu.Stream) error {
		return said("cuMemcpyDtoHAsync", cu.MemcpyDtoHAsync(unsafe.Pointer(&dst[0]), cu.DevicePtr(src), int64(len(dst)), stream))
	})
}

// Record sets the event at this point of the stream.
func (s *Stream) Record(e *Event) error {
	return s.run("record", func(stream cu.Stream) error {
		return e.use("event", func() error { return said("cuEventRecord", e.e.Record(stream)) })
	})
}

// Wait lets the work to come wait for an event that was recorded in another stream. The host does not wait.
func (s *Stream) Wait(e *Event) error {
	return s.run("wait", func(stream cu.Stream) error {
		return e.use("event", func() error { return said("cuStreamWaitEvent", stream.Wait(e.e, 0)) })
	})
}

// Event is a point in a stream.
type Event struct {
	d *Device
	e cu.Event
	handle
}

// NewEvent makes an event.
func (d *Device) NewEvent() (*Event, error) {
	e := &Event{d: d}
	err := d.do(func() (err error) {
		if e.e, err = cu.MakeEvent(cu.BlockingSyncEvent); err != nil {
			return said("cuEventCreate", err)
		}
		d.own(e, func() error { return said("cuEventDestroy", cu.DestroyEvent(&e.e)) })
		return nil
	})
	if err != nil {
		return nil, wrap("event", err)
	}
	return e, nil
}

// Close frees the event.
func (e *Event) Close() error {
	if !e.end() {
		return nil
	}
	return e.d.disown(e)
}

// Elapsed waits for both events and returns the time from since to e in seconds, to half a microsecond.
func (e *Event) Elapsed(since *Event) (float64, error) {
	if e == since {
		return 0, errors.New("gpu: elapsed: the same event twice")
	}
	var ms float64
	err := e.use("event", func() error {
		return since.use("event", func() error {
			return e.d.do(func() (err error) {
				for _, x := range []*Event{since, e} {
					if err := x.e.Synchronize(); err != nil {
						return said("cuEventSynchronize", err)
					}
				}
				ms, err = since.e.Elapsed(e.e)
				return said("cuEventElapsedTime", err)
			})
		})
	})
	return ms / 1000, wrap("elapsed", err)
}

// wrap says what failed.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("gpu: %s: %w", what, err)
}

// own remembers how to destroy x when the device is closed.
func (d *Device) own(x any, destroy func() error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owned[x] = destroy
}

// disown destroys x now.
func (d *Device) disown(x any) error {
	d.mu.Lock()
	destroy := d.owned[x]
	delete(d.owned, x)
	d.mu.Unlock()
	if err := d.do(destroy); err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}
