// Package gemm multiplies row-major float32 matrices: C[m,n] = A[m,k] * B[k,n], with B packed into panels. Every element
// of C is one sum over k in ascending order, each product and each partial sum rounded to float32; so a result depends
// neither on where its row and column lie nor on how the work is cut up, and is the same on every platform (no fused
// multiply-add). Nothing here starts goroutines: callers share out rows or panels.
package gemm

const (
	// MR and NR are the rows and columns of C that one micro-kernel call holds in registers.
	MR = 2
	NR = 4

	// blockFloats is how much of B is worked on at a time (96 KiB): what stays in a core's private cache while all rows
	// of A stream past.
	blockFloats = 24 << 10
	leastPanels = 4 // however large k is: each pass over A must serve several
)

// Panels is the number of float32 that a packed [k,n] matrix takes: its columns in panels of NR, the last one padded
// with zeros; a panel holds its k rows of NR values one after another.
func Panels(k, n int) int { return (n + NR - 1) / NR * NR * k }

// PackedB is the right-hand operand, packed once and used often. It is safe for concurrent use.
type PackedB struct {
	k, n   int
	panels []float32
}

// PackB packs b: row-major [k,n], or with trans [n,k] (a bank of n vectors, one per row). It keeps no reference to b.
func PackB(k, n int, b []float32, trans bool) *PackedB {
	p := &PackedB{k, n, make([]float32, Panels(k, n))}
	PackColumns(p.panels, k, n, b[:k*n], trans, 0, n)
	return p
}

// Dims returns k and n.
func (b *PackedB) Dims() (k, n int) { return b.k, b.n }

// Columns returns the panels that hold the columns from lo, a multiple of NR, to hi.
func (b *PackedB) Columns(lo, hi int) []float32 { return b.panels[lo*b.k:][:Panels(b.k, hi-lo)] }

// PackColumns packs the columns lo <= j < hi of b, a matrix as PackB takes it, into dst[:Panels(k, hi-lo)].
func PackColumns(dst []float32, k, n int, b []float32, trans bool, lo, hi int) {
	for j := lo; j < hi; j += NR {
		panel := dst[:k*NR]
		dst = dst[k*NR:]
		cols := min(NR, hi-j)
		if cols < NR {
			clear(panel)
		}
		if trans {
			for c := range cols {
				for i, v := range b[(j+c)*k:][:k] {
					panel[i*NR+c] = v
				}
			}
			continue
		}
		for i := range k {
			copy(panel[i*NR:][:NR], b[i*n+j:][:cols])
		}
	}
}

// Mul overwrites dst[m,n] with a[m,k]*b. It does not allocate. Cost: 2*m*n*k operations.
func Mul(dst []float32, m int, a []float32, b *PackedB) {
	MulPanels(dst[:m*b.n], b.n, m, b.n, b.k, a[:m*b.k], b.panels)
}

// MulPanels overwrites the first n columns of the m rows of dst, which lie ldd apart, with a[m,k] times panels.
func MulPanels(dst []float32, ldd, m, n, k int, a, panels []float32) {
	block := max(leastPanels, blockFloats/(max(k, 1)*NR)) * NR
	for j := 0; j < n; j += block {
		cols := min(block, n-j)
		mulBlock(dst[j:], ldd, m, cols, k, a, panels[j*k:][:Panels(k, cols)])
	}
}

func mulBlock(dst []float32, ldd, m, n, k int, a, panels []float32) {
	var c [MR][NR]float32
	for i := 0; i < m; i += MR {
		rows := min(MR, m-i)
		ai := a[i*k:][:rows*k]
		p := panels
		for j := 0; j < n; j += NR {
			c = [MR][NR]float32{}
			Tile(&c, ai, k, p[:k*NR])
			p = p[k*NR:]
			for r := range rows {
				copy(dst[(i+r)*ldd+j:][:min(NR, n-j)], c[r][:])
			}
		}
	}
}
