package cuda

import (
	"context"
	"fmt"

	"f2pad.example/engine/method"
	"f2pad.example/engine/pixel"
	"f2pad.example/kernels"
)

// Maps makes the maps dst [n,H,W] of the scores s [n,h,w]; see method.BaseMap.
func (d *Device) Maps(s []float32, n, h, w, H, W int, o method.MapOptions, dst []float32) error {
	if min(h, w, H, W) < 1 || len(s) != n*h*w || len(dst) != n*H*W {
		return fmt.Errorf("cuda: maps [%d,%d,%d] of grids [%d,%d,%d] with %d and %d values", n, H, W, n, h, w, len(dst), len(s))
	}
	if n == 0 {
		return nil
	}
	m := kernels.BaseMap{N: n}
	var err error
	if m.Rows, err = kernels.NewAxis(h, H, o.Axis(h, H)); err != nil {
		return err
	}
	if m.Columns, err = kernels.NewAxis(w, W, o.Axis(w, W)); err != nil {
		return err
	}
	rows, columns, err := m.Tables()
	if err != nil {
		return err
	}
	return d.do(context.Background(), "maps", func(j *job) {
		m.RowTable, m.ColumnTable = put(j, rows), put(j, columns)
		m.Grid, m.Out = put(j, s), j.floats(len(dst))
		j.run(m.Enqueue)
		collect(j, m.Out, dst)
	})
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
