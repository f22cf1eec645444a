package engine

import (
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// copied writes n files with the image at path, each compressed in another way, so that no two files are the same.
func copied(t *testing.T, dir, path string, n int, change func(i, pixel int, v uint8) uint8) (items []dataset.Item) {
	t.Helper()
	im, err := imageio.Decode(path, imageio.Limits{})
	require.NoError(t, err)
	h, w := im.Size()
	for i := range n {
		out := image.NewNRGBA(image.Rect(0, 0, w, h))
		for p := range h * w {
			for c := range 3 {
				out.Pix[4*p+c] = change(i, p, uint8(255*nd.Data(im.RGB())[c*h*w+p]+0.5))
			}
			out.Pix[4*p+3] = 255
		}
		name := fmt.Sprintf("copy%02d.png", i)
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		enc := png.Encoder{CompressionLevel: []png.CompressionLevel{png.NoCompression, png.BestSpeed, png.DefaultCompression}[i%3]}
		require.NoError(t, enc.Encode(f, out))
		require.NoError(t, f.Close())
		items = append(items, dataset.Item{Path: filepath.Join(dir, name), ID: name})
	}
	return items
}

func same(_, _ int, v uint8) uint8 { return v }

// A copy that is held out would be an image that the model knows, with scores near 0 and thresholds to match.
func TestCopiesAreLeftOutOfAFit(t *testing.T) {
	p := fixture(t)
	train := p.data.Train
	items := append(copied(t, t.TempDir(), train[3].Path, 3, same), train...)
	var said []string
	o := FitOptions{Method: "patchcore", Seed: 5, Paintings: fewPaintings, Options: Options{Notice: func(text string) { said = append(said, text) }}}
	m, err := Fit(t.Context(), items, o, nil)
	require.NoError(t, err)
	require.Equal(t, len(train), m.Info.Train+m.Info.HeldOut)
	require.Equal(t, []string{fmt.Sprintf("3 of 15 images are copies of others and left out: %s is the same image as %s", items[1].Path, items[0].Path)}, said)
	require.Greater(t, m.Info.Calibration.ImageThreshold, p.model(t, "patchcore native").Info.Calibration.ImageThreshold/2)

	_, err = Fit(t.Context(), append(copied(t, t.TempDir(), train[3].Path, 9, same), train[:2]...), o, nil)
	require.ErrorIs(t, err, ErrFewImages)
}

func TestNearlyEqualImagesAreToldOf(t *testing.T) {
	p := fixture(t)
	faint := func(i, pixel int, v uint8) uint8 {
		if pixel%(7+i) == 0 {
			return v ^ 1
		}
		return v
	}
	var said []string
	o := FitOptions{Method: "patchcore", Paintings: fewPaintings, Options: Options{Notice: func(text string) { said = append(said, text) }}}
	_, err := Fit(t.Context(), copied(t, t.TempDir(), p.data.Train[0].Path, 5, faint), o, nil)
	require.NoError(t, err)
	require.Len(t, said, 1)
	require.Contains(t, said[0], "2 of 2 images held out are nearly the same as ones that the model is fitted on, first ")

	said = nil
	require.Empty(t, nearlySame(taken(t, p.data.Train[1:]), taken(t, p.data.Train[:1])), "images of one texture are no copies")
	noisy := copied(t, t.TempDir(), p.data.Train[0].Path, 2, func(i, pixel int, v uint8) uint8 { return v - v%8 + uint8(pixel*(i+3)%8) })
	require.Empty(t, nearlySame(taken(t, noisy[:1]), taken(t, noisy[1:])), "the camera's noise tells photographs of one thing apart")
}

func taken(t *testing.T, items []dataset.Item) (all []intake) {
	t.Helper()
	for _, it := range items {
		im, err := imageio.Decode(it.Path, imageio.Limits{})
		require.NoError(t, err)
		in, err := take(it, nil, im.RGB(), lookOf(im))
		require.NoError(t, err)
		all = append(all, in)
	}
	return all
}
