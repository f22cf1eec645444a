package kerneltest

import (
	"fmt"
	"math"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/graph"
	"f2pad.example/kernels"
)

// convLayer is a convolution of a network that sees 256 pixels, padded by half of its kernel.
type convLayer struct {
	name                                   string
	side, from, to, kernel, stride, groups int // side: of what goes in
}

// layerBatch is how many images the layers are measured with.
const layerBatch = 32

var convLayers = []convLayer{
	{"resnet18 stem", 256, 3, 64, 7, 2, 1},
	{"resnet18 layer1", 64, 64, 64, 3, 1, 1},
	{"resnet18 layer2, first", 64, 64, 128, 3, 2, 1},
	{"resnet18 layer2, shortcut", 64, 64, 128, 1, 2, 1},
	{"resnet18 layer2", 32, 128, 128, 3, 1, 1},
	{"resnet18 layer3, first", 32, 128, 256, 3, 2, 1},
	{"resnet18 layer3", 16, 256, 256, 3, 1, 1},
	{"wide50 layer1, in", 64, 256, 128, 1, 1, 1},
	{"wide50 layer1", 64, 128, 128, 3, 1, 1},
	{"wide50 layer1, out", 64, 128, 256, 1, 1, 1},
	{"wide50 layer2, first", 64, 256, 256, 3, 2, 1},
	{"wide50 layer2", 32, 256, 256, 3, 1, 1},
	{"wide50 layer2, out", 32, 256, 512, 1, 1, 1},
	{"wide50 layer3", 16, 512, 512, 3, 1, 1},
	{"wide50 layer3, out", 16, 512, 1024, 1, 1, 1},
	{"lite0 stem", 256, 3, 32, 3, 2, 1},
	{"lite0 block 2, expand", 64, 24, 144, 1, 1, 1},
	{"lite0 block 1, depthwise", 128, 96, 96, 3, 2, 96},
	{"lite0 block 4, depthwise", 32, 240, 240, 5, 1, 240},
	{"lite0 block 6, depthwise", 16, 480, 480, 3, 1, 480},
	{"lite0 block 6, project", 16, 480, 80, 1, 1, 1},
	{"lite0 block 9, expand", 16, 112, 672, 1, 1, 1},
}

func init() {
	// The fastest of each layer comes first, should time be short.
	var slower []Bench
	for _, l := range convLayers {
		for _, gradient := range []bool{false, true} {
			in, out := l.from/l.groups, l.to/l.groups
			if gradient {
				in, out = out, in
			}
			if _, err := kernels.ConvKindFor(in, out, l.groups, true); err != nil {
				registerBench(l.bench(gradient, false, true))
				continue
			}
			registerBench(l.bench(gradient, true, false))
			slower = append(slower, l.bench(gradient, false, false))
		}
	}
	registerBench(slower...)
}

// bench is the case of the layer, ReLU and bias with it, or of its gradient w.r.t. what goes in; alone says that there is none in
// float16, so that the peer shall show its own here.
func (l convLayer) bench(gradient, half, alone bool) Bench {
	what, precision := "forward", "float32"
	params := map[string]int{
		"n": layerBatch, "side": l.side, "channels": l.from, "outs": l.to, "kernel": l.kernel, "stride": l.stride, "groups": l.groups,
	}
	if gradient {
		what, params["gradient"] = "gradient", 1
	}
	if half {
		precision, params["half"] = "float16", 1
	}
	if alone {
		params["alone"] = 1
	}
	return Bench{
		Kernel: "conv", Peer: "conv", Params: params,
		Size: fmt.Sprintf("%s: %d x %d x %d x %d to %d, %dx%d, stride %d, %s, %s", l.name, layerBatch, l.from, l.side, l.side, l.to,
			l.kernel, l.kernel, l.stride, what, precision),
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			n, layer := layerBatch, l
			if b.Small {
				n, layer = 1, l.small()
			}
			w := &convWork{convLayer: layer, n: n, gradient: gradient, half: half}
			err := w.prepare(b)
			return w.enqueue, w.cost(), err
		},
	}
}

// small is a layer of the same kind with an eighth of everything.
func (l convLayer) small() convLayer {
	eighth := func(n int) int { return min(n, max(8, n/64*8)) }
	if l.groups > 1 {
		l.groups = eighth(l.groups)
	}
	l.side, l.from, l.to = l.side/8, eighth(l.from), eighth(l.to)
	return l
}

// convWork is a layer on a machine.
type convWork struct {
	convLayer
	n              int
	gradient, half bool
	x, w, bias     []float32 // x [n,pixels,channels] is repeated
	launches       []kernels.Conv
	out            kernels.Ptr
}

// pixels and channels of what is read and of what is written.
func (w *convWork) geometry() (in, out, channels, outs int) {
	in, out, channels, outs = w.side, (w.side+2*(w.kernel/2)-w.kernel)/w.stride+1, w.from, w.to
	if w.gradient {
		return out, in, outs, channels
	}
	return in, out, channels, outs
}

func (w *convWork) enqueue(q kernels.Queue) error {
	for _, k := range w.launches {
		if err := k.Enqueue(q); err != nil {
			return err
		}
	}
	return nil
}

// cost counts each value once, and products beyond the borders, too.
func (w *convWork) cost() kernels.Cost {
	in, out, channels, outs := w.geometry()
	each := w.kernel * w.kernel * w.from / w.groups
	values := w.n*(in*in*channels+out*out*outs) + each*w.to
	flops := 2 * int64(w.n) * int64(min(in, out)) * int64(min(in, out)) * int64(w.to) * int64(each)
	if w.half {
		return kernels.Cost{Bytes: 2 * int64(values), TensorFlops: flops, Tensor: "f16"}
	}
	return kernels.Cost{Bytes: 4 * int64(values), Flops: flops}
}

func (w *convWork) prepare(b *Bed) error {
	in, out, channels, outs := w.geometry()
	pad, each := w.kernel/2, w.kernel*w.kernel*w.from/w.groups
	win := graph.Window{
		Kernel: [2]int{w.kernel, w.kernel}, Stride: [2]int{w.stride, w.stride}, Dilation: [2]int{1, 1}, Begin: [2]int{pad, pad}, End: [2]int{pad, pad},
	}
	w.x, w.w = b.block(w.n*in*in*channels, 0, 1), b.block(each*w.to, 0, float32(1/math.Sqrt(float64(each))))
	for len(w.w) < each*w.to { // Normal's blocks are shorter than large layers
		w.w = append(w.w, w.w[:min(len(w.w), each*w.to-len(w.w))]...)
	}
	if w.half {
		for _, v := range [][]float32{w.x, w.w} {
			for i := range v {
				v[i] = kernels.FromFloat16(kernels.Float16(v[i]))
			}
		}
	}
	weights := kernels.ConvWeights{Shape: [4]int{w.to, w.from / w.groups, w.kernel, w.kernel}, Groups: w.groups, Values: w.w}
	var all []kernels.ConvTables
	var err error
	if w.gradient {
		all, err = kernels.PlanConvTranspose(win, [2]int{in, in}, [2]int{out, out}, weights, w.half)
	} else {
		all = make([]kernels.ConvTables, 1)
		all[0], err = kernels.PlanConv(win, [2]int{in, in}, [2]int{out, out}, weights, w.half)
	}
	if err != nil {
		return err
	}
	k := kernels.Conv{
		Images: w.n, InPixels: in * in, OutPixels: out * out, C: channels, N: outs, Groups: w.groups,
		Lo: float32(math.Inf(-1)), Hi: float32(math.Inf(1)),
	}
	if !w.gradient {
		k.Lo, w.bias = 0, b.block(outs, 0, 1)
		if k.Bias, err = Put(b, w.bias); err != nil {
			return err
		}
	}
	size := 4
	if w.half {
		size = 2
	}
	if k.X, err = b.Alloc((w.n*in*in*channels*size + 3) / 4); err != nil {
		return err
	}
	if k.Out, err = b.Alloc((w.n*out*out*outs*size + 3) / 4); err != nil {
		return err
	}
	if w.half {
		err = repeat(b.M, k.X, toHalves(w.x), w.n*in*in*channels)
	} else {
		err = repeat(b.M, k.X, w.x, w.n*in*in*channels)
	}
	for _, t := range all {
		if err != nil {
			return err
		}
		k.Kind, k.Rows, k.Steps = t.Kind, len(t.Rows), t.Steps
		for _, a := range []struct {
			p     *kernels.Ptr
			bytes []byte
		}{{&k.Table, t.TableBytes()}, {&k.Pieces, t.PieceBytes()}, {&k.Weights, t.Pack()}} {
			if len(a.bytes) == 0 { // of a phase without taps
				continue
			}
			if *a.p, err = b.Alloc((len(a.bytes) + 3) / 4); err != nil {
				return err
			}
			if err = b.M.Write(*a.p, a.bytes); err != nil {
				return err
			}
		}
		w.launches = append(w.launches, k)
	}
	w.out = k.Out
	b.Check = func() error { return w.check(b) }
	return err
}

// layerFloat32 is for sums of up to 4608 products in one order, the sums being around 1.
var layerFloat32 = compare.Tolerance{Abs: 1e-4, Rel: 1e-5}

// Of so many pixels of the output, the corners of the first and the last image among them, so many channels are checked.
const checkedPixels, checkedChannels = 64, 16

// check compares samples of what was written with sums in float64.
func (w *convWork) check(b *Bed) error {
	_, out, _, outs := w.geometry()
	tolerance := layerFloat32
	if w.half {
		tolerance = convFloat16
	}
	pixels := w.n * out * out
	var got []float32
	var want []float64
	for i := range checkedPixels {
		p := b.Rand.IntN(pixels)
		if corners := []int{0, out - 1, pixels - out, pixels - 1}; i < len(corners) {
			p = corners[i]
		}
		row, err := w.read(b.M, p*outs, outs)
		if err != nil {
			return err
		}
		for range checkedChannels {
			c := b.Rand.IntN(outs)
			got, want = append(got, row[c]), append(want, w.sum(p, c))
		}
	}
	_, err := compare.Close(got, want, tolerance)
	return err
}

// read returns n values of what was written.
func (w *convWork) read(m kernels.Machine, first, n int) ([]float32, error) {
	if w.half {
		h := make([]uint16, n)
		err := m.Read(kernels.Bytes(h), w.out+kernels.Ptr(2*first))
		return fromHalves(h), err
	}
	v := make([]float32, n)
	return v, m.Read(kernels.Bytes(v), w.out.Plus(first))
}

// sum is what channel c of pixel p must be.
func (w *convWork) sum(p, c int) (sum float64) {
	in, out, channels, outs := w.geometry()
	image, y, x, pad := p/(out*out), p/out%out, p%out, w.kernel/2
	inGroup, outGroup := channels/w.groups, outs/w.groups
	group := c / outGroup
	for ky := range w.kernel {
		for kx := range w.kernel {
			iy, ix := y*w.stride-pad+ky, x*w.stride-pad+kx
			if w.gradient {
				if iy, ix = y+pad-ky, x+pad-kx; iy%w.stride != 0 || ix%w.stride != 0 {
					continue
				}
				iy, ix = iy/w.stride, ix/w.stride
			}
			if min(iy, ix) < 0 || max(iy, ix) >= in {
				continue
			}
			for k := group * inGroup; k < (group+1)*inGroup; k++ {
				m, ch := c, k-group*inGroup // of the weights
				if w.gradient {
					m, ch = k, c-group*outGroup
				}
				v := w.x[(((image*in+iy)*in+ix)*channels+k)%len(w.x)]
				sum += float64(v) * float64(w.w[((m*(w.from/w.groups)+ch)*w.kernel+ky)*w.kernel+kx])
			}
		}
	}
	if !w.gradient {
		sum = max(sum+float64(w.bias[c]), 0)
	}
	return sum
}
