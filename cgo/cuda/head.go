package cuda

import (
	"context"
	"fmt"

	"f2pad.example/kernels"
)

// head is a method's scores and their gradient, computed where the features are.
type head interface {
	// view prepares for locations of features: it uploads what of them does not change while features do. What it allocates is the
	// job's, and lives as long: beside what grad needs, headScratch bytes at the most, and a part of what is streamed.
	view(j *job, v *view) (scoring, error)
	// images fills image [v.n], for views of whole images whose every location was scored, with the method's own image scores of the
	// locations inside (nil: all), if it has any. It may wait for the device.
	images(ctx context.Context, j *job, v *view, s scoring, inside []bool, image []float32) error
	close() error
}

// scoring enqueues what a head does with a view, on whatever queue: nothing waits for the host, nothing is allocated, so that it
// can be recorded, unless it is streamed.
type scoring interface {
	// score fills v.s from v.f. With v.gradient it keeps what grad needs.
	score(q kernels.Queue) error
	// grad fills all of v.df, 0 where nothing depends on it, with sum over items of v.ds[item] * ds/df. It follows a score of the same
	// features.
	grad(q kernels.Queue) error
	// streamed says that the device has no room for what is fitted, which therefore passes through it: score and grad wait for the
	// host, want a stream for their queue, and cannot be recorded.
	streamed() bool
}

// view is features as a head sees them: of whole images or of windows of one size, and the locations whose scores are wanted.
type view struct {
	n, h, w  int      // windows, and their cells on the finest grid
	grid     [2]int   // cells of the whole images' finest grid
	origins  [][2]int // nil: of whole images
	layers   []layerView
	at       []int32     // wanted: (window*h+row)*w+column, ascending; on the host
	items    kernels.Ptr // the same [len(at)] int32
	item     kernels.Ptr // [n,h,w] int32: the index in at of a cell, or -1; where gradient
	s        kernels.Ptr // [len(at)] float32
	ds       kernels.Ptr // [len(at)] float32, where gradient
	gradient bool
}

// origin is the cell of the image's grid that a window begins at.
func (v *view) origin(n int) (row, col int) {
	if v.origins == nil {
		return 0, 0
	}
	return v.origins[n][0], v.origins[n][1]
}

// check compares the layers with the channels that a method was fitted on.
func (v *view) check(widths []int) error {
	if len(v.layers) != len(widths) {
		return fmt.Errorf("cuda: features of %d layers, want %d", len(v.layers), len(widths))
	}
	for l, la := range v.layers {
		switch {
		case la.d != widths[l]:
			return fmt.Errorf("cuda: features of layer %d have %d channels, want %d", l+1, la.d, widths[l])
		case la.h > v.h || la.w > v.w:
			return fmt.Errorf("cuda: features of layer %d are %dx%d cells, finer than the first layer's %dx%d", l+1, la.h, la.w, v.h, v.w)
		}
	}
	return nil
}

// layerView is one layer's features and their gradients: [n,h,w,d] float32, channels innermost.
type layerView struct {
	h, w, d int
	f, df   kernels.Ptr // df where gradient
}

// headScratch bounds what a view takes for vectors that nobody needs any more once they have been measured: more locations than
// have room in it come one part after another.
const headScratch = 256 << 20
