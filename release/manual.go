package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// completions are where shells look for them below a prefix, such as /usr/local.
var completions = []struct{ shell, path string }{
	{"bash", "share/bash-completion/completions/f2pad"},
	{"zsh", "share/zsh/site-functions/_f2pad"},
	{"fish", "share/fish/vendor_completions.d/f2pad.fish"},
	{"powershell", "share/powershell/f2pad.ps1"},
}

// shared are the entries of every archive: they lie where a system looks for them if the archive is unpacked into a prefix.
func (b builder) shared(targets []target) ([]entry, error) {
	entries := []entry{
		{name: "share/doc/f2pad/LICENSE", file: filepath.Join(b.dir, "LICENSE")},
		{name: "share/doc/f2pad/README.md", file: filepath.Join(b.dir, "README.md")},
	}
	licences, err := b.licences(targets)
	if err != nil {
		return nil, err
	}
	entries = append(entries, entry{name: "share/doc/f2pad/LICENSES-OF-OTHERS", text: licences})

	here := target{os: runtime.GOOS, arch: runtime.GOARCH} // only it can say what it takes
	exe, err := b.build(here)
	if err != nil {
		return nil, err
	}
	env := append(here.env(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", b.source.time.Unix()))
	pages := filepath.Join(b.to, "man1")
	if _, err := output(b.to, env, exe, "man", "--out", pages); err != nil {
		return nil, err
	}
	names, err := os.ReadDir(pages)
	if err != nil {
		return nil, err
	}
	for _, page := range names {
		entries = append(entries, entry{name: "share/man/man1/" + page.Name(), file: filepath.Join(pages, page.Name())})
	}
	for _, c := range completions {
		script, err := output(b.to, env, exe, "completion", c.shell)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{name: c.path, text: script})
	}
	return entries, nil
}

// within are entries below a folder.
func within(folder string, entries []entry) []entry {
	moved := slices.Clone(entries)
	for i := range moved {
		moved[i].name = folder + "/" + moved[i].name
	}
	return moved
}
