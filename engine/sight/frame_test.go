package sight

import (
	"runtime"
	"testing"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/internal/index"
	"f2pad.example/engine/nd"

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
		{"not square", 50, 90, Size{Px: 44, Wide: 80}, false},
		{"not square, aspect kept", 50, 90, Size{Px: 64, Wide: 80, KeepAspect: true}, false},
		{"not square, aspect kept, tall", 90, 50, Size{Px: 64, Wide: 80, KeepAspect: true}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			im := ramp(c.h, c.w)
			f, err := NewFrame(im, c.size, 4, 20)
			require.NoError(t, err)
			H, W := f.Size()
			if high, wide := c.size.Sides(); high > 0 {
				require.Equal(t, [2]int{index.RoundUp(high, 4), index.RoundUp(wide, 4)}, [2]int{H, W})
			}
			require.Zero(t, H%4)
			require.Zero(t, W%4)
			require.GreaterOrEqual(t, min(H, W), 20)
			back := f.Native(nd.Data(f.Y)[:H*W])
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
	f, err := NewFrame(ramp(30, 62), Size{Px: 64, KeepAspect: true}, 4, 20)
	require.NoError(t, err)
	rows := map[int]bool{}
	n := 0
	f.Cells(4, func(v int) {
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
	a, err := NewFrame(ramp(40, 40), Size{}, 4, 20)
	require.NoError(t, err)
	b, err := NewFrame(ramp(40, 40), Size{}, 4, 20)
	require.NoError(t, err)
	require.Equal(t, a.Seed(1), b.Seed(1))
	require.NotEqual(t, a.Seed(1), a.Seed(2))
	nd.Data(b.Y)[1700] += 0.1
	require.NotEqual(t, a.Seed(1), b.Seed(1))
}

// TestFramesAreBounded: a network of large cells makes no huge frame of a thin image.
func TestFramesAreBounded(t *testing.T) {
	_, err := NewFrame(ramp(8, 1<<17), Size{}, 1<<13, 1<<13)
	require.ErrorIs(t, err, imageio.ErrTooLarge)
	require.ErrorContains(t, err, "131072 x 8 pixels become 131072 x 8192")
}

// TestFramesOfGreyImagesAreGrey: whether an image is shrunk before or after its plane is taken three times makes no difference.
func TestFramesOfGreyImagesAreGrey(t *testing.T) {
	for _, size := range []Size{{}, {Px: 61}, {Px: 64, KeepAspect: true}} {
		grey := ramp(50, 90)
		f, err := NewFrame(grey, size, 4, 20)
		require.NoError(t, err)
		rgb, err := NewFrame(&imageio.Image{Pix: grey.RGB(), Depth: 8}, size, 4, 20)
		require.NoError(t, err)
		require.Equal(t, nd.Data(rgb.Y), nd.Data(f.Y))
		rgb.Y, f.Y = nil, nil
		require.Equal(t, rgb, f)
	}
}

// TestFrameOfATallImageTakesLittleMemory: its rows are never made as wide as the frame.
func TestFrameOfATallImageTakesLittleMemory(t *testing.T) {
	im := &imageio.Image{Pix: nd.New(1, 1<<20, 8), Depth: 8}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := NewFrame(im, Size{Px: 64}, 4, 20)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
}

// FuzzFrame: an image of any sides, however thin, becomes a frame in memory that its own and the frame's pixels explain, and
// back.
func FuzzFrame(f *testing.F) {
	for _, s := range [][5]uint32{
		{8, 30000, 64, 4, 20}, {30000, 8, 64, 4, 20}, {8, 30000, 0, 4, 20}, {50, 90, 61, 32, 32}, {9, 9, 512, 16, 64}, {8, 30000, 64, 14, 14},
	} {
		f.Add(s[0], s[1], s[2], s[3], s[4], false, true)
		f.Add(s[0], s[1], s[2], s[3], s[4], true, false)
	}
	f.Fuzz(func(t *testing.T, h32, w32, px, multiple32, least32 uint32, keep, colour bool) {
		h, w := max(8, int(h32%(1<<18))), max(8, int(w32%(1<<18)))
		size := Size{Px: int(px % 600), KeepAspect: keep}
		multiple, least := 1+int(multiple32%64), 1+int(least32%128)
		if h*w > 1<<18 {
			return // too much work for a round
		}
		if _, H, W, err := LayFrame(h, w, size, multiple, least); err != nil || H*W > 1<<20 {
			return // too much work for a round
		}
		im := &imageio.Image{Pix: nd.New(1, h, w), Depth: 8}
		if colour {
			im.Pix = nd.New(3, h, w)
		}
		for i := range nd.Data(im.Pix) {
			nd.Data(im.Pix)[i] = float32(i%251) / 251
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fr, err := NewFrame(im, size, multiple, least)
		runtime.ReadMemStats(&after)
		require.NoError(t, err)
		H, W := fr.Size()
		// The frame, resized and padded, in one plane and in three; weights and rows of a line; nothing that is both long and wide.
		most := 4*4*3*H*W + 100*(h+w+H+W) + 1<<20
		require.LessOrEqual(t, after.TotalAlloc-before.TotalAlloc, uint64(most), "%d x %d to %d x %d", w, h, W, H)
		require.Zero(t, H%multiple)
		require.Zero(t, W%multiple)
		require.GreaterOrEqual(t, min(H, W), least)
		require.True(t, fr.top >= 0 && fr.left >= 0 && fr.top+fr.height <= H && fr.left+fr.width <= W)
		_, layH, layW, err := LayFrame(h, w, size, multiple, least)
		require.NoError(t, err)
		require.Equal(t, []int{layH, layW}, []int{H, W})
		for _, v := range nd.Data(fr.Y) {
			require.True(t, v >= 0 && v <= 1.000001)
		}
		require.Equal(t, []int{h, w}, []int(fr.Native(nd.Data(fr.Y)[:H*W]).Shape()))
	})
}
