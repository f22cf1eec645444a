package imageio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// orientation returns the EXIF orientation, 1 to 8; 1 (upright) where there is none. An error says why there is one that
// cannot be read: broken metadata is no reason to refuse an image whose pixels are sound.
func orientation(f *format, r *io.SectionReader) (int, error) {
	block, err := f.exif(r)
	if err != nil || block == nil {
		return 1, err
	}
	d, err := firstDirectory(block)
	if err != nil {
		return 1, err
	}
	vs, err := d.values(tagOrientation)
	switch {
	case err != nil || len(vs) == 0:
		return 1, err
	case vs[0] == 0: // what cameras write that do not know it
		return 1, nil
	case vs[0] > 8:
		return 1, fmt.Errorf("orientation %d", vs[0])
	}
	return int(vs[0]), nil
}

func exifOfTIFF(r *io.SectionReader) (*io.SectionReader, error) { return r, nil }

func noEXIF(*io.SectionReader) (*io.SectionReader, error) { return nil, nil }

// maxChunks bounds the walk through a PNG or WebP file.
const maxChunks = 1 << 20

var errChunks = errors.New("too many chunks")

// exifOfPNG finds the chunk eXIf.
func exifOfPNG(r *io.SectionReader) (*io.SectionReader, error) {
	at := int64(8)
	for range maxChunks {
		var head [8]byte
		if readAt(r, head[:], at) != nil {
			return nil, nil // pixels are all there, or the decoder will say so
		}
		n := int64(binary.BigEndian.Uint32(head[:]))
		switch string(head[4:]) {
		case "eXIf":
			return io.NewSectionReader(r, at+8, n), nil
		case "IEND":
			return nil, nil
		}
		at += 8 + n + 4
	}
	return nil, errChunks
}

// exifOfWebP finds the chunk EXIF, if the header promises one. Chunks of odd length are followed by a byte of padding.
func exifOfWebP(r *io.SectionReader) (*io.SectionReader, error) {
	const promised = 1 << 3
	at := int64(12)
	for i := range maxChunks {
		var head [9]byte
		if readAt(r, head[:], at) != nil {
			return nil, nil
		}
		n := int64(binary.LittleEndian.Uint32(head[4:]))
		switch kind := string(head[:4]); {
		case i == 0 && (kind != "VP8X" || head[8]&promised == 0):
			return nil, nil
		case kind == "EXIF":
			return withoutMark(io.NewSectionReader(r, at+8, n)), nil
		}
		at += 8 + n + n%2
	}
	return nil, errChunks
}

// exifMark precedes the block in a JPEG file, and in some WebP files.
const exifMark = "Exif\x00"

// withoutMark returns the block behind the mark, or all of it if there is none.
func withoutMark(r *io.SectionReader) *io.SectionReader {
	if !marked(r) {
		return r
	}
	return io.NewSectionReader(r, 6, r.Size())
}

func marked(r io.ReaderAt) bool {
	var head [6]byte // the mark and a byte of padding
	return readAt(r, head[:], 0) == nil && string(head[:5]) == exifMark
}

// exifOfJPEG finds the first segment APP1 that is marked as EXIF, before the first scan.
func exifOfJPEG(r *io.SectionReader) (block *io.SectionReader, err error) {
	const app1 = 0xe1
	err = segments(r, func(marker byte, at, n int64) bool {
		if s := io.NewSectionReader(r, at, n); marker == app1 && marked(s) {
			block = withoutMark(s)
		}
		return block == nil && marker != jpegScan
	})
	return block, err
}

// turn is where the stored pixels of a plane go, so that it is upright: pixel (y,x) is pixel start + y*dy + x*dx of the
// upright one.
type turn struct{ start, dy, dx int }

// turnOf is the turn that the EXIF orientation o asks for of h x w stored pixels.
func turnOf(o, h, w int) turn {
	t := turn{dy: w, dx: 1}
	if o >= 5 { // transposed
		t = turn{dy: 1, dx: h}
	}
	if o == 3 || o == 4 || o == 6 || o == 7 {
		t.start += (h - 1) * t.dy
		t.dy = -t.dy
	}
	if o == 2 || o == 3 || o == 7 || o == 8 {
		t.start += (w - 1) * t.dx
		t.dx = -t.dx
	}
	return t
}

// put brings stored pixels of row y, from x on, into the upright plane.
func (t turn) put(plane, row []float32, y, x int) {
	at := t.start + y*t.dy + x*t.dx
	if t.dx == 1 {
		copy(plane[at:], row)
		return
	}
	for _, v := range row {
		plane[at] = v
		at += t.dx
	}
}

// upright is the size of an image of h x w stored pixels of the EXIF orientation o.
func upright(o, h, w int) (int, int) {
	if o >= 5 {
		return w, h
	}
	return h, w
}
