package sieve

import "math"

// The shape of the kernels: Rows queries meet panels of Cols members, in tiles of depth values.
const (
	Rows  = 32
	Cols  = 32
	depth = 64
)

// Kernel is how bytes are multiplied. All kernels do the same whole numbers. It is immutable.
type Kernel struct {
	Name string
	id   id
}

type id int

const (
	portable id = iota
	vnni
	amx
)

// Kernels are all that the processor has, the fastest first, "go" last, which every one has and which is slower than
// float32 products by assembly.
func Kernels() []*Kernel { return available() }

// Fast is the fastest that is assembly, nil without one.
func Fast() *Kernel {
	if best := available()[0]; best.id != portable {
		return best
	}
	return nil
}

// keep appends to kept[:0] for which queries and members the sum over i of q_i (b_i+128), plus the query's limit, is at
// least the member's half: a record for every row of a panel that has any, panel by panel. kept must have room for one
// record more than there are rows and panels. q is [Rows,pitch], panels [panels,pitch/4,Cols,4]; what
// lies behind the first quads times four values of a query is 0.
func (k *Kernel) keep(q []int8, pitch, quads int, panels []uint8, half []int32, limits *[Rows]int32, w *working) []Record {
	q, panels = q[:Rows*pitch], panels[:len(half)*pitch]
	_ = w.kept[len(half)/Cols*Rows]
	switch k.id {
	case portable:
		return keepGo(q, pitch, panels, half, limits[:], w.kept[:0])
	default:
		return w.kept[:keepFast(k.id, q, pitch, quads, panels, half, limits, w)]
	}
}

// most raises, lane by lane, each row of w.most to the largest sum less half that the query has with the members.
func (k *Kernel) most(q []int8, pitch, quads int, panels []uint8, half []int32, w *working) {
	q, panels = q[:Rows*pitch], panels[:len(half)*pitch]
	switch k.id {
	case portable:
		mostGo(q, pitch, panels, half, w.most[:])
	default:
		mostFast(k.id, q, pitch, quads, panels, half, w)
	}
}

// Record says which of the members of a panel, one a bit, a query keeps: the panel's number among those looked at, times
// Rows, plus the query's, in the upper half.
type Record uint64

// lanes are how many maxima a row has.
const lanes = 16

// working is what a kernel writes.
type working struct {
	kept    []Record
	most    [Rows * lanes]int32
	scratch []int32 // [Rows,Cols], at a cache line
}

func keepGo(q []int8, pitch int, panels []uint8, half, limits []int32, kept []Record) []Record {
	for p := range len(half) / Cols {
		for r := range Rows {
			mask := uint32(0)
			for c := range Cols {
				if product(q[r*pitch:][:pitch], panels[p*pitch*Cols:], c)+limits[r] >= half[p*Cols+c] {
					mask |= 1 << c
				}
			}
			if mask != 0 {
				kept = append(kept, Record(p*Rows+r)<<32|Record(mask))
			}
		}
	}
	return kept
}

func mostGo(q []int8, pitch int, panels []uint8, half, most []int32) {
	for p := range len(half) / Cols {
		for r := range Rows {
			for c := range Cols {
				m := &most[r*lanes+c%lanes]
				*m = max(*m, product(q[r*pitch:][:pitch], panels[p*pitch*Cols:], c)-half[p*Cols+c])
			}
		}
	}
}

// product of a query and member c of a panel.
func product(q []int8, panel []uint8, c int) int32 {
	sum := int32(0)
	for i, x := range q {
		sum += int32(x) * int32(panel[i/4*(4*Cols)+4*c+i%4])
	}
	return sum
}

// sums of a vector that becomes bytes, in lanes: of the squares of what the bytes leave, inside of the bounds and outside, of
// the bytes, and of their squares.
type sums struct {
	in, out   [lanes]float32
	sum, norm [lanes]int32
}

// quantizeGo sets y to the whole numbers nearest to (x-centre)/step, none beyond +-bound, and adds value i to lane i modulo
// lanes of the sums.
func quantizeGo(y []int8, x, centre []float32, inverse, step float32, to *sums) {
	const magic = 3 << 22 // added and taken off it leaves a whole number
	for i := range y {
		v := x[i] - centre[i]
		t := float32(v * inverse)
		bounded := t
		if t > bound {
			bounded = bound
		} else if t < -bound {
			bounded = -bound
		}
		whole := (bounded + magic) - magic
		y[i] = int8(whole)
		v -= float32(whole * step)
		lane := i % lanes
		if bounded == t {
			to.in[lane] += float32(v * v)
		} else {
			to.out[lane] += float32(v * v)
		}
		to.sum[lane] += int32(y[i])
		to.norm[lane] += int32(y[i]) * int32(y[i])
	}
}

// bound of the whole numbers.
const bound = 127

// none is less than any product less its half.
const none = math.MinInt32

// Pair is a query and a member.
type Pair struct{ Query, Member int32 }

func squaresGo(to []float32, pairs []Pair, q, rows []float32, d int) {
	for i, p := range pairs {
		a, b := q[int(p.Query)*d:][:d], rows[int(p.Member)*d:][:d]
		var sum [4]float32
		for len(a) >= 4 && len(b) >= 4 {
			v0, v1, v2, v3 := a[0]-b[0], a[1]-b[1], a[2]-b[2], a[3]-b[3]
			sum[0] += float32(v0 * v0)
			sum[1] += float32(v1 * v1)
			sum[2] += float32(v2 * v2)
			sum[3] += float32(v3 * v3)
			a, b = a[4:], b[4:]
		}
		for k, x := range a {
			v := x - b[k]
			sum[0] += float32(v * v)
		}
		to[i] = (sum[0] + sum[1]) + (sum[2] + sum[3])
	}
}
