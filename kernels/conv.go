package kernels

import (
	"fmt"
	"math"
)

// Conv convolves images: y = gate(clip(conv(x) + bias + add)). Pixels lie one after the other, channels innermost: X is
// [Images,InPixels,C], Out and Add are [Images,OutPixels,N]. Values are float32, with Kind.Half float16.
type Conv struct {
	Kind                ConvKind // of the tables
	Images              int
	InPixels, OutPixels int // of an image
	C, N, Groups        int // channels of X and Out
	Rows, Steps         int // of the tables; Rows are those of an image
	X, Out              Ptr
	Table, Pieces       Ptr // ConvRow [Rows], ConvPiece [...]
	Weights             Ptr
	Bias                Ptr // float32 [N]; 0: none
	Add                 Ptr // like Out; 0: none

	Lo, Hi float32 // clip; not less than -Inf, not more than +Inf: nothing

	// Gate is like Out: where it lies outside of (GateLo,GateHi) the result is 0. 0: none.
	Gate           Ptr
	GateLo, GateHi float32
	// With Kind.Half and N a multiple of 8, uint8 [Images,OutPixels,N/8], a bit for each result. Signs receives 1 where one is above 0; Open is a gate
	// of such bits. 0: none.
	Open, Signs Ptr
}

// Enqueue launches the kernel.
func (c Conv) Enqueue(q Queue) error {
	m, groups := c.Images*c.Rows, max(c.Groups, 1)
	inGroup, outGroup := c.C/groups, c.N/groups
	switch {
	case c.Images < 1 || c.Rows < 1 || c.InPixels < 1 || c.OutPixels < 1 || c.Steps < 0:
		return fmt.Errorf("kernels: conv: %d images of %d pixels to %d (%d rows, %d steps)", c.Images, c.InPixels, c.OutPixels, c.Rows, c.Steps)
	case c.C < 1 || c.N < 1 || c.Groups < 1 || c.C%c.Groups != 0 || c.N%c.Groups != 0:
		return fmt.Errorf("kernels: conv: %d channels to %d in %d groups", c.C, c.N, c.Groups)
	case m > math.MaxInt32 || c.Images*max(c.InPixels, c.OutPixels) > math.MaxInt32,
		c.Kind.Direct && ceil(m, 4)*ceil(c.N, c.Kind.piece()) > math.MaxUint32-128:
		return fmt.Errorf("kernels: conv: %d images of %d pixels to %d are too many", c.Images, c.InPixels, c.OutPixels)
	case c.Kind.Tensor && (inGroup%c.Kind.piece() != 0 || outGroup%c.Kind.piece() != 0), c.Kind.Wide && inGroup%4 != 0,
		c.Kind.Depthwise && (c.C != c.Groups || c.N != c.Groups || c.N%c.Kind.piece() != 0):
		return fmt.Errorf("kernels: conv: %d channels to %d in %d groups do not fit the tables", c.C, c.N, c.Groups)
	case c.Signs|c.Open != 0 && (!c.Kind.Half || c.N%8 != 0):
		return fmt.Errorf("kernels: conv: signs of float32, or of %d channels", c.N)
	}
	err := aligned("conv", 16, named{"x", c.X}, named{"out", c.Out}, named{"table", c.Table})
	if err == nil && c.Steps > 0 {
		err = aligned("conv", 16, named{"pieces", c.Pieces}, named{"weights", c.Weights})
	}
	if err != nil {
		return err
	}
	if c.Bias%4 != 0 || c.Add%16 != 0 || c.Gate%16 != 0 {
		return fmt.Errorf("kernels: conv: bias, add or gate is not aligned")
	}
	args := []Arg{c.X.Arg(), c.Table.Arg(), Int(c.Rows), Int(m), Int(c.InPixels), Int(c.OutPixels), Int(c.C)}
	add := func(more ...Arg) { args = append(args, more...) }
	finish := []Arg{c.Bias.Arg(), c.Add.Arg(), Float(c.Lo), Float(c.Hi), c.Gate.Arg(), Float(c.GateLo), Float(c.GateHi)}
	t, number := c.Kind.tile, "f32"
	if c.Kind.Half {
		number = "f16"
	}
	l := Launch{Module: "conv", Block: 128}
	switch {
	case c.Kind.Direct:
		l.Kernel = "conv_direct_" + number
		if c.Kind.Depthwise {
			l.Kernel = "conv_depthwise_" + number
		}
		l.Grid = [3]int{ceil(ceil(m, 4)*ceil(c.N, c.Kind.piece()), 128)}
		add(Int(inGroup), Int(outGroup), c.Pieces.Arg(), Int(c.Steps), c.Weights.Arg(), Int(c.N))
		add(append(finish, c.Open.Arg(), c.Out.Arg(), c.Signs.Arg())...)
	case c.Kind.Tensor:
		if !c.Kind.Half {
			number = "tf32"
		}
		l.Kernel = fmt.Sprintf("conv_%s_%dx%d", number, t.rows, t.columns)
		l.Grid = [3]int{ceil(m, t.rows) * ceil(outGroup, t.columns), c.Groups}
		l.Shared = 4*(t.rows+t.columns)*64 + t.rows*20
		add(Int(inGroup), c.Pieces.Arg(), Int(c.Steps), c.Weights.Arg(), Int(outGroup), Int(c.N))
		add(append(finish, c.Open.Arg(), c.Out.Arg(), c.Signs.Arg())...)
	default:
		l.Kernel = fmt.Sprintf("conv_f32_%dx%d", t.rows, t.columns)
		l.Grid = [3]int{ceil(m, t.rows) * ceil(outGroup, t.columns), c.Groups}
		l.Shared = 3 * (t.rows*64 + 16*t.columns*4)
		add(Int(inGroup), c.Pieces.Arg(), Int(c.Steps), Bool(c.Kind.Wide), c.Weights.Arg(), Int(outGroup), Int(c.N))
		add(append(finish, c.Out.Arg())...)
	}
	l.Args, l.Cost = args, c.Cost(c.Steps*c.Kind.step())
	return q.Launch(l)
}

// Cost is that of one launch, tensors read and written once, for a kernel of so many values a channel of the output.
func (c Conv) Cost(values int) Cost {
	out, size := int64(c.Images)*int64(c.Rows)*int64(c.N), int64(4)
	if c.Kind.Half {
		size = 2
	}
	k := Cost{Bytes: size * (int64(c.Images)*int64(c.InPixels)*int64(c.C) + int64(values)*int64(c.N) + out)}
	for _, more := range []Ptr{c.Add, c.Gate} {
		if more != 0 {
			k.Bytes += size * out
		}
	}
	for _, bits := range []Ptr{c.Open, c.Signs} {
		if bits != 0 {
			k.Bytes += out / 8
		}
	}
	switch flops := 2 * out * int64(values); {
	case c.Kind.Tensor && c.Kind.Half:
		k.TensorFlops, k.Tensor = flops, "f16"
	case c.Kind.Tensor:
		k.TensorFlops, k.Tensor = 3*flops, "tf32"
	default:
		k.Flops = flops
	}
	return k
}
