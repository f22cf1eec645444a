// Command avo generates the assembly of packages gemm, peak, sieve and vec. It is a module of its own: nothing that the
// program is built of depends on github.com/mmcloughlin/avo. "make asm" runs it, once per package:
//
//	go run . -package gemm -out ../x_amd64.s -stubs ../x_amd64.go -pkg gemm
package main

import (
	"flag"
	"fmt"
	"os"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

var generators = map[string]func(){"gemm": generateGemm, "peak": generatePeak, "sieve": generateSieve, "vec": generateVec}

func main() {
	name := flag.String("package", "", "what to generate: gemm, peak, sieve or vec")
	flag.Parse()
	generate, ok := generators[*name]
	if !ok {
		fmt.Fprintf(os.Stderr, "avo: unknown package %q\n", *name)
		os.Exit(2)
	}
	generate()
	os.Args = []string{"make", "asm"} // what the files say that they are made by
	Generate()
}

// isa is a vector width: how its registers are made and how many floats each holds.
type isa struct {
	name   string
	lanes  int
	masks  bool // vectors are read and written in part
	vector func() reg.VecVirtual
	zero   func(v reg.VecVirtual)
}

var (
	avx2   = isa{"AVX2", 8, false, YMM, func(v reg.VecVirtual) { VXORPS(v, v, v) }}
	half   = isa{"Half", 4, false, XMM, func(v reg.VecVirtual) { VXORPS(v, v, v) }} // AVX2 has it, too
	avx512 = isa{"AVX512", 16, true, ZMM, func(v reg.VecVirtual) { VPXORD(v, v, v) }}
)

// function begins a function that keeps none of its arguments.
func function(name, signature, doc string) {
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
	Doc(name + " " + doc)
}

func pointer(name string) reg.Register { return Load(Param(name).Base(), GP64()) }

// generatePeak: as many independent sums as hide the latency of a multiply-add.
func generatePeak() {
	for _, p := range []struct {
		isa
		sums int
	}{{avx2, 12}, {avx512, 16}} {
		function("loop"+p.name, "func(n int)", fmt.Sprintf("runs n rounds of %d fused multiply-adds.", p.sums))
		n := Load(Param("n"), GP64())
		var v []reg.VecVirtual
		for range p.sums + 1 {
			v = append(v, p.vector())
			p.zero(v[len(v)-1])
		}
		Label("round")
		for i := range p.sums {
			VFMADD231PS(v[p.sums], v[p.sums], v[i])
		}
		DECQ(n)
		JNZ(LabelRef("round"))
		VZEROUPPER()
		RET()
	}
}
