package synth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Options say which data set to write.
type Options struct {
	Texture string // one of Textures
	Train   int    // normal images to train on
	Test    int    // test images in all, shared out evenly over good and the four defects, good first
	Size    int    // side of the square images in pixels
	Seed    uint64
}

// seriesFile at a data set's root tells what it holds.
const seriesFile = "synth.json"

// series is what seriesFile holds.
type series struct {
	Generator int    `json:"generator"`
	Texture   string `json:"texture"`
	Size      int    `json:"size"`
	Seed      uint64 `json:"seed"`
	Train     int    `json:"train"`
	Test      int    `json:"test"`
}

// generator changes whenever the same options give other images.
const generator = 1

// Write makes a data set in MVTec's layout in the folder dir:
//
//	train/good/000.png ...
//	test/<good, hole, scratch, stain or structural>/000.png ...
//	ground_truth/<defect>/000_mask.png ...   0 and 255
//	synth.json                               the options
//
// as 8-bit PNG, in colour or grey as the texture's camera is. An image depends on the seed, its folder and its number
// only: the same options give the same bytes, and more images leave the earlier ones as they are. Files appear whole or
// not at all, images after their masks.
//
// dir is made if it does not exist. If it is not empty it must be what an earlier Write with the same texture, size and
// seed and no more images left, finished or not: files that exist are kept, so Write resumes. Anything else is an error
// and is not touched. progress, if not nil, is called after each image, one call at a time. When ctx is cancelled, the
// images in hand are finished and ctx's error is returned.
func Write(ctx context.Context, dir string, o Options, progress func(done, total int)) error {
	if err := check(o.Texture, o.Size); err != nil {
		return err
	}
	if o.Train < 0 || o.Test < 0 || o.Train+o.Test == 0 {
		return fmt.Errorf("synth: %d training and %d test images", o.Train, o.Test)
	}
	if err := claim(dir, series{generator, o.Texture, o.Size, o.Seed, o.Train, o.Test}); err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	jobs := o.jobs(dir)
	for _, j := range jobs {
		for _, path := range j.files() {
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				return fmt.Errorf("synth: %w", err)
			}
		}
	}
	var mu sync.Mutex
	done := 0
	return par.Err(len(jobs), func(i int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := jobs[i].write(o); err != nil {
			return fmt.Errorf("synth: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		done++
		if progress != nil {
			progress(done, len(jobs))
		}
		return nil
	})
}

// claim makes dir ready for a series, or says why it cannot hold it.
func claim(dir string, want series) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	// What a process that was killed had not finished writing is nobody's: it may be all that it left.
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return artifact.IsTemp(e.Name()) })
	path := filepath.Join(dir, seriesFile)
	if len(entries) > 0 {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is not empty and was not written by synth (it has no %s): choose another folder", dir, seriesFile)
		}
		if err != nil {
			return err
		}
		var have series
		if err := json.Unmarshal(data, &have); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		grown := have
		grown.Train, grown.Test = want.Train, want.Test
		if grown != want || have.Train > want.Train || have.Test > want.Test {
			return fmt.Errorf("%s holds another series (%s): choose another folder", dir, have)
		}
	}
	data, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		return err
	}
	return artifact.WriteFileAtomic(path, func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}

func (s series) String() string {
	return fmt.Sprintf("%s, %d px, seed %d, %d training and %d test images, generator %d",
		s.Texture, s.Size, s.Seed, s.Train, s.Test, s.Generator)
}

// job is one image to write.
type job struct {
	image, mask string // paths; mask is "" for a normal image
	defect      string
	seed        uint64
}

// jobs lists the images of a series.
func (o Options) jobs(dir string) []job {
	var jobs []job
	add := func(split, class string, count int) {
		for i := range count {
			j := job{
				image:  filepath.Join(dir, split, class, fmt.Sprintf("%03d.png", i)),
				defect: class,
				seed:   imageSeed(o.Seed, split+"/"+class, i),
			}
			if class != Good {
				j.mask = filepath.Join(dir, "ground_truth", class, fmt.Sprintf("%03d_mask.png", i))
			}
			jobs = append(jobs, j)
		}
	}
	add("train", Good, o.Train)
	classes := append([]string{Good}, Defects()...)
	for k, class := range classes {
		add("test", class, (o.Test+len(classes)-1-k)/len(classes))
	}
	return jobs
}

// imageSeed is the seed of one image of a series.
func imageSeed(seed uint64, folder string, index int) uint64 {
	for _, b := range []byte(folder) {
		seed = hash(seed, int(b), 0)
	}
	return hash(seed, index, 1)
}

// files lists the job's files in the order in which they are written.
func (j job) files() []string {
	if j.mask == "" {
		return []string{j.image}
	}
	return []string{j.mask, j.image}
}

// write renders the image and writes what does not exist yet.
func (j job) write(o Options) error {
	var missing []string
	for _, path := range j.files() {
		_, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, path)
		case err != nil:
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	img, mask, err := Render(o.Texture, j.defect, o.Size, j.seed)
	if err != nil {
		return err
	}
	for _, path := range missing {
		planes := nd.Data(img)
		if path == j.mask {
			planes = nd.Data(mask)
		}
		picture := quantise(planes, o.Size)
		if err := artifact.WriteFileAtomic(path, func(w io.Writer) error { return png.Encode(w, picture) }); err != nil {
			return err
		}
	}
	return nil
}

// PNG encodes an image that Render drew, [3,size,size], as Write does.
func PNG(img *tensor.Dense) ([]byte, error) {
	var b bytes.Buffer
	if err := nd.Check("synth: image", img, 3, -1, -1); err != nil {
		return nil, err
	}
	if err := png.Encode(&b, quantise(nd.Data(img), img.Shape()[1])); err != nil {
		return nil, fmt.Errorf("synth: %w", err)
	}
	return b.Bytes(), nil
}

// quantise makes an 8-bit picture, size pixels square, of one plane, or of three if they differ.
func quantise(planes []float32, size int) image.Image {
	to8 := func(v float32) uint8 { return uint8(255*v + 0.5) }
	n := size * size
	if len(planes) == n || slices.Equal(planes[:n], planes[n:2*n]) && slices.Equal(planes[:n], planes[2*n:]) {
		grey := image.NewGray(image.Rect(0, 0, size, size))
		for i, v := range planes[:n] {
			grey.Pix[i] = to8(v)
		}
		return grey
	}
	colour := image.NewNRGBA(image.Rect(0, 0, size, size))
	for i := range n {
		colour.Pix[4*i], colour.Pix[4*i+1], colour.Pix[4*i+2] = to8(planes[i]), to8(planes[n+i]), to8(planes[2*n+i])
		colour.Pix[4*i+3] = 255
	}
	return colour
}
