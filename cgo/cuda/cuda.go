// Package cuda is an NVIDIA GPU as a place: there networks, methods, the whole optimisation, maps and what compares fills run on the
// kernels. docs/architecture.md says what stays on the device in an iteration.
//
//	cuda.go           Device; a job is one call's work on a stream
//	detector.go       images to scores: windows, features, the method; host_scoring.go for methods without a head
//	batch.go          images that are there, and their variants
//	loop.go           the optimisation of a batch, as one job
//	head*.go          methods where the features are
//	network*.go       graphs as launches on an arena; nets.go keeps those that wait
//	executor.go       networks for callers on the host, with net.go
//	fills.go          what searches and compares fills, with normal images that stay on the device (normals.go)
//	maps.go, coreset.go  the rest of place.Place; counters.go
package cuda

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"weak"

	"f2pad.example/cgo/driver"
	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/device"
	places "f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/kernels"
)

// Status says what GPUs there are.
type Status struct {
	Library string     `json:"library,omitempty"` // the driver's
	Driver  string     `json:"driver,omitempty"`  // version of CUDA that it supports
	Devices []gpu.Info `json:"devices"`
	Reason  string     `json:"reason,omitempty"` // why there are none
}

// Look asks the driver. It never fails: what is wrong is in Reason.
func Look() Status {
	all, err := gpu.Devices()
	d := driver.Status()
	s := Status{Library: d.Path, Driver: d.Version, Devices: all}
	if s.Devices == nil {
		s.Devices = []gpu.Info{} // in JSON, a list
	}
	if s.Reason = d.Reason; s.Reason == "" && err != nil {
		s.Reason = err.Error()
	}
	return s
}

// Usable are the GPUs that the kernels are made for.
func (s Status) Usable() []gpu.Info {
	return slices.DeleteFunc(slices.Clone(s.Devices), func(i gpu.Info) bool { return i.Major < gpu.MinMajor })
}

// Alike are those of the usable GPUs that are of one kind with the first: they give the same bytes.
func (s Status) Alike() []gpu.Info {
	all := s.Usable()
	return slices.DeleteFunc(all, func(i gpu.Info) bool {
		return i.Name != all[0].Name || i.Major != all[0].Major || i.Minor != all[0].Minor || i.SMs != all[0].SMs
	})
}

// Device is an open GPU. It is safe for concurrent use: calls from several goroutines run in streams beside each other.
type Device struct {
	gpu     *gpu.Device
	info    device.Info
	sms     int
	streams chan *lane // idle ones
	uuid    string
	ex      *Executor
	nets    nets
	normals normals
	timed   atomic.Bool  // the device's own time is measured
	busy    atomic.Int64 // ns of it
}

var _ places.Place = (*Device)(nil)

// streams bounds how many calls run beside each other.
const streams = 4

// Open opens GPU number ordinal, on which networks run in p. The error says what is missing; device.ErrLost and
// device.ErrOutOfMemory can be told.
func Open(ordinal int, p Precision) (*Device, error) { return OpenWith(ordinal, p, gpu.Options{}) }

// OpenWith is Open with options of the device beneath.
func OpenWith(ordinal int, p Precision, o gpu.Options) (*Device, error) {
	g, err := gpu.Open(ordinal, o)
	if err != nil {
		return nil, err
	}
	d := &Device{gpu: g, streams: make(chan *lane, streams)}
	for range streams {
		s, err := g.NewStream()
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		d.streams <- &lane{Stream: s}
	}
	i, err := g.Info()
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	d.sms, d.uuid = i.SMs, i.UUID
	d.ex = newExecutor(d, p)
	d.normals = normals{d: d, budget: int64(normalsShare * float64(g.Stats().Ceiling)), kept: map[weak.Pointer[refine.Normal]]*normal{}}
	d.info = device.Info{Device: fmt.Sprintf("cuda:%d", ordinal), Name: i.Name, Driver: driver.Status().Version}
	return d, nil
}

// Info implements place.Place.
func (d *Device) Info() device.Info { return d.info }

// Close frees all that is on the GPU. What engines did not free before is an error.
func (d *Device) Close() error {
	d.normals.close()
	return d.gpu.Close()
}

// job is one call's work on a stream. Its first error ends it: what is asked of it afterwards does nothing. What it
// allocates is freed when it ends.
type job struct {
	*lane
	d    *Device
	held []kernels.Ptr
	last []func() // see then
	err  error

	lasting bool  // what is allocated is for jobs in other streams, too
	tables  *pack // what put copies goes together; nil: by itself
}

// do runs one call's work, and waits for it.
func (d *Device) do(ctx context.Context, what string, f func(j *job)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := <-d.streams
	defer func() { d.streams <- s }()
	j := &job{lane: s, d: d}
	stop := d.timing(j)
	f(j)
	stop()
	if err := s.Sync(); j.err == nil {
		j.err = err
	}
	for _, p := range j.held {
		if err := d.gpu.Free(p); j.err == nil {
			j.err = err
		}
	}
	if j.err != nil {
		return fmt.Errorf("%s on %s: %w", what, d.info.Device, j.err)
	}
	for _, f := range j.last {
		f()
	}
	return nil
}

// then calls f when the job has ended well: what was collected is there.
func (j *job) then(f func()) { j.last = append(j.last, f) }

// fail ends the job, unless it has ended.
func (j *job) fail(err error) {
	if j.err == nil {
		j.err = err
	}
}

// room allocates memory for so many values of size bytes each.
func (j *job) room(values, size int) kernels.Ptr {
	if j.err != nil {
		return 0
	}
	alloc := j.Alloc
	if j.lasting {
		alloc = j.d.gpu.Alloc
	}
	var p kernels.Ptr
	err := j.d.withRoom(func() (err error) { p, err = alloc(max(values, 1) * size); return err })
	if err != nil {
		j.err = err
		return 0
	}
	j.held = append(j.held, p)
	return p
}

// floats allocates memory for float32, or other values of 4 bytes.
func (j *job) floats(n int) kernels.Ptr { return j.room(n, 4) }

// free gives memory back before the job ends: to what comes later in its stream.
func (j *job) free(p kernels.Ptr) {
	if p == 0 {
		return
	}
	if err := j.d.gpu.Free(j.keep(p)); j.err == nil {
		j.err = err
	}
}

// keep leaves what room allocated to the caller, who frees it.
func (j *job) keep(p kernels.Ptr) kernels.Ptr {
	for i, h := range j.held {
		if h == p {
			j.held = append(j.held[:i], j.held[i+1:]...)
			break
		}
	}
	return p
}

type value interface {
	float32 | float64 | int32 | uint32 | uint16 | uint8
}

// put copies values, one part behind the other, to memory of their own.
func put[T value](j *job, parts ...[]T) kernels.Ptr {
	all, n := bytesOf(parts)
	if j.tables != nil && n <= packBytes/4 && !j.lasting {
		return j.tables.put(j, all, n)
	}
	p := j.room(n, 1)
	j.write(p, all...)
	return p
}

func bytesOf[T value](parts [][]T) (all [][]byte, n int) {
	for _, v := range parts {
		b := kernels.Bytes(v)
		all, n = append(all, b), n+len(b)
	}
	return all, n
}

func (j *job) write(p kernels.Ptr, parts ...[]byte) {
	if j.err == nil {
		j.err = j.Upload(p, parts...)
	}
}

// get copies values back, and waits.
func get[T value](j *job, v []T, p kernels.Ptr) {
	if j.err == nil {
		j.err = j.Download(kernels.Bytes(v), p)
	}
}

// collect copies values back, to one part behind the other: they are there when the job ends, or its stream is waited for.
func collect[T value](j *job, p kernels.Ptr, parts ...[]T) {
	if j.err == nil {
		all, _ := bytesOf(parts)
		j.err = j.Fetch(p, all...)
	}
}

// fill sets bytes to value, and zero clears them.
func (j *job) fill(p kernels.Ptr, bytes int, value byte) {
	if j.err == nil {
		j.err = j.Fill(p, bytes, value)
	}
}
func (j *job) zero(p kernels.Ptr, bytes int) { j.fill(p, bytes, 0) }

// run enqueues a kernel.
func (j *job) run(enqueue func(kernels.Queue) error) {
	j.flush()
	if j.err == nil {
		j.err = enqueue(j.Stream)
	}
}
