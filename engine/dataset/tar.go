package dataset

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
)

const (
	endMark = 1024    // zeros at an archive's end
	padding = 1 << 20 // that may follow them
	// A compressed archive that becomes this much larger, and that large in all, is there to waste time: it would have to be read
	// through for the sake of what it does not hold.
	mostExpansion, anyExpansion = 200, 1 << 30
)

// tar lists a tar archive; members of a file are opened where they are in it.
func (a *archive) tar(f input) error {
	seek, ok := f.(io.Seeker)
	if !ok {
		if a.unlisted() {
			return nil
		}
		return a.pieces(&tape{from: bufio.NewReaderSize(f, 1<<16)})
	}
	r := &tape{from: f, seek: seek}
	return a.members(r, func(t *tar.Reader, name string, size int64) error {
		if size > a.size-r.at {
			return errTruncated
		}
		return a.emit(name, &section{a.container, r.at, size})
	})
}

// gzipped lists a compressed tar archive, of which members are kept in memory as they pass.
func (a *archive) gzipped(f input) error {
	if a.unlisted() {
		return nil
	}
	packed := &tape{from: f}
	z, err := gzip.NewReader(bufio.NewReaderSize(packed, 1<<16))
	if err != nil {
		return fault(err)
	}
	return a.pieces(&tape{from: z, packed: packed})
}

// pieces lists an archive that is read once.
func (a *archive) pieces(r *tape) error {
	return a.members(r, func(t *tar.Reader, name string, size int64) error {
		return a.pass(name, size, func() ([]byte, error) {
			data, err := readMember(t, size)
			if err != nil {
				err = fault(err)
			}
			return data, err
		})
	})
}

// readMember reads a member, with memory for as much as there is of it.
func readMember(r io.Reader, size int64) ([]byte, error) {
	const trusted = 1 << 20
	b := bytes.NewBuffer(make([]byte, 0, min(size, trusted)))
	n, err := io.Copy(b, io.LimitReader(r, size))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return b.Bytes(), err
}

// members reads a tar archive through and gives its images to visit, where the archive is at their first byte.
func (a *archive) members(r *tape, visit func(t *tar.Reader, name string, size int64) error) error {
	t := tar.NewReader(r)
	for {
		if r.seek == nil { // what is passed over is not taken for the end
			if _, err := io.Copy(io.Discard, t); err != nil {
				return fault(err)
			}
		}
		r.zeros = 0
		h, err := t.Next()
		if err == io.EOF {
			return r.end()
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return fault(err)
		}
		if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name, ok, err := a.wants(h.Name, whatIs(h), h.Size)
		if err == nil && ok {
			err = visit(t, name, h.Size)
		}
		if err != nil {
			if errors.Is(err, errTruncated) {
				err = fmt.Errorf("%w: it ends in %s", err, name)
			}
			return err
		}
	}
}

// whatIs is what a member is, "" if it is a file whose bytes lie one behind the other.
func whatIs(h *tar.Header) string {
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeLink, tar.TypeSymlink:
		return "a link"
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return "a device"
	case tar.TypeGNUSparse:
		return "a sparse file"
	default:
		return fmt.Sprintf("a member of type %q", h.Typeflag)
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return "a sparse file"
		}
	}
	return ""
}

// tape is what an archive is read from.
type tape struct {
	from   io.Reader
	seek   io.Seeker // nil: it is read through
	packed *tape     // that from expands; nil: none
	at     int64
	zeros  int64 // how many have been read last
}

func (t *tape) Read(p []byte) (int, error) {
	n, err := t.from.Read(p)
	t.at += int64(n)
	if left := len(bytes.TrimRight(p[:n], "\x00")); left > 0 {
		t.zeros = int64(n - left)
	} else {
		t.zeros += int64(n)
	}
	if t.packed != nil && t.at > anyExpansion && t.at/mostExpansion > t.packed.at {
		return n, fmt.Errorf("expands to more than %d times its size", mostExpansion)
	}
	return n, err
}

func (t *tape) Seek(offset int64, whence int) (int64, error) {
	if t.seek == nil {
		return 0, errors.ErrUnsupported
	}
	at, err := t.seek.Seek(offset, whence)
	if err == nil {
		t.at = at
	}
	return at, err
}

// end reads what follows the last member. An archive that was cut off between two members has no mark there, and one to which
// another was appended has more.
func (t *tape) end() error {
	if t.zeros < endMark {
		return fmt.Errorf("%w: its end mark is missing", errTruncated)
	}
	t.zeros = 0
	n, err := io.Copy(io.Discard, io.LimitReader(t, padding))
	if err != nil {
		return fault(err)
	}
	if t.zeros < n {
		return errors.New("corrupt archive: there is more behind its end")
	}
	return nil
}

// passing is a member of an archive that is not read twice: its bytes are in memory until Release.
type passing struct {
	*container
	size int64
	of   *held

	mu   sync.Mutex
	data []byte
}

func (p *passing) Open() (fs.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		return nil, errReleased
	}
	m := &memory{p.data, p.modified}
	return m.Open()
}

// Release frees the bytes.
func (p *passing) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of != nil {
		p.of.give(p.size)
	}
	p.of, p.data = nil, nil
}

// held is how many bytes of members are in memory.
type held struct {
	mu    sync.Mutex
	bytes int64
	freed chan struct{} // closed, and another put in its place, when some are given back
}

// take waits until n bytes more are no more than most, or none are held. It returns false when done is closed before.
func (h *held) take(n, most int64, done <-chan struct{}) bool {
	for {
		h.mu.Lock()
		if h.freed == nil {
			h.freed = make(chan struct{})
		}
		if h.bytes == 0 || h.bytes+n <= most {
			h.bytes += n
			h.mu.Unlock()
			return true
		}
		freed := h.freed
		h.mu.Unlock()
		select {
		case <-freed:
		case <-done:
			return false
		}
	}
}

func (h *held) give(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes -= n
	close(h.freed)
	h.freed = make(chan struct{})
}
