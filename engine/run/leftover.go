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
	shared, there, gone := false, "", ""
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
	if j.rest != nil && !j.rest.all {
		if err := linesIn(j.main, 0, j.good, func(l finished, _ int64) { check(l) }); err != nil {
			return err
		}
	} else {
		for _, k := range j.unused(func(*known) bool { return true }) {
			l, err := j.readLine(k)
			if err != nil {
				return err
			}
			check(l)
		}
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

// leftover is what earlier runs scored and the present one does not name.
type leftover struct {
	there []finished // the image is still there
	gone  []finished // it is not, or is another shard's
	moved []finished // the image is named, but failed, or its outputs have other names
}

// left sorts the lines that the present run has not come to, in their order; those of images that are named only if moved, since before
// a run these are all.
func (j *journal) left(in listed, moved bool) (leftover, error) {
	ks := j.unused(func(k *known) bool { return moved || !in.images.has(k.image) })
	var left leftover
	for _, k := range ks {
		l, err := j.readLine(k)
		if err != nil {
			return left, err
		}
		if in.images.has(k.image) {
			left.moved = append(left.moved, l)
		} else if in.elsewhere.has(k.image) || in.gone(l.Path()) {
			left.gone = append(left.gone, l)
		} else {
			left.there = append(left.there, l)
		}
	}
	return left, nil
}

// unused are the known lines that the present run has not come to, as far as they are wanted, in their order.
func (j *journal) unused(wanted func(*known) bool) (ks []*known) {
	for _, k := range j.known {
		if !k.used && wanted(k) {
			ks = append(ks, k)
		}
	}
	slices.SortFunc(ks, func(a, b *known) int {
		if a.old != b.old {
			if a.old {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.at, b.at)
	})
	return ks
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

// some names the first images.
func some(lines []finished) string {
	var names []string
	for _, l := range lines[:min(3, len(lines))] {
		names = append(names, l.Path())
	}
	if len(lines) > 3 {
		names = append(names, "...")
	}
	return strings.Join(names, ", ")
}
