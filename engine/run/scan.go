package run

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"f2pad.example/engine/internal/fnv"
)

// scan learns which lines earlier runs left. Where no run was changed on its way there is PartFile or ResultsFile alone, whose lines are
// read again when the inputs come to them.
func (j *journal) scan() error {
	unverified := 0
	visit := func(l finished, at int64, old bool) {
		j.earlier = true
		if l.Error == "" && !l.Claim && l.SHA256 == "" {
			unverified++
		}
		if j.old != nil {
			j.note(l, &known{at: at, old: old, image: fnv.Of(l.Path())})
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
		j.rest.all = j.old != nil
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
func (j *journal) note(l finished, as *known) {
	k, stem := key(l.Path(), l.stem()), l.stem()
	if stem != "" {
		s := fnv.Of(strings.ToLower(stem))
		if owner, ok := j.stems[s]; ok {
			delete(j.known, owner)
		}
		j.stems[s] = k
	}
	if l.Error != "" || l.Claim {
		return
	}
	j.known[k] = as
}
