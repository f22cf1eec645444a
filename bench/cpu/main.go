// Command cpu measures the program on the CPU against what others do the same work with: networks and their gradients, the
// nearest neighbours of PatchCore, the refinement, and scoring from file to map. Peers run in one Python process beside it
// (bench/peers/cpu.py), in turn with ours, on as many threads. Nothing is timed before its result has been compared.
//
//	make bench-cpu
//	go run ./bench/cpu [-run REGEXP] [-quick] [-threads N] [-out DIR] [-python PYTHON] [-list]
//
// A row that fails does not keep the others from running; the exit code is then 1. What is not installed is said in its row.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"f2pad.example/bench/internal/peer"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/perf/machine"
)

type options struct {
	run            *regexp.Regexp
	quick, list    bool
	threads        int
	out            string
	python, script string
	library        string // ONNX Runtime's; "": where package ort looks
}

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2)
	}
	if err := bench(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cpubench:", err)
		os.Exit(1)
	}
}

func parse(args []string, out io.Writer) (o options, err error) {
	f := flag.NewFlagSet("cpubench", flag.ContinueOnError)
	f.SetOutput(out)
	run := f.String("run", "", "only rows whose name this regular expression finds (-list shows them)")
	f.BoolVar(&o.quick, "quick", false, "few runs of the smaller rows: to see that it works, not to report")
	f.BoolVar(&o.list, "list", false, "list the rows and do nothing")
	f.IntVar(&o.threads, "threads", runtime.NumCPU(), "threads, ours and the peers'")
	f.StringVar(&o.out, "out", "out", "folder for cpu-bench.md, cpu-bench.json and, in cpu, what is made for the rows")
	python := os.Getenv("PEER_PYTHON")
	if python == "" {
		python = "python3"
	}
	f.StringVar(&o.python, "python", python, "the Python that has the peers, PEER_PYTHON if that is set; \"\" leaves them out")
	f.StringVar(&o.script, "peer-script", filepath.Join("bench", "peers", "cpu.py"), "what it runs")
	f.StringVar(&o.library, "ort", "", "ONNX Runtime's shared library; \"\": where make ort puts it")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch o.run, err = regexp.Compile(*run); {
	case err != nil:
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.threads < 1:
		err = fmt.Errorf("%d threads", o.threads)
	}
	if err != nil {
		fmt.Fprintln(out, "cpubench:", err)
	}
	return o, err
}

// job is a row to be measured.
type job struct {
	name string
	slow bool // left out of a quick run
	do   func(b *meter, r *row) error
}

func jobs() []job {
	var all []job
	for _, part := range [][]job{convolutions(), networks(), neighbours(), refinements(), scorings(), flows()} {
		all = append(all, part...)
	}
	return all
}

// chosen are the jobs that -run finds, and those of them that -quick leaves out.
func (o *options) chosen(all []job) (jobs, skipped []job, err error) {
	for _, j := range all {
		switch {
		case !o.run.MatchString(j.name):
		case o.quick && j.slow:
			skipped = append(skipped, j)
		default:
			jobs = append(jobs, j)
		}
	}
	if len(jobs) == 0 {
		return nil, nil, fmt.Errorf("-run %q finds no row that is measured; -list lists them", o.run)
	}
	return jobs, skipped, nil
}

func bench(o options, out io.Writer) (err error) {
	if o.list {
		for _, j := range jobs() {
			fmt.Fprintln(out, j.name)
		}
		return nil
	}
	todo, skipped, err := o.chosen(jobs())
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(o.threads)
	if err := os.MkdirAll(o.work(), 0o777); err != nil {
		return err
	}
	m := &meter{
		options: o, out: out, effort: thorough,
		report: report{Date: time.Now(), Threads: o.threads, Machine: machine.Describe(), Quick: o.quick, LoadBefore: machine.Load()},
	}
	if o.quick {
		m.effort = quick
	}
	m.executors()
	m.meet()
	defer func() {
		if e := m.part(); err == nil {
			err = e
		}
	}()
	for _, j := range skipped {
		m.Skipped = append(m.Skipped, j.name)
	}
	m.head(out)
	for i, j := range todo {
		r := &row{Name: j.name}
		m.Rows = append(m.Rows, r)
		began := time.Now()
		err := errors.Join(j.do(m, r), m.close())
		if lacks := (missing{}); errors.As(err, &lacks) {
			r.Missing = append(r.Missing, lacks.Error())
		} else if err != nil {
			r.Error = err.Error()
			m.failed = append(m.failed, j.name)
		}
		m.progress(fmt.Sprintf("%d/%d", i+1, len(todo)), r, time.Since(began))
		m.LoadAfter = machine.Load()
		if err := m.write(); err != nil { // after every row: a run that is ended has what it has
			return err
		}
	}
	m.table().Text(out, "")
	fmt.Fprintf(out, "wrote %s and %s in %s\n", pageFile, dataFile, o.out)
	if len(m.failed) > 0 {
		return fmt.Errorf("%d failed: %s", len(m.failed), strings.Join(m.failed, "; "))
	}
	return nil
}

// The files of a run.
const (
	pageFile = "cpu-bench.md"
	dataFile = "cpu-bench.json"
)

// write writes the rows so far.
func (m *meter) write() error {
	return errors.Join(
		artifact.WriteFileAtomic(filepath.Join(m.options.out, pageFile), m.writeMarkdown),
		artifact.WriteFileAtomic(filepath.Join(m.options.out, dataFile), m.writeJSON),
	)
}

// work is the folder for what is made on the way: networks, images, models.
func (o *options) work() string { return filepath.Join(o.out, "cpu") }

// missing says what a row needs and this machine has not: "WHO: why". It is no failure.
type missing struct{ error }

// meter measures rows and tells how it goes.
type meter struct {
	options
	report
	out     io.Writer
	effort  effort
	failed  []string
	ours    []executor
	peers   map[string]*peer.Process // by the kernels they are told to use; "" as they choose themselves
	models  map[string]*fitted       // by method
	vectors *patches                 // of the last data set and embedding

	closers []func() error // of what the row in hand has opened
}

// close closes what the row in hand has opened.
func (m *meter) close() error {
	var errs []error
	for _, c := range m.closers {
		errs = append(errs, c())
	}
	m.closers = nil
	return errors.Join(errs...)
}
