//go:build !cuda || !cgo

package gpu

import (
	"f2pad.example/engine/device"
	"f2pad.example/kernels"
)

// Devices returns ErrNotBuilt.
func Devices() ([]Info, error) { return nil, ErrNotBuilt }

// Open returns ErrNotBuilt.
func Open(ordinal int, o Options) (*Device, error) { return nil, ErrNotBuilt }

// Device is an open GPU: there is none in a program without CUDA.
type Device struct{}

var (
	_ kernels.Machine = (*Device)(nil)
	_ Work            = (*Stream)(nil)
)

func (d *Device) Alloc(bytes int) (kernels.Ptr, error)    { return 0, ErrNotBuilt }
func (d *Device) AllocPinned(bytes int) ([]byte, error)   { return nil, ErrNotBuilt }
func (d *Device) Close() error                            { return ErrNotBuilt }
func (d *Device) Counters() device.Counters               { return device.Counters{} }
func (d *Device) Free(p kernels.Ptr) error                { return ErrNotBuilt }
func (d *Device) FreePinned(b []byte) error               { return ErrNotBuilt }
func (d *Device) Info() (Info, error)                     { return Info{}, ErrNotBuilt }
func (d *Device) Kernels() ([]KernelInfo, error)          { return nil, ErrNotBuilt }
func (d *Device) Launch(l kernels.Launch) error           { return ErrNotBuilt }
func (d *Device) NewEvent() (*Event, error)               { return nil, ErrNotBuilt }
func (d *Device) NewStream() (*Stream, error)             { return nil, ErrNotBuilt }
func (d *Device) Read(dst []byte, src kernels.Ptr) error  { return ErrNotBuilt }
func (d *Device) Stats() Stats                            { return Stats{} }
func (d *Device) Stream() *Stream                         { return nil }
func (d *Device) Trim() error                             { return ErrNotBuilt }
func (d *Device) Write(dst kernels.Ptr, src []byte) error { return ErrNotBuilt }

// Stream does work in order.
type Stream struct{}

func (s *Stream) Alloc(bytes int) (kernels.Ptr, error)                  { return 0, ErrNotBuilt }
func (s *Stream) Capture(f func(q kernels.Queue) error) (*Graph, error) { return nil, ErrNotBuilt }
func (s *Stream) Close() error                                          { return ErrNotBuilt }
func (s *Stream) Copy(dst, src kernels.Ptr, bytes int) error            { return ErrNotBuilt }
func (s *Stream) Download(dst []byte, src kernels.Ptr) error            { return ErrNotBuilt }
func (s *Stream) DownloadAsync(dst []byte, src kernels.Ptr) error       { return ErrNotBuilt }
func (s *Stream) Fetch(src kernels.Ptr, dst ...[]byte) error            { return ErrNotBuilt }
func (s *Stream) Fill(p kernels.Ptr, bytes int, value byte) error       { return ErrNotBuilt }
func (s *Stream) Launch(l kernels.Launch) error                         { return ErrNotBuilt }
func (s *Stream) Record(e *Event) error                                 { return ErrNotBuilt }
func (s *Stream) Sync() error                                           { return ErrNotBuilt }
func (s *Stream) Upload(dst kernels.Ptr, src ...[]byte) error           { return ErrNotBuilt }
func (s *Stream) UploadAsync(dst kernels.Ptr, src []byte) error         { return ErrNotBuilt }
func (s *Stream) Wait(e *Event) error                                   { return ErrNotBuilt }

// Event is a point in a stream.
type Event struct{}

func (e *Event) Close() error                          { return ErrNotBuilt }
func (e *Event) Elapsed(since *Event) (float64, error) { return 0, ErrNotBuilt }

// Graph is recorded work.
type Graph struct{}

func (g *Graph) Close() error           { return ErrNotBuilt }
func (g *Graph) Launch(s *Stream) error { return ErrNotBuilt }
