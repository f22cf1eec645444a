package graph

import (
	"fmt"

	"f2pad.example/engine/internal/index"
)

// maxParameter bounds kernels, strides, dilations and pads, so that arithmetic on them cannot overflow.
const maxParameter = 1 << 20

// Window is the geometry that convolutions and poolings share: a kernel sliding over rows (index 0) and columns (1).
// Tap k of output o reads input o*Stride - Begin + k*Dilation; taps outside the input read padding.
type Window struct {
	Kernel, Stride, Dilation [2]int
	Begin, End               [2]int // padding before and after
	Ceil                     bool   // the last window may reach past the padding (ceil_mode)
}

// ConvWindow returns the window of a Conv or ConvTranspose with weights [M,C,kH,kW].
func ConvWindow(n *Node, weights Shape) (Window, error) {
	k := weights[2:]
	if given := n.Ints("kernel_shape", k); !Shape(given).Equal(k) {
		return Window{}, fmt.Errorf("kernel_shape is %v, but the weights are %v", given, weights)
	}
	return newWindow(n, k)
}

// PoolWindow returns the window of a MaxPool or AveragePool, or of their gradients.
func PoolWindow(n *Node) (Window, error) {
	w, err := newWindow(n, n.Ints("kernel_shape", nil))
	for a := range 2 {
		if err == nil && max(w.Begin[a], w.End[a]) >= w.Kernel[a] {
			err = fmt.Errorf("pads %v reach past the kernel %v: a window could hold padding only", n.Ints("pads", nil), w.Kernel)
		}
	}
	return w, err
}

func newWindow(n *Node, kernel []int) (w Window, err error) {
	pads := [4]int{}
	w.Ceil = n.Int("ceil_mode", 0) != 0
	for _, list := range []struct {
		name string
		got  []int
		to   []int
		low  int
	}{
		{"kernel_shape", kernel, w.Kernel[:], 1},
		{"strides", n.Ints("strides", []int{1, 1}), w.Stride[:], 1},
		{"dilations", n.Ints("dilations", []int{1, 1}), w.Dilation[:], 1},
		{"pads", n.Ints("pads", pads[:]), pads[:], 0},
	} {
		if len(list.got) != len(list.to) {
			return w, fmt.Errorf("%s %v: want %d numbers", list.name, list.got, len(list.to))
		}
		for i, v := range list.got {
			if v < list.low || v > maxParameter {
				return w, fmt.Errorf("%s %v: want numbers from %d to %d", list.name, list.got, list.low, maxParameter)
			}
			list.to[i] = v
		}
	}
	w.Begin, w.End = [2]int(pads[:2]), [2]int(pads[2:])
	return w, nil
}

// Extent is the number of input elements from the first tap to the last.
func (w Window) Extent(axis int) int { return w.Dilation[axis]*(w.Kernel[axis]-1) + 1 }

// Start is the input coordinate of tap 0 of output o; it may be negative.
func (w Window) Start(axis, o int) int { return o*w.Stride[axis] - w.Begin[axis] }

// Out is the number of windows over in elements: floor((in + pads - Extent)/Stride) + 1, or with Ceil the ceiling, less
// a window that would start behind the input (as PyTorch and ONNX Runtime have it). It is 0 or less if none fits.
func (w Window) Out(axis, in int) int {
	room := in + w.Begin[axis] + w.End[axis] - w.Extent(axis)
	if room < 0 {
		return 0
	}
	s := w.Stride[axis]
	if !w.Ceil {
		return room/s + 1
	}
	n := (room+s-1)/s + 1
	if w.Start(axis, n-1) >= in {
		n--
	}
	return n
}

// Taps returns the taps lo <= k < hi of output o that read one of in elements, not padding.
func (w Window) Taps(axis, o, in int) (lo, hi int) {
	start, d := w.Start(axis, o), w.Dilation[axis]
	lo = max(0, index.CeilDiv(-start, d))
	hi = min(w.Kernel[axis], index.CeilDiv(in-start, d))
	return lo, max(lo, hi)
}

// Divisor is what AveragePool divides by along one axis: the elements under the window, with includePad those of the
// padding too (but not what Ceil adds beyond it). A window's divisor is the product of both axes'.
func (w Window) Divisor(axis, o, in int, includePad bool) int {
	if !includePad {
		lo, hi := w.Taps(axis, o, in)
		return hi - lo
	}
	start := w.Start(axis, o)
	return min(start+w.Kernel[axis], in+w.End[axis]) - start
}

// TransposedOut is the extent of a ConvTranspose's output: (in-1)*Stride + Extent + outputPadding - pads.
func (w Window) TransposedOut(axis, in, outputPadding int) int {
	return (in-1)*w.Stride[axis] + w.Extent(axis) + outputPadding - w.Begin[axis] - w.End[axis]
}
