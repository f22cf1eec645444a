package export

import (
	"errors"
	"fmt"
	"path/filepath"
	"unicode/utf8"
)

// name is what the image is called in annotations: its path as it was given to score, or below RelativeTo, with slashes.
func (e *entry) name() (string, error) {
	path := e.Path()
	if !utf8.ValidString(path) {
		return "", fmt.Errorf("%s: its name is not UTF-8, which %s cannot say", e.Image, e.Format)
	}
	if e.RelativeTo != "" {
		rel, err := filepath.Rel(e.RelativeTo, path)
		if err != nil || !filepath.IsLocal(rel) {
			return "", fmt.Errorf("%s: %w %s", path, errElsewhere, e.RelativeTo)
		}
		path = rel
	}
	return filepath.ToSlash(path), nil
}

// errElsewhere is an image that is not in the folder that names are relative to.
var errElsewhere = errors.New("is not below")
