package cuda

import (
	"errors"

	"f2pad.example/cgo/gpu"
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

// join lets what comes in the job's stream wait for all that is in the others, also when the job has failed: what they work on is
// given back in its own.
func (j *job) join(all []*gpu.Stream) {
	for i, s := range all[1:] {
		err := s.Record(j.ends[i])
		if err == nil {
			err = j.Wait(j.ends[i])
		}
		if err != nil {
			j.fail(errors.Join(err, s.Sync()))
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
