package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"f2pad.example/engine/dataset"
)

// Fingerprint tells an image's content apart from what was, or will be, at its path at another time.
type Fingerprint struct {
	Bytes    int64
	Modified time.Time
	SHA256   string      // of the content, in hexadecimal
	Tag      dataset.Tag // of an object
}

// ErrChanged means that a file was written to while it was read.
var ErrChanged = errors.New("the file changed while it was read")

// TakeFingerprint is FingerprintOf the file at path.
func TakeFingerprint(path string) (Fingerprint, error) {
	return FingerprintOf(dataset.Item{Path: path})
}

// FingerprintOf reads the image's bytes once. Errors read "path: reason".
func FingerprintOf(it dataset.Item) (Fingerprint, error) {
	p, err := takeFingerprint(it)
	return p, reasoned(it.Path, err)
}

// reasoned words an error of a file as "path: reason".
func reasoned(path string, err error) error {
	if err == nil {
		return nil
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

func takeFingerprint(it dataset.Item) (Fingerprint, error) {
	var p Fingerprint
	f, info, err := it.Open()
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
	if after.Size() != p.Bytes || after.Size() != info.Size() || !after.ModTime().Equal(info.ModTime()) || dataset.TagOf(after) != dataset.TagOf(info) {
		return p, ErrChanged
	}
	p.Modified, p.SHA256, p.Tag = after.ModTime(), hex.EncodeToString(h.Sum(nil)), dataset.TagOf(after)
	return p, nil
}

// unchanged returns an error if the image is no longer the one that p was taken of, as far as its size, its time and what its store says of it tell.
func (p Fingerprint) unchanged(it dataset.Item) error {
	info, err := it.Stat()
	if err == nil && (info.Size() != p.Bytes || !info.ModTime().Equal(p.Modified) || dataset.TagOf(info) != p.Tag) {
		err = ErrChanged
	}
	return reasoned(it.Path, err)
}
