package artifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type info struct {
	Method string `json:"method"`
	Seed   int    `json:"seed"`
}

var (
	testInfo  = info{"padim", 7}
	testIndex = []int32{-1, 2, 1 << 30}
	testMean  = []float32{0, 1, -2.5, 1e-30, 3.25, 6}
	testMask  = []uint8(strings.Repeat("\x00\x01\xfe\xff", 16))
)

// fill adds the sections of testdata/v1.f2pad in an order of its own.
func fill(t testing.TB, w *Writer) *Writer {
	t.Helper()
	require.NoError(t, w.Float32("method/mean", testMean, 2, 3))
	require.NoError(t, w.Uint8("mask", testMask, 1, 8, 8))
	require.NoError(t, w.JSON("info", testInfo))
	require.NoError(t, w.Int32("method/index", testIndex))
	return w
}

func encode(t testing.TB, w *Writer) []byte {
	t.Helper()
	var buf bytes.Buffer
	n, err := w.WriteTo(&buf)
	require.NoError(t, err)
	require.EqualValues(t, buf.Len(), n)
	return buf.Bytes()
}

func sample(t testing.TB) []byte { return encode(t, fill(t, NewWriter())) }

func readBytes(data []byte) (*File, error) { return Read(bytes.NewReader(data), int64(len(data))) }

func TestWriterGivesTheDocumentedBytes(t *testing.T) {
	want, err := os.ReadFile("testdata/v1.f2pad")
	require.NoError(t, err)
	require.Equal(t, hex.Dump(want), hex.Dump(sample(t)))
}

func TestReadReturnsWhatTheFileHolds(t *testing.T) {
	f, err := Open("testdata/v1.f2pad")
	require.NoError(t, err)
	require.Equal(t, []Section{
		{"info", "json", nil, 27},
		{"mask", "uint8", []int{1, 8, 8}, 64},
		{"method/index", "int32", []int{3}, 12},
		{"method/mean", "float32", []int{2, 3}, 24},
	}, f.Sections())
	raw, err := os.ReadFile("testdata/v1.f2pad")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(raw)), f.SHA256())
	require.True(t, f.Has("mask"))
	require.False(t, f.Has("masks"))

	var got info
	require.NoError(t, f.JSON("info", &got))
	require.Equal(t, testInfo, got)
	mean, shape, err := f.Float32("method/mean", -1, 3)
	require.NoError(t, err)
	require.Equal(t, testMean, mean)
	require.Equal(t, []int{2, 3}, shape)
	index, _, err := f.Int32("method/index")
	require.NoError(t, err)
	require.Equal(t, testIndex, index)
	mask, _, err := f.Uint8("mask", 1, 8, 8)
	require.NoError(t, err)
	require.Equal(t, testMask, mask)
}

func TestLargeSectionsRoundTrip(t *testing.T) {
	floats, ints := make([]float32, 2*chunk+5), make([]int32, chunk)
	for i := range floats {
		floats[i] = float32(i) / 7
	}
	for i := range ints {
		ints[i] = int32(-i)
	}
	w := NewWriter()
	require.NoError(t, w.Float32("f", floats))
	require.NoError(t, w.Int32("i", ints, 2, chunk/2))
	f, err := readBytes(encode(t, w))
	require.NoError(t, err)
	gotF, _, err := f.Float32("f")
	require.NoError(t, err)
	require.Equal(t, floats, gotF)
	gotI, _, err := f.Int32("i")
	require.NoError(t, err)
	require.Equal(t, ints, gotI)
}

func TestGettersNameTheSection(t *testing.T) {
	f, err := Open("testdata/v1.f2pad")
	require.NoError(t, err)
	_, _, missing := f.Float32("method/cov")
	_, _, kind := f.Float32("method/index")
	_, _, shape := f.Float32("method/mean", 2, 4)
	_, _, rank := f.Float32("method/mean", 6)
	unknown := f.JSON("info", &struct {
		Method string `json:"method"`
	}{})
	for text, err := range map[string]error{
		`section "method/cov": missing`:                  missing,
		`section "method/index": int32, want float32`:    kind,
		`section "method/mean": shape [2 3], want [2 4]`: shape,
		`section "method/mean": shape [2 3], want [6]`:   rank,
		`section "info": json: unknown field "seed"`:     unknown,
	} {
		require.EqualError(t, err, "testdata/v1.f2pad: "+text)
		require.ErrorIs(t, err, ErrCorrupt)
	}
}

func TestWriterRefusesBadSections(t *testing.T) {
	w := NewWriter()
	require.NoError(t, w.Uint8("azAZ09_-./x", []byte{1}, 1, 1, 1, 1, 1, 1, 1, 1))
	w = NewWriter()
	require.NoError(t, w.Uint8(strings.Repeat("a", MaxName), []byte{1}, 1, 1, 1, 1, 1, 1, 1, 1))
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for text, err := range map[string]error{
		`aaa": added twice`:              w.JSON(strings.Repeat("a", MaxName), 1),
		`bad name ""`:                    w.JSON("", 1),
		`bad name "../a"`:                w.JSON("../a", 1),
		`bad name "a b"`:                 w.JSON("a b", 1),
		`bad name "."`:                   w.JSON(".", 1),
		`name of 129 bytes`:              w.JSON(strings.Repeat("x", MaxName+1), 1),
		`section "n": value [1] is NaN`:  w.Float32("n", []float32{0, nan}),
		`section "n": value [0] is -Inf`: w.Float32("n", []float32{inf}),
		`section "s": shape [2 2] does not hold 3 values`:  w.Int32("s", []int32{1, 2, 3}, 2, 2),
		`section "t": shape [2 1] does not hold 3 values`:  w.Int32("t", []int32{1, 2, 3}, 2, 1),
		`section "e": shape [0] does not hold 0 values`:    w.Uint8("e", nil),
		`section "o": shape [-1 -3] does not hold 3 value`: w.Int32("o", []int32{1, 2, 3}, -1, -3),
		`section "d": 9 extents`:                           w.Uint8("d", []byte{1}, 1, 1, 1, 1, 1, 1, 1, 1, 1),
		`section "f": json: unsupported type: func()`:      w.JSON("f", func() {}),
		`section "j": 16777217 bytes of JSON`:              w.JSON("j", strings.Repeat("x", MaxJSON-1)),
	} {
		require.ErrorContains(t, err, text)
	}
	require.Len(t, w.sections, 1)
	for i := 1; i < MaxSections; i++ { // the largest table there can be
		require.NoError(t, w.Uint8(fmt.Sprintf("%0*d", MaxName, i), []byte{1}, 1, 1, 1, 1, 1, 1, 1, 1))
	}
	require.ErrorContains(t, w.Uint8("last", []byte{1}), "more than 4096 sections")
	_, err := readBytes(encode(t, w))
	require.NoError(t, err)
}

// full is a disk with room for that many bytes.
type full int

var errFull = errors.New("disk full")

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), int(*f))
	*f -= full(n)
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestWriteToReportsErrors(t *testing.T) {
	w, size := fill(t, NewWriter()), len(sample(t))
	for n := range size {
		disk := full(n)
		written, err := w.WriteTo(&disk)
		require.ErrorIs(t, err, errFull, "room for %d bytes", n)
		require.EqualValues(t, n, written)
	}
	disk := full(size)
	_, err := w.WriteTo(&disk)
	require.NoError(t, err)
}

// regions names the part that a refusal must blame for a broken byte at each offset.
func regions(t *testing.T, data []byte) []string {
	t.Helper()
	f, err := readBytes(data)
	require.NoError(t, err)
	blame := make([]string, len(data))
	set := func(from, to int64, what string) {
		for i := from; i < to; i++ {
			blame[i] = what
		}
	}
	set(0, 8, "does not start with")
	set(8, 12, "format version")
	set(12, headerSize, "header: checksum mismatch")
	end := headerSize + int64(binary.LittleEndian.Uint64(data[24:]))
	set(headerSize, end, "section table: checksum mismatch")
	for _, s := range f.sections {
		set(end, s.offset, fmt.Sprintf("section %q: padding", s.name))
		set(s.offset, s.offset+s.length, fmt.Sprintf("section %q: checksum mismatch", s.name))
		end = s.offset + s.length
	}
	set(end, int64(len(data)), "file hash mismatch")
	return blame
}

func TestEveryBrokenByteIsBlamedOnItsPart(t *testing.T) {
	data := sample(t)
	for at, want := range regions(t, data) {
		for _, flip := range []byte{1, 0x80, 0xff} {
			broken := bytes.Clone(data)
			broken[at] ^= flip
			f, err := readBytes(broken)
			require.Nil(t, f)
			require.ErrorContains(t, err, want, "byte %d", at)
			wants := ErrCorrupt
			switch {
			case at < 8:
				wants = ErrNotModel
			case at < 12:
				wants = ErrVersion
			}
			require.ErrorIs(t, err, wants, "byte %d", at)
		}
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	data := sample(t)
	for n := range data {
		_, err := readBytes(data[:n])
		switch {
		case n == 0:
			require.EqualError(t, err, "artifact: empty file")
			require.ErrorIs(t, err, ErrNotModel)
		case n < 8:
			require.ErrorIs(t, err, ErrNotModel)
		case n < headerSize:
			require.EqualError(t, err, fmt.Sprintf("artifact: truncated: %d bytes, the header alone has 64", n))
			require.ErrorIs(t, err, ErrCorrupt)
		default:
			require.EqualError(t, err, fmt.Sprintf("artifact: truncated: %d of %d bytes", n, len(data)))
			require.ErrorIs(t, err, ErrCorrupt)
		}
		_, err = Read(bytes.NewReader(data[:n]), int64(len(data))) // a file that shrinks while it is read
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, fmt.Sprintf("truncated: %d of %d bytes", n, len(data)))
	}
	_, err := readBytes(append(data, 0))
	require.EqualError(t, err, "artifact: 1 bytes after the end")
}

// seal makes the checksums of header, table and trailer right again, so that what they guard is reached.
func seal(data []byte) []byte {
	le := binary.LittleEndian
	if len(data) < headerSize+trailerSize {
		return data
	}
	le.PutUint64(data[16:], uint64(len(data)))
	if n := le.Uint64(data[24:]); n <= uint64(len(data)-headerSize-trailerSize) {
		le.PutUint32(data[32:], crc32.Checksum(data[headerSize:headerSize+n], castagnoli))
	}
	le.PutUint32(data[36:], crc32.Checksum(data[:36], castagnoli))
	body := data[:len(data)-trailerSize]
	sum := sha256.Sum256(body)
	return append(body, sum[:]...)
}

// Where things are in the table of the sample: see testdata/gen_v1.py.
const (
	infoEntry  = headerSize
	infoOffset = infoEntry + 3 + 4
	infoLength = infoOffset + 8
	maskEntry  = infoEntry + entryFixed + 4
	maskShape  = maskEntry + 3 + 4
	maskOffset = maskShape + 24
)

func TestLayoutIsCheckedBehindRightChecksums(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		name  string
		spoil func(d []byte)
		want  string
	}{
		{"many sections", func(d []byte) { le.PutUint32(d[12:], MaxSections+1) }, "header: 4097 sections"},
		{"one section more", func(d []byte) { le.PutUint32(d[12:], 5) }, "section table: entry 4: cut short"},
		{"one section less", func(d []byte) { le.PutUint32(d[12:], 3) }, "bytes after its last entry"},
		{"long table", func(d []byte) { le.PutUint64(d[24:], 1<<40) }, "header: section table of 1099511627776 bytes"},
		{"table into trailer", func(d []byte) { le.PutUint64(d[24:], uint64(len(d)-headerSize-31)) }, "header: section table of"},
		{"kind", func(d []byte) { d[infoEntry+1] = 4 }, "entry 0: unknown kind 4"},
		{"extents", func(d []byte) { d[maskEntry+2] = MaxDims + 1 }, "entry 1: 9 extents"},
		{"long name", func(d []byte) { d[infoEntry] = 255 }, "entry 0: "},
		{"bad name", func(d []byte) { copy(d[infoEntry+3:], "in\x00o") }, `entry 0: bad name "in\x00o"`},
		{"order", func(d []byte) { copy(d[infoEntry+3:], "zeta") }, `section "mask": out of order, after "zeta"`},
		{"duplicate", func(d []byte) { copy(d[infoEntry+3:], "mask") }, `section "mask": duplicate`},
		{"overlap", func(d []byte) { le.PutUint64(d[maskOffset:], le.Uint64(d[infoOffset:])) }, `section "mask": at offset 256, want 320`},
		{"in the header", func(d []byte) { le.PutUint64(d[infoOffset:], 0) }, `section "info": at offset 0, want 256`},
		{"far away", func(d []byte) { le.PutUint64(d[infoOffset:], 1<<63+1) }, `section "info": at offset -`},
		{"unaligned", func(d []byte) { d[infoOffset]++ }, `section "info": at offset 257, want 256`},
		{"out of file", func(d []byte) { le.PutUint64(d[infoLength:], 1<<20) }, `section "info": 1048576 bytes at offset 256 exceed`},
		{"into trailer", func(d []byte) { le.PutUint64(d[infoLength:], uint64(len(d)-256-31)) }, `section "info": `},
		{"negative", func(d []byte) { le.PutUint64(d[infoLength:], 1<<63) }, "exceed the file"},
		{"huge extent", func(d []byte) { le.PutUint64(d[maskShape:], 1<<63) }, "entry 1: extent 9223372036854775808"},
		{"overflow", func(d []byte) { le.PutUint64(d[maskShape:], 1<<62); le.PutUint64(d[maskShape+8:], 4) }, `section "mask": shape`},
		{"zero extent", func(d []byte) { le.PutUint64(d[maskShape:], 0) }, `section "mask": shape [0 8 8]`},
		{"shape", func(d []byte) { le.PutUint64(d[maskShape:], 2) }, `section "mask": shape [2 8 8] does not hold 64`},
		{"array as json", func(d []byte) { d[maskEntry+1] = byte(kindJSON) }, `section "mask": 64 bytes of JSON with 3 extents`},
		{"width", func(d []byte) { d[infoEntry+1] = byte(kindInt32) }, `section "info": 27 bytes of int32`},
	} {
		data := sample(t)
		c.spoil(data)
		f, err := readBytes(seal(data))
		require.Nil(t, f, c.name)
		require.ErrorContains(t, err, c.want, c.name)
		require.ErrorIs(t, err, ErrCorrupt, c.name)
	}
}

func TestContentIsCheckedBehindRightChecksums(t *testing.T) {
	raw := func(s *section, count int) []byte { // a section that the public methods would refuse
		w := NewWriter()
		require.NoError(t, w.add(s, count))
		return encode(t, w)
	}
	for want, data := range map[string][]byte{
		`section "x": value [2] is NaN`:  raw(&section{name: "x", kind: kindFloat32, data: []float32{0, 1, float32(math.NaN())}}, 3),
		`section "x": value [0] is +Inf`: raw(&section{name: "x", kind: kindFloat32, data: []float32{float32(math.Inf(1))}}, 1),
		`section "x": invalid JSON`:      raw(&section{name: "x", kind: kindJSON, data: []byte(`{"a":1} {}`)}, 10),
		`bytes of JSON with 0 extents`:   raw(&section{name: "x", kind: kindJSON, data: make([]byte, MaxJSON+1)}, MaxJSON+1),
	} {
		_, err := readBytes(data)
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, ErrCorrupt)
	}

	data := sample(t) // bytes that belong to no section
	data = append(data[:len(data)-trailerSize], make([]byte, 7+trailerSize)...)
	_, err := readBytes(seal(data))
	require.EqualError(t, err, "artifact: 7 bytes between the last section and the trailer")

	data = sample(t)
	binary.LittleEndian.PutUint64(data[16:], MaxFileSize+1)
	binary.LittleEndian.PutUint32(data[36:], crc32.Checksum(data[:36], castagnoli))
	_, err = Read(bytes.NewReader(data), MaxFileSize+1)
	require.ErrorContains(t, err, "header: 68719476737 bytes")
}

func TestOpenNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.f2pad")
	data := sample(t)
	data[len(data)-trailerSize-1] ^= 1
	require.NoError(t, os.WriteFile(path, data, 0o600))
	_, err := Open(path)
	require.EqualError(t, err, path+`: section "method/mean": checksum mismatch`)

	require.NoError(t, os.WriteFile(path, []byte("PK\x03\x04 not a model"), 0o600))
	_, err = Open(path)
	require.EqualError(t, err, path+`: not a model file: it does not start with "F2PADMDL"`)

	_, err = Open(filepath.Join(dir, "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Open(dir)
	require.ErrorIs(t, err, ErrNotModel)
}

func TestWriteFileReturnsTheHashOfTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.f2pad")
	sum, err := fill(t, NewWriter()).WriteFile(path)
	require.NoError(t, err)
	f, err := Open(path)
	require.NoError(t, err)
	require.Equal(t, f.SHA256(), sum)
	_, err = NewWriter().WriteFile(filepath.Join(path, "below-a-file"))
	require.ErrorContains(t, err, "below-a-file")
}

// FuzzRead feeds files whose outer checksums are right, so that the checks behind them are reached. Whatever is accepted
// must be what a writer makes of the same sections.
func FuzzRead(f *testing.F) {
	f.Add(sample(f))
	f.Add(encode(f, NewWriter()))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, data := range [][]byte{raw, seal(bytes.Clone(raw))} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			file, err := readBytes(data)
			runtime.ReadMemStats(&after)
			// 4 times covers the table, shapes and names; the constant covers buffers and the background.
			require.LessOrEqual(t, after.TotalAlloc-before.TotalAlloc, uint64(4*len(data)+1<<20))
			if err != nil {
				require.Nil(t, file)
				continue
			}
			w := NewWriter()
			for _, s := range file.sections {
				require.NoError(t, w.add(&section{name: s.name, kind: s.kind, shape: s.shape, data: s.data},
					int(s.length/s.kind.width())))
			}
			require.True(t, bytes.Equal(data, encode(t, w)))
		}
	})
}
