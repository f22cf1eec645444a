package kernels

import (
	"fmt"
	"math"
)

// SeparableAxes is the most axes that Separable takes.
const SeparableAxes = 7

// AxisTap is what one coordinate of the output reads along an axis: a place, in elements, and its weight.
type AxisTap struct {
	Offset int
	Weight float32
}

// SeparableAxis is the map along one axis.
type SeparableAxis struct {
	Stride int         // of y
	Taps   [][]AxisTap // of each coordinate of y; none: y is the constant there
}

// SeparableForm is the map, outermost axis first as y lies in memory, as the kernel reads it.
type SeparableForm struct {
	Axes     int     // of the kernel
	Elements int     // of y
	Words    []int32 // extents, strides, lists; then the starts of the lists
	Starts   int     // index of these in Words
	Taps     []int32 // offsets and weights' bits
}

// PlanSeparable lays a map of up to SeparableAxes axes out.
func PlanSeparable(axes []SeparableAxis) (SeparableForm, error) {
	if len(axes) < 1 || len(axes) > SeparableAxes {
		return SeparableForm{}, fmt.Errorf("kernels: separable: %d axes, want 1 to %d", len(axes), SeparableAxes)
	}
	f := SeparableForm{Axes: 3, Elements: 1, Starts: 3 * SeparableAxes, Words: make([]int32, 3*SeparableAxes)}
	if len(axes) > 3 {
		f.Axes = SeparableAxes
	}
	for a := range f.Axes {
		axis := SeparableAxis{Taps: [][]AxisTap{{{0, 1}}}}
		if missing := f.Axes - len(axes); a >= missing {
			axis = axes[a-missing]
		}
		f.Elements *= len(axis.Taps)
		f.Words[a], f.Words[SeparableAxes+a] = int32(len(axis.Taps)), int32(axis.Stride)
		f.Words[2*SeparableAxes+a] = int32(len(f.Words) - f.Starts)
		for _, list := range axis.Taps {
			f.Words = append(f.Words, int32(len(f.Taps)/2))
			for _, t := range list {
				f.Taps = append(f.Taps, int32(t.Offset), int32(math.Float32bits(t.Weight)))
			}
		}
		f.Words = append(f.Words, int32(len(f.Taps)/2))
	}
	return f, nil
}

// Separable applies a linear map that is one along each axis to X, for every image; Out may be within a larger array.
type Separable struct {
	Images, Axes, Elements int     // of the form
	Form, Starts, Taps     Ptr     // its Words, those from Starts on, and its Taps
	InImage, OutImage      int     // elements from one image to the next
	None                   float32 // where a coordinate has no taps
	X, Out                 Ptr
	HalfX, BitsX, HalfOut  bool // float16; bits, which stand for 0 and 1
}

// Enqueue launches the kernel.
func (s Separable) Enqueue(q Queue) error {
	if err := checkElements("separable", s.Images, s.Elements, s.InImage, s.OutImage); err != nil {
		return err
	}
	if s.Axes != 3 && s.Axes != SeparableAxes {
		return fmt.Errorf("kernels: separable: a form of %d axes", s.Axes)
	}
	err := aligned("separable", 4, named{"form", s.Form}, named{"starts", s.Starts}, named{"taps", s.Taps})
	if err == nil {
		err = aligned("separable", 2, named{"x", s.X}, named{"out", s.Out})
	}
	if err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "separable", Kernel: fmt.Sprintf("separable%d", s.Axes), Grid: [3]int{ceil(s.Elements, 256), s.Images}, Block: 256,
		Args: []Arg{s.Form.Arg(), s.Starts.Arg(), s.Taps.Arg(), Int(s.Elements), s.X.Arg(), Int(s.InImage), Float(s.None), s.Out.Arg(), Int(s.OutImage),
			Int(int(halves(s.HalfX, s.BitsX, s.HalfOut)))},
		Cost: s.Cost(),
	})
}

// Cost is that of one launch.
func (s Separable) Cost() Cost {
	in := s.InImage * width(s.HalfX)
	if s.BitsX {
		in = s.InImage / 8
	}
	return Cost{Bytes: int64(s.Images) * int64(s.Elements*width(s.HalfOut)+in)}
}
