package run

import (
	"encoding/json"
	"time"
)

// claim says that the outputs of an image are about to be written, where a line of an earlier run may name them.
func (j *journal) claim(image, stem string, c claim) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.known[slot(image, stem)]; !ok || j.old == nil {
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
		if err := j.replace(l); err != nil {
			return err
		}
	case unscored:
		j.partial = true
	}
	return j.write(append(data, '\n'))
}

// replace notes that a line takes the place of the one that is known of its image; another image's with the same outputs is left.
func (j *journal) replace(l Line) error {
	at := slot(l.Path(), l.stem())
	p, ok := j.known[at]
	if !ok || p.is(noResult|used) {
		return nil
	}
	before, err := j.readLine(p)
	if err == nil && before.Path() == l.Path() {
		j.known[at] = p | used
	}
	return err
}

// copy writes the line of the next input, which was kept.
func (j *journal) copy(k kept) error {
	if k.stays {
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
