package dataset

import (
	"archive/zip"
	"bufio"
	"compress/flate"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"sync"
)

// mostDirectory bounds a zip archive's directory, which is in memory while the archive is listed: some 600,000 members.
const mostDirectory = 1 << 26

var errManyMembers = fmt.Errorf("a directory of more than %d MiB", mostDirectory>>20)

// zip lists a zip archive.
func (a *archive) zip(f input) error {
	m := &metered{f, mostDirectory}
	z, err := zip.NewReader(m, a.size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		if errors.Is(err, zip.ErrFormat) {
			err = errors.New("there is no directory at its end")
		}
		return fault(err)
	}
	m.left = math.MaxInt64
	for i, member := range z.File {
		z.File[i] = nil
		mode, what := member.Mode(), ""
		switch {
		case mode.IsDir():
			continue
		case mode&fs.ModeSymlink != 0:
			what = "a link"
		case !mode.IsRegular():
			what = "a device"
		}
		size := int64(min(member.UncompressedSize64, math.MaxInt64))
		name, ok, err := a.wants(member.Name, what, size)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		s, err := a.unpacked(member, size)
		switch {
		case err != nil:
			err = a.fails(name, err)
		case a.object != nil && a.in.Unlisted == nil:
			if err = a.pass(name, size, func() ([]byte, error) { return s.all(f) }); err != nil && !errors.Is(err, errStop) {
				err = a.fails(name, err)
			}
		case s.flate && !a.in.passing.take(size, a.most, a.in.Done):
			err = errStop
		default:
			err = a.emit(name, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unpacked is how a member is opened.
func (a *archive) unpacked(m *zip.File, size int64) (*packed, error) {
	const encrypted = 1
	switch {
	case m.Flags&encrypted != 0:
		return nil, errors.New("encrypted in its archive")
	case m.Method != zip.Store && m.Method != zip.Deflate:
		return nil, fmt.Errorf("compressed by method %d, which is not supported", m.Method)
	case m.CompressedSize64 > uint64(a.size) || m.Method == zip.Store && m.CompressedSize64 != m.UncompressedSize64:
		return nil, fault(errors.New("sizes that cannot be"))
	}
	at, err := m.DataOffset()
	if err != nil {
		return nil, fault(err)
	}
	return &packed{
		section: section{a.container, at, size}, packed: int64(m.CompressedSize64), flate: m.Method == zip.Deflate, crc: m.CRC32, of: &a.in.passing,
	}, nil
}

// packed is a member of a zip archive.
type packed struct {
	section
	packed int64 // its bytes in the archive
	flate  bool  // it is compressed: whoever decodes it has it in memory, which counts in of
	crc    uint32
	of     *held
	once   sync.Once
}

// Release gives back what the member may take in memory.
func (p *packed) Release() {
	if p.flate {
		p.once.Do(func() { p.of.give(p.size) })
	}
}

func (p *packed) Open() (fs.File, error) {
	f, err := p.open()
	if err != nil {
		return nil, err
	}
	return p.in(f), nil
}

// in is the member in its archive, which is open and closed with it.
func (p *packed) in(f input) fs.File {
	bytes := io.NewSectionReader(f, p.at, p.packed)
	c := &checked{from: bytes, archive: f, info: memberInfo{p.size, p.modified}, left: p.size, want: p.crc, sum: crc32.NewIEEE()}
	if !p.flate {
		return &storedFile{c, bytes}
	}
	c.from = flate.NewReader(bufio.NewReader(bytes))
	return c
}

// all is the member's content.
func (p *packed) all(f input) ([]byte, error) {
	member := p.in(f)
	data, err := readMember(member, p.size)
	if err == nil {
		_, err = member.Read(make([]byte, 1)) // which checks it
	}
	if err == io.EOF {
		err = nil
	}
	return data, err
}

// checked reads as many bytes as a member is said to have, and no others than it is said to have.
type checked struct {
	from    io.Reader
	archive input
	info    memberInfo
	left    int64
	want    uint32
	sum     hash.Hash32
}

func (c *checked) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.left == 0 {
		var more [1]byte
		if n, err := io.ReadFull(c.from, more[:]); n > 0 {
			return 0, fault(errors.New("the member is longer than it is said to be"))
		} else if err != io.EOF {
			return 0, fault(err)
		}
		if c.sum.Sum32() != c.want {
			return 0, fault(errors.New("a wrong checksum"))
		}
		return 0, io.EOF
	}
	n, err := c.from.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.sum.Write(p[:n])
	if err == io.EOF && c.left == 0 {
		err = nil // the next read says how it ended
	} else if err != nil {
		err = fault(err)
	}
	return n, err
}

func (c *checked) Stat() (fs.FileInfo, error) { return c.info, nil }
func (c *checked) Close() error               { return c.archive.Close() }

// storedFile is a member that is not compressed, which can be read at any place.
type storedFile struct {
	*checked
	io.ReaderAt
}

// metered reads no more than so many bytes.
type metered struct {
	from io.ReaderAt
	left int64
}

func (m *metered) ReadAt(p []byte, at int64) (int, error) {
	if int64(len(p)) > m.left {
		return 0, errManyMembers
	}
	m.left -= int64(len(p))
	return m.from.ReadAt(p, at)
}
