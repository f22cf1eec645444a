package main

import (
	"context"
	"fmt"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"

	"github.com/spf13/cobra"
)

// calibrateOptions are the flags of calibrate.
type calibrateOptions struct {
	backbone, images, out string
	image, pixel          float64 // rates; 0: the model's
}

func (p *program) calibrate() *cobra.Command {
	var o calibrateOptions
	cmd := &cobra.Command{
		Use:   "calibrate MODEL --images DIR",
		Short: "Set a model's thresholds from new normal images",
		Long: `Set the thresholds of a finished model from new normal images, without fitting it again: for another camera or another light,
for other rates of false alarms, or from more images than a fit held back. All images of DIR are held out: none may be one
that the model was fitted on. The calibration is that of fit, simulated defects included, and takes the place of the model's, with
the scale of its scores: image scores and base maps stay as they are.

Images that cannot be used are reported and left out (exit code 3), copies of others too. DIR must hold nothing but normal images.`,
		Example: `  f2pad calibrate leather.f2pad --images photos/good
  f2pad calibrate leather.f2pad --images photos/good --image-fpr 0.01 --out strict.f2pad`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: positions(modelFiles),
		RunE:              p.verb(func(ctx context.Context, args []string) error { return p.recalibrate(ctx, args[0], o) }),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.images, "images", "", "`DIR` with new normal images and nothing else (required)")
	rateFlags(f, &o.image, &o.pixel, "the model's", "the model's")
	backboneFile(f, &o.backbone)
	f.StringVar(&o.out, "out", "", "`MODEL` file to write; default: the model itself")
	required(cmd, "images")
	return cmd
}

func (p *program) recalibrate(ctx context.Context, path string, o calibrateOptions) error {
	if o.out == "" {
		o.out = path
	}
	m, err := p.load(path, o.backbone)
	if err != nil {
		return err
	}
	items, err := p.trainingImages("", o.images)
	if err != nil {
		return err
	}
	if err := overwrites(o.out, items); err != nil {
		return err
	}
	if err := writable(o.out); err != nil {
		return err
	}
	opts, err := p.computing()
	if err != nil {
		return err
	}
	p.missing(m, engine.Kinds()...)
	next, err := engine.Calibrate(ctx, m, items, engine.CalibrateOptions{
		ImageFPR: o.image, PixelFPR: o.pixel, Options: opts, Program: version(), Progress: p.progress,
	}, func(it dataset.Item, err error) { p.fail(it.Path, err) })
	if err != nil {
		return err
	}
	if _, err := next.Save(o.out); err != nil {
		return err
	}
	c := next.Info.Calibration
	if mean, _ := c.ImageRate(); mean > c.ImageFPR {
		p.ui.Warn(fmt.Sprintf("too few images for --image-fpr %s: the image threshold is %s", plainly(c.ImageFPR), imageRate(c)))
	}
	msg, err := describe(o.out, next)
	if err != nil {
		return err
	}
	return p.ui.Show(msg)
}
