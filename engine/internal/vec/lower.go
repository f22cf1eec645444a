package vec

// Lanes is how many vectors Lower and LowerTransposed work on at once, element by element side by side.
const Lanes = 8

// Lower sets z [K] to M x, where M [K,K] is lower triangular, its rows packed one after another. Only the first used lanes
// need be right; each is computed by itself: every element is one sum, in the order of x, of multiply-adds that the
// assembly fuses and Go does not.
func Lower(z, x [][Lanes]float32, m []float32, used int) {
	if fast {
		lowerAVX2(z, x, m)
		return
	}
	lowerGo(z, x, m, used)
}

// LowerTransposed adds M' z to x, in the order of z; else it is as Lower.
func LowerTransposed(x, z [][Lanes]float32, m []float32, used int) {
	if fast {
		lowerTransposedAVX2(x, z, m)
		return
	}
	lowerTransposedGo(x, z, m, used)
}

// half of the lanes fit the registers that Go's compiler uses.
const half = Lanes / 2

func lowerGo(z, x [][Lanes]float32, m []float32, used int) {
	for i := range z {
		row := m[:i+1]
		m = m[i+1:]
		for lane := 0; lane < used; lane += half {
			var z0, z1, z2, z3 float32
			for j, w := range row {
				v := (*[half]float32)(x[j][lane:])
				z0 += float32(w * v[0])
				z1 += float32(w * v[1])
				z2 += float32(w * v[2])
				z3 += float32(w * v[3])
			}
			*(*[half]float32)(z[i][lane:]) = [half]float32{z0, z1, z2, z3}
		}
	}
}

func lowerTransposedGo(x, z [][Lanes]float32, m []float32, used int) {
	for i := range z {
		row := m[:i+1]
		m = m[i+1:]
		for lane := 0; lane < used; lane += half {
			f := (*[half]float32)(z[i][lane:])
			z0, z1, z2, z3 := f[0], f[1], f[2], f[3]
			for j, w := range row {
				v := (*[half]float32)(x[j][lane:])
				v[0] += float32(w * z0)
				v[1] += float32(w * z1)
				v[2] += float32(w * z2)
				v[3] += float32(w * z3)
			}
		}
	}
}
