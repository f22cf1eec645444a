// Package sieve tells which of many vectors, the members, can be near a query, from a byte for each value: products of bytes
// take a fraction of the time of float32 ones. Who it drops is certain to be farther than the limit asked for, however
// anything was rounded.
//
// With the centre c, the step h and the bytes z' of z, z = c + h z' + r(z). A query that lies outside the box in which all
// members are is moved into it first, by the vector o, and no member is then nearer than |o| and where it was moved to
// allow. So |q-b|^2 >= |o|^2 + (h |q'-b'| - |r(q)| - |r(b)|)^2, where the last difference is not negative, and |q'-b'|^2 is a
// whole number.
package sieve

import (
	"math"
	"math/bits"
	"slices"
	"unsafe"

	"f2pad.example/engine/internal/par"
)

// Sieve holds the bytes of members. It is immutable.
type Sieve struct {
	kernel        *Kernel
	d, pitch      int // values, and bytes of a vector
	members       int
	centre        []float32
	step, inverse float32
	off           float64 // no member is farther from its bytes

	panels []uint8 // [panels,pitch/4,Cols,4]: b'+128
	half   []int32 // [panels,Cols]: |b'|^2/2, rounded down; beyond the members: what no query reaches
}

const (
	widest   = 1 << 14       // vector, so that no sum overflows
	farthest = 500_000_000   // half of a square of bytes' distance, and more
	never    = 1_000_000_000 // more than farthest and any product
	zero     = 128           // the byte of 0 in panels

	grain = 8 * Cols // members that a goroutine packs at a time
)

// New makes a sieve of the vectors rows [M,d], nil if their values are not finite, all the same, or too large, small or many
// for one.
func New(k *Kernel, rows []float32, d int) *Sieve {
	s := &Sieve{kernel: k, d: d, pitch: (d + depth - 1) / depth * depth, members: len(rows) / d, centre: make([]float32, d)}
	spread := s.centreOn(rows)
	if d > widest || !(spread > 1e-10 && spread < 1e14) { // false for NaN
		return nil
	}
	s.step = float32(spread / bound * (1 + 0x1p-20))
	s.inverse = 1 / s.step
	panels := (s.members + Cols - 1) / Cols
	s.panels, s.half = aligned[uint8](panels*Cols*s.pitch), make([]int32, panels*Cols)
	off := make([]float64, (s.members+grain-1)/grain)
	par.Range(s.members, grain, func(lo, hi int) {
		y := make([]int8, s.pitch)
		for j := lo; j < hi; j++ {
			v := s.quantize(y, rows[j*d:(j+1)*d])
			s.half[j] = v.norm / 2
			off[lo/grain] = max(off[lo/grain], v.off)
			panel := s.panels[j/Cols*Cols*s.pitch+j%Cols*4:]
			for i := 0; i < len(y); i += 4 {
				to := (*[4]uint8)(panel[i*Cols:])
				to[0], to[1], to[2], to[3] = uint8(y[i])+zero, uint8(y[i+1])+zero, uint8(y[i+2])+zero, uint8(y[i+3])+zero
			}
		}
	})
	for j := s.members; j < len(s.half); j++ {
		s.half[j] = never
		for i := 0; i < s.pitch; i += 4 {
			*(*[4]uint8)(s.panels[j/Cols*Cols*s.pitch+j%Cols*4+i*Cols:]) = [4]uint8{zero, zero, zero, zero}
		}
	}
	for _, v := range off {
		s.off = max(s.off, v)
	}
	return s
}

// centreOn sets the centre to the middle of each value's range, and returns half of the largest range, or NaN.
func (s *Sieve) centreOn(rows []float32) float64 {
	const grain = 1024
	type ranges struct{ lo, hi []float32 }
	parts := make([]ranges, (s.members+grain-1)/grain)
	par.Range(s.members, grain, func(first, last int) {
		r := ranges{append([]float32{}, rows[first*s.d:(first+1)*s.d]...), append([]float32{}, rows[first*s.d:(first+1)*s.d]...)}
		for j := first + 1; j < last; j++ {
			for i, v := range rows[j*s.d : (j+1)*s.d] {
				r.lo[i], r.hi[i] = min(r.lo[i], v), max(r.hi[i], v) // NaN if either is
			}
		}
		parts[first/grain] = r
	})
	spread := 0.0
	for i := range s.centre {
		lo, hi := parts[0].lo[i], parts[0].hi[i]
		for _, p := range parts[1:] {
			lo, hi = min(lo, p.lo[i]), max(hi, p.hi[i])
		}
		c := lo/2 + hi/2
		s.centre[i] = c
		spread = max(spread, float64(hi)-float64(c), float64(c)-float64(lo))
	}
	return spread
}

// vector is what is known of one besides its bytes.
type vector struct {
	sum, norm int32   // of its bytes, and of their squares
	off       float64 // |r|, or more
	out       float64 // |o|, or less
}

// quantize fills y. In units of 2^-24 the values less the centre are wrong by one of themselves, so those inside of the box,
// like what their bytes stand for, by 127 h at most; a sum of squares by one of itself for each term.
func (s *Sieve) quantize(y []int8, x []float32) vector {
	var l sums
	quantize(y[:s.d], x, s.centre, s.inverse, s.step, &l)
	var v vector
	var in, out float64
	for i := range lanes {
		in += float64(l.in[i])
		out += float64(l.out[i])
		v.sum += l.sum[i]
		v.norm += l.norm[i]
	}
	wrong, edge := float64(s.d+16)*0x1p-22, math.Sqrt(float64(s.d))*bound*float64(s.step)*0x1p-22
	v.off = math.Sqrt(in)*(1+wrong) + edge
	if out != 0 {
		v.out = max(0, math.Sqrt(out)*(1-wrong)-edge)
	}
	return v
}

// Batch is up to Rows queries that meet the members together. It is not safe for concurrent use.
type Batch struct {
	sieve  *Sieve
	q      []int8 // [Rows,pitch]
	of     [Rows]vector
	limits [Rows]int32
	working
}

// NewBatch returns one without queries, which looks at no more than so many members at once.
func (s *Sieve) NewBatch(members int) *Batch {
	b := &Batch{sieve: s, q: aligned[int8](Rows * s.pitch)}
	b.kept = make([]Record, (members+Cols-1)/Cols*Rows+1)
	b.scratch = aligned[int32](Rows * Cols)
	for r := range b.limits {
		b.limits[r] = -farthest
	}
	return b
}

// Set makes q row r, without a limit, and says whether it could: it is finite, and not too far from all members.
func (b *Batch) Set(r int, q []float32) bool {
	v := b.sieve.quantize(b.q[r*b.sieve.pitch:(r+1)*b.sieve.pitch], q)
	if !(v.off < 1e15 && v.out < 1e15) {
		clear(b.q[r*b.sieve.pitch : (r+1)*b.sieve.pitch])
		b.of[r], b.limits[r] = vector{}, -farthest
		return false
	}
	b.of[r], b.limits[r] = v, farthest-zero*v.sum
	return true
}

// Least limits each row to the nearest by its bytes among the members lo <= j < hi, multiples of Cols or the end.
func (b *Batch) Least(lo, hi int) {
	s := b.sieve
	for i := range b.working.most {
		b.working.most[i] = none
	}
	hi = (hi + Cols - 1) / Cols * Cols
	s.kernel.most(b.q, s.pitch, (s.d+3)/4, s.panels[lo*s.pitch:hi*s.pitch], s.half[lo:hi], &b.working)
	for r := range b.limits {
		if b.limits[r] != -farthest {
			b.limits[r] = -slices.Max(b.working.most[r*lanes : (r+1)*lanes])
		}
	}
}

// Limit has Keep drop only members of which the square of the distance to row r is more than that.
func (b *Batch) Limit(r int, square float64) {
	s, v := b.sieve, &b.of[r]
	step := float64(s.step)
	// What was moved onto the edge of the box may have been inside of it, by no more than the values are wrong.
	edge := float64(s.d) * step * step * 0x1p-7
	far := (v.off + s.off + math.Sqrt(max(0, square-v.out*v.out+edge))) / step
	limit := (far*far*(1+1e-9) + 1 - float64(v.norm)) / 2
	b.limits[r] = int32(min(math.Floor(limit), farthest)) - zero*v.sum
}

// Keep returns which of the members lo <= j < hi, as in Least, may be within the rows' limits: panel by panel, and row by row
// within those. It is valid until the next call.
func (b *Batch) Keep(lo, hi int) []Record {
	s := b.sieve
	hi = (hi + Cols - 1) / Cols * Cols
	return s.kernel.keep(b.q, s.pitch, (s.d+3)/4, s.panels[lo*s.pitch:hi*s.pitch], s.half[lo:hi], &b.limits, &b.working)
}

// Cost is about what it takes to look for the nearest of the members, in float32 multiply-adds of package gemm, if so many
// are kept for a query. Measured on one core with AMX.
func (s *Sieve) Cost(kept float64) float64 {
	pair := float64(s.pitch) / 4.5
	if s.kernel.id == amx {
		pair = float64(s.pitch) / 18
	}
	const look = 4 // at a product
	d := float64(s.d)
	return 8000 + 60*d + float64(s.members)*(pair+look) + kept*(200+8*d)
}

// Kept is about how many members the nearest of them to a query leaves: the mean over a few of the members, as if they were
// queries and no members.
func (s *Sieve) Kept(rows []float32) float64 {
	const most = 1 << 14 // members that a distance is measured to: fewer make it too large
	n := min(Rows, s.members)
	b := s.NewBatch(s.members)
	squares := make([]float32, (s.members+s.members/most)/(1+s.members/most))
	for r := range n {
		j := r * s.members / n
		pairs := make([]Pair, 0, len(squares))
		for m := 0; m < s.members; m += 1 + s.members/most {
			if m != j {
				pairs = append(pairs, Pair{Query: int32(j), Member: int32(m)})
			}
		}
		Squares(squares[:len(pairs)], pairs, rows, rows, s.d)
		if b.Set(r, rows[j*s.d:(j+1)*s.d]) && len(pairs) > 0 {
			b.Limit(r, float64(slices.Min(squares[:len(pairs)])))
		}
	}
	kept := 0
	for _, record := range b.Keep(0, s.members) {
		kept += bits.OnesCount32(uint32(record))
	}
	return float64(kept)/float64(n) - 1
}

// aligned returns n zeros that begin at a cache line.
func aligned[T int8 | uint8 | int32](n int) []T {
	const line = 64
	var one T
	size := int(unsafe.Sizeof(one))
	all := make([]T, n+line/size)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(all)))) & (line - 1) / size
	return all[skip : skip+n : skip+n]
}
