package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// featureRoom is how many bytes of features a fit keeps in memory: 1 GiB, some 1,300 images of 256 x 256 pixels of scatter.
const featureRoom = 1 << 30

// keeper computes the features of images once, however often they are visited: it keeps them in memory while there is room,
// and then in a temporary file, without a name where the system allows that, so that not even a killed process leaves it.
// It is for one goroutine.
type keeper struct {
	compute method.Features // its visitor may keep what it is given
	room    int64           // bytes in memory
	create  func() (*scratch, error)

	images []keptImage
	whole  bool // images are all of them
	spill  *scratch
	end    int64  // of the file
	buf    []byte // an image's features on the way
}

// keptImage is an image's features: one [1,D,h,w] tensor per layer, or where in the file their values are.
type keptImage struct {
	layers []*tensor.Dense
	shapes []tensor.Shape
	at     int64
}

// visit is a method.Features. A first visit that does not get to its end has to be made again.
func (k *keeper) visit(ctx context.Context, visit func([]*tensor.Dense) error) error {
	if k.whole {
		return k.again(ctx, visit)
	}
	free := k.room
	k.images, k.end = nil, 0
	err := k.compute(ctx, func(f []*tensor.Dense) error {
		var im keptImage
		bytes := int64(0)
		for _, t := range f {
			im.shapes = append(im.shapes, t.Shape().Clone())
			bytes += 4 * int64(len(nd.Data(t)))
		}
		if free -= bytes; free >= 0 {
			im.layers = f
		} else {
			free, im.at = 0, k.end // what comes later goes to the file, too: it is read in its order
			if err := k.write(f); err != nil {
				return fmt.Errorf("engine: features beyond %d MiB are kept in a temporary file: %w", k.room>>20, err)
			}
		}
		k.images = append(k.images, im)
		return visit(f)
	})
	k.whole = err == nil
	return err
}

func (k *keeper) write(f []*tensor.Dense) (err error) {
	if k.spill == nil {
		if k.spill, err = k.create(); err != nil {
			return err
		}
	}
	k.buf = k.buf[:0]
	for _, t := range f {
		if k.buf, err = binary.Append(k.buf, binary.LittleEndian, nd.Data(t)); err != nil {
			return err
		}
	}
	n, err := k.spill.WriteAt(k.buf, k.end)
	k.end += int64(n)
	return err
}

// again visits what is kept.
func (k *keeper) again(ctx context.Context, visit func([]*tensor.Dense) error) error {
	for _, im := range k.images {
		if err := ctx.Err(); err != nil {
			return err
		}
		f := im.layers
		if f == nil {
			var err error
			if f, err = k.read(im); err != nil {
				return fmt.Errorf("engine: features in a temporary file: %w", err)
			}
		}
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

func (k *keeper) read(im keptImage) (f []*tensor.Dense, err error) {
	for _, shape := range im.shapes {
		t := nd.New(shape...)
		buf := slices.Grow(k.buf[:0], 4*len(nd.Data(t)))[:4*len(nd.Data(t))]
		if _, err := k.spill.ReadAt(buf, im.at); err != nil {
			return nil, err
		}
		if _, err := binary.Decode(buf, binary.LittleEndian, nd.Data(t)); err != nil {
			return nil, err
		}
		f, im.at, k.buf = append(f, t), im.at+int64(len(buf)), buf
	}
	return f, nil
}

// close forgets everything.
func (k *keeper) close() error {
	k.images, k.whole = nil, false
	if k.spill == nil {
		return nil
	}
	return k.spill.discard()
}

// scratch is a file that ends with its process, or with discard.
type scratch struct {
	*os.File
	named bool // it still has its name, which this system does not take from an open file
}

// newScratch makes a file in the system's folder for temporary ones.
func newScratch() (*scratch, error) {
	f, err := os.CreateTemp("", "f2pad-features-*")
	if err != nil {
		return nil, err
	}
	return &scratch{f, os.Remove(f.Name()) != nil}, nil
}

func (s *scratch) discard() error {
	err := s.Close()
	if s.named {
		err = errors.Join(err, os.Remove(s.Name()))
	}
	return err
}
