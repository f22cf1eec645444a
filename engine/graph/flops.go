package graph

// FLOPs counts what convolutions and products take for one image; a multiply-add is two. It fails where shapes do not fit.
func (g *Graph) FLOPs() (int, error) {
	shapes, err := g.Infer()
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, n := range g.Nodes {
		y := shapes[n.Out].PerImage()
		switch n.Op {
		case Conv:
			sum += 2 * y * shapes[n.In[1]].PerImage()
		case ConvTranspose:
			sum += 2 * shapes[n.In[0]].PerImage() * shapes[n.In[1]].PerImage()
		case MatMul, Gemm:
			a := shapes[n.In[0]]
			sum += 2 * y * a[len(a)-1]
		}
	}
	return sum, nil
}

// Traffic counts the float32 values that the operators move: those of one image, each operator reading its inputs and writing its
// output once, and the weights. What works element by element rides along with what made its first input: of it only the other
// inputs count. It fails where shapes do not fit.
func (g *Graph) Traffic() (image, weights int, err error) {
	shapes, err := g.Infer()
	if err != nil {
		return 0, 0, err
	}
	for _, n := range g.Nodes {
		in := n.In
		switch n.Op {
		case Relu, LeakyRelu, Clip, Sigmoid, HardSigmoid, HardSwish, Tanh, Exp, Log, Sqrt, Abs, Erf, Sign, Step, Add, Sub, Mul, Div, Reshape:
			in = in[1:]
		default:
			image += shapes[n.Out].PerImage()
		}
		for _, name := range in {
			switch c := g.Consts[name]; {
			case c != nil:
				weights += c.Shape().TotalSize()
			case name != "":
				image += shapes[name].PerImage()
			}
		}
	}
	return image, weights, nil
}
