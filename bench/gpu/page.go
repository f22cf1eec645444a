package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/bench"
	"f2pad.example/engine/perf/table"
)

// first is what gpu-first.sh left in a folder. What is missing is nil: a stage may not have come so far.
type first struct {
	dir                                   string
	stages                                []stageLine
	notes                                 []stageLine
	open, ceilings, convolutions, kernels *report
	loop                                  []loopRun
	iteration                             []iterationLine
	broken                                []string // files that cannot be read, and why
	notAGPU                               bool
}

// stageLine is a line of gpu-first.jsonl: a stage with its Status, or a case of one with what it is about.
type stageLine struct {
	Stage, Status, Case string
	Code, Seconds       int
	NotAGPU             bool `json:"not_a_gpu"`
	text                string
}

// loopRun is a file of f2pad bench.
type loopRun struct {
	name, precision string
	*bench.Report
}

// iterationLine is a way of gpu_torch.py --time.
type iterationLine struct {
	Params map[string]int `json:"params"`
	Torch  string         `json:"torch"`
	CUDA   string         `json:"cuda"`
	Device string         `json:"device"`
	variant
}

// writePage writes the page of a folder's run into it.
func writePage(dir string) error {
	f, err := readFirst(dir)
	if err != nil {
		return err
	}
	return artifact.WriteFileAtomic(filepath.Join(dir, "gpu-first.md"), f.write)
}

// readFirst reads what there is. The error is of a folder that has nothing of gpu-first.sh.
func readFirst(dir string) (*first, error) {
	f := &first{dir: dir}
	lines, err := os.ReadFile(filepath.Join(dir, "gpu-first.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("nothing of gpu-first.sh is here: %w", err)
	}
	for i, line := range bytes.Split(bytes.TrimSpace(lines), []byte("\n")) {
		s := stageLine{text: string(line)}
		if err := json.Unmarshal(line, &s); err != nil {
			f.broken = append(f.broken, fmt.Sprintf("gpu-first.jsonl, line %d: %v", i+1, err))
			continue
		}
		if f.notAGPU = f.notAGPU || s.NotAGPU; s.Case == "" {
			f.stages = append(f.stages, s)
		} else {
			f.notes = append(f.notes, s)
		}
	}
	for name, to := range map[string]**report{
		"open": &f.open, "ceilings": &f.ceilings, "convolutions": &f.convolutions, "kernels": &f.kernels,
	} {
		file := "gpu-first-" + name + ".json"
		text, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		r := &report{}
		if err = errors.Join(err, json.Unmarshal(text, r)); err != nil {
			f.broken = append(f.broken, file+": "+err.Error())
			continue
		}
		*to, f.notAGPU = r, f.notAGPU || r.NotAGPU
	}
	files, err := filepath.Glob(filepath.Join(dir, "gpu-first-loop-*.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "gpu-first-loop-"), ".json")
		r, err := bench.Read(file)
		if err != nil {
			f.broken = append(f.broken, strings.ReplaceAll(err.Error(), file, filepath.Base(file)))
			continue
		}
		precision, _, _ := strings.Cut(name, "-")
		f.loop = append(f.loop, loopRun{name, precision, r})
	}
	slices.SortStableFunc(f.loop, func(a, b loopRun) int { return strings.Compare(a.precision, b.precision)*1000 + a.batch() - b.batch() })
	return f, f.readIteration()
}

// batch is that of the run's rows.
func (l loopRun) batch() int {
	if len(l.Rows) == 0 {
		return 0
	}
	return l.Rows[0].Batch
}

func (f *first) readIteration() error {
	const file = "gpu-first-iteration.jsonl"
	text, err := os.ReadFile(filepath.Join(f.dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var l iterationLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			f.broken = append(f.broken, file+": "+err.Error())
			continue
		}
		f.iteration = append(f.iteration, l)
	}
	return lines.Err()
}

// any is a report of the run, for what all have in common; nil: there is none.
func (f *first) any() *report {
	for _, r := range []*report{f.ceilings, f.convolutions, f.kernels, f.open} {
		if r != nil {
			return r
		}
	}
	return nil
}

func (f *first) write(w io.Writer) error {
	b := &strings.Builder{}
	f.head(b)
	f.stageTable().Markdown(b)
	f.failures(b)
	f.ceilingPart(b)
	f.convolutionPart(b)
	f.loopPart(b)
	f.iterationPart(b)
	f.kernelPart(b)
	f.otherParts(b)
	_, err := io.WriteString(w, b.String())
	return err
}

// section begins one. No heading of a fake driver's can be taken for a GPU's.
func (f *first) section(b *strings.Builder, title string) {
	if f.notAGPU {
		title += " (NOT A GPU)"
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
}

func (f *first) head(b *strings.Builder) {
	r := f.any()
	if r == nil {
		fmt.Fprintf(b, "# gpu-first on an unknown card\n\nNo stage came so far as to say which card it was.\n")
	} else {
		mark := ""
		if f.notAGPU {
			mark = "NOT A GPU: "
		}
		fmt.Fprintf(b, "# %sA first run on %s, %s\n\n", mark, r.Device.Name, r.Date.UTC().Format("2 January 2006"))
		fmt.Fprintf(b, "`make gpu-first`, %s UTC. %s.\n%s.\n", r.Date.UTC().Format("15:04"), r.device(), r.software())
		if r.SMIAfter != "" {
			fmt.Fprintf(b, "nvidia-smi afterwards: %s.\n", r.SMIAfter)
		}
	}
	if f.notAGPU {
		fmt.Fprint(b, "\nThis is a fake driver's run. It says that the script works; no figure below means anything.\n")
	}
	f.section(b, "Stages")
}

// stageTable says how each stage ended.
func (f *first) stageTable() *table.Table {
	t := &table.Table{Left: 3, Head: []string{"stage", "", "remark", "s"}}
	for _, s := range f.stages {
		remark := ""
		if s.Status != "passed" {
			remark = f.lastLine(s.Stage)
		}
		t.Add(s.Stage, s.Status, remark, strconv.Itoa(s.Seconds))
	}
	return t
}

// lastLine is the last line of what a stage said.
func (f *first) lastLine(stage string) string {
	lines := f.log(stage)
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// log is what a stage said.
func (f *first) log(stage string) []string {
	text, err := os.ReadFile(filepath.Join(f.dir, "gpu-first-"+stage+".log"))
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// failures lists what failed inside of stages, and what cannot be read.
func (f *first) failures(b *strings.Builder) {
	var lines []string
	figures := map[string]*report{"ceilings": f.ceilings, "convolutions": f.convolutions, "kernels": f.kernels}
	for _, s := range f.stages {
		if s.Status == "passed" || figures[s.Stage] != nil { // whose cases are below
			continue
		}
		for _, l := range f.log(s.Stage) {
			if l = strings.TrimSpace(l); strings.Contains(l, "FAIL") || strings.Contains(l, "OUT OF MEMORY") || strings.Contains(l, "NOT REACHED") {
				lines = append(lines, s.Stage+": "+l)
			}
		}
	}
	for _, r := range []*report{f.ceilings, f.convolutions, f.kernels} {
		if r == nil {
			continue
		}
		for _, c := range slices.Concat(r.Probes, r.Cases) {
			if c.Error != "" && !c.OutOfTime {
				lines = append(lines, strings.TrimSpace(c.Kernel+" "+c.Size)+": "+c.Error)
			}
		}
	}
	for _, l := range f.loop {
		for _, row := range l.Rows {
			if row.Error != "" {
				lines = append(lines, "loop, "+l.precision+", "+row.Name()+": "+row.Error)
			}
		}
	}
	lines = append(lines, f.broken...)
	if len(lines) == 0 {
		return
	}
	f.section(b, "What failed")
	seen := map[string]bool{}
	for _, l := range lines {
		if !seen[l] {
			fmt.Fprintf(b, "- `%s`\n", strings.ReplaceAll(l, "`", "'"))
		}
		seen[l] = true
	}
}

func (f *first) ceilingPart(b *strings.Builder) {
	f.section(b, "What the card gives")
	r := f.ceilings
	if r == nil {
		fmt.Fprint(b, "Not measured.\n")
		return
	}
	r.ceilingTable().Markdown(b)
	fmt.Fprintf(b, "\nA launch takes %s us in a row of many, %s us in a graph; a small kernel alone, timed as below, %s us.\n",
		table.Digits(1e6*r.Overhead.Launch), table.Digits(1e6*r.Overhead.Graph), table.Digits(1e6*r.Overhead.Least))
	for _, l := range f.log("copies") {
		if strings.HasPrefix(l, "Benchmark") {
			fmt.Fprintf(b, "\n    %s", strings.Join(strings.Fields(l), " "))
		}
	}
	fmt.Fprintln(b)
}

// peerNote says what the peer was.
func peerNote(r *report) string {
	if r.Peer == nil {
		return "There was no PyTorch to compare with: " + r.NoPeer + "."
	}
	return fmt.Sprintf("The peer is PyTorch %s (CUDA %s), checked against float64 before.", r.Peer.Torch, r.Peer.CUDA)
}

func (f *first) convolutionPart(b *strings.Builder) {
	f.section(b, "Convolutions")
	r := f.convolutions
	if r == nil {
		fmt.Fprint(b, "Not measured.\n")
		return
	}
	fmt.Fprintf(b, `Layers of networks that see 256 pixels, 32 images, forward with bias and ReLU, and the gradient w.r.t. what goes in; samples of
what was written were compared with float64 before. "of ceiling" is the least time that the card needs for these bytes and
operations, of what was measured above, over ours. cuDNN's times are PyTorch's, channels innermost, the fastest that it finds by trying;
the ratio is its time over ours in our precision. %s

`, peerNote(r))
	convolutionTable(r).Markdown(b)
}

// layers tells whether all cases are layers of networks.
func (r *report) layers() bool {
	return len(r.Cases) > 0 && !slices.ContainsFunc(r.Cases, func(c result) bool { return c.Kernel != "conv" })
}

// convolutionTable has a line for each layer, direction and precision of ours.
func convolutionTable(r *report) *table.Table {
	t := &table.Table{Left: 1, Head: []string{
		"layer", "ms", "10 %", "90 %", "TFLOP/s", "of ceiling", "by", "cuDNN f16 ms", "tf32 ms", "float32 ms", "ratio",
	}}
	for i := range r.Cases {
		c := &r.Cases[i]
		cells := make([]string, len(t.Head))
		cells[0] = c.Size
		switch {
		case c.OutOfTime:
			cells[1] = "out of time"
		case c.OutOfMemory:
			cells[1] = "out of memory"
		case !c.measured():
			cells[1] = "FAILED"
		default:
			cells[1], cells[2], cells[3] = table.MS(c.Time.Median), table.MS(c.Time.P10), table.MS(c.Time.P90)
			cells[4] = per(c.Flops+c.TensorFlops, c.Time.Median, 1e12)
			if c.Floor > 0 {
				cells[5], cells[6] = fmt.Sprintf("%.0f %%", 100*c.Floor/c.Time.Median), c.FloorUnit
			}
		}
		if c.Peer != nil {
			for k, precision := range []string{"f16", "tf32", "float32"} {
				if v, ok := c.Peer.fastest(func(v variant) bool { return v.Precision == precision }); ok {
					cells[7+k] = table.Digits(v.MS)
				}
			}
			if v, ok := c.Peer.best(); ok && c.measured() {
				cells[10] = fmt.Sprintf("%.2f", v.MS/(1e3*c.Time.Median))
			}
		}
		t.Add(cells...)
	}
	return t
}

func (f *first) loopPart(b *strings.Builder) {
	f.section(b, "The program: maps f2pad of images, by batch")
	if len(f.loop) == 0 {
		fmt.Fprint(b, "Not measured.\n")
		return
	}
	l := f.loop[0]
	fmt.Fprintf(b, `%s on ResNet-18's layers 1 to 3 with random weights, images of %d x %d pixels with a defect in %d of %d; f2pad bench, all images
at once. Every pass of a row gave the same bits. The device is busy from the first to the last work of a call; times of calls beside each
other are added up, and launches within graphs count. "apart" is how far scores, maps and masks are from the CPU's, where both ran: relative,
maps by RMS, masks by the share of the pixels that they mark differently, and by the Dice of the two.

`, l.Model.Method, l.Images.Height, l.Images.Width, max(l.Images.Defective, 0), l.Images.Count)
	t := &table.Table{Left: 2, Head: []string{
		"precision", "device", "batch", "images", "suspicious", "images/s", "spread", "device busy", "launches/image", "MB to it", "MB from it",
		"ms handing over", "ms waiting", "ms of the device", "scores apart", "maps apart", "masks apart", "masks' Dice",
	}}
	for _, l := range f.loop {
		for _, row := range l.Rows {
			cells := []string{l.precision, row.Device, strconv.Itoa(row.Batch), strconv.Itoa(l.Images.Count)}
			if row.Error != "" {
				t.Add(append(append(cells, "FAILED"), make([]string, len(t.Head)-5)...)...)
				continue
			}
			cells = append(cells, fmt.Sprintf("%.1f %%", 100*row.Suspect), table.Digits(row.ImagesPerSecond), spread(row))
			if bus := row.Bus; bus != nil {
				cells = append(cells, fmt.Sprintf("%.0f %%", 100*bus.Busy*row.ImagesPerSecond), table.Digits(bus.Launches),
					table.Digits(bus.Uploaded/1e6), table.Digits(bus.Downloaded/1e6), table.MS(bus.Enqueue), table.MS(bus.Wait), table.MS(bus.Busy))
			} else {
				cells = append(cells, "", "", "", "", "", "", "")
			}
			t.Add(append(cells, apart(row.Apart), apart(row.MapsApart), apart(row.MasksApart), dice(row.MasksDice))...)
		}
	}
	t.Markdown(b)
	f.stagesOfLoop().Markdown(b)
}

func spread(row *bench.Row) string {
	if row.Spread == nil {
		return ""
	}
	return fmt.Sprintf("%.1f %%", 100**row.Spread)
}

func apart(v *float64) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf("%.1e", *v)
}

func dice(v *float64) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf("%.4f", *v)
}

// stagesOfLoop is what the engine's stages took, ms for an image.
func (f *first) stagesOfLoop() *table.Table {
	t := &table.Table{Left: 1, Head: []string{"ms an image, by stage"}}
	var columns []map[string]string
	var names []string
	for _, l := range f.loop {
		for _, row := range l.Rows {
			if row.Error != "" {
				continue
			}
			t.Head = append(t.Head, fmt.Sprintf("%s, %s, batch %d", l.precision, row.Device, row.Batch))
			column := map[string]string{}
			for _, s := range row.Stages {
				name := string(s.Stage)
				if column[name] = table.MS(s.Seconds); !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
			columns = append(columns, column)
		}
	}
	for _, name := range names {
		cells := []string{name}
		for _, c := range columns {
			cells = append(cells, c[name])
		}
		t.Add(cells...)
	}
	return t
}

func (f *first) iterationPart(b *strings.Builder) {
	f.section(b, "One iteration in PyTorch")
	if len(f.iteration) == 0 {
		fmt.Fprint(b, "Not measured.\n")
		return
	}
	l := f.iteration[0]
	fmt.Fprintf(b, `ResNet-18's layers 1 to 3, PaDiM's distances at every cell from 100 of the channels, and the gradient w.r.t. the pixels of whole
images of 256 pixels: what one of the optimisation's iterations asks of a detector. PyTorch %s (CUDA %s) on %s, compared with float64 at a
small size before.

`, l.Torch, l.CUDA, l.Device)
	t := &table.Table{Left: 2, Head: []string{"way", "precision", "batch", "ms", "10 %", "90 %", "images/s", "remark"}}
	for _, l := range f.iteration {
		if l.Error != "" {
			t.Add(l.Name, l.Precision, strconv.Itoa(l.Params["n"]), "", "", "", "", l.Error)
			continue
		}
		t.Add(l.Name, l.Precision, strconv.Itoa(l.Params["n"]), table.Digits(l.MS), table.Digits(l.P10), table.Digits(l.P90),
			table.Digits(1e3*float64(l.Params["n"])/l.MS), l.Note)
	}
	t.Markdown(b)
}

func (f *first) kernelPart(b *strings.Builder) {
	f.section(b, "The other kernels")
	if r := f.kernels; r == nil {
		fmt.Fprint(b, "Not measured.\n")
	} else {
		fmt.Fprintf(b, "\"floor\" is the least time that the card can need, by what was measured above. %s\n\n", peerNote(r))
		r.caseTable().Markdown(b)
		if t := r.peerTable(); len(t.Rows) > 0 {
			t.Markdown(b)
		}
	}
	if r := f.open; r != nil {
		f.section(b, "What the driver made of the kernels")
		r.kernelTable().Markdown(b)
	}
}

// otherParts are the lines of stages without tables of their own.
func (f *first) otherParts(b *strings.Builder) {
	about := map[string]string{
		"far":       "Kernels on arrays past 4 GiB",
		"sanitizer": "Under compute-sanitizer",
	}
	for _, stage := range []string{"far", "sanitizer"} {
		var names []string
		for _, n := range f.notes {
			if n.Stage == stage {
				names = append(names, n.Case)
			}
		}
		if len(names) > 0 {
			f.section(b, about[stage])
			fmt.Fprintf(b, "Passed: %s.\n", strings.Join(names, ", "))
		}
	}
	var closest []string
	for _, l := range f.log("tests") {
		if strings.Contains(l, "comparisons, closest") {
			closest = append(closest, "    "+strings.TrimSpace(l))
		}
	}
	if len(closest) > 0 {
		f.section(b, "Where the kernels came closest to their tolerances")
		fmt.Fprintln(b, strings.Join(closest, "\n"))
	}
}
