package kernels

import (
	"fmt"
	"math"
)

// Flow measures Items of the vectors X [...,D] by a flow: Q[At[i]] receives q = log p / D of vector At[i] and Unit [Items,D],
// unless it is 0, dq/dx. At [Items] and Places [Items,2] (int32: row and column of each vector's position) are not checked.
//
// A vector's result has the same bits whatever else is measured, with or without Unit. Its error is that of float32 sums. A
// vector that is not finite gets a q that is not finite.
type Flow struct {
	FlowTables // of its Weights, Streams and Values what stands below
	Items      int
	Processors int // of the device: blocks of no more than those hold take the vectors of Unit in turn. 0: one

	X, At, Places                  Ptr
	WeightsAt, StreamsAt, ValuesAt Ptr // FlowTables' on the machine
	Q, Unit                        Ptr
	Scratch                        Ptr // ScratchBytes, where there is Unit
}

func (f Flow) tiles() int { return ceil(f.Items, shapeOfFlow(f.D).vectors) }

// blocks take the vectors of Unit in turn.
func (f Flow) blocks() int { return min(f.tiles(), max(f.Processors*shapeOfFlow(f.D).resident, 1)) }

// ScratchBytes is what gradients need for a time.
func (f Flow) ScratchBytes() int {
	s := shapeOfFlow(f.D)
	return f.blocks() * f.Blocks * (8*(f.D/2)*s.vectors + 256*ceil(f.Hidden, s.units()))
}

// Enqueue launches the kernel.
func (f Flow) Enqueue(q Queue) error {
	if f.D < 2 || f.D > FlowMaxD || f.Hidden < 1 || f.Blocks < 1 || f.Items < 1 || f.H < 1 || f.W < 1 {
		return fmt.Errorf("kernels: flow: %d vectors of width %d, %d blocks of %d hidden units and %dx%d positions, want widths of 2 to %d",
			f.Items, f.D, f.Blocks, f.Hidden, f.H, f.W, FlowMaxD)
	}
	s := shapeOfFlow(f.D)
	pitch := ceil(f.Hidden, s.units()) * s.units()
	passes := ceil(f.tiles(), f.blocks())
	if f.Items > math.MaxInt32-s.vectors || f.Blocks*max(f.H, f.W)*pitch > math.MaxInt32 || passes*f.chunks() > math.MaxInt32 {
		return fmt.Errorf("kernels: flow: %d vectors of %d with %dx%d positions of %d units are too many", f.Items, f.D, f.H, f.W, f.Hidden)
	}
	if err := aligned("flow", 16, named{"weights", f.WeightsAt}, named{"values", f.ValuesAt}); err != nil {
		return err
	}
	err := aligned("flow", 4, named{"x", f.X}, named{"at", f.At}, named{"places", f.Places}, named{"streams", f.StreamsAt}, named{"q", f.Q})
	if err != nil {
		return err
	}
	blocks := f.tiles()
	if f.Unit != 0 {
		blocks = f.blocks()
		if err := aligned("flow", 8, named{"unit", f.Unit}, named{"scratch", f.Scratch}); err != nil {
			return err
		}
	}
	args := []Arg{
		f.X.Arg(), f.At.Arg(), f.Places.Arg(), Int(f.Items), Int(f.D), Int(f.Hidden), Int(f.Blocks), Bool(f.Whitened), Int(f.H), Int(f.W),
		Float(f.Clamp), Float(f.Constant), f.WeightsAt.Arg(), f.StreamsAt.Arg(),
	}
	for _, at := range f.at {
		args = append(args, f.ValuesAt.Plus(at).Arg())
	}
	return q.Launch(Launch{
		Module: "flow", Kernel: fmt.Sprintf("flow_%d", s.d), Grid: [3]int{blocks}, Block: 32 * flowWarps,
		// As in flow.cu: y, what there is of h, places, logarithms, rings.
		Shared: 4 * (f.D*s.vectors + 2048 + (2+flowWarps)*s.vectors + flowWarps*flowRing*flowChunk),
		Args:   append(args, f.Q.Arg(), f.Unit.Arg(), f.Scratch.Arg()),
		Cost:   f.Cost(),
	})
}

// chunks are the most of any warp's.
func (f Flow) chunks() int {
	most := 0
	for w := range flowWarps {
		most = max(most, int(f.Streams[3*w+2]))
	}
	return most
}

// Cost is that of one launch: vectors read and written once, and the weights read once.
func (f Flow) Cost() Cost {
	left, right, d := int64(f.D-f.D/2), int64(f.D/2), int64(f.D)
	products := (left+2*right)*int64(f.Hidden) + d*d
	values := int64(f.Blocks) * products
	if f.Whitened {
		values += d * d
	}
	c := Cost{Bytes: 4 * (values + int64(f.Items)*(d+4)), Flops: 2 * values * int64(f.Items)}
	if f.Unit != 0 {
		c.Bytes += 4 * (values + int64(f.Items)*d)
		c.Flops *= 2
	}
	return c
}

// FlowFusion is how the q of layers make a score; see FlowFuse.
type FlowFusion int

// The numbers are those of flow.cu.
const (
	FlowSum FlowFusion = iota
	FlowRoot
	FlowMean
)

// FlowLayer is a layer's cells under the finest grid, and its constants: q has its largest value Largest in the training
// images, Range more than the mean.
type FlowLayer struct {
	Largest, Range float64
	H, W           int32 // cells of a window
	Q              int32 // where [n,H,W] begins in FlowFuse.Q
	Rows, Cols     int32 // where its taps begin
	Spans          int32 // and its spans
	_              [2]int32
}

// FlowTap is what a row, or column, of the finest grid reads of a layer's: W0 of Lo and W1 of Lo + 1, if that is not 0.
type FlowTap struct {
	Lo     int32
	W0, W1 float32
	_      int32
}

// FlowGrid is some windows' finest grid and what of it is scored, for FlowFuse and FlowSpread.
type FlowGrid struct {
	N, H, W int
	Scores  int // that are wanted
	Fusion  FlowFusion
	Total   float64
	Layers  int

	Table Ptr // FlowLayer [Layers]
	Taps  Ptr // FlowTap [...]
	Q     Ptr // all layers'
	Logs  Ptr // float64 [Scores], for FlowSpread; 0: it will not follow
}

// FlowFuse makes the scores S [Scores] of the locations Items (int32, (window H + row) W + column): with
// log = log sum_l up(exp(q_l - Largest_l)), up being the bilinear taps of a layer,
//
//	FlowSum max(0, Total - log),   FlowRoot its square root,   FlowMean the mean over l of up(sqrt((Largest_l - q_l)/Range_l)).
//
// Differences are float64, what becomes of them float32: off by some 1e-7 and 2e-7 of a score, before the root.
type FlowFuse struct {
	FlowGrid
	Items, S Ptr
}

func (g *FlowGrid) check(kernel string) error {
	if g.N < 1 || g.H < 1 || g.W < 1 || g.N*g.H*g.W > math.MaxInt32 || g.Scores < 1 || g.Scores > g.N*g.H*g.W || g.Layers < 1 {
		return fmt.Errorf("kernels: %s: %d scores in %d windows of %dx%d from %d layers", kernel, g.Scores, g.N, g.H, g.W, g.Layers)
	}
	if g.Fusion < FlowSum || g.Fusion > FlowMean {
		return fmt.Errorf("kernels: %s: fusion %d", kernel, g.Fusion)
	}
	if g.Logs%8 != 0 {
		return fmt.Errorf("kernels: %s: logs are not aligned to 8 bytes", kernel)
	}
	if err := aligned(kernel, 16, named{"table", g.Table}, named{"taps", g.Taps}); err != nil {
		return err
	}
	return aligned(kernel, 4, named{"q", g.Q})
}

// Enqueue launches the kernel.
func (f FlowFuse) Enqueue(q Queue) error {
	if err := f.check("flow_fuse"); err != nil {
		return err
	}
	if err := aligned("flow_fuse", 4, named{"items", f.Items}, named{"s", f.S}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "flow", Kernel: "flow_fuse", Grid: [3]int{ceil(f.Scores, 256)}, Block: 256,
		Args: []Arg{
			f.Items.Arg(), Int(f.Scores), Int(f.H), Int(f.W), f.Table.Arg(), Int(f.Layers), f.Taps.Arg(), f.Q.Arg(), Int(int(f.Fusion)),
			Uint64(math.Float64bits(f.Total)), f.S.Arg(), f.Logs.Arg(),
		},
	})
}

// FlowSpread fills all of DF [N,h,w,D], the gradient w.r.t. the features of layer Layer, [h,w] cells, from that w.r.t. scores,
// DS [Scores], and Flow's Unit: 0 where Index is -1. A cell gathers what the locations that read it add, over at most 2 H/h by
// 2 W/w of them, float32, in an order of its own.
type FlowSpread struct {
	FlowGrid
	Layer, Cells, D int // Cells are those of a window
	Item            Ptr // int32 [N,H,W]: a location's place among the scores, or -1
	Index           Ptr // int32 [N,h,w]: a cell's place among Unit's vectors, or -1
	Spans           Ptr // int32: for each row of cells, then for each column, the first location that reads it, and their number
	DS, Unit, DF    Ptr
}

// Enqueue launches the kernel.
func (f FlowSpread) Enqueue(q Queue) error {
	if err := f.check("flow_spread"); err != nil {
		return err
	}
	if f.Layer < 0 || f.Layer >= f.Layers || f.Cells < 1 || f.N*f.Cells > math.MaxInt32 || f.D < 1 {
		return fmt.Errorf("kernels: flow_spread: %d cells of %d values of layer %d of %d", f.Cells, f.D, f.Layer, f.Layers)
	}
	if f.Fusion != FlowMean {
		if err := aligned("flow_spread", 8, named{"logs", f.Logs}); err != nil {
			return err
		}
	}
	err := aligned("flow_spread", 4, named{"item", f.Item}, named{"index", f.Index}, named{"spans", f.Spans}, named{"ds", f.DS},
		named{"unit", f.Unit}, named{"df", f.DF})
	if err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "flow", Kernel: "flow_spread", Grid: [3]int{ceil(f.N*f.Cells, flowWarps)}, Block: 32 * flowWarps,
		Args: []Arg{
			f.Item.Arg(), Int(f.N * f.Cells), Int(f.H), Int(f.W), f.Table.Arg(), Int(f.Layers), Int(f.Layer), f.Taps.Arg(), f.Spans.Arg(),
			f.Q.Arg(), Int(int(f.Fusion)), Uint64(math.Float64bits(f.Total)), f.Logs.Arg(), f.DS.Arg(), f.Index.Arg(), f.Unit.Arg(), Int(f.D),
			f.DF.Arg(),
		},
	})
}
