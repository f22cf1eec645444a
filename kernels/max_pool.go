package kernels

import "f2pad.example/engine/graph"

// MaxPool takes maxima under windows, X [Images,H,W,C] to Out [Images,OH,OW,C]; its gradient, with Grad, [Images,OH,OW,C], gives
// each window's to its first largest element: Out is then [Images,H,W,C].
type MaxPool struct {
	Images, C    int
	In, Pooled   [2]int // H and W, OH and OW
	Form         Ptr    // int32: MaxPoolForm
	X, Grad, Out Ptr    // Grad 0: forward

	HalfX, HalfGrad, HalfOut bool // float16
}

// MaxPoolForm is what the kernel reads of the geometry.
func MaxPoolForm(w graph.Window, channels int, in, pooled [2]int) []int32 {
	form := []int32{int32(channels)}
	for _, pair := range [][2]int{in, pooled, w.Kernel, w.Stride, w.Dilation, w.Begin} {
		form = append(form, int32(pair[0]), int32(pair[1]))
	}
	return form
}

// Enqueue launches the kernel.
func (p MaxPool) Enqueue(q Queue) error {
	in, pooled := p.In[0]*p.In[1]*p.C, p.Pooled[0]*p.Pooled[1]*p.C
	if err := checkElements("max_pool", p.Images, in, pooled); err != nil {
		return err
	}
	if err := aligned("max_pool", 2, named{"form", p.Form}, named{"x", p.X}, named{"out", p.Out}); err != nil {
		return err
	}
	l := Launch{Module: "max_pool", Kernel: "max_pool", Grid: [3]int{ceil(pooled, 256), p.Images}, Block: 256, Cost: p.Cost(),
		Args: []Arg{p.Form.Arg(), p.X.Arg(), p.Out.Arg(), Int(int(halves(p.HalfX, p.HalfGrad, p.HalfOut)))}}
	if p.Grad != 0 {
		l.Kernel, l.Grid[0] = "max_pool_grad", ceil(in, 256)
		l.Args = []Arg{p.Form.Arg(), p.Grad.Arg(), p.X.Arg(), p.Out.Arg(), Int(int(halves(p.HalfX, p.HalfGrad, p.HalfOut)))}
	}
	return q.Launch(l)
}

// Cost is that of one launch.
func (p MaxPool) Cost() Cost {
	in, pooled := p.In[0]*p.In[1]*p.C, p.Pooled[0]*p.Pooled[1]*p.C
	if p.Grad != 0 {
		return Cost{Bytes: int64(p.Images) * int64(in*(width(p.HalfX)+width(p.HalfOut))+pooled*width(p.HalfGrad))}
	}
	return Cost{Bytes: int64(p.Images) * int64(in*width(p.HalfX)+pooled*width(p.HalfOut))}
}
