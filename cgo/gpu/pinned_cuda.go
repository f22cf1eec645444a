//go:build cuda && cgo

package gpu

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"gorgonia.org/cu"
)

// staging is a slot of pinned memory that copies pass through. It is made when it is first used.
type staging struct {
	size  int
	mem   []byte
	event cu.Event // the end of the copy that used it last
	by    *Stream  // that copied
	at    uint64   // of its work, behind the copy
}

// Copies of up to 64 KiB do not take the room of those that are worth a large slot.
var stagingSizes = [2]struct{ bytes, count int }{{64 << 10, 64}, {4 << 20, 8}}

// ring is where to take a slot for a copy, and to give it back.
func (d *Device) ring(bytes int) chan *staging {
	if bytes <= stagingSizes[0].bytes {
		return d.staging[0]
	}
	return d.staging[1]
}

// usedBy remembers which stream a copy was given to.
func (s *staging) usedBy(by *Stream) { s.by, s.at = by, by.submitted.Load() }

// ready waits until the slot's last copy is done. Where its stream was waited for meanwhile, the driver is not asked.
func (s *staging) ready(d *Device) error {
	if s.by != nil && s.by.finished.Load() >= s.at {
		return nil
	}
	return d.do(func() error {
		if s.mem != nil {
			defer d.counted.waited(time.Now())
			d.watch(Given{What: Waited})
			return said("cuEventSynchronize", s.event.Synchronize())
		}
		event, err := cu.MakeEvent(cu.DisableTiming | cu.BlockingSyncEvent)
		if err != nil {
			return said("cuEventCreate", err)
		}
		mem, err := pinnedAlloc(s.size)
		if err != nil {
			return errors.Join(err, said("cuEventDestroy", cu.DestroyEvent(&event)))
		}
		s.mem, s.event = mem, event
		d.mu.Lock()
		defer d.mu.Unlock()
		d.staged += int64(s.size)
		return nil
	})
}

func (s *staging) release() error {
	if s.mem == nil {
		return nil
	}
	err := errors.Join(said("cuEventDestroy", cu.DestroyEvent(&s.event)), pinnedFree(s.mem))
	s.mem, s.by = nil, nil
	return err
}

// cursor walks through parts as if they were one.
type cursor struct {
	parts [][]byte
	at    int // of the first
}

func (c *cursor) left() int {
	n := -c.at
	for _, p := range c.parts {
		n += len(p)
	}
	return n
}

// next is what comes next, at most so many bytes, and at least one of what is left.
func (c *cursor) next(most int) []byte {
	for c.at == len(c.parts[0]) {
		c.parts, c.at = c.parts[1:], 0
	}
	b := c.parts[0][c.at:]
	b = b[:min(len(b), most)]
	c.at += len(b)
	return b
}

// AllocPinned returns page-locked host memory for UploadAsync and DownloadAsync. It is the caller's to free, and no garbage.
func (d *Device) AllocPinned(bytes int) ([]byte, error) {
	if bytes < 1 {
		return nil, fmt.Errorf("gpu: pinned memory: %d bytes", bytes)
	}
	var b []byte
	err := d.do(func() (err error) {
		if b, err = pinnedAlloc(bytes); err == nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.pinned[&b[0]] = b
		}
		return err
	})
	return b, wrap("pinned memory of "+size(int64(bytes)), err)
}

// FreePinned waits for all streams and frees what AllocPinned returned.
func (d *Device) FreePinned(b []byte) error {
	err := d.alive()
	if err == nil {
		err = memory{d}.wait()
	}
	if err != nil {
		return wrap("free", err)
	}
	d.mu.Lock()
	own, found := d.pinned[unsafe.SliceData(b)]
	delete(d.pinned, unsafe.SliceData(b))
	d.mu.Unlock()
	if !found {
		return errors.New("gpu: free: this memory is not of AllocPinned")
	}
	return wrap("free", d.do(func() error { return pinnedFree(own) }))
}

// isPinned tells whether b lies in memory of AllocPinned.
func (d *Device) isPinned(b []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	for p, whole := range d.pinned {
		if first := uintptr(unsafe.Pointer(p)); at >= first && at+uintptr(len(b)) <= first+uintptr(len(whole)) {
			return true
		}
	}
	return false
}
