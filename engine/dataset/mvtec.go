package dataset

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"f2pad/engine/imageio"
)

// Dataset is one object of a data set: normal images to learn from, and images with ground truth to be judged by.
type Dataset struct {
	Root    string
	Train   []Item   // normal images, by ID
	Test    []Item   // by ID
	Classes []string // of the test images, in byte order
	Ignored []string // files among the images that are passed over for their names
}

// MVTec reads the folder of one object in the layout of MVTec AD:
//
//	train/good/NAME.EXT                  normal images
//	test/TYPE/NAME.EXT                   test images; TYPE "good" is normal
//	ground_truth/TYPE/NAME_mask.png      their masks (NAME.png will do)
//
// Items are in byte order of their IDs. A folder without test images is fit for training. A defective image without mask
// is an error that names it.
func MVTec(root string) (*Dataset, error) {
	d := &Dataset{Root: root}
	var err error
	if d.Train, err = d.images("train/good"); err != nil {
		return nil, err
	}
	if len(d.Train) == 0 {
		return nil, noTraining(root)
	}
	types, err := folders(filepath.Join(root, "test"))
	if err != nil {
		return nil, err
	}
	for _, class := range types {
		items, err := d.images(path.Join("test", class))
		if err != nil {
			return nil, err
		}
		for i := range items {
			items[i].Class = class
			if class != Good {
				if items[i].Mask, err = maskOf(root, items[i]); err != nil {
					return nil, err
				}
			}
		}
		if len(items) > 0 {
			d.Classes = append(d.Classes, class)
			d.Test = append(d.Test, items...)
		}
	}
	return d, nil
}

// images lists the images in one folder of the object; none if there is no such folder.
func (d *Dataset) images(folder string) ([]Item, error) {
	dir := filepath.Join(d.Root, filepath.FromSlash(folder))
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
			d.Ignored = append(d.Ignored, filepath.Join(dir, e.Name()))
			continue
		}
		items = append(items, Item{
			Path:  filepath.Join(dir, e.Name()),
			ID:    seen.unique(path.Join(folder, e.Name())),
			Class: Good,
		})
	}
	return items, nil
}

// maskOf finds the ground truth of a defective test image.
func maskOf(root string, it Item) (string, error) {
	dir := filepath.Join(root, "ground_truth", it.Class)
	name := filepath.Base(it.Path)
	stem := strings.TrimSuffix(name, filepath.Ext(name))
	for _, mask := range []string{stem + "_mask.png", stem + ".png"} {
		mask = filepath.Join(dir, mask)
		if info, err := os.Stat(mask); err == nil && !info.IsDir() {
			return mask, nil
		}
	}
	return "", fmt.Errorf("%s: no ground truth: neither %s_mask.png nor %s.png in %s", it.Path, stem, stem, dir)
}

// noTraining says why root is not an object's folder, as far as that can be seen.
func noTraining(root string) error {
	if _, err := os.Stat(root); err != nil {
		return plain(root, err)
	}
	subs, err := folders(root)
	if err != nil {
		return err
	}
	var objects []string
	for _, sub := range subs {
		if info, err := os.Stat(filepath.Join(root, sub, "train", Good)); err == nil && info.IsDir() {
			objects = append(objects, sub)
		}
	}
	if len(objects) > 0 {
		return fmt.Errorf("%s: holds folders of objects, name one: %s", root, strings.Join(objects, ", "))
	}
	return fmt.Errorf("%s: no images in train/good", root)
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
