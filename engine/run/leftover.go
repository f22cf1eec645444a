package run

import (
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
	if len(j.known) == 0 {
		return nil
	}
	shared := false
	for _, k := range j.known {
		shared = shared || in.images[k.image] || in.elsewhere[k.image]
	}
	left, err := j.left(in, false)
	if err != nil {
		return err
	}
	switch {
	case len(left.there) > 0 && !s.unlisted:
		return other{fmt.Errorf("%s holds results of other inputs (%s, for one)", j.dir, left.there[0].Path())}
	case !shared && len(left.gone) > 0 && !s.changing:
		return other{fmt.Errorf("%s holds results of other inputs (%s, for one, which is no longer there)", j.dir, left.gone[0].Path())}
	}
	return nil
}

// listed is what the inputs of a run are: hashes of the images' paths, and the archives that some are members of.
type listed struct {
	images    map[uint64]bool
	elsewhere map[uint64]bool // those of other shards
	archives  map[string]bool
	exists    func(url string) (bool, error) // asks a store; nil: objects that are no inputs are taken to be there
}

func newListed() listed {
	return listed{images: map[uint64]bool{}, elsewhere: map[uint64]bool{}, archives: map[string]bool{}}
}

// add adds an input, of this shard or of another one.
func (in listed) add(it dataset.Item, here bool) {
	if here {
		in.images[fnv.Of(it.Path)] = true
	} else {
		in.elsewhere[fnv.Of(it.Path)] = true
	}
	if a := it.Archive(); a != "" {
		in.archives[a] = true
	}
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
	var ks []*known
	for _, k := range j.known {
		if !k.used && (moved || !in.images[k.image]) {
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
		return int(min(max(a.at-b.at, -1), 1))
	})
	var left leftover
	for _, k := range ks {
		l, err := j.readLine(k)
		if err != nil {
			return left, err
		}
		if in.images[k.image] {
			left.moved = append(left.moved, l)
		} else if in.elsewhere[k.image] || in.gone(l.Path()) {
			left.gone = append(left.gone, l)
		} else {
			left.there = append(left.there, l)
		}
	}
	return left, nil
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
		return !in.images[fnv.Of(archive)] && !in.elsewhere[fnv.Of(archive)]
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
