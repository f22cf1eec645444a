package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"f2pad.example/cgo/cuda"
	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/bench"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/peak"
	"f2pad.example/engine/perf"
	"f2pad.example/engine/perf/machine"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/synth"

	"github.com/spf13/cobra"
)

// benchOptions are the flags of bench.
type benchOptions struct {
	model, backbone, method string
	devices                 []string
	scenarios               []bench.Scenario
	batches                 []int
	maps                    []refine.Kind
	seconds                 float64
	rate, bound             float64 // images a second, ms
	images                  benchImages
	cold                    int
	out, benchfmt           string
}

// benchRule is when a row is measured well enough: three rounds at least, and then when the 95 % interval of the median is within
// 2 % of it, or the time is over.
func benchRule(seconds float64) perf.Rule {
	return perf.Rule{Least: 3, Seconds: seconds, Within: 0.02}
}

func (p *program) bench() *cobra.Command {
	o := benchOptions{
		method: "patchcore", devices: []string{autoDevice}, scenarios: []bench.Scenario{bench.Offline, bench.Stream}, batches: []int{1, 8},
		maps: []refine.Kind{refine.Base, refine.F2PAD}, seconds: 10, cold: 3,
		images: benchImages{count: 16, size: 256, defective: 0.5},
	}
	cmd := &cobra.Command{
		Use:   "bench [--model MODEL | --method METHOD --backbone NAME]",
		Short: "Measure how fast images are scored and refined, on the CPU and on GPUs",
		Long: `Measure how fast this machine scores images, and refines their maps. A row is a scenario, a map, a batch and a device:

  offline  all images at once: images a second, for each --batch
  stream   one image when the one before is done: latencies
  server   images that arrive at random moments, --rate a second on average: latencies from the arrival. Without --rate, the
           highest rate is looked for at which 99 of 100 images have their result within --bound; each rate is tried for --seconds

With several devices in --device each round runs on all of them in turn, so that their quotients are of the same moments; GPUs that
compute together are one of them (cuda:0+cuda:1, or cuda for all), each with --batch images in work. Before a
row is timed all images pass twice; every pass, timed ones too, must give the same results bit for bit, or the row fails. A row is
measured in rounds over all images, three at least, until the 95 % interval of their median is within 2 % of it or --seconds are
over; a row that did not get there says so. Files are in memory: decoding counts, the disk does not.

Beside that: what stages take, how near the network comes to the processor's multiply-adds and to its memory's copies, which are
measured before and after, clocks, energy where the system tells it, what a GPU is sent, and how long a process takes from its
start to its first result.

Without --model, a model is fitted to images of a woven texture, half of which have a defect when they are measured, and is thrown
away in the end. The refinement works on what is suspicious, so its speed depends on how much that is: the table says it.

'f2pad bench compare' tells what has changed between two files of --out. --benchfmt writes what benchstat reads.`,
		Example: `  f2pad bench
  f2pad bench --model leather.f2pad --data photos/ --device cpu,cuda:0 --batch 1,8,32 --out new.json
  f2pad bench --model leather.f2pad --device cuda:0,cuda
  f2pad bench --method padim --backbone efficientnet-lite0 --size 512 --refine none --scenario stream
  f2pad bench --model leather.f2pad --scenario server --refine none --bound 100
  f2pad bench compare old.json new.json --threshold 5`,
		Args: cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			fitted := cmd.Flags().Changed("method") || cmd.Flags().Changed("size") && o.images.folder != ""
			for _, name := range o.devices {
				named, err := ordinals(name, "+")
				if err == nil {
					err = there(named)
				}
				if err != nil {
					return fmt.Errorf("--device %s: %w", name, err)
				}
			}
			switch {
			case o.model != "" && fitted:
				return errors.New("--method is for a model that is fitted for the run, --size for that and for images that are made; --model has both")
			case o.model == "" && o.backbone != "" && !slices.Contains(p.knownBackbones(), o.backbone):
				return fmt.Errorf("--backbone must be %s; with other networks, fit a model and give it as --model", alternatives(p.knownBackbones()))
			case slices.Contains(o.scenarios, bench.Server) && o.bound == 0:
				return errors.New("--scenario server needs --bound: the ms that 99 of 100 images may take")
			case !slices.Contains(o.scenarios, bench.Server) && (o.rate > 0 || o.bound > 0):
				return errors.New("--rate and --bound are for --scenario server")
			case o.images.folder != "" && cmd.Flags().Changed("defective"):
				return errors.New("--defective is for images that are made, not for --data")
			}
			return nil
		},
		RunE: p.verb(func(ctx context.Context, _ []string) error { return p.measure(ctx, o) }),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.model, "model", "", "`MODEL` file; default: one that is fitted for the run")
	f.Var(choice{&o.method, engine.Methods()}, "method", "detector to fit, without --model")
	f.StringVar(&o.backbone, "backbone", "", "network to fit with, a `NAME` of f2pad backbones (default scatter), or the --model's ONNX file")
	f.Var(deviceNames{&o.devices}, "device", "where to compute, several for a comparison: of cpu, cuda:N, cuda:N+cuda:N for GPUs together, cuda for all of them, or auto")
	f.Var(scenarioNames{&o.scenarios}, "scenario", "how images come: of offline, stream, server")
	f.Var(batchSizes{&o.batches}, "batch", "images in work at once, on each of several GPUs: a row each of offline; server takes the largest")
	f.Var(kinds{&o.maps}, "refine", "maps to measure; none is scoring alone, base maps included")
	f.Var(positive{&o.seconds}, "seconds", "longest time that a row is measured, and a rate of server tried")
	f.Var(positive{&o.rate}, "rate", "images a second of server; default: the highest that holds --bound is looked for")
	f.Var(positive{&o.bound}, "bound", "ms that 99 of 100 images of server may take")
	o.images.flags(f)
	f.Var(number{&o.cold, 0, 100}, "cold", "processes that are started to see how long a first result takes; 0: none")
	f.StringVar(&o.out, "out", "", "JSON `FILE` to write everything to, for compare")
	f.StringVar(&o.benchfmt, "benchfmt", "", "`FILE` to write in the format of Go's benchmarks")
	cmd.AddCommand(p.benchCompare(), p.firstResult())
	return cmd
}

// list is a flag that takes words of a few, separated by commas.
func list(s string, known []string) ([]string, error) {
	var words []string
	for _, w := range strings.Split(s, ",") {
		if !slices.Contains(known, w) {
			return nil, fmt.Errorf("must be a comma-separated list of %s", strings.Join(known, ", "))
		}
		if !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	return words, nil
}

// scenarioNames is the flag --scenario; rows are in the scenarios' order.
type scenarioNames struct{ value *[]bench.Scenario }

func (n scenarioNames) Set(s string) error {
	var known []string
	for _, k := range bench.Scenarios() {
		known = append(known, string(k))
	}
	words, err := list(s, known)
	if err == nil {
		*n.value = slices.DeleteFunc(bench.Scenarios(), func(k bench.Scenario) bool { return !slices.Contains(words, string(k)) })
	}
	return err
}

func (n scenarioNames) String() string {
	if n.value == nil {
		return ""
	}
	var words []string
	for _, k := range *n.value {
		words = append(words, string(k))
	}
	return strings.Join(words, ",")
}

func (n scenarioNames) Type() string { return "list" }

// deviceNames is the flag --device of bench.
type deviceNames struct{ value *[]string }

func (n deviceNames) Set(s string) error {
	var names []string
	for _, name := range strings.Split(s, ",") {
		if _, err := ordinals(name, "+"); err != nil {
			return fmt.Errorf("%q %w; commas separate what is compared", name, err)
		}
		if slices.Contains(names, name) {
			return fmt.Errorf("names %s twice", name)
		}
		names = append(names, name)
	}
	if len(names) > 1 && slices.Contains(names, autoDevice) {
		return errors.New("auto is one row: name them all")
	}
	*n.value = names
	return nil
}

func (n deviceNames) String() string {
	if n.value == nil {
		return ""
	}
	return strings.Join(*n.value, ",")
}

func (n deviceNames) Type() string { return "list" }

// batchSizes is the flag --batch of bench.
type batchSizes struct{ value *[]int }

func (b batchSizes) Set(s string) error {
	var all []int
	for _, word := range strings.Split(s, ",") {
		var n int
		if err := (number{&n, 1, 1024}).Set(word); err != nil {
			return errors.New("must be a comma-separated list of whole numbers from 1 to 1024")
		}
		if !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	*b.value = all
	return nil
}

func (b batchSizes) String() string {
	if b.value == nil {
		return ""
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(*b.value), " ", ","), "[]")
}

func (b batchSizes) Type() string { return "list" }

// positive is a flag that takes a finite number above 0. 0 is none.
type positive struct{ value *float64 }

func (n positive) Set(s string) error {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v > 0) || math.IsInf(v, 0) || v > 1e9 {
		return errors.New("must be a number above 0")
	}
	*n.value = v
	return nil
}

func (n positive) String() string {
	if n.value == nil || *n.value == 0 {
		return ""
	}
	return plainly(*n.value)
}

func (n positive) Type() string { return "X" }

// measured is the result of bench.
type measured struct{ *bench.Report }

func (measured) MessageType() string { return bench.MessageType }

// rowMessage is a row that has been measured, while others are.
type rowMessage struct{ *bench.Row }

func (rowMessage) MessageType() string { return "bench_row" }

func (r rowMessage) Text(w io.Writer) error {
	text := fmt.Sprintf("%s: ", r.Name())
	switch s := r.Server; {
	case r.Error != "":
		text += "FAILED: " + r.Error
	case s != nil && s.Rate == 0:
		text += fmt.Sprintf("no rate that was tried keeps %g ms", 1e3*s.Bound)
	case s != nil:
		text += fmt.Sprintf("%.4g images/s, %d of %d late", s.Rate, s.Late, s.Asked)
	default:
		text += fmt.Sprintf("%.4g images/s, ±%.1f %% in %d rounds", r.ImagesPerSecond, 100**r.Spread, len(r.Samples))
	}
	_, err := ui.Fprintf(w, "%s\n", text)
	return err
}

// measure does what bench is asked for.
func (p *program) measure(ctx context.Context, o benchOptions) (err error) {
	load := p.busy()
	for _, file := range []string{o.out, o.benchfmt} {
		if err := writable(file); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "f2pad-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	opened, err := p.open(o.devices)
	if err != nil {
		return err
	}
	images, err := p.benchImages(ctx, o.images) // before a model is fitted: a folder may have none
	if err != nil {
		return err
	}
	m, path, err := p.benched(ctx, &o, opened[0].opts, dir)
	if err != nil {
		return err
	}
	if err := p.keepScorable(ctx, images, m, opened[0].opts); err != nil {
		return err
	}
	o.maps = slices.DeleteFunc(o.maps, func(k refine.Kind) bool {
		err := m.Makes(k)
		if err != nil {
			p.notice(err.Error())
		}
		return err != nil
	})
	if len(o.maps) == 0 {
		return errors.New("the model makes none of the maps of --refine")
	}
	r, err := p.newReport(o, m, images, opened, load)
	if err != nil {
		return err
	}
	var places []bench.Place
	for _, d := range opened {
		places = append(places, d.place(m))
	}
	r.Machine.ClocksBefore, r.Machine.GPUsBefore = machine.ReadClocks(), states(opened)
	r.Rates.Before = peak.Ceilings(r.Machine.MaxProcs)
	run := bench.Options{
		Scenarios: o.scenarios, Batches: o.batches, Maps: o.maps, Rule: benchRule(o.seconds), Rate: o.rate, Seed: o.images.seed,
		Bound: time.Duration(o.bound * float64(time.Millisecond)), Progress: p.progress,
		Tell: func(row *bench.Row) { p.ui.Note(rowMessage{row}) },
	}
	if e := machine.OpenEnergy(); e != nil {
		run.Energy = e.Joules
	}
	var stopped error
	if r.Rows, stopped = bench.Run(ctx, places, images.items, run); r.Rows == nil {
		r.Rows = []*bench.Row{}
	}
	r.Machine.ClocksAfter, r.Machine.GPUsAfter, r.Machine.LoadAfter = machine.ReadClocks(), states(opened), machine.Load()
	r.Rates.After = peak.Ceilings(r.Machine.MaxProcs)
	r.Share()
	if stopped == nil {
		r.Cold, stopped = p.coldStarts(ctx, o, path, filepath.Join(dir, "image"), images, r.Devices)
	}
	r.Complete = stopped == nil
	if stopped != nil && !errors.Is(stopped, context.Canceled) {
		return stopped
	}
	return cmp.Or(p.report(r, o), p.judge(r, stopped))
}

// busy is the load average of the last minute, and warns of one that others must have made.
func (p *program) busy() string {
	load := machine.Load()
	if v, err := strconv.ParseFloat(load, 64); err == nil && v > float64(runtime.NumCPU())/2 {
		p.ui.Warn(fmt.Sprintf("the load average is %s on %s: what else runs here is in the figures", load, counted(runtime.NumCPU(), "core")))
	}
	return load
}

// newReport is a report without rows; load is what the machine was busy with.
func (p *program) newReport(o benchOptions, m *engine.Model, images *heldImages, all []opened, load string) (*bench.Report, error) {
	r := &bench.Report{
		Revision: bench.Revision, Program: version(), Go: runtime.Version(), Date: time.Now().UTC().Truncate(time.Second),
		Model: bench.Model{
			Path: o.model, SHA256: m.SHA256(), Method: m.Info.Method, Profile: m.Info.Profile, Backbone: m.Info.Backbone, Size: m.Info.Size,
		},
		Images: images.Images,
		Machine: bench.Machine{
			Processor: machine.Processor(), Cores: runtime.NumCPU(), MaxProcs: runtime.GOMAXPROCS(0), OS: runtime.GOOS, Arch: runtime.GOARCH,
			LoadBefore: load,
		},
		Asked: bench.Asked{
			Scenarios: o.scenarios, Batches: o.batches, Maps: o.maps, Seconds: o.seconds, Within: benchRule(0).Within, Rate: o.rate,
			Bound: o.bound / 1e3, Seed: o.images.seed, Memory: p.memory,
		},
		Cold: []*bench.Cold{},
	}
	for _, d := range all {
		on, networks := place.Together(d.opts.Places)
		r.Devices, r.Executors = append(r.Devices, on), append(r.Executors, networks)
	}
	if slices.ContainsFunc(r.Executors, func(e exec.Info) bool { return e.Device == device.CPU.Device }) {
		work, err := m.Work(r.Images.Height, r.Images.Width)
		if err != nil {
			return nil, err
		}
		r.Work = &work
	}
	return r, nil
}

// report shows the results, and writes them to the files that were asked for.
func (p *program) report(r *bench.Report, o benchOptions) error {
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{{o.out, r.WriteJSON}, {o.benchfmt, r.WriteGo}} {
		if f.name == "" {
			continue
		}
		if err := artifact.WriteFileAtomic(f.name, f.write); err != nil {
			return err
		}
	}
	return p.ui.Show(measured{r})
}

// judge is the error of a run that is not what was asked for.
func (p *program) judge(r *bench.Report, stopped error) error {
	if stopped != nil {
		return interrupted{fmt.Sprintf("interrupted: %s measured, the rest is not", are(len(r.Rows), "row"))}
	}
	failed := 0
	for _, row := range r.Rows {
		if row.Error != "" {
			failed++
		}
	}
	for _, c := range r.Cold {
		if c.Error != "" {
			p.ui.Warn(fmt.Sprintf("cold start on %s: %s", c.Device, c.Error))
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s could not be measured", failed, counted(len(r.Rows), "row"))
	}
	return nil
}

// opened is a device to measure on, or several together.
type opened struct {
	opts engine.Options
	gpus []*cuda.Device // none: the CPU
}

// open opens devices. What two names stand for is there once.
func (p *program) open(devices []string) (all []opened, err error) {
	named := map[string]bool{}
	for _, name := range devices {
		p.device = apart(name)
		d := opened{}
		if d.opts, err = p.computing(); err != nil {
			return nil, err
		}
		on, _ := place.Together(d.opts.Places)
		if named[on.Device] {
			p.ui.Warn(fmt.Sprintf("--device %s is %s, which is measured already", name, on.Device))
			continue
		}
		named[on.Device] = true
		for _, on := range d.opts.Places {
			if gpu, ok := on.(*cuda.Device); ok {
				d.gpus = append(d.gpus, gpu)
			}
		}
		all = append(all, d)
	}
	return all, nil
}

// apart names devices that bench joins as other verbs do.
func apart(name string) string { return strings.ReplaceAll(name, "+", ",") }

// place is where bench measures a model. What is said of images has been said before, and a row is of its device or fails.
func (d opened) place(m *engine.Model) bench.Place {
	opts := d.opts
	opts.Warn, opts.Unlike, opts.Planned, opts.Fallback = nil, nil, nil, nil
	on, _ := place.Together(opts.Places)
	where := bench.Place{Info: on, Open: func(kind refine.Kind, batch int, t engine.Timer) (bench.Scorer, error) {
		o := opts
		o.Maps, o.Batch, o.Timer = []refine.Kind{kind}, batch, t
		return engine.New(m, o)
	}}
	for _, gpu := range d.gpus {
		gpu.Measure(true)
	}
	if len(d.gpus) > 0 {
		where.Counters = func() (all device.Counters) {
			for _, gpu := range d.gpus {
				all = all.Add(gpu.Counters())
			}
			return all
		}
	}
	return where
}

// states is what the driver's tool says of GPUs.
func states(all []opened) map[string]string {
	said := map[string]string{}
	for _, d := range all {
		for _, gpu := range d.gpus {
			said[gpu.Info().Device] = gpu.State()
		}
	}
	return said
}

// What a model for the run is fitted to: few images and simulated defects, since it is measured, and not used.
const (
	benchTexture   = "weave"
	benchNormal    = 24
	benchPaintings = 8
)

// benched returns the model to measure, and the path of its file. One that is fitted for the run lies in dir.
func (p *program) benched(ctx context.Context, o *benchOptions, opts engine.Options, dir string) (*engine.Model, string, error) {
	if o.model != "" {
		m, err := p.load(o.model, o.backbone)
		return m, o.model, err
	}
	fit := engine.FitOptions{
		Method: o.method, Backbone: cmp.Or(o.backbone, engine.Backbones()[0]), Size: engine.Size{Px: o.images.size}, Seed: o.images.seed,
		Program: version(), Paintings: benchPaintings, Options: opts,
	}
	o.backbone = ""
	if err := p.resolve(&fit); err != nil {
		return nil, "", err
	}
	normal, err := rendered(ctx, synth.Good, benchNormal, o.images.size, o.images.seed, 0)
	if err != nil {
		return nil, "", err
	}
	fit.Progress, fit.Training = p.progress, p.training()
	m, err := engine.Fit(ctx, normal, fit, nil)
	if err != nil {
		return nil, "", err
	}
	path := filepath.Join(dir, "model.f2pad")
	_, err = m.Save(path)
	return m, path, err
}
