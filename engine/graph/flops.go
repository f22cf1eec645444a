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
