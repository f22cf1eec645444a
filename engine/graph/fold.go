package graph

import (
	"math"

	"f2pad/engine/nd"
)

// Fold removes every BatchNormalization: y = x*a + b with a = scale/sqrt(var+epsilon), b = B - mean*a. Where x is the
// output of a Conv that nobody else reads, a and b go into new weights of the Conv, which then defines y; elsewhere a Mul
// and an Add remain. Other values keep their names. Constants that are no longer read are left to Prune.
func (g *Graph) Fold() error {
	shapes, err := g.Infer()
	if err != nil {
		return err
	}
	readers, makers := map[string]int{}, map[string]*Node{}
	for _, name := range g.Outputs {
		readers[name]++
	}
	for _, n := range g.Nodes {
		for _, name := range n.In {
			readers[name]++
		}
	}
	f := folder{g, map[string]bool{}}
	for name := range shapes {
		f.taken[name] = true
	}
	for _, n := range g.Nodes {
		f.taken[n.Name] = true
	}
	var nodes []*Node
	for _, n := range g.Nodes {
		if n.Op != BatchNormalization {
			nodes = append(nodes, n)
			makers[n.Out] = n
			continue
		}
		a, b := f.affine(n)
		if conv := makers[n.In[0]]; conv != nil && conv.Op == Conv && readers[n.In[0]] == 1 {
			f.intoConv(conv, a, b)
			conv.Out = n.Out
			makers[n.Out] = conv
			continue
		}
		perChannel := make([]int, len(shapes[n.Out])-1) // [C,1,1] broadcasts to [N,C,H,W]
		for i := range perChannel {
			perChannel[i] = 1
		}
		perChannel[0] = len(a)
		scaled := f.fresh(n.Name + "/scaled")
		nodes = append(nodes,
			&Node{Name: scaled, Op: Mul, In: []string{n.In[0], f.constant(n.Name+"/a", a, perChannel...)}, Out: scaled},
			&Node{Name: n.Name, Op: Add, In: []string{scaled, f.constant(n.Name+"/b", b, perChannel...)}, Out: n.Out})
	}
	g.Nodes = nodes
	return g.Validate()
}

type folder struct {
	g     *Graph
	taken map[string]bool
}

// affine is the normalisation as y = x*a + b, one pair per channel.
func (f folder) affine(n *Node) (a, b []float64) {
	data := func(i int) []float32 { return nd.Data(f.g.Consts[n.In[i]]) }
	scale, shift, mean, variance := data(1), data(2), data(3), data(4)
	a, b = make([]float64, len(scale)), make([]float64, len(scale))
	for c := range a {
		a[c] = float64(scale[c]) / math.Sqrt(float64(variance[c])+float64(n.Float("epsilon", 1e-5)))
		b[c] = float64(shift[c]) - float64(mean[c])*a[c]
	}
	return a, b
}

// intoConv gives conv the weights W*a and the bias B*a + b.
func (f folder) intoConv(conv *Node, a, b []float64) {
	old := f.g.Consts[conv.In[1]]
	w := make([]float64, len(nd.Data(old)))
	per := len(w) / len(a)
	for i, v := range nd.Data(old) {
		w[i] = float64(v) * a[i/per]
	}
	if len(conv.In) == 3 && conv.In[2] != "" {
		for c, v := range nd.Data(f.g.Consts[conv.In[2]]) {
			b[c] += float64(v) * a[c]
		}
	}
	conv.In = []string{conv.In[0], f.constant(conv.Name+"/W", w, old.Shape()...), f.constant(conv.Name+"/B", b, len(b))}
}

// constant adds a constant under name, or one like it if that is taken.
func (f folder) constant(name string, v []float64, shape ...int) string {
	t := nd.New(shape...)
	for i := range v {
		nd.Data(t)[i] = float32(v[i])
	}
	name = f.fresh(name)
	f.g.Consts[name] = t
	return name
}

// fresh returns name, lengthened until nothing else has it, and takes it.
func (f folder) fresh(name string) string {
	for f.taken[name] {
		name += "'"
	}
	f.taken[name] = true
	return name
}
