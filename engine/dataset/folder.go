package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"f2pad/engine/imageio"
)

// Folder lists the images below root in byte order of their paths, folder by folder, by the extensions that imageio
// supports. Hidden files and folders are skipped; other files are told to ignored, which may be nil. Links are followed;
// each folder is visited once, however many lead to it. A root without images is an error.
func Folder(root string, ignored func(path string)) ([]Item, error) {
	var items []Item
	seen := ids{}
	err := walk(root, func(p string, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		items = append(items, Item{Path: p, ID: seen.unique(filepath.ToSlash(rel))})
		return nil
	}, ignored)
	if err != nil {
		return nil, err
	}
	return items, nil
}

// walk calls visit for the images below root, and for what cannot be listed, until visit returns an error.
func walk(root string, visit func(path string, err error) error, ignored func(path string)) error {
	if ignored == nil {
		ignored = func(string) {}
	}
	found := false
	err := walkDir(root, map[string]bool{}, func(p string, err error) error {
		found = true
		return visit(p, err)
	}, ignored)
	if err == nil && !found {
		return visit(root, fmt.Errorf("%s: no images in this folder", root))
	}
	return err
}

func walkDir(dir string, visited map[string]bool, visit func(path string, err error) error, ignored func(string)) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return visit(dir, plain(dir, err))
	}
	if visited[real] {
		return nil
	}
	visited[real] = true
	entries, err := os.ReadDir(dir)
	if err != nil {
		return visit(dir, plain(dir, err))
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		p := filepath.Join(dir, e.Name())
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			info, err := os.Stat(p)
			isDir = err == nil && info.IsDir() // a broken link is reported when it is opened
		}
		if isDir {
			err = walkDir(p, visited, visit, ignored)
		} else if imageio.Supported(p) {
			err = visit(p, nil)
		} else {
			ignored(p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plain words an error of the operating system as "path: reason".
func plain(path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}
