package peak

import "golang.org/x/sys/cpu"

// chains of dependent multiply-adds run beside each other: more than latency times units of any core.
const chains = 16

var (
	wide    = cpu.X86.HasAVX512F
	unit    = map[bool]string{true: "AVX-512", false: map[bool]string{true: "AVX2"}[cpu.X86.HasAVX2 && cpu.X86.HasFMA]}[wide]
	perLoop = map[string]float64{"AVX-512": 2 * 16 * chains, "AVX2": 2 * 8 * chains}[unit]
)

func spin(n int) {
	switch unit {
	case "AVX-512":
		fma512(n)
	case "AVX2":
		fma256(n)
	}
}

// fma512 and fma256 do n rounds of one multiply-add in each chain.
//
//go:noescape
func fma512(n int)

//go:noescape
func fma256(n int)
