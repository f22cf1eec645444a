package patchcore

import (
	"context"
	"math"
	"runtime"

	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/sieve"
	"f2pad.example/engine/internal/vec"
)

// bank holds vectors and finds, for any query, the nearest of them in Euclidean distance, exactly.
//
// The vectors are there twice, as rows and packed, as bytes in a sieve or as they are: the rows serve the exact distances and
// the gradients, and would be gathered from the panels at one cache line per number.
type bank struct {
	d       int
	rows    []float32    // [M,D]
	kernel  *gemm.Kernel // of the panels
	panels  []float32    // [D+1,M], packed: below each member its |b|^2
	members int
	maxNorm float64

	sieve *sieve.Sieve // in place of panels, nil where it does not pay
}

// blockRows members at a time meet a block of queries: their products stay in a core's cache. It is a multiple of every
// kernel's panel.
const blockRows = 384

func newBank(rows []float32, d int) *bank {
	if k := sieve.Fast(); k != nil {
		if b := newSieved(k, rows, d); b != nil && b.pays() {
			return b
		}
	}
	return newFlat(gemm.Best(), rows, d)
}

func newFlat(isa *gemm.ISA, rows []float32, d int) *bank {
	b := &bank{d: d, rows: rows, kernel: &isa.Wide, members: len(rows) / d}
	b.panels = make([]float32, b.kernel.SizeB(d+1, b.members))
	norms := make([]float64, (b.members+blockRows-1)/blockRows)
	par.Range(b.members, blockRows, func(lo, hi int) {
		block := make([]float32, 0, (hi-lo)*(d+1))
		for j := lo; j < hi; j++ {
			norm := float32(dot(b.row(j), b.row(j)))
			norms[lo/blockRows] = max(norms[lo/blockRows], float64(norm))
			block = append(append(block, b.row(j)...), norm)
		}
		b.kernel.PackB(b.panels[lo*(d+1):], d+1, hi-lo, block, true, 0, hi-lo)
	})
	for _, n := range norms {
		b.maxNorm = max(b.maxNorm, n)
	}
	return b
}

func (b *bank) size() int { return b.members }

func (b *bank) row(j int) []float32 { return b.rows[j*b.d : (j+1)*b.d] }

// queries is how many of them meet a block of the bank at once, at most: while more do, the bank is read less often.
const queries = 128

// Nearest implements Bank.
func (b *bank) Nearest(ctx context.Context, q []float32, winner []int32, dist []float64, diff []float32) error {
	cores := runtime.GOMAXPROCS(0)
	rounds := (len(winner) + queries*cores - 1) / (queries * cores) // as many parts as keep all cores busy to the end
	grain := (len(winner) + rounds*cores - 1) / max(rounds*cores, 1)
	at := sieve.Rows
	if b.sieve == nil {
		at = b.kernel.Rows
	}
	par.Range(len(winner), (grain+at-1)/at*at, func(lo, hi int) {
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

// Supports implements Bank.
func (b *bank) Supports(ctx context.Context, q []float32, k int) ([][]int32, error) {
	near := make([][]int32, len(q)/b.d)
	if b.sieve != nil {
		par.Range(len(near), sieve.Rows, func(lo, hi int) {
			if ctx.Err() == nil {
				b.supportsSieved(q[lo*b.d:hi*b.d], k, near[lo:hi])
			}
		})
		return near, ctx.Err()
	}
	par.For(len(near), func(n int) {
		if ctx.Err() == nil {
			near[n] = b.supports(q[n*b.d:(n+1)*b.d], k)
		}
	})
	return near, ctx.Err()
}

// nearest finds, for each query of q [n,D], the index of its nearest member (the lowest of equals) and the squared
// distance, into winner and dist [n].
func (b *bank) nearest(q []float32, winner []int32, dist []float64) {
	if b.sieve != nil {
		b.nearestSieved(q, winner, dist)
		return
	}
	b.nearestFlat(q, winner, dist)
}

// nearestFlat is nearest without a sieve.
//
// The products (-2q, 1)(b, |b|^2) find where the minimum can be. Rounding makes them wrong by at most
// u(D+3)(|q|^2+|b|^2), u = 2^-24: doubling is exact; the sum of D terms, whose magnitudes add up to no more than
// |q|^2+|b|^2, by D u of that, if products are rounded, too, and by less if multiply-adds are fused; |b|^2 and the last
// addition by 3u. Every member within twice that of the least value is measured directly in float64, so the answer does
// not depend on how the products were rounded.
func (b *bank) nearestFlat(q []float32, winner []int32, dist []float64) {
	n, depth := len(winner), b.d+1
	low, slack := make([]float32, n), make([]float32, n)
	terms := make([]float32, 0, n*depth)
	for i := range n {
		qi := q[i*b.d : (i+1)*b.d]
		for _, x := range qi {
			terms = append(terms, -2*x)
		}
		terms = append(terms, 1)
		winner[i], dist[i], low[i] = 0, math.Inf(1), float32(math.Inf(1))
		most := dot(qi, qi) + b.maxNorm
		slack[i] = float32(0x1p-23 * float64(b.d+8) * most)
		if most > math.MaxFloat32/8 { // sums may overflow: all members are measured
			slack[i] = float32(math.Inf(1))
		}
	}
	a := make([]float32, b.kernel.SizeA(n, depth))
	b.kernel.PackA(a, n, depth, terms)
	width := min(blockRows, b.members)
	products := make([]float32, n*width)
	near := make([][]candidate, n)
	for i, all := 0, make([]candidate, n*candidates); i < n; i++ {
		near[i] = all[i*candidates:][:0:candidates]
	}
	measure := func(i int) {
		qi, limit := q[i*b.d:(i+1)*b.d], low[i]+slack[i]
		for _, c := range near[i] {
			if c.value > limit { // false for NaN, which comes of overflow and needs a look
				continue
			}
			if d := distance(qi, b.row(int(c.member))); d < dist[i] {
				winner[i], dist[i] = c.member, d
			}
		}
		near[i] = near[i][:0]
	}
	for first := 0; first < b.members; first += blockRows {
		members := min(blockRows, b.members-first)
		b.kernel.Mul(products, width, n, members, depth, a, b.panels[first*depth:])
		for i := range n {
			row := products[i*width:][:members]
			low[i] = min(low[i], vec.Least(row))
			limit := low[i] + slack[i]
			for j := vec.FirstAtMost(row, limit); j < members; j += 1 + vec.FirstAtMost(row[j+1:], limit) {
				if len(near[i]) == candidates {
					measure(i)
				}
				near[i] = append(near[i], candidate{int32(first + j), row[j]})
			}
		}
	}
	for i := range n {
		measure(i)
		if math.IsInf(dist[i], 1) { // nothing compared less: the query is not finite
			dist[i] = distance(q[i*b.d:(i+1)*b.d], b.row(0))
		}
	}
}

// candidate is a member that was within the slack of the least value so far. Most are not within that of the last: they
// are measured when there are many, or at the end.
type candidate struct {
	member int32
	value  float32
}

const candidates = 128 // for a query

// supports returns the indices of the k members nearest to q, nearest first, the lowest of equals first.
func (b *bank) supports(q []float32, k int) []int32 {
	n := newNearest(min(k, b.size()))
	for j := range b.size() {
		n.add(int32(j), distance(q, b.row(j)))
	}
	return n.index
}

// nearestK are the k members nearest so far, nearest first, of equals the one first added.
type nearestK struct {
	k     int
	index []int32
	dist  []float64
}

func newNearest(k int) *nearestK {
	return &nearestK{k, make([]int32, 0, k+1), make([]float64, 0, k+1)}
}

func (n *nearestK) add(j int32, d float64) {
	at := len(n.index)
	for at > 0 && d < n.dist[at-1] {
		at--
	}
	if at == n.k {
		return
	}
	n.index, n.dist = append(n.index, 0), append(n.dist, 0)
	copy(n.index[at+1:], n.index[at:])
	copy(n.dist[at+1:], n.dist[at:])
	n.index[at], n.dist[at] = j, d
	n.index, n.dist = n.index[:min(len(n.index), n.k)], n.dist[:min(len(n.dist), n.k)]
}

func dot(a, b []float32) float64 {
	sum := 0.0
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

// distance is the squared Euclidean distance.
func distance(a, b []float32) float64 { return vec.Distance(a, b) }
