package kernels

import (
	"fmt"
	"math"
)

// EmbedLayer is a layer of features [Windows,LayerH,LayerW,C] (float32) as locations of grids [Windows,H,W] see it, and its part in their
// vectors of D values.
type EmbedLayer struct {
	Windows, H, W     int
	LayerH, LayerW, C int
	D                 int
	// Unfolded: the values of three stencils an axis, 9 C of them, are pooled. Otherwise there is one stencil, and a channel is a value,
	// from First on, Kept of them: all, or those that Channels lists.
	Unfolded    bool
	First, Kept int

	Down, Across Ptr // int32, of rows and of columns: EmbedAxis; of the gradient, EmbedAxisBack
}

// Embed makes vectors Q [Items,D] of the locations At [Items] (int32: (window H + row) W + column) out of the features F: this
// layer's part of them.
type Embed struct {
	EmbedLayer
	Items    int
	Channels Ptr // int32 [Kept], or 0: all C
	// Unfolded: Pool is EmbedPool's table. With Add, Q has the sums over other layers, and is added to.
	Pool     Ptr
	Add      bool
	At, F, Q Ptr
}

// EmbedGradient fills DF [windows From to To of Windows,LayerH,LayerW,C] with what the gradients DQ [Rows,D] of vectors come to there: 0
// where no vector is of. Row [Windows,H,W] (int32) is the row of each location, or -1; those below FirstRow or from FirstRow+Rows on are
// left out.
//
// Rows that do not fit the device at once may come in parts, in the order of locations: with Continued, window From has been
// visited with the rows before, and is added to. All bits are as if they had come at once.
type EmbedGradient struct {
	EmbedLayer
	From, To       int
	Continued      bool
	FirstRow, Rows int
	// Values [C] (int32) says which of the vector's values a channel is, -1: none; 0: First on. Unfolded: EmbedPoolBack's table.
	Values Ptr
	// Weight (float32), unless it is 0, is what the gradient of a location is multiplied with: that at Item [Windows,H,W] (int32). Where
	// it is 0 the gradient is 0, whatever is in DQ.
	Weight, Item Ptr
	Row, DQ, DF  Ptr
}

// What products of extents must stay below, and that of an unfolded layer's values and the vector's.
const embedMaxC, embedMaxD = 1 << 15, KNNMaxD

func (l EmbedLayer) check(kernel string, pointers ...named) error {
	switch {
	case l.Windows < 1 || l.H < 1 || l.W < 1 || l.H > maxExtent || l.W > maxExtent || l.Windows > math.MaxInt32/(l.H*l.W):
		return fmt.Errorf("kernels: %s: locations [%d,%d,%d]: extents must be 1 to %d, and all of them fit an int32", kernel, l.Windows,
			l.H, l.W, maxExtent)
	case l.LayerH < 1 || l.LayerW < 1 || l.LayerH > l.H || l.LayerW > l.W:
		return fmt.Errorf("kernels: %s: a layer of %dx%d cells for %dx%d locations", kernel, l.LayerH, l.LayerW, l.H, l.W)
	case l.C < 1 || l.C > embedMaxC || l.D < 1 || l.D > embedMaxD:
		return fmt.Errorf("kernels: %s: vectors of %d values of %d channels, want 1 to %d and 1 to %d", kernel, l.D, l.C, embedMaxD, embedMaxC)
	case !l.Unfolded && (l.First < 0 || l.Kept < 0 || l.Kept > l.C || l.First+l.Kept > l.D):
		return fmt.Errorf("kernels: %s: %d of %d channels are values %d on of %d", kernel, l.Kept, l.C, l.First, l.D)
	}
	return aligned(kernel, 4, append(pointers, named{"rows", l.Down}, named{"columns", l.Across})...)
}

// Enqueue launches the kernel.
func (e Embed) Enqueue(q Queue) error {
	pointers := []named{{"locations", e.At}, {"features", e.F}, {"vectors", e.Q}}
	if e.Unfolded {
		pointers = append(pointers, named{"pool", e.Pool})
	}
	if err := e.check("embed", pointers...); err != nil {
		return err
	}
	if e.Items < 1 || e.Items > math.MaxInt32 {
		return fmt.Errorf("kernels: embed: %d locations, want 1 to %d", e.Items, math.MaxInt32)
	}
	if e.Unfolded {
		return q.Launch(Launch{
			Module: "embed", Kernel: "embed_unfolded", Grid: [3]int{e.Items}, Block: 128, Shared: 4 * (9*128 + e.D),
			Args: []Arg{
				e.At.Arg(), Int(e.H), Int(e.W), e.F.Arg(), Int(e.LayerH), Int(e.LayerW), Int(e.C), e.Down.Arg(), e.Across.Arg(), e.Pool.Arg(),
				Bool(e.Add), e.Q.Arg(), Int(e.D),
			},
			Cost: e.Cost(),
		})
	}
	if e.Channels == 0 && e.Kept != e.C || e.Channels%4 != 0 {
		return fmt.Errorf("kernels: embed: channels are not listed, or not aligned to 4 bytes")
	}
	return q.Launch(Launch{
		Module: "embed", Kernel: "embed", Grid: [3]int{ceil(e.Items, 8)}, Block: 256,
		Args: []Arg{
			e.At.Arg(), Int(e.Items), Int(e.H), Int(e.W), e.F.Arg(), Int(e.LayerH), Int(e.LayerW), Int(e.C), e.Down.Arg(), e.Across.Arg(),
			e.Channels.Arg(), Int(e.Kept), e.Q.Arg(), Int(e.D), Int(e.First),
		},
		Cost: e.Cost(),
	})
}

// Cost is that of one launch that reads all features.
func (e Embed) Cost() Cost {
	values, flops := int64(e.Kept), 2*20*int64(e.Kept)
	if e.Unfolded {
		values, flops = int64(e.D), 2*(3*16+9*4+9)*int64(e.C)
	}
	return Cost{
		Bytes: 4 * (int64(e.Windows)*int64(e.LayerH*e.LayerW)*int64(e.C) + int64(e.Items)*(values+1)),
		Flops: flops * int64(e.Items),
	}
}

// Enqueue launches the kernel.
func (g EmbedGradient) Enqueue(q Queue) error {
	pointers := []named{{"rows of locations", g.Row}, {"gradients of vectors", g.DQ}, {"gradients of features", g.DF}}
	if g.Unfolded {
		pointers = append(pointers, named{"pool", g.Values})
	}
	if g.Weight != 0 || g.Item != 0 {
		pointers = append(pointers, named{"weights", g.Weight}, named{"their places", g.Item})
	}
	if err := g.check("embed_grad", pointers...); err != nil {
		return err
	}
	switch {
	case g.From < 0 || g.To > g.Windows || g.From >= g.To:
		return fmt.Errorf("kernels: embed_grad: windows %d to %d of %d", g.From, g.To, g.Windows)
	case g.FirstRow < 0 || g.Rows < 0 || g.FirstRow+g.Rows > math.MaxInt32:
		return fmt.Errorf("kernels: embed_grad: %d rows from %d on", g.Rows, g.FirstRow)
	case g.Values%4 != 0 || !g.Unfolded && g.Values == 0 && g.Kept != g.C:
		return fmt.Errorf("kernels: embed_grad: values are not listed, or not aligned to 4 bytes")
	}
	cells := (g.To - g.From) * g.LayerH * g.LayerW
	continued, kernel := -1, "embed_grad"
	if g.Continued {
		continued = g.From
	}
	if g.Unfolded {
		kernel = "embed_unfolded_grad"
	}
	return q.Launch(Launch{
		Module: "embed", Kernel: kernel, Grid: [3]int{ceil(cells, 8)}, Block: 256,
		Args: []Arg{
			g.Row.Arg(), g.Item.Arg(), g.Weight.Arg(), g.DQ.Arg(), Int(g.FirstRow), Int(g.Rows), Int(g.D), Int(g.From), Int(g.To - g.From),
			Int(continued), Int(g.H), Int(g.W), g.DF.Arg(), Int(g.LayerH), Int(g.LayerW), Int(g.C),
			g.Down.Arg(), g.Across.Arg(), g.Values.Arg(), Int(g.First),
		},
		Cost: g.Cost(),
	})
}

// Cost is that of one launch that fills all windows from all rows.
func (g EmbedGradient) Cost() Cost {
	values, flops := int64(g.Kept), int64(2*16)
	if g.Unfolded {
		values, flops = int64(g.D), 2*36*2
	}
	return Cost{
		Bytes: 4 * (int64(g.Windows)*(int64(g.LayerH*g.LayerW)*int64(g.C)+int64(g.H*g.W)) + int64(g.Rows)*values),
		Flops: flops * int64(g.Rows) * int64(g.C),
	}
}
