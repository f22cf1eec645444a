package engine

import (
	"image"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// sixteen writes images of 8 bits anew with 16: every sample factor times as large.
func sixteen(t *testing.T, items []dataset.Item, factor int) []dataset.Item {
	t.Helper()
	dir, out := t.TempDir(), slices.Clone(items)
	for i, it := range items {
		im, err := imageio.Decode(it.Path, imageio.Limits{})
		require.NoError(t, err)
		h, w := im.Size()
		pix, wide := nd.Data(im.RGB()), image.NewRGBA64(image.Rect(0, 0, w, h))
		sample := func(at int) uint16 { return uint16(int(pix[at]*255+0.5) * factor) }
		for p := range h * w {
			wide.SetRGBA64(p%w, p/w, color.RGBA64{sample(p), sample(h*w + p), sample(2*h*w + p), 65535})
		}
		out[i].Path = filepath.Join(dir, filepath.Base(filepath.Dir(it.Path))+"-"+filepath.Base(it.Path))
		require.NoError(t, imageio.WritePNG(out[i].Path, wide))
	}
	return out
}

// Images of a camera of 12 bits are what the same are in 8: to the network, in the model's memory and in pictures.
func TestTwelveBitsInSixteenHaveTheFullRange(t *testing.T) {
	p := fixture(t)
	narrow := p.data.Train
	o := FitOptions{Method: "padim", Size: Size{Px: 64}, Seed: 5, Paintings: 4, WhiteLevel: 255 * 16}
	plain, err := Fit(t.Context(), narrow, o, nil)
	require.NoError(t, err)
	require.Equal(t, 255*16, plain.Info.WhiteLevel)
	require.Zero(t, plain.Info.Inputs.Peak16)
	wide := sixteen(t, narrow, 16)
	given, err := Fit(t.Context(), wide, o, nil)
	require.NoError(t, err)
	o.WhiteLevel = 0
	found, err := Fit(t.Context(), wide, o, nil)
	require.NoError(t, err)
	require.Equal(t, 4095, found.Info.WhiteLevel)
	require.Equal(t, found.Info.Inputs, given.Info.Inputs)
	require.Positive(t, found.Info.Inputs.Peak16)
	require.Zero(t, found.Info.Inputs.Peak16%16)

	for _, m := range []*Model{given, found} {
		require.Len(t, m.memory, len(plain.memory))
		was, _ := plain.memory[0].Planes()
		is, _ := m.memory[0].Planes()
		for i := range was {
			require.InDelta(t, was[i], is[i], 1, "a remembered image in 8 bits")
		}
		require.InEpsilon(t, plain.Info.Calibration.ImageThreshold, m.Info.Calibration.ImageThreshold, 0.1)
	}

	want, got := scored(t, plain, Options{}, p.few), scored(t, given, Options{}, sixteen(t, p.few, 16))
	for id, r := range got {
		require.NoError(t, r.Err)
		compare.Require(t, id, nd.Data(r.Image.Pix), nd.Data(want[id].Image.Pix), compare.Tolerance{Abs: 1e-6})
		compare.Require(t, id, []float64{r.Score}, []float64{want[id].Score}, compare.Tolerance{Rel: 1e-3})
	}

	// What is calibrated on, and what is shown after an evaluation, is seen in the same way.
	_, err = Calibrate(t.Context(), found, wide[:4], CalibrateOptions{}, nil)
	require.ErrorIs(t, err, ErrSeen)
	again, err := Calibrate(t.Context(), found, heldOut(t, wide, 5), CalibrateOptions{Paintings: 4}, nil)
	require.NoError(t, err)
	require.Equal(t, found.Info.Calibration.PixelThreshold, again.Info.Calibration.PixelThreshold)
	few := sixteen(t, p.few[:1], 16)
	_, err = Evaluate(t.Context(), given, few, EvalOptions{TempDir: t.TempDir(), Visit: func(c *Case) error {
		im, err := c.Open()
		require.NoError(t, err)
		require.Equal(t, nd.Data(got[few[0].ID].Image.Pix), nd.Data(im.Pix))
		return nil
	}})
	require.NoError(t, err)

	// What is brighter is clipped, and told of.
	var told []Difference
	bright := sixteen(t, p.few[:2], 64)
	for _, r := range scored(t, found, Options{Unlike: func(_ dataset.Item, d Difference) { told = append(told, d) }}, bright) {
		require.EqualValues(t, 1, slices.Max(nd.Data(r.Image.Pix)))
		require.Contains(t, told, Difference{WhiteTrait, "has values up to " + strconv.Itoa(r.Image.Peak) + "; what is above the white level, 4095, is taken as that"})
	}
	require.Len(t, told, 2)
}

func heldOut(t *testing.T, items []dataset.Item, seed uint64) []dataset.Item {
	t.Helper()
	_, held, err := split(items, 0.2, seed)
	require.NoError(t, err)
	return held
}

func TestTheWhiteLevelHoldsTheImages(t *testing.T) {
	of := func(looks ...look) (all []intake) {
		for _, l := range looks {
			all = append(all, intake{look: l})
		}
		return all
	}
	for peak, want := range map[int]int{0: 255, 255: 255, 256: 511, 1000: 1023, 4095: 4095, 4096: 8191, 40000: 65535, 65535: 65535} {
		require.Equal(t, want, whiteOf(of(look{depth: 16, peak: peak})), "%d", peak)
		require.Equal(t, want, whiteOf(of(look{depth: 8}, look{depth: 16, peak: peak}, look{depth: 16, peak: peak / 2})), "%d", peak)
	}
	require.Equal(t, 65535, whiteOf(of(look{depth: 8}, look{depth: 8})))
	for _, level := range []int{-1, 254, 65536} {
		_, err := Fit(t.Context(), nil, FitOptions{Method: "padim", WhiteLevel: level}, nil)
		require.ErrorContains(t, err, "white level "+strconv.Itoa(level)+", want 255 to 65535")
	}
}

// Models from before there was a white level take 16 bits as they did.
func TestOldModelsAreWhiteAtTheMost(t *testing.T) {
	for _, r := range []string{"r1", "r2", "r3"} {
		m, err := Load(filepath.Join("testdata", r, "padim.f2pad"))
		require.NoError(t, err)
		require.Equal(t, imageio.MaxWhite, m.Info.WhiteLevel)
		path := filepath.Join(t.TempDir(), "again")
		_, err = m.Save(path)
		require.NoError(t, err)
		again, err := Load(path)
		require.NoError(t, err)
		require.Equal(t, imageio.MaxWhite, again.Info.WhiteLevel)
		require.NoError(t, os.Remove(path))
	}
}
