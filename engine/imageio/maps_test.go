package imageio

import (
	"encoding/hex"
	"errors"
	"image"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"testing"

	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"golang.org/x/image/tiff"
	"gorgonia.org/tensor"
)

func TestMapRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.tiff")
	want := nd.Wrap([]float32{0, 1, -2.5, 1e-30, 3.25, 65504}, 2, 3)
	require.NoError(t, WriteMap(path, want))
	got, err := ReadMap(path)
	require.NoError(t, err)
	require.Equal(t, []int{2, 3}, []int(got.Shape()))
	require.Equal(t, nd.Data(want), nd.Data(got))

	// The bytes that Pillow, tifffile and OpenCV have read: see testdata/check_map.py.
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	golden, err := os.ReadFile("testdata/map.tiff")
	require.NoError(t, err)
	require.Equal(t, hex.Dump(golden), hex.Dump(data))
}

func TestHalfMap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.tiff")
	require.NoError(t, WriteHalfMap(path, nd.Wrap([]float32{0, 1, -2.5, 1e-30, 3.25, 1e9}, 2, 3)))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	golden, err := os.ReadFile("testdata/half.tiff") // see testdata/check_map.py
	require.NoError(t, err)
	require.Equal(t, hex.Dump(golden), hex.Dump(data))
}

// TestHalfIsTheNearest: every float16 is itself, what is between two goes to the nearer, and their middle to the even one.
func TestHalfIsTheNearest(t *testing.T) {
	value := func(h uint16) float64 {
		exponent, fraction := int(h>>10&31), float64(h&1023)
		if exponent == 0 {
			return math.Ldexp(fraction, -24)
		}
		return math.Ldexp(1024+fraction, exponent-25)
	}
	for h := range uint16(0x7bff) {
		low, high := value(h), value(h+1)
		middle := float32((low + high) / 2)
		even := h + h&1
		for v, want := range map[float32]uint16{
			float32(low): h, float32(high): h + 1, middle: even, math.Nextafter32(middle, 0): h, math.Nextafter32(middle, 1e9): h + 1,
		} {
			require.Equal(t, want, half(v), "%g", v)
			require.Equal(t, want|0x8000, half(-v), "%g", -v)
		}
	}
	require.Equal(t, uint16(0x8000), half(float32(math.Copysign(0, -1))))
	require.Equal(t, []uint16{0x7bff, 0xfbff}, []uint16{half(65519), half(float32(math.Inf(-1)))}, "no infinities")
	require.Equal(t, uint16(0x7e00), half(float32(math.NaN()))&0x7fff)
}

func TestMarksRoundTrip(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mask.png")
	want := []bool{true, false, false, true, true, false}
	require.NoError(t, WriteMarks(path, want, 3, 2))
	got, h, w, err := ReadMarks(path)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, []int{3, 2}, []int{h, w})
	h, w, err = MarksSize(path)
	require.NoError(t, err)
	require.Equal(t, []int{3, 2}, []int{h, w})

	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	grey, rgb := image.NewGray(image.Rect(0, 0, 2, 2)), image.NewRGBA(image.Rect(0, 0, 2, 2))
	grey.Pix[3] = 1
	for name, c := range map[string]struct {
		make func(path string) error
		want error
	}{
		"cut":   {func(path string) error { return os.WriteFile(path, whole[:len(whole)-20], 0o600) }, ErrCorrupt},
		"text":  {func(path string) error { return os.WriteFile(path, []byte("text"), 0o600) }, ErrFormat},
		"one":   {func(path string) error { return WritePNG(path, grey) }, ErrFormat},
		"rgb":   {func(path string) error { return WritePNG(path, rgb) }, ErrFormat},
		"there": {func(path string) error { return nil }, os.ErrNotExist},
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, c.make(path))
		_, _, _, err := ReadMarks(path)
		require.ErrorIs(t, err, c.want, name)
		require.ErrorContains(t, err, path+": ")
	}
}

func TestReadMapRefusesWhatIsNoMap(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.tiff")
	whole, err := os.ReadFile("testdata/map.tiff")
	require.NoError(t, err)
	for n := range len(whole) + 1 {
		data := whole[:n]
		want := ErrFormat
		switch {
		case n == len(whole):
			data, want = append(whole[:n:n], 0), ErrCorrupt
		case n > 126: // all that the header still lacks are zeros
			want = ErrCorrupt
		}
		require.NoError(t, os.WriteFile(path, data, 0o600))
		_, err := ReadMap(path)
		require.ErrorIs(t, err, want, "%d bytes", n)
		require.ErrorContains(t, err, path+": ")
	}
	huge := tiffHeader(1<<30, 1<<30, 32)
	require.NoError(t, os.WriteFile(path, huge, 0o600))
	_, err = ReadMap(path)
	require.ErrorIs(t, err, ErrCorrupt)
	zero := tiffHeader(0, 3, 32)
	require.NoError(t, os.WriteFile(path, zero, 0o600))
	_, err = ReadMap(path)
	require.ErrorIs(t, err, ErrFormat)
	_, err = ReadMap("testdata/raw.tif")
	require.ErrorIs(t, err, ErrFormat)
	_, err = ReadMap(filepath.Join(dir, "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestWritersCheckShapes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	flat := nd.New(4)
	require.ErrorContains(t, WriteMap(path, flat), path+": map has shape")
	require.ErrorContains(t, WriteHalfMap(path, flat), path+": map has shape")
	require.ErrorContains(t, WriteMask(path, flat, 0), path+": mask has shape")
	require.ErrorContains(t, WriteMap(path, tensor.New(tensor.WithShape(2, 2), tensor.Of(tensor.Float64))), "float32")
	_, err := os.Stat(path)
	require.True(t, errors.Is(err, os.ErrNotExist))
}

func TestMaskRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mask.png")
	m := nd.New(8, 9)
	want := make([]float32, 72)
	for i := range want {
		nd.Data(m)[i] = float32(i % 5)
		if i%5 > 2 {
			want[i] = 1
		}
	}
	require.NoError(t, WriteMask(path, m, 2))
	im, err := Decode(path, Limits{})
	require.NoError(t, err)
	require.True(t, im.IsGrey())
	require.Equal(t, want, nd.Data(im.Pix), "0 and 255")
	got, err := ReadMask(path, Limits{})
	require.NoError(t, err)
	require.Equal(t, []int{8, 9}, []int(got.Shape()))
	require.Equal(t, want, nd.Data(got))
	_, err = ReadMask(path, Limits{MaxPixels: 71})
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestReadMaskTakesTheBrighterHalf(t *testing.T) {
	dir := t.TempDir()
	rect := image.Rect(0, 0, 8, 8)
	grey, deep, rgb := image.NewGray(rect), image.NewGray16(rect), image.NewRGBA(rect)
	for i, v := range []uint8{127, 128, 0, 255} {
		grey.SetGray(i, 0, color.Gray{v})
		rgb.SetRGBA(i, 0, color.RGBA{B: v, A: 255})
	}
	for i, v := range []uint16{32767, 32768, 0, 65535} {
		deep.SetGray16(i, 0, color.Gray16{v})
	}
	for name, img := range map[string]image.Image{"grey.png": grey, "deep.png": deep, "rgb.png": rgb} {
		path := filepath.Join(dir, name)
		require.NoError(t, WritePNG(path, img))
		mask, err := ReadMask(path, Limits{})
		require.NoError(t, err)
		require.Equal(t, []float32{0, 1, 0, 1, 0, 0, 0, 0}, nd.Data(mask)[:8], name)
	}
}

func TestMapHeaderIsTIFF(t *testing.T) {
	f, err := os.Open("testdata/map.tiff")
	require.NoError(t, err)
	defer f.Close()
	_, err = tiff.DecodeConfig(f) // it reads directories, not floats
	require.ErrorContains(t, err, "sample format")
}
