package method

import (
	"errors"
	"fmt"

	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Grid is the extent of a batch on the finest layer: N images of H x W cells.
type Grid struct{ N, H, W int }

// Cells is the number of locations of one image.
func (g Grid) Cells() int { return g.H * g.W }

// Check compares a batch of feature maps with the widths of the layers that a method was fitted on, and returns its
// grid. No layer may be finer than the first.
func Check(f []*tensor.Dense, widths []int) (Grid, error) {
	return check("features", f, widths)
}

func check(name string, f []*tensor.Dense, widths []int) (Grid, error) {
	if len(f) != len(widths) || len(f) == 0 {
		return Grid{}, fmt.Errorf("%s of %d layers, want %d", name, len(f), len(widths))
	}
	var g Grid
	for l, t := range f {
		layer := fmt.Sprintf("%s of layer %d", name, l+1)
		want := []int{-1, widths[l], -1, -1}
		if l > 0 {
			want[0] = g.N
		}
		if err := nd.Check(layer, t, want...); err != nil {
			return Grid{}, err
		}
		s := t.Shape()
		if l == 0 {
			g = Grid{s[0], s[2], s[3]}
		}
		if s[2] > g.H || s[3] > g.W {
			return Grid{}, fmt.Errorf("%s has shape %v, finer than the first layer's %v", layer, s, f[0].Shape())
		}
	}
	return g, nil
}

// Widths returns the number of channels of each layer.
func Widths(f []*tensor.Dense) ([]int, error) {
	widths := make([]int, len(f))
	for l, t := range f {
		if err := nd.Check(fmt.Sprintf("features of layer %d", l+1), t, -1, -1, -1, -1); err != nil {
			return nil, err
		}
		widths[l] = t.Shape()[1]
	}
	return widths, nil
}

// Check is the function Check with the sizes of r's slices.
func (r *Result) Check(f []*tensor.Dense, widths []int) (Grid, error) {
	g, err := Check(f, widths)
	if err != nil {
		return g, err
	}
	if err := nd.Check("scores", r.S, g.N, g.H, g.W); err != nil {
		return g, err
	}
	switch {
	case r.Where != nil && len(r.Where) != g.N*g.Cells():
		return g, fmt.Errorf("%d wanted locations, want %d", len(r.Where), g.N*g.Cells())
	case r.Image != nil && len(r.Image) != g.N:
		return g, fmt.Errorf("%d image scores, want %d", len(r.Image), g.N)
	case r.Image != nil && r.Where != nil:
		return g, errors.New("image scores need every location")
	case r.Inside != nil && len(r.Inside) != g.N*g.Cells():
		return g, fmt.Errorf("%d locations for the image scores, want %d", len(r.Inside), g.N*g.Cells())
	case r.Origins != nil && len(r.Origins) != g.N:
		return g, fmt.Errorf("%d windows' origins, want %d", len(r.Origins), g.N)
	}
	for _, o := range r.Origins {
		if o[0] < 0 || o[1] < 0 {
			return g, fmt.Errorf("window at cell %v", o)
		}
	}
	return g, nil
}

// Origin is the cell of the image's full grid that cell (0,0) of image n is.
func (r *Result) Origin(n int) (row, col int) {
	if r.Origins == nil {
		return 0, 0
	}
	return r.Origins[n][0], r.Origins[n][1]
}

// CheckGrad is Check with the arguments of Grad.
func (r *Result) CheckGrad(f []*tensor.Dense, dS *tensor.Dense, df []*tensor.Dense, widths []int) (Grid, error) {
	g, err := r.Check(f, widths)
	if err != nil {
		return g, err
	}
	if err := nd.Check("gradient of the scores", dS, g.N, g.H, g.W); err != nil {
		return g, err
	}
	if r.Where != nil {
		for i, v := range nd.Data(dS) {
			if v != 0 && !r.Where[i] {
				return g, fmt.Errorf("gradient at location %d, which was not scored", i)
			}
		}
	}
	if _, err := check("gradient of the features", df, widths); err != nil {
		return g, err
	}
	for l := range f {
		if !f[l].Shape().Eq(df[l].Shape()) {
			return g, fmt.Errorf("gradient of the features of layer %d has shape %v, want %v", l+1, df[l].Shape(), f[l].Shape())
		}
	}
	return g, nil
}
