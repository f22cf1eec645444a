package kernels

import (
	"fmt"
	"math"
	"unsafe"

	"f2pad.example/engine/graph"
)

// ConvRow is where one pixel of a convolution's output reads and is written.
type ConvRow struct {
	First int32  // pixel of x under tap (0,0); it may lie outside
	Pitch int32  // pixels of x from one row of the image to the next
	Valid uint32 // least bytes of the taps that exist: see ConvPiece
	Out   int32  // pixel of y
}

// ConvPiece is some neighbouring channels under one tap.
type ConvPiece struct {
	DY   int32  // rows of x below First
	At   int32  // values of x to the right of that
	Tap  uint32 // bytes ky, KH-1-ky, kx, KW-1-kx, each plus 128: a tap exists where none is below its byte of Valid
	Real uint32 // 0x80808080, or 1 for what fills the last step up
}

const (
	noTap     = 0x7f7f7f7f // a row's Valid where no tap exists
	realPiece = 0x80808080
	maxKernel = 127
)

// ConvKind is a kernel, as far as tables and weights are made for it.
type ConvKind struct {
	Half      bool // float16
	Tensor    bool // on the tensor cores, in float32 by three products
	Direct    bool // for groups of few channels
	Depthwise bool // Direct, each group one channel
	Wide      bool // pieces of 4 channels for multiply-adds in float32
	tile      tile
}

type tile struct{ rows, columns int }

// In float32 the tensor cores take convolutions of one group, from tensorIn channels to tensorOut or more, in multiples of 4. By the data
// sheets' rates three products take some 40 % of the time of multiply-adds (A100, H100; not measured); where there are fewer channels, memory
// is what takes time, or tiles are half empty.
const tensorIn, tensorOut = 16, 24

// ConvKindFor chooses the kernel for groups of so many channels in and out. It depends on nothing else, so that a result has the same
// bits whatever images it is computed with.
func ConvKindFor(inGroup, outGroup, groups int, half bool) (ConvKind, error) {
	k := ConvKind{Half: half}
	three := !half && groups == 1 && inGroup%4 == 0 && outGroup%4 == 0 && inGroup >= tensorIn && outGroup >= tensorOut
	switch {
	case half && groups == 1 && (inGroup%8 != 0 || outGroup%8 != 0):
		return k, fmt.Errorf("kernels: conv: float16 in one group needs multiples of 8 channels (FitConv makes them), not %d to %d", inGroup, outGroup)
	case three || half && inGroup%8 == 0 && outGroup%8 == 0:
		k.Tensor = true
		switch {
		case outGroup > 64:
			k.tile = tile{128, 128}
		case outGroup > 32:
			k.tile = tile{128, 64}
		default:
			k.tile = tile{64, 32}
		}
	case half || groups > 1 && (inGroup < 8 || outGroup < 8):
		k.Direct, k.Depthwise = true, inGroup == 1 && outGroup == 1 && groups%k.piece() == 0
	default:
		return multiplyAdds(inGroup, outGroup), nil
	}
	return k, nil
}

// multiplyAdds is the kernel in float32 without tensor cores.
func multiplyAdds(inGroup, outGroup int) ConvKind {
	k := ConvKind{Wide: inGroup%4 == 0, tile: tile{128, 16}}
	if outGroup > 16 {
		k.tile.columns = 64
	}
	return k
}

// step is how many values of the kernel a step takes, piece how many 16 bytes hold.
func (k ConvKind) step() int {
	switch {
	case k.Direct:
		return 1
	case k.Half:
		return 32
	}
	return 16
}

func (k ConvKind) piece() int {
	if k.Half {
		return 8
	}
	return 4
}

// channels is how many channels a ConvPiece stands for.
func (k ConvKind) channels() int {
	if k.Tensor || k.Wide {
		return k.piece()
	}
	return 1
}

// ConvWeights is a convolution's [M,C/group,kH,kW], or a transposed one's [C,M/group,kH,kW].
type ConvWeights struct {
	Shape  [4]int
	Groups int
	Values []float32
}

// ConvTables is what a convolution reads beside the image. Weights take longest to lay out: Pack does that, and Layout tells
// apart what it may make of the same ones.
type ConvTables struct {
	Kind   ConvKind
	Rows   []ConvRow
	Pieces []ConvPiece
	Steps  int
	Layout string
	Pack   func() []byte
}

// axis is a convolution along one axis of an image: output coordinate at[i] reads start[i], start[i]+step, ... for its taps
// lo[i] to hi[i]; tap t is the kernel's taps[t].
type axis struct {
	at, start, lo, hi []int
	step              int
	taps              []int
}

// add appends an output coordinate.
func (a *axis) add(at, start, in int) {
	lo, hi := 0, len(a.taps)
	for lo < hi && (start+lo*a.step < 0 || start+lo*a.step >= in) {
		lo++
	}
	for lo < hi && (start+(hi-1)*a.step < 0 || start+(hi-1)*a.step >= in) {
		hi--
	}
	a.at, a.start, a.lo, a.hi = append(a.at, at), append(a.start, start), append(a.lo, lo), append(a.hi, hi)
}

// forward is the axis of a convolution.
func forward(w graph.Window, i, in, out int) axis {
	a := axis{step: w.Dilation[i]}
	for k := range w.Kernel[i] {
		a.taps = append(a.taps, k)
	}
	for o := range out {
		a.add(o, w.Start(i, o), in)
	}
	return a
}

// phases are the axes of a transposed convolution: input i goes with tap k to output i*stride - begin + k*dilation, so the
// outputs of each remainder by the stride have taps of their own.
func phases(w graph.Window, i, in, out int) []axis {
	stride, dilation := w.Stride[i], w.Dilation[i]
	all := make([]axis, stride)
	for k := range w.Kernel[i] {
		a := &all[k*dilation%stride]
		a.taps = append(a.taps, k)
	}
	for p := range all {
		a := &all[p]
		if len(a.taps) > 1 {
			a.step = -(a.taps[1] - a.taps[0]) * dilation / stride
		}
		for o := ((p-w.Begin[i])%stride + stride) % stride; o < out; o += stride {
			start := 0
			if len(a.taps) > 0 {
				start = (o + w.Begin[i] - a.taps[0]*dilation) / stride
			}
			a.add(o, start, in)
		}
	}
	return all
}

// PlanConv lays a convolution of images in[0] x in[1] to out[0] x out[1] out for its kernel.
func PlanConv(win graph.Window, in, out [2]int, w ConvWeights, half bool) (ConvTables, error) {
	kind, err := ConvKindFor(w.Shape[1], w.Shape[0]/w.Groups, w.Groups, half)
	if err != nil {
		return ConvTables{}, err
	}
	return planConv(kind, win, in, out, w)
}

// PlanMultiplyAdds is PlanConv for float32 without tensor cores, which others are compared with.
func PlanMultiplyAdds(win graph.Window, in, out [2]int, w ConvWeights) (ConvTables, error) {
	return planConv(multiplyAdds(w.Shape[1], w.Shape[0]/w.Groups), win, in, out, w)
}

func planConv(kind ConvKind, win graph.Window, in, out [2]int, w ConvWeights) (ConvTables, error) {
	perGroup := w.Shape[0] / w.Groups
	y, x := forward(win, 0, in[0], out[0]), forward(win, 1, in[1], out[1])
	return tables(kind, y, x, in, out, w.Shape[1]*w.Groups, w.Shape[1], perGroup, w.Groups, func(n, c, ky, kx int) float32 {
		return w.Values[((n*w.Shape[1]+c)*w.Shape[2]+ky)*w.Shape[3]+kx]
	})
}

// PlanConvTranspose lays a transposed convolution out: one convolution for each phase that has any output.
func PlanConvTranspose(win graph.Window, in, out [2]int, w ConvWeights, half bool) ([]ConvTables, error) {
	perGroup := w.Shape[0] / w.Groups
	kind, err := ConvKindFor(perGroup, w.Shape[1], w.Groups, half)
	if err != nil {
		return nil, err
	}
	var all []ConvTables
	for _, y := range phases(win, 0, in[0], out[0]) {
		for _, x := range phases(win, 1, in[1], out[1]) {
			if len(y.at) == 0 || len(x.at) == 0 {
				continue
			}
			t, err := tables(kind, y, x, in, out, w.Shape[0], perGroup, w.Shape[1], w.Groups, func(n, c, ky, kx int) float32 {
				group := n / w.Shape[1]
				return w.Values[(((group*perGroup+c)*w.Shape[1]+n%w.Shape[1])*w.Shape[2]+ky)*w.Shape[3]+kx]
			})
			if err != nil {
				return nil, err
			}
			all = append(all, t)
		}
	}
	return all, nil
}

// tables makes the tables of a convolution; weight is that of output channel n, channel c of its group and a tap.
func tables(
	kind ConvKind, y, x axis, in, out [2]int, channels, inGroup, outGroup, groups int, weight func(n, c, ky, kx int) float32,
) (ConvTables, error) {
	t := ConvTables{Kind: kind}
	kh, kw := len(y.taps), len(x.taps)
	if kh > maxKernel || kw > maxKernel {
		return t, fmt.Errorf("kernels: conv: a kernel of %dx%d, want at most %d on a side", kh, kw, maxKernel)
	}
	for i := range y.at {
		for j := range x.at {
			r := ConvRow{First: int32(y.start[i]*in[1] + x.start[j]), Pitch: int32(in[1]), Out: int32(y.at[i]*out[1] + x.at[j]), Valid: noTap}
			if y.lo[i] < y.hi[i] && x.lo[j] < x.hi[j] {
				r.Valid = tapBytes(y.lo[i], kh-y.hi[i], x.lo[j], kw-x.hi[j])
			}
			t.Rows = append(t.Rows, r)
		}
	}
	values := kh * kw * inGroup
	type value struct{ c, ky, kx int }
	at := make([]value, 0, values)
	for ky := range kh {
		for kx := range kw {
			for c := range inGroup {
				if c%kind.channels() == 0 {
					t.Pieces = append(t.Pieces, ConvPiece{
						DY: int32(ky * y.step), At: int32(kx*x.step*channels + c), Tap: tapBytes(ky, kh-1-ky, kx, kw-1-kx) + realPiece, Real: realPiece,
					})
				}
				at = append(at, value{c, y.taps[ky], x.taps[kx]})
			}
		}
	}
	step := kind.step()
	t.Steps = ceil(values, step)
	t.Layout = fmt.Sprint(kind, inGroup, outGroup, groups, y.taps, x.taps)
	if kind.Direct {
		t.Pack = func() []byte {
			line := ceil(outGroup*groups, kind.piece()) * kind.piece()
			w := make([]float32, values*line)
			for k, v := range at {
				for n := range outGroup * groups {
					w[k*line+n] = weight(n, v.c, v.ky, v.kx)
				}
			}
			return kind.bytes(w)
		}
		return t, nil
	}
	for len(t.Pieces) < t.Steps*step/kind.channels() {
		t.Pieces = append(t.Pieces, ConvPiece{Real: 1})
	}
	// Panels of a step's values, for each tile of columns: [k][column], or for tensor cores [column][k], pieces twisted as the kernel's
	// placeOf does it.
	width, per := kind.tile.columns, kind.piece()
	columns := ceil(outGroup, width)
	panel := step * width
	t.Pack = func() []byte {
		w := make([]float32, groups*columns*t.Steps*panel)
		for g := range groups {
			for n := range outGroup {
				for k, v := range at {
					base, k, column := ((g*columns+n/width)*t.Steps+k/step)*panel, k%step, n%width
					place := k*width + column
					if kind.Tensor {
						place = column*step + (k/per^column/2%4)*per + k%per
					}
					w[base+place] = weight(g*outGroup+n, v.c, v.ky, v.kx)
				}
			}
		}
		return kind.bytes(w)
	}
	return t, nil
}

// bytes are weights in the kernel's kind of numbers.
func (k ConvKind) bytes(w []float32) []byte {
	if !k.Half {
		return Bytes(w)
	}
	h := make([]uint16, len(w))
	for i, v := range w {
		h[i] = Float16(v)
	}
	return Bytes(h)
}

func tapBytes(a, b, c, d int) uint32 { return uint32(a) | uint32(b)<<8 | uint32(c)<<16 | uint32(d)<<24 }

// Float16 rounds to float16, ties to even; what is too large becomes infinite.
func Float16(v float32) uint16 {
	b := math.Float32bits(v)
	sign, size := uint16(b>>16)&0x8000, b&0x7fffffff
	switch {
	case size > 0x7f800000:
		return sign | 0x7e00
	case size >= 0x47800000: // 65536
		return sign | 0x7c00
	case size < 0x38800000: // 2^-14: in units of 2^-24
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(size))*(1<<24)))
	}
	size -= 112 << 23
	return sign | uint16((size+0xfff+size>>13&1)>>13) // a carry reaches infinity as it should
}

// FromFloat16 is the float32 of the same value.
func FromFloat16(h uint16) float32 {
	size := float64(h & 0x3ff)
	switch e := int(h >> 10 & 31); e {
	case 0:
		size *= 1.0 / (1 << 24)
	case 31:
		if h&0x3ff != 0 {
			return float32(math.NaN())
		}
		size = math.Inf(1)
	default:
		size = math.Ldexp(1024+size, e-25)
	}
	return float32(math.Copysign(size, float64(1-int(h>>15)*2)))
}

// TableBytes are the rows as the kernel reads them, PieceBytes the pieces.
func (t ConvTables) TableBytes() []byte { return structBytes(t.Rows) }
func (t ConvTables) PieceBytes() []byte { return structBytes(t.Pieces) }

func structBytes[T ConvRow | ConvPiece | FlowLayer | FlowTap](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(s[0])))
}
