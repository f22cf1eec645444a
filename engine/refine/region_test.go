package refine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/internal/morph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

func square(i int) int { return i * i }

// slowDistance looks at every pixel of the set; -1 if it is empty.
func slowDistance(set []bool, w, p int) int {
	best := -1
	for q, on := range set {
		if d := square(p/w-q/w) + square(p%w-q%w); on && (best < 0 || d < best) {
			best = d
		}
	}
	return best
}

// slowPeak looks at every cell near v.
func slowPeak(z []float32, w, r, v int) float32 {
	most := float32(math.Inf(-1))
	for q, value := range z {
		if max(q/w-v/w, v/w-q/w, q%w-v%w, v%w-q%w) <= r {
			most = max(most, value)
		}
	}
	return most
}

func TestPeaks(t *testing.T) {
	for _, c := range [][3]int{{1, 1, 8}, {11, 13, 0}, {11, 13, 1}, {13, 11, 4}, {3, 17, 8}, {17, 3, 16}} {
		h, w, r := c[0], c[1], c[2]
		rng := rand.New(rand.NewPCG(uint64(h), uint64(r)))
		z := make([]float32, h*w)
		for v := range z {
			z[v] = float32(rng.NormFloat64() - 3) // most are negative: a border of zeros would show
		}
		for v, got := range peaks(z, h, w, r) {
			require.Equal(t, slowPeak(z, w, r, v), got, "%v at %d", c, v)
		}
	}
}

func TestSuspiciousRegion(t *testing.T) {
	const h, w, stride = 44, 52, 4
	o := DefaultOptions(stride)
	o.Region.PeakCells = 3
	var near, alone, top int // pixels that one condition keeps out
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 1))
		u := make([]float32, h*w)
		for k := range 4 { // blobs with tails; one is never certain, and one may hide the others
			cy, cx, height, width := rng.IntN(h), rng.IntN(w), 0.9+0.7*float64(k), 3+4*rng.Float64()
			for p := range u {
				d := math.Hypot(float64(p/w-cy), 0.4*float64(p%w-cx))
				u[p] = max(u[p], float32(height*math.Exp(-d*d/(2*width*width))))
			}
		}
		z := make([]float32, h*w/stride/stride)
		for p, v := range u {
			z[p/w/stride*(w/stride)+p%w/stride] = max(z[p/w/stride*(w/stride)+p%w/stride], v)
		}
		peak, highest := make([]float32, len(z)), float32(0)
		for v := range z {
			peak[v], highest = slowPeak(z, w/stride, 3, v), max(highest, z[v])
		}
		suspect := make([]bool, h*w)
		for p, v := range u {
			suspect[p] = v > 0.5 && v > 0.5*peak[p/w/stride*(w/stride)+p%w/stride]
			if v > 0.5 && !suspect[p] {
				near++
			}
			if v > 1 && v > 0.4*highest && !suspect[p] {
				alone++
			}
			if suspect[p] && v > 1 && v <= 0.4*highest {
				top++
			}
		}
		label := make([]int, h*w)
		for k, part := range morph.Components(suspect, h, w, true) {
			for _, p := range part {
				label[p] = k
			}
		}
		certain, lit := make([]bool, h*w), map[int]bool{}
		for p, v := range u {
			if suspect[p] && v > 1 && v > 0.4*highest {
				certain[p], lit[label[p]] = true, true
			}
		}
		keep := make([]bool, h*w)
		for p := range keep {
			keep[p] = suspect[p] && lit[label[p]] && slowDistance(certain, w, p) <= 12*12
		}
		got := suspicious(u, peak, h, w, &o)
		for p := range keep {
			require.Equal(t, slowDistance(keep, w, p) <= 8*8, got[p], "seed %d at %d", seed, p)
		}
	}
	require.Positive(t, near)
	require.Positive(t, alone)
	require.Positive(t, top)

	flat := make([]float32, h*w/stride/stride)
	u := make([]float32, h*w)
	u[10*w+10], u[11*w+11] = 1.5, 0.6 // joined at a corner
	require.True(t, suspicious(u, flat, h, w, &o)[19*w+11])
	for p := range u {
		u[p] = 1 // not above 1
	}
	require.Nil(t, suspicious(u, flat, h, w, &o))
}

// A suspicion of less than half the peak counts where that is more than 8 cells away.
func TestNeighbourhoodIsEightCells(t *testing.T) {
	const h, w, stride = 12, 24, 4
	r := newRefiner(t)
	r.Fills = given{}
	for _, first := range []int{9, 10} { // column of the peak; the weaker cells are in columns 1 to 3
		z := make([]float32, h*w)
		for v := range z {
			switch x := v % w; {
			case x >= 1 && x <= 3:
				z[v] = 4.5
			case x >= first && x < first+3:
				z[v] = 10
			}
		}
		in := Input{Y: nd.New(3, h*stride, w*stride), Z: nd.Wrap(z, h, w), V: nd.New(h*stride, w*stride)}
		s := prepared(t, r, in)
		require.True(t, s.omega[(first+1)*stride])
		require.Equal(t, first == 10, s.omega[0])
	}
}

func TestCellsNear(t *testing.T) {
	const H, W, stride = 24, 32, 4
	set := make([]bool, H*W)
	set[9*W+13] = true
	set[23*W] = true
	for _, r := range []float64{0, 3, 8} {
		where := make([]bool, H*W/stride/stride)
		cellsNear(set, H, W, stride, r, where)
		for v, got := range where {
			want := false
			for i := range stride * stride {
				p := (v/(W/stride)*stride+i/stride)*W + v%(W/stride)*stride + i%stride
				want = want || float64(slowDistance(set, W, p)) <= r*r
			}
			require.Equal(t, want, got, fmt.Sprintf("r %g, cell %d", r, v))
		}
	}
}
