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

// newBank keeps the vectors rows [M,D]. A bank that the device has no room for stays on the host, and every search sends it through
// the device in parts: slower, with the same result.
func (d *Device) newBank(rows []float32, width int) (*bank, error) {
	if width < 1 || len(rows) < width || len(rows)%width != 0 {
		return nil, fmt.Errorf("cuda: bank of %d values, want rows of %d", len(rows), width)
	}
	b := &bank{d: d, m: len(rows) / width, width: width, rows: rows, atOnce: streamed}
	err := d.do(context.Background(), "bank", func(j *job) {
		j.lasting = true
		whole := kernels.KNNBank{M: b.m, D: width, Products: products, Rows: put(j, rows)}
		whole.Prepared = j.room(whole.Bytes(), 1)
		if j.run(whole.Enqueue); j.err == nil {
			j.keep(whole.Rows)
			j.keep(whole.Prepared)
			b.whole = &part{0, whole}
		}
	})
	if err != nil && !errors.Is(err, device.ErrOutOfMemory) {
		return nil, err
	}
	return b, nil
}

// rowsAtOnce is how many rows pass through at once.
func (b *bank) rowsAtOnce() int { return min(max(1, b.atOnce/(4*b.width)), b.m) }

// supports finds, for each of q [n,D], the indices of the k nearest members, or of all if there are fewer, nearest first, the lowest of
// equals first. parts visits the bank. An error is the job's.
func (b *bank) supports(j *job, q []float32, k int, parts func(visit func(part))) [][]int32 {
	k = min(k, b.m)
	if k < 0 || k > kernels.KNNMaxK || len(q)%b.width != 0 {
		j.fail(fmt.Errorf("%d neighbours of %d values, want at most %d of rows of %d", k, len(q), kernels.KNNMaxK, b.width))
	}
	n := len(q) / b.width
	near := make([][]int32, n)
	for lo := 0; lo < n && k > 0 && j.err == nil; lo += kernels.KNNMaxQueries {
		hi := min(lo+kernels.KNNMaxQueries, n)
		index := make([]int32, (hi-lo)*k)
		t := kernels.KNNTopK{
			N: hi - lo, D: b.width, K: k, Processors: b.d.sms, Queries: put(j, q[lo*b.width:hi*b.width]),
			Index: j.floats(len(index)), Dist: j.room(len(index), 8),
		}
		parts(func(p part) {
			t.M, t.Rows, t.First = p.bank.M, p.bank.Rows, p.first
			t.Scratch = j.room(t.ScratchBytes(), 1)
			j.run(t.Enqueue)
			j.free(t.Scratch)
			t.Accumulate = true
		})
		get(j, index, t.Index)
		for _, p := range []kernels.Ptr{t.Queries, t.Index, t.Dist} {
			j.free(p)
		}
		for i := range hi - lo {
			near[lo+i] = index[i*k : (i+1)*k]
		}
	}
	return near
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
