package kernels

import (
	"fmt"
	"math"
)

// PointOp is an operation of Pointwise on what there is, v. Its step's operand is an input, its constants are P and Q.
type PointOp uint32

// The operations, numbered as in pointwise.cu.
const (
	PointClip        PointOp = iota // least(most(v, P), Q); NaN stays
	PointLeakyRelu                  // P v below 0
	PointSigmoid                    // 1/(1 + e^-v)
	PointHardSigmoid                // clip(P v + Q, 0, 1)
	PointHardSwish                  // v clip(v/6 + 1/2, 0, 1)
	PointTanh                       // tanh v
	PointExp                        // e^v
	PointLog                        // log v
	PointSqrt                       // the square root
	PointAbs                        // |v|
	PointErf                        // the error function
	PointSign                       // -1, 0 or 1; NaN stays
	PointStep                       // 1 where P < v < Q, else 0
	PointAdd                        // v + operand
	PointSub                        // v - operand
	PointSubFrom                    // operand - v
	PointMul                        // v operand
	PointDiv                        // v / operand
	PointDivInto                    // operand / v
	PointGate                       // v where P < operand < Q, else v 0
	pointOps
)

// PointProgramStep is one step of a program.
type PointProgramStep struct {
	Op      PointOp
	Operand int
	P, Q    float32
}

// Most of what a program may have.
const (
	PointInputs = 4
	PointSteps  = 16
	pointRank   = 8
)

// PointForm says what Pointwise computes and how it reads.
type PointForm struct {
	Extents []int              // of an image's part of y, outermost first as it lies in memory
	Strides [][]int            // of each input along these; nil: its elements lie as those of y do
	Program []PointProgramStep // v is input 0 at first
	// The inputs that are float16, or bits, which stand for 0 and 1. The others are float32.
	Halves, Bits [PointInputs]bool
	HalfOut      bool
}

// Words is the form as the kernel reads it.
func (f PointForm) Words() ([]int32, error) {
	if len(f.Extents) > pointRank || len(f.Strides) < 1 || len(f.Strides) > PointInputs || len(f.Program) > PointSteps {
		return nil, fmt.Errorf("kernels: pointwise: %d axes, %d inputs, %d steps, want at most %d, %d, %d",
			len(f.Extents), len(f.Strides), len(f.Program), pointRank, PointInputs, PointSteps)
	}
	w := make([]int32, 4+pointRank+PointInputs*(1+pointRank)+4*PointSteps)
	w[0], w[1], w[2] = int32(len(f.Extents)), int32(len(f.Strides)), int32(len(f.Program))
	for a, d := range f.Extents {
		w[4+a] = int32(d)
	}
	for j := range PointInputs {
		w[3] |= halves(f.Halves[j], f.Bits[j]) << (2 * j)
	}
	w[3] |= halves(f.HalfOut) << (2 * PointInputs)
	flat, strides, program := w[4+pointRank:], w[4+pointRank+PointInputs:], w[4+pointRank+PointInputs*(1+pointRank):]
	for j, s := range f.Strides {
		if s == nil {
			flat[j] = 1
			continue
		}
		if len(s) != len(f.Extents) {
			return nil, fmt.Errorf("kernels: pointwise: %d strides for %d axes", len(s), len(f.Extents))
		}
		for a, d := range s {
			strides[j*pointRank+a] = int32(d)
		}
	}
	for i, s := range f.Program {
		if s.Op >= pointOps || s.Operand < 0 || s.Operand >= len(f.Strides) {
			return nil, fmt.Errorf("kernels: pointwise: operation %d of input %d", s.Op, s.Operand)
		}
		copy(program[4*i:], []int32{int32(s.Op), int32(s.Operand), int32(math.Float32bits(s.P)), int32(math.Float32bits(s.Q))})
	}
	return w, nil
}

// Pointwise computes Out [Images,Elements] element by element from up to 4 inputs by a short program.
type Pointwise struct {
	Images, Elements int
	Form             Ptr // int32: PointForm.Words
	In               [PointInputs]Ptr
	InImage          [PointInputs]int // elements from one image to the next; 0 where all share
	Out              Ptr              // may be an input that lies as it does
}

// Enqueue launches the kernel.
func (p Pointwise) Enqueue(q Queue) error {
	if err := checkElements("pointwise", p.Images, p.Elements); err != nil {
		return err
	}
	err := aligned("pointwise", 4, named{"form", p.Form})
	if err == nil {
		err = aligned("pointwise", 2, named{"input 0", p.In[0]}, named{"out", p.Out})
	}
	if err != nil {
		return err
	}
	args := []Arg{p.Form.Arg(), Int(p.Elements)}
	for _, x := range p.In {
		args = append(args, x.Arg())
	}
	for _, s := range p.InImage {
		args = append(args, Int(s))
	}
	return q.Launch(Launch{
		Module: "pointwise", Kernel: "pointwise", Grid: [3]int{ceil(p.Elements, 256), p.Images}, Block: 256, Args: append(args, p.Out.Arg()),
		Cost: Cost{Bytes: 2 * int64(p.Images) * int64(p.Elements)}, // at least: the form knows the inputs, and what is float32
	})
}

// Cost is that of one launch whose inputs, so many, are as large as what is written.
func (p Pointwise) Cost(inputs int) Cost {
	return Cost{Bytes: 4 * int64(inputs+1) * int64(p.Images) * int64(p.Elements)}
}

// halves has a bit for each array that is float16, or whatever else is asked.
func halves(half ...bool) (bits int32) {
	for i, h := range half {
		if h {
			bits |= 1 << i
		}
	}
	return bits
}

// maxElements bounds the elements of an image's part of an array, so that indices fit an int32 with room.
const maxElements = 1 << 30

// width is the bytes of a value.
func width(half bool) int {
	if half {
		return 2
	}
	return 4
}

func checkElements(kernel string, images int, elements ...int) error {
	if images < 1 || images > 65535 {
		return fmt.Errorf("kernels: %s: batch of %d, want 1 to 65535", kernel, images)
	}
	for _, n := range elements {
		if n < 1 || n > maxElements {
			return fmt.Errorf("kernels: %s: %d elements an image, want 1 to %d", kernel, n, maxElements)
		}
	}
	return nil
}
