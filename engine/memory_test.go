package engine

import (
	"testing"

	"f2pad.example/engine/place"

	"github.com/stretchr/testify/require"
)

// With less memory an engine takes fewer images at once, never none, and no window is smaller than what an image's cells depend on; what it finds does not change.
func TestMemoryIsSharedOut(t *testing.T) {
	p := fixture(t)
	m := p.model(t, "padim 128")
	want := scored(t, m, Options{Maps: Kinds()}, p.few)
	h, w := m.Info.Size.Padded(m.backbone)
	var last Memory
	for i, mib := range []int64{0, 1 << 20, 400, 300, 160, 1} {
		var s Memory
		o := Options{Maps: Kinds(), Memory: mib << 20, Shrink: i%2 == 0, Planned: func(is Memory) { s = is }}
		requireSame(t, want, scored(t, m, o, p.few))
		require.Equal(t, mib<<20, s.Ceiling)
		require.GreaterOrEqual(t, s.Window, h*w)
		require.GreaterOrEqual(t, min(s.Batch, s.Pixels), 1)
		require.Positive(t, s.Decode)
		if i < 2 {
			require.Equal(t, 32, s.Batch, "as many as have the pixels of 8 images of 256 px")
			require.Equal(t, decodeRoom(), s.Decode)
		} else {
			require.LessOrEqual(t, s.Batch, last.Batch)
			require.LessOrEqual(t, s.Pixels, last.Pixels)
			if i%2 == 1 {
				require.Equal(t, defaultMaxPixels, s.Window, "they may not shrink")
			}
			require.LessOrEqual(t, s.Decode, last.Decode)
		}
		last = s
	}
	require.Equal(t, 1, last.Batch)
	require.EqualValues(t, 1<<20, last.Decode)
	require.NotContains(t, last.String(), "no ceiling")
	require.Equal(t, "no ceiling", Memory{}.String())
}

// Small images are taken many at a time, large ones and those of any size as before.
func TestBatchesAreByTheImagesSize(t *testing.T) {
	p := fixture(t)
	m := *p.model(t, "padim 128")
	for px, want := range map[int]int{32: 64, 128: 32, 200: 13, 256: 8, 512: 8} {
		m.Info.Size.Px = px
		s, err := Options{MaxPixels: defaultMaxPixels}.share(&m)
		require.NoError(t, err)
		require.Equal(t, want, s.Batch, "%d px", px)
	}
	s, err := Options{}.share(p.model(t, "padim native"))
	require.NoError(t, err)
	require.Equal(t, defaultBatch, s.Batch)
	s, err = Options{Batch: 3}.share(&m)
	require.NoError(t, err)
	require.Equal(t, 3, s.Batch)
}

// Each place has batches of its own, as large as one's; what all take together is planned within the ceiling.
func TestMemoryOfSeveralPlaces(t *testing.T) {
	p := fixture(t)
	m := p.model(t, "padim 128")
	three := []place.Place{place.NewHost(nil), place.NewHost(nil), place.NewHost(nil)}
	for _, mib := range []int64{0, 400} {
		o := Options{MaxPixels: defaultMaxPixels, Memory: mib << 20, Shrink: true}
		one, err := o.share(m)
		require.NoError(t, err)
		o.Places = three
		s, err := o.share(m)
		require.NoError(t, err)
		require.Equal(t, []int{1, 3}, []int{one.Places, s.Places})
		require.Equal(t, one.Window, s.Window, "or results would depend on how many there are")
		if mib == 0 {
			require.Equal(t, one.Batch, s.Batch)
			require.Equal(t, 3*one.Pixels, s.Pixels)
			continue
		}
		require.Equal(t, one.Pixels, s.Pixels)
		require.Equal(t, one.Pixels/3/(128*128), s.Batch)
		require.Contains(t, s.String(), " in each of 3 places")
		require.NotContains(t, one.String(), "places")
	}
}
