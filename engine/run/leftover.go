package run

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/internal/fnv"
)

// others refuses inputs that are not those of the earlier runs: none of which was theirs, unless inputs come and go, or, unless some could
// not be listed, that leave out images that are still there.
func (j *journal) others(s Survey) error {
	in := s.are
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.main == nil && j.old == nil {
		return nil
	}
	if s.found != j.found {
		return fmt.Errorf("%s: another program wrote there while the inputs were looked at: run the command again", j.dir)
	}
	if s.at == j.good && len(j.known) == 0 {
		return nil
	}
	shared, there, gone := s.shared, "", ""
	check := func(l finished) {
		image := fnv.Of(l.Path())
		switch here, other := in.images.has(image), in.elsewhere.has(image); {
		case l.Error != "" || l.Claim:
		case here || other:
			shared = true
		case there != "" && gone != "":
		case in.gone(l.Path()):
			gone = cmp.Or(gone, l.Path())
		default:
			there = cmp.Or(there, l.Path())
		}
	}
	if j.main != nil {
		came := func(l finished, _ int64) { in.images.add(fnv.Of(l.Path())) }
		if err := linesIn(j.main, 0, s.at, came); err != nil {
			return err
		}
		if err := linesIn(j.main, s.at, j.good, func(l finished, _ int64) { check(l) }); err != nil {
			return err
		}
	}
	for _, at := range j.unused() {
		l, err := j.readLine(j.known[at])
		if err != nil {
			return err
		}
		check(l)
	}
	switch {
	case there != "" && !s.unlisted:
		return other{fmt.Errorf("%s holds results of other inputs (%s, for one)", j.dir, there)}
	case !shared && gone != "" && !s.changing:
		return other{fmt.Errorf("%s holds results of other inputs (%s, for one, which is no longer there)", j.dir, gone)}
	}
	return nil
}

// listed is what the inputs of a run are: hashes of the images' paths, and the archives that some are members of.
type listed struct {
	images    *hashes
	elsewhere *hashes // those of other shards
	archives  map[string]bool
	exists    func(url string) (bool, error) // asks a store; nil: objects that are no inputs are taken to be there
}

func newListed() listed {
	return listed{images: &hashes{}, elsewhere: &hashes{}, archives: map[string]bool{}}
}

// add adds an input, of this shard or of another one.
func (in listed) add(it dataset.Item, here bool) {
	if here {
		in.images.add(fnv.Of(it.Path))
	} else {
		in.elsewhere.add(fnv.Of(it.Path))
	}
	in.archive(it)
}

// archive adds the archive that an input is in, if it is in one.
func (in listed) archive(it dataset.Item) {
	if a := it.Archive(); a != "" {
		in.archives[a] = true
	}
}

// hashes is a set, in eight bytes for each.
type hashes struct {
	all    []uint64
	sorted bool
}

func (h *hashes) add(v uint64) { h.all, h.sorted = append(h.all, v), false }

func (h *hashes) has(v uint64) bool {
	if !h.sorted {
		slices.Sort(h.all)
		h.all, h.sorted = slices.Compact(h.all), true
	}
	_, ok := slices.BinarySearch(h.all, v)
	return ok
}

// leftover is what earlier runs scored and the present one does not name, by slots.
type leftover struct {
	there []uint64 // the image is still there
	gone  []uint64 // it is not, or is another shard's
	moved []uint64 // the image is named, but failed, or its outputs have other names

	stems map[uint64]bool // of outputs of all these: whether the present run has written some of that name
}

// left sorts the lines that the present run, which has written all of its own, has not come to, in their order.
func (j *journal) left() (leftover, error) {
	if err := j.know(); err != nil {
		return leftover{}, err
	}
	unused, left := j.unused(), leftover{stems: map[uint64]bool{}}
	if len(unused) == 0 {
		return left, nil
	}
	images := map[uint64]bool{} // whether the present run names them
	for _, at := range unused {
		l, err := j.readLine(j.known[at])
		if err != nil {
			return left, err
		}
		image := fnv.Of(l.Path())
		images[image] = j.named.images.has(image)
		left.stems[at] = false
	}
	if err := j.ownLines(func(l finished, _ int64) {
		if image := fnv.Of(l.Path()); has(images, image) {
			images[image] = true
		}
		if at := slot(l.Path(), l.stem()); has(left.stems, at) {
			left.stems[at] = true
		}
	}); err != nil {
		return left, err
	}
	for _, at := range unused {
		l, err := j.readLine(j.known[at])
		if err != nil {
			return left, err
		}
		switch image := fnv.Of(l.Path()); {
		case images[image]:
			left.moved = append(left.moved, at)
		case j.named.elsewhere.has(image) || j.named.gone(l.Path()):
			left.gone = append(left.gone, at)
		default:
			left.there = append(left.there, at)
		}
	}
	return left, nil
}

func has(set map[uint64]bool, v uint64) bool {
	_, ok := set[v]
	return ok
}

// ownLines visits the lines of the present run so far.
func (j *journal) ownLines(visit func(l finished, at int64)) error {
	if j.part == nil {
		if j.main == nil {
			return nil
		}
		return linesIn(j.main, 0, j.at, visit)
	}
	f, err := os.Open(j.path(PartFile))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return linesIn(f, 0, info.Size(), visit)
}

// unused are the slots of the known lines that the present run has not come to, in the lines' order.
func (j *journal) unused() (slots []uint64) {
	for at, p := range j.known {
		if !p.is(used | noResult) {
			slots = append(slots, at)
		}
	}
	slices.SortFunc(slots, func(a, b uint64) int {
		p, q := j.known[a], j.known[b]
		return cmp.Or(cmp.Compare(p&inOld, q&inOld), cmp.Compare(p.at(), q.at()))
	})
	return slots
}

// gone reports whether an image that is no input is not there any more. A member of an archive is gone if the archive is, or if it is
// an input that was listed to its end: an archive with a fault is an image that failed itself. So is an object that a prefix was found
// to have no longer.
func (in listed) gone(image string) bool {
	archive := ""
	for i, c := range image {
		if c == '/' && in.archives[image[:i]] {
			archive = image[:i]
		}
	}
	if archive != "" {
		return !in.images.has(fnv.Of(archive)) && !in.elsewhere.has(fnv.Of(archive))
	}
	if dataset.IsURL(image) {
		if in.exists == nil {
			return false
		}
		there, err := in.exists(image)
		return err == nil && !there
	}
	if _, err := os.Lstat(image); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	for dir := filepath.Dir(image); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		// An archive's member is not there on systems that have no error of its own for it.
		if info, err := os.Stat(dir); err == nil {
			return info.IsDir()
		}
	}
	return true
}

// some names the images of the first lines.
func (j *journal) some(slots []uint64) (string, error) {
	var names []string
	for _, at := range slots[:min(3, len(slots))] {
		l, err := j.readLine(j.known[at])
		if err != nil {
			return "", err
		}
		names = append(names, l.Path())
	}
	if len(slots) > 3 {
		names = append(names, "...")
	}
	return strings.Join(names, ", "), nil
}
