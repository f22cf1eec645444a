package main

import (
	"context"
	"io"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/synth"

	"github.com/spf13/cobra"
)

// mostImages bounds --train, --test and --limit.
const mostImages = 1_000_000

func (p *program) synth() *cobra.Command {
	o := synth.Options{Texture: synth.Textures()[0], Train: 40, Test: 24, Size: 256}
	var out string
	cmd := &cobra.Command{
		Use:   "synth --out DIR",
		Short: "Make a data set of a procedural texture with defects and exact masks",
		Long: `Make a data set in MVTec AD's layout: normal images to learn from, and test images of holes, scratches, stains,
structural defects and none, with exact masks. The same seed makes the same files.`,
		Example: `  f2pad synth --out data/weave
  f2pad synth --out data/wood --texture wood --train 60 --test 40 --size 512 --seed 7`,
		Args: cobra.NoArgs,
		RunE: p.verb(func(ctx context.Context, _ []string) error { return p.makeData(ctx, out, o) }),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&out, "out", "", "`DIR` to write to (required)")
	f.Var(choice{&o.Texture, synth.Textures()}, "texture", "material")
	f.Var(number{&o.Train, 1, mostImages}, "train", "number of normal images to learn from")
	f.Var(number{&o.Test, 1, mostImages}, "test", "number of test images")
	f.Var(number{&o.Size, synth.MinSize, synth.MaxSize}, "size", "side of the images in pixels")
	f.Uint64Var(&o.Seed, "seed", 0, "seed of every random choice")
	required(cmd, "out")
	return cmd
}

// required marks flags that must be given.
func required(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is not defined: the program is wrong
		}
	}
}

// datasetMessage says what synth wrote.
type datasetMessage struct {
	Path    string `json:"path"`
	Texture string `json:"texture"`
	Train   int    `json:"train"`
	Test    int    `json:"test"`
	Size    int    `json:"size"`
	Seed    uint64 `json:"seed"`
}

func (datasetMessage) MessageType() string { return "dataset" }

func (m datasetMessage) Text(w io.Writer) error {
	_, err := ui.Fprintf(w, "data set %s: %s, %d training and %d test images of %dx%d pixels, seed %d\n",
		m.Path, m.Texture, m.Train, m.Test, m.Size, m.Size, m.Seed)
	return err
}

func (p *program) makeData(ctx context.Context, dir string, o synth.Options) error {
	err := synth.Write(ctx, dir, o, func(done, total int) { p.progress(engine.Progress{Phase: "synth", Done: done, Total: total}) })
	if err != nil {
		return err
	}
	return p.ui.Show(datasetMessage{dir, o.Texture, o.Train, o.Test, o.Size, o.Seed})
}
