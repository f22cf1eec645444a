package run

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"f2pad.example/engine/artifact"
)

// finish says that the inputs are at their end: the results are complete. Lines of images that are gone are dropped, with
// their outputs. Images that are still there but are no inputs any more are an error: the run may have been given too
// few, unless inputs come and go. inputs are those of all shards, nil if there are none. Where inputs failed, what is known of them and of such images stays in OldFile for a run that has more luck.
func (j *journal) finish(inputs *inputsSum) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	left, err := j.left()
	if err != nil {
		return err
	}
	if len(left.there) > 0 && !j.partial && !j.changing {
		l, err := j.readLine(j.known[left.there[0]])
		if err != nil {
			return err
		}
		return other{fmt.Errorf("%s holds results of more inputs (%s, for one, which is still there)", j.dir, l.Path())}
	}
	if n := len(left.gone); n > 0 {
		names, err := j.some(left.gone)
		if err != nil {
			return err
		}
		where := "gone"
		if j.run.Shard != nil {
			where = "gone, or another shard's"
		}
		j.warn(fmt.Sprintf("%s of an earlier run: %s, and dropped from the results (%s)", counted(n, "image"), where, names))
	}
	if j.part == nil && (j.name != ResultsFile || j.main == nil || j.size > j.at) {
		if err := j.startAdding(); err != nil {
			return err
		}
	}
	dropped, stay := append(left.gone, left.moved...), left.there
	if j.partial {
		dropped, stay = left.gone, append(left.there, left.moved...)
	}
	for _, at := range dropped {
		if left.stems[at] {
			continue // the present run has written these outputs anew
		}
		if err := j.discard(at); err != nil {
			return err
		}
	}
	if len(stay) > 0 {
		if err := j.writeOld(stay); err != nil {
			return err
		}
	}
	if inputs != nil {
		if err := j.writeRun(manifest{j.run, inputs}); err != nil {
			return err
		}
	}
	if j.part != nil {
		if err := j.part.Sync(); err != nil {
			return err
		}
		if err := closeAll(&j.part, &j.main); err != nil {
			return err
		}
		if err := os.Rename(j.path(PartFile), j.path(ResultsFile)); err != nil {
			return err
		}
	}
	j.complete = true
	closeAll(&j.old)
	if len(stay) > 0 {
		return nil
	}
	if err := os.Remove(j.path(OldFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeOld leaves only these lines in OldFile, which would otherwise grow with every run.
func (j *journal) writeOld(slots []uint64) error {
	return artifact.WriteFileAtomic(j.path(OldFile), func(w io.Writer) error {
		b := bufio.NewWriter(w)
		for _, at := range slots {
			l, err := j.readLine(j.known[at])
			if err != nil {
				return err
			}
			if _, err := b.Write(l.raw); err != nil {
				return err
			}
		}
		closeAll(&j.old) // not every system replaces a file that is open
		return b.Flush()
	})
}

// discard removes the outputs of a line that is dropped.
func (j *journal) discard(at uint64) error {
	l, err := j.readLine(j.known[at])
	if err != nil {
		return err
	}
	for _, name := range l.outputs() {
		if err := os.Remove(j.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		os.Remove(filepath.Dir(j.path(name))) // which fails as long as there is anything in it
	}
	return nil
}
