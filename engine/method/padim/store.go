package padim

import (
	"fmt"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/method/internal/cholesky"
)

// revision is that of the section "method/info" and its Options. A field that comes, goes or means something else makes it
// one more, and Load then says what the older revisions mean by it.
const revision = 1

// stored is the section "method/info" of a model file.
type stored struct {
	Revision int     `json:"revision"`
	Method   string  `json:"method"`
	Options  Options `json:"options"`
	Layers   []int   `json:"layers"`
	Grid     [2]int  `json:"grid"`
}

// maxExtent bounds stored sizes so that their products cannot overflow.
const maxExtent = 1 << 15

// Save writes method/info (JSON), method/channels [K], method/mean [h*w,K] and method/factor [h*w,K(K+1)/2].
func (m *Model) Save(w *artifact.Writer) error {
	if err := w.JSON("method/info", stored{revision, name, m.opts, m.widths, [2]int{m.h, m.w}}); err != nil {
		return err
	}
	channels := make([]int32, len(m.channels))
	for i, c := range m.channels {
		channels[i] = int32(c)
	}
	if err := w.Int32("method/channels", channels); err != nil {
		return err
	}
	k := len(m.channels)
	if err := w.Float32("method/mean", m.mean, m.h*m.w, k); err != nil {
		return err
	}
	return w.Float32("method/factor", m.factor, m.h*m.w, cholesky.Packed(k))
}

// Load reads what Save wrote. Errors name the section that is wrong.
func Load(f *artifact.File) (*Model, error) {
	var info stored
	if err := f.Options("method/info", revision, func(int) any { return &info }); err != nil {
		return nil, err
	}
	m := &Model{opts: info.Options, widths: info.Layers, h: info.Grid[0], w: info.Grid[1]}
	width, err := info.check()
	if err != nil {
		return nil, fmt.Errorf("section \"method/info\": padim: %w", err)
	}
	channels, _, err := f.Int32("method/channels", -1)
	if err != nil {
		return nil, err
	}
	for _, c := range channels {
		m.channels = append(m.channels, int(c))
	}
	if err := checkChannels(m.channels, width); err != nil {
		return nil, fmt.Errorf("section \"method/channels\": padim: %w", err)
	}
	k, states := len(channels), m.h*m.w
	if m.mean, _, err = f.Float32("method/mean", states, k); err != nil {
		return nil, err
	}
	if m.factor, _, err = f.Float32("method/factor", states, cholesky.Packed(k)); err != nil {
		return nil, err
	}
	for v := range states {
		for i := range k {
			if d := m.factorOf(v)[cholesky.Packed(i+1)-1]; !(d > 0) {
				return nil, fmt.Errorf("section \"method/factor\": padim: diagonal value %g at location %d, want more than 0", d, v)
			}
		}
	}
	return m, nil
}

// check returns the width of the concatenated layers.
func (s *stored) check() (int, error) {
	if s.Method != name {
		return 0, fmt.Errorf("state of method %q", s.Method)
	}
	if err := s.Options.check(); err != nil {
		return 0, err
	}
	width := 0
	for _, c := range s.Layers {
		if c < 1 || c > maxExtent {
			return 0, fmt.Errorf("layer of %d channels, at most %d are allowed", c, maxExtent)
		}
		width += c
	}
	h, w := s.Grid[0], s.Grid[1]
	if h < 1 || w < 1 || h > maxExtent || w > maxExtent || s.Options.Native && h*w != 1 {
		return 0, fmt.Errorf("grid of %dx%d Gaussians", h, w)
	}
	return width, nil
}
