package metric

import (
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func row(v ...float32) *tensor.Dense { return nd.Wrap(v, 1, len(v)) }

// Every threshold is tried, one by one.
func TestMeanDiceIsTheBest(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	const side = 24
	var scores, masks []*tensor.Dense
	for n := range 7 {
		s, m := nd.New(side, side), nd.New(side, side)
		for i := range nd.Data(s) {
			nd.Data(s)[i] = float32(3 * rng.NormFloat64())
			if i < 2<<n {
				nd.Data(m)[i] = 1
				nd.Data(s)[i] += 4 + float32(n)
			}
		}
		scores, masks = append(scores, s), append(masks, m)
	}
	mean := func(threshold float64) (sum Value) {
		for n := range scores {
			var o Overlap
			for i, v := range nd.Data(scores[n]) {
				switch marked, defect := float64(v) > threshold, nd.Data(masks[n])[i] == 1; {
				case marked && defect:
					o.TP++
				case marked:
					o.FP++
				case defect:
					o.FN++
				}
			}
			sum += o.Dice() / Value(len(scores))
		}
		return sum
	}
	d, reversed := NewMeanDice(), NewMeanDice()
	for n := range scores {
		require.NoError(t, d.Add(scores[n], masks[n]))
		require.NoError(t, reversed.Add(scores[len(scores)-1-n], masks[len(scores)-1-n]))
	}
	require.NoError(t, d.Add(row(9, 9, 9), nil), "no defect: it does not count")
	require.NoError(t, d.Add(row(9, 9, 9), row(0, 0, 0)))
	require.Equal(t, len(scores), d.Len())

	at, best := d.Best()
	require.InDelta(t, float64(mean(at)), float64(best), 1e-9)
	require.Equal(t, best, d.At(at+0.001))
	highest := 0.0
	for _, s := range scores {
		for _, v := range nd.Data(s) {
			highest = max(highest, float64(mean(float64(v))))
		}
	}
	require.LessOrEqual(t, float64(best), highest)
	require.InDelta(t, highest, float64(best), 0.01, "a step has few of the pixels")
	again, same := reversed.Best()
	require.Equal(t, at, again)
	require.Equal(t, best, same)
}

// A large defect does not outvote small ones.
func TestMeanDiceCountsDefectsNotPixels(t *testing.T) {
	d := NewMeanDice()
	large, of := nd.New(1, 100), nd.New(1, 100)
	for i := range 100 {
		nd.Data(large)[i] = 2
		nd.Data(of)[i] = 1
	}
	require.NoError(t, d.Add(large, of))
	for range 3 {
		require.NoError(t, d.Add(row(8, 3, 3, 3, 3, 3, 3, 3), row(1, 0, 0, 0, 0, 0, 0, 0)))
	}
	at, best := d.Best()
	require.InDelta(t, 8, at, 0.001)
	require.Less(t, at, 8.0)
	require.InDelta(t, 0.75, float64(best), 1e-9)
	require.InDelta(t, (1+3*2.0/9)/4, float64(d.At(1)), 1e-9)
	require.Zero(t, d.At(8.1))

	negative := NewMeanDice()
	require.NoError(t, negative.Add(row(-2, -1, -4), row(0, 1, 0)))
	at, best = negative.Best()
	require.InDelta(t, -1, at, 0.01)
	require.Less(t, at, -1.0)
	require.Equal(t, Value(1), best)
}

func TestMeanDiceRefuses(t *testing.T) {
	d := NewMeanDice()
	at, best := d.Best()
	require.True(t, math.IsNaN(at))
	require.False(t, best.Defined())
	require.False(t, d.At(1).Defined())
	require.ErrorContains(t, d.Add(row(1, float32(math.NaN())), row(0, 1)), "score[1] is NaN")
	require.ErrorContains(t, d.Add(row(1, 2), row(0, 0.5)), "mask[1] is 0.5")
	require.ErrorContains(t, d.Add(row(1, 2), row(1)), "mask")
	require.Zero(t, d.Len())
	at, _ = d.Best()
	require.True(t, math.IsNaN(at))
}
