package dataset

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"f2pad.example/engine/imageio"
)

// Dataset is one object of a data set: normal images to learn from, and images with ground truth to be judged by.
type Dataset struct {
	Root    string
	Train   []Item   // normal images, by ID
	Test    []Item   // by ID
	Classes []string // of the test images, in byte order
	Ignored []string // files among the images that are passed over for their names
}

// MVTec reads the folder of one object in the layout of MVTec AD, and in those that differ from it in names only:
//
//	train/good/NAME.EXT                  normal images
//	test/TYPE/NAME.EXT                   test images; of TYPE "good", "ok" and "normal", which Train takes too, they are normal
//	ground_truth/TYPE/NAME_mask.EXT      their masks; NAME.EXT will do, or
//	ground_truth/TYPE/NAME/*.EXT         several masks of one image (MVTec LOCO AD)
//
// The case of folders, types and names makes no difference where no name fits exactly, and a mask's EXT is any that imageio
// reads. Items are in byte order of their IDs. A folder without test images is fit for training, and one that has nothing else for
// an evaluation (see Learn). A defective image without mask has none (see WithoutMask). A TYPE called All is an error.
func MVTec(root string) (*Dataset, error) {
	if err := notArchive(root); err != nil {
		return nil, err
	}
	d := &Dataset{Root: root}
	ignored := func(path string) { d.Ignored = append(d.Ignored, path) }
	train, test, truth := child(root, "train"), child(root, "test"), child(root, "ground_truth")
	kinds, err := folders(filepath.Join(root, train))
	if err != nil {
		return nil, err
	}
	for _, kind := range kinds {
		if !normal(kind) {
			continue
		}
		items, err := images(root, path.Join(train, kind), Good, ignored)
		if err != nil {
			return nil, err
		}
		d.Train = append(d.Train, items...)
	}
	types, err := folders(filepath.Join(root, test))
	if err != nil {
		return nil, err
	}
	for _, class := range types {
		folder, name := path.Join(test, class), class
		if normal(class) {
			name = Good
		}
		items, err := images(root, folder, name, ignored)
		if err != nil {
			return nil, err
		}
		if len(items) == 0 {
			continue
		}
		if class == All {
			return nil, fmt.Errorf("%s: a defect type cannot be called %q: that is what all types together are called; rename the folder",
				filepath.Join(root, test, class), All)
		}
		if name != Good {
			masks, err := masksIn(filepath.Join(root, truth, child(filepath.Join(root, truth), class)))
			if err != nil {
				return nil, err
			}
			for i := range items {
				items[i].Mask = masks.of(items[i].Path)
			}
		}
		if !slices.Contains(d.Classes, name) {
			d.Classes = append(d.Classes, name)
		}
		d.Test = append(d.Test, items...)
	}
	slices.Sort(d.Classes)
	if len(d.Train)+len(d.Test) == 0 {
		return nil, noImages(root)
	}
	return d, nil
}

// All is the category that reports pool every image of a data set in.
const All = "all"

// Learn returns the normal images to learn from. That there are none is an error.
func (d *Dataset) Learn() ([]Item, error) {
	if len(d.Train) == 0 {
		return nil, fmt.Errorf("%s: no images in train/good", d.Root)
	}
	return d.Train, nil
}

// WithoutMask returns those of items that are defective and have no ground truth.
func WithoutMask(items []Item) []Item {
	return slices.DeleteFunc(slices.Clone(items), func(it Item) bool { return it.Normal() || it.Mask != "" })
}

// normal reports whether a folder of this name holds normal images. Besides MVTec's own name it knows BTAD's and VisA's.
func normal(folder string) bool {
	return slices.ContainsFunc([]string{Good, "ok", "normal"}, func(name string) bool { return strings.EqualFold(folder, name) })
}

// child is the name of dir's entry that is called name: as it is or, where there is none, in another case.
func child(dir, name string) string {
	if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
		return name
	}
	entries, _ := os.ReadDir(dir) // what cannot be listed is reported by who wants to read it
	for _, e := range entries {
		if strings.EqualFold(e.Name(), name) {
			return e.Name()
		}
	}
	return name
}

// images lists the images in one folder of the object; none if there is no such folder. Other files are told to ignored.
func images(root, folder, class string, ignored func(path string)) ([]Item, error) {
	dir := filepath.Join(root, filepath.FromSlash(folder))
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, plain(dir, err)
	}
	var items []Item
	seen := ids{}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if !imageio.Supported(e.Name()) {
			ignored(filepath.Join(dir, e.Name()))
			continue
		}
		items = append(items, Item{
			Path:  filepath.Join(dir, e.Name()),
			ID:    seen.unique(path.Join(folder, e.Name())),
			Class: class,
		})
	}
	return items, nil
}

// masks are the entries of one defect type's folder of ground truth, by the names of the images that they may belong to.
type masks struct {
	dir           string
	exact, folded map[string]string
}

// masksIn lists a folder of ground truth; none if there is no such folder.
func masksIn(dir string) (*masks, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, plain(dir, err)
	}
	m := &masks{dir, map[string]string{}, map[string]string{}}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			continue // a broken link is no mask
		}
		stem := name
		switch {
		case info.IsDir():
			if parts, err := images(filepath.Join(dir, name), ".", "", func(string) {}); err != nil || len(parts) == 0 {
				continue
			}
			stem += "/" // comes after the files
		case imageio.Supported(name):
			stem = stemOf(name)
		default:
			continue
		}
		for _, to := range []struct {
			names map[string]string
			key   string
		}{{m.exact, stem}, {m.folded, strings.ToLower(stem)}} {
			// Of several the PNG, which loses nothing; otherwise the first.
			if old, ok := to.names[to.key]; !ok || !png(old) && png(name) {
				to.names[to.key] = name
			}
		}
	}
	return m, nil
}

func png(name string) bool { return strings.EqualFold(filepath.Ext(name), ".png") }

func stemOf(name string) string { return strings.TrimSuffix(name, filepath.Ext(name)) }

// of is the ground truth of an image, "" where there is none.
func (m *masks) of(image string) string {
	stem := stemOf(filepath.Base(image))
	for _, by := range []struct {
		names map[string]string
		stem  string
	}{{m.exact, stem}, {m.folded, strings.ToLower(stem)}} {
		for _, suffix := range []string{"_mask", "", "/"} {
			if name, ok := by.names[by.stem+suffix]; ok {
				return filepath.Join(m.dir, name)
			}
		}
	}
	return ""
}

// noImages says why root is not an object's folder, as far as that can be seen.
func noImages(root string) error {
	if _, err := os.Stat(root); err != nil {
		return plain(root, err)
	}
	subs, err := folders(root)
	if err != nil {
		return err
	}
	var objects []string
	for _, sub := range subs {
		object := filepath.Join(root, sub)
		kinds, _ := folders(filepath.Join(object, child(object, "train")))
		tests, _ := folders(filepath.Join(object, child(object, "test")))
		if slices.ContainsFunc(kinds, normal) || len(tests) > 0 {
			objects = append(objects, sub)
		}
	}
	if len(objects) > 0 {
		return fmt.Errorf("%s: holds folders of objects, name one: %s", root, strings.Join(objects, ", "))
	}
	return fmt.Errorf("%s: no images in train/good, and none in test", root)
}

// folders lists the visible folders in dir, also linked ones; none if there is no dir.
func folders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, plain(dir, err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
