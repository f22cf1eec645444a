package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// rows is a loop over rows, each in blocks of so many columns, of which the last is moved back so that it ends with the row.
// body is for the block from column j on.
func rows(names []string, block int, body func(row map[string]reg.Register, j reg.Register)) {
	row, ld := map[string]reg.Register{}, map[string]reg.Register{}
	for _, name := range names {
		row[name] = pointer(name)
		ld[name] = Load(Param("ld"+name[:1]), GP64())
		SHLQ(Imm(2), ld[name])
	}
	n, last, j := Load(Param("rows"), GP64()), Load(Param("cols"), GP64()), GP64()
	SUBQ(Imm(uint64(block)), last)

	Label("row")
	XORQ(j, j)
	Label("block")
	CMPQ(j, last)
	JGE(LabelRef("last"))
	body(row, j)
	ADDQ(Imm(uint64(block)), j)
	JMP(LabelRef("block"))
	Label("last")
	MOVQ(last, j)
	body(row, j)
	for _, name := range names {
		ADDQ(ld[name], row[name])
	}
	DECQ(n)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

func copyRows() {
	for _, s := range []isa{avx2, half} {
		function("copyRows"+s.name, "func(dst []float32, ldd int, src []float32, lds, rows, cols int)",
			fmt.Sprintf("is CopyRows for %d columns at least.", s.lanes))
		rows([]string{"dst", "src"}, s.lanes, func(row map[string]reg.Register, j reg.Register) {
			v := s.vector()
			VMOVUPS(Mem{Base: row["src"], Index: j, Scale: 4}, v)
			VMOVUPS(v, Mem{Base: row["dst"], Index: j, Scale: 4})
		})
	}
}

func unzipRows() {
	for _, s := range []isa{avx2, half} {
		function("unzipRows"+s.name, "func(even, odd []float32, lde int, src []float32, lds, rows, cols int)",
			fmt.Sprintf("is UnzipRows for an even number of columns, %d at least.", 2*s.lanes))
		odd := pointer("odd")
		back := GP64() // from a row of even to that of odd
		MOVQ(odd, back)
		SUBQ(pointer("even"), back)
		rows([]string{"even", "src"}, 2*s.lanes, func(row map[string]reg.Register, j reg.Register) {
			a, b, x, y, to := s.vector(), s.vector(), s.vector(), s.vector(), GP64()
			VMOVUPS(Mem{Base: row["src"], Index: j, Scale: 4}, a)
			VMOVUPS(Mem{Base: row["src"], Index: j, Scale: 4, Disp: 4 * s.lanes}, b)
			VSHUFPS(Imm(0x88), b, a, x) // elements 0 2 8 10 4 6 12 14, or 0 2 4 6
			VSHUFPS(Imm(0xdd), b, a, y)
			if s.lanes == avx2.lanes {
				VPERMPD(Imm(0xd8), x, x)
				VPERMPD(Imm(0xd8), y, y)
			}
			LEAQ(Mem{Base: row["even"], Index: j, Scale: 2}, to)
			VMOVUPS(x, Mem{Base: to})
			VMOVUPS(y, Mem{Base: to, Index: back, Scale: 1})
		})
	}
}

func zipRows() {
	function("zipRowsAVX2", "func(dst []float32, ldd int, even []float32, lde int, odd []float32, ldo, rows, cols int)",
		"is ZipRows for an even number of columns, two vectors' at least.")
	rows([]string{"dst", "even", "odd"}, 16, func(row map[string]reg.Register, j reg.Register) {
		x, y, a, b := YMM(), YMM(), YMM(), YMM()
		VPERMPD(Imm(0xd8), Mem{Base: row["even"], Index: j, Scale: 2}, x) // 0 1 4 5 2 3 6 7
		VPERMPD(Imm(0xd8), Mem{Base: row["odd"], Index: j, Scale: 2}, y)
		VUNPCKLPS(y, x, a)
		VUNPCKHPS(y, x, b)
		VMOVUPS(a, Mem{Base: row["dst"], Index: j, Scale: 4})
		VMOVUPS(b, Mem{Base: row["dst"], Index: j, Scale: 4, Disp: 32})
	})
}
