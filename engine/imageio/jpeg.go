package imageio

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Markers of JPEG.
const (
	jpegEnd         = 0xd9
	jpegScan        = 0xda
	jpegProgressive = 0xc2
)

// segments calls visit with every segment of a JPEG file, up to its end: the marker, and where its content of n bytes lies.
// What is between segments (a scan's bits, and its restart markers) is passed over. A segment that is cut short ends it,
// which is the decoder's to judge; an error is one of reading.
func segments(r *io.SectionReader, visit func(marker byte, at, n int64) bool) error {
	src := bufio.NewReaderSize(io.NewSectionReader(r, 0, r.Size()), 1<<16)
	at := int64(0)
	read := func() (byte, error) {
		b, err := src.ReadByte()
		at++
		return b, err
	}
	err := func() error {
		if _, err := src.Discard(2); err != nil {
			return err
		}
		at = 2
		for {
			skipped, err := src.ReadSlice(0xff)
			at += int64(len(skipped))
			if err == bufio.ErrBufferFull {
				continue
			}
			if err != nil {
				return err
			}
			marker, err := read()
			for err == nil && marker == 0xff {
				marker, err = read()
			}
			switch {
			case err != nil:
				return err
			case marker == jpegEnd:
				return nil
			case marker == 0 || marker == 1 || 0xd0 <= marker && marker <= 0xd7:
				continue // they stand alone
			}
			hi, err := read()
			if err != nil {
				return err
			}
			lo, err := read()
			if err != nil {
				return err
			}
			n := (int64(hi)<<8 | int64(lo)) - 2
			if n < 0 || !visit(marker, at, n) {
				return nil
			}
			skip, err := src.Discard(int(n))
			at += int64(skip)
			if err != nil {
				return err
			}
		}
	}()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Bounds of the scans of a JPEG file. Each goes over the whole image, even if it says nothing: as many as are allowed take
// five seconds or so. Encoders make some ten.
const (
	anyScans = 20             // allowed at any size
	scanWork = anyScans << 27 // scans times pixels that are allowed
)

// checkScans counts the scans before they are decoded. It reports whether the file is progressive.
func checkScans(r *io.SectionReader, pixels int) (progressive bool, err error) {
	scans := 0
	most := max(anyScans, scanWork/pixels)
	err = segments(r, func(marker byte, _, _ int64) bool {
		switch marker {
		case jpegProgressive:
			progressive = true
		case jpegScan:
			scans++
		}
		return scans <= most
	})
	if err == nil && scans > most {
		err = fmt.Errorf("%w: a JPEG file of more than %d scans over %d pixels", ErrTooLarge, most, pixels)
	}
	return progressive, err
}
