package run

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"f2pad.example/engine"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/internal/stage"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
)

// outputs writes what was found in images to files below dir.
type outputs struct {
	dir                   string
	kind                  refine.Kind // the map they show
	maps, masks, overlays bool
	labels                bool // of the overlays
	regions               region.Options
	claim                 func(image, stem string, c claim) error // told before an image's files are written; may be nil
	timer                 engine.Timer
}

// The folders of outputs.
var (
	mapFiles     = output{"maps", ".tiff"}
	maskFiles    = output{"masks", ".png"}
	overlayFiles = output{"overlays", ".png"}
	outputFiles  = []output{mapFiles, maskFiles, overlayFiles}
)

type output struct{ folder, ext string }

// of is the name of an image's output, relative to the run's folder; nil if it is not wanted.
func (f output) of(id string, wanted bool) *string {
	if !wanted {
		return nil
	}
	name := f.folder + "/" + dataset.OutputName(id, f.ext)
	return &name
}

// prepare makes the folders, so that a place that cannot be written to is known before any work is done.
func (o *outputs) prepare() error {
	for i, wanted := range []bool{o.maps, o.masks, o.overlays} {
		if wanted {
			if err := artifact.WritableFolder(filepath.Join(o.dir, outputFiles[i].folder)); err != nil {
				return err
			}
		}
	}
	return nil
}

// size is how many bytes a result takes until its files are written.
func (o *outputs) size(r *engine.Result) int64 {
	m := r.Maps[o.kind]
	if m == nil {
		return 0
	}
	pixels := int64(nd.Size(m.Shape()...))
	size := pixels * (4 + 1 + 1) // the map, its mask, and that as a picture
	if o.overlays {
		size += int64(nd.Size(r.Image.Pix.Shape()...))*4 + pixels*4 // the image, and the overlay
	}
	return size
}

// write writes an image's files, each atomically, and returns its line. On an error it leaves none of them. It uses r up. It is
// safe for concurrent use with images of different names.
func (o *outputs) write(r *engine.Result) (Line, error) {
	if o.kind == "" {
		line, _ := lineOf(r, "", o.regions)
		return line, nil
	}
	defer o.timer.Pin()()
	lap := o.timer.Start(1)
	defer func() { lap(stage.Write) }()
	if !o.overlays {
		r.Image = nil // its pixels are not kept while its files are written
	}
	line, marked := lineOf(r, o.kind, o.regions)
	m := r.Maps[o.kind]
	id := r.Item.ID
	line.Map, line.Mask, line.Overlay = mapFiles.of(id, o.maps), maskFiles.of(id, o.masks), overlayFiles.of(id, o.overlays)
	if o.claim != nil && (o.maps || o.masks || o.overlays) {
		err := o.claim(r.Item.Path, dataset.OutputName(id, ""), claim{Map: line.Map, Mask: line.Mask, Overlay: line.Overlay})
		if err != nil {
			return line, err
		}
	}
	var err error
	var written []string
	file := func(name *string, write func(path string) error) {
		if name == nil || err != nil {
			return
		}
		path := filepath.Join(o.dir, filepath.FromSlash(*name))
		if err = os.MkdirAll(filepath.Dir(path), 0o777); err == nil {
			err = write(path)
		}
		written = append(written, path)
	}
	file(line.Map, func(path string) error { return imageio.WriteMap(path, m) })
	file(line.Mask, func(path string) error { return imageio.WriteMarks(path, marked, m.Shape()[0], m.Shape()[1]) })
	file(line.Overlay, func(path string) error { return imageio.WriteOverlay(path, r.Overlay(o.kind, marked, o.labels)) })
	if err != nil {
		for _, path := range written[:len(written)-1] {
			os.Remove(path)
		}
		err = outputError{r.Item.Path, artifact.Worded(err)}
	}
	return line, err
}

// outputError is why the outputs of an image could not be written.
type outputError struct {
	image string
	err   error
}

func (e outputError) Error() string { return e.image + ": " + e.err.Error() }
func (e outputError) Unwrap() error { return e.err }

// IsNameFault reports whether an output could not be written for what it is called, as opposed to the disk or the folder:
// its name is too long, a folder has its place, or a file that of its folder.
func IsNameFault(err error) bool {
	for _, fault := range append(nameFaults, syscall.ENAMETOOLONG, syscall.ENOTDIR, syscall.EISDIR, syscall.EILSEQ, syscall.EINVAL,
		fs.ErrExist, artifact.ErrNotFile) {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}
