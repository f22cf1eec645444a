// Package dataset finds images and their ground truth on disk, images in object stores, too, and opens images. It decodes none.
//
//	folder.go   a folder, and what is searched for; mvtec.go (a data set in MVTec AD's layout)
//	inputs.go   what arguments name
//	archive.go  the kinds of archives: tar.go, zip.go, parquet.go (rows; table.go, the footer, and pages.go, the values)
//	bucket.go   object stores, and what URLs name; object.go
//	source.go   where an image's bytes are
package dataset

import (
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"f2pad.example/engine/internal/fnv"
)

// Item is one image of a data set.
type Item struct {
	Path  string // of its file; with a Source a name, which messages and results give
	ID    string // path relative to the data set's or input's root, slash-separated: test/hole/003.png
	Class string // "good", or the defect type; "" where unknown
	Mask  string // ground truth: a file, or a folder of files whose union it is (engine/truth reads both); "" where there is none
	// Source holds the bytes; nil: they are the regular file at Path.
	Source Source
}

// Good is the class of normal images, whatever their folder calls them.
const Good = "good"

// Normal reports whether the image counts as normal: it is of no defect type. One of a defect type without a mask is
// defective all the same.
func (it Item) Normal() bool { return it.Mask == "" && (it.Class == Good || it.Class == "") }

// OutputName is the slash-separated relative path of a result for the image of that ID: its extension replaced by ext
// (".tiff"). IDs given by one call of this package have distinct output names, also where case makes no difference, and
// lead out of no folder.
func OutputName(id, ext string) string { return strings.TrimSuffix(id, path.Ext(id)) + ext }

// valid returns id with "~" and two hexadecimal digits for every byte that is not UTF-8: such names cannot be written to
// JSON, nor to every file system.
func valid(id string) string {
	if utf8.ValidString(id) {
		return id
	}
	var b strings.Builder
	for len(id) > 0 {
		r, n := utf8.DecodeRuneInString(id)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, "~%02X", id[0])
		} else {
			b.WriteString(id[:n])
		}
		id = id[n:]
	}
	return b.String()
}

// ids hands out IDs with distinct output names: for each name's hash, the last number given to it. Hashes, since inputs
// may be millions of paths; two names whose hashes fall together by chance cost nothing but a needless suffix.
type ids map[uint64]int

// unique returns id, or where its output name is taken, id with "~2", "~3", ... before the extension.
func (s ids) unique(id string) string {
	taken := key(id)
	s[taken]++
	if s[taken] == 1 {
		return id
	}
	for {
		name := OutputName(id, fmt.Sprintf("~%d%s", s[taken], path.Ext(id)))
		if k := key(name); s[k] == 0 {
			s[k] = 1
			return name
		}
		s[taken]++
	}
}

// archiveFolders are the folders in IDs that are called like archives, by the hashes of their paths: true where an archive's members are in
// them, and nothing else. So what those are called can be forgotten when the archive is at its end.
type archiveFolders map[uint64]bool

// beside is an ID that is not in an archive's folder: id, or one with "~2" before the extension of such a folder in it.
func (f archiveFolders) beside(id string) string {
	for at := 0; ; {
		n := strings.IndexByte(id[at:], '/')
		if n < 0 {
			return id
		}
		folder, rest := id[:at+n], id[at+n:]
		if kindOf(folder[at:]) != nil {
			folder = f.free(folder, func(hash uint64) bool { return f[hash] })
			f[fnv.Of(strings.ToLower(folder))] = false
		}
		id, at = folder+rest, len(folder)+1
	}
}

// claim is a folder of its own for an archive.
func (f archiveFolders) claim(id string) string {
	id = f.free(f.beside(id), func(hash uint64) bool { _, taken := f[hash]; return taken })
	f[fnv.Of(strings.ToLower(id))] = true
	return id
}

// free is the folder, or where that is taken, the first with "~2", "~3", ... before its extension that is not.
func (f archiveFolders) free(folder string, taken func(hash uint64) bool) string {
	name, stem := folder, len(folder)-len(kindOf(folder).ending)
	for n := 2; taken(fnv.Of(strings.ToLower(name))); n++ {
		name = fmt.Sprintf("%s~%d%s", folder[:stem], n, folder[stem:])
	}
	return name
}

// key is the hash of an ID's output name, whatever its case.
func key(id string) uint64 { return fnv.Of(strings.ToLower(OutputName(id, ""))) }
