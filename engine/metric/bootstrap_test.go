package metric

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// binned is how far the AP of binned scores may be from the exact one: an order below what intervals are read for.
var binned = compare.Tolerance{Abs: 1e-3}

// example is an image with a map of each kind.
type example struct {
	mask *tensor.Dense
	maps []*tensor.Dense
}

// bootstrap bins and counts the examples.
func bootstrap(t testing.TB, examples []example) *Bootstrap {
	t.Helper()
	var bins []*Bins
	for k := range examples[0].maps {
		p := NewPixels(Options{TempDir: t.TempDir()})
		for _, e := range examples {
			require.NoError(t, p.Add(e.maps[k], e.mask))
		}
		r, err := p.Result(0)
		require.NoError(t, err)
		require.NoError(t, p.Close())
		bins = append(bins, r.Bins)
	}
	b := NewBootstrap(bins...)
	for _, e := range examples {
		require.NoError(t, b.Add(e.mask, e.maps...))
	}
	return b
}

// given computes the AP of one kind in one resample, given by the images drawn.
func given(b *Bootstrap, kind int, draws []int) float64 {
	r := resampler{draws: make([][block]uint64, len(b.images))}
	for _, i := range draws {
		r.draws[i][0]++
	}
	out := make([]float64, 1)
	r.ap(b, kind, out)
	return out[0]
}

// exactly is the same without bins.
func exactly(t *testing.T, examples []example, kind int, draws []int) float64 {
	t.Helper()
	p := NewPixels(Options{TempDir: t.TempDir()})
	for _, i := range draws {
		require.NoError(t, p.Add(examples[i].maps[kind], examples[i].mask))
	}
	r, err := p.Result(0)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	return float64(r.AP)
}

// formula makes the images of testdata/gen_bootstrap.py.
func formula(images, side int) []example {
	noise := func(stream, image int) []int {
		out := make([]int, side*side)
		for i := range out {
			x := uint32(i) + uint32((stream*images+image)*side*side+1)
			x = (x ^ x>>16) * 0x7feb352d
			x = (x ^ x>>15) * 0x846ca68b
			out[i] = int((x ^ x>>16) & 0xffff)
		}
		return out
	}
	var out []example
	for image := range images {
		r, gain := 3+image, 150+31*(image%5)
		if image%3 == 0 {
			r, gain = 0, 0
		}
		e := example{mask: nd.New(side, side)}
		for range 3 {
			e.maps = append(e.maps, nd.New(side, side))
		}
		n := [4][]int{noise(0, image), noise(1, image), noise(2, image), noise(3, image)}
		for i := range side * side {
			y, x := i/side-20-image, i%side-24-image
			if y*y+x*x < r*r {
				nd.Data(e.mask)[i] = 1
			}
			d, sum := y*y+(x-2)*(x-2), n[0][i]+n[1][i]+n[2][i]
			nd.Data(e.maps[0])[i] = float32(sum + gain<<17/(64+d))
			if d < 500 || n[3][i] < 3000 {
				nd.Data(e.maps[1])[i] = float32(sum + gain*500*int(nd.Data(e.mask)[i]))
			}
			nd.Data(e.maps[2])[i] = float32((sum + gain<<17/(128+d)) / 20000)
		}
		out = append(out, e)
	}
	return out
}

func TestBootstrapAgreesWithScikitLearn(t *testing.T) {
	raw, err := os.ReadFile("testdata/bootstrap.json")
	require.NoError(t, err)
	var want struct {
		Draws     [][]int
		AP        [][]float64
		Intervals [][2]float64
		Sums      [][]float64
	}
	require.NoError(t, json.Unmarshal(raw, &want))
	examples := formula(14, 64)
	for i, e := range examples {
		for k, m := range e.maps {
			sum := 0.0
			for _, v := range nd.Data(m) {
				sum += float64(v)
			}
			require.Equal(t, want.Sums[i][k], sum, "image %d, map %d: not the maps that were recorded", i, k)
		}
	}
	b := bootstrap(t, examples)
	ap := make([][]float64, 3)
	for k := range ap {
		for _, d := range want.Draws {
			ap[k] = append(ap[k], given(b, k, d))
		}
		compare.Require(t, "AP of resamples", ap[k], want.AP[k], binned)
	}
	for i, pair := range [][2]int{{1, 0}, {2, 0}, {2, 1}} {
		got := Difference(ap[pair[0]], ap[pair[1]])
		compare.Require(t, "interval", []float64{got.Low, got.High}, want.Intervals[i][:], binned)
		exact := Difference(want.AP[pair[0]], want.AP[pair[1]])
		compare.Require(t, "interval of exact values", []float64{exact.Low, exact.High}, want.Intervals[i][:], sameSum)
	}
}

// realistic makes maps as they are on real images: blurs of defects that are often missed and of false alarms that rank
// above them; the second kind is cut to 0 away from them, the third has a few levels only.
func realistic(n, side int) []example {
	rng := rand.New(rand.NewPCG(5, 5))
	var out []example
	for i := range n {
		e := example{maps: []*tensor.Dense{nd.New(side, side), nd.New(side, side), nd.New(side, side)}}
		blur := nd.Data(e.maps[0])
		for j := range blur {
			blur[j] = float32(0.3 * rng.ExpFloat64())
		}
		spot := func(y, x, width, height float64) {
			for j := range blur {
				dy, dx := float64(j/side)-y, float64(j%side)-x
				blur[j] += float32(height * math.Exp(-(dy*dy+dx*dx)/(2*width*width)))
			}
		}
		if i%2 == 1 {
			e.mask = nd.New(side, side)
			y, x, r := rng.Float64()*float64(side), rng.Float64()*float64(side), 2+rng.ExpFloat64()*float64(side)/10
			for j := range nd.Data(e.mask) {
				if math.Hypot(float64(j/side)-y, float64(j%side)-x) < r {
					nd.Data(e.mask)[j] = 1
				}
			}
			spot(y+3*rng.NormFloat64(), x+3*rng.NormFloat64(), r, 4*rng.Float64())
		}
		if i%5 == 0 {
			spot(rng.Float64()*float64(side), rng.Float64()*float64(side), 5, 5*rng.Float64())
		}
		for j, v := range blur {
			if v > 1 {
				nd.Data(e.maps[1])[j] = v - 1
			}
			nd.Data(e.maps[2])[j] = float32(math.Floor(4 * float64(v)))
		}
		out = append(out, e)
	}
	return out
}

func TestBinnedAPIsNearTheExactOne(t *testing.T) {
	examples := realistic(40, 96)
	b := bootstrap(t, examples)
	rng := rand.New(rand.NewPCG(6, 6))
	for k, bins := range b.bins {
		require.Less(t, bins.Len(), 3000)
		var got, want []float64
		for range 20 {
			draws := make([]int, len(examples))
			for i := range draws {
				draws[i] = rng.IntN(len(examples))
			}
			got = append(got, given(b, k, draws))
			want = append(want, exactly(t, examples, k, draws))
		}
		compare.Require(t, "AP", got, want, binned)
	}
	all := make([]int, len(examples))
	for i := range all {
		all[i] = i
		for _, c := range b.images[i].counts {
			require.Less(t, len(c), 16<<10)
		}
	}
	require.InDelta(t, exactly(t, examples, 2, all), given(b, 2, all), 1e-12, "a map of few levels has a bin for each")
}

func TestBootstrapDoesNotDependOnThreads(t *testing.T) {
	b := bootstrap(t, realistic(9, 32))
	want := b.AP(50, 7)
	require.Len(t, want, 3)
	require.Equal(t, want[0][:20], b.AP(20, 7)[0], "nor on how many resamples there are")
	require.NotEqual(t, want, b.AP(50, 8))
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	require.Equal(t, want, b.AP(50, 7))
}

// With one defective image among many normal ones, a plain resample lacks it in one of three cases.
func TestResamplesWithoutDefectAreDrawnAgain(t *testing.T) {
	examples := realistic(20, 16)
	for i := range examples {
		if i != 3 {
			examples[i].mask = nil
		}
	}
	b := bootstrap(t, examples)
	for _, ap := range b.AP(200, 1) {
		for _, v := range ap {
			require.Greater(t, v, 0.0)
		}
	}
	require.Nil(t, bootstrap(t, append(examples[:3:3], examples[4:]...)).AP(10, 1), "no defect at all")
	require.Nil(t, NewBootstrap().AP(10, 1))
}

func TestBootstrapIsPaired(t *testing.T) {
	examples := realistic(12, 24)
	for i := range examples {
		examples[i].maps[1] = examples[i].maps[0]
	}
	ap := bootstrap(t, examples).AP(40, 1)
	require.Equal(t, &Interval{}, Difference(ap[0], ap[1]))
}

func TestBootstrapRefuses(t *testing.T) {
	b := bootstrap(t, realistic(2, 8))
	m := nd.New(8, 8)
	require.ErrorContains(t, b.Add(nil, m), "1 score maps for 3 kinds")
	require.ErrorContains(t, b.Add(nd.New(8, 7), m, m, m), "mask")
	require.ErrorContains(t, NewBootstrap(&Bins{}).Add(nil, m), "no bins")
	require.Len(t, b.images, 2)
	require.Nil(t, Difference(nil, nil))
}

func TestBinsCoverAllScores(t *testing.T) {
	p := NewPixels(Options{})
	defer p.Close()
	scores := nd.Wrap([]float32{5, 4, 4, 4, 4, 4, 3, -1}, 2, 4)
	require.NoError(t, p.Add(scores, nil))
	r, err := p.Result(0)
	require.NoError(t, err)
	require.Equal(t, 4, r.Bins.Len())
	for score, want := range map[float32]int{9: 0, 5: 0, 4.5: 1, 4: 1, 3: 2, 0: 3, -1: 3, -7: 3} {
		for hint := range r.Bins.Len() {
			require.Equal(t, want, r.Bins.of(^rank(score), hint), "score %v from bin %d", score, hint)
		}
	}
	require.False(t, slices.Contains(r.Bins.single, false))
}

func TestIntervals(t *testing.T) {
	require.True(t, Interval{0.1, 0.2}.Above())
	require.True(t, Interval{-0.2, -0.1}.Below())
	require.False(t, Interval{0, 0.2}.Above() || Interval{-0.2, 0}.Below())
	require.Equal(t, &Interval{1, 1}, Difference([]float64{3}, []float64{2}))
}

func TestLosses(t *testing.T) {
	var l Losses
	require.False(t, l.Share().Defined())
	l.Add(Undefined(), Undefined())
	l.Add(Undefined(), 0.5)
	require.False(t, l.Share().Defined(), "normal images do not count")
	l.Add(0.5, 0.505)
	require.Zero(t, l.Share())
	l.Add(0.5, 0.511)
	l.Add(0.5, 0.1)
	require.InDelta(t, 1.0/3, float64(l.Share()), 1e-15)
}

func BenchmarkBootstrap(b *testing.B) {
	examples := realistic(60, 256)
	boot := bootstrap(b, examples)
	bytes := 0
	for _, im := range boot.images {
		for _, c := range im.counts {
			bytes += len(c)
		}
	}
	b.Run("add", func(b *testing.B) {
		for i := range b.N {
			e := examples[i%len(examples)]
			boot.images = boot.images[:59]
			require.NoError(b, boot.Add(e.mask, e.maps...))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*3*256*256), "ns/pixel")
	})
	b.Run("resample", func(b *testing.B) {
		for range b.N {
			boot.AP(1000, 0)
		}
		b.ReportMetric(float64(bytes)/(3*60), "bytes/map")
	})
}
