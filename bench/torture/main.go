// Command torture kills f2pad at random moments and shows that nothing false is left behind: score (of folders, archives, rows,
// objects and shards), merge, fit and synth are killed (SIGKILL), run again until they are done, and what they then have written is compared byte for byte with an
// uninterrupted run, but for the seconds in results. After every kill of score each line that stands is held against that
// run, too, and so are the files that it names.
//
//	go run ./bench/torture [-kills 100] [-within 10m] [-seed 1] bin/f2pad
package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/run"

	"github.com/parquet-go/parquet-go"
)

const (
	train, test = 6, 10 // images
	side        = 48    // pixels
	perRun      = 6     // kills before a run is let go to its end
)

// trainedFile is what a fit has learned so far, until it is done.
const trainedFile = "model.part"

func main() {
	t := &torture{out: os.Stdout}
	kills := flag.Int("kills", 100, "how often to kill")
	within := flag.Duration("within", 10*time.Minute, "when to give up")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the moments")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: torture [flags] F2PAD")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), *within)
	defer cancel()
	t.ctx, t.random = ctx, rand.New(rand.NewPCG(*seed, 0))
	fmt.Fprintf(t.out, "seed %d\n", *seed)
	if err := t.run(flag.Arg(0), *kills); err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(1)
	}
}

// torture is one run of this program.
type torture struct {
	ctx     context.Context
	out     io.Writer
	random  *rand.Rand
	program string
	dir     string
}

// victim is a verb under torture.
type victim struct {
	name  string
	kills int
	// begin makes what a run starts from and returns the command line and what it writes.
	begin func(round int) (args []string, out string, err error)
	want  map[string]string // what an uninterrupted run writes
	check func(out string, want map[string]string) error
	takes time.Duration // an uninterrupted run
}

func (t *torture) run(program string, kills int) error {
	var err error
	if t.program, err = filepath.Abs(program); err != nil {
		return err
	}
	if t.dir, err = os.MkdirTemp("", "f2pad-torture-"); err != nil {
		return err
	}
	defer os.RemoveAll(t.dir)
	at := func(name string) string { return filepath.Join(t.dir, name) }
	synth := func(out string) []string {
		return []string{"synth", "--out", out, "--train", fmt.Sprint(train), "--test", fmt.Sprint(test), "--size", fmt.Sprint(side)}
	}
	fit := func(method, out string) []string {
		return []string{"fit", "--data", at("data"), "--method", method, "--size", "native", "--executor", "go", "--device", "cpu", "--out", out}
	}
	score := func(out string, inputs ...string) []string {
		return append([]string{"score", "--model", at("model"), "--executor", "go", "--device", "cpu", "--batch", "3", "--maps", "--masks", "--overlays", "--out", out}, inputs...)
	}
	share := kills / 10
	archives := []string{at("images.tar"), at("images.tar.gz"), at("images.zip")}
	table, bucket := at("images.parquet"), "file://"+filepath.ToSlash(at("images"))
	shard := func(i int, out string) []string {
		return score(out, append([]string{"--shard", fmt.Sprintf("%d/2", i)}, archives...)...)
	}
	merge := func(out string) []string { return []string{"merge", "--out", out, at("shard2"), at("shard1")} }
	// simple is a verb that starts from nothing.
	simple := func(name string, args func(out string) []string, check func(string, map[string]string) error) *victim {
		return &victim{name: name, kills: share, begin: func(round int) ([]string, string, error) {
			out := at(fmt.Sprintf("%s-%d", strings.NewReplacer(" ", "-", ":", "", "/", "").Replace(name), round))
			return args(out), out, nil
		}, check: check}
	}
	fitted := func(method string) *victim {
		return &victim{name: "fit " + method, kills: share, begin: func(round int) ([]string, string, error) {
			out := at(fmt.Sprintf("fit-%s-%d", method, round))
			return fit(method, filepath.Join(out, "model")), out, nil
		}, check: wholeOrNothing}
	}
	victims := []*victim{
		simple("synth", synth, func(string, map[string]string) error { return nil }),
		fitted("padim"), fitted("cflow"),
		simple("score tar", func(out string) []string { return score(out, archives[0], archives[2]) }, truth),
		simple("score tgz", func(out string) []string { return score(out, archives[1]) }, truth),
		simple("score rows", func(out string) []string { return score(out, table) }, truth),
		simple("score file://", func(out string) []string { return score(out, bucket) }, truth),
		simple("shard", func(out string) []string { return shard(2, out) }, truth),
		simple("merge", merge, wholeOrNothing),
		{name: "score", kills: kills - 9*share, begin: func(round int) ([]string, string, error) {
			out, images := at(fmt.Sprintf("score-%d", round)), at("images")
			if round%2 == 0 || round < 0 {
				return score(out, images), out, nil
			}
			// Every second run is of a folder to which images have been added since.
			hidden, err := hide(images)
			if err == nil {
				err = t.must(score(out, images)...)
			}
			return score(out, images), out, errors.Join(err, reveal(hidden))
		}, check: truth},
	}
	for _, args := range [][]string{synth(at("data")), fit("padim", at("model"))} {
		if err := t.must(args...); err != nil {
			return err
		}
	}
	if err := os.CopyFS(at("images"), os.DirFS(filepath.Join(at("data"), "test"))); err != nil {
		return err
	}
	if err := errors.Join(pack(at("images"), archives), tabulate(at("images"), table)); err != nil {
		return err
	}
	for _, args := range [][]string{shard(1, at("shard1")), shard(2, at("shard2")), merge(at("merged")), score(at("whole"), archives...)} {
		if err := t.must(args...); err != nil {
			return err
		}
	}
	whole, err1 := written(at("whole"))
	merged, err2 := written(at("merged"))
	if err := errors.Join(err1, err2, equal(whole, merged)); err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	for _, v := range victims {
		if err := t.torment(v); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return nil
}

// must runs the program to its end.
func (t *torture) must(args ...string) error {
	text, err := exec.CommandContext(t.ctx, t.program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", args[0], err, text)
	}
	return nil
}

// torment kills a verb until it has been killed often enough.
func (t *torture) torment(v *victim) error {
	args, out, err := v.begin(-2)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := t.must(args...); err != nil {
		return err
	}
	v.takes = time.Since(began)
	if v.want, err = written(out); err != nil {
		return err
	}
	killed, ended, runs, locks, temps := 0, 0, 0, 0, 0
	for ; killed < v.kills; runs++ {
		args, out, err := v.begin(runs)
		if err != nil {
			return err
		}
		done := false
		for range min(perRun, v.kills-killed) {
			dead, err := t.kill(v, args)
			if err != nil {
				return err
			}
			if !dead {
				done = true
				ended++
				break
			}
			killed++
			l, n := remains(out)
			locks, temps = locks+l, temps+n
			if err := v.check(out, v.want); err != nil {
				return fmt.Errorf("killed %d times, run %d: %w", killed, runs, err)
			}
		}
		if !done {
			if err := t.must(args...); err != nil {
				return fmt.Errorf("killed %d times, run %d is not gone on with: %w", killed, runs, err)
			}
		}
		have, err := written(out)
		if err != nil {
			return err
		}
		if err := equal(v.want, have); err != nil {
			return fmt.Errorf("killed %d times, run %d: %w", killed, runs, err)
		}
		if _, err := os.Stat(filepath.Join(out, run.LockFile)); err == nil {
			return fmt.Errorf("run %d is done and left its lock", runs)
		}
		if err := os.RemoveAll(out); err != nil {
			return err
		}
	}
	fmt.Fprintf(t.out, "%-14s %3d kills in %3d runs (%.2f s uninterrupted; %d ended before their kill): all %d files the same; kills left %d locks and %d temporary files\n",
		v.name+":", killed, runs, v.takes.Seconds(), ended, len(v.want), locks, temps)
	return nil
}

// kill starts the program and kills it at a random moment. It reports false if the program was done before.
func (t *torture) kill(v *victim, args []string) (bool, error) {
	if err := t.ctx.Err(); err != nil {
		return false, errors.New("the time is up")
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(t.ctx, t.program, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return false, err
	}
	timer := time.AfterFunc(time.Duration(t.random.Float64()*float64(v.takes)), func() { cmd.Process.Kill() })
	err := cmd.Wait()
	timer.Stop()
	switch {
	case err == nil:
		return false, nil
	case cmd.ProcessState.Exited(): // it was not killed, it failed
		return false, fmt.Errorf("%w\n%s", err, &said)
	}
	return true, nil
}

// pack writes the images of a folder as archives of their kinds, in the order of their names.
func pack(images string, archives []string) error {
	for _, path := range archives {
		err := artifact.WriteFileAtomic(path, func(w io.Writer) error {
			switch filepath.Ext(path) {
			case ".zip":
				z := zip.NewWriter(w)
				return errors.Join(z.AddFS(os.DirFS(images)), z.Close())
			case ".gz":
				z := gzip.NewWriter(w)
				t := tar.NewWriter(z)
				return errors.Join(t.AddFS(os.DirFS(images)), t.Close(), z.Close())
			}
			t := tar.NewWriter(w)
			return errors.Join(t.AddFS(os.DirFS(images)), t.Close())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// row is an image as Hugging Face's data sets have it.
type row struct {
	Image struct {
		Bytes []byte `parquet:"bytes"`
		Path  string `parquet:"path"`
	} `parquet:"image"`
}

// tabulate writes the images of a folder as a Parquet file, in the order of their names.
func tabulate(images, path string) error {
	var rows []row
	err := filepath.WalkDir(images, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		var r row
		r.Image.Path = d.Name()
		r.Image.Bytes, err = os.ReadFile(file)
		rows = append(rows, r)
		return err
	})
	return errors.Join(err, parquet.WriteFile(path, rows))
}

// hide takes every second image out of a folder's folders and returns where they were.
func hide(images string) (map[string]string, error) {
	hidden := map[string]string{}
	files, err := filepath.Glob(filepath.Join(images, "*", "*.png"))
	for i, f := range files {
		if i%2 == 0 && err == nil {
			hidden[f] = f + ".hidden"
			err = os.Rename(f, hidden[f])
		}
	}
	return hidden, err
}

func reveal(hidden map[string]string) error {
	var errs []error
	for to, from := range hidden {
		errs = append(errs, os.Rename(from, to))
	}
	return errors.Join(errs...)
}

// written reads what a run wrote, but for what a killed one may leave, and seconds and times.
func written(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || artifact.IsTemp(d.Name()) || d.Name() == run.LockFile {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if name == run.ResultsFile {
			if data, err = timeless(data); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		files[name] = string(data)
		return nil
	})
	return files, err
}

// timeless is a file of results without what differs from run to run.
func timeless(data []byte) ([]byte, error) {
	var b bytes.Buffer
	for line := range bytes.Lines(data) {
		var l map[string]any
		if err := json.Unmarshal(line, &l); err != nil {
			return nil, err
		}
		delete(l, "seconds")
		delete(l, "modified")
		if err := json.NewEncoder(&b).Encode(l); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

func equal(want, have map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got, ok := have[name]
		if !ok {
			return fmt.Errorf("%s is missing", name)
		}
		if got != want[name] {
			return fmt.Errorf("%s differs from that of an uninterrupted run", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[name]; !ok {
			return fmt.Errorf("%s should not be there", name)
		}
	}
	return nil
}

// wholeOrNothing says that each file is that of an uninterrupted run, or not there.
func wholeOrNothing(out string, want map[string]string) error {
	have, err := written(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for name, data := range have {
		if data != want[name] && name != trainedFile && name != run.RunFile { // which says more until a merge is done
			return fmt.Errorf("%s is not whole", name)
		}
	}
	return nil
}

// truth says that each whole line of score is that of an uninterrupted run, and so is each file that it names.
func truth(out string, want map[string]string) error {
	for _, name := range []string{run.ResultsFile, run.PartFile} {
		data, err := os.ReadFile(filepath.Join(out, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		data = data[:bytes.LastIndexByte(data, '\n')+1]
		lines, err := timeless(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for line := range strings.Lines(string(lines)) {
			if !strings.Contains(want[run.ResultsFile], line) {
				return fmt.Errorf("%s: %s is no line of an uninterrupted run", name, strings.TrimSpace(line))
			}
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				return err
			}
			for _, field := range []string{"map", "mask", "overlay"} {
				file := l[field].(string)
				data, err := os.ReadFile(filepath.Join(out, file))
				if err != nil {
					return fmt.Errorf("%s names a file that is not there: %w", name, err)
				}
				if string(data) != want[file] {
					return fmt.Errorf("%s differs from that of an uninterrupted run", file)
				}
			}
		}
	}
	return nil
}

// remains counts what a killed program left: its lock, and files that it had not finished.
func remains(out string) (locks, temps int) {
	filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
		case d.Name() == run.LockFile:
			locks++
		case artifact.IsTemp(d.Name()):
			temps++
		}
		return nil
	})
	return locks, temps
}
