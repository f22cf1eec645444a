//go:build cuda && cgo

package gpu

import (
	"errors"
	"sync"

	"f2pad.example/kernels"

	"gorgonia.org/cu"
)

// Graph is recorded work, which the driver launches as one: for short kernels that costs a fraction of launching each. The
// addresses in it are those of the recording: its memory lives as long as the graph is used.
type Graph struct {
	d        *Device
	x        execGraph
	launches int64 // of kernels
	given    []Given
	handle
}

// recorder keeps work for a graph. The driver captures it afterwards, on a stream that nobody else knows, so that modules
// may be loaded and memory allocated meanwhile.
type recorder struct {
	d    *Device
	mu   sync.Mutex
	work []func(cu.Stream) error
	over bool

	launches int64 // among work
	given    []Given
}

var _ Work = (*recorder)(nil)

// Capture makes a graph of what f gives to q, which is also a Work; none of it runs. While f runs, the stream itself refuses
// to do anything: what it did would not be in the graph.
func (s *Stream) Capture(f func(q kernels.Queue) error) (*Graph, error) {
	if !s.capturing.CompareAndSwap(false, true) {
		return nil, s.uncaptured("capture")
	}
	r := &recorder{d: s.d}
	err := func() error {
		defer s.capturing.Store(false)
		defer r.end()
		return f(r)
	}()
	if err != nil {
		return nil, err
	}
	g := &Graph{d: s.d, launches: r.launches, given: r.given}
	err = s.use("stream", func() error {
		return s.d.do(func() error {
			hidden, err := cu.MakeStream(cu.NonBlocking)
			if err != nil {
				return said("cuStreamCreate", err)
			}
			g.x, err = capture(hidden, func() error {
				for _, w := range r.work {
					if err := w(hidden); err != nil {
						return err
					}
				}
				return nil
			})
			err = errors.Join(err, said("cuStreamDestroy", hidden.Destroy()))
			if g.x.g != nil {
				s.d.own(g, g.x.destroy) // if something else failed, until the device is closed
			}
			return err
		})
	})
	if err != nil {
		return nil, wrap("capture", err)
	}
	return g, nil
}

// Launch runs the graph in the stream's order. A graph does not run beside itself.
func (g *Graph) Launch(s *Stream) error {
	if g.d != s.d {
		return errors.New("gpu: launch of a graph of another device")
	}
	return g.use("graph", func() error {
		s.d.counted.launches.Add(g.launches)
		for _, w := range g.given {
			w.Stream = s.number
			s.d.watch(w)
		}
		s.d.watch(Given{What: Graphed, Stream: s.number})
		return s.run("launch of a graph", g.x.launch)
	})
}

// Close frees the graph; what was launched goes on.
func (g *Graph) Close() error {
	if !g.end() {
		return nil
	}
	return g.d.disown(g)
}

func (r *recorder) add(work func(cu.Stream) error, g Given, err error) error {
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return errors.New("gpu: the capture that this queue belongs to is over")
	}
	if r.work, r.given = append(r.work, work), append(r.given, g); g.What == Replayed {
		r.launches++
	}
	return nil
}

func (r *recorder) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
}

func (r *recorder) Launch(l kernels.Launch) error {
	work, err := r.d.launch(l)
	return r.add(work, Given{What: Replayed, Launch: l}, err)
}

func (r *recorder) Copy(dst, src kernels.Ptr, bytes int) error {
	work, err := r.d.copy(dst, src, bytes)
	if err == nil && bytes == 0 {
		return nil
	}
	return r.add(work, Given{What: Copied, Bytes: bytes}, err)
}

func (r *recorder) Fill(p kernels.Ptr, bytes int, value byte) error {
	work, err := r.d.fill(p, bytes, value)
	if err == nil && bytes == 0 {
		return nil
	}
	return r.add(work, Given{What: Filled, Bytes: bytes}, err)
}
