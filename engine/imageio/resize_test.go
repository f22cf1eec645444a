package imageio

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

type array struct {
	Shape []int     `json:"shape"`
	Data  []float32 `json:"data"`
}

func (a array) tensor() *tensor.Dense { return nd.Wrap(a.Data, a.Shape...) }

type resizeGolden struct {
	Src                                  array
	Pillow, Antialias, Bilinear, Reflect []array
}

func readResizeGolden(t *testing.T) (g resizeGolden) {
	t.Helper()
	raw, err := os.ReadFile("testdata/resize.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &g))
	return g
}

var (
	// Both sum in float64 and round to float32 after each pass.
	pillowTol = compare.Tolerance{Abs: 1.2e-7}
	// PyTorch computes places and weights in float32.
	torchTol = compare.Tolerance{Abs: 3e-6}
)

func TestResizeAgreesWithPillowAndPyTorch(t *testing.T) {
	g := readResizeGolden(t)
	require.NotEmpty(t, g.Pillow)
	for i, want := range g.Pillow {
		got := Resize(g.Src.tensor(), want.Shape[1], want.Shape[2])
		require.Equal(t, want.Shape, []int(got.Shape()))
		compare.Require(t, "pillow", nd.Data(got), want.Data, pillowTol)
		compare.Require(t, "torch", nd.Data(got), g.Antialias[i].Data, torchTol)
	}
	src := g.Src.tensor()
	require.Same(t, src, Resize(src, 9, 13))
}

func TestResizeMapAgreesWithPyTorch(t *testing.T) {
	g := readResizeGolden(t)
	for _, want := range g.Bilinear {
		h, w := want.Shape[1], want.Shape[2]
		got := ResizeMap(g.Src.Data[9*13:], 9, 13, h, w)
		compare.Require(t, "bilinear", got, want.Data[h*w:], torchTol)
	}
	require.Equal(t, []float32{7, 7, 7, 7, 7, 7}, ResizeMap([]float32{7}, 1, 1, 2, 3))
}

func TestPadReflectAgreesWithNumpy(t *testing.T) {
	src := nd.New(1, 9, 13)
	for i := range nd.Data(src) {
		nd.Data(src)[i] = float32(i)
	}
	g := readResizeGolden(t)
	for _, want := range g.Reflect {
		H, W := want.Shape[1], want.Shape[2]
		if want.Data[0] == 0 { // padded at the bottom and the right only
			require.Equal(t, want.Data, nd.Data(PadReflect(src, H, W)))
			continue
		}
		got, top, left := PadReflectCentred(src, H, W)
		require.Equal(t, want.Shape, []int(got.Shape()))
		require.Equal(t, want.Data, nd.Data(got))
		require.Equal(t, nd.Data(src), nd.Data(Crop(got, top, left, 9, 13)))
	}
	require.Equal(t, []float32{5, 5, 5, 5}, nd.Data(PadReflect(nd.Wrap([]float32{5}, 1, 1, 1), 2, 2)))
}

func TestPadAndCropKeepPlanesApart(t *testing.T) {
	src := nd.Wrap([]float32{1, 2, 3, 4, 5, 6, 7, 8}, 2, 2, 2)
	padded := PadReflect(src, 3, 3)
	require.Equal(t, []float32{1, 2, 1, 3, 4, 3, 1, 2, 1, 5, 6, 5, 7, 8, 7, 5, 6, 5}, nd.Data(padded))
	require.Equal(t, []float32{4, 3, 2, 1, 8, 7, 6, 5}, nd.Data(Crop(padded, 1, 1, 2, 2)))
	_, top, left := PadReflectCentred(src, 5, 7)
	require.Equal(t, []int{1, 2}, []int{top, left})
}

// inTwoPasses is Resize as its definition says: all rows to the new width, rounded to float32, then all columns.
func inTwoPasses(t *tensor.Dense, h, w int) []float32 {
	c, H, W := t.Shape()[0], t.Shape()[1], t.Shape()[2]
	wide, out := make([]float32, c*H*w), make([]float32, c*h*w)
	taps := make([]tap, w)
	for x := range taps {
		taps[x] = triangle(W, w, x, nil)
	}
	for y := range c * H {
		for x, k := range taps {
			sum := 0.0
			for i, weight := range k.weights {
				sum += float64(nd.Data(t)[y*W+k.first+i]) * weight
			}
			wide[y*w+x] = float32(sum)
		}
	}
	for p := range c {
		for y := range h {
			k := triangle(H, h, y, nil)
			sums := make([]float64, w)
			for i, weight := range k.weights {
				for x := range sums {
					sums[x] += float64(wide[(p*H+k.first+i)*w+x]) * weight
				}
			}
			for x, sum := range sums {
				out[(p*h+y)*w+x] = float32(sum)
			}
		}
	}
	return out
}

// noise has c planes of h x w values in [0,1).
func noise(c, h, w int) *tensor.Dense {
	rng := rand.New(rand.NewPCG(uint64(h), uint64(w)))
	t := nd.New(c, h, w)
	for i := range nd.Data(t) {
		nd.Data(t)[i] = rng.Float32()
	}
	return t
}

// TestResizeIsTwoPasses: however the work is divided, the bits are those of one pass after the other.
func TestResizeIsTwoPasses(t *testing.T) {
	for _, s := range [][4]int{
		{9, 13, 4, 5}, {9, 13, 9, 5}, {9, 13, 4, 13}, {9, 13, 20, 5}, {9, 13, 4, 40}, {9, 13, 30, 31}, {1, 1, 3, 3}, {50, 3, 1, 1},
		{97, 64, 96, 63}, {3000, 8, 7, 64}, {8, 3000, 64, 7}, {1, 1<<20 + 9, 3, 5}, // the last one in blocks
	} {
		src := noise(2, s[0], s[1])
		require.Equal(t, inTwoPasses(src, s[2], s[3]), nd.Data(Resize(src, s[2], s[3])), "%v", s)
	}
}

// TestResizeOfVeryTallImagesIsTheOtherWayRound: what a plane would be on the way is never made.
func TestResizeOfVeryTallImagesIsTheOtherWayRound(t *testing.T) {
	const H, W, h, w = 1<<14 + 1, 8, 9, 1 << 14
	require.Greater(t, H*w, tallWork)
	src := noise(2, H, W)
	var got *tensor.Dense
	require.Less(t, allocated(func() { got = Resize(src, h, w) }), uint64(4*2*h*w+4<<20))
	require.Equal(t, nd.Data(Resize(Resize(src, h, W), h, w)), nd.Data(got))
}

// allocated is how many bytes f allocates, what is freed meanwhile included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// resizeMemory is what Resize may allocate beside its result: weights, and rows that are not its result's.
func resizeMemory(c, H, W, h, w int) uint64 {
	weights := 8 * (5*W/2 + 5*w + 8*(H/h+3)) // size classes of the allocator are up to a quarter apart
	rows := 4 * min(H, h) * w * c
	return uint64(weights + rows + 96*(h+w) + 8*8*w + 1<<16)
}

// TestResizeOfThinImagesTakesLittleMemory: an image of few columns and very many rows is no wide one on its way to a square.
func TestResizeOfThinImagesTakesLittleMemory(t *testing.T) {
	for _, s := range [][4]int{{1 << 18, 8, 256, 256}, {8, 1 << 18, 256, 256}, {1 << 18, 8, 1, 64}, {8, 1 << 18, 64, 1}} {
		src := nd.New(1, s[0], s[1])
		var out *tensor.Dense
		got := allocated(func() { out = Resize(src, s[2], s[3]) })
		require.Less(t, got, resizeMemory(1, s[0], s[1], s[2], s[3])+uint64(4*s[2]*s[3]), "%v", s)
		require.Less(t, got, uint64(10<<20), "%v", s)
		require.Equal(t, []int{1, s[2], s[3]}, []int(out.Shape()))
	}
}

func TestResizeMapOfWideMapsTakesLittleMemory(t *testing.T) {
	src := []float32{1, 2, 3, 4, 5, 6}
	for _, s := range [][2]int{{8, 1 << 18}, {1 << 18, 8}} {
		var dst []float32
		got := allocated(func() { dst = ResizeMap(src, 2, 3, s[0], s[1]) })
		require.Less(t, got, uint64(4*s[0]*s[1]+4<<20))
		// The same places, whatever block they are in.
		for _, x := range []int{0, 1, s[1] / 3, s[1] - 1} {
			for _, y := range []int{0, s[0] / 2, s[0] - 1} {
				r, c := lerpAt(2, s[0], y), lerpAt(3, s[1], x)
				a := src[r.at*3+c.at] + c.t*(src[r.at*3+c.next]-src[r.at*3+c.at])
				b := src[r.next*3+c.at] + c.t*(src[r.next*3+c.next]-src[r.next*3+c.at])
				require.Equal(t, a+r.t*(b-a), dst[y*s[1]+x])
			}
		}
	}
}

// FuzzResize: any size to any other, with the bits of two passes and no more memory than said.
func FuzzResize(f *testing.F) {
	for _, s := range [][4]uint32{{8, 60000, 64, 64}, {60000, 8, 64, 64}, {8, 60000, 1, 64}, {9, 13, 30, 31}, {1, 1, 1, 60000}, {499, 977, 256, 256}} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	f.Fuzz(func(t *testing.T, H, W, h, w uint32) {
		for _, n := range []*uint32{&H, &W, &h, &w} {
			*n = max(1, *n%(1<<19))
		}
		if uint64(H)*uint64(W) > 1<<19 || uint64(h)*uint64(w) > 1<<16 || uint64(H)*uint64(w) > 1<<25 {
			return // too much work for a round
		}
		src := noise(1, int(H), int(W))
		var out *tensor.Dense
		got := allocated(func() { out = Resize(src, int(h), int(w)) })
		if out != src {
			require.LessOrEqual(t, got, resizeMemory(1, int(H), int(W), int(h), int(w))+uint64(4*h*w)+1<<18)
		}
		require.Equal(t, inTwoPasses(src, int(h), int(w)), nd.Data(out))
	})
}
