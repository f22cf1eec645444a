package main

import (
	"errors"

	"f2pad.example/cgo/gpu"
	"f2pad.example/kernels"
)

// card is what is measured. All its work is in order.
type card interface {
	kernels.Machine
	Fill(p kernels.Ptr, bytes int, value byte) error
	Copy(dst, src kernels.Ptr, bytes int) error
	AllocPinned(bytes int) ([]byte, error)
	FreePinned(b []byte) error
	// Up and Down copy from and to pinned memory; Both does both at once.
	Up(dst kernels.Ptr, src []byte) error
	Down(dst []byte, src kernels.Ptr) error
	Both(dst kernels.Ptr, src, to []byte, from kernels.Ptr) error
	// Time runs the work once, with nothing of use in the caches, and returns how long the card took, in seconds.
	Time(work func(q kernels.Queue) error) (float64, error)
	// Record makes work to replay of it, to be closed after use.
	Record(work func(q kernels.Queue) error) (replay func(kernels.Queue) error, done func() error, err error)
	// Trim gives memory that is not in use back to the driver, for other processes.
	Trim() error
}

// gpuCard is a GPU.
type gpuCard struct {
	*gpu.Device
	s          *gpu.Stream
	start, end *gpu.Event
	other      *gpu.Stream // beside s
	fork, join *gpu.Event
	flush      kernels.CeilingRead
}

// newCard flushes the L2 cache by reading flush bytes, which should be at least twice its size. Of reading, other than of
// writing, no work remains in the cache that the next kernel would pay for.
func newCard(d *gpu.Device, flush int64) (c *gpuCard, err error) {
	c = &gpuCard{Device: d, s: d.Stream()}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	for _, e := range []**gpu.Event{&c.start, &c.end, &c.fork, &c.join} {
		if *e, err = d.NewEvent(); err != nil {
			return c, err
		}
	}
	if c.other, err = d.NewStream(); err != nil {
		return c, err
	}
	blocks := int(flush/4/kernels.CeilingReadBlock) + 1
	c.flush.N = blocks * kernels.CeilingReadBlock
	if c.flush.In, err = d.Alloc(4 * c.flush.N); err != nil {
		return c, err
	}
	if c.flush.Out, err = d.Alloc(4 * blocks); err != nil {
		return c, err
	}
	return c, c.Fill(c.flush.In, 4*c.flush.N, 0)
}

// close frees what newCard made, and leaves the device open.
func (c *gpuCard) close() error {
	var errs []error
	for _, e := range []*gpu.Event{c.start, c.end, c.fork, c.join} {
		if e != nil {
			errs = append(errs, e.Close())
		}
	}
	if c.other != nil {
		errs = append(errs, c.other.Close())
	}
	for _, p := range []kernels.Ptr{c.flush.In, c.flush.Out} {
		if p != 0 {
			errs = append(errs, c.Free(p))
		}
	}
	return errors.Join(errs...)
}

func (c *gpuCard) Fill(p kernels.Ptr, bytes int, value byte) error { return c.s.Fill(p, bytes, value) }

func (c *gpuCard) Copy(dst, src kernels.Ptr, bytes int) error { return c.s.Copy(dst, src, bytes) }

func (c *gpuCard) Up(dst kernels.Ptr, src []byte) error { return c.s.UploadAsync(dst, src) }

func (c *gpuCard) Down(dst []byte, src kernels.Ptr) error { return c.s.DownloadAsync(dst, src) }

func (c *gpuCard) Both(dst kernels.Ptr, src, to []byte, from kernels.Ptr) error {
	for _, f := range []func() error{
		func() error { return c.s.Record(c.fork) },
		func() error { return c.other.Wait(c.fork) },
		func() error { return c.other.DownloadAsync(to, from) },
		func() error { return c.other.Record(c.join) },
		func() error { return c.s.UploadAsync(dst, src) },
		func() error { return c.s.Wait(c.join) },
	} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (c *gpuCard) Time(work func(q kernels.Queue) error) (float64, error) {
	// The card works on the flush while the host submits what follows.
	if err := c.flush.Enqueue(c.s); err != nil {
		return 0, err
	}
	if err := c.s.Record(c.start); err != nil {
		return 0, err
	}
	if err := work(c.s); err != nil {
		return 0, err
	}
	if err := c.s.Record(c.end); err != nil {
		return 0, err
	}
	return c.end.Elapsed(c.start)
}

func (c *gpuCard) Record(work func(q kernels.Queue) error) (func(kernels.Queue) error, func() error, error) {
	g, err := c.s.Capture(work)
	if err != nil {
		return nil, nil, err
	}
	return func(kernels.Queue) error { return g.Launch(c.s) }, g.Close, nil
}
