package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// nearer adds up squares lane by lane and looks after every 32 elements, two cache lines, whether it can stop.
func nearer() {
	function("nearerAVX2", "func(dist, x, z []float32)", "is nearerGo.")
	dist, x, z := pointer("dist"), pointer("x"), pointer("z")
	points, d := Load(Param("dist").Len(), GP64()), Load(Param("z").Len(), GP64())
	pitch, i, left := GP64(), GP64(), GP64()
	MOVQ(d, pitch)
	SHLQ(Imm(2), pitch)
	sum, half, total := YMM(), XMM(), XMM()

	square := func(disp int) {
		v := YMM()
		VMOVUPS(Mem{Base: x, Index: i, Scale: 4, Disp: disp}, v)
		VSUBPS(Mem{Base: z, Index: i, Scale: 4, Disp: disp}, v, v)
		VMULPS(v, v, v)
		VADDPS(v, sum, sum)
	}
	add := func() { // ((0+4)+(2+6)) + ((1+5)+(3+7))
		high := XMM()
		VEXTRACTF128(Imm(1), sum, half)
		VADDPS(half, sum.AsX(), total)
		VMOVHLPS(total, total, high)
		VADDPS(high, total, total)
		VMOVSHDUP(total, high)
		VADDSS(high, total, total)
	}

	Label("point")
	TESTQ(points, points)
	JZ(LabelRef("done"))
	VXORPS(sum, sum, sum)
	VXORPS(total, total, total)
	XORQ(i, i)
	MOVQ(d, left)

	Label("lines")
	CMPQ(left, Imm(32))
	JLT(LabelRef("vectors"))
	for k := range 4 {
		square(32 * k)
	}
	ADDQ(Imm(32), i)
	SUBQ(Imm(32), left)
	add()
	VUCOMISS(Mem{Base: dist}, total)
	JAE(LabelRef("next")) // not if unordered
	JMP(LabelRef("lines"))

	Label("vectors")
	CMPQ(left, Imm(8))
	JLT(LabelRef("sum"))
	square(0)
	ADDQ(Imm(8), i)
	SUBQ(Imm(8), left)
	JMP(LabelRef("vectors"))

	Label("sum")
	add()
	Label("single")
	TESTQ(left, left)
	JZ(LabelRef("compare"))
	v := XMM()
	VMOVSS(Mem{Base: x, Index: i, Scale: 4}, v)
	VSUBSS(Mem{Base: z, Index: i, Scale: 4}, v, v)
	VMULSS(v, v, v)
	VADDSS(v, total, total)
	INCQ(i)
	DECQ(left)
	JMP(LabelRef("single"))

	Label("compare")
	VUCOMISS(Mem{Base: dist}, total)
	JAE(LabelRef("next"))
	VMOVSS(total, Mem{Base: dist})
	Label("next")
	ADDQ(pitch, x)
	ADDQ(Imm(4), dist)
	DECQ(points)
	JMP(LabelRef("point"))

	Label("done")
	VZEROUPPER()
	RET()
}
