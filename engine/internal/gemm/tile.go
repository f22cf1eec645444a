package gemm

// Tile adds a*panel to c, where a holds one or MR rows of k values and panel k rows of NR. With one row c[1] is left
// alone.
//
// The kernels are unrolled four deep: the compiler moves the last addition of each chain to the end of the loop body, and
// in a longer body fewer products wait for it in registers. Bounds are checked once per four steps, by the loop itself.
func Tile(c *[MR][NR]float32, a []float32, k int, panel []float32) {
	if len(a) >= MR*k {
		tile2(c, a[:k], a[k:MR*k], panel)
		return
	}
	tile1(&c[0], a[:k], panel)
}

func tile2(c *[MR][NR]float32, a, b, p []float32) {
	c00, c01, c02, c03 := c[0][0], c[0][1], c[0][2], c[0][3]
	c10, c11, c12, c13 := c[1][0], c[1][1], c[1][2], c[1][3]
	for len(a) >= 4 && len(b) >= 4 && len(p) >= 16 {
		{
			x, y, z := a[0], b[0], p[0]
			c00 += float32(x * z)
			c10 += float32(y * z)
			z = p[1]
			c01 += float32(x * z)
			c11 += float32(y * z)
			z = p[2]
			c02 += float32(x * z)
			c12 += float32(y * z)
			z = p[3]
			c03 += float32(x * z)
			c13 += float32(y * z)
		}
		{
			x, y, z := a[1], b[1], p[4]
			c00 += float32(x * z)
			c10 += float32(y * z)
			z = p[5]
			c01 += float32(x * z)
			c11 += float32(y * z)
			z = p[6]
			c02 += float32(x * z)
			c12 += float32(y * z)
			z = p[7]
			c03 += float32(x * z)
			c13 += float32(y * z)
		}
		{
			x, y, z := a[2], b[2], p[8]
			c00 += float32(x * z)
			c10 += float32(y * z)
			z = p[9]
			c01 += float32(x * z)
			c11 += float32(y * z)
			z = p[10]
			c02 += float32(x * z)
			c12 += float32(y * z)
			z = p[11]
			c03 += float32(x * z)
			c13 += float32(y * z)
		}
		{
			x, y, z := a[3], b[3], p[12]
			c00 += float32(x * z)
			c10 += float32(y * z)
			z = p[13]
			c01 += float32(x * z)
			c11 += float32(y * z)
			z = p[14]
			c02 += float32(x * z)
			c12 += float32(y * z)
			z = p[15]
			c03 += float32(x * z)
			c13 += float32(y * z)
		}
		a, b, p = a[4:], b[4:], p[16:]
	}
	for len(a) >= 1 && len(b) >= 1 && len(p) >= 4 {
		x, y := a[0], b[0]
		c00 += float32(x * p[0])
		c01 += float32(x * p[1])
		c02 += float32(x * p[2])
		c03 += float32(x * p[3])
		c10 += float32(y * p[0])
		c11 += float32(y * p[1])
		c12 += float32(y * p[2])
		c13 += float32(y * p[3])
		a, b, p = a[1:], b[1:], p[4:]
	}
	c[0] = [NR]float32{c00, c01, c02, c03}
	c[1] = [NR]float32{c10, c11, c12, c13}
}

func tile1(c *[NR]float32, a, p []float32) {
	c0, c1, c2, c3 := c[0], c[1], c[2], c[3]
	for len(a) >= 4 && len(p) >= 16 {
		x := a[0]
		c0 += float32(x * p[0])
		c1 += float32(x * p[1])
		c2 += float32(x * p[2])
		c3 += float32(x * p[3])
		x = a[1]
		c0 += float32(x * p[4])
		c1 += float32(x * p[5])
		c2 += float32(x * p[6])
		c3 += float32(x * p[7])
		x = a[2]
		c0 += float32(x * p[8])
		c1 += float32(x * p[9])
		c2 += float32(x * p[10])
		c3 += float32(x * p[11])
		x = a[3]
		c0 += float32(x * p[12])
		c1 += float32(x * p[13])
		c2 += float32(x * p[14])
		c3 += float32(x * p[15])
		a, p = a[4:], p[16:]
	}
	for len(a) >= 1 && len(p) >= 4 {
		x := a[0]
		c0 += float32(x * p[0])
		c1 += float32(x * p[1])
		c2 += float32(x * p[2])
		c3 += float32(x * p[3])
		a, p = a[1:], p[4:]
	}
	*c = [NR]float32{c0, c1, c2, c3}
}
