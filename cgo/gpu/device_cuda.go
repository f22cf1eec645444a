//go:build cuda && cgo

package gpu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"f2pad.example/cgo/driver"
	"f2pad.example/engine/device"
	"f2pad.example/kernels"

	"gorgonia.org/cu"
)

// Devices lists the GPUs, those included that Open refuses. With none it returns an error that says why.
func Devices() ([]Info, error) {
	n, err := cu.NumDevices()
	if err := said("cuDeviceGetCount", err); err != nil || n == 0 {
		return nil, none(err)
	}
	all := make([]Info, n)
	for i := range all {
		if all[i], err = info(i); err != nil {
			return nil, fmt.Errorf("gpu: device %d: %w", i, err)
		}
	}
	return all, nil
}

func none(err error) error {
	reason := driver.Status().Reason
	if reason == "" {
		reason = "the driver finds none"
	}
	if err != nil {
		return fmt.Errorf("gpu: no CUDA device: %s: %w", reason, err)
	}
	return fmt.Errorf("gpu: no CUDA device: %s", reason)
}

// Attributes that cu has no names for.
const (
	sharedPerSM    cu.DeviceAttribute = 81
	sharedPerOptIn cu.DeviceAttribute = 97
)

// info fills all but MemoryFree, which only a context knows.
func info(ordinal int) (Info, error) {
	i := Info{Ordinal: ordinal, Driver: cu.Version()}
	d, err := cu.GetDevice(ordinal)
	if err != nil {
		return i, said("cuDeviceGet", err)
	}
	if i.Name, err = d.Name(); err != nil {
		return i, said("cuDeviceGetName", err)
	}
	id, err := d.UUID()
	if err != nil {
		return i, said("cuDeviceGetUuid", err)
	}
	i.UUID = "GPU-" + id.String()
	if i.MemoryTotal, err = d.TotalMem(); err != nil {
		return i, said("cuDeviceTotalMem", err)
	}
	l2 := 0
	for _, a := range []struct {
		what cu.DeviceAttribute
		to   *int
	}{
		{cu.ComputeCapabilityMajor, &i.Major}, {cu.ComputeCapabilityMinor, &i.Minor}, {cu.MultiprocessorCount, &i.SMs},
		{cu.L2CacheSize, &l2}, {sharedPerSM, &i.SharedPerSM}, {cu.MaxSharedMemoryPerBlock, &i.SharedDefault},
		{sharedPerOptIn, &i.SharedMax},
	} {
		if *a.to, err = d.Attribute(a.what); err != nil {
			return i, said("cuDeviceGetAttribute", err)
		}
	}
	i.L2 = int64(l2)
	return i, nil
}

// active is CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE: drivers before CUDA 11 do not change a context that is in use.
const active = 708

// Device is an open GPU. As a kernels.Machine it works on a stream of its own.
type Device struct {
	dev     cu.Device
	ctx     cu.CUContext
	info    Info
	pool    pool
	cache   cubins
	staging [2]chan *staging // small and large
	stream  *Stream
	ptx     func(module string) ([]byte, error)

	handle
	lost    atomic.Pointer[error]
	counted counters
	watch   func(Given) // never nil

	loading sync.Mutex // one module at a time
	modules sync.Map   // module name: *module

	mu       sync.Mutex
	streams  []*Stream
	made     int                  // of streams, so far
	owned    map[any]func() error // graphs and events, and how they are destroyed
	pinned   map[*byte][]byte     // of AllocPinned
	staged   int64                // bytes of staging memory
	compiled int
	loaded   int
}

var _ kernels.Machine = (*Device)(nil)

// Open opens a GPU. It refuses those of compute capability less than MinMajor.
func Open(ordinal int, o Options) (*Device, error) {
	n, err := cu.NumDevices()
	if err := said("cuDeviceGetCount", err); err != nil || n == 0 {
		return nil, none(err)
	}
	if ordinal < 0 || ordinal >= n {
		return nil, fmt.Errorf("gpu: no device %d: there are %d, counted from 0", ordinal, n)
	}
	d := &Device{ptx: kernels.PTX, owned: map[any]func() error{}, pinned: map[*byte][]byte{}, watch: o.Watch}
	if d.watch == nil {
		d.watch = func(Given) {}
	}
	if d.info, err = info(ordinal); err != nil {
		return nil, fmt.Errorf("gpu: device %d: %w", ordinal, err)
	}
	if d.info.Major < MinMajor {
		return nil, fmt.Errorf("gpu: device %d (%s) has compute capability %d.%d, the kernels need %d.0 or later",
			ordinal, d.info.Name, d.info.Major, d.info.Minor, MinMajor)
	}
	if !o.NoCache {
		if d.cache.dir = o.Cache; d.cache.dir == "" {
			if user, err := os.UserCacheDir(); err == nil { // without one there is no cache
				d.cache.dir = filepath.Join(user, "f2pad", "cubin")
			}
		}
	}
	if d.dev, err = cu.GetDevice(ordinal); err != nil {
		return nil, wrap("open", said("cuDeviceGet", err))
	}
	// Waiting is left to the kernel, not done in a loop: the network needs the cores. Who has the context already keeps their way.
	if e := (*Error)(nil); errors.As(said("cuDevicePrimaryCtxSetFlags", d.dev.SetPrimaryCtxFlags(cu.SchedBlockingSync)), &e) && e.Code != active {
		return nil, fmt.Errorf("gpu: device %d (%s): %w", ordinal, d.info.Name, e)
	}
	if d.ctx, err = d.dev.RetainPrimaryCtx(); err != nil {
		return nil, fmt.Errorf("gpu: device %d (%s): %w", ordinal, d.info.Name, said("cuDevicePrimaryCtxRetain", err))
	}
	if err := d.start(o); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Device) start(o Options) error {
	free, err := d.freeMemory()
	if err != nil {
		return wrap("open", err)
	}
	d.pool = pool{ceiling: o.Memory, debug: o.Debug, memory: memory{d}, cached: map[int64][]*block{}}
	if o.Memory == 0 {
		d.pool.ceiling = free / 10 * 9
	}
	if d.pool.ceiling < 1 {
		return fmt.Errorf("gpu: device %d: a memory ceiling of %d bytes", d.info.Ordinal, d.pool.ceiling)
	}
	for i, c := range stagingSizes {
		d.staging[i] = make(chan *staging, c.count)
		for range c.count {
			d.staging[i] <- &staging{size: c.bytes}
		}
	}
	d.stream, err = d.NewStream()
	return err
}

func (d *Device) freeMemory() (free int64, err error) {
	err = d.do(func() error {
		free, _, err = cu.MemInfo()
		return said("cuMemGetInfo", err)
	})
	return free, err
}

// Info describes the device; MemoryFree is as of now.
func (d *Device) Info() (Info, error) {
	i := d.info
	var err error
	i.MemoryFree, err = d.freeMemory()
	return i, wrap("info", err)
}

// do runs f, which makes driver calls, with the device's context. Calls of do do not nest.
func (d *Device) do(f func() error) error {
	return d.use("device", func() error {
		if lost := d.lost.Load(); lost != nil {
			return *lost
		}
		return d.enter(f)
	})
}

func (d *Device) enter(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := said("cuCtxSetCurrent", cu.SetCurrentContext(d.ctx))
	if err == nil {
		err = f()
	}
	if err == nil {
		return nil
	}
	if e := (*Error)(nil); errors.As(err, &e) && e.sticky() {
		lost := fmt.Errorf("device %d (%s): %w: %w", d.info.Ordinal, d.info.Name, device.ErrLost, err)
		d.lost.CompareAndSwap(nil, &lost)
		return *d.lost.Load()
	}
	return err
}

// Close frees all that the device holds and ends what was opened on it. The error lists the buffers that were not freed;
// those of a lost device are gone anyway. Closing again does nothing.
func (d *Device) Close() error {
	if !d.end() {
		return nil
	}
	var err error
	if d.lost.Load() == nil {
		err = d.enter(d.release)
	}
	// With others in this process the context lives on, lost or not.
	if e := said("cuDevicePrimaryCtxRelease", d.dev.ReleasePrimaryCtx()); d.lost.Load() == nil {
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("gpu: closing device %d: %w", d.info.Ordinal, err)
	}
	return nil
}

// release runs when no call is under way any more, and none begins.
func (d *Device) release() error {
	var errs []error
	d.mu.Lock()
	owned, streams, pinned := d.owned, d.streams, d.pinned
	d.owned, d.streams, d.pinned = nil, nil, nil
	d.mu.Unlock()
	for _, s := range streams { // not the whole context, in which others may be busy
		errs = append(errs, said("cuStreamSynchronize", s.s.Synchronize()))
		s.forget()
	}
	for _, destroy := range owned {
		errs = append(errs, destroy())
	}
	for _, s := range streams {
		errs = append(errs, said("cuStreamDestroy", s.s.Destroy()))
	}
	d.modules.Range(func(_, m any) bool {
		errs = append(errs, said("cuModuleUnload", m.(*module).m.Unload()))
		return true
	})
	for _, ring := range d.staging {
		slots := make([]*staging, cap(ring))
		for i := range slots {
			slots[i] = <-ring // whoever holds it is about to give it back
			errs = append(errs, slots[i].release())
		}
		for _, s := range slots { // empty, for those who come too late
			ring <- s
		}
	}
	bytes := 0
	for _, b := range pinned {
		bytes += len(b)
		errs = append(errs, pinnedFree(b))
	}
	if bytes > 0 {
		errs = append(errs, fmt.Errorf("%d pinned host buffers (%s) were never freed", len(pinned), size(int64(bytes))))
	}
	return errors.Join(append(errs, d.pool.close(memory{}))...)
}

// Alloc returns memory that any stream may use, aligned to 256 bytes; what it holds is undefined. The error is
// device.ErrOutOfMemory when the ceiling or the device leaves no room. While the device's own stream is captured it is refused.
func (d *Device) Alloc(bytes int) (kernels.Ptr, error) {
	if err := d.stream.uncaptured("alloc"); err != nil {
		return 0, err
	}
	return d.alloc(bytes, nil)
}

func (d *Device) alloc(bytes int, owner clock) (kernels.Ptr, error) {
	if err := d.alive(); err != nil { // whatever the pool has in store
		return 0, wrap("alloc", err)
	}
	return d.pool.get(int64(bytes), owner)
}

// alive returns the error of a lost or closed device.
func (d *Device) alive() error { return d.do(func() error { return nil }) }

// within refuses what is not in a buffer of the device.
func (d *Device) within(p kernels.Ptr, bytes int) error {
	err := d.pool.check(p, bytes)
	if err != nil {
		if gone := d.alive(); gone != nil {
			return gone
		}
	}
	return err
}

// Free takes back what Alloc, the device's or a stream's, returned. Work that was submitted before may still use it: that of
// the stream, or, with the device's memory, of any.
func (d *Device) Free(p kernels.Ptr) error {
	err := d.pool.put(p)
	if lost := d.alive(); lost != nil {
		return wrap("free", lost)
	}
	return err
}

// Trim gives the driver back what the pool keeps for buffers to come, for others on the device. It waits for all streams.
func (d *Device) Trim() error {
	if err := d.alive(); err != nil {
		return wrap("trim", err)
	}
	d.pool.mu.Lock()
	defer d.pool.mu.Unlock()
	return wrap("trim", d.pool.trim())
}

// Stats is the state of now.
func (d *Device) Stats() Stats {
	d.pool.mu.Lock()
	s := Stats{Buffers: d.pool.used, InUse: d.pool.inUse, Cached: d.pool.kept, Peak: d.pool.peak, Ceiling: d.pool.ceiling}
	d.pool.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	s.Pinned, s.Compiled, s.Loaded = d.staged, d.compiled, d.loaded
	for _, b := range d.pinned {
		s.Pinned += int64(len(b))
	}
	return s
}

// Counters are what the streams were given to do, with the kernels of graphs each time these are launched; Busy is not measured here.
func (d *Device) Counters() device.Counters { return d.counted.read() }

// Launch implements kernels.Queue on the device's own stream.
func (d *Device) Launch(l kernels.Launch) error { return d.stream.Launch(l) }

// Write implements kernels.Machine. The bytes of src are the caller's again when it returns.
func (d *Device) Write(dst kernels.Ptr, src []byte) error { return d.stream.Upload(dst, src) }

// Read implements kernels.Machine. It waits.
func (d *Device) Read(dst []byte, src kernels.Ptr) error { return d.stream.Download(dst, src) }

// Stream is the device's own stream, on which it is a kernels.Machine.
func (d *Device) Stream() *Stream { return d.stream }

// all returns the streams of now.
func (d *Device) all() []*Stream {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.streams)
}

// memory is the driver's, for the pool; without a device the context is in place already.
type memory struct{ d *Device }

func (m memory) do(f func() error) error {
	if m.d == nil {
		return f()
	}
	return m.d.do(f)
}

func (m memory) alloc(bytes int64) (p kernels.Ptr, err error) {
	err = m.do(func() error {
		at, err := cu.MemAlloc(bytes)
		p = kernels.Ptr(at)
		return said("cuMemAlloc", err)
	})
	return p, err
}

func (m memory) free(p kernels.Ptr) error {
	return m.do(func() error { return said("cuMemFree", cu.MemFree(cu.DevicePtr(p))) })
}

func (m memory) now() (all []moment) {
	for _, s := range m.d.all() {
		all = append(all, s.now())
	}
	return all
}

func (m memory) wait() error {
	if m.d == nil {
		return nil
	}
	for _, s := range m.d.all() {
		if err := s.wait(); err != nil && !errors.Is(err, ErrClosed) { // what is closed is done
			return err
		}
	}
	return nil
}

func (m memory) fill(p kernels.Ptr, bytes int64, value byte) error {
	return m.do(func() error {
		s := m.d.stream.s
		if err := cu.MemsetD8Async(cu.DevicePtr(p), value, bytes, s); err != nil {
			return said("cuMemsetD8Async", err)
		}
		return said("cuStreamSynchronize", s.Synchronize())
	})
}

func (m memory) read(dst []byte, p kernels.Ptr) error {
	return m.do(func() error {
		return said("cuMemcpyDtoH", cu.MemcpyDtoH(unsafe.Pointer(unsafe.SliceData(dst)), cu.DevicePtr(p), int64(len(dst))))
	})
}
