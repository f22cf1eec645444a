package patchcore

import (
	"math"
	"math/bits"
	"slices"

	"f2pad.example/engine/internal/sieve"
)

// newSieved is a bank with a sieve, nil where there can be none.
func newSieved(k *sieve.Kernel, rows []float32, d int) *bank {
	s := sieve.New(k, rows, d)
	if s == nil {
		return nil
	}
	return &bank{d: d, rows: rows, members: len(rows) / d, sieve: s}
}

// pays says whether the sieve is likely to be faster than the flat search: not where members are few, or most are as near as
// bytes can tell.
func (b *bank) pays() bool {
	flat := float64(b.members) * float64(b.d+1)
	return b.sieve.Cost(0) < flat && b.sieve.Cost(b.sieve.Kept(b.rows)) < flat
}

// sieveRows members at a time meet the queries: their bytes and what is kept of them stay in a core's cache.
const sieveRows = 512

// nearestSieved is nearest with a sieve. Who it keeps is measured in float32, which is wrong by u(D+8) of the square,
// u = 2^-24, since all terms are positive; and who is then within that of the least, in float64. It returns how many pairs it
// measured in float32.
func (b *bank) nearestSieved(q []float32, winner []int32, dist []float64) (measured int) {
	s := b.search(q, 1)
	for t := range s.batches { // the limit is then that of who is likely to be near
		some := min(sieveRows, b.members)
		s.batches[t].Least(0, some)
		s.measure(t, 0, some)
	}
	s.near = s.near[:0]
	s.all()
	for i := range winner {
		winner[i], dist[i] = 0, math.Inf(1)
		if s.limit[i] > 0 {
			continue
		}
		s.measured += b.members // no query for a sieve
		for j := range b.members {
			s.exact(i, j, winner, dist)
		}
		if math.IsInf(dist[i], 1) { // nothing compared less: the query is not finite
			dist[i] = distance(q[i*b.d:(i+1)*b.d], b.row(0))
		}
	}
	for _, c := range s.near {
		if c.square < s.limit[c.Query] {
			s.exact(int(c.Query), int(c.Member), winner, dist)
		}
	}
	return s.measured
}

// supportsSieved is supports with a sieve for each query of q [n,D].
func (b *bank) supportsSieved(q []float32, k int, near [][]int32) {
	k = min(k, b.members)
	if k < 1 {
		return
	}
	s := b.search(q, k)
	s.all()
	found := make([]*nearestK, len(near))
	for i := range found {
		if s.limit[i] == 0 { // no query for a sieve
			near[i] = b.supports(q[i*b.d:(i+1)*b.d], k)
		}
		found[i] = newNearest(k)
	}
	for _, c := range s.near {
		if i := c.Query; c.square < s.limit[i] {
			found[i].add(c.Member, distance(q[int(i)*b.d:(int(i)+1)*b.d], b.row(int(c.Member))))
		}
	}
	for i, f := range found {
		if s.limit[i] > 0 {
			near[i] = f.index
		}
	}
}

// search is the state of a search with a sieve for the k nearest.
type search struct {
	*bank
	q       []float32
	k       int
	best    [][]float32 // the k least squares of each query so far, in order; nil for one
	batches []*sieve.Batch
	share   float32
	limit   []float32 // of the square in float32: no member is among the nearest that does not fall below it; 0: not for the sieve
	near    []member  // all that did so far, members in order

	pairs    []sieve.Pair
	squares  []float32
	measured int
}

type member struct {
	sieve.Pair
	square float32
}

// smallest is more than what squares lose that are too small for float32.
const smallest = 1e-36

func (b *bank) search(q []float32, k int) *search {
	n := len(q) / b.d
	s := &search{bank: b, q: q, k: k, limit: make([]float32, n), share: 1 + 0x1p-22*float32(b.d+16)}
	if k > 1 {
		s.best = make([][]float32, n)
	}
	for first := 0; first < n; first += sieve.Rows {
		batch := b.sieve.NewBatch(sieveRows)
		s.batches = append(s.batches, batch)
		for r := range min(sieve.Rows, n-first) {
			if i := first + r; batch.Set(r, q[i*b.d:(i+1)*b.d]) {
				s.limit[i] = float32(math.Inf(1))
			}
		}
	}
	return s
}

// all measures who may be among the nearest.
func (s *search) all() {
	for lo := 0; lo < s.members; lo += sieveRows {
		for t := range s.batches {
			s.measure(t, lo, min(lo+sieveRows, s.members))
		}
	}
}

// last is the largest of the k least squares of a query, the given one among them.
func (s *search) last(i int32, square float32) float32 {
	if s.k == 1 {
		return square
	}
	best := s.best[i]
	at, _ := slices.BinarySearch(best, square)
	if at < s.k {
		best = slices.Insert(best, at, square)
		best = best[:min(len(best), s.k)]
		s.best[i] = best
	}
	if len(best) < s.k {
		return float32(math.Inf(1))
	}
	return best[s.k-1]
}

// measure measures whom batch t keeps of the members from lo to hi, and limits it.
func (s *search) measure(t, lo, hi int) {
	first := t * sieve.Rows
	s.pairs = s.pairs[:0]
	for _, record := range s.batches[t].Keep(lo, hi) {
		at := int(record >> 32)
		p := sieve.Pair{Query: int32(first + at%sieve.Rows), Member: int32(lo + at/sieve.Rows*sieve.Cols)}
		for mask := uint32(record); mask != 0; mask &= mask - 1 {
			s.pairs = append(s.pairs, sieve.Pair{Query: p.Query, Member: p.Member + int32(bits.TrailingZeros32(mask))})
		}
	}
	s.measured += len(s.pairs)
	s.squares = slices.Grow(s.squares[:0], len(s.pairs))[:len(s.pairs)]
	sieve.Squares(s.squares, s.pairs, s.q, s.rows, s.d)
	tighter := uint32(0)
	for n, p := range s.pairs {
		if square := s.squares[n]; square < s.limit[p.Query] {
			s.near = append(s.near, member{p, square})
			if l := s.last(p.Query, square)*s.share + smallest; l < s.limit[p.Query] {
				s.limit[p.Query] = l
				tighter |= 1 << (int(p.Query) - first)
			}
		}
	}
	for ; tighter != 0; tighter &= tighter - 1 {
		r := bits.TrailingZeros32(tighter)
		s.batches[t].Limit(r, float64(s.limit[first+r]))
	}
}

// exact measures member j in float64.
func (s *search) exact(i, j int, winner []int32, dist []float64) {
	if d := distance(s.q[i*s.d:(i+1)*s.d], s.row(j)); d < dist[i] {
		winner[i], dist[i] = int32(j), d
	}
}
