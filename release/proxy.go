package main

import (
	"archive/zip"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"f2pad.example/engine/artifact"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	modzip "golang.org/x/mod/zip"
)

// writeProxy adds a version to the tree of a module proxy (GOPROXY=file://...), and returns the version's files in it. Versions that
// are there already stay.
func writeProxy(s source, root string) ([]string, error) {
	dir := filepath.Join(root, modulePath, "@v")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, artifact.Worded(err)
	}
	path := func(ext string) string { return filepath.Join(dir, s.version+ext) }
	mod, err := output(s.root, nil, "git", "show", s.revision+":go.mod")
	if err != nil {
		return nil, err
	}
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
	}{s.version, s.time})
	if err != nil {
		return nil, err
	}
	if err := writeFile(path(".info"), string(info)+"\n"); err != nil {
		return nil, err
	}
	if err := writeFile(path(".mod"), mod); err != nil {
		return nil, err
	}
	tree, err := s.tree()
	if err != nil {
		return nil, err
	}
	err = artifact.WriteFileAtomic(path(".zip"), func(w io.Writer) error {
		return modzip.Create(w, module.Version{Path: modulePath, Version: s.version}, tree)
	})
	if err != nil {
		return nil, err
	}
	zips, err := filepath.Glob(filepath.Join(dir, "*.zip"))
	if err != nil {
		return nil, err
	}
	var versions []string
	for _, z := range zips {
		// Go does not want those listed that it names itself.
		if v := strings.TrimSuffix(filepath.Base(z), ".zip"); !module.IsPseudoVersion(v) {
			versions = append(versions, v+"\n")
		}
	}
	slices.SortFunc(versions, func(a, b string) int { return semver.Compare(strings.TrimSpace(a), strings.TrimSpace(b)) })
	if err := writeFile(filepath.Join(dir, "list"), strings.Join(versions, "")); err != nil {
		return nil, err
	}
	return []string{path(".info"), path(".mod"), path(".zip")}, nil
}

// unpack makes the folder dir of the version's module in a proxy.
func unpack(s source, root, dir string) error {
	return modzip.Unzip(dir, module.Version{Path: modulePath, Version: s.version}, filepath.Join(root, modulePath, "@v", s.version+".zip"))
}

// tree are the files of the source as they are committed. (The like in x/mod/zip knows no git worktrees.)
func (s source) tree() ([]modzip.File, error) {
	packed, err := output(s.root, nil, "git", "-c", "core.autocrlf=input", "-c", "core.eol=lf", "archive", "--format=zip", s.revision)
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(strings.NewReader(packed), int64(len(packed)))
	if err != nil {
		return nil, err
	}
	var files []modzip.File
	for _, f := range z.File {
		if !f.Mode().IsDir() {
			files = append(files, committed{f})
		}
	}
	return files, nil
}

type committed struct{ file *zip.File }

func (c committed) Path() string                 { return c.file.Name }
func (c committed) Lstat() (fs.FileInfo, error)  { return c.file.FileInfo(), nil }
func (c committed) Open() (io.ReadCloser, error) { return c.file.Open() }
