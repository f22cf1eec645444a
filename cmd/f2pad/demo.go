package main

import (
	"context"
	"path/filepath"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/synth"

	"github.com/spf13/cobra"
)

func (p *program) demo() *cobra.Command {
	network := engine.Backbones()[0]
	o := synth.Options{Texture: "weave", Train: 32, Test: 20, Size: 256}
	var out string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Make a data set, fit a detector, refine its maps and show the gain",
		Long: `Make a data set of a woven texture, fit PatchCore on its normal images, score and refine its test images, and write a
report with pictures. It takes a minute or two. The network is scatter, which is built in and made for textures; --backbone
names another one, the report and the model say which it was.`,
		Example: "  f2pad demo\n  f2pad demo --backbone efficientnet-lite0\n  f2pad demo --out /tmp/f2pad-demo --json",
		Args:    cobra.NoArgs,
		RunE:    p.verb(func(ctx context.Context, _ []string) error { return p.demonstrate(ctx, out, network, o) }),
	}
	cmd.Flags().StringVar(&out, "out", "demo", "`DIR` to write to")
	cmd.Flags().Var(choice{&network, p.knownBackbones()}, "backbone", "network that makes the features; see f2pad backbones")
	return cmd
}

// demonstrate does what synth, fit and eval do, one after the other.
func (p *program) demonstrate(ctx context.Context, dir, network string, o synth.Options) error {
	data, model := filepath.Join(dir, o.Texture), filepath.Join(dir, o.Texture+".f2pad")
	if err := p.makeData(ctx, data, o); err != nil {
		return err
	}
	d, err := dataset.MVTec(data)
	if err != nil {
		return err
	}
	if err := p.fitModel(ctx, d.Train, engine.FitOptions{Method: "patchcore", Backbone: network, Program: version()}, nil, model); err != nil {
		return err
	}
	return p.evaluate(ctx, evalOptions{data: data, model: model, report: filepath.Join(dir, "report.html"), worst: worstListed})
}
