package imageio

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

func testFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return data
}

// blackPNG is a file of h x w pixels, 8-bit grey or RGB, all 0: a thousandth of their number in bytes.
func blackPNG(t testing.TB, h, w int, rgb bool) []byte {
	t.Helper()
	b := []byte("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, data []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
		body := append([]byte(kind), data...)
		b = append(b, body...)
		b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(body))
	}
	kind, row := byte(0), make([]byte, 1+w)
	if rgb {
		kind, row = 2, make([]byte, 1+3*w)
	}
	chunk("IHDR", append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(w)), uint32(h)), 8, kind, 0, 0, 0))
	var packed bytes.Buffer
	z, err := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
	require.NoError(t, err)
	for range h {
		_, err := z.Write(row)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	chunk("IDAT", packed.Bytes())
	chunk("IEND", nil)
	return b
}

// TestDecodeTakesNoMoreThanItReserves: what is said to the reserve is what is allocated, but for small buffers.
func TestDecodeTakesNoMoreThanItReserves(t *testing.T) {
	files := encoded(t, 700, 500)
	files["grey.png"] = blackPNG(t, 1000, 300, false)
	files["grey as rgb.png"] = blackPNG(t, 1000, 300, true)
	files["turned.png"] = turned(t, 6)
	for name, data := range files {
		var need Need
		var im *Image
		got := allocated(func() {
			var err error
			im, err = decode(name, io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), 0, Limits{}, func(n Need) error {
				need = n
				return nil
			}, nil)
			require.NoError(t, err, name)
		})
		h, w := im.Size()
		require.Equal(t, []int{h, w}, []int{need.Height, need.Width}, name)
		most := uint64(need.Bytes)
		if name == "y.tif" {
			most += most / 2 // the decoder's buffers are free by the time that planes are made
		}
		require.Less(t, got, most+most/8+1<<20, name)
		require.Len(t, nd.Data(im.Pix), cap(nd.Data(im.Pix)), "%s: no plane is kept in hiding", name)
	}
}

// turned is a PNG file with the EXIF orientation o.
func turned(t *testing.T, o byte) []byte {
	data := blackPNG(t, 40, 400, false)
	body := append([]byte("eXIf"), "MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00"+string(o)+"\x00\x00\x00\x00\x00\x00"...)
	chunk := binary.BigEndian.AppendUint32(nil, uint32(len(body)-4))
	chunk = binary.BigEndian.AppendUint32(append(chunk, body...), crc32.ChecksumIEEE(body))
	return slices.Concat(data[:33], chunk, data[33:])
}

func TestAnErrorOfReserveIsTheImages(t *testing.T) {
	full := errors.New("no room")
	path := filepath.Join("testdata", "grey.png")
	im, err := DecodeWith(path, Limits{}, func(n Need) error {
		require.Equal(t, Need{Height: 12, Width: 17, Bytes: 5 * 12 * 17}, n)
		return full
	})
	require.Nil(t, im)
	require.ErrorIs(t, err, full)
	require.EqualError(t, err, path+": no room")
}

func TestOrientationBehindAChunkOfOddLength(t *testing.T) {
	data := testFile(t, "orient-6.webp")
	want, err := DecodeBytes("x.webp", data, Limits{})
	require.NoError(t, err)
	const header = 12 + 8 + 10 // RIFF, and VP8X
	require.Equal(t, "VP8X", string(data[12:16]))
	odd := slices.Concat(data[:header], []byte("XTRA\x03\x00\x00\x00abc\x00"), data[header:])
	binary.LittleEndian.PutUint32(odd[4:], uint32(len(odd)-8))
	for _, d := range [][]byte{data, odd} {
		o, err := orientation(byName("x.webp"), section(d))
		require.NoError(t, err)
		require.Equal(t, 6, o)
		got, err := DecodeBytes("x.webp", d, Limits{})
		require.NoError(t, err)
		require.Equal(t, nd.Data(want.Pix), nd.Data(got.Pix))
	}
	at := bytes.Index(odd, []byte("EXIF"))
	marked := slices.Concat(odd[:at+8], []byte("Exif\x00\x00"), odd[at+8:])
	binary.LittleEndian.PutUint32(marked[at+4:], binary.LittleEndian.Uint32(odd[at+4:])+6)
	o, err := orientation(byName("x.webp"), section(marked))
	require.NoError(t, err)
	require.Equal(t, 6, o)
	odd[20] &^= 1 << 3 // the header promises none
	o, err = orientation(byName("x.webp"), section(odd))
	require.NoError(t, err)
	require.Equal(t, 1, o)
}

func section(data []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))
}

// TestOrientationInJPEG: the tag may be a SHORT, as the standard says, or a LONG; what is broken is noted.
func TestOrientationInJPEG(t *testing.T) {
	data := testFile(t, "orient-6.jpg")
	at := bytes.Index(data, []byte(exifMark)) + 6
	var order binary.ByteOrder = binary.LittleEndian
	if data[at] == 'M' {
		order = binary.BigEndian
	}
	entry := at + 8 + 2
	for order.Uint16(data[entry:]) != tagOrientation {
		entry += 12
	}
	upright, err := DecodeBytes("x.jpg", edited(data, func(d []byte) { d[at-6] = 'X' }), Limits{})
	require.NoError(t, err)
	turned, err := DecodeBytes("x.jpg", data, Limits{})
	require.NoError(t, err)
	require.NotEqual(t, upright.Pix.Shape(), turned.Pix.Shape())
	for _, c := range []struct {
		name string
		edit func(d []byte)
		want *Image
		note string
	}{
		{"LONG", func(d []byte) { order.PutUint16(d[entry+2:], 4); order.PutUint32(d[entry+8:], 6) }, turned, ""},
		{"not known", func(d []byte) { order.PutUint16(d[entry+8:], 0) }, upright, ""},
		{"nonsense", func(d []byte) { order.PutUint16(d[entry+8:], 9) }, upright, "its EXIF block is broken (orientation 9): it is taken as upright"},
		{"a fraction", func(d []byte) { order.PutUint16(d[entry+2:], 5) }, upright, "its EXIF block is broken (tag 274 has type 5 and 1 values): it is taken as upright"},
		{"no TIFF", func(d []byte) { d[at] = 'X' }, upright, "its EXIF block is broken (no TIFF directory): it is taken as upright"},
		{"out of bounds", func(d []byte) { order.PutUint32(d[at+4:], 1<<30) }, upright, "its EXIF block is broken (cut short): it is taken as upright"},
		{"far too many entries", func(d []byte) { order.PutUint16(d[at+8:], 1<<16-1) }, upright, "its EXIF block is broken (cut short): it is taken as upright"},
	} {
		im, err := DecodeBytes("x.jpg", edited(data, c.edit), Limits{})
		require.NoError(t, err, c.name)
		require.Equal(t, c.want.Pix.Shape(), im.Pix.Shape(), c.name)
		require.Equal(t, nd.Data(c.want.Pix), nd.Data(im.Pix), c.name)
		if c.note == "" {
			require.Empty(t, im.Notes, c.name)
		} else {
			require.Equal(t, []string{c.note}, im.Notes, c.name)
		}
	}
}

func edited(data []byte, edit func(d []byte)) []byte {
	data = bytes.Clone(data)
	edit(data)
	return data
}

// scans is a progressive JPEG file with n scans more than it needs.
func scans(t *testing.T, n, w, h int) []byte {
	data := testFile(t, "progressive.jpg")
	at := bytes.Index(data, []byte{0xff, jpegProgressive})
	data = edited(data, func(d []byte) {
		binary.BigEndian.PutUint16(d[at+5:], uint16(h))
		binary.BigEndian.PutUint16(d[at+7:], uint16(w))
	})
	first := bytes.Index(data, []byte{0xff, jpegScan})
	return slices.Concat(data[:first], bytes.Repeat([]byte{0xff, jpegScan, 0, 8, 1, 1, 0, 1, 63, 0, 0x7f, 0xff, 0}, n), data[first:])
}

func TestJPEGOfManyScansIsRefusedBeforeItIsDecoded(t *testing.T) {
	got := allocated(func() {
		_, err := DecodeBytes("x.jpg", scans(t, 2000, 8192, 8192), Limits{})
		require.ErrorIs(t, err, ErrTooLarge)
		require.EqualError(t, err, "x.jpg: image too large: a JPEG file of more than 40 scans over 67108864 pixels")
	})
	require.Less(t, got, uint64(4<<20))

	count := func(data []byte) (n int) {
		require.NoError(t, segments(section(data), func(marker byte, _, _ int64) bool {
			if marker == jpegScan {
				n++
			}
			return true
		}))
		return n
	}
	own := count(testFile(t, "progressive.jpg"))
	require.Greater(t, own, 3)
	require.Equal(t, own+7, count(scans(t, 7, 24, 16)))
	for _, c := range []struct{ more, pixels int }{{anyScans - own, 1 << 27}, {anyScans - own, 1 << 30}, {100, 1 << 20}} {
		progressive, err := checkScans(section(scans(t, c.more, 24, 16)), c.pixels)
		require.NoError(t, err)
		require.True(t, progressive)
	}
	_, err := checkScans(section(scans(t, anyScans-own+1, 24, 16)), 1<<27)
	require.ErrorIs(t, err, ErrTooLarge)
	progressive, err := checkScans(section(testFile(t, "grey.jpg")), 1<<27)
	require.NoError(t, err)
	require.False(t, progressive)

	// What looks like a scan inside a comment, in a scan's bits or behind the end is none.
	scan := "\xff\xda\x00\x02"
	for data, want := range map[string]int{
		"\xff\xd8\xff\xfe\x00\x06" + scan + scan + "\x12\xff\x00\xda\xff\xd0\xff\xff\xd9" + scan: 1,
		"\xff\xd8" + scan + "bits\xff\x01\xff\xda":                                               1,
		"\xff\xd8" + scan + "\xff\xff\xff\xda\x00\x02":                                           2,
		"\xff\xd8junk" + scan + "\xff\xc4\x00\x01" + scan:                                        1, // a length of less than its own two bytes
		"\xff":                 0,
		"\xff\xd8":             0,
		"\xff\xd8\xff\xda\x00": 0,
		"\xff\xd8" + string(bytes.Repeat([]byte{1}, 1<<17)) + scan + "\xff\xd9": 1,
	} {
		require.Equal(t, want, count([]byte(data)), "%q", data[:min(len(data), 40)])
	}
}

// tiffFile writes a little-endian TIFF file: for each page its tags, all of them LONGs that fit, and pixels.
func tiffFile(pages ...map[uint16]uint32) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("II*\x00"), 8)
	for i, tags := range pages {
		keys := []uint16{}
		for k := range tags {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		b = le.AppendUint16(b, uint16(len(keys)))
		end := len(b) + 12*len(keys) + 4
		for _, k := range keys {
			v := tags[k]
			if k == 273 {
				v = uint32(end)
			}
			b = le.AppendUint32(le.AppendUint32(le.AppendUint16(le.AppendUint16(b, k), 4), 1), v)
		}
		next := uint32(0)
		if i+1 < len(pages) {
			next = uint32(end) + 1024
		}
		b = append(le.AppendUint32(b, next), make([]byte, 1024)...)
	}
	return b
}

func greyPage(more ...map[uint16]uint32) map[uint16]uint32 {
	tags := map[uint16]uint32{256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 16, 279: 256}
	for _, m := range more {
		maps.Copy(tags, m)
	}
	return tags
}

func TestSoundButUnsupportedTIFFsAreCalledSo(t *testing.T) {
	for want, data := range map[string][]byte{
		"TIFF with samples that are not unsigned whole numbers (format 3)": tiffFile(greyPage(map[uint16]uint32{258: 32, tagSampleFormat: 3})),
		"TIFF with samples that are not unsigned whole numbers (format 2)": tiffFile(greyPage(map[uint16]uint32{tagSampleFormat: 2})),
		"TIFF with its channels in planes of their own":                    tiffFile(greyPage(map[uint16]uint32{262: 2, tagSamples: 3, tagPlanar: 2})),
		"JPEG in TIFF":              tiffFile(greyPage(map[uint16]uint32{tagCompression: 7})),
		"TIFF of compression 34925": tiffFile(greyPage(map[uint16]uint32{tagCompression: 34925})),
		"BigTIFF":                   []byte("II+\x00\x08\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00"),
		"tiff: unsupported feature: BitsPerSample of 12": tiffFile(greyPage(map[uint16]uint32{258: 12})),
	} {
		_, err := DecodeBytes("x.tif", data, Limits{})
		require.ErrorIs(t, err, ErrUnsupported, want)
		require.NotErrorIs(t, err, ErrCorrupt)
		require.EqualError(t, err, "x.tif: unsupported image: "+want)
	}
	scores := filepath.Join(t.TempDir(), "map.tiff")
	require.NoError(t, WriteMap(scores, nd.New(9, 9)))
	_, err := Decode(scores, Limits{})
	require.ErrorIs(t, err, ErrUnsupported)
}

func TestPagesAreCounted(t *testing.T) {
	overview := greyPage(map[uint16]uint32{tagSubfile: 1})
	for want, data := range map[string][]byte{
		"":                             tiffFile(greyPage(nil)),
		"the first of 3 pages is read": tiffFile(greyPage(nil), greyPage(nil), greyPage(nil)),
		"the first of 2 pages is read": tiffFile(greyPage(nil), overview, greyPage(nil)),
	} {
		im, err := DecodeBytes("x.tif", data, Limits{})
		require.NoError(t, err)
		if want == "" {
			require.Empty(t, im.Notes)
		} else {
			require.Equal(t, []string{want}, im.Notes)
		}
	}
	im, err := DecodeBytes("x.tif", tiffFile(greyPage(nil), overview), Limits{})
	require.NoError(t, err)
	require.Empty(t, im.Notes)
	circle := tiffFile(greyPage(nil), greyPage(nil))
	end := 8 + 2 + 9*12 + 4 + 1024 // of the first page
	binary.LittleEndian.PutUint32(circle[end+2+9*12:], 8)
	im, err = DecodeBytes("x.tif", circle, Limits{})
	require.NoError(t, err)
	require.Len(t, im.Notes, 1)
}

func TestGreyThatIsStoredAsColourUpToItsLastPixel(t *testing.T) {
	img := image.NewNRGBA(image.Rect(0, 0, 9, 9))
	for i := range img.Pix {
		img.Pix[i] = 255
	}
	require.True(t, FromImage(img).IsGrey())
	img.SetNRGBA(8, 8, color.NRGBA{255, 255, 254, 255})
	require.False(t, FromImage(img).IsGrey())
	require.Equal(t, float32(254)/255, nd.Data(FromImage(img).Pix)[3*81-1])
}

// TestATallImageIsAnImage is decoded and brought to a square within bounds that its area explains.
func TestATallImageIsAnImage(t *testing.T) {
	const h, w = 1 << 18, 8
	data := blackPNG(t, h, w, false)
	require.Less(t, len(data), 1<<16)
	got := allocated(func() {
		im, err := DecodeBytes("x.png", data, Limits{})
		require.NoError(t, err)
		require.Equal(t, []int{1, 256, 256}, []int(Resize(im.Pix, 256, 256).Shape()))
	})
	require.Less(t, got, uint64(8*h*w))
}

// FuzzSegments: what is found lies in the file, and ahead of what was found before.
func FuzzSegments(f *testing.F) {
	for _, name := range []string{"progressive.jpg", "orient-6.jpg", "grey.jpg"} {
		f.Add(testFile(f, name))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		last := int64(1)
		require.NoError(t, segments(section(data), func(marker byte, at, n int64) bool {
			require.Greater(t, at, last+2)
			require.LessOrEqual(t, at, int64(len(data)))
			require.Equal(t, []byte{0xff, marker}, data[at-4:at-2])
			last = at + n - 1
			return true
		}))
	})
}

// FuzzOrientation: whatever a file says, it is one of eight, and costs no more than the file.
func FuzzOrientation(f *testing.F) {
	for _, name := range []string{"orient-6.jpg", "orient-6.webp", "orient-6.png", "orient-6.tif"} {
		f.Add(testFile(f, name))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range formats() {
			got := allocated(func() {
				o, err := orientation(format, section(data))
				require.True(t, 1 <= o && o <= 8)
				require.True(t, err == nil || o == 1)
			})
			require.Less(t, got, uint64(2<<20)) // a directory of 65535 entries, and buffers
		}
		if d, err := firstDirectory(section(data)); err == nil {
			_ = d.readable()
			require.LessOrEqual(t, d.pages(), maxDirectories+1)
		}
	})
}

func TestPNGWithoutEnd(t *testing.T) {
	img := image.NewGray(image.Rect(0, 0, 9, 9))
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	cut := b.Bytes()[:b.Len()-12] // no IEND: the walk for EXIF ends, and the decoder says what is wrong
	_, err := DecodeBytes("x.png", cut, Limits{})
	require.ErrorIs(t, err, ErrCorrupt)
}
