package main

import (
	"fmt"
	"math"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Relative errors in which float32 networks may differ that add in other orders: some 1e-6 on the way forward. On the way
// back a unit at the kink of its rectifier, or a pool between two equal values, may decide either way for the whole path.
const (
	forwardLimit  = 1e-4
	gradientLimit = 1e-2
)

func networks() []job {
	var all []job
	for _, arch := range []string{"resnet18", lite, "wide_resnet50_2"} {
		read := "layers 1-3"
		if arch == lite {
			read = "as far as block 10"
		}
		for _, batch := range []int{1, 8} {
			for _, gradient := range []bool{false, true} {
				what := map[bool]string{false: "forward", true: "forward and gradient"}[gradient]
				all = append(all, job{
					name: fmt.Sprintf("network %s, %s, %s, batch %d", arch, read, what, batch),
					slow: arch == "wide_resnet50_2",
					do:   func(m *meter, r *row) error { return m.network(r, arch, batch, gradient) },
				})
			}
		}
	}
	return all
}

// network measures one network.
func (m *meter) network(r *row, arch string, batch int, gradient bool) (err error) {
	path, g, err := m.exported(arch)
	if err != nil {
		return err
	}
	if r.Work, err = operations(g); err != nil {
		return err
	}
	r.Work *= float64(batch)
	x := normal(1, 1, batch, 3, size, size)
	params := map[string]any{"arch": arch, "onnx": path, "batch": batch, "size": size, "gradient": gradient}
	if params["image"], err = m.file("image", nd.Data(x)); err != nil {
		return err
	}
	var seeds []*tensor.Dense
	if gradient {
		r.Work *= 2
		shapes, err := g.Infer()
		if err != nil {
			return err
		}
		var files []string
		for i, out := range g.Outputs {
			s := normal(uint64(2+i), 1, append([]int{batch}, shapes[out][1:]...)...)
			file, err := m.file(fmt.Sprintf("seed%d", i), nd.Data(s))
			if err != nil {
				return err
			}
			seeds, files = append(seeds, s), append(files, file)
		}
		params["seeds"] = files
	}
	return m.compareNetworks(r, g, x, seeds, "network", params)
}

// compareNetworks checks ours and the peer's ways to run a graph against each other, and races them.
func (m *meter) compareNetworks(r *row, g *graph.Graph, x *tensor.Dense, seeds []*tensor.Dense, name string, params any) (err error) {
	m.withoutORT(r)
	o, err := m.open(r, kernelsAuto, name, params)
	if err != nil {
		return err
	}
	var ways []way
	var want, wantGradient []float32
	var wantName string
	agree := func(name string, got, gradient []float32) error {
		if want == nil {
			want, wantGradient, wantName = got, gradient, name
			return finite(name, append(got, gradient...))
		}
		what := name + " against " + wantName
		if err := r.check(what, got, want, forwardLimit); err != nil {
			return err
		}
		if gradient == nil {
			return nil
		}
		return r.check(what+", gradient", gradient, wantGradient, gradientLimit)
	}
	for _, e := range m.ours {
		u, err := e.compile(g, x, seeds)
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		m.closers = append(m.closers, u.net.Close)
		if err := u.run(); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		outputs, gradient := u.results()
		if err := agree(e.name, outputs, gradient); err != nil {
			return err
		}
		ways = append(ways, way{name: e.name, ours: e.column, run: timed(u.run)})
	}
	for _, name := range o.names() {
		all, err := o.result(name)
		if err != nil {
			return err
		}
		if len(all) != len(want)+len(wantGradient) {
			return fmt.Errorf("%s: %d values, want %d", name, len(all), len(want)+len(wantGradient))
		}
		var gradient []float32
		if seeds != nil {
			gradient = all[len(want):]
		}
		if err := agree(name, all[:len(want)], gradient); err != nil {
			return err
		}
		ways = append(ways, o.way(name))
	}
	return m.race(r, ways...)
}

// finite refuses values that are not: a comparison with them says nothing.
func finite(name string, v []float32) error {
	for i, x := range v {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%s: value %d is %g", name, i, x)
		}
	}
	return nil
}
