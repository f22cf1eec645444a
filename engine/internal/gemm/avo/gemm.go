package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func generateGemm() {
	tile(avx512, 8, 1)
	tile(avx512, 8, 2)
	tile(avx512, 8, 3)
	tile(avx512, 4, 2)
	tile(avx2, 4, 3)
	tall()
	for _, s := range []isa{avx512, avx2} {
		for _, rows := range []int{8, 3, 1} {
			plane(s, rows)
		}
	}
	gather()
	for pieces := 1; pieces <= 6; pieces++ {
		column(pieces)
	}
}

// ahead is how far in front of what it reads of A a micro-kernel prefetches, in bytes: some 300 cycles.
const ahead = 512

// tile is a micro-kernel: rows x vectors of C are in registers while k goes up.
func tile(s isa, rows, vectors int) {
	function(fmt.Sprintf("tile%dx%d%s", rows, vectors*s.lanes, s.name),
		"func(k int, a, b []float32, at []int, init []float32, lo, hi float32, c []float32, ldc"+map[bool]string{true: ", last"}[s.masks]+" int)",
		fmt.Sprintf("is tile for %d rows and %d columns%s.", rows, vectors*s.lanes, map[bool]string{true: ", in last those of the last vector"}[s.masks]))
	k, a, b, at := Load(Param("k"), GP64()), pointer("a"), pointer("b"), pointer("at")
	init, c, ldc := pointer("init"), pointer("c"), Load(Param("ldc"), GP64())
	SHLQ(Imm(2), ldc)
	var last reg.Register
	if s.masks {
		last = K()
		KMOVW(Load(Param("last"), GP64()).(reg.GPVirtual).As32(), last)
	}

	sum := make([][]reg.VecVirtual, rows)
	for r := range sum {
		for range vectors {
			sum[r] = append(sum[r], s.vector())
		}
	}

	TESTQ(init, init)
	JZ(LabelRef("load"))
	for r, v := range sum {
		VBROADCASTSS(Mem{Base: init, Disp: 4 * r}, v[0])
		for j := 1; j < vectors; j++ {
			VMOVUPS(v[0], v[j])
		}
	}
	JMP(LabelRef("sum"))
	Label("load")
	row := GP64()
	MOVQ(c, row)
	for r, v := range sum {
		if r > 0 {
			ADDQ(ldc, row)
		}
		for j := range vectors {
			if from := (Mem{Base: row, Disp: 4 * s.lanes * j}); s.masks && j == vectors-1 {
				VMOVUPS_Z(from, last, v[j])
			} else {
				VMOVUPS(from, v[j])
			}
		}
	}

	Label("sum")
	TESTQ(k, k)
	JZ(LabelRef("store"))
	Label("step")
	from := GP64()
	MOVQ(Mem{Base: at}, from)
	source := func(j int) Mem { return Mem{Base: b, Index: from, Scale: 4, Disp: 4 * s.lanes * j} }
	x := make([]reg.VecVirtual, vectors)
	for j := range x {
		x[j] = s.vector()
		VMOVUPS(source(j), x[j])
	}
	PREFETCHT0(Mem{Base: a, Disp: ahead}) // of the second-level cache
	for r := range rows {
		w := s.vector()
		VBROADCASTSS(Mem{Base: a, Disp: 4 * r}, w)
		for j := range vectors {
			VFMADD231PS(x[j], w, sum[r][j])
		}
	}
	ADDQ(Imm(8), at)
	ADDQ(Imm(uint64(4*rows)), a)
	DECQ(k)
	JNZ(LabelRef("step"))

	Label("store")
	lo, hi := number(s, "lo"), number(s, "hi")
	for r, v := range sum {
		if r > 0 {
			ADDQ(ldc, c)
		}
		for j := range vectors {
			VMAXPS(v[j], lo, v[j]) // NaN stays
			VMINPS(v[j], hi, v[j])
		}
		for j := range vectors {
			if to := (Mem{Base: c, Disp: 4 * s.lanes * j}); s.masks && j == vectors-1 {
				VMOVUPS(v[j], last, to)
			} else {
				VMOVUPS(v[j], to)
			}
		}
	}
	VZEROUPPER()
	RET()
}

// tall is a micro-kernel for two columns of four bands of eight rows: a vector is a column of a band.
func tall() {
	const bands, cols = 4, 2
	s := avx2
	function("tile32x2AVX2", "func(k int, a []float32, band int, b []float32, ldb int, lo, hi float32, c *[2][32]float32)",
		"adds to the columns c.")
	k, a, band, b, ldb := Load(Param("k"), GP64()), pointer("a"), Load(Param("band"), GP64()), pointer("b"), Load(Param("ldb"), GP64())
	c, fourth := Load(Param("c"), GP64()), GP64()
	SHLQ(Imm(2), band)
	SHLQ(Imm(2), ldb)
	LEAQ(Mem{Base: band, Index: band, Scale: 2}, fourth)
	ADDQ(a, fourth)
	sum := make([][]reg.VecVirtual, cols)
	place := func(j, i int) Mem { return Mem{Base: c, Disp: 4 * s.lanes * (bands*j + i)} }
	for j := range sum {
		for i := range bands {
			sum[j] = append(sum[j], s.vector())
			VMOVUPS(place(j, i), sum[j][i])
		}
	}
	TESTQ(k, k)
	JZ(LabelRef("store"))
	Label("step")
	x := make([]reg.VecVirtual, cols)
	for j := range x {
		x[j] = s.vector()
		VBROADCASTSS(Mem{Base: b, Disp: 4 * j}, x[j])
	}
	for i, from := range []Mem{{Base: a}, {Base: a, Index: band, Scale: 1}, {Base: a, Index: band, Scale: 2}, {Base: fourth}} {
		w := s.vector()
		VMOVUPS(from, w)
		for j := range x {
			VFMADD231PS(x[j], w, sum[j][i])
		}
	}
	ADDQ(Imm(uint64(4*s.lanes)), a)
	ADDQ(Imm(uint64(4*s.lanes)), fourth)
	ADDQ(ldb, b)
	DECQ(k)
	JNZ(LabelRef("step"))
	Label("store")
	lo, hi := number(s, "lo"), number(s, "hi")
	for j := range sum {
		for i, v := range sum[j] {
			VMAXPS(v, lo, v) // NaN stays
			VMINPS(v, hi, v)
			VMOVUPS(v, place(j, i))
		}
	}
	VZEROUPPER()
	RET()
}

// number is an argument in all lanes.
func number(s isa, name string) reg.VecVirtual {
	addr, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	v := s.vector()
	VBROADCASTSS(addr.Addr, v)
	return v
}

// plane is a part of ISA.Plane: a vector of each row is in a register while the taps go by.
func plane(s isa, rows int) {
	function(fmt.Sprintf("plane%d%s", rows, s.name),
		"func(w, b []float32, ldb int, at []int, init, lo, hi float32, c []float32, ldc, blocks int)",
		fmt.Sprintf("is ISA.Plane for %d rows and blocks times %d columns.", rows, s.lanes))
	w, taps, b, at := pointer("w"), Load(Param("at").Len(), GP64()), pointer("b"), pointer("at")
	ldb, c, ldc, blocks := Load(Param("ldb"), GP64()), pointer("c"), Load(Param("ldc"), GP64()), Load(Param("blocks"), GP64())
	init, lo, hi := number(s, "init"), number(s, "lo"), number(s, "hi")
	SHLQ(Imm(2), ldb)
	SHLQ(Imm(2), ldc)
	// Three rows are within reach of a base register: for eight there are three.
	bases := make([]reg.Register, (rows+2)/3)
	for i := range bases {
		bases[i] = GP64()
	}
	walk := func(ld reg.Register) { // to the bases behind the first
		for i := 1; i < len(bases); i++ {
			LEAQ(Mem{Base: bases[i-1], Index: ld, Scale: 2}, bases[i])
			ADDQ(ld, bases[i])
		}
	}
	row := func(r int, ld reg.Register) Mem {
		if r%3 == 0 {
			return Mem{Base: bases[r/3]}
		}
		return Mem{Base: bases[r/3], Index: ld, Scale: uint8(r % 3)}
	}
	sum := make([]reg.VecVirtual, rows)
	for r := range sum {
		sum[r] = s.vector()
	}
	l, v := GP64(), s.vector()

	Label("block")
	for r := range sum {
		VMOVUPS(init, sum[r])
	}
	XORQ(l, l)
	TESTQ(taps, taps)
	JZ(LabelRef("store"))
	Label("tap")
	MOVQ(Mem{Base: at, Index: l, Scale: 8}, bases[0])
	LEAQ(Mem{Base: b, Index: bases[0], Scale: 4}, bases[0])
	walk(ldb)
	VBROADCASTSS(Mem{Base: w, Index: l, Scale: 4}, v)
	for r := range sum {
		VFMADD231PS(row(r, ldb), v, sum[r])
	}
	INCQ(l)
	CMPQ(l, taps)
	JLT(LabelRef("tap"))

	Label("store")
	MOVQ(c, bases[0])
	walk(ldc)
	for r := range sum {
		VMAXPS(sum[r], lo, sum[r]) // NaN stays
		VMINPS(sum[r], hi, sum[r])
		VMOVUPS(sum[r], row(r, ldc))
	}
	ADDQ(Imm(uint64(4*s.lanes)), b)
	ADDQ(Imm(uint64(4*s.lanes)), c)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// gather copies whole vectors: what a segment's last one holds too much is overwritten by the next segment or row.
func gather() {
	function("gatherAVX2", "func(dst, src []float32, at, segments []int, stride int)",
		"is gatherGo; each segment is three numbers.")
	dst, src, at, stride := pointer("dst"), pointer("src"), pointer("at"), Load(Param("stride"), GP64())
	rows := Load(Param("at").Len(), GP64())
	SHLQ(Imm(2), stride)
	first, count := pointer("segments"), Load(Param("segments").Len(), GP64())
	segment, left, cols, from, to, offset := GP64(), GP64(), GP64(), GP64(), GP64(), GP64()

	Label("row")
	TESTQ(rows, rows)
	JZ(LabelRef("done"))
	MOVQ(Mem{Base: at}, offset)
	MOVQ(first, segment)
	MOVQ(count, left)

	Label("segment")
	TESTQ(left, left)
	JZ(LabelRef("next"))
	MOVQ(Mem{Base: segment}, to)
	LEAQ(Mem{Base: dst, Index: to, Scale: 4}, to)
	MOVQ(Mem{Base: segment, Disp: 8}, from)
	ADDQ(offset, from)
	LEAQ(Mem{Base: src, Index: from, Scale: 4}, from)
	MOVQ(Mem{Base: segment, Disp: 16}, cols)

	copies := func(label string, n int) {
		Label(label)
		CMPQ(cols, Imm(uint64(8*n-7)))
		JLT(LabelRef("after" + label))
		for i := range n {
			v := YMM()
			VMOVUPS(Mem{Base: from, Disp: 32 * i}, v)
			VMOVUPS(v, Mem{Base: to, Disp: 32 * i})
		}
		ADDQ(Imm(uint64(32*n)), from)
		ADDQ(Imm(uint64(32*n)), to)
		SUBQ(Imm(uint64(8*n)), cols)
		JMP(LabelRef(label))
		Label("after" + label)
	}
	copies("four", 4)
	copies("one", 1)
	ADDQ(Imm(24), segment)
	SUBQ(Imm(3), left)
	JMP(LabelRef("segment"))

	Label("next")
	ADDQ(stride, dst)
	ADDQ(Imm(8), at)
	DECQ(rows)
	JMP(LabelRef("row"))

	Label("done")
	VZEROUPPER()
	RET()
}

// column packs one vector of a panel's columns, of so many segments: each is a masked load over what those before it have put there.
func column(pieces int) {
	s := avx512
	function(fmt.Sprintf("column%d%s", pieces, s.name), "func(dst, src []float32, at, pieces []int, stride int)",
		fmt.Sprintf("packs %d columns of a panel, which come from %d places.", s.lanes, pieces))
	dst, src, at, rows := pointer("dst"), pointer("src"), pointer("at"), Load(Param("at").Len(), GP64())
	stride, first := Load(Param("stride"), GP64()), pointer("pieces")
	SHLQ(Imm(2), stride)
	from, lanes := make([]reg.Register, pieces), make([]reg.Register, pieces)
	for i := range from {
		from[i], lanes[i] = GP64(), K()
		MOVQ(Mem{Base: first, Disp: 16 * i}, from[i])
		LEAQ(Mem{Base: src, Index: from[i], Scale: 4}, from[i])
		KMOVW(Mem{Base: first, Disp: 16*i + 8}, lanes[i])
	}
	TESTQ(rows, rows)
	JZ(LabelRef("done"))
	Label("row")
	offset, v := GP64(), s.vector()
	MOVQ(Mem{Base: at}, offset)
	for i := range from {
		source := Mem{Base: from[i], Index: offset, Scale: 4}
		if i == 0 {
			VMOVUPS_Z(source, lanes[i], v)
		} else {
			VMOVUPS(source, lanes[i], v)
		}
	}
	VMOVUPS(v, Mem{Base: dst})
	ADDQ(stride, dst)
	ADDQ(Imm(8), at)
	DECQ(rows)
	JNZ(LabelRef("row"))
	Label("done")
	VZEROUPPER()
	RET()
}
