package graph

import (
	"maps"
	"math"
	"slices"

	"f2pad.example/engine/nd"
)

// Fold removes every BatchNormalization: y = x*a + b with a = scale/sqrt(var+epsilon), b = B - mean*a. Where x is the
// output of a Conv that nobody else reads, a and b go into new weights of the Conv, which then defines y; elsewhere a Mul
// and an Add remain. A Conv that reads what a Pad has put zeros around, in space, does so itself; the Pad goes with its last
// reader. Other values keep their names. Constants that are no longer read are left to Prune.
func (g *Graph) Fold() error {
	shapes, err := g.Infer()
	if err != nil {
		return err
	}
	g.foldPads()
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

// foldPads gives each Conv the zeros of the Pads before it.
func (g *Graph) foldPads() {
	pads, readers := map[string]*Node{}, map[string]int{}
	for _, name := range g.Outputs {
		readers[name]++
	}
	for _, n := range g.Nodes {
		for _, name := range n.In {
			readers[name]++
		}
	}
	for _, n := range g.Nodes {
		switch n.Op {
		case Pad:
			if _, ok := zeros(n); ok {
				pads[n.Out] = n
			}
		case Conv:
			for pad := pads[n.In[0]]; pad != nil && n.pad(pad); pad = pads[n.In[0]] {
				readers[pad.Out]--
				readers[pad.In[0]]++
			}
		}
	}
	for _, n := range slices.Backward(slices.Clone(g.Nodes)) {
		if pads[n.Out] != nil && readers[n.Out] == 0 {
			readers[n.In[0]]--
			g.Nodes = slices.DeleteFunc(g.Nodes, func(m *Node) bool { return m == n })
		}
	}
}

// zeros returns the pads of a Pad that puts nothing but zeros around an image's planes, as a Conv has them.
func zeros(n *Node) (pads [4]int, ok bool) {
	all := n.Ints("pads", nil)
	if len(all) != 8 || n.String("mode", "constant") != "constant" || n.Float("value", 0) != 0 {
		return pads, false
	}
	return [4]int{all[2], all[3], all[6], all[7]}, all[0] == 0 && all[1] == 0 && all[4] == 0 && all[5] == 0
}

// pad makes a Conv read what a Pad reads, unless its own padding would be more than one may have.
func (n *Node) pad(pad *Node) bool {
	sum := slices.Clone(n.Ints("pads", []int{0, 0, 0, 0}))
	more, _ := zeros(pad)
	for i := range sum {
		if sum[i] += more[i]; sum[i] > maxParameter {
			return false
		}
	}
	n.In = slices.Clone(n.In)
	n.In[0] = pad.In[0]
	n.Attr = maps.Clone(n.Attr)
	if n.Attr == nil {
		n.Attr = Attrs{}
	}
	n.Attr["pads"] = sum
	return true
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
	values := nd.Data(t)
	for i, v := range v {
		values[i] = float32(v)
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
