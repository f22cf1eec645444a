package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Predicates of VCMPPS. The quiet ones that are false for NaN, but for notGreater and unordered.
const (
	equal      = 0x00
	less       = 0x11
	unordered  = 0x03
	greater    = 0x1e
	notGreater = 0x1a
)

func generateVec() {
	zero, bound := []string{}, []string{"lo", "hi"}
	elementwise("relu", 1, zero, "0 where x < 0.", func(x, _ []reg.VecVirtual) reg.VecVirtual {
		// x where it is not less than 0, NaN among them: the maximum is its second operand where either is NaN.
		v, none := YMM(), YMM()
		VXORPS(none, none, none)
		VMAXPS(x[0], none, v)
		return v
	})
	elementwise("leakyRelu", 1, []string{"alpha"}, "alpha*x where x < 0.", func(x, k []reg.VecVirtual) reg.VecVirtual {
		v, none, below := YMM(), YMM(), YMM()
		VXORPS(none, none, none)
		VMULPS(k[0], x[0], v)
		VCMPPS(Imm(less), none, x[0], below)
		VBLENDVPS(below, v, x[0], v)
		return v
	})
	elementwise("clip", 1, bound, "lo where x < lo, hi where x > hi.", func(x, k []reg.VecVirtual) reg.VecVirtual {
		v := YMM()
		VMAXPS(x[0], k[0], v) // NaN stays
		VMINPS(v, k[1], v)
		return v
	})
	elementwise("step", 1, bound, "1 where lo < x < hi, else 0.", func(x, k []reg.VecVirtual) reg.VecVirtual {
		v := inside(x[0], k)
		return v
	})
	elementwise("gate", 2, bound, "a where lo < b < hi, else a*0.", func(x, k []reg.VecVirtual) reg.VecVirtual {
		v := inside(x[1], k)
		VMULPS(v, x[0], v)
		return v
	})
	elementwise("exp", 1, zero, "e to the power of x.", func(x, _ []reg.VecVirtual) reg.VecVirtual { return exponential(x[0]) })
	elementwise("tanh", 1, zero, "the hyperbolic tangent of x.", func(x, _ []reg.VecVirtual) reg.VecVirtual { return hyperbolic(x[0]) })
	binary := func(name, doc string, op func(...Op)) {
		elementwise(name, 2, zero, doc, func(x, _ []reg.VecVirtual) reg.VecVirtual {
			v := YMM()
			op(x[1], x[0], v)
			return v
		})
	}
	binary("add", "a + b.", VADDPS)
	binary("sub", "a - b.", VSUBPS)
	binary("mul", "a * b.", VMULPS)
	elementwise("larger", 2, zero, "the larger of a and b, NaN if either is.", func(x, _ []reg.VecVirtual) reg.VecVirtual {
		v, nan := YMM(), YMM()
		VMAXPS(x[1], x[0], v) // b where either is NaN
		VCMPPS(Imm(unordered), x[0], x[0], nan)
		VBLENDVPS(nan, x[0], v, v)
		return v
	})
	accumulate()
	shiftRows()
	sums("sumRowsAVX2", "func(y, x []float32, a []int, w []float32)", "is sumRowsGo for whole vectors.", false)
	sums("sumPairsAVX2", "func(y, x []float32, a, b []int, w []float32)", "is sumPairsGo for whole vectors.", true)
	weigh()
	least()
	firstAtMost()
	lower()
	lowerTransposed()
	nearer()
	distance()
	copyRows()
	unzipRows()
	zipRows()
}

// inside is 1 where k[0] < x < k[1], else 0.
func inside(x reg.VecVirtual, k []reg.VecVirtual) reg.VecVirtual {
	v, below, one := YMM(), YMM(), YMM()
	VCMPPS(Imm(greater), k[0], x, v)
	VCMPPS(Imm(less), k[1], x, below)
	VANDPS(below, v, v)
	VPCMPEQD(one, one, one) // 1.0 is 0x3f800000: all ones, 25 bits up and 2 down
	VPSLLD(Imm(25), one, one)
	VPSRLD(Imm(2), one, one)
	VANDPS(one, v, v)
	return v
}

// elementwise is a loop over whole vectors. The destination may be an operand.
func elementwise(name string, operands int, constants []string, doc string, f func(x, k []reg.VecVirtual) reg.VecVirtual) {
	args := "y, x []float32"
	names := []string{"x"}
	if operands == 2 {
		args, names = "y, a, b []float32", []string{"a", "b"}
	}
	for _, c := range constants {
		args += ", " + c + " float32"
	}
	function(name+"AVX2", "func("+args+")", "is "+name+"Go for whole vectors: "+doc)
	y := pointer("y")
	n := Load(Param("y").Len(), GP64())
	from := make([]reg.Register, operands)
	for i, name := range names {
		from[i] = pointer(name)
	}
	k := make([]reg.VecVirtual, len(constants))
	for i, c := range constants {
		k[i] = YMM()
		broadcast(c, k[i])
	}
	SHRQ(Imm(3), n)
	JZ(LabelRef("done"))
	Label("loop")
	x := make([]reg.VecVirtual, operands)
	for i := range x {
		x[i] = YMM()
		VMOVUPS(Mem{Base: from[i]}, x[i])
		ADDQ(Imm(32), from[i])
	}
	VMOVUPS(f(x, k), Mem{Base: y})
	ADDQ(Imm(32), y)
	DECQ(n)
	JNZ(LabelRef("loop"))
	Label("done")
	VZEROUPPER()
	RET()
}

// broadcast fills a vector with an argument.
func broadcast(name string, to reg.VecVirtual) {
	addr, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(addr.Addr, to)
}

func accumulate() {
	function("accumulateAVX2", "func(sum []float64, x []float32)", "is accumulateGo for whole vectors.")
	sum, x := pointer("sum"), pointer("x")
	n := Load(Param("x").Len(), GP64())
	SHRQ(Imm(2), n)
	Label("loop")
	v := YMM()
	VCVTPS2PD(Mem{Base: x}, v)
	VADDPD(Mem{Base: sum}, v, v)
	VMOVUPD(v, Mem{Base: sum})
	ADDQ(Imm(16), x)
	ADDQ(Imm(32), sum)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func shiftRows() {
	function("shiftRowsAVX2", "func(y, x []float32, cols int, by []float32, times, lo float32)", "is shiftRowsGo for rows of whole vectors.")
	y, x, by := pointer("y"), pointer("x"), pointer("by")
	rows, vectors, n := Load(Param("by").Len(), GP64()), Load(Param("cols"), GP64()), GP64()
	SHRQ(Imm(3), vectors)
	times, lo := YMM(), YMM()
	broadcast("times", times)
	broadcast("lo", lo)
	Label("row")
	shift := YMM()
	VBROADCASTSS(Mem{Base: by}, shift)
	MOVQ(vectors, n)
	Label("vector")
	v := YMM()
	VADDPS(Mem{Base: x}, shift, v)
	VMULPS(times, v, v)
	VMAXPS(v, lo, v) // NaN stays
	VMOVUPS(v, Mem{Base: y})
	ADDQ(Imm(32), x)
	ADDQ(Imm(32), y)
	DECQ(n)
	JNZ(LabelRef("vector"))
	ADDQ(Imm(4), by)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

func least() {
	function("leastAVX2", "func(x []float32, to *[8]float32)", "sets each of to to the least of itself and every eighth of x.")
	x := pointer("x")
	n := Load(Param("x").Len(), GP64())
	to := Load(Param("to"), GP64())
	low := [4]reg.VecVirtual{YMM(), YMM(), YMM(), YMM()}
	for i := range low {
		VMOVUPS(Mem{Base: to}, low[i])
	}
	SHRQ(Imm(3), n)
	Label("four")
	CMPQ(n, Imm(4))
	JLT(LabelRef("one"))
	for i := range low {
		v := YMM()
		VMOVUPS(Mem{Base: x, Disp: 32 * i}, v)
		VMINPS(low[i], v, low[i]) // low where x is NaN
	}
	ADDQ(Imm(128), x)
	SUBQ(Imm(4), n)
	JMP(LabelRef("four"))
	Label("one")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	v := YMM()
	VMOVUPS(Mem{Base: x}, v)
	VMINPS(low[0], v, low[0])
	ADDQ(Imm(32), x)
	DECQ(n)
	JMP(LabelRef("one"))
	Label("done")
	VMINPS(low[1], low[0], low[0])
	VMINPS(low[3], low[2], low[2])
	VMINPS(low[2], low[0], low[0])
	VMOVUPS(low[0], Mem{Base: to})
	VZEROUPPER()
	RET()
}

func firstAtMost() {
	function("firstAtMostAVX2", "func(x []float32, limit float32) int", "is firstAtMostGo for whole vectors.")
	x := pointer("x")
	n := Load(Param("x").Len(), GP64())
	limit := YMM()
	broadcast("limit", limit)
	i := GP64()
	XORQ(i, i)
	ANDQ(I32(-8), n)
	Label("loop")
	CMPQ(i, n)
	JGE(LabelRef("done"))
	v := YMM()
	VMOVUPS(Mem{Base: x, Index: i, Scale: 4}, v)
	VCMPPS(Imm(notGreater), limit, v, v)
	bits := GP32()
	VMOVMSKPS(v, bits)
	TESTL(bits, bits)
	JNZ(LabelRef("found"))
	ADDQ(Imm(8), i)
	JMP(LabelRef("loop"))
	Label("found")
	BSFL(bits, bits)
	ADDQ(bits.As64(), i)
	Label("done")
	VZEROUPPER()
	Store(i, ReturnIndex(0))
	RET()
}
