package sight

import (
	"context"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/vec"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// measureMissing finds what is missing from the features of a job's windows. Where a window does not hold all that its features depend on,
// they differ from the whole image's. What the window makes of the image as it was given, and what the whole image gave there,
// are known; their difference stays nearly the same while pixels in the window's middle change.
func (b *HostBatch) measureMissing(ctx context.Context, c *exec.Pooled, j *job, in *tensor.Dense) error {
	missing := c.Outputs(len(j.ps))
	b.Net.load(in, b.given, b.norms, j.ps)
	if err := c.Forward(ctx, []*tensor.Dense{in}, missing); err != nil {
		return err
	}
	h, w := b.given.Shape()[2]/b.Net.Stride, b.given.Shape()[3]/b.Net.Stride
	par.For(len(j.ps), func(k int) {
		part := slicesOf(missing, k)
		for l, whole := range slicesOf(b.features, j.ps[k].Image) {
			to := nd.Data(part[l])
			for i, v := range nd.Data(cropped(whole, Rect{0, 0, h, w}, j.ps[k].In)) {
				to[i] = v - to[i]
			}
		}
	})
	j.missing = missing
	return nil
}

// complete adds to the windows' features f what is missing from them.
func (j *job) complete(f []*tensor.Dense) {
	for l, part := range j.missing {
		to, from := nd.Data(f[l]), nd.Data(part)
		par.Range(len(to), len(to)/len(j.ps), func(lo, hi int) { vec.Add(to[lo:hi], to[lo:hi], from[lo:hi]) })
	}
}

// surroundings are the features of the images as they were given, which cover all, where the method sees them in a job's windows.
func (b *HostBatch) surroundings(j *job, all Rect) []*tensor.Dense {
	around := make([]*tensor.Dense, len(b.features))
	for l, whole := range b.features {
		sh := whole.Shape()
		k := all.H() / sh[2] // cells of the finest grid per cell
		around[l] = nd.New(len(j.ps), sh[1], j.seen[0].H()/k, j.seen[0].W()/k)
	}
	par.For(len(j.ps), func(k int) {
		for l, whole := range slicesOf(b.features, j.ps[k].Image) {
			copyCells(slicesOf(around, k)[l], j.seen[k], whole, all, j.seen[k])
		}
	})
	return around
}

// between visits the windows' feature maps [1,D,h,w], those of what they see beside their own, side by side.
func (j *job) between(outer, inner []*tensor.Dense, visit func(outer, inner *tensor.Dense, seen, in Rect)) {
	par.For(len(j.ps), func(k int) {
		os, is := slicesOf(outer, k), slicesOf(inner, k)
		for l := range os {
			visit(os[l], is[l], j.seen[k], j.ps[k].In)
		}
	})
}

// copyCells copies what lies in a rectangle of the finest grid between feature maps of one image [1,D,h,w], which cover the
// rectangles to and from of that grid.
func copyCells(dst *tensor.Dense, to Rect, src *tensor.Dense, from, what Rect) {
	ds, ss := dst.Shape(), src.Shape()
	k := from.H() / ss[2] // cells of the finest grid per cell
	rows, cols := what.H()/k, what.W()/k
	d, s := nd.Data(dst), nd.Data(src)
	for c := range ds[1] {
		for i := range rows {
			at := (c*ds[2]+(what.Y0-to.Y0)/k+i)*ds[3] + (what.X0-to.X0)/k
			copy(d[at:at+cols], s[(c*ss[2]+(what.Y0-from.Y0)/k+i)*ss[3]+(what.X0-from.X0)/k:])
		}
	}
}

// cropped is the part of a feature map, which covers the rectangle from, that covers the rectangle what.
func cropped(src *tensor.Dense, from, what Rect) *tensor.Dense {
	s := src.Shape()
	k := from.H() / s[2]
	dst := nd.New(1, s[1], what.H()/k, what.W()/k)
	copyCells(dst, what, src, from, what)
	return dst
}

// slicesOf returns image k of each tensor as a batch of one, sharing the values.
func slicesOf(ts []*tensor.Dense, k int) []*tensor.Dense {
	out := make([]*tensor.Dense, len(ts))
	for i, t := range ts {
		sh := t.Shape()
		n := nd.Size(sh[1:]...)
		out[i] = nd.Wrap(nd.Data(t)[k*n:(k+1)*n], append([]int{1}, sh[1:]...)...)
	}
	return out
}
