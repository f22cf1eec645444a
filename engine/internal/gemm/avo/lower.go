package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// together is how many rows of the triangle are worked on at once.
const together = 8

// triangle is a loop over the rows of a packed lower triangle, eight at a time, then one at a time.
type triangle struct {
	m, k  reg.Register // the first row's first value; rows that are left
	width reg.Register // values of the first row but the diagonal
	rows  [together]reg.Register
	j     reg.Register
}

// each emits body for groups of eight rows and for single ones.
func (t *triangle) each(width func(n int), next func(n int)) {
	for _, n := range []int{together, 1} {
		name := fmt.Sprintf("rows%d", n)
		Label(name)
		CMPQ(t.k, Imm(uint64(n)))
		JLT(LabelRef("after" + name))
		MOVQ(t.m, t.rows[0])
		for r := 1; r < n; r++ { // a row has width+r values
			LEAQ(Mem{Base: t.rows[r-1], Index: t.width, Scale: 4, Disp: 4 * r}, t.rows[r])
		}
		width(n)
		LEAQ(Mem{Base: t.rows[n-1], Index: t.width, Scale: 4, Disp: 4 * n}, t.m)
		ADDQ(Imm(uint64(n)), t.width)
		next(n)
		SUBQ(Imm(uint64(n)), t.k)
		JMP(LabelRef(name))
		Label("after" + name)
	}
}

func newTriangle(count string) *triangle {
	t := &triangle{m: pointer("m"), k: Load(Param(count).Len(), GP64()), width: GP64(), j: GP64()}
	for r := range t.rows {
		t.rows[r] = GP64()
	}
	XORQ(t.width, t.width)
	return t
}

// at is value j+more of row r.
func (t *triangle) at(r, more int) Mem {
	return Mem{Base: t.rows[r], Index: t.j, Scale: 4, Disp: 4 * more}
}

// lower: each row's sum is one chain of multiply-adds, and eight of them overlap.
func lower() {
	function("lowerAVX2", "func(z, x [][8]float32, m []float32)", "is lowerGo, with fused multiply-adds.")
	t := newTriangle("z")
	z, first, x := pointer("z"), pointer("x"), GP64()
	t.each(func(n int) {
		var sum [together]reg.VecVirtual
		for r := range n {
			sum[r] = YMM()
			VXORPS(sum[r], sum[r], sum[r])
		}
		add := func(more, from int) {
			v, w := YMM(), YMM()
			VMOVUPS(Mem{Base: x, Disp: 32 * more}, v)
			for r := from; r < n; r++ {
				VBROADCASTSS(t.at(r, more), w)
				VFMADD231PS(v, w, sum[r])
			}
		}
		MOVQ(first, x)
		XORQ(t.j, t.j)
		loop := fmt.Sprintf("sum%d", n)
		Label(loop)
		CMPQ(t.j, t.width)
		JGE(LabelRef("diagonal" + loop))
		add(0, 0)
		ADDQ(Imm(32), x)
		INCQ(t.j)
		JMP(LabelRef(loop))
		Label("diagonal" + loop)
		for more := range n {
			add(more, more)
		}
		for r := range n {
			VMOVUPS(sum[r], Mem{Base: z, Disp: 32 * r})
		}
	}, func(n int) { ADDQ(I32(32*n), z) })
	VZEROUPPER()
	RET()
}

// lowerTransposed: eight rows are added to a vector while it is in a register.
func lowerTransposed() {
	function("lowerTransposedAVX2", "func(x, z [][8]float32, m []float32)", "is lowerTransposedGo, with fused multiply-adds.")
	t := newTriangle("z")
	first, z, x := pointer("x"), pointer("z"), GP64()
	t.each(func(n int) {
		var factor [together]reg.VecVirtual
		for r := range n {
			factor[r] = YMM()
			VMOVUPS(Mem{Base: z, Disp: 32 * r}, factor[r])
		}
		add := func(more, from int) {
			v, w := YMM(), YMM()
			VMOVUPS(Mem{Base: x, Disp: 32 * more}, v)
			for r := from; r < n; r++ {
				VBROADCASTSS(t.at(r, more), w)
				VFMADD231PS(factor[r], w, v)
			}
			VMOVUPS(v, Mem{Base: x, Disp: 32 * more})
		}
		MOVQ(first, x)
		XORQ(t.j, t.j)
		loop := fmt.Sprintf("add%d", n)
		Label(loop)
		CMPQ(t.j, t.width)
		JGE(LabelRef("diagonal" + loop))
		add(0, 0)
		ADDQ(Imm(32), x)
		INCQ(t.j)
		JMP(LabelRef(loop))
		Label("diagonal" + loop)
		for more := range n {
			add(more, more)
		}
	}, func(n int) { ADDQ(I32(32*n), z) })
	VZEROUPPER()
	RET()
}
