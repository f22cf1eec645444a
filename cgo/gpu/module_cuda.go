//go:build cuda && cgo

package gpu

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"unsafe"

	"f2pad.example/kernels"

	"gorgonia.org/cu"
)

// module is a compiled .cu file.
type module struct {
	m         cu.Module
	functions map[string]*function
}

// function is a kernel.
type function struct {
	entry
	fn     cu.Function
	static int          // bytes of shared memory besides the dynamic
	shared atomic.Int64 // dynamic, that it is allowed
	carved atomic.Int64 // dynamic, that carve was last called for
}

// module returns a module, which it loads first if need be.
func (d *Device) module(name string) (*module, error) {
	if m, ok := d.modules.Load(name); ok {
		return m.(*module), nil
	}
	d.loading.Lock()
	defer d.loading.Unlock()
	if m, ok := d.modules.Load(name); ok {
		return m.(*module), nil
	}
	ptx, err := d.ptx(name)
	if err != nil {
		return nil, fmt.Errorf("gpu: %w", err)
	}
	declared, err := entries(ptx)
	if err != nil {
		return nil, fmt.Errorf("gpu: module %s: %w", name, err)
	}
	m := &module{functions: map[string]*function{}}
	err = d.do(func() error {
		if err := d.load(m, ptx); err != nil {
			return err
		}
		for kernel, e := range declared {
			fn, err := m.m.Function(kernel)
			if err != nil {
				return errors.Join(said("cuModuleGetFunction "+kernel, err), said("cuModuleUnload", m.m.Unload()))
			}
			static, err := fn.Attribute(cu.SharedSizeBytes)
			if err != nil {
				return errors.Join(said("cuFuncGetAttribute", err), said("cuModuleUnload", m.m.Unload()))
			}
			f := &function{entry: e, fn: fn, static: static}
			f.shared.Store(int64(d.info.SharedDefault - static))
			m.functions[kernel] = f
		}
		d.modules.Store(name, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("gpu: module %s: %w", name, err)
	}
	return m, nil
}

// load takes the compiled module from the cache, or compiles it. Whatever the driver says of a cached file, the PTX decides.
func (d *Device) load(m *module, ptx []byte) error {
	path := d.cache.path(ptx, d.info.Driver, d.info.Major, d.info.Minor)
	if image := d.cache.load(path); image != nil {
		var err error
		if m.m, err = cu.LoadData(string(image)); err == nil {
			d.count(&d.loaded)
			return nil
		}
	}
	image, err := compilePTX(ptx)
	if err != nil {
		return err
	}
	if m.m, err = cu.LoadData(string(image)); err != nil {
		return said("cuModuleLoadData", err)
	}
	d.count(&d.compiled)
	_ = d.cache.store(path, image) // next time it is compiled again
	return nil
}

func (d *Device) count(n *int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*n++
}

// Kernels loads all modules, which compiles those that are not in the cache, and lists their kernels.
func (d *Device) Kernels() ([]KernelInfo, error) {
	var all []KernelInfo
	for _, name := range kernels.Modules() {
		m, err := d.module(name)
		if err != nil {
			return nil, err
		}
		for _, kernel := range slices.Sorted(maps.Keys(m.functions)) {
			f := m.functions[kernel]
			k := KernelInfo{Module: name, Kernel: kernel, Shared: f.static}
			err := d.do(func() (err error) {
				for _, a := range []struct {
					what cu.FunctionAttribute
					to   *int
				}{{cu.NumRegs, &k.Registers}, {cu.LocalSizeBytes, &k.Local}, {cu.FnMaxThreadsPerBlock, &k.MaxThreads}} {
					if *a.to, err = f.fn.Attribute(a.what); err != nil {
						return said("cuFuncGetAttribute", err)
					}
				}
				k.Blocks, err = f.fn.MaxActiveBlocksPerMultiProcessor(k.MaxThreads, 0)
				return said("cuOccupancyMaxActiveBlocksPerMultiprocessor", err)
			})
			if err != nil {
				return nil, fmt.Errorf("gpu: kernel %s: %w", kernel, err)
			}
			all = append(all, k)
		}
	}
	return all, nil
}

// maxGrid is what every GPU since 3.0 allows.
var maxGrid = [3]int{1<<31 - 1, 65535, 65535}

// launch checks a launch and returns the call that submits it. The arguments are copied.
func (d *Device) launch(l kernels.Launch) (func(cu.Stream) error, error) {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("gpu: launch of %s: %s", l.Kernel, fmt.Sprintf(format, args...))
	}
	m, err := d.module(l.Module)
	if err != nil {
		return nil, err
	}
	f := m.functions[l.Kernel]
	if f == nil {
		return nil, refuse("module %s has no such kernel", l.Module)
	}
	most := 1024
	if f.maxThreads > 0 {
		most = f.maxThreads
	}
	if l.Block < 32 || l.Block > most || l.Block%32 != 0 {
		return nil, refuse("blocks of %d threads, want a multiple of 32 up to %d", l.Block, most)
	}
	g := l.Grid
	for i := range g {
		g[i] = max(g[i], 1)
		if l.Grid[i] < 0 || g[i] > maxGrid[i] {
			return nil, refuse("a grid of %v blocks, want at most %v", l.Grid, maxGrid)
		}
	}
	if most := d.info.SharedMax - f.static; l.Shared < 0 || l.Shared > most {
		return nil, refuse("%d bytes of shared memory, the device gives %d", l.Shared, most)
	}
	if len(l.Args) != f.params {
		return nil, refuse("%d parameters, the PTX declares %d", len(l.Args), f.params)
	}
	cells := slices.Clone(l.Args)
	params := make([]unsafe.Pointer, len(cells)) // each is read as 8 bytes
	for i := range cells {
		params[i] = unsafe.Pointer(&cells[i])
	}
	return func(s cu.Stream) error {
		if int64(l.Shared) > f.shared.Load() { // once, for all that there is
			most := d.info.SharedMax - f.static
			if err := allowShared(f.fn, most); err != nil {
				return err
			}
			f.shared.Store(int64(most))
		}
		if int64(l.Shared) > f.carved.Load() {
			if err := d.carve(f, l.Block, l.Shared); err != nil {
				return err
			}
			f.carved.Store(int64(l.Shared))
		}
		return said("cuLaunchKernel", f.fn.Launch(g[0], g[1], g[2], l.Block, 1, 1, l.Shared, s, params))
	}, nil
}

// carve asks for shared memory for as many blocks as a multiprocessor can otherwise hold: left to itself the driver may divide its
// memory so that fewer fit. It is a hint.
func (d *Device) carve(f *function, block, shared int) error {
	blocks, err := f.fn.MaxActiveBlocksPerMultiProcessor(block, int64(shared))
	if err != nil {
		return said("cuOccupancyMaxActiveBlocksPerMultiprocessor", err)
	}
	const reserved = 1 << 10 // bytes that CUDA takes for each block
	need := blocks * (f.static + shared + reserved)
	return preferShared(f.fn, min(100, (100*need+d.info.SharedPerSM-1)/d.info.SharedPerSM))
}
