package cflow

import (
	"errors"
	"fmt"
	"math"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/nd"
)

// revision is that of the section "method/info" and its Options. A field that comes, goes or means something else makes it
// one more, and Load then says what the older revisions mean by it.
const revision = 1

// stored is the section "method/info" of a model file.
type stored struct {
	Revision int           `json:"revision"`
	Method   string        `json:"method"`
	Options  Options       `json:"options"`
	Layers   []storedLayer `json:"layers"`
	Total    float64       `json:"total"` // log M
}

type storedLayer struct {
	Width   int     `json:"width"`
	Grid    [2]int  `json:"grid"`    // 0 where there is no condition
	Largest float64 `json:"largest"` // log p / D in the training images
	Average float64 `json:"average"`
}

func section(l int, part string) string { return fmt.Sprintf("method/layer%02d/%s", l, part) }

// Save writes method/info (JSON) and, for each layer, method/layerNN/parameters, mixes [blocks,D,D] and, if features are
// whitened, mean [D] and whiten [D,D].
func (m *Model) Save(w *artifact.Writer) error {
	info := stored{Revision: revision, Method: name, Options: m.opts, Total: m.total}
	for _, l := range m.layers {
		info.Layers = append(info.Layers, storedLayer{l.d, [2]int{l.h, l.w}, l.largest, l.average})
	}
	errs := []error{w.JSON("method/info", info)}
	for i, l := range m.layers {
		errs = append(errs, w.Float32(section(i, "parameters"), l.theta), w.Float32(section(i, "mixes"), l.mixes, l.blocks, l.d, l.d))
		if m.opts.Whiten {
			errs = append(errs, w.Float32(section(i, "mean"), l.flow.mean), w.Float32(section(i, "whiten"), l.whiten, l.d, l.d))
		}
	}
	return errors.Join(errs...)
}

// Load reads what Save wrote. Errors name the section that is wrong.
func Load(f *artifact.File) (*Model, error) {
	var info stored
	if err := f.Options("method/info", revision, func(int) any { return &info }); err != nil {
		return nil, err
	}
	if err := info.check(); err != nil {
		return nil, fmt.Errorf("section \"method/info\": cflow: %w", err)
	}
	m := &Model{opts: info.Options, total: info.Total}
	for i, s := range info.Layers {
		l := newLayer(&m.opts, s.Width, s.Grid[0], s.Grid[1])
		l.largest, l.average = s.Largest, s.Average
		var err error
		if l.theta, _, err = f.Float32(section(i, "parameters"), l.size()); err != nil {
			return nil, err
		}
		if l.mixes, _, err = f.Float32(section(i, "mixes"), l.blocks, l.d, l.d); err != nil {
			return nil, err
		}
		if m.opts.Whiten {
			if l.flow.mean, _, err = f.Float32(section(i, "mean"), l.d); err != nil {
				return nil, err
			}
			if l.whiten, _, err = f.Float32(section(i, "whiten"), l.d, l.d); err != nil {
				return nil, err
			}
			for k := range l.d {
				if v := l.whiten[k*l.d+k]; !(v > 0) {
					return nil, fmt.Errorf("section %q: cflow: diagonal value %g, want more than 0", section(i, "whiten"), v)
				}
			}
		}
		l.encoding = newEncoding(l.h, l.w, l.flow.c)
		m.layers = append(m.layers, l)
	}
	return m, nil
}

func newLayer(o *Options, width, h, w int) *layer {
	l := &layer{flow: flow{d: width, c: o.Condition, blocks: o.Blocks, clamp: o.Clamp}, h: h, w: w}
	if o.Native {
		l.flow.c, l.h, l.w = 0, 0, 0
	}
	return l
}

// check refuses what Fit never says; the error begins with the field.
func (s *stored) check() error {
	if s.Method != name {
		return fmt.Errorf("method is %q, want %q", s.Method, name)
	}
	if err := s.Options.check(); err != nil {
		return fmt.Errorf("options.%w", err)
	}
	if n := len(s.Layers); n < 1 || n > maxLayers {
		return fmt.Errorf("layers are %d, want 1 to %d", n, maxLayers)
	}
	if math.Abs(s.Total) > maxLog {
		return fmt.Errorf("total is %g, want -%g to %g", s.Total, maxLog, maxLog)
	}
	encodings := 0
	for i, l := range s.Layers {
		least, most := 1, maxGrid
		if s.Options.Native {
			least, most = 0, 0
		}
		h, w := l.Grid[0], l.Grid[1]
		switch {
		case l.Width < minWidth || l.Width > maxWidth:
			return fmt.Errorf("layers[%d].width is %d, want %d to %d", i, l.Width, minWidth, maxWidth)
		case min(h, w) < least || max(h, w) > most:
			return fmt.Errorf("layers[%d].grid is %dx%d, want %d to %d", i, h, w, least, most)
		case h > s.Layers[0].Grid[0] || w > s.Layers[0].Grid[1]:
			return fmt.Errorf("layers[%d].grid is %dx%d, finer than the first, %dx%d", i, h, w, s.Layers[0].Grid[0], s.Layers[0].Grid[1])
		case !(l.Largest > l.Average) || math.Abs(l.Largest) > maxLog || math.Abs(l.Average) > maxLog:
			return fmt.Errorf("layers[%d].largest is %g, want more than average, %g, and at most %g", i, l.Largest, l.Average, maxLog)
		}
		f := newLayer(&s.Options, l.Width, h, w)
		encodings += (h + w) * f.flow.c
		if encodings > maxEncodings || s.Options.Blocks*nd.Size(f.hidden(), f.inner()) > maxParameters {
			return fmt.Errorf("layers[%d].grid of %dx%d cells with options.condition %d, or layers[%d].width %d: they take too much memory",
				i, h, w, f.flow.c, i, l.Width)
		}
	}
	return nil
}

// Bounds of what a model file may say.
const (
	minWidth      = 2 // a coupling needs two values
	maxLog        = 1e9
	maxEncodings  = 1 << 23
	maxParameters = 1 << 28
)
