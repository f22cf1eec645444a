package imageio

import (
	"io"

	"f2pad/engine/nd"

	"github.com/bep/imagemeta"
)

// orientation returns the EXIF orientation, 1 to 8; 1 (upright) where there is none or it cannot be read.
func orientation(f *format, r *io.SectionReader) int {
	kinds := map[string]imagemeta.ImageFormat{
		"PNG": imagemeta.PNG, "JPEG": imagemeta.JPEG, "TIFF": imagemeta.TIFF, "WebP": imagemeta.WebP,
	}
	kind, ok := kinds[f.name]
	if !ok {
		return 1
	}
	found := 1
	// Broken metadata is no reason to refuse an image whose pixels are sound: the error is dropped.
	_, _ = imagemeta.Decode(imagemeta.Options{
		R:           io.NewSectionReader(r, 0, r.Size()),
		ImageFormat: kind,
		Sources:     imagemeta.EXIF,
		ShouldHandleTag: func(t imagemeta.TagInfo) bool {
			return t.Tag == "Orientation" && t.Namespace == "IFD0"
		},
		HandleTag: func(t imagemeta.TagInfo) error {
			if v, ok := t.Value.(uint16); ok && 1 <= v && v <= 8 {
				found = int(v)
			}
			return imagemeta.ErrStopWalking
		},
	})
	return found
}

// upright turns and mirrors the stored pixels as the EXIF orientation o asks for.
func upright(im *Image, o int) *Image {
	if o == 1 {
		return im
	}
	h, w := im.Size()
	c := im.Pix.Shape()[0]
	// Pixel (y,x) of the result is pixel start + y*dy + x*dx of the stored plane.
	transpose, flipRows, flipCols := o >= 5, o == 3 || o == 4 || o == 6 || o == 7, o == 2 || o == 3 || o == 7 || o == 8
	row, col, start := w, 1, 0
	if flipRows {
		start += (h - 1) * w
		row = -row
	}
	if flipCols {
		start += w - 1
		col = -col
	}
	dy, dx, dh, dw := row, col, h, w
	if transpose {
		dy, dx, dh, dw = col, row, w, h
	}
	out := nd.New(c, dh, dw)
	for p := range c {
		src, dst := nd.Data(im.Pix)[p*h*w:(p+1)*h*w], nd.Data(out)[p*h*w:(p+1)*h*w]
		for y := range dh {
			at := start + y*dy
			for x := range dw {
				dst[y*dw+x] = src[at]
				at += dx
			}
		}
	}
	return &Image{Pix: out, Depth: im.Depth}
}
