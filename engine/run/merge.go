package run

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/internal/openfile"
	"f2pad.example/engine/run/lock"
)

// Merged is what came of a Merge.
type Merged struct {
	Images    int     `json:"images"`
	Anomalous int     `json:"anomalous"`
	Failed    int     `json:"failed"`
	Linked    int     `json:"linked"` // outputs that are the shards' own files
	Copied    int     `json:"copied"` // outputs that could not be linked
	Results   string  `json:"results"`
	Seconds   float64 `json:"seconds"`
	Info
}

// part is a shard that is finished; raw is without what differs from shard to shard.
type part struct{ *results }

// Merge makes the folder dir hold what one run of all inputs would have written, from the folders of finished shards, all of one run.
// Lines are copied in the order of the inputs; outputs are linked (they are the shards' files under another name), or copied where
// that cannot be done, and the shards stay as they are. Results appear when all is there: a merge that was ended, in whatever way, is
// repeated. A shard that is missing, given twice, not finished or another run's is an error, as is a dir that holds other results (ErrOther);
// then nothing has been written. Memory does not depend on the number of inputs. done, if not nil, is told how far it is.
func Merge(ctx context.Context, dir string, folders []string, done func(n, of int)) (Merged, error) {
	began := time.Now()
	var m Merged
	var opened []*part
	defer func() {
		for _, p := range opened {
			p.close()
		}
	}()
	for _, folder := range folders {
		if same(folder, dir) {
			return m, fmt.Errorf("%s: is where the merged results go", folder)
		}
		for _, p := range opened {
			if same(folder, p.dir) {
				return m, fmt.Errorf("shard %s is given twice: %s and %s", p.Shard, p.dir, folder)
			}
		}
		p, err := openPart(folder)
		if err != nil {
			return m, err
		}
		opened = append(opened, p)
	}
	parts, err := arrange(opened)
	if err != nil {
		return m, err
	}
	first := parts[0]
	m.Info = first.Info
	m.Shard = nil
	if err := verify(ctx, parts); err != nil {
		return m, err
	}

	to := &journal{dir: dir}
	m.Results = to.path(ResultsFile)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return m, artifact.Worded(err)
	}
	held, err := lock.Take(to.path(LockFile))
	if err != nil {
		return m, fmt.Errorf("%s: %w", dir, artifact.Worded(err))
	}
	defer held.Release()
	if err := to.mergeable(m.Info, *first.Inputs); err != nil {
		return m, err
	}
	// Until the results are there, it says of which inputs they will be.
	if err := to.writeRun(manifest{m.Info, first.Inputs}); err != nil {
		return m, err
	}
	err = artifact.WriteFileAtomic(m.Results, func(out io.Writer) error {
		w := bufio.NewWriterSize(out, 1<<16)
		err := each(ctx, parts, func(p *part, l finished) error {
			for _, name := range l.outputs() {
				linked, err := artifact.Place(filepath.Join(p.dir, filepath.FromSlash(name)), to.path(name))
				if err != nil {
					return err
				}
				if linked {
					m.Linked++
				} else {
					m.Copied++
				}
			}
			m.Images++
			if l.Error != "" {
				m.Failed++
			} else if l.Anomalous {
				m.Anomalous++
			}
			if done != nil {
				done(m.Images, first.Inputs.Count)
			}
			_, err := w.Write(l.raw)
			return err
		})
		return errors.Join(err, w.Flush())
	})
	if err == nil {
		err = to.writeRun(manifest{Info: m.Info})
	}
	m.Seconds = time.Since(began).Seconds()
	return m, err
}

// same reports whether two paths are those of one folder.
func same(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// openPart opens a shard that is finished. What a later version says of it would be lost: it is refused.
func openPart(dir string) (*part, error) {
	r, err := openResults(dir, true)
	if err != nil {
		return nil, err
	}
	p := &part{r}
	switch {
	case p.Shard == nil:
		err = fmt.Errorf("%s: holds the results of a run without --shard", dir)
	case p.file == nil || p.Inputs == nil:
		err = fmt.Errorf("%s: shard %s is not finished: run its command again", dir, p.Shard)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	delete(p.raw, "shard")
	delete(p.raw, "inputs")
	return p, nil
}

// arrange puts the shards into their order, and refuses those that do not belong together.
func arrange(parts []*part) ([]*part, error) {
	if len(parts) == 0 {
		return nil, errors.New("no shards")
	}
	first := parts[0]
	all := make([]*part, first.Shard.Of)
	for _, p := range parts {
		if p.Shard.Of != first.Shard.Of {
			return nil, fmt.Errorf("%s holds shard %s, and %s shard %s: they are of different runs", first.dir, first.Shard, p.dir, p.Shard)
		}
		for _, key := range slices.Sorted(maps.Keys(first.raw)) {
			if !reflect.DeepEqual(deciding(key, first.raw[key]), deciding(key, p.raw[key])) {
				return nil, fmt.Errorf("%s and %s hold results of different runs (%s is %v, and %v)", first.dir, p.dir, key, first.raw[key], p.raw[key])
			}
		}
		if *p.Inputs != *first.Inputs {
			return nil, fmt.Errorf("%s and %s hold results of different inputs (%d, and %d of them); run the shards again on the same ones",
				first.dir, p.dir, first.Inputs.Count, p.Inputs.Count)
		}
		at := p.Shard.Index - 1
		if all[at] != nil {
			return nil, fmt.Errorf("shard %s is given twice: %s and %s", p.Shard, all[at].dir, p.dir)
		}
		all[at] = p
	}
	var missing []string
	for i, p := range all {
		if p == nil {
			missing = append(missing, Shard{i + 1, len(all)}.String())
		}
	}
	if n := len(missing); n > 0 {
		return nil, fmt.Errorf("missing: shard %s", strings.Join(missing[:min(n, 10)], ", "))
	}
	return all, nil
}

// each visits the lines of all shards in the order of the inputs.
func each(ctx context.Context, parts []*part, visit func(p *part, l finished) error) error {
	for _, p := range parts {
		p.rewind()
	}
	for n := range parts[0].Inputs.Count {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := parts[n%len(parts)]
		l, err := p.next()
		if err == ErrBrokenLine || err == io.EOF {
			return p.broken(n/len(parts), "is missing or broken")
		}
		if err != nil {
			return artifact.Worded(err)
		}
		if err := visit(p, l); err != nil {
			return err
		}
	}
	for _, p := range parts {
		if _, err := p.next(); err != io.EOF {
			return p.broken(p.Shard.share(p.Inputs.Count), "is one too many")
		}
	}
	return nil
}

func (p *part) broken(line int, what string) error {
	return fmt.Errorf("%s: line %d of shard %s %s: run its command again", filepath.Join(p.dir, ResultsFile), line+1, p.Shard, what)
}

// verify makes sure that the shards' lines are those of their inputs, and that their outputs are there.
func verify(ctx context.Context, parts []*part) error {
	var s summer
	wanted := 0
	for _, w := range []bool{parts[0].Maps, parts[0].Masks, parts[0].Overlays} {
		if w {
			wanted++
		}
	}
	err := each(ctx, parts, func(p *part, l finished) error {
		s.add(l.Path())
		if l.Error != "" {
			return nil
		}
		if len(l.outputs()) != wanted {
			return p.broken((s.count-1)/len(parts), "has other outputs than were asked for")
		}
		for _, name := range l.outputs() {
			if err := openfile.Check(filepath.Join(p.dir, filepath.FromSlash(name))); err != nil {
				return fmt.Errorf("%w: run the command of shard %s again", artifact.Worded(err), p.Shard)
			}
		}
		return nil
	})
	if err == nil && s.of() != *parts[0].Inputs {
		err = fmt.Errorf("%s and the others hold results of other inputs than they say: run the shards again", parts[0].dir)
	}
	return err
}

// mergeable refuses a folder that holds anything but what the same merge has left there.
func (j *journal) mergeable(run Info, inputs inputsSum) error {
	for _, name := range []string{PartFile, OldFile} {
		if _, err := os.Lstat(j.path(name)); err == nil {
			return other{fmt.Errorf("%s holds a run that is not finished (%s)", j.dir, name)}
		}
	}
	results, err := os.Open(j.path(ResultsFile))
	if err == nil {
		defer results.Close()
		var s summer
		if _, err := eachLine(results, func(l finished, ok bool, _ int64) bool {
			s.add(l.Path())
			return ok
		}); err != nil {
			return artifact.Worded(err)
		}
		if s.of() != inputs {
			return other{fmt.Errorf("%s holds results of other inputs", j.dir)}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return artifact.Worded(err)
	}
	data, err := os.ReadFile(j.path(RunFile))
	if errors.Is(err, fs.ErrNotExist) && results == nil {
		return nil
	}
	if err := j.checkRun(run); err != nil {
		return err
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return other{fmt.Errorf("%s: %w", j.path(RunFile), err)}
	}
	if m.Inputs != nil && *m.Inputs != inputs {
		return other{fmt.Errorf("%s holds a merge of other inputs that is not finished", j.dir)}
	}
	return nil
}
