package cuda

import (
	"errors"

	"f2pad.example/cgo/gpu"
	"f2pad.example/kernels"
)

// lane is the stream of one call at a time, with others for what of its work can run side by side.
type lane struct {
	*gpu.Stream
	sides []*gpu.Stream // made when they are needed first
	ends  []*gpu.Event  // of the work in them, and
	begin *gpu.Event    // what it waits for
}

// widest is how many streams a call has: as many as a GPU has queues for, if nobody asks it for more (CUDA_DEVICE_MAX_CONNECTIONS).
const widest = 8

// fork returns so many streams, widest at most: the job's own, and others, whose work to come waits for what its own has so far. join
// follows.
func (j *job) fork(n int) []*gpu.Stream {
	j.flush()
	l, all := j.lane, []*gpu.Stream{j.Stream}
	n = min(n, widest) - 1
	if j.err == nil && n > 0 {
		j.err = l.widen(j.d.gpu, n)
	}
	if j.err != nil || n < 1 {
		return all
	}
	j.err = l.Record(l.begin)
	for _, s := range l.sides[:n] {
		if j.err == nil {
			j.err = s.Wait(l.begin)
		}
	}
	return append(all, l.sides[:n]...)
}

// join lets what comes in the job's stream wait for all that is in the others.
func (j *job) join(all []*gpu.Stream) {
	for i, s := range all[1:] {
		if j.err == nil {
			j.err = s.Record(j.ends[i])
		}
		if j.err == nil {
			j.err = j.Wait(j.ends[i])
		}
	}
}

// widen makes what is missing of n streams more.
func (l *lane) widen(d *gpu.Device, n int) error {
	var err error
	if l.begin == nil {
		if l.begin, err = d.NewEvent(); err != nil {
			return err
		}
	}
	for len(l.sides) < n {
		s, err := d.NewStream()
		if err != nil {
			return err
		}
		e, err := d.NewEvent()
		if err != nil {
			return errors.Join(err, s.Close())
		}
		l.sides, l.ends = append(l.sides, s), append(l.ends, e)
	}
	return nil
}

// settle waits for the call's work; where it failed, join may not have come to be.
func (l *lane) settle(failed bool) error {
	err := l.Sync()
	if failed {
		for _, s := range l.sides {
			err = errors.Join(err, s.Sync())
		}
	}
	return err
}

// pack is tables that cross the bus together.
type pack struct {
	room kernels.Ptr
	host []byte // what there is of them
	sent int    // bytes of it
}

// packBytes is what is uploaded at once: a part of the pinned memory that copies pass through.
const packBytes = 1 << 20

// pack lets what put copies from now on wait for the next launch.
func (j *job) pack() { j.tables = &pack{} }

// put takes a table of n bytes.
func (p *pack) put(j *job, parts [][]byte, n int) kernels.Ptr {
	const line = 256 // as allocations are aligned
	if p.host == nil || len(p.host)+n > packBytes {
		j.flush()
		p.room, p.host, p.sent = j.room(packBytes, 1), make([]byte, 0, packBytes), 0
	}
	at := len(p.host)
	for _, part := range parts {
		p.host = append(p.host, part...)
	}
	p.host = p.host[:min((len(p.host)+line-1)/line*line, packBytes)]
	return p.room + kernels.Ptr(at)
}

// flush uploads the tables that have not been.
func (j *job) flush() {
	if p := j.tables; p != nil && p.sent < len(p.host) {
		j.write(p.room+kernels.Ptr(p.sent), p.host[p.sent:])
		p.sent = len(p.host)
	}
}
