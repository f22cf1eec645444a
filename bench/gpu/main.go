// Command gpu measures the kernels on an NVIDIA GPU: against what the card can do at best, and against PyTorch doing the same
// on the same card, where there is one. It takes the kernels to be right: gpu-check.sh, before, says so.
//
//	make gpu-bench
//	go run -tags cuda ./bench/gpu [-device N] [-run REGEXP] [-skip REGEXP] [-json FILE] [-markdown FILE] [-peer PYTHON] [-quick]
//	go run ./bench/gpu -page DIR
//	go run ./bench/gpu -resnet FILE [-side N] [-width N]
//
// The others need no GPU: they make a page of what gpu-first.sh left in a folder, and an ONNX file of ResNet-18 with random weights.
// The second needs the environment $(CUDA_ENV) of cgo/driver/cuda.mk. A case that fails does not keep the others from running;
// the exit code is then 1. A case that does not fit into the card's memory, or that -limit leaves no time for, is reported and left
// out. What -json names is written anew after every case: whatever ends the program, what was measured is there.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"f2pad.example/bench/internal/peer"
	"f2pad.example/cgo/driver"
	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/device"
	"f2pad.example/engine/onnx"
	"f2pad.example/engine/perf/stats"
	"f2pad.example/engine/perf/table"
	"f2pad.example/kernels"
	"f2pad.example/kernels/kerneltest"
)

type options struct {
	device         int
	run, skip      *regexp.Regexp // skip nil: nothing
	json, markdown string
	python, script string
	quick, open    bool
	probe          bool
	ceilings, page string
	resnet         string
	side, width    int
	limit          time.Duration // 0: none
}

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2)
	}
	switch {
	case o.page != "":
		err = writePage(o.page)
	case o.resnet != "":
		err = writeResNet(o)
	default:
		err = measure(o, kerneltest.Benches(), os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gpubench:", err)
		os.Exit(1)
	}
}

func parse(args []string, out io.Writer) (o options, err error) {
	f := flag.NewFlagSet("gpubench", flag.ContinueOnError)
	f.SetOutput(out)
	f.IntVar(&o.device, "device", 0, "number of the GPU")
	run := f.String("run", "", "only cases whose \"kernel size\" this regular expression finds")
	skip := f.String("skip", "", "none of the cases whose \"kernel size\" this regular expression finds")
	f.StringVar(&o.json, "json", "", "file to write all figures to, those so far after every case")
	f.StringVar(&o.markdown, "markdown", "", "file to write a page to, as in bench/results")
	f.StringVar(&o.python, "peer", "python3", "the Python that has PyTorch; \"\" leaves the peer out")
	f.StringVar(&o.script, "peer-script", peerScript(), "what it runs")
	f.BoolVar(&o.quick, "quick", false, "few runs: to see that it works, not to report")
	f.BoolVar(&o.open, "open", false, "compile the kernels, list what the driver made of them, and measure nothing")
	f.BoolVar(&o.probe, "probe", false, "measure the card's ceilings alone")
	f.StringVar(&o.ceilings, "ceilings", "", "file of -json of an earlier run on this card, to take the ceilings from")
	f.StringVar(&o.page, "page", "", "folder with what gpu-first.sh left, to write its page gpu-first.md to; nothing is measured")
	f.StringVar(&o.resnet, "resnet", "", "ONNX file to write ResNet-18's layers 1 to 3 with random weights to; nothing is measured")
	f.IntVar(&o.side, "side", 256, "pixels on a side of the images of -resnet")
	f.IntVar(&o.width, "width", 64, "channels of layer1 of -resnet")
	f.DurationVar(&o.limit, "limit", 0, "begin no case after so long, such as 60s, the card's ceilings apart; 0: no limit")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	} else {
		o.run, err = regexp.Compile(*run)
		if err == nil && *skip != "" {
			o.skip, err = regexp.Compile(*skip)
		}
	}
	if err != nil {
		fmt.Fprintln(out, "gpubench:", err)
	}
	return o, err
}

func writeResNet(o options) error {
	g, err := resnet18(o.side, o.width)
	if err != nil {
		return err
	}
	text, err := onnx.Write(g)
	if err != nil {
		return err
	}
	return os.WriteFile(o.resnet, text, 0o644)
}

// fake tells a fake driver's device, whose times mean nothing.
func fake(name string) bool { return strings.Contains(strings.ToLower(name), "fake") }

// measure measures and reports.
func measure(o options, all []kerneltest.Bench, out io.Writer) (err error) {
	var cases []kerneltest.Bench
	for _, b := range all {
		name := b.Kernel + " " + b.Size
		if o.run.MatchString(name) && (o.skip == nil || !o.skip.MatchString(name)) {
			cases = append(cases, b)
		}
	}
	if len(cases) == 0 && len(all) > 0 {
		for _, b := range all {
			fmt.Fprintf(out, "%s %s\n", b.Kernel, b.Size)
		}
		return fmt.Errorf("-run %q finds none of these that -skip leaves", o.run)
	}
	if o.probe {
		cases = nil
	}
	d, err := gpu.Open(o.device, gpu.Options{})
	if err != nil {
		return err
	}
	defer func() {
		if e := d.Close(); err == nil && !errors.Is(e, device.ErrLost) {
			err = e
		}
	}()
	info, err := d.Info()
	if err != nil {
		return err
	}
	r := &report{
		Program: version(), Date: time.Now(), NotAGPU: fake(info.Name), Device: info, CUDA: driver.Status().Version,
		SMI: gpu.SMI(info.UUID), Flush: max(2*info.L2, 64<<20), Ceilings: ceilings{},
	}
	m := &meter{report: r, out: out, effort: thorough, json: o.json}
	if o.limit > 0 {
		m.until = r.Date.Add(o.limit)
	}
	bytes, blocks, rounds := int(min(1<<30, info.MemoryFree/8)), 2*info.SMs, 1<<14
	if o.quick {
		m.effort = quick
	}
	if r.NotAGPU {
		if o.markdown != "" {
			return fmt.Errorf("%s: times on it mean nothing, and are not written to a page", info.Name)
		}
		m.prefix, m.effort = "NOT A GPU: ", effort{runs: 2}
		r.Flush, bytes, blocks, rounds = 1, 1<<18, 1, 2
	}
	m.printf("%s", r.device())
	m.printf("f2pad %s, CUDA %s, %s", r.Program, r.CUDA, r.Date.UTC().Format(time.RFC3339))
	if r.SMI != "" {
		m.printf("nvidia-smi: %s", r.SMI)
	}

	start := time.Now()
	if r.Kernels, err = d.Kernels(); err != nil {
		return err
	}
	m.printf("%d kernels; %d modules compiled, %d found compiled, in %.1f s", len(r.Kernels), d.Stats().Compiled, d.Stats().Loaded,
		time.Since(start).Seconds())
	if o.open {
		r.kernelTable().Text(out, m.prefix)
		r.Complete = true
		return m.save()
	}

	c, err := newCard(d, r.Flush)
	if err != nil {
		return err
	}
	defer func() {
		if e := c.close(); err == nil {
			err = e
		}
	}()
	measured := probes(c, bytes, blocks, rounds)
	if o.ceilings != "" {
		if err := r.take(o.ceilings); err != nil {
			m.printf("the ceilings are measured again: %v", err)
		} else {
			measured = nil
		}
	}
	if m.card = c; o.python == "" {
		r.NoPeer = "not asked for"
	} else {
		m.meet(o, info, measured, cases)
	}
	defer m.part()
	if err := m.all(measured, cases); err != nil {
		return err
	}
	if r.SMIAfter = gpu.SMI(info.UUID); r.SMIAfter != "" {
		m.printf("nvidia-smi: %s", r.SMIAfter)
	}
	r.Complete = true
	if err := m.save(); err != nil {
		return err
	}
	if o.markdown != "" {
		if err := artifact.WriteFileAtomic(o.markdown, r.writeMarkdown); err != nil {
			return err
		}
	}
	return m.show()
}

// meter measures cases one by one and tells how it goes.
type meter struct {
	*report
	card   card
	peer   *gpuPeer // nil: none
	out    io.Writer
	prefix string
	effort effort
	until  time.Time // no case begins later, probes do; zero: whenever
	json   string    // file; "": none
	failed []string
}

func (m *meter) printf(format string, args ...any) { fmt.Fprintf(m.out, m.prefix+format+"\n", args...) }

// meet starts the peer; without one the benchmark goes on.
func (m *meter) meet(o options, info gpu.Info, probes []probe, cases []kerneltest.Bench) {
	first := peerQuestion{Flush: m.Flush, Hello: []peerCase{}}
	all := slices.Clone(cases)
	for _, p := range probes {
		all = append(all, p.Bench)
	}
	for _, b := range all {
		if b.Peer != "" {
			first.Hello = append(first.Hello, peerCase{b.Peer, b.Params})
		}
	}
	p, err := startPeer(o.python, o.script, info.UUID, first)
	if err == nil && p.Device != info.Name {
		err = errors.Join(fmt.Errorf("it runs on another device, %q", p.Device), p.close())
	}
	if err != nil {
		m.NoPeer = err.Error()
		m.printf("NO PEER: nothing is compared with PyTorch: %v", err)
		return
	}
	m.peer, m.Peer = p, &p.peerHello
	m.printf("peer: PyTorch %s (CUDA %s); against float64: %s", p.Torch, p.CUDA, strings.Join(p.Checked, "; "))
}

// part ends the peer.
func (m *meter) part() {
	if m.peer == nil {
		return
	}
	if err := m.peer.close(); err != nil {
		m.printf("peer: %v", err)
	}
	m.peer = nil
}

// all measures everything. Its error is one that ends the benchmark.
func (m *meter) all(probes []probe, cases []kerneltest.Bench) error {
	for _, p := range probes {
		r := m.measure(p.Bench)
		r.Unit = p.unit
		if r.measured() {
			m.Ceilings.raise(p.unit, r.rate())
			if r.Peer != nil {
				if v, ok := r.Peer.fastest(func(variant) bool { return true }); ok {
					m.Ceilings.raise(p.unit, product/(v.MS/1e3))
				}
			}
		}
		m.Probes = append(m.Probes, r)
		if err := m.save(); err != nil {
			return err
		}
	}
	m.ceilingTable().Text(m.out, m.prefix)
	if m.Probed == "" {
		if err := m.launches(); err != nil {
			return fmt.Errorf("launches: %w", err)
		}
	}
	m.printf("a launch: %s us in a row, %s us in a graph; a small kernel as timed below: %s us",
		table.Digits(1e6*m.Overhead.Launch), table.Digits(1e6*m.Overhead.Graph), table.Digits(1e6*m.Overhead.Least))
	for i, b := range cases {
		var r result
		if m.until.IsZero() || time.Now().Before(m.until) {
			r = m.measure(b)
			r.Floor, r.FloorUnit = m.Ceilings.floor(r.cost())
		} else {
			r = result{Kernel: b.Kernel, Size: b.Size, Params: b.Params, Error: "no time was left", OutOfTime: true}
			m.printf("OUT OF TIME, left out: %s %s", b.Kernel, b.Size)
		}
		m.Cases = append(m.Cases, r)
		if err := m.save(); err != nil {
			return err
		}
		if r.measured() {
			m.printf("%d/%d %s %s: %s ms", i+1, len(cases), b.Kernel, b.Size, table.MS(r.Time.Median))
		}
	}
	return nil
}

// save writes what there is to the JSON file.
func (m *meter) save() error {
	if m.json == "" {
		return nil
	}
	return artifact.WriteFileAtomic(m.json, m.writeJSON)
}

// measure times a case, before and after the peer.
func (m *meter) measure(b kerneltest.Bench) result {
	r := result{Kernel: b.Kernel, Size: b.Size, Params: b.Params}
	err := m.try(b, &r)
	if err == nil {
		return r
	}
	r.Error, r.OutOfMemory = err.Error(), errors.Is(err, device.ErrOutOfMemory)
	if r.OutOfMemory {
		m.printf("OUT OF MEMORY, left out: %s %s: %v", b.Kernel, b.Size, err)
	} else {
		m.printf("FAILED: %s %s: %v", b.Kernel, b.Size, err)
		m.failed = append(m.failed, strings.TrimSpace(b.Kernel+" "+b.Size))
	}
	return r
}

func (m *meter) try(b kerneltest.Bench, r *result) (err error) {
	p, err := prepare(m.card, b, m.NotAGPU)
	defer func() {
		// The peer of the next case shall have the memory.
		if e := errors.Join(p.Free(), m.card.Trim()); err == nil {
			err = e
		}
	}()
	if err != nil {
		return err
	}
	r.charge(p.cost)
	r.Launches = p.launches
	first, err := p.time(p.work, m.effort)
	if err != nil {
		return err
	}
	if m.peer != nil && b.Peer != "" {
		m.ask(peerCase{b.Peer, b.Params}, r)
	}
	again, err := p.time(p.work, m.effort)
	if err != nil {
		return err
	}
	r.First, r.Again, r.Time = stats.Of(first), stats.Of(again), stats.Of(append(first, again...))
	if p.launches > 1 {
		if t, err := p.replayed(m.effort); err != nil {
			r.NoGraph = err.Error()
		} else {
			r.Graph = &t
		}
	}
	return nil
}

// ask measures the peer. What goes wrong there is not our case's failure.
func (m *meter) ask(c peerCase, r *result) {
	a, err := m.peer.run(c, m.effort)
	if err != nil {
		a = peerAnswer{Error: err.Error()}
	}
	r.Peer = &a
	if a.Error != "" {
		m.printf("peer: %s %s: %s", r.Kernel, r.Size, a.Error)
	}
	if errors.Is(err, peer.ErrGone) {
		m.part()
	}
}

// launches measures what launching costs, with a kernel that copies 16 KiB.
func (m *meter) launches() error {
	const many = 500
	var k kernels.CeilingCopy
	p, err := prepare(m.card, kerneltest.Bench{Setup: func(b *kerneltest.Bed) (func(kernels.Queue) error, kernels.Cost, error) {
		k.N = 4096
		var err error
		if k.In, err = b.Normal(k.N, 0, 1); err != nil {
			return nil, kernels.Cost{}, err
		}
		k.Out, err = b.Alloc(k.N)
		return k.Enqueue, k.Cost(), err
	}}, false)
	defer p.Free()
	if err != nil {
		return err
	}
	least, err := p.time(p.work, m.effort)
	if err != nil {
		return err
	}
	p.work = func(q kernels.Queue) error {
		for range many {
			if err := k.Enqueue(q); err != nil {
				return err
			}
		}
		return nil
	}
	row, err := p.time(p.work, m.effort)
	if err != nil {
		return err
	}
	graph, err := p.replayed(m.effort)
	if err != nil {
		return err
	}
	m.Overhead = overhead{Launch: stats.Of(row).Median / many, Graph: graph.Median / many, Least: stats.Of(least).Median}
	return nil
}

// show prints the tables, the short one last. Its error names the cases that failed.
func (m *meter) show() error {
	if t := m.peerTable(); len(t.Rows) > 0 {
		t.Text(m.out, m.prefix)
	}
	if m.layers() {
		convolutionTable(m.report).Without("10 %", "90 %").Text(m.out, m.prefix)
	} else {
		m.caseTable().Without("10 %", "90 %", "launches").Text(m.out, m.prefix)
	}
	if len(m.failed) > 0 {
		return fmt.Errorf("%d failed: %s", len(m.failed), strings.Join(m.failed, "; "))
	}
	return nil
}

// take takes the ceilings that another run has measured on the same card.
func (r *report) take(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var other report
	if err := json.Unmarshal(text, &other); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	switch {
	case other.Device.UUID != r.Device.UUID:
		return fmt.Errorf("%s: its ceilings are those of another card, %s (%s)", file, other.Device.Name, other.Device.UUID)
	case other.Ceilings[memory] <= 0:
		return fmt.Errorf("%s has no ceilings: its run did not come so far", file)
	}
	r.Ceilings, r.Probes, r.Overhead, r.Probed = other.Ceilings, other.Probes, other.Overhead, filepath.Base(file)
	return nil
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
