package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/synth"
)

// backbone is a network and what fit takes for it.
type backbone struct {
	Name string
	Args []string
}

// backbones is the table of networks: those of the program, and the one that was named.
func (o *options) backbones() []backbone {
	all := []backbone{
		{"scatter", []string{"--backbone", "scatter"}},
		{"efficientnet-lite0", []string{"--backbone", "efficientnet-lite0"}},
	}
	if o.network != "" {
		name := strings.TrimSuffix(filepath.Base(o.network), filepath.Ext(o.network))
		all = append(all, backbone{name, []string{"--backbone", o.network, "--layers", o.networkLayers}})
	}
	return all
}

// sizes are the sides of the squares that images are resized to, in pixels.
var sizes = []int{256, 512}

// The made-up data sets: as large as the larger size, with as many images of a class as are measured, of a seed that nothing
// was tuned on.
const (
	textureTrain = 60
	textureTest  = 120
	textureSize  = 512
	textureSeed  = 20261128
)

// set is a data set.
type set struct {
	Name    string
	Dir     string
	Texture string // of a made-up one
}

// datasets finds the data sets, and says what is missing. A folder of objects, as MVTec AD's own, has one for each.
func (o *options) datasets() (sets []set, missing []string) {
	add := func(dir, name string) bool {
		if info, err := os.Stat(filepath.Join(dir, "train", dataset.Good)); err != nil || !info.IsDir() {
			return false
		}
		sets = append(sets, set{Name: name, Dir: dir})
		return true
	}
	folders := func(dir string) (names []string) {
		entries, _ := os.ReadDir(dir) // what cannot be read holds no data set
		for _, e := range entries {
			if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.IsDir() {
				names = append(names, e.Name())
			}
		}
		return names
	}
	for _, name := range folders(o.data) {
		dir := filepath.Join(o.data, name)
		if add(dir, name) {
			continue
		}
		for _, object := range folders(dir) {
			add(filepath.Join(dir, object), name+"-"+object)
		}
	}
	if len(sets) == 0 {
		missing = append(missing, "all real images: there is no data set in MVTec AD's layout in the folder that ACCURACY_DATA names (default ../shared/data)")
	}
	for _, texture := range synth.Textures() {
		sets = append(sets, set{"synth-" + texture, filepath.Join(o.work(), "data", texture), texture})
	}
	return sets, missing
}

// combination is one model, measured on one data set.
type combination struct {
	Dataset  set
	Method   string
	Backbone backbone
	Size     int
}

func combinations(sets []set, backbones []backbone) []combination {
	var all []combination
	for _, s := range sets {
		for _, m := range engine.Methods() {
			for _, b := range backbones {
				for _, size := range sizes {
					all = append(all, combination{s, m, b, size})
				}
			}
		}
	}
	return all
}

// name is what -run looks at.
func (c combination) name() string {
	return fmt.Sprintf("%s/%s/%s/%d", c.Dataset.Name, c.Method, c.Backbone.Name, c.Size)
}

// file is the name of a file that belongs to the combination.
func (c combination) file(ext string) string { return strings.ReplaceAll(c.name(), "/", "-") + ext }

// work is about how much there is to do, in pixels.
func (c combination) work(limit int) float64 {
	d, err := dataset.MVTec(c.Dataset.Dir)
	if err != nil {
		return 1
	}
	perClass, n := map[string]int{}, 0
	for _, it := range d.Test {
		if perClass[it.Class]++; limit == 0 || perClass[it.Class] <= limit {
			n++
		}
	}
	return float64(n * c.Size * c.Size)
}

// key names all that decides the result of a combination.
func (b *run) key(c combination) (string, error) {
	h := sha256.New()
	write := func(parts ...string) {
		for _, s := range parts {
			fmt.Fprintf(h, "%q ", s)
		}
	}
	p := b.known[c.Backbone.Name]
	write(b.Binary, p.identity, p.Executor.Executor, p.Executor.Version, p.Device.Device, p.Device.Name)
	write(c.name(), strconv.Itoa(b.limit))
	if err := files(h, c.Dataset.Dir); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// files writes the names and sizes of a data set's files.
func files(h hash.Hash, dir string) error {
	d, err := dataset.MVTec(dir)
	if err != nil {
		return err
	}
	for _, it := range append(d.Train, d.Test...) {
		for _, path := range []string{it.Path, it.Mask} {
			if path == "" {
				continue
			}
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(h, "%q %s %d\n", it.ID, it.Class, info.Size())
		}
	}
	return nil
}

// fileHash is the SHA-256 of a file.
func fileHash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
