package method

import (
	"context"
	"errors"
)

// ErrNoDevice means that a method computes on the CPU only.
var ErrNoDevice = errors.New("it computes on the CPU only")

// Device computes what is heavy in a method, and its map. It is safe for concurrent use. Without a device a method computes
// on the CPU, in types of its own that implement Gaussians and Bank.
type Device interface {
	// Gaussians keeps S Gaussians of K values: mean [S,K] and factor [S,K(K+1)/2], the rows of the inverse Cholesky factors.
	Gaussians(mean, factor []float32, k int) (Gaussians, error)
	// Bank keeps the vectors rows [M,D].
	Bank(rows []float32, d int) (Bank, error)
	// Maps is BaseMap for a batch: s [N,h,w] to dst [N,H,W].
	Maps(s []float32, n, h, w, H, W int, o MapOptions, dst []float32) error
}

// Gaussians measures vectors against the Gaussians it keeps.
type Gaussians interface {
	// Distances fills s [L] with the Mahalanobis distances |M (x_l - mean)| of x [L,K] to the Gaussians state [L], which is
	// sorted, and, if it is not nil, unit [L,K] with their gradients ds_l/dx_l (0 where s is 0).
	Distances(ctx context.Context, x []float32, state []int32, s, unit []float32) error
	// Close frees what is kept.
	Close() error
}

// Bank searches the vectors it keeps.
type Bank interface {
	// Nearest fills winner [n] with the index of the member nearest to each of q [n,D], the lowest of equals, dist [n] with
	// the squared distances and, if it is not nil, diff [n,D] with q - member. A query that is not finite has distance NaN or
	// infinity.
	Nearest(ctx context.Context, q []float32, winner []int32, dist []float64, diff []float32) error
	// Supports returns, for each of q [n,D], the indices of the k nearest members, or of all if there are fewer, nearest
	// first, the lowest of equals first.
	Supports(ctx context.Context, q []float32, k int) ([][]int32, error)
	// Close frees what is kept.
	Close() error
}
