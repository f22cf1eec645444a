package report

import (
	"image"
	"image/color"
	"testing"

	"f2pad.example/engine/metric"

	"github.com/stretchr/testify/require"
)

func TestSheet(t *testing.T) {
	at := func(side int, grey uint8) Picture {
		m := image.NewGray(image.Rect(0, 0, side, side))
		for i := range m.Pix {
			m.Pix[i] = grey
		}
		p, err := NewPicture(m)
		require.NoError(t, err)
		return p
	}
	e := Entry{ID: "test/hole/1.png", Why: LargestLoss, Image: at(30, 10), Truth: at(30, 40), Maps: []Map{{"base", 0.5, at(30, 90)}}}
	normal := Entry{ID: "test/good/1.png", Image: at(50, 160), Maps: []Map{{"base", metric.Undefined(), at(50, 220)}}}
	m, err := Sheet([]Entry{e, normal}, "")
	require.NoError(t, err)
	require.Equal(t, image.Rect(0, 0, 6+2*56, 6+18+30+6+18+50+6), m.Bounds(), "as wide as the wider row")
	for at, want := range map[image.Point]uint8{
		{6, 24}: 10, {35, 53}: 10, {36, 24}: 255, {42, 24}: 40, {78, 24}: 90, {6, 78}: 160, {62, 78}: 220, {116, 78}: 255,
	} {
		grey, ok := color.GrayModel.Convert(m.At(at.X, at.Y)).(color.Gray)
		require.True(t, ok)
		require.InDelta(t, want, grey.Y, 2, "%v", at)
	}
	ink := 0
	for y := 6; y < 24; y++ {
		for x := range m.Bounds().Dx() {
			if r, _, _, _ := m.At(x, y).RGBA(); r == 0 {
				ink++
			}
		}
	}
	require.Greater(t, ink, 100, "the ID is written")

	m, err = Sheet(nil, "all is good")
	require.NoError(t, err)
	require.Equal(t, image.Rect(0, 0, 6+11*7+6, 6+18+6), m.Bounds())
	ink = 0
	for x := range m.Bounds().Dx() {
		for y := range m.Bounds().Dy() {
			if r, _, _, _ := m.At(x, y).RGBA(); r == 0 {
				ink++
			}
		}
	}
	require.Greater(t, ink, 50, "the reason is written")
	_, err = Sheet([]Entry{{Image: Picture{"image/png", []byte("x"), 1, 1}}}, "")
	require.ErrorContains(t, err, "report: image")
}
