package pixel

import "slices"

// Quantile sorts values in place and returns their quantile of the given share in [0,1], NumPy's "linear": with
// h = (n-1) share, the value at floor(h), interpolated to the next by h's fraction. 0 for no values.
func Quantile(values []float32, share float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	h := share * float64(len(values)-1)
	i := int(h)
	a := float64(values[i])
	b := float64(values[min(i+1, len(values)-1)])
	return a + (b-a)*(h-float64(i))
}
