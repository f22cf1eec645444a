package goexec

import (
	"context"
	"runtime"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/internal/par"

	"gorgonia.org/tensor"
)

// net is a compiled graph. forward and backward work on the same arenas.
type net struct {
	guard             exec.Guard
	forward, backward *phase
	gradient          bool
	arena, scratch    int // floats in each
	memory            *arenas
	arenas            [][]float32 // lent: one for each image with gradient, else for each core
	cores             []call      // what each core works with

	// The run in progress, for the loop bodies, which are made once so that a run does not allocate.
	ctx         context.Context
	phase       *phase
	in, out     [][]float32
	step        *step
	grain       int
	stepArena   []float32
	wholeImage  func(core, i int)
	pieceOfStep func(core, i int)
}

func (n *net) init() {
	n.wholeImage = func(core, i int) {
		arena := n.arenas[core]
		if n.gradient {
			arena = n.arenas[i]
		}
		n.load(i, arena)
		for _, s := range n.phase.steps {
			if n.ctx.Err() != nil {
				return
			}
			s.do(&n.cores[core], arena, 0, s.units)
		}
		n.store(i, arena)
	}
	n.pieceOfStep = func(core, i int) {
		n.step.do(&n.cores[core], n.stepArena, i*n.grain, min((i+1)*n.grain, n.step.units))
	}
}

// do runs the units lo <= u < hi of a step.
func (s *step) do(c *call, arena []float32, lo, hi int) {
	c.in = c.in[:0]
	for _, o := range s.in {
		if o.data == nil {
			o.data = arena[o.lo:o.hi]
		}
		c.in = append(c.in, o.data)
	}
	c.out = arena[s.out.lo:s.out.hi]
	s.run(c, lo, hi)
}

// Forward implements exec.Net.
func (n *net) Forward(ctx context.Context, in, out []*tensor.Dense) error {
	images, err := n.guard.Forward(in, out)
	if err != nil {
		return err
	}
	if err := n.run(ctx, n.forward, images, in, out); err != nil {
		n.giveBack()
		return err
	}
	if !n.gradient {
		n.giveBack()
	}
	n.guard.Done(images)
	return nil
}

// Backward implements exec.Net. It frees the values that Forward kept while it goes: each Forward serves one Backward.
func (n *net) Backward(ctx context.Context, dout, din []*tensor.Dense) error {
	images, err := n.guard.Backward(dout, din)
	if err != nil {
		return err
	}
	defer n.giveBack()
	return n.run(ctx, n.backward, images, dout, din)
}

// Close implements exec.Net.
func (n *net) Close() error {
	n.giveBack()
	*n = net{guard: n.guard.Closed()}
	return nil
}

func (n *net) run(ctx context.Context, ph *phase, images int, in, out []*tensor.Dense) error {
	cores := runtime.GOMAXPROCS(0)
	n.borrow(images, cores)
	n.ctx, n.phase = ctx, ph
	n.in, n.out = appendData(n.in[:0], in), appendData(n.out[:0], out)
	together := images - images%cores
	par.Workers(cores, together, n.wholeImage)
	for i := together; i < images && ctx.Err() == nil; i++ {
		n.alone(i, cores)
	}
	n.ctx, n.phase = nil, nil
	clear(n.in)
	clear(n.out)
	return ctx.Err()
}

// alone runs one image on all cores.
func (n *net) alone(i, cores int) {
	arena := n.arenas[0]
	if n.gradient {
		arena = n.arenas[i]
	}
	n.load(i, arena)
	for _, s := range n.phase.steps {
		if n.ctx.Err() != nil {
			return
		}
		grain := s.grain(cores)
		if grain >= s.units {
			s.do(&n.cores[0], arena, 0, s.units)
			continue
		}
		n.step, n.stepArena, n.grain = s, arena, grain
		par.Workers(cores, (s.units+grain-1)/grain, n.pieceOfStep)
	}
	n.store(i, arena)
}

// grain is how many units of a step make a piece worth handing to a core.
func (s *step) grain(cores int) int {
	const (
		least  = 1 << 15 // multiply-adds: some 10 us, well above what starting a goroutine costs
		pieces = 4       // for each core, so that a slow one does not hold up the rest
	)
	return max((s.units+cores*pieces-1)/(cores*pieces), least/max(s.cost, 1))
}

func (n *net) borrow(images, cores int) {
	arenas := min(cores, images)
	if n.gradient {
		arenas = images
	}
	for len(n.arenas) < arenas {
		n.arenas = append(n.arenas, n.memory.take(n.arena+gemm.Slack)) // convolutions read beyond
	}
	for len(n.cores) < cores {
		n.cores = append(n.cores, call{scratch: make([]float32, n.scratch)})
	}
}

// giveBack gives back what borrow took.
func (n *net) giveBack() {
	if len(n.arenas) == 0 {
		return
	}
	n.memory.give(n.arenas...)
	clear(n.arenas)
	n.arenas = n.arenas[:0]
}

func (n *net) load(image int, arena []float32) {
	for i, p := range n.phase.in {
		copy(arena[p.lo:p.hi], n.in[i][image*(p.hi-p.lo):])
	}
}

func (n *net) store(image int, arena []float32) {
	for i, p := range n.phase.out {
		if n.out[i] != nil {
			copy(n.out[i][image*(p.hi-p.lo):], arena[p.lo:p.hi])
		}
	}
}

// appendData is nd.Data for each tensor; unlike it, Float32s does not allocate.
func appendData(to [][]float32, ts []*tensor.Dense) [][]float32 {
	for _, t := range ts {
		if t == nil {
			to = append(to, nil)
			continue
		}
		to = append(to, t.Float32s())
	}
	return to
}
