package gpu

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"f2pad.example/engine/artifact"
)

// cubins is a folder of compiled kernels, each in a file named after what it was made from and for. A file begins with a
// line that holds the hash of the rest. Whatever is wrong with the folder or a file, kernels are compiled anew: an error of
// this cache is nobody's concern.
type cubins struct {
	dir string // "": no cache
}

const cubinMagic = "f2pad cubin 1 "

func (c cubins) path(ptx []byte, driver, major, minor int) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d.%d %d\n", driver, major, minor, len(ptx))
	h.Write(ptx)
	return filepath.Join(c.dir, hex.EncodeToString(h.Sum(nil))[:40]+".cubin")
}

// load returns nil where there is nothing usable.
func (c cubins) load(path string) []byte {
	if c.dir == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	line, image, found := bytes.Cut(text, []byte("\n"))
	if !found || len(image) == 0 || string(line) != cubinLine(image) {
		return nil
	}
	return image
}

func (c cubins) store(path string, image []byte) error {
	if c.dir == "" {
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	return artifact.WriteFileAtomic(path, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s\n%s", cubinLine(image), image)
		return err
	})
}

func cubinLine(image []byte) string {
	sum := sha256.Sum256(image)
	return cubinMagic + hex.EncodeToString(sum[:])
}
