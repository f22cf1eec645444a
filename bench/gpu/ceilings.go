package main

import (
	"fmt"
	"math"

	"f2pad.example/kernels"
	"f2pad.example/kernels/kerneltest"
)

// probe is a way to drive one unit of a card as hard as it goes.
type probe struct {
	unit string
	kerneltest.Bench
}

// probes returns what to measure a card's ceilings with: copies of so many bytes, several times what its caches hold, and
// so many blocks and rounds of arithmetic. Those of memory may use it a little differently than a kernel does: the highest
// of copying and reading is the ceiling. mma.sync, which the tensor cores are driven with here, is not the fastest way to
// use those of every card: where the peer's matrix product is faster, that is the ceiling.
func probes(c card, bytes, blocks, rounds int) []probe {
	n := bytes / 4 / kernels.CeilingReadBlock * kernels.CeilingReadBlock
	stream := func(name string, results int, work func(in, out kernels.Ptr) (func(q kernels.Queue) error, kernels.Cost)) probe {
		setup := func(b *kerneltest.Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			in, err := b.Normal(n, 0, 1)
			if err != nil {
				return nil, kernels.Cost{}, err
			}
			out, err := b.Alloc(results)
			w, cost := work(in, out)
			return w, cost, err
		}
		return probe{memory, kerneltest.Bench{Kernel: name, Setup: setup}}
	}
	products := func(unit string) probe {
		name, peer := "mma.sync "+unit, "matmul_"+unit
		return probe{unit, kerneltest.Bench{Kernel: name, Peer: peer, Params: map[string]int{"n": matmul},
			Setup: func(b *kerneltest.Bed) (work func(kernels.Queue) error, cost kernels.Cost, err error) {
				// Two bfloat16 a word, or one tf32: the upper bits of a float32 are either. Or two float16.
				word := func() uint32 { return bits(b) &^ (1<<13 - 1) }
				switch half := func() uint32 { return uint32(kernels.Float16(math.Float32frombits(bits(b)))) }; unit {
				case bf16:
					word = func() uint32 { return bits(b)&^(1<<16-1) | bits(b)>>16 }
				case f16:
					word = func() uint32 { return half() | half()<<16 }
				}
				t := kernels.CeilingTensor{Blocks: blocks, Rounds: rounds, Precision: unit}
				for _, m := range []struct {
					rows int
					to   *kernels.Ptr
				}{{64, &t.A}, {32, &t.B}} {
					v := make([]uint32, 8*m.rows)
					for i := range v {
						v[i] = word()
					}
					if *m.to, err = kerneltest.Put(b, v); err != nil {
						return nil, cost, err
					}
				}
				if t.Out, err = b.Alloc(blocks * 8 * 64 * 32); err != nil {
					return nil, cost, err
				}
				return t.Enqueue, t.Cost(), nil
			}}}
	}
	return []probe{
		stream("cuMemcpy", n, func(in, out kernels.Ptr) (func(kernels.Queue) error, kernels.Cost) {
			return func(kernels.Queue) error { return c.Copy(out, in, 4*n) }, kernels.Cost{Bytes: 8 * int64(n)}
		}),
		stream("copy", n, func(in, out kernels.Ptr) (func(kernels.Queue) error, kernels.Cost) {
			k := kernels.CeilingCopy{N: n, In: in, Out: out}
			return k.Enqueue, k.Cost()
		}),
		stream("read", n/kernels.CeilingReadBlock, func(in, out kernels.Ptr) (func(kernels.Queue) error, kernels.Cost) {
			k := kernels.CeilingRead{N: n, In: in, Out: out}
			return k.Enqueue, k.Cost()
		}),
		{fp32, kerneltest.Bench{Kernel: "fma", Setup: func(b *kerneltest.Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			// x becomes B-x and x again: the values stay as random as they were.
			k := kernels.CeilingFMA{Blocks: 4 * blocks, Rounds: 2 * rounds, A: -1, B: 1.7}
			var err error
			if k.In, err = b.Normal(256*k.Blocks, 0, 1); err != nil {
				return nil, kernels.Cost{}, err
			}
			k.Out, err = b.Alloc(256 * k.Blocks)
			return k.Enqueue, k.Cost(), err
		}}},
		products(bf16),
		products(f16),
		products(tf32),
		bus(c, up, bytes/4, func(p kernels.Ptr, host [2][]byte, _ kernels.Ptr) error { return c.Up(p, host[0]) }),
		bus(c, down, bytes/4, func(_ kernels.Ptr, host [2][]byte, q kernels.Ptr) error { return c.Down(host[1], q) }),
		bus(c, both, bytes/4, func(p kernels.Ptr, host [2][]byte, q kernels.Ptr) error { return c.Both(p, host[0], host[1], q) }),
	}
}

// bus is a probe of copies of so many bytes, from pinned memory to p, or from q to pinned memory, or both.
func bus(c card, unit string, bytes int, copies func(p kernels.Ptr, host [2][]byte, q kernels.Ptr) error) probe {
	return probe{unit, kerneltest.Bench{Kernel: "pinned memory", Setup: func(b *kerneltest.Bed) (func(kernels.Queue) error, kernels.Cost, error) {
		var host [2][]byte
		for i := range host {
			h, err := c.AllocPinned(bytes)
			if err != nil {
				return nil, kernels.Cost{}, err
			}
			b.Cleanup(func() error { return c.FreePinned(h) })
			for at := range min(bytes, 251) {
				h[at] = byte(at)
			}
			for at := 251; at < bytes; at *= 2 {
				copy(h[at:], h[:at])
			}
			host[i] = h
		}
		var p kernels.Ptr
		if unit != down { // what is not written is taken for a failure
			var err error
			if p, err = b.Alloc(bytes / 4); err != nil {
				return nil, kernels.Cost{}, err
			}
		}
		q, err := b.Normal(bytes/4, 0, 1)
		// What arrived is looked at in the last bytes.
		b.Check = func() error {
			const look = 1 << 10
			for _, at := range []struct {
				device kernels.Ptr
				host   []byte
				moved  bool
			}{{p, host[0], unit != down}, {q, host[1], unit != up}} {
				if !at.moved {
					continue
				}
				got := make([]byte, look)
				if err := c.Read(got, at.device+kernels.Ptr(bytes-look)); err != nil {
					return err
				}
				if string(got) != string(at.host[bytes-look:]) {
					return fmt.Errorf("copies %s: the last %d bytes are others", unit, look)
				}
			}
			return nil
		}
		cost := kernels.Cost{Bytes: int64(bytes)}
		if unit == both {
			cost.Bytes *= 2
		}
		return func(kernels.Queue) error { return copies(p, host, q) }, cost, err
	}}}
}

// matmul is the extent of the square matrices that the peer multiplies.
const matmul = 8192

func bits(b *kerneltest.Bed) uint32 { return math.Float32bits(float32(b.Rand.NormFloat64())) }
