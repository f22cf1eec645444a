// Package arena plans one piece of memory for buffers that are not all in use at the same time.
package arena

import (
	"cmp"
	"slices"
)

// Buffer is in use from time First to time Last, both included. Place sets Offset. Sizes and offsets are in elements.
type Buffer struct{ Size, First, Last, Offset int }

// Place lays the buffers out, at multiples of align, so that those in use at the same time lie apart, and returns how much
// memory that takes: the largest first, each in the smallest gap that it fits in.
func Place(buffers []*Buffer, align int) (size int) {
	order := slices.Clone(buffers)
	slices.SortStableFunc(order, func(a, b *Buffer) int { return cmp.Compare(b.Size, a.Size) })
	for i, b := range order {
		b.Offset = gap(b, order[:i], align)
		size = max(size, b.Offset+b.Size)
	}
	return size
}

// gap is the start of the smallest gap among the placed buffers, of those in use at the same time as b, that b fits in.
func gap(b *Buffer, placed []*Buffer, align int) int {
	var busy []*Buffer
	for _, o := range placed {
		if o.First <= b.Last && b.First <= o.Last {
			busy = append(busy, o)
		}
	}
	slices.SortFunc(busy, func(x, y *Buffer) int { return cmp.Compare(x.Offset, y.Offset) })
	best, room, end := -1, 0, 0
	for _, o := range busy {
		if g := o.Offset - end; g >= b.Size && (best < 0 || g < room) {
			best, room = end, g
		}
		end = max(end, (o.Offset+o.Size+align-1)/align*align)
	}
	if best < 0 {
		return end
	}
	return best
}
