package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// licenceFiles are those that a module has to be passed on with.
var licenceFiles = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice|patents|unlicense)([-._].*)?$`)

// licences are the texts of all that is built into the program for any of the targets: modules, and Go's library.
func (b builder) licences(targets []target) (string, error) {
	folders := map[string]string{} // by what they are
	for _, t := range targets {
		args, cgo := []string{"list", "-deps", "-json=Module"}, "CGO_ENABLED=0"
		if t.cuda {
			args, cgo = append(args, "-tags", "cuda"), "CGO_ENABLED=1"
		}
		list, err := output(b.dir, append(t.env(), cgo), "go", append(args, "./cmd/"+program)...)
		if err != nil {
			return "", err
		}
		for dec := json.NewDecoder(strings.NewReader(list)); ; {
			var pkg struct {
				Module *struct {
					Path, Version, Dir string
					Main               bool
				}
			}
			if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return "", fmt.Errorf("go list: %w", err)
			}
			if m := pkg.Module; m != nil && !m.Main {
				folders[m.Path+" "+m.Version] = m.Dir
			}
		}
	}
	root, err := output(b.dir, nil, "go", "env", "GOROOT")
	if err != nil {
		return "", err
	}
	folders["Go's standard library"] = strings.TrimSpace(root)

	var text strings.Builder
	text.WriteString("f2pad is under the Apache License 2.0, see LICENSE. In it is the work of others, under the licences that follow.\n")
	names := make([]string, 0, len(folders))
	for name := range folders {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		files, err := os.ReadDir(folders[name])
		if err != nil {
			return "", err
		}
		found := false
		for _, f := range files {
			if f.IsDir() || !licenceFiles.MatchString(f.Name()) {
				continue
			}
			data, err := os.ReadFile(filepath.Join(folders[name], f.Name()))
			if err != nil {
				return "", err
			}
			found = true
			fmt.Fprintf(&text, "\n%s\n%s: %s\n\n%s\n", strings.Repeat("=", 80), name, f.Name(), strings.TrimSpace(strings.ReplaceAll(string(data), "\r\n", "\n")))
		}
		if !found {
			return "", fmt.Errorf("%s: has no licence in %s", name, folders[name])
		}
	}
	return text.String(), nil
}
