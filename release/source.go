package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// source is the tree that is released.
type source struct {
	root      string // of the repository
	revision  string // the commit
	version   string
	time      time.Time // of HEAD; all that a release holds is dated so
	untracked []string  // files that are no part of it though they are not ignored
}

// dirtySuffix marks a version that is nobody's commit.
const dirtySuffix = "-dirty"

// findSource looks at the repository that dir is in. version may be "". What is changed but not committed is refused unless dirty.
func findSource(dir, version string, dirty bool) (source, error) {
	s := source{revision: "HEAD"}
	git := func(args ...string) (string, error) {
		text, err := output(dir, nil, "git", args...)
		return strings.TrimRight(text, "\n"), err
	}
	var err error
	if s.root, err = git("rev-parse", "--show-toplevel"); err != nil {
		return s, err
	}
	dir = s.root
	head, err := git("log", "-1", "--format=%ct %H")
	if err != nil {
		return s, err
	}
	stamp, commit, _ := strings.Cut(head, " ")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return s, fmt.Errorf("git log: %w", err)
	}
	s.time = time.Unix(seconds, 0).UTC()
	changes, err := git("status", "--porcelain", "--untracked-files=all")
	if err != nil {
		return s, err
	}
	if changes != "" && !dirty {
		return s, fmt.Errorf("%s has changes that are not committed (DIRTY=1 releases them):\n%s", s.root, changes)
	}
	if version == "" {
		if version, err = versionOf(git, commit, s.time); err != nil {
			return s, err
		}
	} else if err := checkVersion(git, version, commit); err != nil {
		return s, err
	}
	for line := range strings.SplitSeq(changes, "\n") {
		if name, ok := strings.CutPrefix(line, "?? "); ok {
			s.untracked = append(s.untracked, name)
		}
	}
	if changes != "" {
		version += dirtySuffix
		stashed, err := git("stash", "create") // a commit of what is changed, which moves nothing
		if err != nil {
			return s, err
		}
		if stashed != "" {
			s.revision = stashed
		}
	}
	s.version = version
	return s, nil
}

// versionOf is the highest version that a commit has for a tag, or Go's name of one without.
func versionOf(git func(...string) (string, error), commit string, at time.Time) (string, error) {
	tags, err := git("tag", "--points-at", commit)
	if err != nil {
		return "", err
	}
	var highest string
	for tag := range strings.Lines(tags) {
		if tag = strings.TrimSpace(tag); isVersion(tag) && (highest == "" || semver.Compare(tag, highest) > 0) {
			highest = tag
		}
	}
	if highest != "" {
		return highest, nil
	}
	before, err := git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", commit)
	if err != nil || !isVersion(before) {
		before = "" // no version yet
	}
	major := "v0"
	if before != "" {
		major = semver.Major(before)
	}
	return module.PseudoVersion(major, before, at, commit[:12]), nil
}

// isVersion reports whether a tag is a version that the module can have: v1.2.3, of v0 or v1, for its path names no other.
func isVersion(tag string) bool {
	return module.CanonicalVersion(tag) == tag && module.Check(modulePath, tag) == nil
}

// checkVersion returns an error where a version cannot be a commit's.
func checkVersion(git func(...string) (string, error), version, commit string) error {
	if !isVersion(version) {
		return fmt.Errorf("version %q: must be vX.Y.Z, with X 0 or 1, as of a Go module", version)
	}
	tags, err := git("tag", "--list", version)
	if err != nil || tags == "" {
		return err
	}
	tagged, err := git("rev-list", "-n", "1", version)
	if err == nil && tagged != commit {
		err = errors.New("version " + version + ": its tag is another commit's than HEAD")
	}
	return err
}
