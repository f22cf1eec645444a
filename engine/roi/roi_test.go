package roi

import (
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine/imageio"

	"github.com/stretchr/testify/require"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
	return path
}

// drawn reads polygons and shows what they are in an image.
func drawn(t *testing.T, text string, h, w int) string {
	t.Helper()
	r, err := Read(write(t, "r.JSON", text), imageio.Limits{})
	require.NoError(t, err)
	in, err := r.At(h, w)
	require.NoError(t, err)
	return show(in, w)
}

func show(in []bool, w int) string {
	var b strings.Builder
	for i, on := range in {
		if i > 0 && i%w == 0 {
			b.WriteByte('\n')
		}
		b.WriteByte(".#"[map[bool]int{true: 1}[on]])
	}
	return b.String()
}

func TestPolygonsHoldThePixelsWhoseCentresTheyHold(t *testing.T) {
	require.Equal(t, "........\n..###...\n..###...\n........", drawn(t, `{"polygons": [[[2,1],[5,1],[5,3],[2,3]]]}`, 4, 8), "a box: its right and lower edges are outside")
	require.Equal(t, "........\n#.......\n##......\n###.....", drawn(t, `{"polygons": [[[0,0],[4,4],[0,4]]]}`, 4, 8), "a centre on a right edge is outside")
	require.Equal(t, "###.....\n.##.....\n..#.....\n........", drawn(t, `{"polygons": [[[0,0],[3,0],[3,3]]]}`, 4, 8), "on a left edge it is not")
	require.Equal(t, "########\n########", drawn(t, `{"polygons": [[[0,0],[8,0],[8,2],[0,2]]]}`, 2, 8))
	require.Equal(t, "##....##\n........", drawn(t, `{"polygons": [[[0,0],[2,0],[2,1],[0,1]],[[6,0],[6,1],[8,1],[8,0]]]}`, 2, 8), "the union of several")
	require.Equal(t, "###.....\n.##.....\n.###....", drawn(t, `{"polygons": [[[0,0],[3,0],[3,2],[0,0.9]],[[1,0],[3,0],[4,3],[1,3]]]}`, 3, 8), "what two hold is held")
	require.Equal(t, "######..\n#....#..\n######..", drawn(t, `{"polygons": [[[0,0],[6,0],[6,3],[0,3],[0,2],[5,2],[5,1],[1,1],[1,2],[0,2]]]}`, 3, 8), "not convex")
}

func TestPolygonsWithASizeAreScaled(t *testing.T) {
	const text = `{"width": 16, "height": 8, "polygons": [[[0,0],[8,0],[8,4],[0,4]]]}`
	require.Equal(t, "####....\n####....\n........\n........", drawn(t, text, 4, 8))
	r, err := Read(write(t, "r.json", text), imageio.Limits{})
	require.NoError(t, err)
	h, w := r.Size()
	require.Equal(t, [2]int{8, 16}, [2]int{h, w})
	_, err = r.At(8, 8)
	require.ErrorIs(t, err, ErrAspect)
	require.ErrorContains(t, err, "r.json: a region of interest of another aspect: 16x8 pixels for an image of 8x8")
}

func TestMasksAreWhiteWhereTheyInspect(t *testing.T) {
	dir := t.TempDir()
	save := func(name string, at func(x, y int) uint8) string {
		im := image.NewGray(image.Rect(0, 0, 12, 8))
		for i := range im.Pix {
			im.SetGray(i%12, i/12, color.Gray{Y: at(i%12, i/12)})
		}
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, png.Encode(f, im))
		require.NoError(t, f.Close())
		return f.Name()
	}
	left := func(white uint8) func(x, y int) uint8 {
		return func(x, y int) uint8 {
			if x < 6 {
				return white
			}
			return 0
		}
	}
	for _, white := range []uint8{255, 1} {
		r, err := Read(save("left.png", left(white)), imageio.Limits{})
		require.NoError(t, err)
		in, err := r.At(8, 12)
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("######......\n", 7)+"######......", show(in, 12))
		for _, size := range [][2]int{{16, 24}, {15, 24}, {17, 24}, {16, 23}} { // as rounding makes them
			in, err = r.At(size[0], size[1])
			require.NoError(t, err, size)
			require.True(t, in[10] && !in[12], size)
		}
		for _, size := range [][2]int{{12, 8}, {8, 14}, {100, 160}} {
			_, err = r.At(size[0], size[1])
			require.ErrorIs(t, err, ErrAspect, size)
		}
	}
	black := save("black.png", func(x, y int) uint8 { return 0 })
	_, err := Read(black, imageio.Limits{})
	require.ErrorIs(t, err, ErrEmpty)
	require.EqualError(t, err, black+": an empty region of interest")
	one, err := Read(save("one.png", func(x, y int) uint8 { return 255 * uint8((x/11)*(y/7)) }), imageio.Limits{})
	require.NoError(t, err)
	_, err = one.At(2, 3)
	require.ErrorIs(t, err, ErrEmpty)
	require.ErrorContains(t, err, "one.png: an empty region of interest: nothing in 3x2 pixels")
}

func TestRegionsThatAreNoneAreRefused(t *testing.T) {
	many := strings.Repeat("[1,1],", maxPoints)
	for text, want := range map[string]string{
		``:                                       "no polygons: EOF",
		`[]`:                                     "no polygons: json: cannot unmarshal array",
		`{"polygon": []}`:                        `no polygons: json: unknown field "polygon"`,
		`{"polygons": []}`:                       "an empty region of interest: no polygons",
		`{"polygons": [[[1,1],[2,2]]]}`:          "polygon 1 has 2 points, want 3 and more",
		`{"polygons": [[[1,1],[2,2],[3]]]}`:      "polygon 1 has a point of 1 numbers, want x and y",
		`{"polygons": [[[1,1],[2,2],["a",1]]]}`:  "cannot unmarshal string",
		`{"polygons": [[[1,1],[2,2],[3,1]]]} {}`: "there is more after the object",
		`{"polygons": [[` + many + `[2,2]]]}`:    "at most 10000 in all",
		`{"width": 8, "polygons": [[[1,1],[2,2],[3,1]]]}`:                          "width and height: image too small",
		`{"width": 1000000, "height": 1000000, "polygons": [[[1,1],[2,2],[3,1]]]}`: "width and height: image too large",
		`{"width": 8, "height": 8, "polygons": [[[1,1],[2,2],[9,1]]]}`:             "polygon 1 has the point (9, 1), outside of an image of 8x8 pixels",
		`{"width": 8, "height": 8, "polygons": [[[1,1],[1.1,1],[1,1.1]]]}`:         "an empty region of interest: nothing in 8x8 pixels",
		strings.Repeat(" ", maxBytes+1):                                            "bytes of polygons, at most",
	} {
		path := write(t, "r.json", text)
		_, err := Read(path, imageio.Limits{})
		require.ErrorContains(t, err, want)
		require.True(t, strings.HasPrefix(err.Error(), path+": "), err)
		require.Equal(t, 1, strings.Count(err.Error(), "r.json"), err)
	}
	_, err := Read(write(t, "r.png", "no image"), imageio.Limits{})
	require.ErrorIs(t, err, imageio.ErrFormat)
	_, err = Read(filepath.Join(t.TempDir(), "gone.json"), imageio.Limits{})
	require.ErrorIs(t, err, os.ErrNotExist)

	r, err := Read(write(t, "r.json", `{"polygons": [[[1,1],[9,2],[3,9]]]}`), imageio.Limits{})
	require.NoError(t, err)
	_, err = r.At(10, 10)
	require.NoError(t, err)
	_, err = r.At(8, 10)
	require.ErrorContains(t, err, "polygon 1 has the point (3, 9), outside of an image of 10x8 pixels")
}
