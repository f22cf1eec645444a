package cuda

import (
	"context"
	"fmt"

	"f2pad.example/engine/method"
	"f2pad.example/engine/pixel"
	"f2pad.example/kernels"
)

// Maps makes the maps dst [n,H,W] of the scores s [n,h,w] at the wanted pixels [n,H,W]; nil: all. Nothing else comes down. See
// method.BaseMaps.
func (d *Device) Maps(s []float32, n, h, w, H, W int, o method.MapOptions, wanted []bool, dst []float32) error {
	if min(h, w, H, W) < 1 || len(s) != n*h*w || len(dst) != n*H*W {
		return fmt.Errorf("cuda: maps [%d,%d,%d] of grids [%d,%d,%d] with %d and %d values", n, H, W, n, h, w, len(dst), len(s))
	}
	if wanted != nil && len(wanted) != len(dst) {
		return fmt.Errorf("cuda: maps [%d,%d,%d] of which %d pixels are wanted or not", n, H, W, len(wanted))
	}
	some, parts := wantedOf(wanted, n, H, W, dst)
	if len(parts) == 0 {
		return nil
	}
	m := kernels.BaseMap{N: n}
	var err error
	if m.Rows, err = kernels.NewAxis(h, H, o.Axis(h, H)); err != nil {
		return err
	}
	square := h == w && H == W
	if m.Columns = m.Rows; !square {
		if m.Columns, err = kernels.NewAxis(w, W, o.Axis(w, W)); err != nil {
			return err
		}
	}
	rows, columns, err := m.Tables()
	if err != nil {
		return err
	}
	return d.do(context.Background(), "maps", func(j *job) {
		m.RowTable = put(j, rows)
		if m.ColumnTable = m.RowTable; !square {
			m.ColumnTable = put(j, columns)
		}
		m.Grid, m.Out = put(j, s), j.floats(len(dst))
		j.run(m.Enqueue)
		from := m.Out
		if len(some.Each) > 0 {
			some.Planes, some.Table, some.List = m.Out, put(j, some.TableOf()), j.floats(some.Pixels())
			j.run(some.Get)
			from = some.List
		}
		collect(j, from, parts...)
	})
}

// wantedOf is the wanted pixels of maps [n,H,W], and the parts of dst that these are; without wanted dst is the one part, and no pixels
// are named.
func wantedOf(wanted []bool, n, H, W int, dst []float32) (some kernels.Runs, parts [][]float32) {
	some = kernels.Runs{N: n, C: 1, H: H, W: W}
	if wanted == nil && n > 0 {
		return some, [][]float32{dst}
	}
	for i := range n {
		for from, to := range pixel.Runs(wanted[i*H*W:][:H*W]) {
			some.Each = append(some.Each, kernels.Run{Image: i, From: from, To: to})
			parts = append(parts, dst[i*H*W+from:i*H*W+to])
		}
	}
	return some, parts
}

// Smooth implements refine.Pixels.
func (d *Device) Smooth(z []float32, n, h, w, s int, g pixel.Gaussian, u []float32) error {
	H, W := h*s, w*s
	for n > 0 {
		some := max(min(n, atOnce/(2*H*W), kernels.MaxJobs), 1)
		err := d.do(context.Background(), "smoothing", func(j *job) {
			up := kernels.Upsample{N: some, GridH: h, GridW: w, H: H, W: W, Grid: put(j, z[:some*h*w]), Out: j.floats(some * H * W)}
			j.run(up.Enqueue)
			b := kernels.Blur{N: some, H: H, W: W, Taps: g.Taps(), In: up.Out, Out: j.floats(some * H * W)}
			j.run(b.Enqueue)
			collect(j, b.Out, u[:some*H*W])
		})
		if err != nil {
			return err
		}
		n, z, u = n-some, z[some*h*w:], u[some*H*W:]
	}
	return nil
}
