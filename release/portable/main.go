// Command portable type-checks packages for other platforms, with everything that they import: it finds what a build there would
// refuse without the minutes that it takes to generate code for the stores' SDKs.
//
//	go run ./release/portable linux/arm64,windows/amd64 ./engine/... ./cmd/...
package main

import (
	"errors"
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: portable OS/ARCH,... PACKAGES...")
		os.Exit(2)
	}
	failed := false
	for platform := range strings.SplitSeq(os.Args[1], ",") {
		n, err := check(".", platform, os.Args[2:]...)
		if err != nil {
			fmt.Fprintln(os.Stderr, "portable:", err)
			failed = true
			continue
		}
		fmt.Printf("%s: %d packages\n", platform, n)
	}
	if failed {
		os.Exit(1)
	}
}

// most is how many errors are told of a platform: one missing file makes hundreds.
const most = 10

// check type-checks, without cgo, the packages that patterns name in the folder dir, and all that these import, and counts them. Like
// the compiler it refuses functions without a body where there is no assembly that could have it.
func check(dir, platform string, patterns ...string) (checked int, _ error) {
	system, arch, ok := strings.Cut(platform, "/")
	if !ok {
		return 0, fmt.Errorf("%q is no platform: want OS/ARCH", platform)
	}
	pkgs, err := packages.Load(&packages.Config{
		Dir: dir, Tests: true,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedDeps |
			packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesSizes,
		Env: append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch),
	}, patterns...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", platform, err)
	}
	var errs []error
	packages.Visit(pkgs, nil, func(p *packages.Package) {
		checked++
		for _, e := range p.Errors {
			errs = append(errs, fmt.Errorf("%s: %w", platform, e))
		}
	})
	for _, p := range pkgs {
		errs = append(errs, bodiless(platform, p)...)
	}
	if len(errs) > most {
		errs = append(errs[:most], fmt.Errorf("%s: %d more errors", platform, len(errs)-most))
	}
	return checked, errors.Join(errs...)
}

// bodiless are the functions of a package that neither it nor assembly nor another package, by a go:linkname, has a body for.
func bodiless(platform string, p *packages.Package) (errs []error) {
	for _, f := range p.OtherFiles {
		if filepath.Ext(f) == ".s" {
			return nil
		}
	}
	for _, f := range p.Syntax {
		linked := map[string]bool{}
		for _, g := range f.Comments {
			for _, c := range g.List {
				if words := strings.Fields(c.Text); len(words) > 2 && words[0] == "//go:linkname" {
					linked[words[1]] = true
				}
			}
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body == nil && !linked[fn.Name.Name] {
				errs = append(errs, fmt.Errorf("%s: %s: %s has no body", platform, p.Fset.Position(fn.Pos()), fn.Name.Name))
			}
		}
	}
	return errs
}
