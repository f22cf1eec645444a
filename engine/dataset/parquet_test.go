package dataset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"f2pad.example/engine/imageio"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"github.com/stretchr/testify/require"
)

const pngMark = "\x89PNG\r\n\x1a\n"

// picture is what an image with that name holds in these tests.
func picture(name string) []byte { return []byte(pngMark + name) }

// hugging is a row as Hugging Face's data sets have it.
type hugging struct {
	Label int64      `parquet:"label"`
	Image *imageCell `parquet:"image,optional"`
}

type imageCell struct {
	Bytes []byte  `parquet:"bytes,optional"`
	Path  *string `parquet:"path,optional"`
}

func cell(path string) *imageCell { return &imageCell{picture(path), &path} }

// tableOf is a Parquet file of rows.
func tableOf[T any](t testing.TB, rows []T, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	_, err := w.Write(rows)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func huggingRows(n int) (rows []hugging, want []string) {
	for i := range n {
		name := fmt.Sprintf("good/%d.png", i%3)
		rows = append(rows, hugging{int64(i), cell(name)})
		want = append(want, fmt.Sprintf("good/%d~%d.png of a.parquet/good/%d~%d.png: %s", i%3, i, i%3, i, picture(name)))
	}
	return rows, want
}

// TestRowsAreInputs: whatever pages, groups, encodings and compression they lie in.
func TestRowsAreInputs(t *testing.T) {
	t.Chdir(t.TempDir())
	rows, want := huggingRows(500)
	for _, codec := range []compress.Codec{&parquet.Uncompressed, &parquet.Snappy, &parquet.Gzip, &parquet.Zstd, &parquet.Brotli, &parquet.Lz4Raw} {
		for _, version := range []int{1, 2} {
			for _, pages := range []int{100, 1 << 20} {
				write(t, "a.parquet", tableOf(t, rows, parquet.Compression(codec), parquet.DataPageVersion(version), parquet.PageBufferSize(pages),
					parquet.MaxRowsPerRowGroup(170)))
				require.Equal(t, want, taken(t, Search{}, "a.parquet"), "%s, version %d, pages of %d", codec, version, pages)
			}
		}
	}
	type binary struct {
		Dict  []byte `parquet:"image,optional,dict"`
		Delta []byte `parquet:"thumbnail,optional,delta"` // DELTA_BYTE_ARRAY
		Score int32  `parquet:"score"`
	}
	var some []binary
	want = nil
	for i := range 300 {
		row := binary{picture(fmt.Sprint(i % 7)), picture(fmt.Sprint(i)), 1}
		if i%5 == 4 {
			row = binary{}
			want = append(want, fmt.Sprintf("error: a.parquet/%d: no image in this row", i))
		} else {
			want = append(want, fmt.Sprintf("%d of a.parquet/%d: %s", i, i, picture(fmt.Sprint(i%7))))
		}
		some = append(some, row)
	}
	for _, version := range []int{1, 2} {
		write(t, "a.parquet", tableOf(t, some, parquet.DataPageVersion(version), parquet.PageBufferSize(300)))
		require.Equal(t, want, taken(t, Search{}, "a.parquet"))
		require.Equal(t, []string{"error: a.parquet: column thumbnail: a column in encoding DELTA_BYTE_ARRAY, which is not supported"},
			taken(t, Search{Column: "thumbnail"}, "a.parquet"), "which is no matter where it is not taken")
	}
}

func TestRowsThatNamePathsAreTheFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.MkdirAll("set/good", 0o700))
	write(t, "set/good/a.png", picture("a"))
	write(t, "outside.png", picture("outside"))
	type row struct {
		Caption string `parquet:"caption"`
		File    string `parquet:"file_name"`
	}
	abs, err := filepath.Abs("outside.png")
	require.NoError(t, err)
	write(t, "set/metadata.parquet", tableOf(t, []row{
		{"b.png or not", "good/a.png"}, {"", "../outside.png"}, {"", ""}, {"", abs}, {"", "gone.png"}, {"", "s3://bucket/a.png"}, {"", "good/a.png"},
	}))
	var took []Column
	all := taken(t, Search{Took: func(c Column) { took = append(took, c) }}, "set/metadata.parquet")
	require.Equal(t, []Column{{"set/metadata.parquet", "file_name", false}}, took)
	file := func(id, path, content string) string { return fmt.Sprintf("%s of %s: %s", id, path, picture(content)) }
	require.Equal(t, []string{
		file("good/a.png", filepath.Join("set", "good", "a.png"), "a"), file("outside.png", "outside.png", "outside"),
		"error: set/metadata.parquet/2: no path in this row",
		file(strings.TrimPrefix(filepath.ToSlash(abs), "/"), abs, "outside"),
	}, all[:4])
	require.Contains(t, all[4], "error: open "+filepath.Join("set", "gone.png"))
	require.Equal(t, "error: set/metadata.parquet/5: a URL, which a row cannot name: give score a list of them", all[5])
	require.Equal(t, file("good/a~2.png", filepath.Join("set", "good", "a.png"), "a"), all[6])
	write(t, "b.png", picture("b"))
	require.Equal(t, file("set/good/a.png", filepath.Join("set", "good", "a.png"), "a"), taken(t, Search{}, "b.png", "set/metadata.parquet")[1])
}

// TestImagesThatAreElsewhere: cells without bytes name files.
func TestImagesThatAreElsewhere(t *testing.T) {
	t.Chdir(t.TempDir())
	path := "b.png"
	write(t, path, picture("file b"))
	write(t, "a.parquet", tableOf(t, []hugging{{1, cell("a.png")}, {2, &imageCell{Path: &path}}, {3, nil}, {4, &imageCell{Bytes: picture("c")}}}))
	require.Equal(t, []string{
		fmt.Sprintf("a~0.png of a.parquet/a~0.png: %s", picture("a.png")), fmt.Sprintf("b.png of b.png: %s", picture("file b")),
		"error: a.parquet/2: no image in this row", fmt.Sprintf("3 of a.parquet/3: %s", picture("c")),
	}, taken(t, Search{}, "a.parquet"))
}

func TestNamesOfRowsLeadOutOfNothing(t *testing.T) {
	for name, want := range map[string]string{
		"": "7", "a.png": "a~7.png", "b/a.tar.gz": "b/a.tar~7.gz", "../../a.png": "a~7.png", "/data/a.png": "data/a~7.png", `C:\x\a.png`: "7",
		`b\a.png`: "b/a~7.png", "a\xff.png": "7", "http://x/a.png": "7", "a\x00.png": "7", strings.Repeat("a", mostPath+1): "7", ".": "7", "plain": "plain~7",
	} {
		require.Equal(t, want, rowName(7, name), name)
	}
}

func TestWhichColumnIsTaken(t *testing.T) {
	t.Chdir(t.TempDir())
	check := func(data []byte, column, want string) {
		t.Helper()
		write(t, "a.parquet", data)
		var took []string
		s := Search{Column: column, Took: func(c Column) { took = append(took, fmt.Sprintf("%s %v", c.Name, c.Bytes)) }}
		all := taken(t, s, "a.parquet")
		if len(took) == 0 {
			took = all
		}
		require.Equal(t, []string{want}, took)
	}
	type two struct {
		Mask, Image imageCell
		Path        string `parquet:"path"`
	}
	both := tableOf(t, []two{{*cell("m.png"), *cell("i.png"), "p.png"}})
	check(both, "", "error: a.parquet: several columns with images, say which (--parquet-column): Mask, Image")
	check(both, "Mask", "Mask true")
	check(both, "Mask.bytes", "Mask.bytes true")
	check(both, "path", "path false")
	check(both, "Mask.path", "Mask.path false")
	check(both, "mask", "error: a.parquet: no column mask; its columns are Mask.bytes, Mask.path, Image.bytes, Image.path, path")
	type named struct {
		Image imageCell `parquet:"image"`
		Mask  imageCell `parquet:"mask"`
	}
	check(tableOf(t, []named{{*cell("a"), *cell("b")}}), "", "image true")
	type binaries struct {
		Vector []byte   `parquet:"vector"`
		JPEG   []byte   `parquet:"jpeg"`
		Name   string   `parquet:"name"`
		Number int64    `parquet:"number"`
		Many   [][]byte `parquet:"many"`
	}
	rows := []binaries{{[]byte("12345678"), picture("x"), "x.png", 1, nil}}
	check(tableOf(t, rows), "", "jpeg true")
	check(tableOf(t, rows), "vector", "vector true")
	check(tableOf(t, rows), "name", "name false")
	check(tableOf(t, rows), "number", "error: a.parquet: column number holds neither images nor paths, one in each row")
	check(tableOf(t, rows), "many", "error: a.parquet: column many holds neither images nor paths, one in each row")
	type plain struct {
		Name []byte `parquet:"name"` // as older writers have text
	}
	check(tableOf(t, []plain{{nil}, {[]byte("a.jpg")}}), "", "name false")
	type none struct {
		Name string `parquet:"name"`
		N    int64  `parquet:"n"`
	}
	check(tableOf(t, []none{{"a cat", 1}}), "", "error: a.parquet: no column with images or paths of images; its columns are name, n")
	type files struct {
		A string `parquet:"before"`
		B string `parquet:"after"`
	}
	check(tableOf(t, []files{{"a.png", "b.png"}}), "", "error: a.parquet: several columns with images, say which (--parquet-column): before, after")
	check(tableOf(t, []hugging(nil)), "", "image true")
}

// TestRowsAreListedWithoutTheirImages: as they are when they are read.
func TestRowsAreListedWithoutTheirImages(t *testing.T) {
	t.Chdir(t.TempDir())
	rows, _ := huggingRows(50)
	rows[7].Image = nil
	data := tableOf(t, rows, parquet.PageBufferSize(100))
	write(t, "a.parquet", data)
	paths := func(s Search) (all []string) {
		for it := range s.Inputs([]string{"a.parquet", "a.parquet"}, nil) {
			all = append(all, it.Path)
			it.Release()
		}
		return all
	}
	listed := paths(Search{Unlisted: func(string) { t.Fatal("it can be listed") }})
	read := paths(Search{})
	require.Len(t, read, 100)
	read[7], read[57] = listed[7], listed[57] // whose name is only known by reading it
	require.Equal(t, read, listed)
}

// TestBrokenTablesFailBehindTheirGoodRows: cut off anywhere, or with any wrong byte, they do no worse than that.
func TestBrokenTablesFailBehindTheirGoodRows(t *testing.T) {
	t.Chdir(t.TempDir())
	rows, want := huggingRows(3)
	data := tableOf(t, rows, parquet.MaxRowsPerRowGroup(2), parquet.Compression(&parquet.Snappy))
	for n := 0; n < len(data); n += 3 {
		write(t, "a.parquet", data[:n])
		all := taken(t, Search{}, "a.parquet")
		require.Len(t, all, 1, n)
		require.Contains(t, all[0], "error: a.parquet: ")
	}
	for i := range data {
		broken := bytes.Clone(data)
		broken[i] ^= 0x55
		write(t, "a.parquet", broken)
		all := taken(t, Search{MaxBytes: 1 << 20}, "a.parquet")
		require.NotEmpty(t, all, i)
		require.LessOrEqual(t, len(all), len(want)+1)
	}
	write(t, "a.parquet", []byte("no table"))
	require.Equal(t, []string{"error: a.parquet: no Parquet file: it is too short"}, taken(t, Search{}, "a.parquet"))
	write(t, "a.parquet", []byte("no table at all"))
	require.Equal(t, []string{"error: a.parquet: no Parquet file"}, taken(t, Search{}, "a.parquet"))
}

// withFooter is a table whose footer says something else.
func withFooter(t *testing.T, data []byte, change func(meta *format.FileMetaData)) []byte {
	t.Helper()
	end := len(data) - 8
	start := end - int(binary.LittleEndian.Uint32(data[end:]))
	var meta format.FileMetaData
	require.NoError(t, thrift.Unmarshal(new(thrift.CompactProtocol), data[start:end], &meta))
	change(&meta)
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), &meta)
	require.NoError(t, err)
	out := append(bytes.Clone(data[:start]), footer...)
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(footer))), parquetMagic...)
}

// TestClaimsOfTablesAreBounded: what a file says costs no memory.
func TestClaimsOfTablesAreBounded(t *testing.T) {
	t.Chdir(t.TempDir())
	rows, _ := huggingRows(3)
	data := tableOf(t, rows, parquet.Compression(&parquet.Zstd))
	everywhere := func(change func(c *format.ColumnMetaData)) []byte {
		return withFooter(t, data, func(m *format.FileMetaData) {
			for i := range m.RowGroups[0].Columns {
				change(&m.RowGroups[0].Columns[i].MetaData)
			}
		})
	}
	footer := func(b ...byte) []byte {
		out := append([]byte(parquetMagic), b...)
		return append(binary.LittleEndian.AppendUint32(out, uint32(len(b))), parquetMagic...)
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"rows": {withFooter(t, data, func(m *format.FileMetaData) { m.RowGroups[0].NumRows = 1 << 60 }), "values in 1152921504606846976 rows"},
		"both": {withFooter(t, data, func(m *format.FileMetaData) {
			g := &m.RowGroups[0]
			g.NumRows = 1 << 60
			for i := range g.Columns {
				g.Columns[i].MetaData.NumValues = 1 << 60
			}
		}), "rows are missing"},
		"place":        {everywhere(func(c *format.ColumnMetaData) { c.DataPageOffset = 1 << 60 }), "lies outside of it"},
		"size":         {everywhere(func(c *format.ColumnMetaData) { c.TotalCompressedSize = 1 << 62 }), "lies outside of it"},
		"codec":        {everywhere(func(c *format.ColumnMetaData) { c.Codec = format.LZO }), "compressed by LZO, which is not supported"},
		"wrong codec":  {everywhere(func(c *format.ColumnMetaData) { c.Codec = format.Lz4Raw }), "a page that is not sound (LZ4_RAW)"},
		"fewer groups": {withFooter(t, data, func(m *format.FileMetaData) { m.RowGroups[0].Columns = m.RowGroups[0].Columns[:1] }), "a row group that is not the schema's"},
		"children":     {withFooter(t, data, func(m *format.FileMetaData) { m.Schema[0].NumChildren.V = 1 << 30 }), "a schema that ends early"},
		"other files": {withFooter(t, data, func(m *format.FileMetaData) {
			for i := range m.RowGroups[0].Columns {
				m.RowGroups[0].Columns[i].FilePath = "b.parquet"
			}
		}), "columns are in other files"},
		"long list":   {footer(0x29, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07), "lists of more than 1048576 elements"},
		"long text":   {footer(0x48, 0xff, 0xff, 0xff, 0xff, 0x07), "corrupt Parquet file"},
		"nested":      {footer(bytes.Repeat([]byte{0x1c}, 1<<16)...), "nested too deeply"},
		"long footer": {append(append([]byte(parquetMagic), make([]byte, 100)...), "\xff\xff\xff\x7fPAR1"...), "a footer that is longer than the file"},
		"encrypted":   {append([]byte("PARE"), data[4:]...), "an encrypted Parquet file"},
	} {
		write(t, "a.parquet", test.data)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		all := taken(t, Search{MaxBytes: 1 << 20}, "a.parquet")
		runtime.ReadMemStats(&after)
		require.NotEmpty(t, all, name)
		require.Contains(t, all[len(all)-1], test.want, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<25), name)
		for range (Search{Unlisted: func(string) {}}).Inputs([]string{"a.parquet"}, nil) {
		}
	}
}

// TestRowsThatPassAreBounded: those that are not released wait.
func TestRowsThatPassAreBounded(t *testing.T) {
	t.Chdir(t.TempDir())
	var rows []hugging
	for i := range 20 {
		rows = append(rows, hugging{int64(i), &imageCell{Bytes: append(picture("x"), make([]byte, 1000)...)}})
	}
	write(t, "a.parquet", tableOf(t, rows, parquet.MaxRowsPerRowGroup(1)))
	done := make(chan struct{})
	held := 0
	for it, err := range (Search{MaxBytes: 4000, Done: done}).Inputs([]string{"a.parquet"}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if held++; held == 3 {
			close(done) // the fourth would be more
		}
		_ = it
	}
	require.Equal(t, 3, held)
	require.Len(t, taken(t, Search{MaxBytes: 4000}, "a.parquet"), 20)
	rows[3].Image.Bytes = append(picture("x"), make([]byte, 5000)...)
	write(t, "a.parquet", tableOf(t, rows, parquet.MaxRowsPerRowGroup(1)))
	all := taken(t, Search{MaxBytes: 4000}, "a.parquet")
	require.Len(t, all, 4)
	require.Contains(t, all[3], "error: a.parquet: a page of 5017 bytes, at most 4000 are allowed")
}

// TestPagesExpandToWhatTheyAreSaidTo, and to no more.
func TestPagesExpandToWhatTheyAreSaidTo(t *testing.T) {
	const n = 1 << 24
	for _, codec := range []compress.Codec{&parquet.Snappy, &parquet.Gzip, &parquet.Zstd, &parquet.Brotli, &parquet.Lz4Raw} {
		packed, err := codec.Encode(nil, make([]byte, n))
		require.NoError(t, err)
		format := codec.CompressionCodec()
		for _, size := range []int64{0, 1, 1 << 20, n - 1} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err = expand(format, packed, size)
			runtime.ReadMemStats(&after)
			require.ErrorContains(t, err, "a page that is not sound", "%s to %d", format, size)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4*size+12<<20), format)
		}
		all, err := expand(format, packed, n)
		require.NoError(t, err, format)
		require.Len(t, all, n)
		_, err = expand(format, packed, n+1)
		require.Error(t, err, format)
		_, err = expand(format, packed[:len(packed)-1], n)
		require.Error(t, err, format)
		_, err = expand(format, []byte("\x10 what is this"), 1<<30)
		require.Error(t, err, format)
		require.NotErrorIs(t, err, io.EOF)
	}
	_, err := expand(format.Uncompressed, []byte("abc"), 4)
	require.ErrorContains(t, err, "a size that cannot be")
}

func TestRowsInRunsAndPacks(t *testing.T) {
	r := runs{data: []byte{6, 3, 3, 0x88, 0xc6, 0xfa}, width: 3} // three times 3; then 0 to 7, packed
	var all []uint32
	for range 11 {
		n, err := r.next()
		require.NoError(t, err)
		all = append(all, n)
	}
	require.Equal(t, []uint32{3, 3, 3, 0, 1, 2, 3, 4, 5, 6, 7}, all)
	_, err := r.next()
	require.ErrorContains(t, err, "too few values")
	for _, data := range [][]byte{nil, {0x80}, {2}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, {3, 1, 1}} {
		r := runs{data: data, width: 12}
		err = nil
		for range 10 {
			if _, err = r.next(); err != nil {
				break
			}
		}
		require.Error(t, err, "% x", data)
	}
}

// FuzzTable: no file makes the reader panic, or take more than a page and its values.
func FuzzTable(f *testing.F) {
	rows, _ := huggingRows(4)
	for _, codec := range []compress.Codec{&parquet.Uncompressed, &parquet.Snappy, &parquet.Gzip} {
		f.Add(tableOf(f, rows, parquet.Compression(codec), parquet.DataPageVersion(1)))
		f.Add(tableOf(f, rows, parquet.Compression(codec), parquet.MaxRowsPerRowGroup(1)))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "a.parquet")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		n := 0
		for it, err := range (Search{MaxBytes: 1 << 20}).Inputs([]string{path}, nil) {
			if err == nil {
				it.Release()
			}
			if n++; n > 10_000 {
				break
			}
		}
		require.Positive(t, n)
	})
}

func TestRecognizedIsWhatCanBeRead(t *testing.T) {
	require.True(t, imageio.Recognized(picture("x")))
	require.False(t, imageio.Recognized([]byte("GIF89a")))
	require.False(t, imageio.Recognized(nil))
}

// TestTablesOfArrowAreRead: files that testdata/gen_parquet.py recorded.
func TestTablesOfArrowAreRead(t *testing.T) {
	const rows = 20
	image := func(i int) string { return fmt.Sprintf("%simage %d", pngMark, i) }
	for _, name := range []string{"none", "snappy", "gzip", "zstd", "brotli", "lz4", "v2", "delta", "crc"} {
		path := "testdata/" + name + ".parquet"
		hugging := name != "v2" && name != "delta" && name != "crc"
		var want []string
		for i := range rows {
			id := fmt.Sprint(i)
			if hugging && i != 7 {
				id = fmt.Sprintf("good/%d~%d.png", i%4, i)
			}
			switch {
			case i != 5:
				want = append(want, fmt.Sprintf("%s of %s/%s: %s", id, path, id, image(i)))
			case hugging: // a file that is not there
				want = append(want, "error: open "+filepath.FromSlash("testdata/good/1.png"))
			default:
				want = append(want, fmt.Sprintf("error: %s/5: no image in this row", path))
			}
		}
		all := taken(t, Search{}, path)
		require.Len(t, all, rows)
		all[5], _, _ = strings.Cut(all[5], ": no such file")
		require.Equal(t, want, all, name)
	}
	data, err := os.ReadFile("testdata/crc.parquet")
	require.NoError(t, err)
	at := bytes.Index(data, []byte("image 12"))
	require.Positive(t, at)
	data[at+6] = '9'
	t.Chdir(t.TempDir())
	write(t, "a.parquet", data)
	require.Equal(t, []string{"error: a.parquet: column jpg: corrupt Parquet file: a page with a wrong checksum"}, taken(t, Search{}, "a.parquet"))
}
