package imageio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The tags of TIFF that are looked at here.
const (
	tagSubfile      = 254
	tagRowsPerStrip = 278
	tagTileWidth    = 322
	tagTileLength   = 323
	tagCompression  = 259
	tagOrientation  = 274
	tagSamples      = 277
	tagPlanar       = 284
	tagSampleFormat = 339
)

// maxDirectories bounds how many directories of a TIFF file are looked at.
const maxDirectories = 1 << 8

// directory is an image file directory of TIFF, which is also what an EXIF block consists of.
type directory struct {
	r       io.ReaderAt
	order   binary.ByteOrder
	entries []byte // 12 bytes each
	next    int64  // where the next one lies; 0: nowhere
}

var errNoDirectory = errors.New("no TIFF directory")

// firstDirectory reads the first directory of r.
func firstDirectory(r io.ReaderAt) (*directory, error) {
	var head [8]byte
	if err := readAt(r, head[:], 0); err != nil {
		return nil, err
	}
	d := &directory{r: r}
	switch string(head[:4]) {
	case "II*\x00":
		d.order = binary.LittleEndian
	case "MM\x00*":
		d.order = binary.BigEndian
	default:
		return nil, errNoDirectory
	}
	d.next = int64(d.order.Uint32(head[4:]))
	return d.following()
}

// following reads the directory behind d, which must be there.
func (d *directory) following() (*directory, error) {
	if d.next < 8 {
		return nil, errNoDirectory
	}
	var n [4]byte
	if err := readAt(d.r, n[:2], d.next); err != nil {
		return nil, err
	}
	f := &directory{r: d.r, order: d.order, entries: make([]byte, 12*int(d.order.Uint16(n[:])))}
	if err := readAt(d.r, f.entries, d.next+2); err != nil {
		return nil, err
	}
	// What names the next one is cut off where writers leave it out; then this is the last.
	if readAt(d.r, n[:], d.next+2+int64(len(f.entries))) == nil {
		f.next = int64(d.order.Uint32(n[:]))
	}
	return f, nil
}

// values returns the first few of a tag's whole numbers, of type BYTE, SHORT or LONG; none if there is no such tag.
func (d *directory) values(tag uint16) ([]uint32, error) {
	for e := d.entries; len(e) > 0; e = e[12:] {
		if d.order.Uint16(e) != tag {
			continue
		}
		size, ok := map[uint16]uint32{1: 1, 3: 2, 4: 4}[d.order.Uint16(e[2:])]
		count := d.order.Uint32(e[4:])
		if !ok || count == 0 {
			return nil, fmt.Errorf("tag %d has type %d and %d values", tag, d.order.Uint16(e[2:]), count)
		}
		raw := e[8:12]
		if uint64(size)*uint64(count) > 4 {
			count = min(count, 16)
			raw = make([]byte, size*count)
			if err := readAt(d.r, raw, int64(d.order.Uint32(e[8:]))); err != nil {
				return nil, err
			}
		}
		vs := make([]uint32, count)
		for i := range vs {
			switch size {
			case 1:
				vs[i] = uint32(raw[i])
			case 2:
				vs[i] = uint32(d.order.Uint16(raw[2*i:]))
			default:
				vs[i] = d.order.Uint32(raw[4*i:])
			}
		}
		return vs, nil
	}
	return nil, nil
}

// value is the first of a tag's values, def if there is none.
func (d *directory) value(tag uint16, def uint32) uint32 {
	if vs, err := d.values(tag); err == nil && len(vs) > 0 {
		return vs[0]
	}
	return def
}

// readAt fills p or fails; the end of r is "cut short".
func readAt(r io.ReaderAt, p []byte, at int64) error {
	if n, err := r.ReadAt(p, at); n < len(p) {
		if err == nil || err == io.EOF {
			err = errors.New("cut short")
		}
		return err
	}
	return nil
}

// readable fails on what the decoder does not know, or would read as something else.
func (d *directory) readable() error {
	samples := d.value(tagSamples, 1)
	formats, _ := d.values(tagSampleFormat)
	for _, f := range formats {
		if f != 1 {
			return fmt.Errorf("%w: TIFF with samples that are not unsigned whole numbers (format %d)", ErrUnsupported, f)
		}
	}
	if samples > 1 && d.value(tagPlanar, 1) == 2 {
		return fmt.Errorf("%w: TIFF with its channels in planes of their own", ErrUnsupported)
	}
	switch c := d.value(tagCompression, 1); c {
	case 6, 7:
		return fmt.Errorf("%w: JPEG in TIFF", ErrUnsupported)
	case 0, 1, 3, 4, 5, 8, 32773, 32946:
		return nil
	default:
		return fmt.Errorf("%w: TIFF of compression %d", ErrUnsupported, c)
	}
}

// pages counts d and the directories behind it, without those that hold a page's smaller copies or masks.
func (d *directory) pages() int {
	n := 1
	for range maxDirectories {
		if d.next == 0 {
			break
		}
		next, err := d.following()
		if err != nil {
			break
		}
		if d = next; d.value(tagSubfile, 0)&(1|4) == 0 {
			n++
		}
	}
	return n
}

// buffer is what TIFF's decoder may take for a strip or a tile of an image of w x h pixels. It grows to 8 bytes per pixel if a
// compressed one holds so many, and there may be three times as much while it grows.
func (d *directory) buffer(w, h int, file int64) int64 {
	if d == nil {
		return 0
	}
	first := func(tag uint16, def int) int64 {
		if vs, err := d.values(tag); err == nil && len(vs) > 0 && vs[0] > 0 {
			return int64(vs[0])
		}
		return int64(def)
	}
	block := int64(w) * min(first(tagRowsPerStrip, h), int64(h))
	if tw := first(tagTileWidth, 0); tw > 0 {
		block = min(tw, int64(w)+tilePad) * min(first(tagTileLength, h), int64(h)+tilePad) // the decoder takes no larger ones
	}
	if first(tagCompression, 1) == 1 {
		return min(8*block, file)
	}
	return 3 * 8 * block
}

// tilePad is how far a tile may reach beyond the image, and more.
const tilePad = 1024
