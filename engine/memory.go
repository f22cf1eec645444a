package engine

import (
	"fmt"
	"runtime"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/nd"
)

// Memory is how an engine shares out what it may take (Options.Memory). Results do not depend on it, but for rounding where windows
// may be smaller (Options.Shrink).
type Memory struct {
	Ceiling int64 `json:"ceiling"` // bytes; 0: none was given
	Model   int64 `json:"model"`   // bytes of its file, which stay
	Least   int64 `json:"least"`   // bytes that one image takes as far as is known beforehand
	Places  int   `json:"places"`  // where images are computed
	Batch   int   `json:"batch"`   // images in work at once in each place, at most
	Pixels  int   `json:"pixels"`  // of images in work at once in all places; a larger one is alone
	Window  int   `json:"window"`  // pixels of all windows that the network runs on at once
	Decode  int64 `json:"decode"`  // bytes of images that are decoded ahead
}

// What an engine takes beside what it plans, and for each pixel of a frame in work: its planes, those of the refinement, and the
// image itself. Measured with scatter and EfficientNet-Lite0.
const (
	programBytes = 128 << 20
	frameBytes   = 300
	leastWindow  = 1 << 16
	widest       = 1 << 10 // px: margin of a window that may be smaller than an image
)

// share plans within o.Memory: a third for the network's gradients, which keep every value of a window, a third for batches, a
// sixth for images that are decoded ahead; a sixth is left.
func (o Options) share(m *Model) (Memory, error) {
	n := max(1, len(o.Places))
	s := Memory{Ceiling: o.Memory, Model: m.bytes, Places: n, Batch: o.Batch, Pixels: n * batchPixels, Window: o.MaxPixels, Decode: decodeRoom()}
	h, w := m.Info.Size.Padded(m.backbone)
	if s.Batch == 0 {
		s.Batch = defaultBatch
		if !m.Info.Size.Native() {
			s.Batch = min(max(s.Batch, defaultPixels/(h*w)), defaultMost)
		}
	}
	if o.Memory == 0 {
		return s, nil
	}
	values, err := valuesPerPixel(m.backbone, h, w)
	if err != nil {
		return s, err
	}
	const float = 4
	gradient := float * 2 * values * float64(runtime.GOMAXPROCS(0)+windowsAside)
	forward := frameBytes + float*values/2
	room := float64(max(0, o.Memory-s.Model-programBytes))
	s.Pixels = min(s.Pixels, max(1, int(room/3/forward)))
	least := s.Window
	if !m.Info.Size.Native() {
		least = h * w
		s.Batch = min(s.Batch, max(1, s.Pixels/n/(h*w)))
	}
	if margin := m.backbone.Margin(); margin < widest { // else windows take in most of an image each, again and again
		least = min(least, max(leastWindow, 16*margin*margin))
	}
	if o.Shrink {
		s.Window = min(s.Window, max(least, int(room/3/gradient)))
	}
	s.Decode = min(s.Decode, max(1<<20, int64(room/6)))
	return s, nil
}

// decodeRoom and featureRoom are what a fit gives to images that it looks at, and to the features that it keeps.
func (o Options) decodeRoom() int64  { return o.atMost(decodeRoom(), 6) }
func (o Options) featureRoom() int64 { return o.atMost(featureRoom, 4) }

// WriteRoom is how many bytes of results may wait to be written beside an engine: half of what it leaves of Memory, and 128 MiB at
// most.
func (o Options) WriteRoom() int64 { return o.atMost(1<<27, 12) }

func (o Options) atMost(bytes, share int64) int64 {
	if o.Memory == 0 {
		return bytes
	}
	return min(bytes, max(1<<20, o.Memory/share))
}

// windowsAside is how many graphs for the largest windows wait, in pixels, beside those at work; see sight.Network.
const windowsAside = 2

// valuesPerPixel is how many values the network computes for each pixel of an image.
func valuesPerPixel(bb backbone.Backbone, h, w int) (float64, error) {
	g, err := bb.Graph(h, w)
	if err != nil {
		return 0, err
	}
	shapes, err := g.Infer()
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, n := range g.Nodes {
		sum += nd.Size(shapes[n.Out][1:]...)
	}
	return float64(sum) / float64(h*w), nil
}

// String says the plan in a line.
func (s Memory) String() string {
	const mib = 1 << 20
	if s.Ceiling == 0 {
		return "no ceiling"
	}
	each := ""
	if s.Places > 1 {
		each = fmt.Sprintf(" in each of %d places", s.Places)
	}
	return fmt.Sprintf("%d MiB at most: %d for the model, batches of %d images%s or %.1f megapixels, windows of %.2f, %d MiB of images decoded ahead",
		s.Ceiling/mib, s.Model/mib, s.Batch, each, float64(s.Pixels)/1e6, float64(s.Window)/1e6, s.Decode/mib)
}
