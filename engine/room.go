package engine

import (
	"errors"
	"runtime"
	"sync"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/sight"
)

// decodeRoom is how many bytes images may take that are decoded and wait: 1 GiB, and a photograph's for each core.
func decodeRoom() int64 { return max(1<<30, int64(runtime.GOMAXPROCS(0))<<28) }

// errStopped ends what waits for room that nobody wants any more.
var errStopped = errors.New("engine: stopped")

// room is memory that is taken and given back by the byte. It is safe for concurrent use.
type room struct {
	mu          sync.Mutex
	total, free int64
	freed       chan struct{} // closed, and another put in its place, when some is given back
}

func newRoom(total int64) *room {
	return &room{total: total, free: total, freed: make(chan struct{})}
}

// take waits until n bytes are free, and returns what is to be given back. Who wants more than there is waits for all of it,
// and is alone then.
func (r *room) take(n int64, stop <-chan struct{}) (int64, error) {
	n = min(n, r.total)
	for {
		r.mu.Lock()
		if r.free >= n {
			r.free -= n
			r.mu.Unlock()
			return n, nil
		}
		freed := r.freed
		r.mu.Unlock()
		select {
		case <-freed:
		case <-stop:
			return 0, errStopped
		}
	}
}

func (r *room) give(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free += n
	close(r.freed)
	r.freed = make(chan struct{})
}

// reserving returns what asks reserve for the memory of an image and of its frame, before the image is decoded. A frame that
// cannot be made is an error then.
func reserving(reserve func(int64) error, size Size, multiple, least int) func(imageio.Need) error {
	return func(n imageio.Need) error {
		_, H, W, err := sight.LayFrame(n.Height, n.Width, size, multiple, least)
		if err != nil {
			return err
		}
		bytes := n.Bytes + 2*12*int64(H)*int64(W) // the frame, and its copy in a batch
		if err := reserve(bytes); err != nil {
			return err
		}
		if bytes > decodeRoom()/2 {
			runtime.GC() // or what images before it left would be kept beside it for long
		}
		return nil
	}
}
