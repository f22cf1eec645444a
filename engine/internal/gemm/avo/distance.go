package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// distance: the four sums are the lanes of one vector, so that they round as in Go.
func distance() {
	function("distanceAVX2", "func(sum *[4]float64, a, b []float32)", "is distanceGo for whole vectors of 4.")
	sum, a, b, n := Load(Param("sum"), GP64()), pointer("a"), pointer("b"), Load(Param("a").Len(), GP64())
	total, i := YMM(), GP64()
	VXORPD(total, total, total)
	XORQ(i, i)
	ANDQ(I32(-4), n)
	Label("loop")
	CMPQ(i, n)
	JGE(LabelRef("done"))
	x, y := YMM(), YMM()
	VCVTPS2PD(Mem{Base: a, Index: i, Scale: 4}, x)
	VCVTPS2PD(Mem{Base: b, Index: i, Scale: 4}, y)
	VSUBPD(y, x, x)
	VMULPD(x, x, x)
	VADDPD(x, total, total)
	ADDQ(Imm(4), i)
	JMP(LabelRef("loop"))
	Label("done")
	VMOVUPD(total, Mem{Base: sum})
	VZEROUPPER()
	RET()
}
