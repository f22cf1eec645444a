package run

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// notifier hears of changes in folders. A nil one hears of none.
type notifier struct {
	watcher *fsnotify.Watcher
	heard   chan struct{} // has one element when there was a change
}

func listen() (*notifier, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	n := &notifier{w, make(chan struct{}, 1)}
	go func() {
		errs, events := w.Errors, w.Events
		for errs != nil || events != nil {
			var ok bool
			select {
			case _, ok = <-events:
				if !ok {
					events = nil
				}
			case _, ok = <-errs: // more than could be kept: what it was is found by looking
				if !ok {
					errs = nil
				}
			}
			select {
			case n.heard <- struct{}{}:
			default:
			}
		}
	}()
	return n, nil
}

// set listens to these folders, and to no others. It reports news if there is one that it did not listen to before. Of those that it
// cannot listen to, the first error is returned.
func (n *notifier) set(folders []string) (news bool, err error) {
	if n == nil {
		return false, nil
	}
	listening, wanted := map[string]bool{}, map[string]bool{}
	for _, dir := range n.watcher.WatchList() { // which forgets those that are gone
		listening[dir] = true
	}
	for _, dir := range folders {
		dir = filepath.Clean(dir)
		if wanted[dir] || listening[dir] {
			wanted[dir] = true
			continue
		}
		wanted[dir] = true
		if e := n.watcher.Add(dir); e == nil {
			news = true
		} else if err == nil && !errors.Is(e, fs.ErrNotExist) {
			err = e
		}
	}
	for dir := range listening {
		if !wanted[dir] {
			_ = n.watcher.Remove(dir) // it may be gone
		}
	}
	return news, err
}

func (n *notifier) changes() <-chan struct{} {
	if n == nil {
		return nil
	}
	return n.heard
}

func (n *notifier) close() {
	if n != nil {
		n.watcher.Close()
	}
}
