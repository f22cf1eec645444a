package patchcore

import (
	"context"
	"math"

	"f2pad/engine/internal/gemm"
	"f2pad/engine/internal/par"
)

// bank holds vectors and finds, for any query, the nearest of them in Euclidean distance, exactly.
type bank struct {
	d       int
	rows    []float32       // [M,D]
	blocks  []*gemm.PackedB // of blockRows members each, the last of the rest
	norms   []float32       // |b|^2
	maxNorm float64
}

// blockRows members at a time meet a block of queries: their products stay in a core's cache.
const blockRows = 512

func newBank(rows []float32, d int) *bank {
	b := &bank{d: d, rows: rows, norms: make([]float32, len(rows)/d)}
	b.blocks = make([]*gemm.PackedB, (b.size()+blockRows-1)/blockRows)
	par.For(len(b.blocks), func(i int) {
		lo, hi := i*blockRows, min((i+1)*blockRows, b.size())
		b.blocks[i] = gemm.PackB(d, hi-lo, rows[lo*d:hi*d], true)
		for j := lo; j < hi; j++ {
			b.norms[j] = float32(dot(b.row(j), b.row(j)))
		}
	})
	for _, n := range b.norms {
		b.maxNorm = max(b.maxNorm, float64(n))
	}
	return b
}

func (b *bank) size() int { return len(b.norms) }

func (b *bank) row(j int) []float32 { return b.rows[j*b.d : (j+1)*b.d] }

// queries is how many of them meet a block of the bank at once.
const queries = 64

// Nearest implements method.Bank.
func (b *bank) Nearest(ctx context.Context, q []float32, winner []int32, dist []float64, diff []float32) error {
	par.Range(len(winner), queries, func(lo, hi int) {
		if ctx.Err() != nil {
			return
		}
		b.nearest(q[lo*b.d:hi*b.d], winner[lo:hi], dist[lo:hi])
		if diff == nil {
			return
		}
		for p := lo; p < hi; p++ {
			row, to := b.row(int(winner[p])), diff[p*b.d:(p+1)*b.d]
			for k, x := range q[p*b.d : (p+1)*b.d] {
				to[k] = x - row[k]
			}
		}
	})
	return ctx.Err()
}

// Supports implements method.Bank.
func (b *bank) Supports(ctx context.Context, q []float32, k int) ([][]int32, error) {
	near := make([][]int32, len(q)/b.d)
	par.For(len(near), func(n int) {
		if ctx.Err() == nil {
			near[n] = b.supports(q[n*b.d:(n+1)*b.d], k)
		}
	})
	return near, ctx.Err()
}

// Close implements method.Bank: there is nothing to free.
func (b *bank) Close() error { return nil }

// nearest finds, for each query of q [n,D], the index of its nearest member (the lowest of equals) and the squared
// distance, into winner and dist [n].
//
// |b|^2 - 2 q.b by matrix multiplication finds where the minimum can be: rounding makes it wrong by at most
// u(D+3)(|q|^2+|b|^2), u = 2^-24. Every member within twice that of the least value so far is measured directly in
// float64, so the answer does not depend on how the products were rounded.
func (b *bank) nearest(q []float32, winner []int32, dist []float64) {
	n := len(winner)
	low, slack := make([]float32, n), make([]float32, n)
	for i := range n {
		qi := q[i*b.d : (i+1)*b.d]
		winner[i], dist[i], low[i] = 0, math.Inf(1), float32(math.Inf(1))
		slack[i] = float32(0x1p-23 * float64(b.d+8) * (dot(qi, qi) + b.maxNorm))
	}
	products := make([]float32, n*min(blockRows, b.size()))
	for k, packed := range b.blocks {
		first := k * blockRows
		norms := b.norms[first:min(first+blockRows, b.size())]
		gemm.Mul(products, n, q, packed)
		for i := range n {
			row := products[i*len(norms) : (i+1)*len(norms)]
			least := float32(math.Inf(1))
			for j, norm := range norms {
				v := norm - 2*row[j]
				row[j] = v
				if v < least {
					least = v
				}
			}
			if least < low[i] {
				low[i] = least
			}
			limit := low[i] + slack[i]
			if least > limit {
				continue
			}
			for j, v := range row {
				if v > limit { // false for NaN, which comes of overflow and needs a look
					continue
				}
				if d := distance(q[i*b.d:(i+1)*b.d], b.row(first+j)); d < dist[i] {
					winner[i], dist[i] = int32(first+j), d
				}
			}
		}
	}
	for i := range n {
		if math.IsInf(dist[i], 1) { // nothing compared less: the query is not finite
			dist[i] = distance(q[i*b.d:(i+1)*b.d], b.row(0))
		}
	}
}

// supports returns the indices of the k members nearest to q, nearest first, the lowest of equals first.
func (b *bank) supports(q []float32, k int) []int32 {
	k = min(k, b.size())
	index, dist := make([]int32, 0, k+1), make([]float64, 0, k+1)
	for j := range b.size() {
		d := distance(q, b.row(j))
		at := len(index)
		for at > 0 && d < dist[at-1] {
			at--
		}
		if at == k {
			continue
		}
		index, dist = append(index, 0), append(dist, 0)
		copy(index[at+1:], index[at:])
		copy(dist[at+1:], dist[at:])
		index[at], dist[at] = int32(j), d
		index, dist = index[:min(len(index), k)], dist[:min(len(dist), k)]
	}
	return index
}

func dot(a, b []float32) float64 {
	sum := 0.0
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

// distance is the squared Euclidean distance.
func distance(a, b []float32) float64 {
	sum := 0.0
	for i, x := range a {
		d := float64(x) - float64(b[i])
		sum += d * d
	}
	return sum
}
