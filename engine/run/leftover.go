package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// others refuses inputs that are not those of the earlier runs: none of which was theirs, or, unless some could not be
// listed, that leave out images that are still there. images are the hashes of their paths.
func (j *journal) others(images map[uint64]bool, unlisted bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.known) == 0 {
		return nil
	}
	shared := false
	for _, k := range j.known {
		shared = shared || images[k.image]
	}
	left, err := j.left(images)
	if err != nil {
		return err
	}
	switch {
	case len(left.there) > 0 && !unlisted:
		return other{fmt.Errorf("%s holds results of other inputs (%s, for one)", j.dir, left.there[0].Path())}
	case !shared && len(left.gone) > 0:
		return other{fmt.Errorf("%s holds results of other inputs (%s, for one, which is no longer there)", j.dir, left.gone[0].Path())}
	}
	return nil
}

// leftover is what earlier runs scored and the present one does not name.
type leftover struct {
	there []finished // the image is still there
	gone  []finished // it is not
	moved []finished // the image is named, but failed, or its outputs have other names
}

// left sorts the lines that the present run has not come to, in their order.
func (j *journal) left(images map[uint64]bool) (leftover, error) {
	var ks []*known
	for _, k := range j.known {
		if !k.used {
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
		if images[k.image] {
			left.moved = append(left.moved, l)
		} else if _, err := os.Lstat(l.Path()); errors.Is(err, fs.ErrNotExist) {
			left.gone = append(left.gone, l)
		} else {
			left.there = append(left.there, l)
		}
	}
	return left, nil
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
