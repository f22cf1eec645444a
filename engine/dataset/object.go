package dataset

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"
	"time"

	"f2pad.example/engine/imageio"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// object is an object of a store. It is read once, when it is opened first, and its bytes are in memory until Release.
type object struct {
	bucket *blob.Bucket
	place
	prefix string // that it was found below, a URL; "" if it was named itself
	listed objectInfo
	most   int64 // bytes
	of     *held // has its size; nil: it is not counted

	mu       sync.Mutex
	data     []byte
	found    objectInfo // of data
	released bool
}

// objectInfo is how an object was found. Stores say its time in seconds in one answer and more finely in another.
type objectInfo struct {
	size     int64
	modified time.Time
	tag      string // the MD5 of the content, or what the store has in its place; "" if it says none
}

func infoOf(size int64, modified time.Time, md5 []byte) objectInfo {
	return objectInfo{size, modified.Truncate(time.Second), hex.EncodeToString(md5)}
}

func (i objectInfo) Name() string       { return "" }
func (i objectInfo) Size() int64        { return i.size }
func (i objectInfo) Mode() fs.FileMode  { return 0o444 }
func (i objectInfo) ModTime() time.Time { return i.modified }
func (i objectInfo) IsDir() bool        { return false }
func (i objectInfo) Sys() any           { return Tag(i.tag) }

// Tag tells the content of an object apart from others, by what its store says; "" says nothing.
type Tag string

// TagOf is what the store says of the content, "" if there is none.
func TagOf(info fs.FileInfo) Tag {
	t, _ := info.Sys().(Tag)
	return t
}

// Archive is the URL below which the object was found, in whose listing it is as a member is in an archive.
func (o *object) Archive() string { return o.prefix }

// Stat is how the object was when it was read or, before that, listed.
func (o *object) Stat() (fs.FileInfo, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.data != nil {
		return o.found, nil
	}
	return o.listed, nil
}

func (o *object) Open() (fs.File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.released {
		return nil, errReleased
	}
	if o.data == nil {
		if err := o.read(); err != nil {
			return nil, err
		}
	}
	return &objectData{bytes.NewReader(o.data), o.found}, nil
}

// objectData is an object's content.
type objectData struct {
	*bytes.Reader
	info objectInfo
}

func (f *objectData) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *objectData) Close() error               { return nil }

// reader reads so many bytes from a place on, all that follow if they are negative.
func (o *object) reader(ctx context.Context, at, bytes int64) (*blob.Reader, error) {
	return asked(func() (*blob.Reader, error) { return o.bucket.NewRangeReader(ctx, o.key, at, bytes, nil) })
}

func (o *object) read() error {
	r, err := o.reader(context.Background(), 0, -1) // what is in hand is finished
	if err != nil {
		return reason(err)
	}
	defer r.Close()
	if r.Size() > o.most {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", imageio.ErrTooLarge, r.Size(), o.most)
	}
	data, err := readMember(r, r.Size())
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the object ended before its size")
	}
	if err != nil {
		return reason(err)
	}
	o.data, o.found = data, o.infoOf(r)
	return nil
}

// infoOf is how the object is that is being read.
func (o *object) infoOf(r *blob.Reader) objectInfo {
	i := infoOf(r.Size(), r.ModTime(), nil)
	if r.ModTime().IsZero() { // not every store says it here
		i.modified = o.listed.modified
	}
	if i.size == o.listed.size && i.modified.Equal(o.listed.modified) { // it was not replaced since
		i.tag = o.listed.tag
	}
	return i
}

// Release frees the bytes.
func (o *object) Release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of != nil && !o.released {
		o.of.give(o.listed.size)
	}
	o.released, o.data = true, nil
}

// beside emits the object that a row of a Parquet file names, from where that lies.
func (o *object) beside(in *inputs, name string) error {
	p := o.place
	p.key = path.Join(path.Dir(p.key), name)
	attrs, err := attributes(until(in.Done), o.bucket, p.key)
	if gcerrors.Code(err) == gcerrors.Canceled {
		return errStop
	}
	if err != nil {
		return in.missing(p.name(), worded(p.name(), err))
	}
	return in.object(&object{bucket: o.bucket, place: p, listed: infoOf(attrs.Size, attrs.ModTime, attrs.MD5)}, false)
}

const (
	blockSize  = 1 << 22 // bytes that are asked for at once
	mostBlocks = 4       // that are kept
)

// objectFile is an object that is read as a file is: through from its beginning by one answer of the store, or at any place in blocks.
type objectFile struct {
	*object
	done   until
	stream *blob.Reader

	mu     sync.Mutex
	blocks []block // the one that was read last is the last
}

type block struct {
	at   int64
	data []byte
}

// input opens an archive, until done.
func (o *object) input(done until) (input, fs.FileInfo, error) {
	return &objectFile{object: o, done: done}, o.listed, nil
}

func (f *objectFile) Stat() (fs.FileInfo, error) { return f.listed, nil }

func (f *objectFile) Close() error {
	if f.stream == nil {
		return nil
	}
	return f.stream.Close()
}

// opened checks that what is being read is what was listed.
func (f *objectFile) opened(r *blob.Reader, err error) error {
	if err != nil {
		return reason(err)
	}
	if i := f.infoOf(r); i.size != f.listed.size || !i.modified.Equal(f.listed.modified) {
		r.Close()
		return errChanged
	}
	return nil
}

func (f *objectFile) Read(p []byte) (int, error) {
	if f.stream == nil {
		r, err := f.reader(f.done, 0, -1)
		if err := f.opened(r, err); err != nil {
			return 0, err
		}
		f.stream = r
	}
	n, err := f.stream.Read(p)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = reason(err)
	}
	return n, err
}

func (f *objectFile) ReadAt(p []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for n < len(p) {
		if at >= f.listed.size {
			return n, io.EOF
		}
		b, err := f.block(at - at%blockSize)
		if err != nil {
			return n, err
		}
		k := copy(p[n:], b.data[at-b.at:])
		n, at = n+k, at+int64(k)
	}
	return n, nil
}

// block is the block at a place.
func (f *objectFile) block(at int64) (block, error) {
	for i, b := range f.blocks {
		if b.at == at {
			f.blocks = append(append(f.blocks[:i:i], f.blocks[i+1:]...), b)
			return b, nil
		}
	}
	size := min(blockSize, f.listed.size-at)
	r, err := f.reader(f.done, at, size)
	if err := f.opened(r, err); err != nil {
		return block{}, err
	}
	defer r.Close()
	data, err := readMember(r, size)
	if err != nil {
		return block{}, reason(err)
	}
	if len(f.blocks) == mostBlocks {
		f.blocks = f.blocks[1:]
	}
	b := block{at, data}
	f.blocks = append(f.blocks, b)
	return b, nil
}
