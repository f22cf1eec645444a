package driver

import (
	"embed"
	"io/fs"
)

//go:embed include
var include embed.FS

// Headers are cuda.h and the files that it includes, for C++ that tests compile (cgo/fakecuda).
func Headers() fs.FS {
	sub, err := fs.Sub(include, "include")
	if err != nil {
		return include // the name is right: this cannot be
	}
	return sub
}
