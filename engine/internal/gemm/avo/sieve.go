package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The shape of package sieve: so many queries meet so many members at once.
const (
	sieveRows = 32
	sieveCols = 32
	quadBytes = 4 * sieveCols // a panel's bytes of four values
)

func generateSieve() {
	for _, keep := range []bool{true, false} {
		sieveAMX(keep)
		sieveVNNI(keep)
	}
	quantize()
	squares()
}

// sifter is what the kernels do with a row of products: keep records of those that reach a limit, or the largest.
type sifter struct {
	keep         bool
	panels, half reg.Register
	n0, n1       reg.VecVirtual
	limits, kept reg.Register // to keep
	id, count    reg.Register
	most         reg.Register
}

func name(kernel string, keep bool) (fn, signature, doc string) {
	arguments := "q []int8, pitch, quads int, panels []uint8, half []int32"
	if kernel == "AMX" {
		arguments = "config *[64]uint8, q []int8, pitch, tiles int, panels []uint8, half []int32, scratch []int32"
	}
	if keep {
		return "keep" + kernel, "func(" + arguments + ", limits []int32, kept []uint64) int", "is keepGo."
	}
	return "most" + kernel, "func(" + arguments + ", most []int32)", "is mostGo, in sixteen lanes."
}

func newSifter(keep bool) *sifter {
	s := &sifter{keep: keep, half: pointer("half"), panels: Load(Param("half").Len(), GP64()), n0: ZMM(), n1: ZMM()}
	SHRQ(Imm(5), s.panels)
	if !keep {
		s.most = pointer("most")
		return s
	}
	s.limits, s.kept = pointer("limits"), pointer("kept")
	s.id, s.count = GP64(), GP64()
	XORQ(s.id, s.id)
	XORQ(s.count, s.count)
	return s
}

// panel reads what belongs to the members of the panel in hand.
func (s *sifter) panel() {
	VMOVDQU32(Mem{Base: s.half}, s.n0)
	VMOVDQU32(Mem{Base: s.half, Disp: 64}, s.n1)
	ADDQ(I32(4*sieveCols), s.half)
}

// look is for row r, whose products with the members are v0 and v1.
func (s *sifter) look(r int, v0, v1 Op) {
	if !s.keep {
		a, b := ZMM(), ZMM()
		VMOVDQU32(v0, a)
		VMOVDQU32(v1, b)
		VPSUBD(s.n0, a, a)
		VPSUBD(s.n1, b, b)
		VPMAXSD(a, b, b)
		VPMAXSD(Mem{Base: s.most, Disp: 64 * r}, b, b)
		VMOVDQU32(b, Mem{Base: s.most, Disp: 64 * r})
		return
	}
	limit, a, b, low, high, mask := ZMM(), ZMM(), ZMM(), K(), K(), GP32()
	VPBROADCASTD(Mem{Base: s.limits, Disp: 4 * r}, limit)
	VPADDD(v0, limit, a)
	VPADDD(v1, limit, b)
	VPCMPD(Imm(5), s.n0, a, low) // not less
	VPCMPD(Imm(5), s.n1, b, high)
	KUNPCKWD(low, high, low)
	KMOVD(low, mask)
	MOVL(mask, Mem{Base: s.kept, Index: s.count, Scale: 8})
	MOVL(s.id.(reg.GPVirtual).As32(), Mem{Base: s.kept, Index: s.count, Scale: 8, Disp: 4})
	INCQ(s.id)
	CMPL(mask, Imm(1))
	SBBQ(I8(-1), s.count) // one more unless the mask is 0
}

func (s *sifter) done() {
	VZEROUPPER()
	if s.keep {
		Store(s.count, ReturnIndex(0))
	}
	RET()
}

// sieveAMX: four tiles of sums; two of each side go by. avo and Go's assembler do not know these instructions.
func sieveAMX(keep bool) {
	function(name("AMX", keep))
	config := reg.RAX
	Load(Param("config"), config)
	amx(0x78, 0x49, 0x00, config) // LDTILECFG
	scratch := reg.RAX
	Load(Param("scratch").Base(), scratch)
	s := newSifter(keep)
	query, second, b, pitch, step := reg.RSI, reg.RDI, reg.RBX, reg.RDX, reg.RCX
	Load(Param("pitch"), pitch)
	Load(Param("panels").Base(), b)
	MOVQ(U32(quadBytes), step)
	k := GP64()
	TESTQ(s.panels, s.panels)
	JZ(LabelRef("done"))
	Label("panel")
	Load(Param("q").Base(), query)
	MOVQ(pitch, second)
	SHLQ(Imm(4), second)
	ADDQ(query, second)
	for t := range 4 {
		amx(0x7b, 0x49, 0xc0|t<<3) // TILEZERO
	}
	Load(Param("tiles"), k)
	Label("tile")
	load := func(t int, base, index reg.GPPhysical, disp int) { move(0x7b, t, base, index, disp) }
	load(4, query, pitch, 0)
	load(6, b, step, 0)
	multiply(0, 4, 6)
	load(7, b, step, 64)
	multiply(1, 4, 7)
	load(5, second, pitch, 0)
	multiply(2, 5, 6)
	multiply(3, 5, 7)
	ADDQ(Imm(64), query)
	ADDQ(Imm(64), second)
	ADDQ(I32(16*quadBytes), b)
	DECQ(k)
	JNZ(LabelRef("tile"))
	for t := range 4 {
		move(0x7a, t, scratch, step, t/2*16*quadBytes+t%2*64)
	}
	s.panel()
	for r := range sieveRows {
		s.look(r, Mem{Base: scratch, Disp: quadBytes * r}, Mem{Base: scratch, Disp: quadBytes*r + 64})
	}
	DECQ(s.panels)
	JNZ(LabelRef("panel"))
	Label("done")
	amx(0x78, 0x49, 0xc0) // TILERELEASE
	s.done()
}

// amx emits a VEX instruction of the map 0F38: its third byte, opcode and what follows. It reads registers.
func amx(third, opcode, modrm int, inputs ...reg.GPPhysical) {
	raw(inputs, 0xc4, 0xe2, third, opcode, modrm)
}

// move is TILELOADD or TILESTORED of tile t, whose rows begin at base+disp and lie index apart.
func move(third, t int, base, index reg.GPPhysical, disp int) {
	sib := int(index.PhysicalIndex())<<3 | int(base.PhysicalIndex())
	raw([]reg.GPPhysical{base, index}, 0xc4, 0xe2, third, 0x4b, 0x80|t<<3|4, sib, disp&255, disp>>8&255, disp>>16&255, disp>>24&255)
}

// multiply is TDPBSUD: to += a (signed) times b (unsigned).
func multiply(to, a, b int) { amx((^b&15)<<3|2, 0x5e, 0xc0|to<<3|a) }

func raw(inputs []reg.GPPhysical, bytes ...int) {
	for i, v := range bytes {
		x := &ir.Instruction{Opcode: "BYTE", Operands: []Op{Imm(uint64(v))}}
		if i == 0 {
			for _, r := range inputs {
				x.Inputs = append(x.Inputs, r)
			}
		}
		Instruction(x)
	}
}

// sieveVNNI: eight rows at a time.
func sieveVNNI(keep bool) {
	const rows = 8
	fn, signature, doc := name("VNNI", keep)
	function(fn, signature, doc)
	s := newSifter(keep)
	pitch, panel, b, k := Load(Param("pitch"), GP64()), pointer("panels"), GP64(), GP64()
	query := [3]reg.Register{GP64(), GP64(), GP64()}
	var sum [rows][2]reg.VecVirtual
	for r := range sum {
		sum[r] = [2]reg.VecVirtual{ZMM(), ZMM()}
	}
	TESTQ(s.panels, s.panels)
	JZ(LabelRef("done"))
	Label("panel")
	s.panel()
	for first := 0; first < sieveRows; first += rows {
		Load(Param("q").Base(), query[0])
		for range first / rows {
			LEAQ(Mem{Base: query[0], Index: pitch, Scale: 8}, query[0])
		}
		for i := range 2 {
			LEAQ(Mem{Base: query[i], Index: pitch, Scale: 2}, query[i+1])
			ADDQ(pitch, query[i+1])
		}
		MOVQ(panel, b)
		Load(Param("quads"), k)
		for r := range sum {
			for j := range sum[r] {
				VPXORD(sum[r][j], sum[r][j], sum[r][j])
			}
		}
		quad := fmt.Sprintf("quad%d", first)
		Label(quad)
		x0, x1 := ZMM(), ZMM()
		VMOVDQU32(Mem{Base: b}, x0)
		VMOVDQU32(Mem{Base: b, Disp: 64}, x1)
		for r := range sum {
			w, at := ZMM(), Mem{Base: query[r/3]}
			if r%3 > 0 {
				at.Index, at.Scale = pitch, uint8(r%3)
			}
			VPBROADCASTD(at, w)
			VPDPBUSD(w, x0, sum[r][0])
			VPDPBUSD(w, x1, sum[r][1])
		}
		for i := range query {
			ADDQ(Imm(4), query[i])
		}
		ADDQ(I32(quadBytes), b)
		DECQ(k)
		JNZ(LabelRef(quad))
		for r := range sum {
			s.look(first+r, sum[r][0], sum[r][1])
		}
	}
	MOVQ(pitch, b)
	SHLQ(Imm(5), b)
	ADDQ(b, panel)
	DECQ(s.panels)
	JNZ(LabelRef("panel"))
	Label("done")
	s.done()
}

// quantize: see quantizeGo.
func quantize() {
	function("quantizeAVX512", "func(y []int8, x, centre []float32, inverse, step float32, to *[4][16]uint32)",
		fmt.Sprintf("is quantizeGo for whole vectors of %d.", avx512.lanes))
	y, x, centre := pointer("y"), pointer("x"), pointer("centre")
	n, to := Load(Param("y").Len(), GP64()), Load(Param("to"), GP64())
	inverse, step := number(avx512, "inverse"), number(avx512, "step")
	var total [4]reg.VecVirtual
	for i := range total {
		total[i] = ZMM()
		VMOVDQU32(Mem{Base: to, Disp: 64 * i}, total[i])
	}
	inside, outside, sum, norm := total[0], total[1], total[2], total[3]
	most, least := ZMM(), ZMM()
	edge := GP32()
	MOVL(U32(0x42fe0000), edge) // 127
	VPBROADCASTD(edge, most)
	MOVL(U32(0xc2fe0000), edge)
	VPBROADCASTD(edge, least)
	i := GP64()
	XORQ(i, i)
	ANDQ(I32(-16), n)
	Label("loop")
	CMPQ(i, n)
	JGE(LabelRef("done"))
	v, t, bounded, whole, square := ZMM(), ZMM(), ZMM(), ZMM(), ZMM()
	VMOVUPS(Mem{Base: x, Index: i, Scale: 4}, v)
	VSUBPS(Mem{Base: centre, Index: i, Scale: 4}, v, v)
	VMULPS(inverse, v, t)
	VMINPS(t, most, bounded) // NaN stays
	VMAXPS(bounded, least, bounded)
	out := K()
	VCMPPS(Imm(4), t, bounded, out) // not equal
	VCVTPS2DQ(bounded, whole)
	VPMOVDB(whole, Mem{Base: y, Index: i, Scale: 1})
	VPADDD(whole, sum, sum)
	VPABSD(whole, square)
	VPMADDWD(square, square, square)
	VPADDD(square, norm, norm)
	VCVTDQ2PS(whole, whole)
	VFNMADD231PS(whole, step, v)
	VMULPS(v, v, v)
	VADDPS(v, outside, out, outside)
	KNOTW(out, out)
	VADDPS(v, inside, out, inside)
	ADDQ(Imm(16), i)
	JMP(LabelRef("loop"))
	Label("done")
	for i := range total {
		VMOVDQU32(total[i], Mem{Base: to, Disp: 64 * i})
	}
	VZEROUPPER()
	RET()
}

// squares: while a pair is measured, the member of a later one is on its way.
func squares() {
	const later = 3
	function("squaresAVX512", "func(to []float32, pairs [][2]int32, q, rows []float32, d int)", "is squaresGo.")
	to, pairs, q, rows := pointer("to"), pointer("pairs"), pointer("q"), pointer("rows")
	n, d := Load(Param("pairs").Len(), GP64()), Load(Param("d"), GP64())
	pitch, last := GP64(), GP64()
	MOVQ(d, pitch)
	SHLQ(Imm(2), pitch)
	MOVQ(n, last) // the last pair
	LEAQ(Mem{Base: pairs, Index: last, Scale: 8, Disp: -8}, last)
	tail := K()
	bits, shift := GP64(), reg.RCX
	MOVQ(d, shift)
	ANDQ(Imm(15), shift)
	MOVQ(U64(1), bits)
	SHLQ(reg.CL, bits)
	DECQ(bits)
	KMOVW(bits.As32(), tail)
	sum := [2]reg.VecVirtual{ZMM(), ZMM()}
	a, b, next, left := GP64(), GP64(), GP64(), GP64()

	Label("pair")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	LEAQ(Mem{Base: pairs, Disp: 8 * later}, next)
	CMPQ(next, last)
	CMOVQHI(last, next)
	for _, p := range []struct{ from, base, to reg.Register }{{pairs, q, a}, {pairs, rows, b}, {next, rows, next}} {
		disp := 4 // the member
		if p.to == a {
			disp = 0
		}
		MOVLQSX(Mem{Base: p.from, Disp: disp}, p.to)
		IMULQ(pitch, p.to)
		ADDQ(p.base, p.to)
	}
	for _, s := range sum {
		VPXORD(s, s, s)
	}
	MOVQ(d, left)
	square := func(i int, s Op) {
		v := ZMM()
		VMOVUPS(Mem{Base: a, Disp: 64 * i}, v)
		VSUBPS(Mem{Base: b, Disp: 64 * i}, v, v)
		VFMADD231PS(v, v, s)
		PREFETCHT0(Mem{Base: next, Disp: 64 * i})
	}
	Label("two")
	CMPQ(left, Imm(32))
	JLT(LabelRef("one"))
	square(0, sum[0])
	square(1, sum[1])
	for _, p := range []reg.Register{a, b, next} {
		ADDQ(I32(128), p)
	}
	SUBQ(Imm(32), left)
	JMP(LabelRef("two"))
	Label("one")
	CMPQ(left, Imm(16))
	JLT(LabelRef("rest"))
	square(0, sum[0])
	for _, p := range []reg.Register{a, b, next} {
		ADDQ(Imm(64), p)
	}
	Label("rest")
	x, y := ZMM(), ZMM()
	VMOVUPS_Z(Mem{Base: a}, tail, x)
	VMOVUPS_Z(Mem{Base: b}, tail, y)
	VSUBPS(y, x, x)
	VFMADD231PS(x, x, sum[1])
	PREFETCHT0(Mem{Base: next})
	VADDPS(sum[0], sum[1], x)
	half := YMM()
	VEXTRACTF64X4(Imm(1), x, half)
	VADDPS(half, x.AsY(), x.AsY())
	quarter := XMM()
	VEXTRACTF128(Imm(1), x.AsY(), quarter)
	VADDPS(quarter, x.AsX(), quarter)
	high := XMM()
	VMOVHLPS(quarter, quarter, high)
	VADDPS(high, quarter, quarter)
	VMOVSHDUP(quarter, high)
	VADDSS(high, quarter, quarter)
	VMOVSS(quarter, Mem{Base: to})
	ADDQ(Imm(4), to)
	ADDQ(Imm(8), pairs)
	DECQ(n)
	JMP(LabelRef("pair"))
	Label("done")
	VZEROUPPER()
	RET()
}
