package scoring

import (
	"context"
	"fmt"
	"sync"

	"f2pad.example/cgo/ort"
	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/roi"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
)

// engines are those of the process. Beam makes and drops workers' functions as it likes; nothing else lives as long as what they share.
// An engine uses all cores, and is safe for concurrent use.
var engines sync.Map // of func() (*engine.Engine, error), by Computing.key

// engine returns the process' engine for the job, which is made on the first call.
func (c Computing) engine() (*engine.Engine, error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	made, _ := engines.LoadOrStore(key, sync.OnceValues(c.makeEngine))
	return made.(func() (*engine.Engine, error))()
}

func (c Computing) makeEngine() (*engine.Engine, error) {
	m, err := engine.LoadWith(c.Model, c.Backbone)
	if err != nil {
		return nil, err
	}
	if m.SHA256() != c.SHA256 {
		return nil, fmt.Errorf("%s: is another model here (sha256 %s) than where the pipeline was launched (%s)", c.Model, m.SHA256(), c.SHA256)
	}
	o := engine.Options{
		Batch: c.Batch, Fingerprints: true, Limits: c.limits(), ImageThreshold: c.Threshold, PixelThreshold: c.PixelThreshold,
		Notice: func(text string) { log.Warn(context.Background(), text) },
		Warn:   func(it dataset.Item, note string) { log.Warnf(context.Background(), "%s: %s", it.Path, note) },
	}
	ex, err := c.executor()
	if err != nil {
		return nil, err
	}
	o.Places = []place.Place{place.NewHost(ex)}
	if c.Kind != "" {
		o.Maps = []refine.Kind{c.Kind}
	}
	if c.ROI != "" {
		if o.ROI, err = roi.Read(c.ROI, o.Limits); err != nil {
			return nil, err
		}
	}
	return engine.New(m, o)
}

func (c Computing) executor() (exec.Executor, error) {
	switch c.Executor {
	case GoExecutor:
		return goexec.New(), nil
	case ORTExecutor:
		return ort.Open(ort.Options{Library: c.Library, Provider: ort.CPU})
	}
	return nil, fmt.Errorf("unknown executor %q: want %s or %s", c.Executor, GoExecutor, ORTExecutor)
}

func (c Computing) limits() imageio.Limits { return imageio.Limits{MaxBytes: c.ImageMemory} }
