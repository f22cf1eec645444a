package refine

import (
	"context"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/stage"
	"f2pad.example/engine/pixel"
)

// evidence is one way to tell which pixels of the suspicious regions are the defect's.
type evidence interface {
	// measure returns for each scene with a suspicious region a plane [h,w] in [0,1], 0 off the region: how much the pixel
	// itself speaks for a defect. It is called once in a Run.
	measure(ctx context.Context, r *Refiner, sc Scorer, scenes []*scene) ([][]float32, error)
	stage() stage.Stage
}

// recipes says what makes which map. A map's evidence is the mean of its parts.
var recipes = []struct {
	kind  Kind
	parts []evidence
	asks  bool // the network is asked again: v is averaged over looks, fills are checked, and step 7
}{
	{kind: Residual, parts: []evidence{residual{}}},
	{kind: F2PAD, parts: []evidence{residual{}, optimised{}}, asks: true},
}

// planes assembles a value of each pixel of the islands into a plane per scene.
func planes(scenes []*scene, value func(is *island, p int32) float32) [][]float32 {
	out := make([][]float32, len(scenes))
	par.For(len(scenes), func(i int) {
		s := scenes[i]
		if s.omega == nil {
			return
		}
		out[i] = make([]float32, s.h*s.w)
		for _, is := range s.islands {
			for _, p := range is.state.Pixels {
				out[i][is.pixel(p, s.w)] = value(is, p)
			}
		}
	})
	return out
}

// residual is the evidence of step 3: the distance to the nearest fill, in units of what normal fills differ by there.
type residual struct{}

func (residual) stage() stage.Stage { return stage.Evidence }

func (residual) measure(_ context.Context, r *Refiner, _ Scorer, scenes []*scene) ([][]float32, error) {
	return planes(scenes, r.fromFill), nil
}

func (r *Refiner) fromFill(is *island, p int32) float32 {
	return r.grade(is.residual[p] / is.state.C[p])
}

// optimised is the evidence of step 4: how far the pixel had to move for the detector to find nothing wrong. On islands that
// the optimisation is not for (explain, which goes before it, says so) that is as far as the fill.
type optimised struct{}

func (optimised) stage() stage.Stage { return stage.Optimise }

func (optimised) measure(ctx context.Context, r *Refiner, sc Scorer, scenes []*scene) ([][]float32, error) {
	if err := r.optimise(ctx, sc, scenes); err != nil {
		return nil, err
	}
	o := &r.opts.Optimiser
	smooth := pixel.NewGaussian(o.SmoothPx)
	for _, s := range scenes {
		for _, is := range s.islands {
			if !is.doubtful {
				continue
			}
			h, w := is.state.Box.H(), is.state.Box.W()
			smooth.Blur(is.state.Sum, h, w, make([]float32, smooth.Scratch(h, w)))
		}
	}
	k := 1 / float32(o.Averaged)
	return planes(scenes, func(is *island, p int32) float32 {
		if !is.doubtful {
			return r.fromFill(is, p)
		}
		return r.grade(k * is.state.Sum[p])
	}), nil
}

// grade turns an anomaly's size in units of c into evidence: none up to Low/High, full from 1.
func (r *Refiner) grade(n float32) float32 {
	least := float32(r.opts.Residual.Low / r.opts.Residual.High)
	return min(max((n-least)/(1-least), 0), 1)
}
