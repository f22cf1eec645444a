package main

import (
	"context"
	"io"
	"runtime"
	"runtime/debug"

	"f2pad.example/cmd/f2pad/ui"

	"github.com/spf13/cobra"
)

// release is what the program is called where that is not the module's version: make build VERSION=v1.2.3 sets it.
var release string

// version says which source the program was built from: the release, or the module's version, which names the revision and
// whether it was changed, or "(devel)" where version control was not at hand.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

type versionMessage struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (versionMessage) MessageType() string { return "version" }

func (m versionMessage) Text(w io.Writer) error {
	_, err := ui.Fprintf(w, "f2pad %s (%s, %s/%s)\n", m.Version, m.Go, m.OS, m.Arch)
	return err
}

func (p *program) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which version this is",
		Example: "  f2pad version\n  f2pad version --json",
		Args:    cobra.NoArgs,
		RunE: p.verb(func(context.Context, []string) error {
			return p.ui.Show(versionMessage{version(), runtime.Version(), runtime.GOOS, runtime.GOARCH})
		}),
	}
}
