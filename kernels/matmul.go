package kernels

import (
	"fmt"
	"math"
)

// MatMul multiplies a batch of matrices for each image: Out [Images,Batch,M,N] = A B + Bias. A's and B's may lie in any way.
type MatMul struct {
	Images, Batch  int
	M, N, K        int
	A, B           Ptr
	AImage, BImage int // elements from one image to the next; 0: all images share
	AM, AK, BK, BN int // strides
	Places         Ptr // int32 [Batch,2]: where in an image's A and B each matrix begins
	Bias           Ptr // [N]; 0: none
	Out            Ptr
}

// Enqueue launches the kernel.
func (m MatMul) Enqueue(q Queue) error {
	blocks := m.Images * m.Batch * ceil(m.M, 64) * ceil(m.N, 64)
	if m.Images < 1 || m.Batch < 1 || m.M < 1 || m.N < 1 || m.K < 1 || blocks > math.MaxInt32 {
		return fmt.Errorf("kernels: matmul: %d x %d of %dx%dx%d", m.Images, m.Batch, m.M, m.K, m.N)
	}
	err := aligned("matmul", 4, named{"a", m.A}, named{"b", m.B}, named{"places", m.Places}, named{"out", m.Out})
	if err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "matmul", Kernel: "matmul", Grid: [3]int{blocks}, Block: 256, Shared: 2 * 16 * 68 * 4,
		Args: []Arg{m.A.Arg(), m.B.Arg(), m.Places.Arg(), Int(m.Batch), Int(m.AImage), Int(m.BImage), Int(m.M), Int(m.N), Int(m.K),
			Int(m.AM), Int(m.AK), Int(m.BK), Int(m.BN), m.Bias.Arg(), m.Out.Arg()},
		Cost: m.Cost(),
	})
}

// Cost is that of one launch, nothing shared.
func (m MatMul) Cost() Cost {
	batch := int64(m.Images) * int64(m.Batch)
	return Cost{
		Bytes: 4 * batch * (int64(m.M)*int64(m.K) + int64(m.K)*int64(m.N) + int64(m.M)*int64(m.N)),
		Flops: 2 * batch * int64(m.M) * int64(m.N) * int64(m.K),
	}
}
