package run

import (
	"math"
	"path/filepath"
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// texture is an image of side pixels, and a map of it with a defect in the middle.
func texture(side, channels int) (*imageio.Image, *tensor.Dense) {
	pix, m := nd.New(channels, side, side), nd.New(side, side)
	for i := range nd.Data(pix) {
		y, x := i/side%side, i%side
		noise := math.Mod(math.Sin(float64(i)*12.9898)*43758.5453, 1) / 30
		nd.Data(pix)[i] = float32(0.5 + 0.2*math.Sin(float64(x)/7)*math.Cos(float64(y)/11) + noise)
	}
	for i := range nd.Data(m) {
		y, x := float64(i/side-side/2), float64(i%side-side/2)
		nd.Data(m)[i] = float32(4*math.Exp(-(x*x+y*y)/float64(side)) + 0.3*math.Sin(x/5)*math.Sin(y/9))
	}
	return &imageio.Image{Pix: pix, Depth: 8}, m
}

// BenchmarkOutputs writes the files of one image of 400 pixels a side.
func BenchmarkOutputs(b *testing.B) {
	for name, set := range map[string]func(*outputs){
		"maps":     func(o *outputs) { o.maps = true },
		"masks":    func(o *outputs) { o.masks = true },
		"overlays": func(o *outputs) { o.overlays = true },
		"all":      func(o *outputs) { o.maps, o.masks, o.overlays = true, true, true },
	} {
		b.Run(name, func(b *testing.B) {
			o := outputs{dir: b.TempDir(), kind: refine.Base}
			set(&o)
			im, m := texture(400, 3)
			for b.Loop() {
				_, err := o.write(&engine.Result{
					Item: dataset.Item{Path: "x.png", ID: "x.png"}, Image: im, Anomalous: true,
					Maps: map[refine.Kind]*tensor.Dense{refine.Base: m}, PixelThreshold: map[refine.Kind]float64{refine.Base: 1},
				})
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkRun scores 40 images of 256 pixels a side with all outputs: with each written before the engine goes on, and beside it.
func BenchmarkRun(b *testing.B) {
	m, err := engine.Load(filepath.Join("..", "testdata", "r4", "padim.f2pad"))
	require.NoError(b, err)
	e, err := engine.New(m, engine.Options{Maps: []refine.Kind{refine.Base}, Fingerprints: true})
	require.NoError(b, err)
	defer e.Close()
	im, _ := texture(256, 3)
	path := filepath.Join(b.TempDir(), "a.png")
	require.NoError(b, imageio.WritePNG(path, im.RGBA()))
	items := inMemory(40)
	for i := range items {
		items[i] = dataset.Item{Path: path, ID: items[i].ID}
	}
	var want map[string]string
	for _, c := range []struct {
		name string
		most budget
	}{{"one after the other", budget{1, 1}}, {"beside", budget{}}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				o := everything(b.TempDir(), nil)
				o.Kind = refine.Base
				j, err := openJournal(o.Dir, o.info(e), false, false, func(string) {})
				require.NoError(b, err)
				s := &scoring{tell: teller(nil), journal: j, most: c.most, out: outputs{
					dir: o.Dir, kind: o.Kind, maps: true, masks: true, overlays: true, claim: j.claim,
				}}
				require.NoError(b, s.score(b.Context(), e, feedOf(items).Items))
				require.NoError(b, j.finish(nil))
				require.NoError(b, j.close())
				b.StopTimer()
				got := filesBelow(b, o.Dir)
				delete(got, ResultsFile)
				if want == nil {
					want = got
				}
				require.Equal(b, want, got)
				b.StartTimer()
			}
			b.ReportMetric(float64(len(items))*float64(b.N)/b.Elapsed().Seconds(), "images/s")
		})
	}
}
