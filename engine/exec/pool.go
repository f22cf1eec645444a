package exec

import (
	"sync"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Pool keeps the compiled graphs of one network for images of any size until they are needed again. It is safe for concurrent use.
type Pool struct {
	ex     Executor
	graph  func(h, w int) (*graph.Graph, error)
	graphs int // that wait, at most
	pixels int // of the largest batches of those that wait, at most; one always may

	mu   sync.Mutex
	idle []*Pooled // least recently used first
}

// NewPool returns a pool of what graph makes for images of h x w pixels, with one input and feature maps as outputs. A compiled graph
// may keep every value of its largest batch: of those that wait, there are at most so many, with so many pixels together.
func NewPool(ex Executor, graph func(h, w int) (*graph.Graph, error), graphs, pixels int) *Pool {
	return &Pool{ex: ex, graph: graph, graphs: graphs, pixels: pixels}
}

// Pooled is a compiled graph of a Pool.
type Pooled struct {
	Net
	h, w     int
	gradient bool
	pixels   int           // of the largest batch so far
	outputs  []graph.Shape // N free
}

// Take returns a graph for inputs of h x w pixels, which is the caller's until Give.
func (p *Pool) Take(h, w int, gradient bool) (*Pooled, error) {
	p.mu.Lock()
	for i := len(p.idle) - 1; i >= 0; i-- {
		if c := p.idle[i]; c.h == h && c.w == w && c.gradient == gradient {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			p.mu.Unlock()
			return c, nil
		}
	}
	p.mu.Unlock()
	g, err := p.graph(h, w)
	if err != nil {
		return nil, err
	}
	shapes, err := g.Infer()
	if err != nil {
		return nil, err
	}
	c := &Pooled{h: h, w: w, gradient: gradient}
	for _, out := range g.Outputs {
		c.outputs = append(c.outputs, shapes[out])
	}
	c.Net, err = p.ex.Compile(g, gradient)
	return c, err
}

// Give hands a graph back.
func (p *Pool) Give(c *Pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
	pixels := 0
	for _, c := range p.idle {
		pixels += c.pixels
	}
	for len(p.idle) > p.graphs || len(p.idle) > 1 && pixels > p.pixels {
		pixels -= p.idle[0].pixels
		p.idle[0].Close()
		p.idle = append(p.idle[:0], p.idle[1:]...)
	}
}

// Close frees the graphs that wait.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.Close()
	}
	p.idle = nil
}

// Outputs makes the tensors of a batch's outputs, and notes the batch's size.
func (c *Pooled) Outputs(batch int) []*tensor.Dense { return c.OutputsIn(batch, nd.New) }

// OutputsIn is Outputs with tensors that make makes.
func (c *Pooled) OutputsIn(batch int, make func(shape ...int) *tensor.Dense) []*tensor.Dense {
	c.pixels = max(c.pixels, batch*c.h*c.w)
	var all []*tensor.Dense
	for _, s := range c.outputs {
		all = append(all, make(append([]int{batch}, s[1:]...)...))
	}
	return all
}
