package engine

import (
	"testing"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

func picture(c, h, w, depth int) *imageio.Image {
	return &imageio.Image{Pix: nd.New(c, h, w), Depth: depth}
}

func TestUnlikeSaysWhatAnImageDiffersIn(t *testing.T) {
	var m Model
	require.Empty(t, m.Unlike(picture(3, 9, 9, 16)), "of an old model nothing is known")
	for _, im := range []*imageio.Image{picture(3, 20, 30, 8), picture(3, 24, 28, 8)} {
		m.Info.Inputs.add(lookOf(im))
	}
	require.Equal(t, Inputs{Width: [2]int{28, 30}, Height: [2]int{20, 24}, Colour: 2, Bits8: 2}, m.Info.Inputs)
	require.Empty(t, m.Unlike(picture(3, 22, 29, 8)), "between the least and the most")
	for _, side := range [][2]int{{19, 29}, {25, 29}, {22, 27}, {22, 31}} {
		require.Equal(t, []Trait{SizeTrait}, traits(m.Unlike(picture(3, side[0], side[1], 8))), "%v", side)
	}
	require.Equal(t, "is 31x22 px; the model learned from images of 28x20 px to 30x24 px", m.Unlike(picture(3, 22, 31, 8))[0].Text)
	require.Equal(t, []Trait{ColourTrait, DepthTrait}, traits(m.Unlike(picture(1, 22, 29, 16))))

	m.Info.Inputs = Inputs{}
	m.Info.Inputs.add(lookOf(picture(1, 20, 30, 16)))
	require.Equal(t, []Difference{{ColourTrait, "is coloured; the model learned from grey images"},
		{DepthTrait, "is of 8 bits per sample; the model learned from images of 16"}}, m.Unlike(picture(3, 20, 30, 8)))
	m.Info.Inputs.add(lookOf(picture(3, 20, 30, 8)))
	require.Empty(t, m.Unlike(picture(1, 20, 30, 8)), "of both kinds, whichever go together")
	require.Equal(t, "is 31x20 px; the model learned from images of 30x20 px", m.Unlike(picture(1, 20, 31, 8))[0].Text)
}

func traits(all []Difference) (names []Trait) {
	for _, d := range all {
		names = append(names, d.Trait)
	}
	return names
}

func TestFitRecordsWhatItsImagesAreLike(t *testing.T) {
	in := fixture(t).model(t, "padim 128").Info.Inputs
	require.Equal(t, [2]int{96, 96}, in.Width)
	require.Equal(t, [2]int{96, 96}, in.Height)
	require.Equal(t, 12, in.Grey+in.Colour)
	require.Equal(t, 12, in.Bits8)
}
