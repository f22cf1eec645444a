package run

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
)

// kept is a line of an earlier run that stands.
type kept struct {
	anomalous bool
	stays     bool   // where it is, which is where it belongs; otherwise it is to be added in its turn:
	line      []byte // this, or if it is nil,
	from      place  // what stands there
}

// errClosed keeps what reads inputs from starting a run anew that has ended.
var errClosed = errors.New("the run has ended")

// keep returns the line of an earlier run for the next input if it still holds. After the first false, lines are added, in
// the order of the inputs: those that were kept by copy.
func (j *journal) keep(it dataset.Item) (kept, bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return kept{}, false, errClosed
	}
	stem := ""
	if it.ID != "" && (j.run.Maps || j.run.Masks || j.run.Overlays) {
		stem = dataset.OutputName(it.ID, "")
	}
	if j.lineLeft() {
		j.named.archive(it)
		if it.ID == "" {
			j.named.add(it, true)
		}
	}
	if j.rest != nil {
		return j.inOrder(it, stem)
	}
	return j.find(it, stem)
}

// find is keep for an input whose line may be anywhere.
func (j *journal) find(it dataset.Item, stem string) (kept, bool, error) {
	if err := j.begin(); err != nil {
		return kept{}, false, err
	}
	at := slot(it.Path, stem)
	p, ok := j.known[at]
	if !ok || p.is(noResult) || it.ID == "" {
		return kept{}, false, nil
	}
	l, err := j.readLine(p)
	if err != nil {
		return kept{}, false, err
	}
	if l.Path() != it.Path || l.stem() != stem {
		return kept{}, false, nil // two names of one hash
	}
	c, ok := j.holds(l, it)
	if !ok {
		return kept{}, false, nil
	}
	j.known[at] = p | used
	return stands(l, p, c)
}

// stands keeps a line that holds for its input, which has the content c now.
func stands(l finished, at place, c Content) (_ kept, _ bool, err error) {
	r := kept{from: at, anomalous: l.Anomalous}
	if c != l.Content {
		r.line, err = touched(l, c)
	}
	return r, err == nil, err
}

// pass is keep for an input of another shard.
func (j *journal) pass(it dataset.Item, failed bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.partial = j.partial || failed
	if j.lineLeft() {
		j.named.add(it, false)
	}
}

// leave is keep for an input that is not ready: it gets no line, and what is known of it stays known.
func (j *journal) leave(it dataset.Item) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.partial = true
	if !j.lineLeft() {
		return nil
	}
	j.named.add(it, true)
	if j.rest == nil {
		return nil
	}
	l, more, err := j.rest.next()
	if err != nil || !more {
		return err
	}
	if !l.of(it, "") {
		return j.know()
	}
	j.note(l, placeOf(j.rest.at, j.rest.file == j.old))
	j.rest.take()
	return j.begin() // before the line: it is not where it belongs
}

// touched is a line with another time of its file, which was touched but not changed.
func touched(l finished, c Content) ([]byte, error) {
	var s Line
	if err := json.Unmarshal(l.raw, &s); err != nil {
		return nil, err
	}
	s.Content = c
	line, err := json.Marshal(s)
	return append(line, '\n'), err
}

// holds reports whether a line still tells the truth of an input: that has the content that was scored, and its outputs are
// there. It returns the content as it was found now. What a store says of an object's content is believed.
func (j *journal) holds(l finished, it dataset.Item) (c Content, ok bool) {
	if l.SHA256 == "" || l.Score == nil {
		return c, false
	}
	wanted := 0
	for _, w := range []bool{j.run.Maps, j.run.Masks, j.run.Overlays} {
		if w {
			wanted++
		}
	}
	outputs := l.outputs()
	if len(outputs) != wanted {
		return c, false
	}
	for _, name := range outputs {
		if info, err := os.Stat(j.path(name)); err != nil || !info.Mode().IsRegular() {
			return c, false
		}
	}
	info, err := it.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() != l.Bytes {
		return c, false
	}
	c = Content{l.Bytes, timeOf(info.ModTime()), l.SHA256, string(dataset.TagOf(info))}
	if c.Tag != "" && l.Tag != "" {
		return c, c.Tag == l.Tag
	}
	if c.Modified == l.Modified {
		c.Tag = l.Tag
		return c, true
	}
	p, err := engine.FingerprintOf(it)
	c = contentOf(p)
	return c, err == nil && c.SHA256 == l.SHA256
}

// startAdding opens PartFile behind the lines that are kept where they are. Those that follow go to OldFile before they
// are cut off: whenever the process ends, every line is in one of the two.
func (j *journal) startAdding() error {
	if j.main == nil { // run.json stands before the first line
		if err := j.writeRun(manifest{Info: j.run}); err != nil {
			return err
		}
	}
	if j.good > j.at {
		if err := j.moveRest(); err != nil {
			return err
		}
	}
	if j.main != nil && j.name == ResultsFile { // it is not complete for these inputs
		if err := closeAll(&j.main); err != nil { // not every system renames a file that is open
			return err
		}
		if err := os.Rename(j.path(ResultsFile), j.path(PartFile)); err != nil {
			return err
		}
		j.name = PartFile
		var err error
		if j.main, err = reopen(j.path(PartFile)); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(j.path(PartFile), os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	if err := f.Truncate(j.at); err != nil {
		f.Close()
		return err
	}
	if _, err := f.Seek(j.at, io.SeekStart); err != nil {
		f.Close()
		return err
	}
	j.part, j.synced = f, time.Now()
	return nil
}

func (j *journal) moveRest() error {
	if j.old == nil {
		f, err := os.OpenFile(j.path(OldFile), os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return err
		}
		j.old = f
	}
	n, err := io.Copy(io.NewOffsetWriter(j.old, j.oldAt), io.NewSectionReader(j.main, j.at, j.good-j.at))
	if err != nil {
		return err
	}
	if err := j.old.Sync(); err != nil {
		return err
	}
	for at, p := range j.known {
		if !p.is(inOld) && p.at() >= j.at {
			j.known[at] = placeOf(p.at()-j.at+j.oldAt, true) | p&(used|noResult)
		}
	}
	if r := j.rest; r != nil {
		j.rest = restOf(j.old, r.at-j.at+j.oldAt, j.oldAt+n)
	}
	j.oldAt += n
	return nil
}

// readLine reads a line that is known.
func (j *journal) readLine(p place) (finished, error) {
	f := j.main
	if p.is(inOld) {
		f = j.old
	}
	line, err := bufio.NewReader(io.NewSectionReader(f, p.at(), math.MaxInt64-p.at())).ReadBytes('\n')
	if err != nil {
		return finished{}, err
	}
	l, ok := parseLine(line)
	if !ok {
		return l, fmt.Errorf("%s: changed while it was read", f.Name())
	}
	return l, nil
}
