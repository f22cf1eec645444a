package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"f2pad.example/cgo/cuda"
	"f2pad.example/engine"
	"f2pad.example/engine/perf/machine"
	"f2pad.example/engine/perf/table"
)

// page is all that was counted.
type page struct {
	options
	versions string
	kernels  []kernel
	counts   []counted
	shares   []share
}

func (p *page) write(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, `# What a GPU would be given to do, counted without one, %s

**No GPU was there, and nothing here is a measurement of speed.** Sections 1 and 2 are what NVIDIA's assembler makes of the kernels, section 3 what
a driver that computes nothing was asked for while the host refined the same images, section 4 what cannot be exceeded if data sheets are
right, and section 5 processor time of the host. %s makes this page anew.

ptxas and nvdisasm %s; %s, %s/%s, %s.
`, p.date.UTC().Format("2 January 2006"), "`make gpu-counts`", p.versions, machine.Processor(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	p.resources(b)
	p.loops(b)
	p.work(b)
	p.bounds(b)
	p.hosts(b)
	_, err := io.WriteString(w, b.String())
	return err
}

func section(b *strings.Builder, title, text string, args ...any) {
	fmt.Fprintf(b, "\n## %s\n\n"+text+"\n", append([]any{title}, args...)...)
}

// digits is a number, ms a time in milliseconds.
func digits(v float64) string {
	if v == 0 {
		return "0"
	}
	return table.Digits(v)
}

func ms(seconds float64) string { return digits(1e3 * seconds) }

// launched are the largest launches of a kernel in all that was counted.
func (p *page) launched(kernel string) (block, shared int, ok bool) {
	most := 0
	for _, c := range p.counts {
		for _, t := range c.counts {
			if w := t.kernels[kernel]; w != nil && w.resources > most {
				block, shared, most = w.block, w.shared, w.resources
			}
		}
	}
	return block, shared, most > 0
}

// on returns the kernels of an architecture.
func (p *page) on(arch string) (all []kernel) {
	for _, k := range p.kernels {
		if k.arch == arch {
			all = append(all, k)
		}
	}
	return all
}

func (p *page) resources(b *strings.Builder) {
	spilled := 0
	head := []string{"module", "kernel", "threads", "shared bytes of a launch", "of them static"}
	for _, m := range multiprocessors {
		head = append(head, m.arch+": registers", "spilled bytes", "blocks on an SM", "warps of 64", "limit")
	}
	t := &table.Table{Left: 2, Head: head}
	second := p.on(multiprocessors[1].arch)
	for i, k := range p.on(multiprocessors[0].arch) {
		block, shared, ok := p.launched(k.kernel)
		if !ok {
			block, shared = k.threads, 0
		}
		asked := strconv.Itoa(shared + k.shared)
		if !ok {
			asked += " *"
		}
		cells := []string{k.module, k.kernel, strconv.Itoa(block), asked, strconv.Itoa(k.shared)}
		for j, m := range multiprocessors {
			k := []kernel{k, second[i]}[j]
			n, limit := m.resident(block, k.registers, shared+k.assembled.shared)
			spilled += k.stores + k.loads
			cells = append(cells, strconv.Itoa(k.registers), strconv.Itoa(k.stores+k.loads), strconv.Itoa(n), strconv.Itoa(n*((block+31)/32)), limit)
		}
		t.Add(cells...)
	}
	section(b, "1. Registers, spills, shared memory, blocks", `By ptxas, %d kernels for each of two architectures; %d bytes are spilled in all. "blocks on an SM" follows for the largest launch that section 3 has, or with
"*" for a launch of as many threads as the kernel takes and no dynamic shared memory: what is least of registers (given to warps by
256), threads (2,048), shared memory (164 or 228 KiB, of which each block takes 1 KiB more than it asks for) and 32 blocks.
`, len(second), spilled)
	t.Markdown(b)
}

func (p *page) loops(b *strings.Builder) {
	section(b, "2. The hot loops", `In each kernel the loop without a loop in it that has most operations for its instructions, by nvdisasm: HMMA of the tensor cores or, where
there are none, multiply-adds (FFMA float32, DFMA float64). Instructions are all of the loop, those included.
`)
	t := &table.Table{Left: 3, Head: []string{"module", "kernel", "operation", "sm_80: instructions", "operations", "to one", "sm_90: instructions", "operations", "to one"}}
	second := p.on(multiprocessors[1].arch)
	for i, k := range p.on(multiprocessors[0].arch) {
		if k.hot == nil || second[i].hot == nil || k.module == "ceiling" {
			continue
		}
		cells := []string{k.module, k.kernel, k.hot.kind}
		for _, l := range []*hotLoop{k.hot, second[i].hot} {
			cells = append(cells, strconv.Itoa(l.instructions), strconv.Itoa(l.operations), fmt.Sprintf("%.2f", l.each()))
		}
		t.Add(cells...)
	}
	t.Markdown(b)
}

// title names a run.
func (c *counted) title() string {
	return fmt.Sprintf("%s, %s, batch %d", c.method, c.precision, c.batch)
}

// all is what the images took, without what is done once.
func (c *counted) all() *tally {
	sum := newTally()
	for _, part := range parts {
		if part != partOnce {
			sum.add(c.counts[part])
		}
	}
	return sum
}

func (p *page) work(b *strings.Builder) {
	if len(p.counts) == 0 {
		return
	}
	c := p.counts[0]
	var found []string
	for i, c := range p.counts {
		if i == 0 || p.counts[i-1].method != c.method {
			found = append(found, fmt.Sprintf("%d (%s), in %.1f %%", c.refined, c.method, 100*c.suspect))
		}
	}
	section(b, "3. What one refined image takes", `ResNet-18's layers 1 to 3 with random weights, images of %d x %d pixels (a made-up weave), %d of them with a defect, in which the refinement
found something in %s of the pixels; the map f2pad, all steps. Values were the host's: what the device is given depends on
nothing else. Everything is for an image, in a second pass over the images: the first brings the network and the method, and makes what windows of
a new size need. A batch is in work as two halves. Waits are the host's, for a stream or for the pinned memory of an earlier copy. "replayed" are
launches within graphs, which a network's are from the third time in a row on that it has as many windows; launches include copies and
fills on the device. Operations and bytes are what kernels cannot do without (kernels.Cost: inputs read and outputs written once, with what fills a
convolution's last step up, in float32 on tensor cores three products for one; of pointwise programs half of what they write).
`, p.side, p.side, c.images, strings.Join(found, " and "))
	t := &table.Table{Left: 2, Head: []string{
		"", "part", "KB to it", "in copies", "KB from it", "in copies", "launches", "replayed", "graphs", "waits", "GFLOP float32", "GFLOP tensor cores", "MB of memory",
	}}
	for _, c := range p.counts {
		add := func(name string, counts *tally, n float64) {
			w := counts.total()
			each := func(v float64) string { return digits(v / n) }
			t.Add(c.title(), name, each(float64(counts.up)/1e3), each(float64(counts.uploads)), each(float64(counts.down)/1e3), each(float64(counts.downloads)),
				each(float64(w.launches)), each(float64(w.replayed)), each(float64(counts.graphs)), each(float64(counts.waits)), each(float64(w.flops)/1e9),
				each(float64(w.tensorFlops())/1e9), each(float64(w.bytes)/1e6))
		}
		for _, part := range parts {
			if part != partOnce {
				add(part, c.counts[part], float64(c.images))
			}
		}
		add("**all**", c.all(), float64(c.images))
		if c.iterations > 0 {
			add("of the optimisation, one iteration of all that are in work", c.counts[partIteration], float64(c.iterations))
		}
	}
	t.Markdown(b)
	fmt.Fprint(b, `The last line of each is not for an image: it is an iteration of a call (the second and third of three), on windows around what is suspicious in
those images of half a batch that have something to optimise.
`)
	p.byKernel(b)
}

// largest is the batch that most is said of.
func (p *page) largest() int { return slices.Max(p.batches) }

func (p *page) byKernel(b *strings.Builder) {
	for _, c := range p.counts {
		if c.batch != p.largest() {
			continue
		}
		fmt.Fprintf(b, "\n%s, by kernel, for an image; on the right one iteration of a call. \"least\" and \"evenly\" are times by the data sheet: see section 4.\n\n", strings.ToUpper(c.method[:1])+c.title()[1:])
		t := &table.Table{Left: 1, Head: []string{
			"kernel", "launches", "MFLOP float32", "MFLOP tensor cores", "in", "MB of memory", "least us", "evenly", "iteration: launches", "MFLOP float32",
			"MFLOP tensor cores", "MB of memory", "least us", "evenly",
		}}
		all, iteration := c.all(), c.counts[partIteration]
		names := slices.SortedFunc(maps.Keys(all.kernels), func(x, y string) int {
			return cmp.Or(cmp.Compare(all.kernels[y].least[0].alone, all.kernels[x].least[0].alone), cmp.Compare(x, y))
		})
		cells := func(w *work, n float64, tensor bool) []string {
			if w == nil || n == 0 {
				return make([]string, 6)
			}
			out := []string{digits(float64(w.launches) / n), digits(float64(w.flops) / n / 1e6), digits(float64(w.tensorFlops()) / n / 1e6)}
			if tensor {
				out = append(out, w.precisions())
			}
			return append(out, digits(float64(w.bytes)/n/1e6), digits(1e6*w.least[0].alone/n), digits(1e6*w.least[0].evenly/n))
		}
		for _, name := range append(names, "") {
			w, i := all.kernels[name], iteration.kernels[name]
			if name == "" {
				w, i, name = all.total(), iteration.total(), "**all**"
			}
			t.Add(slices.Concat([]string{name}, cells(w, float64(c.images), true), cells(i, float64(c.iterations), false))...)
		}
		t.Markdown(b)
	}
}

// PyTorch's rate in eager mode on an H200 that the design reckons with, not measured: refined images a second of 12 iterations on whole images of
// 256 pixels at a batch of 32, ResNet-18 and PaDiM. So one iteration of 32 images takes it some 3 ms.
const (
	eagerImages     = 890.
	eagerIterations = 12
	eagerBatch      = 32
)

func (p *page) bounds(b *strings.Builder) {
	var said []string
	for _, c := range ceilings {
		said = append(said, fmt.Sprintf("%s: %.1f TB/s, %.0f TFLOP/s float32, %.0f float16, %.0f TF32", c.name, c.memory/1e12, c.fp32/1e12, c.tensor["f16"]/1e12, c.tensor["tf32"]/1e12))
	}
	eager := eagerBatch / (eagerImages * eagerIterations)
	section(b, "4. What an H200 could not exceed", `On an H200 a launch takes at least its operations or its bytes by a ceiling, whichever takes longer. **These are lower bounds of time**, no
predictions of it: nothing waits, no launch costs anything, every instruction is an operation, and the bus is not in them. They hold for kernels that
find nothing of use in the second-level cache (50 MB), which keeps some of what one kernel leaves for the next. "Alone", launches follow one
another, and blocks are dealt out to 132 multiprocessors, the fullest of which ends last: few windows leave most of them idle. "Evenly", other streams
keep all of them busy. An iteration has windows of each size in one of eight streams: "in streams" is what the longest of them takes alone. The engine has two halves of a batch in work beside each other, so that "at most" is by half of the one or all of the other, whichever takes longer.
Ceilings: %s; of the latter, float32 and TF32
are nine tenths of the data sheet's and half of its float16. The kernels use mma.sync, which on this card reaches less of them than wgmma.

What has to be reached is an iteration at batch %d and 256 pixels three times as fast as PyTorch's in eager mode. The design reckons with
%.1f ms for that one (%.0f images/s of %d iterations on whole images), which nobody has measured: so %.1f ms for ours, which is on windows. "of %.1f ms" is what
two halves' iterations beside each other take of that at least.
`, strings.Join(said, "; "), eagerBatch, 1e3*eager, eagerImages, eagerIterations, 1e3*eager/3, 1e3*eager/3)
	t := &table.Table{Left: 1, Head: []string{
		"", "us an image alone, at least", "evenly", "images/s, at most", "by " + ceilings[1].name, "us an iteration of a call in streams, at least", "evenly",
		fmt.Sprintf("of %.1f ms", 1e3*eager/3), "by " + ceilings[1].name, "us of the bus an image", "launches an image",
	}}
	for _, c := range p.counts {
		counts, n := c.all(), float64(c.images)
		all := counts.total()
		cells := []string{c.title(), digits(1e6 * all.least[0].alone / n), digits(1e6 * all.least[0].evenly / n), c.most(0), c.most(1)}
		if c.iterations > 0 {
			i, calls := c.counts[partIteration], float64(c.iterations)
			cells = append(cells, digits(1e6*i.longest[0]/calls), digits(1e6*i.total().least[0].evenly/calls))
			for k, least := range i.total().least {
				least.alone = max(i.longest[k], least.evenly)
				share := ""
				if c.batch == eagerBatch && p.side == 256 {
					share = fmt.Sprintf("%.0f %%", 100*least.beside(halves)/calls/(eager/3))
				}
				cells = append(cells, share)
			}
		} else {
			cells = append(cells, "", "", "", "")
		}
		t.Add(append(cells, digits(1e6*max(float64(counts.up), float64(counts.down))/n/bus), digits(float64(all.launches)/n))...)
	}
	t.Markdown(b)
	fmt.Fprintf(b, "\nThe bus is reckoned with %.0f GB/s each way (PCIe 5.0 x16, its nominal rate).\n", bus/1e9)
	for _, c := range p.counts {
		t := c.counts[partIteration]
		if cut := t.kernels["cut"]; c.batch == p.largest() && cut != nil && c.iterations > 0 {
			sum := t.total().least[0]
			fmt.Fprintf(b, "An iteration of %s has windows of %.1f sizes: in streams it takes %.0f %% of what it would one after the other, evenly %.0f %%.\n",
				c.title(), float64(cut.launches)/float64(c.iterations), 100*t.longest[0]/sum.alone, 100*sum.evenly/sum.alone)
		}
	}
}

// halves of a batch are in work beside each other.
const halves = 2

// most is how many images a second a ceiling allows.
func (c *counted) most(ceiling int) string {
	b := c.all().total().least[ceiling]
	return digits(float64(c.images) / max(b.alone/halves, b.evenly))
}

// bus is the nominal rate of PCIe 5.0 x16, bytes per second each way.
const bus = 64e9

// partOf says which of the parts that a GPU would do belongs to a stage of the engine.
var partOf = map[string]string{
	"features": partScores, "base maps": partMaps, "regions, fills": partPixels, "optimisation": partOptimise, "looks": partAsked,
}

func (p *page) hosts(b *strings.Builder) {
	section(b, "5. What stays on the host", `Processor time of one core for an image, all steps, maps, masks and overlays written, batch 1, GOMAXPROCS=1, the network in pure Go. What a GPU does is what
the engine asks its place for; what is left is the host's with a GPU, too, but for planning and handing over, which come to it. Other programs
ran meanwhile: these times are upper ones. "fills scored" and "looks" are one line, as are "regions, fills" and "residual".
`)
	const cores = 16
	for _, s := range p.shares {
		t := &table.Table{Left: 1, Head: []string{s.method + ", ms an image of one core", "all", "a GPU's", "the host's"}}
		stays, known, written := 0.0, 0.0, 0.0
		for _, g := range groups(s.stages) {
			moved := min(s.places[partOf[g.name]], g.cpu)
			t.Add(g.title, ms(g.cpu), ms(moved), ms(g.cpu-moved))
			stays, known = stays+g.cpu-moved, known+g.cpu
			if g.name == "write" {
				written = g.cpu
			}
		}
		rest := max(s.all-known, 0)
		t.Add("the rest: the journal, collecting garbage", ms(rest), "", ms(rest))
		stays += rest
		t.Add("**all**", ms(s.all), ms(s.all-stays), ms(stays))
		t.Markdown(b)
		fmt.Fprintf(b, "So %d cores like this one feed %s images/s at most, %s where nothing is written.", cores, digits(cores/stays), digits(cores/(stays-written)))
		for _, c := range p.counts {
			if c.method == s.method && c.batch == p.largest() && c.precision == cuda.Float16 {
				fmt.Fprintf(b, " By section 4 the card could not do more than %s (float16).", c.most(0))
			}
		}
		fmt.Fprint(b, "\n\n")
	}
}

// group is a line of stages that belong together.
type group struct {
	name, title string
	cpu         float64
}

// groups puts stages together that one part of a GPU's work is in; a stage's parts are in it already.
func groups(stages []engine.StageTime) (all []group) {
	with := map[string]string{"scores": "features", "residual": "regions, fills", "fills scored": "looks"}
	for _, s := range stages {
		if s.Part {
			continue
		}
		name := cmp.Or(with[string(s.Stage)], string(s.Stage))
		i := slices.IndexFunc(all, func(g group) bool { return g.name == name })
		if i < 0 {
			all, i = append(all, group{name: name}), len(all)
		}
		all[i].title = strings.TrimPrefix(all[i].title+" and "+string(s.Stage), " and ")
		all[i].cpu += s.CPU
	}
	return all
}
