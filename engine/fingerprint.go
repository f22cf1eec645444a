package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"f2pad/engine/internal/openfile"
)

// Fingerprint tells a file's content apart from what was, or will be, at its path at another time.
type Fingerprint struct {
	Bytes    int64
	Modified time.Time
	SHA256   string // of the content, in hexadecimal
}

// ErrChanged means that a file was written to while it was read.
var ErrChanged = errors.New("the file changed while it was read")

// TakeFingerprint reads the file at path once. Errors read "path: reason".
func TakeFingerprint(path string) (Fingerprint, error) {
	p, err := takeFingerprint(path)
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	if err != nil {
		return p, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

func takeFingerprint(path string) (Fingerprint, error) {
	var p Fingerprint
	f, info, err := openfile.Regular(path)
	if err != nil {
		return p, err
	}
	defer f.Close()
	h := sha256.New()
	if p.Bytes, err = io.Copy(h, f); err != nil {
		return p, err
	}
	after, err := f.Stat()
	if err != nil {
		return p, err
	}
	if after.Size() != p.Bytes || after.Size() != info.Size() || !after.ModTime().Equal(info.ModTime()) {
		return p, ErrChanged
	}
	p.Modified, p.SHA256 = after.ModTime(), hex.EncodeToString(h.Sum(nil))
	return p, nil
}

// unchanged returns an error if the file at path is no longer the one that p was taken of, as far as its size and time tell.
func (p Fingerprint) unchanged(path string) error {
	info, err := os.Stat(path)
	if err == nil && (info.Size() != p.Bytes || !info.ModTime().Equal(p.Modified)) {
		err = ErrChanged
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
