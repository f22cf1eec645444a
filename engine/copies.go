package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"

	"gorgonia.org/tensor"
)

// imprint tells images in a model's space apart: two with the same pixels, from whatever files, have the same.
type imprint [sha256.Size]byte

// printOf is the print of an image y [3,H,W].
func printOf(y *tensor.Dense) (p imprint) {
	h := sha256.New()
	buf := make([]byte, 0, 1<<12)
	for _, n := range y.Shape() {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(n))
	}
	for _, v := range nd.Data(y) {
		if buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v)); len(buf) > cap(buf)-4 {
			h.Write(buf)
			buf = buf[:0]
		}
	}
	h.Write(buf)
	h.Sum(p[:0])
	return p
}

// rememberedPrint is the print of a remembered image.
func rememberedPrint(n *refine.Normal) (p imprint) {
	data, shape := n.Planes()
	h := sha256.New()
	fmt.Fprint(h, shape)
	h.Write(data)
	h.Sum(p[:0])
	return p
}

// take makes the intake of an image whose frame is y [3,H,W].
func take(it dataset.Item, sum []byte, y *tensor.Dense, l look) (intake, error) {
	n, err := refine.Remember(y)
	if err != nil {
		return intake{}, err
	}
	return intake{it, sum, printOf(y), rememberedPrint(n), sketchOf(it, y), l}, nil
}

// sketch is some pixels of an image, to find images that are nearly the same.
type sketch struct {
	item     dataset.Item
	h, w     int
	values   []float32 // mean of the channels at the points of a lattice
	contrast float64   // their mean absolute deviation
}

const (
	// sketchSide is how many points a lattice has per side: single pixels, not means, which all images of a texture share.
	sketchSide = 64
	// alike is the share of its contrast that an image differs by, at most, from one that it is nearly the same as. Another
	// photograph of the same thing in the same place differs by the camera's noise, which is more.
	alike = 0.02
)

// sketchOf sketches an image y [3,H,W].
func sketchOf(it dataset.Item, y *tensor.Dense) sketch {
	H, W := y.Shape()[1], y.Shape()[2]
	s := sketch{item: it, h: H, w: W}
	rows, cols := min(H, sketchSide), min(W, sketchSide)
	data, mean := nd.Data(y), 0.0
	for i := range rows {
		for j := range cols {
			at := (2*i+1)*H/(2*rows)*W + (2*j+1)*W/(2*cols)
			v := (data[at] + data[H*W+at] + data[2*H*W+at]) / 3
			s.values = append(s.values, v)
			mean += float64(v)
		}
	}
	mean /= float64(len(s.values))
	for _, v := range s.values {
		s.contrast += math.Abs(float64(v) - mean)
	}
	s.contrast /= float64(len(s.values))
	return s
}

// like reports whether two images are nearly the same.
func (s *sketch) like(o *sketch) bool {
	if s.h != o.h || s.w != o.w {
		return false
	}
	most := alike * min(s.contrast, o.contrast) * float64(len(s.values))
	sum := 0.0
	for i, v := range s.values {
		if sum += math.Abs(float64(v - o.values[i])); sum > most {
			return false
		}
	}
	return true
}

// intake is what is known of an image that can be used.
type intake struct {
	item    dataset.Item
	sum     []byte // SHA-256 of its file
	print   imprint
	rounded imprint // of what a model would remember of it
	sketch  sketch
	look    look
}

// distinct leaves out images that are the same as an earlier one, which would be held out of a fit that knows them, and says so.
func distinct(all []intake, notice func(string)) (kept []intake) {
	first := map[imprint]int{}
	copies := 0
	text := ""
	for i, in := range all {
		at, seen := first[in.print]
		if !seen {
			first[in.print] = i
			kept = append(kept, in)
			continue
		}
		if copies++; text == "" {
			text = fmt.Sprintf("%s is the same image as %s", in.item.Path, all[at].item.Path)
		}
	}
	if copies > 0 && notice != nil {
		notice(fmt.Sprintf("%d of %d images are copies of others and left out: %s", copies, len(all), text))
	}
	return kept
}

// nearlySame says how many of the images that a calibration goes by are nearly the same as ones that the model was fitted on:
// thresholds from these are too low for all that is not. "" if none is.
func nearlySame(train, held []intake) string {
	n, text := 0, ""
	for i := range held {
		for j := range train {
			if h, t := &held[i], &train[j]; h.sketch.like(&t.sketch) {
				if n++; text == "" {
					text = fmt.Sprintf("%s and %s", h.item.Path, t.item.Path)
				}
				break
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d images held out are nearly the same as ones that the model is fitted on, first %s: "+
		"the thresholds may be far too low for other images; calibrate them on images that were taken independently", n, len(held), text)
}
