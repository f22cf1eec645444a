package engine

import (
	"testing"

	"f2pad/engine/imageio"
	"f2pad/engine/nd"

	"github.com/stretchr/testify/require"
)

// ramp is an image whose pixel (i,j) holds i+j/1000 over a number that keeps it below one.
func ramp(h, w int) *imageio.Image {
	t := nd.New(1, h, w)
	for i := range h {
		for j := range w {
			nd.Data(t)[i*w+j] = (float32(i) + float32(j)/1000) / float32(h+1)
		}
	}
	return &imageio.Image{Pix: t, Depth: 8}
}

func TestFramesReturnMapsToTheImage(t *testing.T) {
	for _, c := range []struct {
		name  string
		h, w  int
		size  Size
		exact bool
	}{
		{"native, multiples of the stride", 40, 64, Size{}, true},
		{"native, odd", 41, 63, Size{}, true},
		{"native, smaller than the backbone takes", 9, 70, Size{}, true},
		{"square", 50, 90, Size{Px: 64}, false},
		{"square of an odd size", 50, 90, Size{Px: 61}, false},
		{"aspect kept, wide", 50, 90, Size{Px: 64, KeepAspect: true}, false},
		{"aspect kept, tall", 90, 50, Size{Px: 64, KeepAspect: true}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			im := ramp(c.h, c.w)
			f, err := newFrame(im, c.size, 4, 20)
			require.NoError(t, err)
			H, W := f.size()
			require.Zero(t, H%4)
			require.Zero(t, W%4)
			require.GreaterOrEqual(t, min(H, W), 20)
			back := f.native(nd.Data(f.y)[:H*W])
			require.Equal(t, []int{c.h, c.w}, []int(back.Shape()))
			want, got := nd.Data(im.Pix), nd.Data(back)
			tol := 0.0
			if !c.exact {
				tol = 1.5 / float64(c.h) // a row and a half of the ramp: resizing flattens its ends
			}
			for i := range want {
				require.InDelta(t, want[i], got[i], tol, "pixel %d", i)
			}
		})
	}
}

func TestFrameCellsAreThoseOfTheImage(t *testing.T) {
	f, err := newFrame(ramp(30, 62), Size{Px: 64, KeepAspect: true}, 4, 20)
	require.NoError(t, err)
	rows := map[int]bool{}
	n := 0
	f.cells(4, func(v int) {
		rows[v/16] = true
		n++
	})
	require.Equal(t, 31, f.height, "30x62 fits into 31x64")
	for i := range 16 {
		centre := 4*float64(i) + 1.5
		require.Equal(t, centre >= float64(f.top) && centre <= float64(f.top+f.height-1), rows[i], "row %d", i)
	}
	require.Equal(t, 16*len(rows), n)
}

func TestSeedsDependOnContentOnly(t *testing.T) {
	a, err := newFrame(ramp(40, 40), Size{}, 4, 20)
	require.NoError(t, err)
	b, err := newFrame(ramp(40, 40), Size{}, 4, 20)
	require.NoError(t, err)
	require.Equal(t, a.seed(1), b.seed(1))
	require.NotEqual(t, a.seed(1), a.seed(2))
	nd.Data(b.y)[1700] += 0.1
	require.NotEqual(t, a.seed(1), b.seed(1))
}

// TestFramesAreBounded: a network of large cells makes no huge frame of a thin image.
func TestFramesAreBounded(t *testing.T) {
	_, err := newFrame(ramp(8, 1<<17), Size{}, 1<<13, 1<<13)
	require.ErrorIs(t, err, imageio.ErrTooLarge)
	require.ErrorContains(t, err, "131072 x 8 pixels become 131072 x 8192")
}
