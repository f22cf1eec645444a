package backbone

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"testing"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

var (
	// filterTolerance is for graphs run in float64 with weights rounded to float32: some hundred taps of 6e-8 each, in
	// logarithms of values down to 2e-3.
	filterTolerance = compare.Tolerance{Abs: 1e-5, Rel: 1e-6}
	// sameTolerance is for the same sums in another order, in float64.
	sameTolerance = compare.Tolerance{Abs: 1e-10, Rel: 1e-10}
	// momentTolerance is for float64 moments of the same numbers, stored as float32.
	momentTolerance = compare.Tolerance{Abs: 1e-6, Rel: 1e-6}
	// roundedTolerance is for sums of 60 products of channels near 5 and weights near 10, kept as float32.
	roundedTolerance = compare.Tolerance{Abs: 2e-4, Rel: 1e-5}
)

// testImage is made from the same integers as in testdata/gen_scatter.py.
func testImage(h, w int, grey bool) *tensor.Dense {
	img := nd.New(3, h, w)
	data := nd.Data(img)
	for i := range data {
		c, y, x := i/(h*w), i/w%h, i%w
		if grey {
			c = 0
		}
		v := x*x*3 + 7*x*y + 5*y*y + 60*c + 11*c*x
		if x > 20+c {
			v += 40
		}
		data[i] = float32(v%256) / 255
	}
	return img
}

// each makes an image from a function of channel and pixel.
func each(h, w int, f func(c, y, x int) float32) *tensor.Dense {
	img := nd.New(3, h, w)
	data := nd.Data(img)
	for i := range data {
		data[i] = f(i/(h*w), i/w%h, i%w)
	}
	return img
}

// at reads an image [3,H,W].
func at(img *tensor.Dense, c, y, x int) float32 {
	s := img.Shape()
	return nd.Data(img)[(c*s[1]+y)*s[2]+x]
}

// channels runs the network up to the projection on normalised pixels, in float64: [1,C,h/4,w/4].
func channels(t testing.TB, s *Scatter, img *tensor.Dense) *naive.Array {
	t.Helper()
	g, err := s.build(img.Shape()[1], img.Shape()[2], false)
	require.NoError(t, err)
	out, err := naive.Run(g, map[string]*naive.Array{"image": widen(s.Normalize(img).apply(img))})
	require.NoError(t, err)
	return out[g.Outputs[0]]
}

// features runs the fitted network.
func features(t testing.TB, b Backbone, img *tensor.Dense) *naive.Array {
	t.Helper()
	g, err := b.Graph(img.Shape()[1], img.Shape()[2])
	require.NoError(t, err)
	out, err := naive.Run(g, map[string]*naive.Array{"image": widen(b.Normalize(img).apply(img))})
	require.NoError(t, err)
	return out[g.Outputs[0]]
}

func images(list ...*tensor.Dense) Images {
	return func(ctx context.Context, visit func(*tensor.Dense) error) error {
		for _, img := range list {
			if err := visit(img); err != nil {
				return err
			}
		}
		return nil
	}
}

func fit(t testing.TB, list ...*tensor.Dense) *Scatter {
	t.Helper()
	s := NewScatter()
	require.NoError(t, s.Fit(context.Background(), &oracle{}, images(list...), 1))
	return s
}

func TestScatterGolden(t *testing.T) {
	data, err := os.ReadFile("testdata/scatter.json")
	require.NoError(t, err)
	var golden struct {
		Height, Width int
		Cells         [][2]int
		Grey, Colour  [][]float64
	}
	require.NoError(t, json.Unmarshal(data, &golden))
	for _, model := range []struct {
		name string
		grey bool
		want [][]float64
	}{{"grey", true, golden.Grey}, {"colour", false, golden.Colour}} {
		t.Run(model.name, func(t *testing.T) {
			s := &Scatter{grey: model.grey}
			f := channels(t, s, testImage(golden.Height, golden.Width, model.grey))
			require.Equal(t, []int{1, s.channels(), golden.Height / 4, golden.Width / 4}, f.Shape)
			var got, want []float64
			for i, cell := range golden.Cells {
				for c := range s.channels() {
					got = append(got, f.At(0, c, cell[0], cell[1]))
				}
				want = append(want, model.want[i]...)
			}
			compare.Require(t, "channels", got, want, filterTolerance)
		})
	}
}

// A mirrored image has the mirrored features; orientation k becomes -k, modulo 6, in both directions.
func TestScatterMirrorsItsImage(t *testing.T) {
	const h, w = 28, 36
	mirror := func(k int) int { return (orientations - k) % orientations }
	partner := func(c int) int {
		const first, second = 6, 6 + levels*orientations
		switch {
		case c < first:
			return c
		case c < second:
			return c - c%orientations + mirror(c%orientations)
		}
		j, k := (c-second)/orientations, (c-second)%orientations
		return second + mirror(j)*orientations + mirror(k)
	}
	s := &Scatter{}
	img := testImage(h, w, false)
	f := channels(t, s, img)
	for _, flip := range []struct {
		name string
		y, x func(int, int) int
	}{
		{"left-right", func(i, n int) int { return i }, func(i, n int) int { return n - 1 - i }},
		{"up-down", func(i, n int) int { return n - 1 - i }, func(i, n int) int { return i }},
	} {
		t.Run(flip.name, func(t *testing.T) {
			g := channels(t, s, each(h, w, func(c, y, x int) float32 { return at(img, c, flip.y(y, h), flip.x(x, w)) }))
			var got, want []float64
			for c := range s.channels() {
				for i := range h / 4 {
					for j := range w / 4 {
						got = append(got, g.At(0, partner(c), flip.y(i, h/4), flip.x(j, w/4)))
						want = append(want, f.At(0, c, i, j))
					}
				}
			}
			// The weights are rounded to float32 after the cosine of an angle and of its mirror image.
			compare.Require(t, "features", got, want, filterTolerance)
		})
	}
}

// A blob centred on a cell is seen most in that cell, and alike to its left and right, above and below.
func TestScatterCellsAreCentredOnTheirPixels(t *testing.T) {
	const h, w, row, column = 104, 112, 12, 14
	blob := func(c, y, x int) float32 {
		dy, dx := float64(y)-(4*row+1.5), float64(x)-(4*column+1.5)
		return float32(0.3 + 0.5*math.Exp(-(dy*dy+dx*dx)/(2*1.5*1.5)))
	}
	s := &Scatter{}
	f := channels(t, s, each(h, w, blob))
	// Luminance, its deviation, and the first orientation, which is its own mirror image, of each level and of the second
	// order.
	for _, c := range []int{0, 3, 6, 12, 18, 24} {
		peak := f.At(0, c, row, column)
		for i := range h / 4 {
			for j := range w / 4 {
				require.LessOrEqual(t, f.At(0, c, i, j), peak, "channel %d at (%d,%d)", c, i, j)
			}
		}
		for d := 1; d <= 4; d++ {
			require.Less(t, f.At(0, c, row, column+d), peak, "channel %d", c)
			compare.Require(t, "left and right, above and below",
				[]float64{f.At(0, c, row, column+d), f.At(0, c, row+d, column)},
				[]float64{f.At(0, c, row, column-d), f.At(0, c, row-d, column)}, filterTolerance)
		}
	}
}

// What lies Margin pixels outside a window does not matter, and nearer pixels do.
func TestScatterMargin(t *testing.T) {
	const h, w = 100, 104
	s := &Scatter{}
	require.Zero(t, s.Margin()%s.Stride())
	img := testImage(h, w, false)
	whole := channels(t, s, img)
	cut := func(top, left, height, width int) *naive.Array {
		return channels(t, s, each(height, width, func(c, y, x int) float32 { return at(img, c, top+y, left+x) }))
	}
	const top, left, height, width = 12, 16, 80, 84
	m := s.Margin() / 4
	part := cut(top, left, height, width)
	var got, want []float64
	outside := 0
	for c := range s.channels() {
		for i := m; i < height/4-m; i++ {
			for j := m; j < width/4-m; j++ {
				got = append(got, part.At(0, c, i, j))
				want = append(want, whole.At(0, c, i+top/4, j+left/4))
			}
		}
		if math.Abs(part.At(0, c, m-1, m)-whole.At(0, c, m-1+top/4, m+left/4)) > 1e-12 {
			outside++
		}
	}
	compare.Require(t, "features of a window", got, want, sameTolerance)
	require.Positive(t, outside, "a smaller margin would do")
	g, err := s.build(h, w, false)
	require.NoError(t, err)
	radius, ok := g.Margin()
	require.True(t, ok)
	require.LessOrEqual(t, s.Margin(), (radius+3)/4*4)
}

func TestScatterGreyModelSeesLuminanceOnly(t *testing.T) {
	s := &Scatter{grey: true}
	img := testImage(24, 28, false)
	lum := each(24, 28, func(_, y, x int) float32 {
		return 0.299*at(img, 0, y, x) + 0.587*at(img, 1, y, x) + 0.114*at(img, 2, y, x)
	})
	compare.Require(t, "features", channels(t, s, img).Data, channels(t, s, lum).Data, filterTolerance)

	// Twice the light makes no difference; to a colour model it does.
	dim := each(24, 28, func(c, y, x int) float32 { return at(lum, c, y, x) / 2 })
	compare.Require(t, "dimmed", channels(t, s, dim).Data, channels(t, s, lum).Data, filterTolerance)
	require.Equal(t, Affine{Scale: [3]float32{1, 1, 1}}, (&Scatter{}).Normalize(dim))
}

func TestScatterNormalizeScalesTheMean(t *testing.T) {
	img := each(20, 20, func(c, y, x int) float32 { return []float32{0.5, 0.25, 1}[c] })
	a := (&Scatter{grey: true}).Normalize(img)
	k := 0.4 / (0.299*0.5 + 0.587*0.25 + 0.114)
	compare.Require(t, "scale", a.Scale[:], []float64{k, k, k}, compare.Tolerance{Rel: 1e-6}) // float32
	require.Zero(t, a.Shift)
	black := (&Scatter{grey: true}).Normalize(nd.New(3, 20, 20))
	compare.Require(t, "black", black.Scale[:], []float64{102, 102, 102}, compare.Tolerance{Rel: 1e-6}) // float32
}

func TestScatterFitLearnsPrincipalComponents(t *testing.T) {
	list := []*tensor.Dense{testImage(24, 28, false), testImage(32, 20, false), testImage(24, 24, true)}
	s := fit(t, list...)
	require.False(t, s.Grey())
	require.Equal(t, 48, s.Features())
	n, c := 0.0, s.channels()
	mean, square := make([]float64, c), make([]float64, c)
	for _, img := range list {
		f := channels(t, s, img)
		p := len(f.Data) / c
		n += float64(p)
		for i, v := range f.Data {
			mean[i/p] += v
			square[i/p] += v * v
		}
	}
	deviation := make([]float64, c)
	for i := range mean {
		mean[i] /= n
		deviation[i] = math.Sqrt(square[i]/n - mean[i]*mean[i])
	}
	compare.Require(t, "mean", s.mean, mean, momentTolerance)
	compare.Require(t, "deviation", s.deviation, deviation, momentTolerance)

	for i := range s.Features() {
		row, largest := s.projection[i*c:(i+1)*c], float32(0)
		for _, v := range row {
			if math.Abs(float64(v)) > math.Abs(float64(largest)) {
				largest = v
			}
		}
		require.Positive(t, largest)
		for j := range s.Features() {
			dot := 0.0
			for k, v := range row {
				dot += float64(v) * float64(s.projection[j*c+k])
			}
			want := 0.0
			if i == j {
				want = 1
			}
			require.InDelta(t, want, dot, 1e-6)
		}
	}

	// Over the training images, the features have mean zero, no correlation, falling variances, and most of the 60.
	d := s.Features()
	sum, cov := make([]float64, d), make([]float64, d*d)
	for _, img := range list {
		f := features(t, s, img)
		p := len(f.Data) / d
		for i := range d {
			for k := range p {
				sum[i] += f.Data[i*p+k] / n
				for j := range d {
					cov[i*d+j] += f.Data[i*p+k] * f.Data[j*p+k] / n
				}
			}
		}
	}
	compare.Require(t, "mean of the features", sum, make([]float64, d), roundedTolerance)
	total := 0.0
	for i := range d {
		total += cov[i*d+i]
		if i > 0 {
			require.LessOrEqual(t, cov[i*d+i], cov[(i-1)*d+i-1]+roundedTolerance.Abs)
		}
		for j := range i {
			require.InDelta(t, 0, cov[i*d+j], roundedTolerance.Abs)
		}
	}
	require.InDelta(t, float64(c), total, 0.05*float64(c))
	require.Less(t, total, float64(c)+roundedTolerance.Abs)
}

func TestScatterFitDecidesOnColour(t *testing.T) {
	grey := testImage(24, 24, true)
	require.True(t, fit(t, grey).Grey())
	require.Equal(t, 56, fit(t, grey).channels())
	for channel := range 3 {
		almost := testImage(24, 24, true)
		nd.Data(almost)[channel*24*24+5] += 1.0 / 255
		require.False(t, fit(t, grey, almost).Grey())
		require.Equal(t, 60, fit(t, almost).channels())
	}
}

func TestScatterFitKeepsFewNetworks(t *testing.T) {
	var list []*tensor.Dense
	for _, h := range []int{20, 24, 28, 20, 32, 36, 20, 24} { // 24 is the one dropped, and compiled again
		list = append(list, testImage(h, 20, true))
	}
	o := &oracle{}
	require.NoError(t, NewScatter().Fit(context.Background(), o, images(list...), 0))
	require.Equal(t, 6, o.compiled)
	require.Zero(t, o.open)
}

func TestScatterFitErrors(t *testing.T) {
	ctx := context.Background()
	failure := errors.New("disk on fire")
	for name, c := range map[string]struct {
		imgs Images
		want string
	}{
		"no images":        {images(), "no training images"},
		"one channel":      {images(nd.New(1, 24, 24)), "image has shape"},
		"too small":        {images(testImage(16, 24, true)), "16 x 24 pixels"},
		"off the stride":   {images(testImage(24, 26, true)), "24 x 26 pixels"},
		"not finite":       {images(each(24, 24, func(c, y, x int) float32 { return float32(math.NaN()) })), "not finite"},
		"source's failure": {func(context.Context, func(*tensor.Dense) error) error { return failure }, "disk on fire"},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewScatter()
			require.ErrorContains(t, s.Fit(ctx, &oracle{}, c.imgs, 0), c.want)
			require.Zero(t, s.Features())
		})
	}
}

func TestScatterGraphErrors(t *testing.T) {
	_, err := NewScatter().Graph(64, 64)
	require.ErrorContains(t, err, "not fitted")
	require.ErrorContains(t, NewScatter().Save(artifact.NewWriter()), "not fitted")
	s := fit(t, testImage(24, 24, true))
	for _, size := range [][2]int{{s.MinSide() - 4, 64}, {64, s.MinSide() - 4}, {62, 64}, {64, 65}, {0, 0}, {-4, 64}} {
		_, err := s.Graph(size[0], size[1])
		require.ErrorContains(t, err, "multiples of 4 and at least 20")
	}
	g, err := s.Graph(s.MinSide(), s.MinSide())
	require.NoError(t, err)
	shapes, err := g.Infer()
	require.NoError(t, err)
	require.Equal(t, []int{-1, 48, 5, 5}, []int(shapes[g.Outputs[0]]))
}

// A flat image has no texture at all; no logarithm or root may mind.
func TestScatterOfFlatImages(t *testing.T) {
	for _, grey := range []bool{true, false} {
		for _, v := range []float32{0, 0.4, 1, 50} {
			f := channels(t, &Scatter{grey: grey}, each(20, 24, func(c, y, x int) float32 { return v }))
			for _, v := range f.Data {
				require.False(t, math.IsNaN(v) || math.IsInf(v, 0))
			}
		}
	}
}

func TestScatterRoundTrip(t *testing.T) {
	for _, grey := range []bool{true, false} {
		s := fit(t, testImage(24, 28, grey), testImage(28, 24, grey))
		data := save(t, s)
		b, err := Load(open(t, data))
		require.NoError(t, err)
		require.Equal(t, "scatter", b.Name())
		require.Equal(t, data, save(t, b))
		img := testImage(20, 24, false)
		require.Equal(t, features(t, s, img).Data, features(t, b, img).Data)
	}
}

func save(t testing.TB, b Backbone) []byte {
	t.Helper()
	w := artifact.NewWriter()
	require.NoError(t, b.Save(w))
	return written(t, w)
}

func written(t testing.TB, w *artifact.Writer) []byte {
	t.Helper()
	var buf bytes.Buffer
	_, err := w.WriteTo(&buf)
	require.NoError(t, err)
	return buf.Bytes()
}

func open(t testing.TB, data []byte) *artifact.File {
	t.Helper()
	f, err := artifact.Read(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	return f
}

// Every section is checked on its own: a good artifact with one section changed is refused by that section's name.
func TestLoadRefusesBrokenSections(t *testing.T) {
	ones := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = 1
		}
		return x
	}
	load := func(change string, put func(w *artifact.Writer) error) error {
		w := artifact.NewWriter()
		for _, s := range []struct {
			name string
			put  func() error
		}{
			{"backbone/info", func() error { return w.JSON("backbone/info", info{"scatter"}) }},
			{"backbone/scatter", func() error { return w.JSON("backbone/scatter", scatterInfo{scatterRevision, true}) }},
			{"backbone/mean", func() error { return w.Float32("backbone/mean", ones(56), 56) }},
			{"backbone/deviation", func() error { return w.Float32("backbone/deviation", ones(56), 56) }},
			{"backbone/pca", func() error { return w.Float32("backbone/pca", ones(3*56), 3, 56) }},
		} {
			if s.name != change {
				require.NoError(t, s.put())
			}
		}
		if put != nil {
			require.NoError(t, put(w))
		}
		_, err := Load(open(t, written(t, w)))
		return err
	}
	require.NoError(t, load("", nil))
	for _, name := range []string{"backbone/info", "backbone/scatter", "backbone/mean", "backbone/deviation", "backbone/pca"} {
		require.ErrorContains(t, load(name, nil), name)
	}
	require.ErrorContains(t, load("backbone/info", func(w *artifact.Writer) error {
		return w.JSON("backbone/info", info{"vgg"})
	}), `unknown backbone "vgg"`)
	for name, put := range map[string]func(w *artifact.Writer) error{
		"backbone/mean": func(w *artifact.Writer) error { return w.Float32("backbone/mean", ones(60), 60) },
		"backbone/deviation": func(w *artifact.Writer) error {
			return w.Float32("backbone/deviation", append(ones(55), 0), 56)
		},
		"backbone/pca": func(w *artifact.Writer) error { return w.Float32("backbone/pca", ones(57*56), 57, 56) },
	} {
		require.ErrorContains(t, load(name, put), name)
	}
	require.ErrorContains(t, load("backbone/pca", func(w *artifact.Writer) error {
		return w.Float32("backbone/pca", ones(3*60), 3, 60)
	}), "backbone/pca")
}
