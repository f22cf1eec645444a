package run

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
)

// scan learns which lines earlier runs left. Those of PartFile or ResultsFile are read again when the inputs come to them; there is an OldFile
// only where a run was changed on its way.
func (j *journal) scan() error {
	unverified := 0
	visit := func(l finished, at int64, old bool) {
		if l.Error == "" && !l.Claim && l.SHA256 == "" {
			unverified++
		}
		if old {
			j.note(l, placeOf(at, true))
		} else if stem := l.stem(); l.Error == "" || stem != "" {
			delete(j.known, slot(l.Path(), stem)) // it is newer
		}
	}
	if j.old != nil {
		var err error
		if j.oldAt, err = eachLine(j.old, func(l finished, ok bool, at int64) bool {
			if ok {
				visit(l, at, true)
			}
			return true // what a crash left in it lies between good lines
		}); err != nil {
			return err
		}
		if err := j.old.Truncate(j.oldAt); err != nil {
			return err
		}
	}
	if j.main != nil {
		var err error
		if j.good, err = eachLine(j.main, func(l finished, ok bool, at int64) bool {
			ok = ok && !l.Claim
			if ok {
				visit(l, at, false)
			}
			return ok
		}); err != nil {
			return err
		}
		info, err := j.main.Stat()
		if err != nil {
			return err
		}
		if j.size = info.Size(); j.size > j.good {
			j.warn(fmt.Sprintf("%s: the last %d bytes are broken and cut off; what they may have told is done again",
				j.path(j.name), j.size-j.good))
		}
		j.rest = restOf(j.main, 0, j.good)
	}
	if unverified > 0 {
		j.warn(fmt.Sprintf("%s: %s of a version that did not record which content was scored: unverified, and scored again",
			j.dir, counted(unverified, "result")))
	}
	return nil
}

// eachLine calls visit for every line until it returns false, and returns the end of the last one for which it did not.
// ok says whether the line can be read.
func eachLine(f *os.File, visit func(l finished, ok bool, at int64) bool) (int64, error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, math.MaxInt64), 1<<16)
	at := int64(0)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return at, nil
		}
		if err != nil {
			return at, err
		}
		l, ok := parseLine(line)
		if !visit(l, ok, at) {
			return at, nil
		}
		at += int64(len(line))
	}
}

// note remembers a line; an older one is forgotten that it replaces, or that names the same outputs.
func (j *journal) note(l finished, p place) {
	stem := l.stem()
	if l.Error != "" || l.Claim {
		if stem == "" {
			return
		}
		p |= noResult
	}
	j.known[slot(l.Path(), stem)] = p
}
