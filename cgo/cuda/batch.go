package cuda

import (
	"context"
	"slices"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/method"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"
	"f2pad.example/kernels"
)

// begun is images that a detector has scored.
type begun struct {
	t *detector
	images
	norms []backbone.Affine
	whole []layerView // their features as they were given; of windows that are cut only
	held  []kernels.Ptr
}

var _ sight.Batch = (*begun)(nil)

// Score implements sight.Batch.
func (b *begun) Score(ctx context.Context, x refine.Variants, r *method.Result) error {
	if err := x.Check(b.n, b.h, b.w); err != nil {
		return err
	}
	return b.t.d.do(ctx, "scores", func(j *job) {
		im, of := &b.images, x.Of
		if x.Changes != nil {
			im = b.changed(j, x.Of, x.Changes)
			of = im.all().of
		}
		b.t.look(ctx, j, im, glance{of, x.DY, x.DX}, false, r)
	})
}

// changed are copies of images, on the device, with other values at some pixels.
func (b *begun) changed(j *job, of []int, changes []refine.Change) *images {
	size := 3 * b.h * b.w
	all := j.floats(len(of) * size)
	norms := make([]backbone.Affine, len(of))
	runs := kernels.Runs{N: len(of), C: 3, H: b.h, W: b.w, Planes: all}
	var values [3][][]float32 // of each channel
	for k, i := range of {
		norms[k] = b.norms[i]
		if j.err == nil {
			j.err = j.Copy(all.Plus(k*size), b.x.Plus(i*size), 4*size)
		}
		c := &changes[k]
		P := len(c.Pixels)
		for at := 0; at < P; {
			from := at
			for at++; at < P && c.Pixels[at] == c.Pixels[at-1]+1; {
				at++
			}
			runs.Each = append(runs.Each, kernels.Run{Image: k, From: int(c.Pixels[from]), To: int(c.Pixels[at-1]) + 1})
		}
		for ch := range values {
			values[ch] = append(values[ch], c.Values[ch*P:(ch+1)*P])
		}
	}
	if len(runs.Each) > 0 {
		runs.Table, runs.List = put(j, runs.TableOf()), put(j, slices.Concat(values[:]...)...)
		j.run(runs.Put)
	}
	gain, shift := tables(norms)
	return &images{len(of), b.h, b.w, all, put(j, gain), put(j, shift)}
}

// Close implements sight.Batch. What cannot be freed shows when the device is closed.
func (b *begun) Close() {
	for _, p := range b.held {
		_ = b.t.d.gpu.Free(p)
	}
	b.held = nil
}
