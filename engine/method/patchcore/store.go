package patchcore

import (
	"errors"
	"fmt"

	"f2pad.example/engine/artifact"
)

// revision is that of the section "method/info" and its Options. A field that comes, goes or means something else makes it
// one more, and Load then says what the older revisions mean by it.
const revision = 1

// maxLayers bounds the layers of a model file.
const maxLayers = 64

// stored is the section "method/info" of a model file.
type stored struct {
	Revision int     `json:"revision"`
	Method   string  `json:"method"`
	Options  Options `json:"options"`
	Layers   []int   `json:"layers"`
}

// Save writes method/info (JSON) and method/bank [M,D], in the order in which the coreset was chosen.
func (m *Model) Save(w *artifact.Writer) error {
	if err := w.JSON("method/info", stored{revision, name, m.opts, m.embed.widths}); err != nil {
		return err
	}
	return w.Float32("method/bank", m.bank.rows, m.bank.size(), m.bank.d)
}

// Load reads what Save wrote and packs the bank for the search, which takes up to as much memory again. Errors name the section
// that is wrong.
func Load(f *artifact.File) (*Model, error) {
	var info stored
	if err := f.Options("method/info", revision, func(int) any { return &info }); err != nil {
		return nil, err
	}
	if err := info.check(); err != nil {
		return nil, fmt.Errorf("section \"method/info\": patchcore: %w", err)
	}
	m := &Model{opts: info.Options, embed: newEmbedding(info.Layers, info.Options.EmbedDim)}
	rows, _, err := f.Float32("method/bank", -1, m.embed.dim)
	if err != nil {
		return nil, err
	}
	m.bank = newBank(rows, m.embed.dim)
	return m, nil
}

func (s *stored) check() error {
	if s.Method != name {
		return fmt.Errorf("state of method %q", s.Method)
	}
	if err := s.Options.check(); err != nil {
		return err
	}
	if len(s.Layers) == 0 {
		return errors.New("no layers")
	}
	if len(s.Layers) > maxLayers {
		return fmt.Errorf("%d layers, at most %d layers are allowed", len(s.Layers), maxLayers)
	}
	for _, c := range s.Layers {
		if c < 1 || c > maxExtent {
			return fmt.Errorf("layer of %d channels, at most %d are allowed", c, maxExtent)
		}
	}
	return nil
}
