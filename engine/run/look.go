package run

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/dataset"
)

// Survey is what is known of a run's inputs before anything is written.
type Survey struct {
	Total int // 0: not known

	known    bool   // all inputs were seen
	unlisted bool   // some folder could not be listed
	changing bool   // inputs come and go: that none is an earlier run's says nothing
	found    files  // of results, which the rest is about
	at       int64  // bytes of their lines to which inputs came in the lines' order
	shared   bool   // one of these is a result
	are      listed // the other inputs, as far as lines are left that may be theirs
	exists   func(url string) (bool, error)
}

// list is the argument that stands for a list on standard input.
const list = "-"

// Look goes through the inputs that arguments name, as where takes them, as far as they can be known beforehand: of a list
// on standard input, or where an archive would have to be read through, nothing is. One that is not there or holds nothing is an error (dataset.ErrNamed): it is more likely mistyped
// than meant. where.Out is where the results will go; of a shard, only its inputs count. Inputs are compared with the lines of earlier results as
// they come: what is remembered of them does not grow with their number as long as they come in the lines' order.
func Look(where dataset.Search, args []string, shard *Shard) (s Survey, err error) {
	s = Survey{are: newListed(), known: !slices.Contains(args, list), found: filesIn(where.Out)}
	if where.Buckets != nil {
		s.exists = func(url string) (bool, error) { return where.Buckets.Exists(context.Background(), url) }
	}
	s.are.exists = s.exists
	before, err := openEarlier(where.Out)
	if err != nil {
		return s, err
	}
	defer before.close()
	named := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == list })
	where.Unlisted = func(string) { s.known = false }
	where.Left, where.Ignored, where.Took = nil, nil, nil // they are told when the inputs are read
	n := 0
	for item, err := range where.Inputs(named, nil) {
		if errors.Is(err, dataset.ErrNamed) {
			return s, err
		}
		has := shard.has(n)
		n++
		if has {
			s.Total++
		}
		s.unlisted = s.unlisted || err != nil
		switch came, err := before.come(item, has); {
		case err != nil:
			return s, artifact.Worded(err)
		case came:
			s.are.archive(item)
		case s.known && before.left():
			s.are.add(item, has)
		}
	}
	if !s.known {
		s.Total = 0
	}
	s.at, s.shared = before.at, before.shared
	return s, nil
}

// files are the files of results in a folder as they were found. What is not there is zero.
type files [3]struct{ bytes, modified int64 }

func filesIn(dir string) (f files) {
	for i, name := range []string{ResultsFile, PartFile, OldFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			f[i].bytes, f[i].modified = info.Size(), info.ModTime().UnixNano()
		}
	}
	return f
}

// earlier are the lines of earlier results while inputs are looked at.
type earlier struct {
	file   *os.File // of the last run; nil: there is none
	lines  *bufio.Reader
	next   finished // of so many bytes; 0: there is none
	bytes  int64
	at     int64 // where it begins
	shared bool  // one of those before it is a result
	old    bool  // there are others, in OldFile
}

func openEarlier(dir string) (*earlier, error) {
	e := &earlier{}
	_, err := os.Stat(filepath.Join(dir, OldFile))
	e.old = err == nil
	for _, name := range []string{ResultsFile, PartFile} {
		if e.file, err = os.Open(filepath.Join(dir, name)); err == nil {
			e.lines = bufio.NewReaderSize(e.file, 1<<16)
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, artifact.Worded(err)
		}
	}
	if err := e.read(); err != nil {
		e.close()
		return nil, artifact.Worded(err)
	}
	return e, nil
}

// read reads the next line. The first that is none is the end, as it is to a run.
func (e *earlier) read() error {
	if e.bytes = 0; e.file == nil {
		return nil
	}
	line, err := e.lines.ReadBytes('\n')
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	if l, ok := parseLine(line); ok && !l.Claim {
		e.next, e.bytes = l, int64(len(line))
	}
	return nil
}

// come reports whether an input is that of the next line, and goes on to the one after it.
func (e *earlier) come(it dataset.Item, here bool) (bool, error) {
	if e.bytes == 0 || !here || e.next.Path() != it.Path {
		return false, nil
	}
	e.at += e.bytes
	e.shared = e.shared || e.next.Error == ""
	return true, e.read()
}

// left reports whether there may be lines that no input has come to.
func (e *earlier) left() bool { return e.old || e.bytes > 0 }

func (e *earlier) close() {
	if e.file != nil {
		e.file.Close()
	}
}
