package imageio

import (
	"bufio"
	"encoding/binary"
	"hash/crc32"
	"image"
	"io"
	"sync"

	"f2pad.example/engine/artifact"

	"github.com/klauspost/compress/zlib"
)

// WriteOverlay is EncodeOverlay into a file, atomically.
func WriteOverlay(path string, img *image.RGBA) error {
	return artifact.WriteFileAtomic(path, func(out io.Writer) error { return EncodeOverlay(out, img) })
}

// EncodeOverlay writes a picture as OverlayMarks makes it, opaque, as PNG. It is for speed: every row is stored as its difference
// to the one above, and none of the format's other ways is tried, which is most of what image/png does. So it takes a quarter of the
// time of that at its fastest, and files are up to a tenth larger.
func EncodeOverlay(out io.Writer, img *image.RGBA) error {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	if _, err := io.WriteString(out, "\x89PNG\r\n\x1a\n"); err != nil {
		return err
	}
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(w)), uint32(h))
	if err := writeChunk(out, "IHDR", append(header, 8, 2, 0, 0, 0)); err != nil { // 8 bits of red, green and blue
		return err
	}
	data := bufio.NewWriterSize(pngData{out}, 1<<16)
	z := deflaters.Get().(*zlib.Writer)
	defer deflaters.Put(z)
	z.Reset(data)
	const up = 2 // the filter
	line, above := make([]byte, 1+3*w), make([]byte, 4*w)
	line[0] = up
	for y := range h {
		row := img.Pix[y*img.Stride:][:4*w]
		for at, to := 0, line[1:]; len(to) >= 3; at, to = at+4, to[3:] {
			v, a := row[at:][:3], above[at:][:3]
			to[0], to[1], to[2] = v[0]-a[0], v[1]-a[1], v[2]-a[2]
		}
		if _, err := z.Write(line); err != nil {
			return err
		}
		above = row
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := data.Flush(); err != nil {
		return err
	}
	return writeChunk(out, "IEND", nil)
}

// deflaters are compressors that nobody uses at the moment: each has large tables.
var deflaters = sync.Pool{New: func() any {
	z, _ := zlib.NewWriterLevel(nil, zlib.BestSpeed) // a level that there is
	return z
}}

// pngData writes what it is given as a chunk of a picture's data.
type pngData struct{ out io.Writer }

func (d pngData) Write(p []byte) (int, error) {
	if err := writeChunk(d.out, "IDAT", p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// writeChunk writes a part of a PNG file: length, name, data, and a checksum of the latter two.
func writeChunk(out io.Writer, name string, data []byte) error {
	head := append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), name...)
	sum := crc32.Update(crc32.ChecksumIEEE(head[4:]), crc32.IEEETable, data)
	for _, part := range [][]byte{head, data, binary.BigEndian.AppendUint32(nil, sum)} {
		if _, err := out.Write(part); err != nil {
			return err
		}
	}
	return nil
}
