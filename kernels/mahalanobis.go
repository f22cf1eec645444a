package kernels

import (
	"fmt"
	"math"
)

// Mahalanobis measures the vectors X [Items,K] against Gaussians: S [Items] receives the distances
//
//	s = |M (x - mean)|,   ds/dx = M' M (x - mean) / s (0 where s = 0)
//
// and Unit [Items,K], unless it is 0, their gradients. Of the Gaussians there are Mean [Gaussians,K] and Factor, the inverse
// Cholesky factors M as PackFactor (BF16: PackFactorBF16) lays them out, FactorLen(K) values each. K may be 1 to 2048.
//
// Group [Groups,3] (int32: Gaussian, first vector, count of 1 to 16) says which vectors share a Gaussian, as
// MahalanobisGroups makes it. M is read once per group. It is not checked: it must name each vector once, and only Gaussians
// that are there.
//
// Order [Items] (int32), unless it is 0, says where in S each vector's distance goes.
//
// A vector's result has the same bits in any group, with or without Unit. Its error is that of float32 sums. A vector that is
// not finite gets a NaN or infinite distance.
type Mahalanobis struct {
	Items, Groups, Gaussians, K int
	// BF16 says that Factor holds bfloat16 values (of 2 bytes): half the memory. It moves distances and gradients by at most
	// some 0.2 % times the square root of the covariance's condition number. For 100 correlated features, rms: distances
	// by 0.04 % at condition 1e2 and 0.6 % at 1e5, gradients by 0.5 % and 11 %.
	BF16                   bool
	Group, X, Mean, Factor Ptr
	Order, S, Unit         Ptr
}

// mahalanobisShape is mahalanobis.cu's geometry for K up to k: warps of a block, blocks of a group, and tiles in a warp's
// ring, for float32 and bfloat16, without and with the gradient.
type mahalanobisShape struct {
	k, warps, parts int
	ring            [2][2]int
}

const (
	mahalanobisGroup = 16
	MahalanobisMaxK  = 2048
)

func shapeOfMahalanobis(k int) mahalanobisShape {
	switch {
	case k <= 128:
		return mahalanobisShape{128, 4, 1, [2][2]int{{4, 4}, {4, 4}}}
	case k <= 640:
		return mahalanobisShape{640, 8, 1, [2][2]int{{5, 6}, {8, 8}}}
	default:
		return mahalanobisShape{MahalanobisMaxK, 8, 2, [2][2]int{{3, 3}, {6, 6}}}
	}
}

// Enqueue launches the kernel.
func (m Mahalanobis) Enqueue(q Queue) error {
	if m.K < 1 || m.K > MahalanobisMaxK {
		return fmt.Errorf("kernels: mahalanobis: K = %d, want 1 to %d", m.K, MahalanobisMaxK)
	}
	if m.Gaussians < 1 || m.Gaussians > math.MaxInt32 {
		return fmt.Errorf("kernels: mahalanobis: %d Gaussians, want 1 to %d", m.Gaussians, math.MaxInt32)
	}
	shape := shapeOfMahalanobis(m.K)
	if m.Groups < 1 || m.Groups > math.MaxInt32/shape.parts {
		return fmt.Errorf("kernels: mahalanobis: %d groups, want 1 to %d", m.Groups, math.MaxInt32/shape.parts)
	}
	if m.Items < m.Groups || m.Items > mahalanobisGroup*m.Groups || m.Items > math.MaxInt32 {
		return fmt.Errorf("kernels: mahalanobis: %d vectors in %d groups, want 1 to %d in each, and an int32", m.Items, m.Groups, mahalanobisGroup)
	}
	if err := aligned("mahalanobis", 16, named{"factor", m.Factor}); err != nil {
		return err
	}
	if err := aligned("mahalanobis", 4, named{"group", m.Group}, named{"x", m.X}, named{"mean", m.Mean}, named{"s", m.S}); err != nil {
		return err
	}
	if m.Unit%4 != 0 || m.Order%4 != 0 {
		return fmt.Errorf("kernels: mahalanobis: unit or order is not aligned to 4 bytes")
	}

	// As in mahalanobis.cu: rings, then vectors of float32, the warps' sums (two of them without the gradient), and z.
	gradient, storage, tile, buffers := 0, 0, 4*tileValues, 2
	name := fmt.Sprintf("mahalanobis_score_%d", shape.k)
	if m.Unit != 0 {
		name = fmt.Sprintf("mahalanobis_unit_%d", shape.k)
		gradient, buffers = 1, 1
	}
	if m.BF16 {
		name += "_bf16"
		storage, tile = 1, 2*tileValues
	}
	values := (ceil(m.K, tileSide) + buffers*shape.warps + 1) * tileSide * mahalanobisGroup / shape.parts
	return q.Launch(Launch{
		Module: "mahalanobis", Kernel: name,
		Grid: [3]int{shape.parts * m.Groups}, Block: 32 * shape.warps,
		Shared: shape.warps*shape.ring[storage][gradient]*tile + 4*values,
		Args: []Arg{
			m.Group.Arg(), Int(shape.parts), Int(m.K), m.X.Arg(), m.Mean.Arg(), m.Factor.Arg(), m.Order.Arg(), m.S.Arg(), m.Unit.Arg(),
		},
		Cost: m.Cost(),
	})
}

// Cost is that of one launch: the Gaussians that are needed read once, three products in bfloat16 or TF32 for one in float32.
func (m Mahalanobis) Cost() Cost {
	k, items, gaussians := int64(m.K), int64(m.Items), int64(min(m.Gaussians, m.Groups))
	c := Cost{
		Bytes:       4 * (k*(k+1)/2*gaussians + k*gaussians + k*items + items + 3*int64(m.Groups)),
		TensorFlops: 3 * k * (k + 1) * items,
		Tensor:      "tf32",
	}
	if m.BF16 {
		c.Bytes -= k * (k + 1) * gaussians
		c.Tensor = "bf16"
	}
	if m.Unit != 0 {
		c.Bytes += 4 * k * items
		c.TensorFlops *= 2
	}
	return c
}

// MahalanobisGroups makes the table of groups for vectors whose Gaussians are state: runs of one Gaussian, of up to 16. It
// has three values per group. A non-decreasing state gives the fewest groups.
func MahalanobisGroups(state []int32) []int32 {
	var groups []int32
	for first := 0; first < len(state); {
		n := 1
		for n < mahalanobisGroup && first+n < len(state) && state[first+n] == state[first] {
			n++
		}
		groups = append(groups, state[first], int32(first), int32(n))
		first += n
	}
	return groups
}
