package metric

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
)

const (
	defaultRecords = 1 << 18
	// fanIn runs of one level are merged into one of the next, so that both the number of open files and the number of
	// times a record is rewritten grow with the logarithm of the data.
	fanIn = 16
)

// tally counts how often each uint64 occurs, in bounded memory. Keys collect in a buffer; a full one is sorted and
// written as a run of (key, count) to a temporary file. each merges the runs.
type tally struct {
	options      Options
	buf, scratch []uint64
	total        uint64 // keys added
	dir          string // of the runs; "" until the first
	files        int    // runs written so far, for their names
	runs         []run  // levels never increase
	err          error  // of the first spill that failed, or that it is closed: all later calls return it
}

type run struct {
	path  string
	level int
}

func newTally(o Options) tally {
	if o.MemoryRecords <= 0 {
		o.MemoryRecords = defaultRecords
	}
	return tally{options: o, buf: make([]uint64, 0, o.MemoryRecords)}
}

// add counts key once.
func (t *tally) add(key uint64) error {
	if len(t.buf) >= t.options.MemoryRecords {
		if err := t.spill(); err != nil {
			return err
		}
	}
	t.buf = append(t.buf, key)
	t.total++
	return nil
}

// each calls emit for every distinct key in ascending order with its count.
func (t *tally) each(emit func(key, count uint64) error) error {
	if t.err != nil {
		return t.err
	}
	if len(t.runs) == 0 {
		return t.eachBuffered(emit)
	}
	if len(t.buf) > 0 {
		if err := t.spill(); err != nil {
			return err
		}
	}
	var seen uint64
	err := merge(t.runs, func(key, count uint64) error {
		seen += count
		return emit(key, count)
	})
	if err == nil && seen != t.total {
		err = fmt.Errorf("metric: temporary files in %s hold %d records, want %d", t.dir, seen, t.total)
	}
	return err
}

// eachBuffered is each for the keys in the buffer, which it sorts.
func (t *tally) eachBuffered(emit func(key, count uint64) error) error {
	t.buf, t.scratch = radixSort(t.buf, t.scratch)
	for i := 0; i < len(t.buf); {
		first, key := i, t.buf[i]
		for i < len(t.buf) && t.buf[i] == key {
			i++
		}
		if err := emit(key, uint64(i-first)); err != nil {
			return err
		}
	}
	return nil
}

// spill moves the buffer to a run on disk, and merges runs as long as fanIn of one level have gathered. After an error the
// buffer stays full, so that every later add comes here and returns it.
func (t *tally) spill() error {
	if t.err == nil {
		t.err = t.write(0, t.eachBuffered)
	}
	for t.err == nil && len(t.runs) >= fanIn && t.runs[len(t.runs)-fanIn].level == t.runs[len(t.runs)-1].level {
		last := t.runs[len(t.runs)-fanIn:]
		old := append([]run(nil), last...)
		t.runs = t.runs[:len(t.runs)-fanIn]
		t.err = t.write(old[0].level+1, func(emit func(key, count uint64) error) error { return merge(old, emit) })
		for _, r := range old {
			t.err = cmp.Or(t.err, os.Remove(r.path))
		}
	}
	if t.err == nil {
		t.buf = t.buf[:0]
	}
	return t.err
}

// write makes a run of the given level from the records that each yields.
func (t *tally) write(level int, each func(emit func(key, count uint64) error) error) error {
	if t.dir == "" {
		dir, err := os.MkdirTemp(t.options.TempDir, "f2pad-metric-")
		if err != nil {
			return fmt.Errorf("metric: spilling records: %w", err)
		}
		t.dir = dir
	}
	path := filepath.Join(t.dir, strconv.Itoa(t.files))
	t.files++
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("metric: spilling records: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<16)
	var prev uint64
	err = each(func(key, count uint64) error {
		b := binary.AppendUvarint(w.AvailableBuffer(), bits.RotateLeft64(key-prev, 32))
		prev = key
		_, err := w.Write(binary.AppendUvarint(b, count))
		return err
	})
	if err = cmp.Or(err, w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("metric: spilling records: %w", err)
	}
	t.runs = append(t.runs, run{path, level})
	return nil
}

// close removes the temporary files. What was counted is gone.
func (t *tally) close() error {
	dir := t.dir
	*t = tally{err: os.ErrClosed}
	if dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}

// cursor reads a run. A record is two varints: the key's difference to the one before, its halves swapped because the
// upper one holds the score and neighbouring scores differ little; and the count.
type cursor struct {
	key, count uint64
	r          *bufio.Reader
	f          *os.File
}

// next reads the next record; io.EOF after the last.
func (c *cursor) next() error {
	b, err := c.r.Peek(2 * binary.MaxVarintLen64)
	if len(b) == 0 || err != nil && err != io.EOF {
		return err
	}
	delta, n := binary.Uvarint(b)
	count, m := binary.Uvarint(b[max(n, 0):])
	if n <= 0 || m <= 0 {
		return fmt.Errorf("%s: %w", c.f.Name(), io.ErrUnexpectedEOF)
	}
	c.key += bits.RotateLeft64(delta, 32)
	c.count = count
	_, err = c.r.Discard(n + m)
	return err
}

// merge calls emit for every distinct key of the runs in ascending order with the sum of its counts.
func merge(runs []run, emit func(key, count uint64) error) error {
	heads := make([]*cursor, 0, len(runs)) // a heap: the parent's key is at most its children's
	for _, r := range runs {
		f, err := os.Open(r.path)
		if err != nil {
			return fmt.Errorf("metric: reading records back: %w", err)
		}
		defer f.Close()
		c := &cursor{f: f, r: bufio.NewReaderSize(f, 1<<16)}
		if err := c.next(); err != nil {
			return fmt.Errorf("metric: reading records back: %w", err)
		}
		heads = append(heads, c)
	}
	for i := len(heads)/2 - 1; i >= 0; i-- {
		sink(heads, i)
	}
	for len(heads) > 0 {
		key, count := heads[0].key, uint64(0)
		for len(heads) > 0 && heads[0].key == key {
			count += heads[0].count
			switch err := heads[0].next(); {
			case err == io.EOF:
				heads[0] = heads[len(heads)-1]
				heads = heads[:len(heads)-1]
			case err != nil:
				return fmt.Errorf("metric: reading records back: %w", err)
			}
			sink(heads, 0)
		}
		if err := emit(key, count); err != nil {
			return err
		}
	}
	return nil
}

// sink moves heads[i] down to its place in the heap.
func sink(heads []*cursor, i int) {
	for {
		child := 2*i + 1
		if child >= len(heads) {
			return
		}
		if child+1 < len(heads) && heads[child+1].key < heads[child].key {
			child++
		}
		if heads[i].key <= heads[child].key {
			return
		}
		heads[i], heads[child] = heads[child], heads[i]
		i = child
	}
}

// radixSort sorts a by bytes, least significant first, and passes over those that are the same in all keys. It returns the
// sorted slice and the other one, which are a and scratch (grown as needed) in either order.
func radixSort(a, scratch []uint64) (sorted, other []uint64) {
	if cap(scratch) < len(a) {
		scratch = make([]uint64, len(a), cap(a))
	}
	scratch = scratch[:len(a)]
	var differing uint64
	for _, v := range a {
		differing |= v ^ a[0]
	}
	for shift := 0; shift < 64; shift += 8 {
		if byte(differing>>shift) == 0 {
			continue
		}
		var at [256]int
		for _, v := range a {
			at[byte(v>>shift)]++
		}
		start := 0
		for b, n := range at {
			at[b] = start
			start += n
		}
		for _, v := range a {
			b := byte(v >> shift)
			scratch[at[b]] = v
			at[b]++
		}
		a, scratch = scratch, a
	}
	return a, scratch
}

// rank maps finite float32 values to integers of the same order; -0 and 0 map to one.
func rank(v float32) uint32 {
	b := math.Float32bits(v + 0)
	if b>>31 != 0 {
		return ^b
	}
	return b | 1<<31
}

// unrank is the inverse of rank.
func unrank(r uint32) float32 {
	if r>>31 != 0 {
		return math.Float32frombits(r &^ (1 << 31))
	}
	return math.Float32frombits(^r)
}

// finite reports whether v is a number.
func finite(v float32) bool { return math.Float32bits(v)&0x7f800000 != 0x7f800000 }
