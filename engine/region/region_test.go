package region

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// parse reads a mask from a drawing: # is in.
func parse(rows ...string) (mask []bool, h, w int) {
	for _, c := range strings.Join(rows, "") {
		mask = append(mask, c == '#')
	}
	return mask, len(rows), len(rows[0])
}

func show(mask []bool, w int) (rows []string) {
	var b strings.Builder
	for i, in := range mask {
		b.WriteByte(map[bool]byte{true: '#', false: '.'}[in])
		if i%w == w-1 {
			rows = append(rows, b.String())
			b.Reset()
		}
	}
	return rows
}

func TestFind(t *testing.T) {
	mask, h, w := parse(
		"##....",
		"..#..#",
		".....#",
		"#.....")
	scores := []float32{
		1, 2, 9, 9, 9, 9,
		9, 9, 6, 9, 9, 7,
		9, 9, 9, 9, 9, 7,
		-3, 9, 9, 9, 9, 9}
	require.Equal(t, []Region{
		{X: 5, Y: 1, Width: 1, Height: 2, Area: 2, Peak: 7, PeakX: 5, PeakY: 1, Mean: 7},
		{X: 0, Y: 0, Width: 3, Height: 2, Area: 3, Peak: 6, PeakX: 2, PeakY: 1, Mean: 3},
		{X: 0, Y: 3, Width: 1, Height: 1, Area: 1, Peak: -3, PeakX: 0, PeakY: 3, Mean: -3},
	}, Find(mask, scores, h, w), "corners connect; the frame does not")
	require.Empty(t, Find(make([]bool, 24), scores, h, w))
	require.Empty(t, Find(nil, nil, 0, 0))

	// A region that grows to the left and up after its first pixel.
	mask, h, w = parse("...#", "..#.", ".#..", "####")
	require.Equal(t, []Region{{X: 0, Y: 0, Width: 4, Height: 4, Area: 7, PeakX: 3}}, Find(mask, make([]float32, 16), h, w))
	b, err := json.Marshal(Region{X: 1, Y: 2, Width: 3, Height: 4, Area: 5, Peak: 6, PeakX: 7, PeakY: 8, Mean: 9})
	require.NoError(t, err)
	require.JSONEq(t, `{"x":1,"y":2,"width":3,"height":4,"area":5,"peak":6,"peak_x":7,"peak_y":8,"mean":9}`, string(b))
}

func TestAboveIsAboveNotAt(t *testing.T) {
	require.Equal(t, []bool{false, false, true}, Above([]float32{0, 1, 2}, 1))
	require.Equal(t, []bool{false}, Above([]float32{1}, math.NaN()))
}

func TestLabelAndTouched(t *testing.T) {
	mask, h, w := parse("#.#.", ".#..", "...#", "#..#")
	labels, n := Label(mask, h, w)
	require.Equal(t, 3, n)
	require.Equal(t, []int32{1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 2, 3, 0, 0, 2}, labels)
	other, _, _ := parse("#.##", "....", "...#", ".##.")
	require.Equal(t, 2, Touched(labels, n, other))
	require.Equal(t, 0, Touched(labels, n, make([]bool, 16)))
}

func TestSift(t *testing.T) {
	mask, h, w := parse("##..#", ".....", "#.###")
	for least, want := range map[int][]string{
		1: {"##..#", ".....", "#.###"},
		2: {"##...", ".....", "..###"},
		3: {".....", ".....", "..###"},
		4: {".....", ".....", "....."},
	} {
		require.Equal(t, want, show(Sift(mask, h, w, least), w))
	}
}

func TestFill(t *testing.T) {
	mask, h, w := parse(
		"####...",
		"#..#.##",
		"#.#..#.",
		"####.##",
		".#...##",
		"#.#..##")
	require.Equal(t, []string{
		"####...",
		"####.##",
		"###..#.",
		"####.##",
		".#...##",
		"#.#..##"}, show(Fill(mask, h, w), w), "a hole that is open to the frame is none")
	diagonal, h, w := parse(".#.", "#.#", ".#.")
	require.Equal(t, []string{".#.", "###", ".#."}, show(Fill(diagonal, h, w), w), "nothing leaks between corners")
}

func TestClose(t *testing.T) {
	mask, h, w := parse(
		"...........#",
		"..##.##....#",
		"..##.##.....",
		"..##.##....#",
		"..##.##.....",
		"..##.##.....")
	require.Equal(t, []string{
		"...........#",
		"..##.##....#",
		"..#####.....",
		"..#####....#",
		"..#####.....",
		"..##.##....."}, show(Close(mask, h, w, 1), w), "a gap of one pixel closes but for its mouth; wide ones and the frame do not")
	require.Equal(t, mask, Close(mask, h, w, 0))
}

// TestCloseIsItsDefinition compares with discs tried at every place, those beyond the frame included.
func TestCloseIsItsDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, r := range []int{1, 2, 3, 5, 40} {
		h, w := 9+rng.IntN(4), 11+rng.IntN(4)
		mask := make([]bool, h*w)
		for i := range mask {
			mask[i] = rng.IntN(9) == 0
		}
		want := make([]bool, h*w)
		for i := range want {
			want[i] = true
		}
		disc := func(cy, cx int, visit func(i int)) {
			for y := range h {
				for x := range w {
					if (y-cy)*(y-cy)+(x-cx)*(x-cx) <= r*r {
						visit(y*w + x)
					}
				}
			}
		}
		for cy := -r; cy < h+r; cy++ {
			for cx := -r; cx < w+r; cx++ {
				empty := true
				disc(cy, cx, func(i int) { empty = empty && !mask[i] })
				if empty {
					disc(cy, cx, func(i int) { want[i] = false })
				}
			}
		}
		got := Close(mask, h, w, r)
		require.Equal(t, show(want, w), show(got, w), "radius %d", r)
	}
}

func TestOptionsApplyInOrder(t *testing.T) {
	mask, h, w := parse(
		".........",
		".###.###.",
		".###.###.",
		".###.###.",
		".##...##.",
		".##...##.",
		".#######.",
		".........",
		".........",
		".........",
		"#........")
	given := show(mask, w)
	require.Equal(t, mask, Options{}.Apply(mask, h, w))
	require.Equal(t, mask, Options{Fill: true, MinArea: 1}.Apply(mask, h, w), "it is open")
	require.Equal(t, []string{
		".........",
		".###.###.",
		".#######.",
		".#######.",
		".#######.",
		".#######.",
		".#######.",
		".........",
		".........",
		".........",
		"........."}, show(Options{Close: 1, Fill: true, MinArea: 36}.Apply(mask, h, w), w), "closed, then filled, then sifted")
	require.Equal(t, given, show(mask, w), "what was given stays")
}

func TestWrongLengthsPanic(t *testing.T) {
	require.PanicsWithValue(t, "region: 3 values of mask for 2 x 2 pixels", func() { Label(make([]bool, 3), 2, 2) })
	require.Panics(t, func() { Fill(make([]bool, 3), 2, 2) })
	require.Panics(t, func() { Close(make([]bool, 3), 2, 2, 1) })
	require.PanicsWithValue(t, "region: 3 values of scores for 2 x 2 pixels", func() { Find(make([]bool, 4), make([]float32, 3), 2, 2) })
}
