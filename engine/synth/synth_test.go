package synth

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// render returns the values of an image and of its mask.
func render(t testing.TB, texture, defect string, size int, seed uint64) (img, mask []float32) {
	t.Helper()
	a, b, err := Render(texture, defect, size, seed)
	require.NoError(t, err)
	require.NoError(t, nd.Check("image", a, 3, size, size))
	require.NoError(t, nd.Check("mask", b, size, size))
	return nd.Data(a), nd.Data(b)
}

// change is the mean absolute difference of the three channels of pixel i.
func change(a, b []float32, i int) float64 {
	n := len(a) / 3
	sum := 0.0
	for c := range 3 {
		sum += math.Abs(float64(a[c*n+i] - b[c*n+i]))
	}
	return sum / 3
}

// near reports whether a mask has a 1 within r pixels of pixel i.
func near(mask []float32, size, i, r int) bool {
	for y := max(i/size-r, 0); y <= min(i/size+r, size-1); y++ {
		for x := max(i%size-r, 0); x <= min(i%size+r, size-1); x++ {
			if mask[y*size+x] == 1 && (x-i%size)*(x-i%size)+(y-i/size)*(y-i/size) <= r*r {
				return true
			}
		}
	}
	return false
}

// visible is the least mean change of a defect's pixels: 5 levels of 256, twice the sensor's noise.
const visible = 0.02

func TestMasksAreExact(t *testing.T) {
	for _, texture := range Textures() {
		for _, defect := range Defects() {
			t.Run(texture+"/"+defect, func(t *testing.T) {
				for seed := range uint64(9) {
					size := []int{75, 96, 131}[seed%3]
					sound, none := render(t, texture, Good, size, seed)
					img, mask := render(t, texture, defect, size, seed)
					inside, border, ones, ring := 0.0, 0.0, 0, 0
					for i, m := range mask {
						require.Zero(t, none[i])
						switch {
						case m == 1:
							inside += change(img, sound, i)
							ones++
						case m != 0:
							t.Fatalf("the mask has a value of %g", m)
						case near(mask, size, i, 4):
							border += change(img, sound, i)
							ring++
						default:
							require.Zero(t, change(img, sound, i), "seed %d: pixel %d, far from the mask", seed, i)
						}
					}
					require.NotZero(t, ones, "seed %d", seed)
					require.Greater(t, inside/float64(ones), visible, "seed %d: the defect is invisible", seed)
					require.Greater(t, inside/float64(ones), 2*border/float64(ring), "seed %d: the mask is not where the change is", seed)
				}
			})
		}
	}
}

type flat rgb

func (f flat) at(x, y float64) rgb             { return rgb(f) }
func (f flat) flaw(r *rand.Rand, _ place) flaw { return flaw{} }
func ramp(x, y float64) float64                { return min(max((y+x)/10, 0), 1) }
func white(x, y float64, _ rgb) rgb            { return rgb{1, 1, 1} }
func still(s *scene)                           { s.cos, s.gain, s.x0, s.y0 = 1, 1, float64(s.size-1)/2, float64(s.size-1)/2 }
func drawn(s *scene) (img, mask []float32) {
	still(s)
	img, mask = make([]float32, 3*s.size*s.size), make([]float32, s.size*s.size)
	s.draw(img, mask)
	return
}

// A pixel shows its shares of the sound and the defective material, and the mask begins at one half.
func TestDrawBlendsByCoverage(t *testing.T) {
	const size = 32
	img, mask := drawn(&scene{size: size, surface: flat{0.2, 0.4, 0.6}, flaw: flaw{ramp, white}})
	for i := range mask {
		share := ramp(float64(i%size), float64(i/size))
		for c, sound := range []float64{0.2, 0.4, 0.6} {
			want := sound + (1-sound)*share
			require.InDelta(t, want, img[c*size*size+i], 6*0.009) // the sensor's noise
		}
		require.Equal(t, share >= 0.5, mask[i] == 1, "coverage %g", share)
	}
}

func TestSensor(t *testing.T) {
	const size = 64
	none := flaw{coverage: func(x, y float64) float64 { return 0 }}
	noise := func(img []float32, sound float64) (deviation, across float64) {
		n := size * size
		for i := range n {
			deviation += (float64(img[i]) - sound) * (float64(img[i]) - sound) / float64(n)
			across += math.Abs(float64(img[i]-img[n+i])) / float64(n)
		}
		return math.Sqrt(deviation), across
	}
	img, _ := drawn(&scene{size: size, surface: flat{0.5, 0.5, 0.5}, flaw: none})
	deviation, across := noise(img, 0.5)
	require.InDelta(t, 0.009, deviation, 0.0005)
	require.Greater(t, across, 0.005) // each channel has noise of its own
	img, _ = drawn(&scene{size: size, surface: flat{0.5, 0.5, 0.5}, flaw: none, monochrome: true})
	deviation, across = noise(img, 0.5)
	require.InDelta(t, 0.011, deviation, 0.0005)
	require.Zero(t, across)

	// Light that comes from the left and from below, and falls off towards the border.
	img, _ = drawn(&scene{size: size, surface: flat{0.5, 0.5, 0.5}, flaw: none, tilt: [2]float64{-0.2, 0.1}, vignette: 0.05})
	mean := func(x0, y0 int) float64 {
		sum := 0.0
		for y := y0; y < y0+8; y++ {
			for x := x0; x < x0+8; x++ {
				sum += float64(img[y*size+x]) / 64
			}
		}
		return sum
	}
	const near, middle, far = 0, size/2 - 4, size - 8
	const r = 1 - 7.0/(size-1) // of the outer squares' centres
	square := (8.0*8 - 1) / 3 / (size - 1) / (size - 1)
	for _, at := range []struct{ x, y int }{{near, near}, {near, far}, {far, near}, {far, far}, {middle, far}, {near, middle}} {
		u, v := r*float64(at.x-middle)/(size/2-4), r*float64(at.y-middle)/(size/2-4)
		want := 0.5 * (1 - 0.2*u + 0.1*v - 0.05*(u*u+v*v+2*square))
		require.InDelta(t, want, mean(at.x, at.y), 0.004, "%v", at) // the mean of 64 pixels' noise has a deviation of 0.0011
	}
}

func TestRenderDependsOnTheSeedOnly(t *testing.T) {
	for _, texture := range Textures() {
		a, m := render(t, texture, "stain", 40, 7)
		b, n := render(t, texture, "stain", 40, 7)
		require.Equal(t, a, b)
		require.Equal(t, m, n)
		c, _ := render(t, texture, "stain", 40, 8)
		require.NotEqual(t, a, c)
	}
}

// Images of one product are alike: in mean colour and in contrast.
func TestSeriesIsOneProduct(t *testing.T) {
	const size = 128
	moments := func(img []float32) (m []float64) {
		n := size * size
		for c := range 3 {
			sum, square := 0.0, 0.0
			for _, v := range img[c*n : (c+1)*n] {
				sum += float64(v) / float64(n)
				square += float64(v) * float64(v) / float64(n)
			}
			m = append(m, sum, math.Sqrt(square-sum*sum))
		}
		return m
	}
	// Lighting differs by 3 % in gain and 7 % in tilt, contrast by the few grains and rings that an image holds.
	alike := compare.Tolerance{Rel: 0.3}
	for _, texture := range Textures() {
		first, _ := render(t, texture, Good, size, 0)
		for seed := uint64(1); seed < 6; seed++ {
			img, _ := render(t, texture, Good, size, seed)
			compare.Require(t, fmt.Sprintf("%s %d", texture, seed), moments(img), moments(first), alike)
		}
		require.Greater(t, moments(first)[1], 0.04, "%s has no texture", texture)
	}
}

func TestColours(t *testing.T) {
	mean := func(texture string) (m [3]float64) {
		img, _ := render(t, texture, Good, 64, 1)
		for i, v := range img {
			m[i/(64*64)] += float64(v) / (64 * 64)
		}
		return m
	}
	grain := mean("grain")
	require.Equal(t, grain[0], grain[1])
	require.Equal(t, grain[0], grain[2])
	weave := mean("weave")
	require.Less(t, weave[2], weave[0]-0.02)
	require.Greater(t, weave[2], weave[0]-0.12)
	wood := mean("wood")
	require.Less(t, wood[2], wood[0]-0.2)
	img, _ := render(t, "grain", "stain", 64, 1)
	require.Equal(t, img[:64*64], img[64*64:2*64*64])
	require.Equal(t, img[:64*64], img[2*64*64:])
}

func TestDefectsComeInAllSizes(t *testing.T) {
	const size, seeds = 192, 32
	for _, defect := range Defects() {
		small, large := 1.0, 0.0
		for seed := range uint64(seeds) {
			s := newScene("wood", size, seed)
			f := s.newFlaw(defect, rand.New(rand.NewPCG(seed, streamDefect)))
			covered := 0
			for i := range size * size {
				if f.coverage(s.material(float64(i%size), float64(i/size))) >= 0.5 {
					covered++
				}
			}
			share := float64(covered) / (size * size)
			small, large = min(small, share), max(large, share)
		}
		require.Greater(t, small, 0.0003, defect)
		require.Less(t, small, 0.006, defect)
		require.Greater(t, large, 0.008, defect)
		require.Less(t, large, 0.06, defect)
	}
}

func TestRenderErrors(t *testing.T) {
	for want, render := range map[string]func() error{
		`unknown texture "silk"`: func() error { _, _, err := Render("silk", Good, 64, 0); return err },
		`unknown defect "crack"`: func() error { _, _, err := Render("wood", "crack", 64, 0); return err },
		"size 31":                func() error { _, _, err := Render("wood", Good, MinSize-1, 0); return err },
		"size 8193":              func() error { _, _, err := Render("wood", Good, MaxSize+1, 0); return err },
	} {
		require.ErrorContains(t, render(), want)
	}
	for _, texture := range Textures() {
		for _, defect := range append(Defects(), Good) {
			render(t, texture, defect, MinSize, 3)
		}
	}
}

// Noise is continuous across its lattice, zero on it, and within its range.
func TestNoise(t *testing.T) {
	largest, square := 0.0, 0.0
	const n = 4000
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		x, y := 200*r.Float64()-100, 200*r.Float64()-100
		v := noise(9, x, y)
		largest, square = max(largest, math.Abs(v)), square+v*v/n
		require.InDelta(t, noise(9, math.Floor(x)-1e-9, y), noise(9, math.Floor(x)+1e-9, y), 1e-7)
		require.InDelta(t, noise(9, x, math.Floor(y)-1e-9), noise(9, x, math.Floor(y)+1e-9), 1e-7)
		require.InDelta(t, 0, noise(9, math.Floor(x), math.Floor(y)), 1e-12)
	}
	require.LessOrEqual(t, largest, 1.0)
	require.InDelta(t, 0.35, math.Sqrt(square), 0.05)
	require.NotEqual(t, noise(1, 0.5, 0.5), noise(2, 0.5, 0.5))
}
