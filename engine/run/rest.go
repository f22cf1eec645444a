package run

import (
	"bufio"
	"io"
	"os"

	"f2pad.example/engine/dataset"
)

// rest reads the lines of an earlier run one after the other, as the inputs come to them.
type rest struct {
	file    *os.File
	at, end int64 // of the lines that are left
	lines   *bufio.Reader
	ahead   finished // the next line, of so many bytes; 0: it has not been read
	bytes   int64
}

func restOf(f *os.File, at, end int64) *rest {
	return &rest{file: f, at: at, end: end, lines: bufio.NewReader(io.NewSectionReader(f, at, end-at))}
}

// next is the line that is next; ok says whether there is one.
func (r *rest) next() (l finished, ok bool, err error) {
	if r.at == r.end {
		return finished{}, false, nil
	}
	if r.bytes == 0 {
		line, err := r.lines.ReadBytes('\n')
		if err != nil {
			return finished{}, false, err
		}
		r.ahead, _ = parseLine(line) // all up to end can be read: scan has done so
		r.bytes = int64(len(line))
	}
	return r.ahead, true, nil
}

// take goes on to the line after the next.
func (r *rest) take() int64 {
	n := r.bytes
	r.at += n
	r.bytes = 0
	return n
}

// of reports whether the line is that of an input, as far as names say it. A line or an input that failed names no outputs.
func (l *finished) of(it dataset.Item, stem string) bool {
	return l.Path() == it.Path && (l.stem() == stem || l.Error != "" || it.ID == "")
}

// inOrder is keep while the inputs are those of the lines, one after the other.
func (j *journal) inOrder(it dataset.Item, stem string) (kept, bool, error) {
	l, more, err := j.rest.next()
	if err != nil {
		return kept{}, false, err
	}
	if !more || !l.of(it, stem) {
		if err := j.know(); err != nil {
			return kept{}, false, err
		}
		return j.find(it, stem)
	}
	var c Content
	ok := it.ID != "" && l.stem() == stem
	if ok {
		c, ok = j.holds(l, it)
	}
	n := j.rest.take()
	if ok && c == l.Content && j.part == nil {
		j.at += n
		return kept{anomalous: l.Anomalous, stays: true}, true, nil
	}
	if err := j.begin(); err != nil { // which moves the line, if it is the first that does not stay
		return kept{}, false, err
	}
	p := placeOf(j.rest.at-n, j.rest.file == j.old)
	if ok {
		return stands(l, p, c)
	}
	j.note(l, p)
	if l.Error == "" {
		return kept{}, false, nil
	}
	k, ok, err := j.find(it, stem) // the run before that may have known more
	if at := slot(it.Path, stem); err == nil && !ok && it.ID != "" {
		if _, known := j.known[at]; !known { // it had no outputs: a line that is still to come may name those that it gets now
			j.known[at] = p | noResult
		}
	}
	return k, ok, err
}

// begin has lines added, if they are not yet.
func (j *journal) begin() error {
	if j.part != nil {
		return nil
	}
	return j.startAdding()
}

// know remembers the lines that are left, since the inputs do not come to them in order.
func (j *journal) know() error {
	r := j.rest
	j.rest = nil
	if r == nil {
		return nil
	}
	old := r.file == j.old
	return linesIn(r.file, r.at, r.end, func(l finished, at int64) { j.note(l, placeOf(at, old)) })
}

// lineLeft reports whether there may be a line that the present run does not come to.
func (j *journal) lineLeft() bool { return len(j.known) > 0 || j.rest != nil && j.rest.at < j.rest.end }

// linesIn visits the lines between two places of a file.
func linesIn(f *os.File, at, end int64, visit func(l finished, at int64)) error {
	r := restOf(f, at, end)
	for {
		l, more, err := r.next()
		if err != nil || !more {
			return err
		}
		visit(l, r.at)
		r.take()
	}
}
