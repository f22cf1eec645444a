package loop

import "math"

// Energy is the data term of one grid cell as a function of its score. Places that run the loop themselves know Hinge.
type Energy interface {
	Value(z float64) float64
	Slope(z float64) float64
}

// Hinge is the data term Weight log(1 + [z + Margin]_+): 0 for cells that look normal, and growing ever more slowly, so
// that one glaring cell does not outweigh the rest.
type Hinge struct{ Weight, Margin float64 }

// Value implements Energy.
func (h Hinge) Value(z float64) float64 { return h.Weight * math.Log1p(max(z+h.Margin, 0)) }

// Slope implements Energy.
func (h Hinge) Slope(z float64) float64 {
	if z+h.Margin <= 0 {
		return 0
	}
	return h.Weight / (1 + z + h.Margin)
}
