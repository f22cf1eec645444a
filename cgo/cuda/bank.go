package cuda

import (
	"context"
	"errors"
	"fmt"

	"f2pad.example/engine/device"
	"f2pad.example/kernels"
)

// products is how many bfloat16 products bound a distance. The answer does not depend on it; see kernels.KNNBank.
const products = 1

// streamed is how much of a bank that does not fit the device is there at once.
const streamed = 256 << 20

// bank is a bank on the device, or one that passes through it in parts.
type bank struct {
	d        *Device
	m, width int
	whole    *part     // nil: the bank passes through
	rows     []float32 // on the host
	atOnce   int       // bytes of rows that pass through at once
}

// part is some rows of a bank, ready to be searched.
type part struct {
	first int
	bank  kernels.KNNBank
}

// Bank keeps the vectors rows [M,D]. A bank that the device has no room for stays on the host, and every search sends it through
// the device in parts: slower, with the same result.
func (d *Device) Bank(rows []float32, width int) (*bank, error) {
	if width < 1 || len(rows) < width || len(rows)%width != 0 {
		return nil, fmt.Errorf("cuda: bank of %d values, want rows of %d", len(rows), width)
	}
	b := &bank{d: d, m: len(rows) / width, width: width, rows: rows, atOnce: streamed}
	err := d.do(context.Background(), "bank", func(j *job) {
		j.lasting = true
		whole := b.part(j, 0, b.m)
		if j.err == nil {
			j.keep(whole.bank.Rows)
			j.keep(whole.bank.Prepared)
			b.whole = &whole
		}
	})
	if err != nil && !errors.Is(err, device.ErrOutOfMemory) {
		return nil, err
	}
	return b, nil
}

// part brings rows to the device.
func (b *bank) part(j *job, first, m int) part {
	p := part{first, kernels.KNNBank{M: m, D: b.width, Products: products}}
	p.bank.Rows = put(j, b.rows[first*b.width:(first+m)*b.width])
	p.bank.Prepared = j.room(p.bank.Bytes(), 1)
	j.run(p.bank.Enqueue)
	return p
}

// parts visits the bank part by part.
func (b *bank) parts(ctx context.Context, j *job, visit func(part)) {
	if b.whole != nil {
		visit(*b.whole)
		return
	}
	step := max(1, b.atOnce/(4*b.width))
	for first := 0; first < b.m && j.err == nil; first += step {
		if j.err = ctx.Err(); j.err != nil {
			return
		}
		p := b.part(j, first, min(step, b.m-first))
		visit(p)
		j.free(p.bank.Rows)
		j.free(p.bank.Prepared)
	}
}

// Nearest implements patchcore.Bank.
func (b *bank) Nearest(ctx context.Context, q []float32, winner []int32, dist []float64, diff []float32) error {
	n := len(winner)
	if len(q) != n*b.width || len(dist) != n || diff != nil && len(diff) != n*b.width {
		return fmt.Errorf("cuda: %d queries of %d values with %d values, %d distances and %d differences", n, b.width, len(q), len(dist), len(diff))
	}
	if n == 0 {
		return ctx.Err()
	}
	return b.d.do(ctx, "search", func(j *job) {
		k := kernels.KNN{N: n, Processors: b.d.sms, Queries: put(j, q), Winner: j.floats(n), Dist: j.room(n, 8)}
		b.parts(ctx, j, func(p part) {
			k.Bank, k.First = p.bank, p.first
			k.Scratch = j.room(k.ScratchBytes(), 1)
			j.run(k.Enqueue)
			j.free(k.Scratch)
			k.Accumulate = true
		})
		get(j, winner, k.Winner)
		get(j, dist, k.Dist)
		switch {
		case j.err != nil || diff == nil:
		case b.whole == nil:
			for i, w := range winner {
				row := b.rows[int(w)*b.width:]
				for c, x := range q[i*b.width : (i+1)*b.width] {
					diff[i*b.width+c] = x - row[c]
				}
			}
		default:
			g := kernels.KNNGradient{
				L: n, D: b.width, M: b.m, Queries: k.Queries, Rows: b.whole.bank.Rows, Winner: k.Winner, Dist: k.Dist,
				DQ: j.floats(n * b.width),
			}
			j.run(g.Enqueue)
			get(j, diff, g.DQ)
		}
	})
}

// Supports implements patchcore.Bank.
func (b *bank) Supports(ctx context.Context, q []float32, k int) ([][]int32, error) {
	k = min(k, b.m)
	if k < 0 || k > kernels.KNNMaxK || len(q)%b.width != 0 {
		return nil, fmt.Errorf("cuda: %d neighbours of %d values, want at most %d of rows of %d", k, len(q), kernels.KNNMaxK, b.width)
	}
	n := len(q) / b.width
	near := make([][]int32, n)
	for lo := 0; lo < n && k > 0; lo += kernels.KNNMaxQueries {
		hi := min(lo+kernels.KNNMaxQueries, n)
		index := make([]int32, (hi-lo)*k)
		err := b.d.do(ctx, "search", func(j *job) {
			t := kernels.KNNTopK{
				N: hi - lo, D: b.width, K: k, Processors: b.d.sms, Queries: put(j, q[lo*b.width:hi*b.width]),
				Index: j.floats(len(index)), Dist: j.room(len(index), 8),
			}
			b.parts(ctx, j, func(p part) {
				t.M, t.Rows, t.First = p.bank.M, p.bank.Rows, p.first
				t.Scratch = j.room(t.ScratchBytes(), 1)
				j.run(t.Enqueue)
				j.free(t.Scratch)
				t.Accumulate = true
			})
			get(j, index, t.Index)
		})
		if err != nil {
			return nil, err
		}
		for i := range hi - lo {
			near[lo+i] = index[i*k : (i+1)*k]
		}
	}
	return near, ctx.Err()
}

// Close frees what is kept.
func (b *bank) Close() error {
	if b.whole == nil {
		return nil
	}
	err := errors.Join(b.d.gpu.Free(b.whole.bank.Rows), b.d.gpu.Free(b.whole.bank.Prepared))
	b.whole = nil
	return err
}
