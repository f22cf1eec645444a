// Command accuracy measures the program's maps against ground truth: every method with every backbone at every size, on real
// data sets and on made-up textures. It runs the built program, as a user does, and writes a page with tables, intervals
// and verdicts on the bounds that a change must keep.
//
//	make accuracy
//	go run ./bench/accuracy [-run REGEXP] [-limit N] [-data DIR] [-backbone FILE.onnx -layers NAMES] [-out DIR] [-list]
//
// Each finished combination is stored with a key of all that decides it: the program's and the files' hashes and the options.
// One that is stored is not run again, so a run that was stopped goes on. What is not installed is said on the page. A
// combination that fails does not keep the others from running; the exit code is then 1.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/perf/machine"
)

type options struct {
	run           *regexp.Regexp
	list          bool
	limit         int
	data, out     string
	program       string
	network       string // an ONNX file beside the backbones of the table
	networkLayers string
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
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}

func parse(args []string, out io.Writer) (o options, err error) {
	f := flag.NewFlagSet("accuracy", flag.ContinueOnError)
	f.SetOutput(out)
	run := f.String("run", "", "only combinations DATASET/METHOD/BACKBONE/SIZE that this regular expression finds (-list shows them)")
	f.BoolVar(&o.list, "list", false, "list the combinations and do nothing")
	f.IntVar(&o.limit, "limit", 24, "test images per class, at even distances by name; 0: all")
	data := os.Getenv("ACCURACY_DATA")
	if data == "" {
		data = filepath.Join("..", "shared", "data")
	}
	f.StringVar(&o.data, "data", data, "folder of data sets in MVTec AD's layout, ACCURACY_DATA if that is set")
	f.StringVar(&o.out, "out", "out", "folder for accuracy.md, accuracy.json and, in accuracy, what belongs to them")
	f.StringVar(&o.program, "program", filepath.Join("bin", "f2pad"), "the built program")
	f.StringVar(&o.network, "backbone", "", "an ONNX `file` to measure as a backbone, too")
	f.StringVar(&o.networkLayers, "layers", "", "its layers, as of fit --layers")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch o.run, err = regexp.Compile(*run); {
	case err != nil:
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.limit < 0:
		err = fmt.Errorf("-limit %d", o.limit)
	case (o.network == "") != (o.networkLayers == ""):
		err = errors.New("-backbone and -layers go together")
	}
	if err != nil {
		fmt.Fprintln(out, "accuracy:", err)
	}
	return o, err
}

// The files of a run.
const (
	pageFile = "accuracy.md"
	dataFile = "accuracy.json"
)

// work is the folder for results, sheets and made-up data.
func (o *options) work() string { return filepath.Join(o.out, "accuracy") }

func bench(o options, out io.Writer) error {
	sets, missing := o.datasets()
	all := combinations(sets, o.backbones())
	chosen := map[string]bool{}
	var todo []combination
	for _, c := range all {
		if o.run.MatchString(c.name()) {
			todo = append(todo, c)
			chosen[c.Dataset.Name] = true
		}
	}
	for _, s := range missing {
		fmt.Fprintln(out, "SKIPPED:", s)
	}
	if len(todo) == 0 {
		return errors.New("-run finds no combination; -list lists them")
	}
	if o.list {
		for _, c := range todo {
			fmt.Fprintln(out, c.name())
		}
		return nil
	}
	if err := os.MkdirAll(o.work(), 0o777); err != nil {
		return err
	}
	b := &run{options: o, out: out, program: program{o.program}, all: all}
	b.page = page{
		Date: time.Now(), Machine: machine.Describe(), LoadBefore: machine.Load(), Commit: commit(), Limit: o.limit, Skipped: missing,
	}
	var err error
	if b.Binary, err = fileHash(o.program); err != nil {
		return err
	}
	for _, s := range sets {
		if s.Texture != "" && chosen[s.Name] {
			if err := b.makeTexture(s); err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
		}
	}
	b.probe()
	return b.measure(todo)
}

// run is one run of the bench.
type run struct {
	options
	page
	out     io.Writer
	program program
	all     []combination
	known   map[string]probed // by backbone
	failed  []string
}

// measure runs what is to be done and is not stored, and writes the page after each.
func (b *run) measure(todo []combination) error {
	var left []combination
	for _, c := range todo {
		if _, ok := b.known[c.Backbone.Name]; !ok {
			continue
		}
		key, err := b.key(c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name(), err)
		}
		if _, ok := b.stored(c, key); ok {
			fmt.Fprintf(b.out, "%s: stored, not run again\n", c.name())
			continue
		}
		left = append(left, c)
	}
	if err := b.write(); err != nil {
		return err
	}
	began := time.Now()
	done, total := 0.0, 0.0
	for _, c := range left {
		total += c.work(b.limit)
	}
	for i, c := range left {
		fmt.Fprintf(b.out, "%d/%d %s\n", i+1, len(left), c.name())
		start := time.Now()
		if err := b.one(c); err != nil {
			b.Failed = append(b.Failed, fmt.Sprintf("%s: %s", c.name(), oneLine(err.Error())))
			b.failed = append(b.failed, c.name())
			fmt.Fprintln(b.out, "    FAILED:", err)
		}
		done += c.work(b.limit)
		if err := b.write(); err != nil {
			return err
		}
		eta := time.Duration((total - done) / done * float64(time.Since(began)))
		fmt.Fprintf(b.out, "    %.0f s; %d left, about %s\n", time.Since(start).Seconds(), len(left)-i-1, eta.Round(time.Second))
	}
	b.summary(b.out)
	fmt.Fprintf(b.out, "wrote %s and %s in %s\n", pageFile, dataFile, b.options.out)
	if len(b.failed) > 0 {
		return fmt.Errorf("%d failed: %s", len(b.failed), strings.Join(b.failed, "; "))
	}
	return nil
}

// write writes the page of all that is stored for this program, data and options, whether -run finds it or not.
func (b *run) write() error {
	b.Results, b.Open = nil, 0
	for _, c := range b.all {
		if _, ok := b.known[c.Backbone.Name]; !ok {
			continue
		}
		key, err := b.key(c)
		if errors.Is(err, os.ErrNotExist) {
			b.Open++ // a texture that was never made
			continue
		}
		if err != nil {
			return err
		}
		if r, ok := b.stored(c, key); ok {
			b.Results = append(b.Results, r)
		} else {
			b.Open++
		}
	}
	b.LoadAfter = machine.Load()
	b.Verdicts = judge(b.Results)
	return errors.Join(
		artifact.WriteFileAtomic(filepath.Join(b.options.out, pageFile), b.markdown),
		artifact.WriteFileAtomic(filepath.Join(b.options.out, dataFile), b.json),
	)
}

// oneLine makes an error fit for a page that others read: without line breaks and the user's folder.
func oneLine(s string) string {
	if home, err := os.UserHomeDir(); err == nil && len(home) > 1 {
		s = strings.ReplaceAll(s, home, "~")
	}
	return strings.Join(strings.Fields(s), " ")
}
