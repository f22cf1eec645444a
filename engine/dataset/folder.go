package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"f2pad.example/engine/imageio"
)

// runFile in a folder says that score wrote it: what lies below are maps, masks and overlays, not images to be judged.
const runFile = "run.json"

// outputFolders are the folders that score fills in the folder of its results.
var outputFolders = []string{"maps", "masks", "overlays"}

// Search says what is left out where images are looked for. Folders that hold a run.json are left out in any case.
type Search struct {
	// Out is the folder that results are written to while images are looked for, "" if there is none. It is never read;
	// of what is named by hand, the folder itself and what lies in its maps, masks and overlays is refused.
	Out string
	// Left, if not nil, is told of every folder that is left out, and why: "path: reason".
	Left func(why string)
	// Ignored, if not nil, is told of every file in a folder or an archive that does not have an image's name. In a folder that
	// includes archives.
	Ignored func(path string)
	// MaxBytes is how large a member of an archive may be; default imageio.DefaultMaxBytes.
	MaxBytes int64
	// Unlisted, if not nil, is told of archives whose members are only known by reading all of them, which is then not done.
	Unlisted func(path string)
	// Whole has archives yielded themselves, as items without a Source, in the place of their members: for who has them gone through
	// elsewhere, by Inputs of the archive alone.
	Whole bool
	// Done, if not nil, ends the waiting for members to be released, and for stores, when it is closed.
	Done <-chan struct{}
	// Column is that of a Parquet file's images, with those that it lies in (a.b); "": the one that holds any.
	Column string
	// Took, if not nil, is told of every Parquet file what was taken for its images.
	Took func(Column)
	// Buckets are where URLs lead to; nil: to nothing.
	Buckets *Buckets
	// Entered, if not nil, is told of every folder before it is listed.
	Entered func(dir string)
	// Ready, if not nil, is asked about every file and object before it is taken for an input or opened as an archive. One that is
	// not ready is yielded with ErrNotReady.
	Ready func(path string, info fs.FileInfo) bool
	// Empty allows folders, globs and prefixes that there is no image in.
	Empty bool
}

// Folder lists the images below root in byte order of their paths, folder by folder, by the extensions that imageio
// supports. Hidden files and folders are skipped; other files are told to ignored, which may be nil. Links are followed; each
// folder is visited once, however many lead to it. A root without images is an error, as is one that holds the results of
// score.
func Folder(root string, ignored func(path string)) ([]Item, error) {
	return Search{Ignored: ignored}.folder(root, nil)
}

// folder lists the images below root; enter, if not nil, is asked about every folder, and its error ends the search.
func (s Search) folder(root string, enter func(dir string) error) ([]Item, error) {
	if err := notArchive(root); err != nil {
		return nil, err
	}
	var items []Item
	seen := ids{}
	w := s.walker(func(p string, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		items = append(items, Item{Path: p, ID: seen.unique(valid(filepath.ToSlash(rel)))})
		return nil
	})
	w.enter = enter
	if err := w.walk(root); err != nil {
		return nil, err
	}
	return items, nil
}

// Training lists the images below root as Folder does, all of which are to be normal. A root that visibly holds others is
// an error that says what to name instead: a data set in MVTec AD's layout or its test images and masks, results of score.
func Training(root string, ignored func(path string)) ([]Item, error) {
	if err := abnormal(root); err != nil {
		return nil, err
	}
	return Search{Ignored: ignored}.folder(root, func(dir string) error {
		switch {
		case isDataset(dir):
			return fmt.Errorf("%s: a data set in MVTec AD's layout: its defects and masks are not to be learned; name it as --data, or %s",
				dir, filepath.Join(dir, "train", Good))
		case isDir(filepath.Join(dir, "ground_truth")):
			return fmt.Errorf("%s: masks are not to be learned; name the folder of normal images", filepath.Join(dir, "ground_truth"))
		case dir != root && isResults(dir):
			return fmt.Errorf("%s: holds results of score (%s), which are not to be learned; name the folder of normal images", dir, runFile)
		}
		return nil
	})
}

// abnormal returns an error if root is a folder of test images or masks of a data set, or of maps, masks and overlays.
func abnormal(root string) error {
	at, err := filepath.Abs(root)
	if err != nil {
		return plain(root, err)
	}
	below := "" // where root lies in the folder that is looked at
	for dir := at; ; {
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil
		}
		below = filepath.Join(filepath.Base(dir), below)
		dir = parent
		parts := strings.Split(filepath.ToSlash(below), "/")
		if len(parts) > 2 {
			return nil
		}
		switch {
		case isResults(dir) && slices.Contains(outputFolders, parts[0]):
			return fmt.Errorf("%s: holds results of score, which are not to be learned", root)
		case isDataset(dir) && (parts[0] == "ground_truth" || parts[0] == "test" && (len(parts) == 1 || parts[1] != Good)):
			return fmt.Errorf("%s: holds defects or masks of the data set %s, which are not to be learned; name it as --data, or %s",
				root, dir, filepath.Join(dir, "train", Good))
		}
	}
}

// isDataset reports whether dir looks like one object's folder in MVTec AD's layout.
func isDataset(dir string) bool {
	has := func(name string) bool { return isDir(filepath.Join(dir, name)) }
	return has("train") && (has("test") || has("ground_truth")) || has("test") && has("ground_truth")
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// isResults reports whether score wrote the folder dir.
func isResults(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, runFile))
	return err == nil
}

// walker goes through a folder.
type walker struct {
	Search
	out     string // Search.Out without links; "" if there is none
	visit   func(path string, err error) error
	enter   func(dir string) error
	visited map[string]bool
	found   bool
}

func (s Search) walker(visit func(path string, err error) error) *walker {
	w := &walker{Search: s, visit: visit, visited: map[string]bool{}}
	if s.Out != "" {
		w.out = real(s.Out)
	}
	return w
}

// walk calls visit for the images below root, and for what cannot be listed, until it returns an error.
func (w *walker) walk(root string) error {
	w.visited, w.found = map[string]bool{}, false
	switch {
	case isResults(root):
		return w.visit(root, named{fmt.Errorf("%s: holds results of score (%s), not images", root, runFile)})
	case w.forbidden(root):
		return w.visit(root, named{fmt.Errorf("%s: is where results go", root)})
	}
	err := w.dir(root)
	if err == nil && !w.found && !w.Empty {
		return w.visit(root, named{fmt.Errorf("%s: no images in this folder", root)})
	}
	return err
}

func (w *walker) dir(dir string) error {
	target, err := filepath.EvalSymlinks(dir)
	if err == nil {
		target, err = filepath.Abs(target)
	}
	if err != nil {
		return w.failed(dir, err)
	}
	if w.visited[target] {
		return nil
	}
	w.visited[target] = true
	switch {
	case w.out != "" && same(target, w.out): // quietly: that is where it has to be
		return nil
	case w.enter != nil:
		if err := w.enter(dir); err != nil {
			return err
		}
	}
	if isResults(dir) {
		if w.Left != nil {
			w.Left(fmt.Sprintf("%s: left out: holds results of score (%s)", dir, runFile))
		}
		return nil
	}
	if w.Entered != nil {
		w.Entered(dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return w.failed(dir, err)
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
			err = w.dir(p)
		} else if imageio.Supported(p) {
			w.found = true
			err = w.visit(p, nil)
		} else if w.Ignored != nil {
			w.Ignored(p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) failed(dir string, err error) error {
	w.found = true
	return w.visit(dir, plain(dir, err))
}

// forbidden reports whether what was named by hand is the folder of results, or one of its outputs.
func (w *walker) forbidden(path string) bool {
	if w.out == "" {
		return false
	}
	target := real(path)
	if same(target, w.out) {
		return true
	}
	for _, name := range outputFolders {
		if rel, err := filepath.Rel(filepath.Join(w.out, name), target); err == nil && filepath.IsLocal(rel) {
			return true
		}
	}
	return false
}

// same reports whether two paths without links are those of one file, also where case makes no difference.
func same(a, b string) bool {
	if a == b {
		return true
	}
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// real returns the absolute path without links of what need not exist: of as much as does.
func real(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	for rest := ""; ; {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Join(target, rest)
		}
		parent := filepath.Dir(path)
		if parent == path {
			return filepath.Join(path, rest)
		}
		path, rest = parent, filepath.Join(filepath.Base(path), rest)
	}
}

// ErrNamed is what is wrong with an input as it was named: it is not there, holds no images, or is where results go.
var ErrNamed = errors.New("dataset: not an input")

// ErrNotReady is what is wrong with an input that is not to be opened yet (Search.Ready).
var ErrNotReady = errors.New("not ready")

// named marks an error as ErrNamed; its text stays.
type named struct{ error }

func (named) Is(target error) bool { return target == ErrNamed }
func (n named) Unwrap() error      { return n.error }

// plain words an error of the operating system as "path: reason".
func plain(path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}
