// Package compare holds the one comparison of numbers that tests use: it fails on NaN, Inf and length mismatch, and
// reports the worst index and how much of the tolerance was used.
package compare

import (
	"fmt"
	"math"
)

// Tolerance accepts got where |got-want| <= Abs + Rel*|want|. Name one as a constant beside its reason.
type Tolerance struct{ Abs, Rel float64 }

// Report is the outcome of a comparison that held.
type Report struct {
	Worst int     // index with the largest share of its tolerance
	Used  float64 // that share, 0..1
}

// Float is a value this package compares.
type Float interface{ ~float32 | ~float64 }

// Close compares element by element. The error names the worst index, both values and the share of the tolerance.
func Close[A, B Float](got []A, want []B, tol Tolerance) (Report, error) {
	if len(got) != len(want) {
		return Report{}, fmt.Errorf("compare: %d values, want %d", len(got), len(want))
	}
	var r Report
	bad := 0
	for i := range got {
		g, w := float64(got[i]), float64(want[i])
		share := math.Inf(1)
		if !math.IsNaN(g) && !math.IsInf(g, 0) && !math.IsNaN(w) && !math.IsInf(w, 0) {
			d, t := math.Abs(g-w), tol.Abs+tol.Rel*math.Abs(w)
			switch {
			case d == 0:
				share = 0
			case t > 0:
				share = d / t
			}
		}
		if !(share <= 1) {
			bad++
		}
		if share > r.Used {
			r = Report{Worst: i, Used: share}
		}
	}
	if bad > 0 {
		return r, fmt.Errorf("compare: %d of %d values off; worst at [%d]: got %g, want %g, %.3g x the tolerance (abs %g, rel %g)",
			bad, len(got), r.Worst, float64(got[r.Worst]), float64(want[r.Worst]), r.Used, tol.Abs, tol.Rel)
	}
	return r, nil
}

// TB is the part of testing.TB that Require needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// Require fails the test unless Close holds, and logs the share of the tolerance that was used.
func Require[A, B Float](t TB, name string, got []A, want []B, tol Tolerance) {
	t.Helper()
	r, err := Close(got, want, tol)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
		return
	}
	t.Logf("%s: %d values, %.1f %% of the tolerance used (worst at [%d])", name, len(got), 100*r.Used, r.Worst)
}
