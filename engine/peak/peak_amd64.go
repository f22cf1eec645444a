package peak

import "golang.org/x/sys/cpu"

// The multiply-adds of a round do not wait for one another.
var unit, perRound, loop = widest()

func widest() (unit string, perRound float64, loop func(int)) {
	switch {
	case cpu.X86.HasAVX512F:
		return "AVX-512", 2 * 16 * 16, loopAVX512
	case cpu.X86.HasAVX2 && cpu.X86.HasFMA:
		return "AVX2", 2 * 8 * 12, loopAVX2
	}
	return "", 0, func(int) {}
}
