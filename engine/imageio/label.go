package imageio

import (
	"image"
	"image/color"
	"image/draw"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// labelShare is how many times a line of a label goes into an image's height, where it is not as small as letters get.
const labelShare = 24

// Label writes a line of text into the upper left corner of img, white on black: letters of 13 pixels, or a whole multiple of
// that in large images. ASCII; what does not fit into the image is cut off.
func Label(img draw.Image, text string) {
	face := basicfont.Face7x13
	const margin = 1
	w, h := font.MeasureString(face, text).Ceil()+2*margin, face.Height+2*margin
	line := image.NewGray(image.Rect(0, 0, w, h))
	d := font.Drawer{Dst: line, Src: image.White, Face: face, Dot: fixed.P(margin, margin+face.Ascent)}
	d.DrawString(text)
	b := img.Bounds()
	scale := max(1, b.Dy()/labelShare/face.Height)
	for y := range min(h*scale, b.Dy()) {
		for x := range min(w*scale, b.Dx()) {
			v := line.GrayAt(x/scale, y/scale).Y
			img.Set(b.Min.X+x, b.Min.Y+y, color.RGBA{v, v, v, 255})
		}
	}
}
