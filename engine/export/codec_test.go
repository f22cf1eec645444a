package export

import (
	"encoding/csv"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"f2pad.example/engine/region"
	"f2pad.example/engine/run"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
)

// pixels are runs written out.
func (r runs) pixels() (out []bool) {
	for i, n := range r {
		for range n {
			out = append(out, i%2 == 1)
		}
	}
	return out
}

func TestRunsAreThePixels(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	for n := range 300 {
		h, w := 1+rng.IntN(9), 1+rng.IntN(9)
		var f found
		f.Width, f.Height = 1+rng.IntN(w), 1+rng.IntN(h)
		f.X, f.Y = rng.IntN(w-f.Width+1), rng.IntN(h-f.Height+1)
		f.in = make([]bool, f.Width*f.Height)
		for i := range f.in {
			f.in[i] = n%5 == 0 || rng.IntN(3) > 0
		}
		f.in[rng.IntN(len(f.in))] = true
		rows, columns := make([]bool, h*w), make([]bool, h*w)
		for i, in := range f.in {
			x, y := f.X+i%f.Width, f.Y+i/f.Width
			rows[y*w+x], columns[x*h+y] = in, in
		}
		for name, c := range map[string]struct {
			runs
			want []bool
		}{"box": {f.inBox(), f.in}, "rows": {f.byRows(h, w), rows}, "columns": {f.byColumns(h, w), columns}} {
			require.Equal(t, c.want, c.pixels(), name)
			for i, k := range c.runs {
				require.True(t, k > 0 || i == 0, "%s: runs are as long as they can be: %v", name, c.runs)
			}
		}
	}
}

// unpacked reads what studioRLE writes.
func unpacked(t *testing.T, packed []int) (values []int) {
	at := 0
	read := func(n int) (v int) {
		for range n {
			require.Less(t, at/8, len(packed))
			v = v<<1 | packed[at/8]>>(7-at%8)&1
			at++
		}
		return v
	}
	total, word := read(32), read(5)+1
	var sizes []int
	for range 4 {
		sizes = append(sizes, read(4)+1)
	}
	for len(values) < total {
		require.Equal(t, 1, read(1))
		n := read(sizes[read(2)]) + 1
		v := read(word)
		for range n {
			values = append(values, v)
		}
	}
	require.Len(t, values, total)
	require.Equal(t, (at+7)/8, len(packed))
	return values
}

func TestBrushStrokes(t *testing.T) {
	for _, r := range []runs{{1}, {0, 1}, {2, 2, 4, 64, 65, 5}, {16384, 16385, 50000, 1}, {0, 70000}} {
		var want []int
		for _, in := range r.pixels() {
			v := 0
			if in {
				v = 255
			}
			want = append(want, v, v, v, v)
		}
		require.Equal(t, want, unpacked(t, studioRLE(r)), "%v", r)
	}
}

// TestParquetIsTheSameTable as the recorded one, also where it takes many groups of rows.
func TestParquetIsTheSameTable(t *testing.T) {
	for name, o := range map[string]Options{"images.csv": {}, "regions.csv": {EachRegion: true, Polygons: true}} {
		o.Format, o.Out = "parquet", filepath.Join(t.TempDir(), "out")
		_, _, err := exported(t, recorded, o)
		require.NoError(t, err)
		want, err := csv.NewReader(strings.NewReader(content(t, filepath.Join("testdata", "golden", name)))).ReadAll()
		require.NoError(t, err)
		if o.EachRegion {
			require.Equal(t, want, cells[regionRow](t, o.Out))
		} else {
			require.Equal(t, want, cells[imageRow](t, o.Out))
		}
		f, err := os.Open(o.Out)
		require.NoError(t, err)
		defer f.Close()
		info, err := f.Stat()
		require.NoError(t, err)
		p, err := parquet.OpenFile(f, info.Size())
		require.NoError(t, err)
		about, ok := p.Lookup(runKey)
		require.True(t, ok)
		require.JSONEq(t, content(t, recorded+"/"+run.RunFile), about)
	}
}

// cells are a table's columns and rows, as csv has them.
func cells[T any](t *testing.T, path string) (all [][]string) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r := parquet.NewGenericReader[T](f)
	defer r.Close()
	var names []string
	for _, field := range r.Schema().Fields() {
		names = append(names, field.Name())
	}
	all = append(all, names)
	for {
		row := make([]T, 1)
		n, err := r.Read(row)
		if n == 1 {
			v := reflect.ValueOf(row[0])
			var line []string
			for i := range v.NumField() {
				line = append(line, cell(v.Field(i)))
			}
			all = append(all, line)
		}
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
	}
}

// TestRowsAreWrittenInGroups, which are what is held in memory.
func TestRowsAreWrittenInGroups(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(out)
	require.NoError(t, err)
	r, err := run.OpenResults(recorded, false)
	require.NoError(t, err)
	defer r.Close()
	s, err := openParquet(&exporting{results: r}, f)
	require.NoError(t, err)
	rows := s.(table[imageRow]).rows
	text := strings.Repeat("x", groupBytes/2)
	for i := range groupRows + 4 {
		row := imageRow{Image: "a"}
		if i >= groupRows {
			row.Error = &text
		}
		require.NoError(t, rows.add(row))
	}
	require.NoError(t, s.end())
	info, err := f.Stat()
	require.NoError(t, err)
	p, err := parquet.OpenFile(f, info.Size())
	require.NoError(t, err)
	var groups []int64
	for _, g := range p.RowGroups() {
		groups = append(groups, g.NumRows())
	}
	require.Equal(t, []int64{groupRows, 2, 2}, groups)
	require.NoError(t, f.Close())
}

func TestWellKnownText(t *testing.T) {
	one := region.Polygon{Outer: region.Ring{{X: 0, Y: 0}, {X: 3, Y: 0}, {X: 3, Y: 3}}, Holes: []region.Ring{{{X: 1, Y: 1}, {X: 1, Y: 2}, {X: 2, Y: 2}}}}
	two := region.Polygon{Outer: region.Ring{{X: 5, Y: 5}, {X: 6, Y: 5}, {X: 6, Y: 6}}}
	require.Equal(t, "POLYGON ((0 0, 3 0, 3 3, 0 0), (1 1, 1 2, 2 2, 1 1))", wellKnown([]region.Polygon{one}))
	require.Equal(t, "MULTIPOLYGON (((0 0, 3 0, 3 3, 0 0), (1 1, 1 2, 2 2, 1 1)), ((5 5, 6 5, 6 6, 5 5)))", wellKnown([]region.Polygon{one, two}))
	require.Len(t, one.Outer, 3)
}

func TestNamesThatXMLCannotHold(t *testing.T) {
	for _, bad := range []string{"a\x00b", "\x1b", "\uFFFE"} {
		_, err := xmlText(bad)
		require.ErrorContains(t, err, "XML has no place for the character")
	}
	got, err := xmlText("a<b>&\"ü\t")
	require.NoError(t, err)
	require.Equal(t, "a&lt;b&gt;&amp;&#34;ü&#x9;", got)
}

func TestScoresForLabelStudio(t *testing.T) {
	require.Equal(t, []float64{0, 0, 0.5, 0.75, 1, 1}, []float64{
		studioScore(0, 2), studioScore(-1, 2), studioScore(2, 2), studioScore(6, 2), studioScore(1, 0), studioScore(1, -3),
	})
}
