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
		get(j, dst, m.Out)
	})
}

// Smooth implements refine.Pixels.
func (d *Device) Smooth(z []float32, h, w, s int, g pixel.Gaussian, u []float32) error {
	return d.do(context.Background(), "smoothing", func(j *job) {
		up := kernels.Upsample{N: 1, GridH: h, GridW: w, H: h * s, W: w * s, Grid: put(j, z[:h*w]), Out: j.floats(h * s * w * s)}
		j.run(up.Enqueue)
		b := kernels.Blur{N: 1, H: up.H, W: up.W, Taps: g.Taps(), In: up.Out, Out: j.floats(h * s * w * s)}
		j.run(b.Enqueue)
		get(j, u[:h*s*w*s], b.Out)
	})
}

// Compare implements refine.Pixels.
func (d *Device) Compare(y, fills []float32, k, h, w int, smooth, start pixel.Gaussian, residual []float32, best []int32) error {
	n := h * w
	windows := kernels.Windows{Sizes: [][2]int{{h, w}}}
	room := windows.Offset(1)
	return d.do(context.Background(), "comparing fills", func(j *job) {
		windows.Table = put(j, windows.TableOf())
		f := kernels.FillMin{
			Windows: windows, K: k, Y: put(j, y[:3*n]), Fills: put(j, fills[:k*3*n]), Residual: j.floats(room),
		}
		found := j.floats(room)
		if max(smooth.Radius(), start.Radius()) <= kernels.MaxFillRadius {
			c := kernels.FillCompare{
				Windows: windows, K: k, Smooth: smooth.Taps(), Start: start.Taps(), Y: f.Y, Fills: f.Fills, Residual: f.Residual,
				Best: found,
			}
			j.run(c.Enqueue)
			get(j, residual[:n], f.Residual)
			get(j, best[:n], found)
			return
		}
		f.Sq = j.floats(k * room)
		j.run(f.Enqueue)
		b := kernels.Blur{N: 1, H: h, W: w, Taps: smooth.Taps(), In: f.Residual, Out: j.floats(room)}
		j.run(b.Enqueue)
		costs := kernels.Blur{N: k, H: h, W: w, Taps: start.Taps(), In: f.Sq, Out: j.floats(k * room)}
		j.run(costs.Enqueue)
		j.run(kernels.FillLeast{Windows: windows, K: k, Costs: costs.Out, Best: found}.Enqueue)
		get(j, residual[:n], b.Out)
		get(j, best[:n], found)
	})
}
