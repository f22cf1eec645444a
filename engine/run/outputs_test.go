package run

import (
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func TestMaskNeverContradictsANormalVerdict(t *testing.T) {
	m := nd.New(8, 8)
	nd.Data(m)[20] = 9
	o := outputs{dir: t.TempDir(), kind: refine.Base, masks: true, overlays: true}
	r := &engine.Result{
		Item: dataset.Item{Path: "x.png", ID: "x.png"}, Image: &imageio.Image{Pix: nd.New(1, 8, 8), Depth: 8},
		Maps: map[refine.Kind]*tensor.Dense{refine.Base: m}, PixelThreshold: map[refine.Kind]float64{refine.Base: 5},
	}
	for _, anomalous := range []bool{false, true} {
		r.Anomalous = anomalous
		line, err := o.write(r)
		require.NoError(t, err)
		mask, err := imageio.ReadMask(filepath.Join(o.dir, *line.Mask), imageio.Limits{})
		require.NoError(t, err)
		require.Equal(t, anomalous, slices.Contains(nd.Data(mask), 1))
	}
}

func TestMasksAreClosedFilledAndSifted(t *testing.T) {
	m := nd.New(8, 8)
	for _, p := range []int{9, 10, 11, 17, 19, 25, 26, 27, 46} { // a ring and a dot
		nd.Data(m)[p] = 9
	}
	o := outputs{dir: t.TempDir(), kind: refine.Base, masks: true, overlays: true, regions: region.Options{Fill: true, MinArea: 2}}
	r := &engine.Result{
		Item: dataset.Item{Path: "x.png", ID: "x.png"}, Image: &imageio.Image{Pix: nd.New(1, 8, 8), Depth: 8}, Anomalous: true,
		Maps: map[refine.Kind]*tensor.Dense{refine.Base: m}, PixelThreshold: map[refine.Kind]float64{refine.Base: 5},
	}
	line, err := o.write(r)
	require.NoError(t, err)
	require.Equal(t, []region.Region{{X: 1, Y: 1, Width: 3, Height: 3, Area: 9, Peak: 9, PeakX: 1, PeakY: 1, Mean: 8}}, line.Regions)
	mask, err := imageio.ReadMask(filepath.Join(o.dir, *line.Mask), imageio.Limits{})
	require.NoError(t, err)
	require.EqualValues(t, 1, nd.Data(mask)[18])
	require.Zero(t, nd.Data(mask)[46])
	over, err := imageio.Decode(filepath.Join(o.dir, *line.Overlay), imageio.Limits{})
	require.NoError(t, err)
	o.labels = true
	_, err = o.write(r)
	require.NoError(t, err)
	labelled, err := imageio.Decode(filepath.Join(o.dir, *line.Overlay), imageio.Limits{})
	require.NoError(t, err)
	require.NotEqual(t, nd.Data(over.Pix), nd.Data(labelled.Pix))
	cyan := func(p int) bool {
		return nd.Data(over.Pix)[p] == 0 && nd.Data(over.Pix)[64+p] == 1 && nd.Data(over.Pix)[128+p] == 1
	}
	require.True(t, cyan(9))
	require.False(t, cyan(46), "the outline is the mask's")
}
