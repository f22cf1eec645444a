package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// sums keeps the sums of four vectors of columns in registers while it goes over what they are of, and then those of one at a time.
func sums(name, args, doc string, pairs bool) {
	function(name, args, doc)
	y, x, w := pointer("y"), pointer("x"), pointer("w")
	n, terms := Load(Param("y").Len(), GP64()), Load(Param("w").Len(), GP64())
	a, b := pointer("a"), reg.Register(nil)
	if pairs {
		b = pointer("b")
	}
	zero, t, l, at, other := YMM(), YMM(), GP64(), GP64(), GP64()
	VXORPS(zero, zero, zero)
	SHRQ(Imm(3), n)
	for _, wide := range []int{4, 1} {
		label := func(what string) string { return fmt.Sprintf("%s%d", what, wide) }
		column := func(at reg.Register, i int) Mem { return Mem{Base: x, Index: at, Scale: 4, Disp: 32 * i} }
		sum := make([]reg.VecVirtual, wide)
		Label(label("block"))
		CMPQ(n, Imm(uint64(wide)))
		JL(LabelRef(label("done")))
		XORQ(l, l)
		if pairs {
			MOVQ(Mem{Base: a}, at)
			VBROADCASTSS(Mem{Base: w}, t)
			INCQ(l)
		}
		for i := range sum {
			sum[i] = YMM()
			if pairs {
				VADDPS(column(at, i), zero, sum[i]) // -0 becomes 0
				VMULPS(t, sum[i], sum[i])
			} else {
				VMOVUPS(zero, sum[i])
			}
		}
		Label(label("term"))
		CMPQ(l, terms)
		JGE(LabelRef(label("store")))
		MOVQ(Mem{Base: a, Index: l, Scale: 8}, at)
		if pairs {
			MOVQ(Mem{Base: b, Index: l, Scale: 8}, other)
		}
		VBROADCASTSS(Mem{Base: w, Index: l, Scale: 4}, t)
		for i := range sum {
			v := YMM()
			if pairs {
				VMOVUPS(column(at, i), v)
				VADDPS(column(other, i), v, v)
				VMULPS(t, v, v)
			} else {
				VMULPS(column(at, i), t, v)
			}
			VADDPS(v, sum[i], sum[i])
		}
		INCQ(l)
		JMP(LabelRef(label("term")))
		Label(label("store"))
		for i := range sum {
			VMOVUPS(sum[i], Mem{Base: y, Disp: 32 * i})
		}
		ADDQ(Imm(uint64(32*wide)), x)
		ADDQ(Imm(uint64(32*wide)), y)
		SUBQ(Imm(uint64(wide)), n)
		JMP(LabelRef(label("block")))
		Label(label("done"))
	}
	VZEROUPPER()
	RET()
}

// weigh has the four places in the lanes of a vector, so that each adds up its samples in their order.
func weigh() {
	function("weighAVX2", "func(sum *[7][4]float64, near []float64, at []int, down, v []float64, ld int)", "is weighGo.")
	to, near, at, down, v := Load(Param("sum"), GP64()), pointer("near"), pointer("at"), pointer("down"), pointer("v")
	n, ld, i := Load(Param("at").Len(), GP64()), Load(Param("ld"), GP64()), GP64()
	SHLQ(Imm(3), ld)
	var sum [7]reg.VecVirtual
	for k := range sum {
		sum[k] = YMM()
		VXORPD(sum[k], sum[k], sum[k])
	}
	XORQ(i, i)
	Label("loop")
	CMPQ(i, n)
	JGE(LabelRef("done"))
	g, j := YMM(), GP64()
	MOVQ(Mem{Base: at, Index: i, Scale: 8}, j)
	VBROADCASTSD(Mem{Base: down, Index: i, Scale: 8}, g)
	VMULPD(Mem{Base: near, Index: j, Scale: 8}, g, g)
	VADDPD(g, sum[0], sum[0])
	for k := 1; k < len(sum); k++ {
		s := YMM()
		VBROADCASTSD(Mem{Base: v, Disp: 8 * (k - 1)}, s)
		VMULPD(g, s, s)
		VADDPD(s, sum[k], sum[k])
	}
	ADDQ(ld, v)
	INCQ(i)
	JMP(LabelRef("loop"))
	Label("done")
	for k := range sum {
		VMOVUPD(sum[k], Mem{Base: to, Disp: 32 * k})
	}
	VZEROUPPER()
	RET()
}
