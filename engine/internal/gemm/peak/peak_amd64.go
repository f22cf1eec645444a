package peak

import "golang.org/x/sys/cpu"

// run returns the operations of n rounds: 16 fused multiply-adds of vectors that do not wait for one another.
func run(n int) int {
	switch {
	case cpu.X86.HasAVX512F:
		loopAVX512(n)
		return n * 16 * 16 * 2
	case cpu.X86.HasAVX2 && cpu.X86.HasFMA:
		loopAVX2(n)
		return n * 12 * 8 * 2
	}
	return 0
}
