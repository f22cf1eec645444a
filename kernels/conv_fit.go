package kernels

import (
	"slices"

	"f2pad.example/engine/graph"
)

// ConvPixels is how an image's values must lie: rows of so many pixels of so many channels, innermost. Where an image has no such
// pixel or channel there are zeros to read, and what is written there means nothing.
type ConvPixels struct{ Channels, Columns int }

// FittedConv is a convolution that the tensor cores' kernel takes in float16, equal to another one.
type FittedConv struct {
	Window  graph.Window
	In, Out [2]int
	Weights ConvWeights
	X, Y    ConvPixels // C and N of the launch are those of Weights
}

// fitted is how many channels of a group the narrowest tile has.
const fitted = 32

// FitConv fits a convolution, or a transposed one. Channels are filled up to multiples of 8; where there are at most 4 (a stem's image,
// or its gradient) and the stride along rows is even, two neighbouring pixels of 4 channels become one of 8, and the kernel half as
// wide. Groups of at least 4 channels are joined, with zeros between them, up to as many as a tile has; others are left to the direct
// kernel.
func FitConv(win graph.Window, in, out [2]int, w ConvWeights, transposed bool) FittedConv {
	f := FittedConv{Window: win, In: in, Out: out, Weights: w}
	f.X, f.Y = ConvPixels{w.Shape[1] * w.Groups, in[1]}, ConvPixels{w.Shape[0], out[1]}
	// The weights' second axis is that of x, or of a transposed convolution's y; so are the pairs of pixels.
	first, second, width := &f.Y, &f.X, &f.In[1]
	if transposed {
		f.X, f.Y = ConvPixels{w.Shape[0], in[1]}, ConvPixels{w.Shape[1] * w.Groups, out[1]}
		first, second, width = &f.X, &f.Y, &f.Out[1]
	}
	if w.Groups > 1 {
		f.Weights = w.joined(transposed)
		return f
	}
	shape, odd := w.Shape, win.Begin[1]%2
	shape[0] = ceil(w.Shape[0], 8) * 8
	shape[1] = ceil(w.Shape[1], 8) * 8
	first.Channels, second.Channels = shape[0], shape[1]
	pairs := w.Shape[1] <= 4 && win.Stride[1]%2 == 0 && win.Dilation[1] == 1
	if pairs {
		second.Channels, second.Columns = 4, ceil(*width, 2)*2
		*width = second.Columns / 2
		shape[3] = ceil(w.Shape[3]+odd, 2)
		f.Window.Kernel[1], f.Window.Stride[1], f.Window.Begin[1] = shape[3], win.Stride[1]/2, ceil(win.Begin[1], 2)
	}
	if shape == w.Shape {
		return f
	}
	f.Weights = w.mapped(shape, 1, func(n, c, kx int) (int, int, int) {
		if pairs {
			return n, c % 4, 2*kx + c/4 - odd // a pair begins at an even pixel
		}
		return n, c, kx
	})
	return f
}

// Bias is the fitted convolution's, for the channels of the launch.
func (f FittedConv) Bias(bias []float32) []float32 {
	pixel := append(slices.Clone(bias), make([]float32, f.Y.Channels-len(bias))...)
	return slices.Repeat(pixel, f.Y.Columns/f.Out[1])
}

// joined are the weights of fewer groups, or of as many.
func (w ConvWeights) joined(transposed bool) ConvWeights {
	first, second, n := w.Shape[0]/w.Groups, w.Shape[1], 1
	outs := first
	if transposed {
		outs = second
	}
	for n < w.Groups && w.Groups%(2*n) == 0 && (first*n%8 != 0 || second*n%8 != 0 || outs*n < fitted) {
		n *= 2
	}
	if n == 1 || first < 4 || second < 4 || first*n%8 != 0 || second*n%8 != 0 {
		return w
	}
	shape := w.Shape
	shape[1] *= n
	return w.mapped(shape, w.Groups/n, func(m, c, kx int) (int, int, int) {
		if c/second != m/first%n {
			return -1, 0, 0
		}
		return m, c % second, kx
	})
}

// mapped are weights that are taken from the others, or 0 where these have none.
func (w ConvWeights) mapped(shape [4]int, groups int, from func(n, c, kx int) (int, int, int)) ConvWeights {
	y := ConvWeights{Shape: shape, Groups: groups, Values: make([]float32, shape[0]*shape[1]*shape[2]*shape[3])}
	for n := range shape[0] {
		for c := range shape[1] {
			for kx := range shape[3] {
				fn, fc, fx := from(n, c, kx)
				if fn < 0 || fn >= w.Shape[0] || fc >= w.Shape[1] || fx < 0 || fx >= w.Shape[3] {
					continue
				}
				for ky := range shape[2] {
					y.Values[((n*shape[1]+c)*shape[2]+ky)*shape[3]+kx] = w.Values[((fn*w.Shape[1]+fc)*w.Shape[2]+ky)*w.Shape[3]+fx]
				}
			}
		}
	}
	return y
}
