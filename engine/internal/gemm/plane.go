package gemm

// PlaneCols is how many columns Plane may read where it is asked for fewer.
const PlaneCols = 8

// Plane sums up one output channel of a convolution: c[r*ldc+j] = sum over l, in ascending order, of
// w[l] * b[r*ldb+at[l]+j], begun with init and clipped in the end, for r < rows and j < cols, of which there are some. b must
// reach to PlaneCols after each of r*ldb+at[l], whatever cols is.
func (s *ISA) Plane(c []float32, ldc, rows, cols int, w, b []float32, ldb int, at []int, init float32, to Bounds) {
	if s.plane == 0 {
		planeGo(c, ldc, rows, cols, w, b, ldb, at, init, to)
		return
	}
	if cols >= PlaneCols {
		s.columns(c, ldc, rows, cols, w, b, ldb, at, init, to)
		return
	}
	var whole [8 * PlaneCols]float32
	for r := 0; r < rows; r += 8 {
		n := min(8, rows-r)
		s.columns(whole[:], PlaneCols, n, PlaneCols, w, b[r*ldb:], ldb, at, init, to)
		for i := range n {
			copy(c[(r+i)*ldc:][:cols], whole[i*PlaneCols:])
		}
	}
}

// columns goes over whole vectors of columns; the last one is moved back so that it ends with the row.
func (s *ISA) columns(c []float32, ldc, rows, cols int, w, b []float32, ldb int, at []int, init float32, to Bounds) {
	lanes := s.plane
	if cols < lanes {
		lanes = PlaneCols
	}
	blocks := cols / lanes
	planes(lanes, c, ldc, rows, blocks, w, b, ldb, at, init, to)
	if last := cols - lanes; last > (blocks-1)*lanes {
		planes(lanes, c[last:], ldc, rows, 1, w, b[last:], ldb, at, init, to)
	}
}

// planeGo is Plane for the portable kernels.
func planeGo(c []float32, ldc, rows, cols int, w, b []float32, ldb int, at []int, init float32, to Bounds) {
	for r := range rows {
		row := c[r*ldc:][:cols]
		for j := range row {
			row[j] = init
		}
		axpy(row, b[r*ldb:], at, w)
		to.clip(row)
	}
}
