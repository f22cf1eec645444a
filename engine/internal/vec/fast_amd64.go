package vec

import "golang.org/x/sys/cpu"

// fast says that the assembly runs: the same condition as that of gemm's fused kernels.
var fast = cpu.X86.HasAVX2 && cpu.X86.HasFMA
