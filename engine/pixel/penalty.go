package pixel

import "math"

// Penalty is a penalty on the size n >= 0 of a pixel's anomaly, in units of c at its place (State.C).
type Penalty interface {
	Value(n float64) float64
	// Prox is the x >= 0 that minimises (x-n)^2/2 + t Value(x).
	Prox(n, t float64) float64
}

// GroupLog is the penalty log(1 + n/eps)/log(1 + 1/eps): 0 at 0, 1 at 1, concave, so that large anomalies pay little more
// than medium ones and small ones are driven to 0.
type GroupLog struct{ eps, scale float64 }

// NewGroupLog returns the penalty for eps > 0.
func NewGroupLog(eps float64) GroupLog { return GroupLog{eps, 1 / math.Log1p(1/eps)} }

// Value implements Penalty.
func (l GroupLog) Value(n float64) float64 { return math.Log1p(n/l.eps) * l.scale }

// Prox implements Penalty. The objective's derivative vanishes at the roots of x^2 - (n-eps) x + (t' - n eps), with
// t' = t/log(1+1/eps); the larger is a minimum where it is real and positive, and 0 is the other candidate.
func (l GroupLog) Prox(n, t float64) float64 {
	d := n - l.eps
	disc := d*d - 4*(t*l.scale-n*l.eps)
	if disc < 0 {
		return 0
	}
	x := (d + math.Sqrt(disc)) / 2
	if x <= 0 || (x-n)*(x-n)/2+t*l.Value(x) >= n*n/2 {
		return 0
	}
	return x
}

// Eps is the size below which the penalty is steep.
func (l GroupLog) Eps() float64 { return l.eps }
