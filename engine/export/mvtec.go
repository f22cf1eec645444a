package export

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/internal/fnv"
	"f2pad.example/engine/internal/openfile"
	"f2pad.example/engine/run"
)

// layout says where a data set has its test images: OBJECT/SPLIT and so many folders below it.
type layout struct {
	name    string
	pattern string
	splits  map[string]int // folders between a split and its images
}

var (
	mvtecAD  = layout{"MVTec AD", "OBJECT/test/DEFECT/ID", map[string]int{"test": 1}}
	mvtecAD2 = layout{"MVTec AD 2", "OBJECT/test_private/ID, OBJECT/test_private_mixed/ID or OBJECT/test_public/DEFECT/ID",
		map[string]int{"test_private": 0, "test_private_mixed": 0, "test_public": 1}}
)

// place is where the image is in the layout, with slashes and without extension. object, if not "", is what it shows, whatever its path says.
func (l layout) place(image, object string) (string, error) {
	parts := strings.Split(path.Clean(filepath.ToSlash(image)), "/")
	for at := len(parts) - 2; at >= 0; at-- {
		below, ok := l.splits[parts[at]]
		if !ok || len(parts)-at-2 != below {
			continue
		}
		if object == "" && at > 0 && parts[at-1] != ".." {
			object = parts[at-1]
		}
		if object == "" {
			return "", fmt.Errorf("%s: %w", image, errNoObject)
		}
		return strings.TrimSuffix(path.Join(append([]string{object}, parts[at:]...)...), path.Ext(parts[len(parts)-1])), nil
	}
	return "", fmt.Errorf("%s: is not where %s has its test images (%s)", image, l.name, l.pattern)
}

var (
	errNoObject = errors.New("its path does not say which object it shows (--object does)")
	errTwice    = errors.New("another image has the same place")
)

// folders writes files for each image, to where a layout has it.
type folders struct {
	layout
	placed map[uint64]bool // places that are taken
	write  func(e *entry, place string) error
}

func openMVTec(x *exporting, _ io.Writer) (sink, error) {
	return &folders{mvtecAD, map[uint64]bool{}, func(e *entry, place string) error {
		return e.put(e.Map, place+".tiff")
	}}, nil
}

// The folders of a submission.
const (
	ad2Maps  = "anomaly_images"             // float16
	ad2Masks = "anomaly_images_thresholded" // 0 and 255
)

func openMVTecAD2(x *exporting, _ io.Writer) (sink, error) {
	return &folders{mvtecAD2, map[uint64]bool{}, func(e *entry, place string) error {
		if e.Map == nil {
			return fault{fmt.Errorf("%s: %w", e.Path(), errNoOutput)}
		}
		m, err := imageio.ReadMap(e.at(*e.Map))
		if err != nil {
			return fault{artifact.Worded(err)}
		}
		if err := e.put(e.Mask, ad2Masks+"/"+place+".png"); err != nil {
			return err
		}
		to := filepath.Join(e.Out, ad2Maps, filepath.FromSlash(place)+".tiff")
		if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
			return artifact.Worded(err)
		}
		return imageio.WriteHalfMap(to, m)
	}}, nil
}

// put places one of the run's outputs below the folder that is written.
func (e *entry) put(output *string, to string) error {
	if output == nil {
		return fault{fmt.Errorf("%s: %w", e.Path(), errNoOutput)}
	}
	from := e.at(*output)
	if err := openfile.Check(from); err != nil {
		return fault{artifact.Worded(err)}
	}
	_, err := artifact.Place(from, filepath.Join(e.Out, filepath.FromSlash(to)))
	return err
}

// errNoOutput is an image without the mask or the map that the run was to write.
var errNoOutput = errors.New("its line names no mask or no map")

func (f *folders) take(e *entry) (func() error, error) {
	place, err := f.place(e.Path(), e.Object)
	if err != nil {
		return nil, err
	}
	return func() error {
		k := fnv.Of(strings.ToLower(place))
		if f.placed[k] {
			return fault{fmt.Errorf("%s: %w (%s)", e.Path(), errTwice, place)}
		}
		f.placed[k] = true
		err := f.write(e, place)
		if run.IsNameFault(err) {
			return fault{err}
		}
		return err
	}, nil
}

func (f *folders) end() error { return nil }
