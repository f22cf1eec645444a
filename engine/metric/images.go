package metric

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Images accumulates image scores: 16 bytes per image. The zero value is empty. Not for concurrent use.
type Images struct{ scored []scored }

type scored struct {
	score     float64
	anomalous bool
}

// Add counts one image. A score that is not finite is refused.
func (m *Images) Add(score float64, anomalous bool) error {
	if math.IsNaN(score) || math.IsInf(score, 0) {
		return fmt.Errorf("metric: image score is %v", score)
	}
	m.scored = append(m.scored, scored{score, anomalous})
	return nil
}

// Len is the number of images.
func (m *Images) Len() int { return len(m.scored) }

// sort orders the images from the highest score down.
func (m *Images) sort() {
	slices.SortFunc(m.scored, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
}

// AUROC is the probability that an anomalous image scores higher than a normal one, equal scores counting one half;
// undefined without images of both classes.
func (m *Images) AUROC() Value {
	m.sort()
	var roc curve
	for i := 0; i < len(m.scored); {
		var pos, neg float64
		for s := m.scored[i].score; i < len(m.scored) && m.scored[i].score == s; i++ {
			if m.scored[i].anomalous {
				pos++
			} else {
				neg++
			}
		}
		roc.step(neg, pos, math.Inf(1))
	}
	return Value(roc.area / (roc.x * roc.y)) // 0/0 with one class only
}
