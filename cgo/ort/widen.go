//go:build cgo

package ort

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
)

// widen makes sessions for all cores, once. How many threads share a product decides, for some shapes, where ONNX Runtime
// cuts its sums; whether it does for these is tried out: a session on several threads is kept if it gives the very bits
// that the one on one thread gives. Half as many threads get a try before none.
func (n *net) widen(ctx context.Context, cores int) error {
	if n.widened {
		return nil
	}
	sl, err := n.slot() // the net's own hold what Backward reads
	if err != nil {
		return err
	}
	for _, s := range n.steps {
		if s.host == nil && s.wide == nil && err == nil {
			err = n.widenStep(ctx, s, sl, cores)
		}
	}
	if err = errors.Join(err, sl.close()); err != nil {
		return err
	}
	n.widened = true
	for _, s := range n.steps {
		s.part = nil
	}
	return nil
}

func (n *net) widenStep(ctx context.Context, s *step, sl *slot, cores int) error {
	sl.fill(s)
	if err := sl.run(s, s.session); err != nil {
		return err
	}
	want, telling := sl.bits(s)
	for threads := cores; telling && threads > 1; threads /= 2 {
		if err := ctx.Err(); err != nil {
			return err
		}
		session, err := n.ex.session(s, threads)
		if err != nil {
			return err
		}
		if err := sl.run(s, session); err != nil {
			return errors.Join(err, session.close())
		}
		if got, _ := sl.bits(s); slices.Equal(got, want) {
			s.wide = session
			return nil
		}
		if err := session.close(); err != nil {
			return err
		}
	}
	return nil
}

// fill gives a step's inputs values that are all different and that any operator takes: Log and Sqrt want positive ones.
func (sl *slot) fill(s *step) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range s.in {
		for i := range sl.data[p.at] {
			sl.data[p.at][i] = 0.5 + rng.Float32()
		}
	}
}

// bits are those of a step's outputs. They tell nothing where one is not a number: what went into it does not show.
func (sl *slot) bits(s *step) (bits []uint32, telling bool) {
	telling = true
	for _, p := range s.out {
		for _, v := range sl.data[p.at] {
			bits = append(bits, math.Float32bits(v))
			telling = telling && v-v == 0
		}
	}
	return bits, telling
}
