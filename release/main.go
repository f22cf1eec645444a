// Command release makes what is published of a version: archives of the program for each platform, the tree of a Go module proxy,
// and their checksums. All of it is made from what is committed, by the Makefile, and the same bytes each time.
//
//	go run ./release [-version v1.2.3] [-out dist] [-only linux_amd64,...] [-dirty]
//
//	source.go    which tree is released, and what the version is called
//	proxy.go     the tree of a module proxy, from which the programs are built, too
//	build.go     the platforms and their programs
//	manual.go    man pages and completions, by the program
//	licences.go  the licences of what is built in
//	archive.go   tar.gz and zip
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"f2pad.example/engine/artifact"
)

func main() {
	r := release{log: os.Stdout}
	flag.StringVar(&r.version, "version", "", "what the version is called; default: the tag of HEAD, or Go's name of a commit without one")
	flag.StringVar(&r.out, "out", "dist", "folder to write to")
	flag.BoolVar(&r.dirty, "dirty", false, "release what is changed but not committed, too, as VERSION-dirty")
	only := flag.String("only", "", "platforms to build for, separated by commas; default: all that can be built here")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: release [flags]; they are explained by -help")
		os.Exit(2)
	}
	var err error
	if r.targets, err = chosen(*only, r.log); err == nil {
		err = r.make(".")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// The module and its program.
const (
	modulePath = "f2pad.example"
	program    = "f2pad"
)

// sumsFile lists the SHA-256 of every file of a release, as sha256sum does.
const sumsFile = "SHA256SUMS"

// release is one run of the program.
type release struct {
	version string
	out     string
	dirty   bool
	targets []target
	log     io.Writer
}

// make releases the repository that dir is in.
func (r *release) make(dir string) error {
	src, err := findSource(dir, r.version, r.dirty)
	if err != nil {
		return err
	}
	goVersion, err := output(src.root, nil, "go", "env", "GOVERSION")
	if err != nil {
		return err
	}
	fmt.Fprintf(r.log, "%s %s, with %s\n", modulePath, src.version, strings.TrimSpace(goVersion))
	if len(src.untracked) > 0 {
		fmt.Fprintf(r.log, "warning: left out, for git does not know them: %s\n", strings.Join(src.untracked, ", "))
	}
	work, err := os.MkdirTemp("", "f2pad-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	files, err := writeProxy(src, filepath.Join(r.out, "proxy"))
	if err != nil {
		return err
	}
	b := builder{source: src, dir: filepath.Join(work, "source"), to: work, log: r.log, built: map[target]string{}}
	if err := unpack(src, filepath.Join(r.out, "proxy"), b.dir); err != nil {
		return err
	}
	shared, err := b.shared(r.targets)
	if err != nil {
		return err
	}
	for _, t := range r.targets {
		exe, err := b.build(t)
		if err != nil {
			return err
		}
		folder := fmt.Sprintf("%s_%s_%s", program, src.version, t)
		entries := append([]entry{{name: folder + "/bin/" + program + t.exe(), file: exe, executable: true}}, within(folder, shared)...)
		path := filepath.Join(r.out, folder+t.archive())
		if err := writeArchive(path, entries, src.time); err != nil {
			return err
		}
		files = append(files, path)
	}
	return r.sums(files)
}

// sums writes the checksums of files, and shows them.
func (r *release) sums(files []string) error {
	slices.Sort(files)
	var list strings.Builder
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		h := sha256.New()
		n, err := io.Copy(h, f)
		f.Close()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(r.out, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%x  %s\n", h.Sum(nil), filepath.ToSlash(name))
		fmt.Fprintf(r.log, "%12d  %s\n", n, path)
	}
	return writeFile(filepath.Join(r.out, sumsFile), list.String())
}

func writeFile(path, text string) error {
	return artifact.WriteFileAtomic(path, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

// output runs a program in a folder, and returns what it says.
func output(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(append([]string{name}, args...), " "), err, out.String()+errs.String())
	}
	return out.String(), nil
}
