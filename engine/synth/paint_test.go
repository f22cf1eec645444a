package synth

import (
	"math/rand/v2"
	"slices"
	"testing"

	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// canvas is the upper part of a piece of a texture.
func canvas(t testing.TB, texture string, h, w int) *tensor.Dense {
	t.Helper()
	img, _ := render(t, texture, Good, w, 5)
	part := nd.New(3, h, w)
	for c := range 3 {
		copy(nd.Data(part)[c*h*w:(c+1)*h*w], img[c*w*w:])
	}
	return part
}

func paint(t testing.TB, img *tensor.Dense, defect string, seed uint64) (painted, mask []float32) {
	t.Helper()
	h, w := img.Shape()[1], img.Shape()[2]
	a, b, err := Paint(img, defect, seed)
	require.NoError(t, err)
	require.NoError(t, nd.Check("image", a, 3, h, w))
	require.NoError(t, nd.Check("mask", b, h, w))
	return nd.Data(a), nd.Data(b)
}

// grown is what lies within r rows and columns of a mask.
func grown(mask []float32, w, r int) []bool {
	h := len(mask) / w
	near := make([]bool, len(mask))
	for i, m := range mask {
		if m == 0 {
			continue
		}
		for y := max(i/w-r, 0); y <= min(i/w+r, h-1); y++ {
			for x := max(i%w-r, 0); x <= min(i%w+r, w-1); x++ {
				near[y*w+x] = true
			}
		}
	}
	return near
}

func TestPaintedMasksAreExact(t *testing.T) {
	const far = 8 // beyond it the softest outline, that of rough, has ended
	for _, size := range [][2]int{{64, 150}, {120, 120}} {
		h, w := size[0], size[1]
		img := canvas(t, "wood", h, w)
		given := slices.Clone(nd.Data(img))
		for _, defect := range Paints() {
			for seed := range uint64(12) {
				painted, mask := paint(t, img, defect, seed)
				near := grown(mask, w, far)
				inside, border, ones, ring := 0.0, 0.0, 0, 0
				for i, m := range mask {
					if m != 0 && m != 1 {
						t.Fatalf("a mask of %g", m)
					}
					by := change(painted, given, i)
					switch {
					case m == 1:
						inside += by
						ones++
					case near[i]:
						border += by
						ring++
					default:
						if by != 0 {
							t.Fatalf("%s %d: pixel %d, far from the mask, changed by %g", defect, seed, i, by)
						}
					}
				}
				require.NotZero(t, ones, "%s %d", defect, seed)
				require.Greater(t, inside/float64(ones), 2*border/float64(ring), "%s %d: the mask is not where the change is", defect, seed)
				require.Greater(t, inside/float64(ones), 0.01, "%s %d: invisible", defect, seed)
				require.GreaterOrEqual(t, slices.Min(painted), float32(0))
				require.LessOrEqual(t, slices.Max(painted), float32(1))
			}
		}
		require.Equal(t, given, nd.Data(img), "the image itself stays")
	}
}

// A pixel shows its shares of the image and of the defect; the mask begins at one half.
func TestPaintBlendsByCoverage(t *testing.T) {
	const h, w = 64, 100
	for _, texture := range []string{"grain", "weave"} {
		img := canvas(t, texture, h, w)
		pix := nd.Data(img)
		for _, defect := range Paints() {
			painted, mask := paint(t, img, defect, 2)
			s := photo{pix, h, w}
			f := s.flaw(defect, rand.New(rand.NewPCG(2, streamDefect)))
			soft := 0
			for i, m := range mask {
				x, y := float64(i%w), float64(i/w)
				share := f.coverage(x, y)
				require.Equal(t, share >= 0.5, m == 1, "%s: coverage %g", defect, share)
				if share <= 0 {
					for c := range 3 {
						require.Equal(t, pix[c*h*w+i], painted[c*h*w+i], "%s: pixel %d", defect, i)
					}
					continue
				}
				if share < 0.5 {
					soft++
				}
				if texture == "weave" { // what is grey mixes the channels
					look := f.look(x, y, s.at(x, y))
					for c := range 3 {
						want := min(max((1-share)*float64(pix[c*h*w+i])+share*look[c], 0), 1)
						require.InDelta(t, want, painted[c*h*w+i], 1e-6, "%s: pixel %d", defect, i)
					}
				}
			}
			require.NotZero(t, soft, "%s: no soft outline", defect)
		}
	}
}

func TestPaintOverIsPaintInPlace(t *testing.T) {
	img := canvas(t, "wood", 48, 64)
	for _, defect := range Paints() {
		before := slices.Clone(nd.Data(img))
		painted, mask, err := Paint(img, defect, 5)
		require.NoError(t, err)
		require.Equal(t, before, nd.Data(img), "Paint leaves its image alone")
		require.NotEqual(t, before, nd.Data(painted))
		over := nd.New(3, 48, 64)
		copy(nd.Data(over), before)
		again, err := PaintOver(over, defect, 5)
		require.NoError(t, err)
		require.Equal(t, nd.Data(painted), nd.Data(over), defect)
		require.Equal(t, nd.Data(mask), nd.Data(again), defect)
	}
}

func TestPaintDependsOnTheSeedOnly(t *testing.T) {
	img := canvas(t, "weave", 70, 90)
	for _, defect := range Paints() {
		a, m := paint(t, img, defect, 7)
		b, n := paint(t, img, defect, 7)
		require.Equal(t, a, b)
		require.Equal(t, m, n)
		b, n = paint(t, img, defect, 8)
		require.NotEqual(t, a, b)
		require.NotEqual(t, m, n)
	}
}

func TestPaintKeepsGreyGrey(t *testing.T) {
	const h, w = 60, 80
	for texture, grey := range map[string]bool{"grain": true, "weave": false} {
		img := canvas(t, texture, h, w)
		for _, defect := range Paints() {
			painted, _ := paint(t, img, defect, 3)
			same := slices.Equal(painted[:h*w], painted[h*w:2*h*w]) && slices.Equal(painted[:h*w], painted[2*h*w:])
			require.Equal(t, grey, same, "%s on %s", defect, texture)
		}
	}
}

// Areas range over about 0.05 to 4 % of the image, half of them below 0.5 %, wherever in it.
func TestPaintedDefectsComeInAllSizesAndPlaces(t *testing.T) {
	const h, w, seeds = 256, 384, 60
	img := canvas(t, "grain", h, w)
	for _, defect := range Paints() {
		var areas []float64
		left, top := 0, 0
		for seed := range uint64(seeds) {
			_, mask := paint(t, img, defect, seed)
			n, x, y := 0, 0, 0
			for i, m := range mask {
				if m == 1 {
					n, x, y = n+1, x+i%w, y+i/w
				}
			}
			areas = append(areas, float64(n)/(h*w))
			if x/n < w/2 {
				left++
			}
			if y/n < h/2 {
				top++
			}
		}
		slices.Sort(areas)
		require.Greater(t, areas[0], 0.0001, defect)
		require.Less(t, areas[0], 0.004, defect)
		require.Less(t, areas[seeds/2], 0.008, defect)
		require.Greater(t, areas[seeds-1], 0.005, defect)
		require.Less(t, areas[seeds-1], 0.06, defect)
		require.InDelta(t, seeds/2, left, seeds/5, "%s: left", defect)
		require.InDelta(t, seeds/2, top, seeds/5, "%s: top", defect)
	}
}

func TestPaintErrors(t *testing.T) {
	img := canvas(t, "wood", MinSize, 64)
	for _, defect := range Paints() {
		paint(t, img, defect, 1)
	}
	_, _, err := Paint(img, "crack", 0)
	require.EqualError(t, err, `synth: unknown defect "crack", want one of hole, scratch, stain, patch, rough`)
	_, _, err = Paint(nd.New(3, MinSize-1, 64), "hole", 0)
	require.ErrorContains(t, err, "64x31, want sides of at least 32")
	_, _, err = Paint(nd.New(3, 64, MinSize-1), "hole", 0)
	require.ErrorContains(t, err, "31x64, want sides of at least 32")
	_, _, err = Paint(nd.New(1, 64, 64), "hole", 0)
	require.ErrorContains(t, err, "synth: image")
}

func BenchmarkPaint(b *testing.B) {
	img := canvas(b, "grain", 512, 512)
	for _, defect := range Paints() {
		b.Run(defect, func(b *testing.B) {
			for i := range b.N {
				paint(b, img, defect, uint64(i))
			}
		})
	}
}
