package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func generateGemm() {
	tile(avx512, 8, 2)
	tile(avx512, 8, 3)
	tile(avx512, 4, 2)
	tile(avx2, 4, 3)
	tile(avx2, 1, 8)
	gather()
}

// ahead is how far in front of what it reads of A a micro-kernel prefetches, in bytes: some 300 cycles.
const ahead = 512

// tile is a micro-kernel: rows x vectors of C are in registers while k goes up.
func tile(s isa, rows, vectors int) {
	function(fmt.Sprintf("tile%dx%d%s", rows, vectors*s.lanes, s.name),
		"func(k int, a, b []float32, at []int, init, c []float32, ldc int)",
		fmt.Sprintf("is Kernel.tile for %d rows and %d columns.", rows, vectors*s.lanes))
	k, a, b, at := Load(Param("k"), GP64()), pointer("a"), pointer("b"), pointer("at")
	init, c, ldc := pointer("init"), pointer("c"), Load(Param("ldc"), GP64())
	SHLQ(Imm(2), ldc)

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
			VMOVUPS(Mem{Base: row, Disp: 4 * s.lanes * j}, v[j])
		}
	}

	Label("sum")
	TESTQ(k, k)
	JZ(LabelRef("store"))
	Label("step")
	from := GP64()
	MOVQ(Mem{Base: at}, from)
	source := func(j int) Mem { return Mem{Base: b, Index: from, Scale: 4, Disp: 4 * s.lanes * j} }
	if rows == 1 { // each vector of b serves once: it can be the instruction's operand
		w := s.vector()
		VBROADCASTSS(Mem{Base: a}, w)
		for j := range vectors {
			VFMADD231PS(source(j), w, sum[0][j])
		}
	} else {
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
	}
	ADDQ(Imm(8), at)
	ADDQ(Imm(uint64(4*rows)), a)
	DECQ(k)
	JNZ(LabelRef("step"))

	Label("store")
	for r, v := range sum {
		if r > 0 {
			ADDQ(ldc, c)
		}
		for j := range vectors {
			VMOVUPS(v[j], Mem{Base: c, Disp: 4 * s.lanes * j})
		}
	}
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
