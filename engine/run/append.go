package run

import (
	"encoding/json"
	"strings"
	"time"

	"f2pad.example/engine/internal/fnv"
)

// claim says that the outputs of an image are about to be written, where a line of an earlier run may name them.
func (j *journal) claim(image, stem string, c claim) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.stems[fnv.Of(strings.ToLower(stem))]; !ok || j.old == nil {
		return nil
	}
	c.Name, c.Claim = nameOf(image), true
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	n, err := j.old.WriteAt(append(data, '\n'), j.oldAt)
	if err != nil {
		return err
	}
	j.oldAt += int64(n)
	return j.old.Sync()
}

// syncEvery is how much work may be lost when the machine, not only the process, dies.
const syncEvery = time.Second

// add writes the next input's line (Line or unscored). It is safe from the death of the process at once.
func (j *journal) add(line any) error {
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch l := line.(type) {
	case Line:
		if k := j.known[key(l.Path(), l.stem())]; k != nil {
			k.used = true
		}
	case unscored:
		j.partial = true
	}
	return j.write(append(data, '\n'))
}

// copy writes the line of the next input, which was kept.
func (j *journal) copy(k kept) error {
	if k.line == nil && k.from == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if k.line != nil {
		return j.write(k.line)
	}
	l, err := j.readLine(k.from)
	if err != nil {
		return err
	}
	return j.write(l.raw)
}

func (j *journal) write(line []byte) error {
	if _, err := j.part.Write(line); err != nil {
		return err
	}
	if time.Since(j.synced) < syncEvery {
		return nil
	}
	j.synced = time.Now()
	return j.part.Sync()
}
