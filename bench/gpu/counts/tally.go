package main

import (
	"maps"
	"slices"
	"strings"

	"f2pad.example/cgo/gpu"
	"f2pad.example/kernels"
)

// work is what a kernel was given to do, in all its launches.
type work struct {
	launches, replayed       int // of these, within graphs
	bytes, flops             int64
	tensor                   map[string]int64 // operations by precision
	least                    []bound          // of its launches, by ceilings
	block, shared, resources int              // of the launch with the most of both
}

// tally is what a device was given to do.
type tally struct {
	kernels                           map[string]*work
	up, down                          int64 // bytes
	uploads, downloads, graphs, waits int

	streams map[int][]float64 // what each has to do at least, in seconds by ceilings
	longest []float64         // the sum of added tallies' longest streams
}

func newTally() *tally {
	return &tally{kernels: map[string]*work{}, streams: map[int][]float64{}, longest: make([]float64, len(ceilings))}
}

// The device's own copies and fills are kernels, too, by these names.
const copies, fills = "(copy)", "(fill)"

// given counts a thing.
func (t *tally) given(g gpu.Given) {
	switch g.What {
	case gpu.Launched, gpu.Replayed:
		t.follow(g.Stream, g.Launch.Cost, blocks(g.Launch))
		w := t.charge(g.Launch.Kernel, g.Launch.Cost, blocks(g.Launch))
		w.launches++
		if g.What == gpu.Replayed {
			w.replayed++
		}
		if size := g.Launch.Block + g.Launch.Shared; size > w.resources {
			w.block, w.shared, w.resources = g.Launch.Block, g.Launch.Shared, size
		}
	case gpu.Graphed:
		t.graphs++
	case gpu.Uploaded:
		t.up += int64(g.Bytes)
		t.uploads++
	case gpu.Downloaded:
		t.down += int64(g.Bytes)
		t.downloads++
	case gpu.Copied:
		t.charge(copies, kernels.Cost{Bytes: 2 * int64(g.Bytes)}, 0).launches++
	case gpu.Filled:
		t.charge(fills, kernels.Cost{Bytes: int64(g.Bytes)}, 0).launches++
	case gpu.Waited:
		t.waits++
	}
}

// charge adds what a launch of so many blocks cannot do without; 0: their number does not count.
func (t *tally) charge(kernel string, c kernels.Cost, blocks int) *work {
	w := t.kernels[kernel]
	if w == nil {
		w = &work{tensor: map[string]int64{}, least: make([]bound, len(ceilings))}
		t.kernels[kernel] = w
	}
	w.bytes, w.flops = w.bytes+c.Bytes, w.flops+c.Flops
	if c.Tensor != "" {
		w.tensor[c.Tensor] += c.TensorFlops
	}
	for i := range ceilings {
		w.least[i].add(ceilings[i].least(c, blocks))
	}
	return w
}

// follow puts a launch behind those before it in its stream.
func (t *tally) follow(stream int, c kernels.Cost, blocks int) {
	if t.streams[stream] == nil {
		t.streams[stream] = make([]float64, len(ceilings))
	}
	for i := range ceilings {
		t.streams[stream][i] += ceilings[i].least(c, blocks).alone
	}
}

func blocks(l kernels.Launch) int { return max(l.Grid[0], 1) * max(l.Grid[1], 1) * max(l.Grid[2], 1) }

// add adds another's.
func (t *tally) add(o *tally) {
	t.up, t.down, t.uploads, t.downloads = t.up+o.up, t.down+o.down, t.uploads+o.uploads, t.downloads+o.downloads
	t.graphs, t.waits = t.graphs+o.graphs, t.waits+o.waits
	for i := range t.longest {
		most := o.longest[i]
		for _, s := range o.streams {
			most = max(most, s[i])
		}
		t.longest[i] += most
	}
	for name, w := range o.kernels {
		to := t.charge(name, kernels.Cost{}, 0)
		to.add(w)
		if w.resources > to.resources {
			to.block, to.shared, to.resources = w.block, w.shared, w.resources
		}
	}
}

// total is of all kernels.
func (t *tally) total() *work {
	all := newTally()
	sum := all.charge("", kernels.Cost{}, 0)
	for _, w := range t.kernels {
		sum.add(w)
	}
	return sum
}

// add adds another's work.
func (w *work) add(o *work) {
	w.launches, w.replayed, w.bytes, w.flops = w.launches+o.launches, w.replayed+o.replayed, w.bytes+o.bytes, w.flops+o.flops
	for precision, n := range o.tensor {
		w.tensor[precision] += n
	}
	for i, b := range o.least {
		w.least[i].add(b)
	}
}

// tensorFlops are those of all precisions.
func (w *work) tensorFlops() (n int64) {
	for _, v := range w.tensor {
		n += v
	}
	return n
}

// precisions are those of the tensor cores.
func (w *work) precisions() string { return strings.Join(slices.Sorted(maps.Keys(w.tensor)), ", ") }

// ceiling is what a card can do at most, by somebody's word.
type ceiling struct {
	name         string
	memory, fp32 float64            // bytes and operations per second
	tensor       map[string]float64 // operations per second, by precision
	sms          int
}

// The H200's, dense. The design's memory and float16 were measured elsewhere, the other two follow.
var ceilings = []ceiling{
	{"data sheet", 4.8e12, 67e12, map[string]float64{"f16": 989e12, "bf16": 989e12, "tf32": 494e12}, 132},
	{"the design", 4.3e12, 60e12, map[string]float64{"f16": 790e12, "bf16": 790e12, "tf32": 395e12}, 132},
}

// bound is the time that launches take at least, in seconds: alone, one after the other, where multiprocessors may be idle, and evenly, where
// other streams keep all of them busy.
type bound struct{ alone, evenly float64 }

func (b *bound) add(o bound) { b.alone, b.evenly = b.alone+o.alone, b.evenly+o.evenly }

// beside is the least time of so many calls as long as this one, beside each other in streams of their own.
func (b bound) beside(calls int) float64 { return max(b.alone, float64(calls)*b.evenly) }

// least is the time that a launch takes at least: operations or bytes, whichever takes longer. Alone, its blocks are dealt out to
// multiprocessors: the one that has the most of them takes as long as its share of the operations.
func (c ceiling) least(k kernels.Cost, blocks int) bound {
	operations := float64(k.Flops) / c.fp32
	if k.TensorFlops > 0 {
		operations = max(operations, float64(k.TensorFlops)/c.tensor[k.Tensor])
	}
	uneven, bytes := 1., float64(k.Bytes)/c.memory
	if blocks > 0 {
		most := (blocks + c.sms - 1) / c.sms
		uneven = float64(most*c.sms) / float64(blocks)
	}
	return bound{max(uneven*operations, bytes), max(operations, bytes)}
}
