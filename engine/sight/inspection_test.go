package sight

import (
	"testing"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/roi"

	"github.com/stretchr/testify/require"
)

// leftPart inspects the first x columns of images of h x w pixels.
func leftPart(t *testing.T, h, w, x int) *roi.Region {
	t.Helper()
	in := make([]bool, h*w)
	for i := range in {
		in[i] = i%w < x
	}
	r, err := roi.New("left", in, h, w)
	require.NoError(t, err)
	return r
}

func TestARegionMayBeTooSmallForTheModel(t *testing.T) {
	f, err := NewFrame(&imageio.Image{Pix: nd.New(1, 400, 400)}, Size{Px: 32}, 4, 32)
	require.NoError(t, err)
	in := make([]bool, 400*400)
	in[0] = true
	r, err := roi.New("dot", in, 400, 400)
	require.NoError(t, err)
	require.ErrorContains(t, Inspect(nil, r).Restrict(f), "too small to be seen in 32x32 pixels")
	require.ErrorIs(t, Inspect(nil, r).Restrict(f), roi.ErrEmpty)
}

// A frame's region is where its image lies, padding aside.
func TestRegionsFollowTheFrame(t *testing.T) {
	f, err := NewFrame(&imageio.Image{Pix: nd.New(1, 40, 80)}, Size{Px: 32, KeepAspect: true}, 8, 32)
	require.NoError(t, err)
	require.NoError(t, Inspect(nil, leftPart(t, 40, 80, 40)).Restrict(f))
	for i, on := range f.Inside {
		require.Equal(t, i%32 < 16 && i/32 >= 8 && i/32 < 24, on, "%d", i)
	}
	require.Equal(t, []bool{false, false, false, false, true, true, false, false, true, true, false, false, false, false, false, false}, f.Grid(4, 4))
	require.Equal(t, []bool{true, false, true, false}, f.Grid(2, 2))
	var cells []int
	f.Cells(8, func(v int) { cells = append(cells, v) })
	require.Equal(t, []int{4, 5, 8, 9}, cells)
}

func TestSpreadGivesTheNearest(t *testing.T) {
	in := []bool{
		false, false, false, false,
		true, false, false, false,
		true, false, false, true,
	}
	x := []float32{9, 9, 9, 9, 1, 9, 9, 9, 2, 9, 9, 3}
	spread(x, in, 3, 4)
	require.Equal(t, []float32{1, 1, 1, 3, 1, 1, 1, 3, 2, 2, 3, 3}, x, "the first of several")
}

// What lies beside a region takes no part in the maps: the cells there are as those at its edge.
func TestMapsTakeNothingInFromOutside(t *testing.T) {
	f, err := NewFrame(&imageio.Image{Pix: nd.New(1, 32, 32)}, Size{}, 4, 4)
	require.NoError(t, err)
	require.NoError(t, Inspect(nil, leftPart(t, 32, 32, 16)).Restrict(f))
	sc := &Scorer{Frames: []*Frame{f, {Y: f.Y}}, Detector: copying{}}
	x, got := make([]float32, 2*64), make([]float32, 2*32*32)
	for i := range x {
		x[i] = float32(i % 8)
	}
	require.NoError(t, sc.OwnMaps([]int{0, 1}, x, 8, 8, 32, 32, nil, got))
	require.Equal(t, []float32{0, 1, 2, 3, 3, 3, 3, 3}, got[:8])
	require.Equal(t, []float32{0, 1, 2, 3, 4, 5, 6, 7}, got[64:72], "of another image")
}

// copying is a Detector whose maps begin with the scores.
type copying struct{ Detector }

func (copying) Maps(s []float32, n, h, w, H, W int, _ []bool, dst []float32) error {
	copy(dst, s)
	return nil
}
