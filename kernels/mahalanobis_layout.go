package kernels

import "math"

// A factor is stored in tiles of 16x16, row of tiles by row of tiles up to the diagonal, with zeros where it has no values.
const (
	tileSide   = 16
	tileValues = tileSide * tileSide
)

// FactorLen is how many values PackFactor makes of a K x K factor: 256 ceil(K/16) (ceil(K/16)+1)/2, for K = 550 6 % more than
// the triangle has.
func FactorLen(k int) int {
	c := ceil(k, tileSide)
	return c * (c + 1) / 2 * tileValues
}

// PackFactor lays a lower triangular K x K factor, packed row by row (row i from i(i+1)/2 on), out for Mahalanobis: dst
// receives FactorLen(k) values.
func PackFactor(dst []float32, k int, packed []float32) {
	clear(dst[:FactorLen(k)])
	for i := range k {
		p, r := i/tileSide, i%tileSide
		line := dst[p*(p+1)/2*tileValues+r/2*16+r%2:]
		for j, v := range packed[i*(i+1)/2 : (i+1)*(i+2)/2] {
			c := j % tileSide
			line[j/tileSide*tileValues+c/2%2*128+c/4*4+c%2*2] = v
		}
	}
}

// PackFactorBF16 is PackFactor with values rounded to bfloat16, ties to even.
func PackFactorBF16(dst []uint16, k int, packed []float32) {
	clear(dst[:FactorLen(k)])
	for i := range k {
		p, r := i/tileSide, i%tileSide
		line := dst[p*(p+1)/2*tileValues+r%2*64+r/2*8:]
		for j, v := range packed[i*(i+1)/2 : (i+1)*(i+2)/2] {
			c := j % tileSide
			line[j/tileSide*tileValues+c/2%2*128+c/4*2+c%2] = bfloat16(v)
		}
	}
}

// bfloat16 rounds to 8 significant bits, ties to even.
func bfloat16(v float32) uint16 {
	b := math.Float32bits(v)
	if b&0x7fffffff > 0x7f800000 {
		return 0x7fff
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
