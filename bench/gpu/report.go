package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/perf/stats"
	"f2pad.example/engine/perf/table"
	"f2pad.example/kernels"
)

// report is all that was measured.
type report struct {
	Program  string           `json:"program"` // its version
	Date     time.Time        `json:"date"`
	NotAGPU  bool             `json:"not_a_gpu,omitempty"` // a fake driver's: the times mean nothing
	Complete bool             `json:"complete"`            // not while cases are to come
	Device   gpu.Info         `json:"device"`
	CUDA     string           `json:"cuda"`              // that the driver supports
	SMI      string           `json:"nvidia_smi"`        // the driver's version and the card's state before the measurement
	SMIAfter string           `json:"nvidia_smi_after"`  // and after it; "" where there is no nvidia-smi
	Peer     *peerHello       `json:"peer,omitempty"`    // nil: not measured
	NoPeer   string           `json:"no_peer,omitempty"` // why
	Flush    int64            `json:"flush"`             // bytes read before each run
	Kernels  []gpu.KernelInfo `json:"kernels"`
	Ceilings ceilings         `json:"ceilings"`         // bytes or operations per second
	Probes   []result         `json:"probes"`           // which they come from
	Probed   string           `json:"probed,omitempty"` // the file of the run that measured them, if not this one
	Overhead overhead         `json:"overhead"`
	Cases    []result         `json:"cases"`
}

// overhead is what launching costs, in seconds.
type overhead struct {
	Launch float64 `json:"launch_s"` // per launch of many small kernels in a row
	Graph  float64 `json:"graph_s"`  // per kernel of many in a graph
	Least  float64 `json:"least_s"`  // of one small kernel, as cases are timed: no time below it means anything
}

// result is a case's.
type result struct {
	Kernel      string         `json:"kernel"`
	Size        string         `json:"size,omitempty"`
	Params      map[string]int `json:"params,omitempty"`
	Unit        string         `json:"unit,omitempty"` // that a probe is for
	Bytes       int64          `json:"bytes"`
	Flops       int64          `json:"flops"`
	TensorFlops int64          `json:"tensor_flops"`
	Tensor      string         `json:"tensor,omitempty"`
	Launches    int            `json:"launches"`
	Time        stats.Timing   `json:"time"`  // all runs
	First       stats.Timing   `json:"first"` // those before the peer
	Again       stats.Timing   `json:"again"` // and after it: the difference is drift and noise
	Graph       *stats.Timing  `json:"graph,omitempty"`
	NoGraph     string         `json:"no_graph,omitempty"`
	Floor       float64        `json:"floor_s"`
	FloorUnit   string         `json:"floor_unit,omitempty"`
	Peer        *peerAnswer    `json:"peer,omitempty"`
	Error       string         `json:"error,omitempty"`
	OutOfMemory bool           `json:"out_of_memory,omitempty"` // the error; it does not count as a failure
	OutOfTime   bool           `json:"out_of_time,omitempty"`   // likewise
}

func (r *result) measured() bool { return r.Error == "" }

// noise is the difference between the two rounds, relative to the time.
func (r *result) noise() float64 {
	d := r.Again.Median - r.First.Median
	return max(d, -d) / r.Time.Median
}

// rate is that of the probe's unit.
func (r *result) rate() float64 {
	switch r.Unit {
	case memory, up, down, both:
		return float64(r.Bytes) / r.Time.Median
	case fp32:
		return float64(r.Flops) / r.Time.Median
	}
	return float64(r.TensorFlops) / r.Time.Median
}

// per is a rate in units of scale, or "" where there is no such work.
func per(work int64, seconds, scale float64) string {
	if work == 0 {
		return ""
	}
	return table.Digits(float64(work) / seconds / scale)
}

// kernelTable lists what the driver made of the kernels.
func (r *report) kernelTable() *table.Table {
	t := &table.Table{Left: 2, Head: []string{"module", "kernel", "registers", "local bytes", "shared bytes", "threads", "blocks/SM"}}
	for _, k := range r.Kernels {
		t.Add(k.Module, k.Kernel, fmt.Sprint(k.Registers), fmt.Sprint(k.Local), fmt.Sprint(k.Shared), fmt.Sprint(k.MaxThreads), fmt.Sprint(k.Blocks))
	}
	return t
}

// ceilingTable lists the probes and the peer's matrix products.
func (r *report) ceilingTable() *table.Table {
	t := &table.Table{Left: 2, Head: []string{"unit", "how", "ms", "10 %", "90 %", "per second", ""}}
	for i := range r.Probes {
		p := &r.Probes[i]
		if !p.measured() {
			t.Add(p.Unit, p.Kernel, "", "", "", p.Error, "")
			continue
		}
		t.Add(p.Unit, p.Kernel, table.MS(p.Time.Median), table.MS(p.Time.P10), table.MS(p.Time.P90), rate(p.Unit, p.rate()), r.mark(p.Unit, p.rate()))
		if p.Peer == nil {
			continue
		}
		for _, v := range p.Peer.Variants {
			if v.Error == "" && v.MS > 0 {
				best := product / (v.MS / 1e3)
				t.Add(p.Unit, "PyTorch "+v.Name, table.Digits(v.MS), table.Digits(v.P10), table.Digits(v.P90), rate(p.Unit, best), r.mark(p.Unit, best))
			}
		}
	}
	return t
}

// product is the operations of the peer's matrix product.
const product = 2.0 * matmul * matmul * matmul

func (r *report) mark(unit string, rate float64) string {
	if rate == r.Ceilings[unit] {
		return "<- ceiling"
	}
	return ""
}

func rate(unit string, v float64) string {
	if slices.Contains([]string{memory, up, down, both}, unit) {
		return table.Digits(v/1e9) + " GB"
	}
	return table.Digits(v/1e12) + " TFLOP"
}

// caseTable is the table of the cases.
func (r *report) caseTable() *table.Table {
	t := &table.Table{Left: 2, Head: []string{
		"kernel", "size", "ms", "10 %", "90 %", "noise", "launches", "graph ms", "GB/s", "TFLOP/s", "floor ms", "by", "time/floor",
		"PyTorch ms", "speed-up",
	}}
	for i := range r.Cases {
		c := &r.Cases[i]
		if !c.measured() {
			what := "FAILED"
			switch {
			case c.OutOfMemory:
				what = "out of memory"
			case c.OutOfTime:
				what = "out of time"
			}
			t.Add(c.Kernel, c.Size, what, "", "", "", "", "", "", "", "", "", "", "", "")
			continue
		}
		graph, peer, speed := "", "", ""
		if c.Graph != nil {
			graph = table.MS(c.Graph.Median)
		}
		if c.Peer != nil {
			if best, ok := c.Peer.best(); ok {
				peer, speed = table.Digits(best.MS), fmt.Sprintf("%.2f", best.MS/(1e3*c.Time.Median))
			}
		}
		floor, ratio := "", ""
		if c.Floor > 0 {
			floor, ratio = table.MS(c.Floor), fmt.Sprintf("%.2f", c.Time.Median/c.Floor)
		}
		t.Add(c.Kernel, c.Size, table.MS(c.Time.Median), table.MS(c.Time.P10), table.MS(c.Time.P90), fmt.Sprintf("%.1f %%", 100*c.noise()),
			fmt.Sprint(c.Launches), graph, per(c.Bytes, c.Time.Median, 1e9), per(c.Flops+c.TensorFlops, c.Time.Median, 1e12),
			floor, c.FloorUnit, ratio, peer, speed)
	}
	return t
}

// peerTable lists what the peer tried.
func (r *report) peerTable() *table.Table {
	head := []string{"kernel", "size", "PyTorch's way", "precision", "ms", "10 %", "90 %", "speed-up", "remark"}
	t := &table.Table{Left: 4, Head: head}
	for i := range r.Cases {
		c := &r.Cases[i]
		if c.Peer == nil {
			continue
		}
		if c.Peer.Error != "" {
			t.Add(c.Kernel, c.Size, "", "", "", "", "", "", c.Peer.Error)
		}
		for _, v := range c.Peer.Variants {
			if v.Error != "" {
				t.Add(c.Kernel, c.Size, v.Name, v.Precision, "", "", "", "", v.Error)
				continue
			}
			remark := v.Note
			if !v.Exact {
				remark = strings.TrimPrefix(remark+"; less exact than the kernel, does not count", "; ")
			}
			speed := ""
			if c.measured() {
				speed = fmt.Sprintf("%.2f", v.MS/(1e3*c.Time.Median))
			}
			t.Add(c.Kernel, c.Size, v.Name, v.Precision, table.Digits(v.MS), table.Digits(v.P10), table.Digits(v.P90), speed, remark)
		}
	}
	return t
}

// device describes the card in a line.
func (r *report) device() string {
	d := r.Device
	return fmt.Sprintf("%s, compute capability %d.%d, %d SMs, L2 %s, memory %s",
		d.Name, d.Major, d.Minor, d.SMs, mib(d.L2), mib(d.MemoryTotal))
}

func mib(bytes int64) string {
	if bytes >= 1<<33 {
		return fmt.Sprintf("%d GiB", bytes>>30)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

func (r *report) software() string {
	s := "f2pad " + r.Program + ", CUDA " + r.CUDA
	if r.SMI != "" {
		s += ", nvidia-smi: " + r.SMI
	}
	if r.Peer != nil {
		return s + ", PyTorch " + r.Peer.Torch + " (CUDA " + r.Peer.CUDA + ")"
	}
	return s + ", no PyTorch: " + r.NoPeer
}

// writeMarkdown writes what belongs into bench/results.
func (r *report) writeMarkdown(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "# Kernels on %s, %s\n\n", r.Device.Name, r.Date.Format("2 January 2006"))
	fmt.Fprintf(b, "`make gpu-bench`, %s UTC. %s.\n%s.\n", r.Date.UTC().Format("15:04"), r.device(), r.software())
	if r.SMIAfter != "" {
		fmt.Fprintf(b, "nvidia-smi after the last case: %s.\n", r.SMIAfter)
	}
	fmt.Fprintf(b, `
Times are medians of runs between two events on the card, of at least %d in each of two rounds, before each of which %s were
read that nothing else uses, so that the caches hold nothing of use. 10 %% and 90 %% are percentiles of all runs. The peer ran
between the two rounds: noise is the difference of their medians. "floor" is the least time that the card can need: bytes
(each input read once, each output written once) and operations over the ceilings, the larger of these; "by" says which unit.
"time/floor" is 1 at best. "graph" is the time of the same launches as a CUDA graph. The peer is the fastest of PyTorch's
ways that is as exact as the kernel; "speed-up" is its time over ours.

`, thorough.runs, mib(r.Flush))
	r.ceilingTable().Markdown(b)
	fmt.Fprintf(b, "A launch takes %s us in a row of many, %s us in a graph; a small kernel alone, timed as below, %s us.\n\n",
		table.Digits(1e6*r.Overhead.Launch), table.Digits(1e6*r.Overhead.Graph), table.Digits(1e6*r.Overhead.Least))
	r.caseTable().Markdown(b)
	if t := r.peerTable(); len(t.Rows) > 0 {
		fmt.Fprint(b, "What PyTorch took, in every way that was tried:\n\n")
		t.Markdown(b)
		fmt.Fprintf(b, "Checked against float64 before: %s.\n", strings.Join(r.Peer.Checked, "; "))
	}
	for _, c := range append(append([]result(nil), r.Probes...), r.Cases...) {
		if c.Error != "" {
			fmt.Fprintf(b, "\n%s %s: %s\n", c.Kernel, c.Size, c.Error)
		}
		if c.NoGraph != "" {
			fmt.Fprintf(b, "\n%s %s as a graph: %s\n", c.Kernel, c.Size, c.NoGraph)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	return e.Encode(r)
}

func (r *result) charge(c kernels.Cost) {
	r.Bytes, r.Flops, r.TensorFlops, r.Tensor = c.Bytes, c.Flops, c.TensorFlops, c.Tensor
}

func (r *result) cost() kernels.Cost {
	return kernels.Cost{Bytes: r.Bytes, Flops: r.Flops, TensorFlops: r.TensorFlops, Tensor: r.Tensor}
}
