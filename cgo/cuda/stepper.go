package cuda

import (
	"context"
	"fmt"

	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/refine"
	"f2pad.example/kernels"

	"gorgonia.org/tensor"
)

// stepper keeps the optimiser's state on the device, as dense planes of the images that have something to optimise. What
// crosses the bus in an iteration is the image that the network sees, its gradient, and three numbers per image.
type stepper struct {
	d        *Device
	problems []refine.Problem
	images   []int // problems on the device
	h, w     int
	o        *pixel.StepOptions
	step     kernels.PixelStep
	compose  kernels.Compose
	held     []kernels.Ptr
	x        []float32 // [len(images),3,h,w]
}

// Stepper implements refine.Device. The penalty must be pixel.GroupLog.
func (d *Device) Stepper(problems []refine.Problem, o *pixel.StepOptions) (refine.Stepper, error) {
	penalty, ok := o.Penalty.(pixel.GroupLog)
	if !ok {
		return nil, fmt.Errorf("cuda: penalty %T: GPUs know pixel.GroupLog only", o.Penalty)
	}
	s := &stepper{d: d, problems: problems, o: o}
	for i, p := range problems {
		if len(p.States) == 0 {
			continue
		}
		if len(s.images) > 0 && (p.H != s.h || p.W != s.w) {
			return nil, fmt.Errorf("cuda: images of %dx%d and %dx%d in one batch", s.h, s.w, p.H, p.W)
		}
		s.h, s.w = p.H, p.W
		s.images = append(s.images, i)
	}
	if len(s.images) == 0 {
		return s, nil
	}
	err := d.do(context.Background(), "optimiser", func(j *job) {
		j.lasting = true
		s.begin(j, penalty)
		if j.err == nil {
			s.held, j.held = j.held, nil
		}
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// begin brings the problems to the device.
func (s *stepper) begin(j *job, penalty pixel.GroupLog) {
	n, pixels := len(s.images), s.h*s.w
	y, a := make([]float32, 0, n*3*pixels), make([]float32, n*3*pixels)
	mask, scale := make([]uint8, n*pixels), make([]float32, n*pixels)
	for k, i := range s.images {
		p := &s.problems[i]
		y = append(y, p.Y[:3*pixels]...)
		s.each(i, func(st *pixel.State, at, q int) {
			mask[k*pixels+q], scale[k*pixels+q] = 1, st.C[at]
			for c := range 3 {
				a[(k*3+c)*pixels+q] = st.A[c*len(st.V)+at]
			}
		})
	}
	s.x = make([]float32, len(y))
	tiles := kernels.ActiveTiles(mask, n, s.h, s.w)
	active := max(len(tiles)-n-1, 1)
	share, norm := s.o.Share.Taps(), s.o.Norm.Taps()
	s.step = kernels.PixelStep{
		N: n, H: s.h, W: s.w,
		Share: put(j, share), Norm: put(j, norm), ShareRadius: len(share) - 1, NormRadius: len(norm) - 1,
		Momentum: s.o.Momentum, Decay: s.o.Decay, Rate: s.o.Rate, Lambda: s.o.Lambda, Eps: penalty.Eps(),
		Iterations: 1, Iteration: 1, Schedule: j.floats(4), // a row at a time: the host knows how many there will be
		Tiles: put(j, tiles), Blocks: active, Mask: put(j, mask),
		DX: j.floats(len(y)), Scale: put(j, scale), A: j.floats(len(y)), M: j.floats(len(y)), V: j.floats(n * pixels),
		Sum: j.floats(n * pixels), SQ: j.floats(n * pixels), Partial: j.floats(3 * active), Stats: j.floats(3 * n),
	}
	j.run(s.step.Clear)
	j.write(s.step.A, kernels.Bytes(a))
	j.zero(s.step.SQ, 4*n*pixels)
	s.compose = kernels.Compose{
		N: n, H: s.h, W: s.w, Y: put(j, y), A: s.step.A, Scale: s.step.Scale, Mask: s.step.Mask, Tiles: s.step.Tiles, Blocks: active,
		Out: put(j, y),
	}
}

// each visits the region's pixels of problem i: at is the pixel's place in its state's window, q that in the image.
func (s *stepper) each(i int, visit func(st *pixel.State, at, q int)) {
	for _, st := range s.problems[i].States {
		w := st.Box.W()
		for _, p := range st.Pixels {
			visit(st, int(p), (st.Box.Y0+int(p)/w)*s.w+st.Box.X0+int(p)%w)
		}
	}
}

// Compose implements refine.Stepper.
func (s *stepper) Compose(x *tensor.Dense) error {
	if len(s.images) == 0 {
		return nil
	}
	err := s.d.do(context.Background(), "composition", func(j *job) {
		j.run(s.compose.Enqueue)
		get(j, s.x, s.compose.Out)
	})
	if err != nil {
		return err
	}
	n := s.h * s.w
	to := nd.Data(x)
	for k, i := range s.images {
		s.each(i, func(_ *pixel.State, _, q int) {
			for c := range 3 {
				to[(i*3+c)*n+q] = s.x[(k*3+c)*n+q]
			}
		})
	}
	return nil
}

// Step implements refine.Stepper.
func (s *stepper) Step(t int, dx *tensor.Dense, st []pixel.Stats) error {
	clear(st)
	if len(s.images) == 0 {
		return nil
	}
	words := make([]uint32, 3*len(s.images))
	err := s.d.do(context.Background(), "step", func(j *job) {
		schedule := kernels.StepSchedule(s.o.Momentum, s.o.Decay, t, s.o.From)
		j.write(s.step.Schedule, kernels.Bytes(schedule[4*(t-1):]))
		n := 3 * s.h * s.w
		for k, i := range s.images {
			j.write(s.step.DX.Plus(k*n), kernels.Bytes(nd.Data(dx)[i*n:(i+1)*n]))
		}
		j.run(s.step.Enqueue)
		get(j, words, s.step.Stats)
	})
	if err != nil {
		return err
	}
	for k, v := range kernels.DecodeStats(words) {
		st[s.images[k]] = pixel.Stats{Penalty: float64(v.Penalty), Support: int(v.Support), Moved: float64(v.Moved)}
	}
	return nil
}

// Finish implements refine.Stepper.
func (s *stepper) Finish() error {
	if len(s.images) == 0 {
		return nil
	}
	n := s.h * s.w
	sum := make([]float32, len(s.images)*n)
	err := s.d.do(context.Background(), "optimiser's result", func(j *job) {
		get(j, s.x, s.step.A)
		get(j, sum, s.step.Sum)
	})
	if err != nil {
		return err
	}
	for k, i := range s.images {
		s.each(i, func(st *pixel.State, at, q int) {
			for c := range 3 {
				st.A[c*len(st.V)+at] = s.x[(k*3+c)*n+q]
			}
			st.Sum[at] = sum[k*n+q]
		})
	}
	return nil
}

// Close implements refine.Stepper. What cannot be freed shows when the device is closed.
func (s *stepper) Close() {
	for _, p := range s.held {
		_ = s.d.gpu.Free(p)
	}
	s.held = nil
}
