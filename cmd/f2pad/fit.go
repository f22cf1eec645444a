package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/backbone"
	"f2pad.example/engine/backbone/pretrained"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/method"
	"f2pad.example/engine/roi"

	"github.com/spf13/cobra"
)

func (p *program) fit() *cobra.Command {
	o := engine.FitOptions{
		Backbone: engine.Backbones()[0], Size: engine.Size{Px: 256}, Program: version(),
	}
	var data, images, out string
	var region regionFile
	var dry bool
	pre := preprocessing{Preprocess: backbone.ImageNet}
	cmd := &cobra.Command{
		Use:   "fit (--data DIR | --images DIR) --method padim|patchcore|cflow --out MODEL",
		Short: "Learn a model from normal images",
		Long: `Learn a model from normal images. One image in five is kept back to calibrate the thresholds: no real defect and no label
takes part. Images that cannot be used are reported and left out (exit code 3).

The image threshold is the one that a share --image-fpr of normal images exceeds. Defects are simulated on 24 to 48 of the images
kept back. The threshold of each map is the one that marks them best, unless more than --pixel-fpr of normal pixels lie above
it: then it is as high as that takes. What each threshold stands for, and how sure that is with so few images, is said at the
end and by inspect. 'f2pad calibrate' sets them anew from other images, without a fit.

Images that are the same as others are left out, with a warning: one that is held out of a fit must not be one that it knows.

--size PX stretches every image to a square, as the literature does, --size HxW to that height and width; with --keep-aspect it is
padded by reflection instead.
--size native runs every image at its own size, which keeps defects that shrinking would lose: choose it where they are
only a few pixels wide. PaDiM then shares one Gaussian among all locations.

Cameras of 10, 12 or 14 bits write images of 16. --white-level is the value that is white, 4095 for 12 bits: the model and every
picture that is made with it take it for that, and what is brighter, too (a warning says so). auto finds it from the images.
Images of 8 bits are white at 255.

--roi FILE is for parts that lie in the same place in every image: the region in which they are inspected, an image that is white there
or polygons in JSON (docs/scripting.md). Images must have its aspect; they are resized with it.

--backbone takes the name of a network ('f2pad backbones' lists them): scatter, which is built in and serves textures, or a
trained one, which 'f2pad backbones' says how to fetch and which is the choice for real work. It also takes any network as an ONNX file.
From torchvision, for example:

  net = torchvision.models.resnet18(weights="DEFAULT").eval()
  torch.onnx.export(net, torch.zeros(1, 3, 256, 256), "resnet18.onnx", dynamo=False)

The model remembers where the file is, and its hash; score and eval look for it there and beside the model.

--dry-run goes through the steps of a fit with four of the images and says what it will take, within a factor of two or so. A fit of 100 images
and more that takes longer than a minute says the same when it begins.

cflow is trained, for some minutes. What it has learned so far is kept beside MODEL, in MODEL.part; a fit that was interrupted
goes on from there when it is started again with the same images and options, and ends with the same model.`,
		Example: `  f2pad fit --data mvtec/leather --method patchcore --out leather.f2pad
  f2pad fit --data mvtec/leather --method patchcore --backbone efficientnet-lite0 --out leather.f2pad
  f2pad fit --images photos/good --method padim --size native --out part.f2pad
  f2pad fit --data mvtec/tile --method padim --profile anomalib --seed 7 --out tile.f2pad
  f2pad fit --data mvtec/tile --method padim --backbone resnet18.onnx --layers layer1,layer2,layer3 --out deep.f2pad`,
		Args: cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			if o.Size.KeepAspect && o.Size.Native() {
				return errors.New("--keep-aspect needs --size PX: native images keep their aspect anyway")
			}
			builtIn := slices.Contains(engine.Backbones(), o.Backbone)
			_, known := pretrained.Find(p.networks, o.Backbone)
			switch {
			case known && pre.given(cmd.Flags()):
				return fmt.Errorf("what the network expects is for ONNX files; of --backbone %s it is known", o.Backbone)
			case known:
			case builtIn && (len(o.Layers) > 0 || pre.given(cmd.Flags())):
				return fmt.Errorf("--layers and what the network expects are for ONNX files, not for --backbone %s", o.Backbone)
			case !builtIn && filepath.Ext(o.Backbone) != ".onnx":
				return fmt.Errorf("--backbone must be %s", alternatives(append(p.knownBackbones(), "a file FILE.onnx")))
			case !builtIn && len(o.Layers) == 0:
				return fmt.Errorf("--backbone %s needs --layers: f2pad inspect %s lists them", o.Backbone, o.Backbone)
			case !builtIn:
				o.Preprocess = &pre.Preprocess
			}
			return nil
		},
		RunE: p.verb(func(ctx context.Context, _ []string) error {
			items, err := p.trainingImages(data, images)
			if err != nil {
				return err
			}
			if err := overwrites(out, items); err != nil {
				return err
			}
			if err := region.read(p); err != nil {
				return err
			}
			if dry {
				if err := p.prepare(&o, region.region); err != nil {
					return err
				}
				return p.dryRun(ctx, items, o)
			}
			if err := writable(out); err != nil {
				return err
			}
			return p.fitModel(ctx, items, o, region.region, out)
		}),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&data, "data", "", "`DIR` with a data set in MVTec AD's layout: train/good is used")
	f.StringVar(&images, "images", "", "`DIR` with normal images and nothing else")
	f.Var(choice{&o.Method, engine.Methods()}, "method", "detector (required)")
	f.StringVar(&o.Backbone, "backbone", o.Backbone, "network that makes the features: a `NAME` of f2pad backbones, or an ONNX file FILE.onnx")
	f.StringSliceVar(&o.Layers, "layers", nil, "`NAMES` of the network's layers that make the features; f2pad inspect lists an ONNX file's")
	pre.flags(f)
	f.Var(choice{&o.Profile, engine.Profiles()}, "profile", "tradition whose conventions the method follows; default: the method's own, f2pad, or compact of cflow")
	f.Var(modelSize{&o.Size}, "size", "what images are resized to, a square or height x width, or native")
	f.BoolVar(&o.Size.KeepAspect, "keep-aspect", false, "pad to that by reflection instead of stretching")
	f.Var(whiteLevel{&o.WhiteLevel}, "white-level", "sample of 16-bit images that is white; auto: the least 255, 511, ... 65535 that the images do not exceed")
	region.flag(f, "region of interest, outside of which nothing is learned, scored or drawn; the model keeps it")
	f.Uint64Var(&o.Seed, "seed", 0, "seed of every random choice")
	rateFlags(f, &o.ImageFPR, &o.PixelFPR, "0.05", "0.01")
	f.StringVar(&out, "out", "", "`MODEL` file to write (required)")
	f.BoolVar(&dry, "dry-run", false, "say what the fit will take, in time and memory, and stop")
	cmd.MarkFlagsOneRequired("data", "images")
	cmd.MarkFlagsMutuallyExclusive("data", "images")
	required(cmd, "method", "out")
	return cmd
}

func (p *program) trainingImages(data, images string) ([]dataset.Item, error) {
	if images != "" {
		var passed passedOver
		items, err := dataset.Training(images, passed.add)
		p.passedOver(passed)
		return items, err
	}
	d, err := dataset.MVTec(data)
	if err != nil {
		return nil, err
	}
	p.ignored(d)
	return d.Learn()
}

// overwrites returns an error if the file to be written at path is one of the images.
func overwrites(path string, items []dataset.Item) error {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	for _, it := range items {
		if image, err := os.Stat(it.Path); err == nil && os.SameFile(info, image) {
			return fmt.Errorf("--out %s is one of the images to learn from", path)
		}
	}
	return nil
}

// prepare finds the network and what to compute on.
func (p *program) prepare(o *engine.FitOptions, region *roi.Region) (err error) {
	if err := p.resolve(o); err != nil {
		return err
	}
	if o.Options, err = p.computing(); err != nil {
		return err
	}
	o.ROI = region
	return nil
}

// fitModel fits a model, writes it to path and says what was learned.
func (p *program) fitModel(ctx context.Context, items []dataset.Item, o engine.FitOptions, region *roi.Region, path string) error {
	if err := p.prepare(&o, region); err != nil {
		return err
	}
	if err := p.foretell(ctx, items, o); err != nil {
		return err
	}
	o.Progress, o.Training = p.progress, p.training()
	o.Checkpoint = path + ".part"
	m, err := engine.Fit(ctx, items, o, func(it dataset.Item, err error) { p.fail(it.Path, err) })
	if err != nil {
		return err
	}
	if _, err := m.Save(path); err != nil {
		return err
	}
	if err := os.Remove(o.Checkpoint); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	msg, err := describe(path, m)
	if err != nil {
		return err
	}
	return p.ui.Show(msg)
}

// training says how a method's training goes, now and then.
func (p *program) training() func(method.Progress) {
	var last time.Time
	return func(t method.Progress) {
		if time.Since(last) < trainingEvery && t.Done < t.Total {
			return
		}
		last = time.Now()
		p.ui.Note(trained{t.Done, t.Total, t.Loss, t.Left.Seconds()})
	}
}

const trainingEvery = 10 * time.Second

// trained is how far a training is.
type trained struct {
	Step  int     `json:"step"`
	Steps int     `json:"steps"`
	Loss  float64 `json:"loss"`
	Left  float64 `json:"seconds_left"` // at most: it may end early
}

func (trained) MessageType() string { return "training" }

func (t trained) Text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "training: step %d of %d, loss %.4f, %.0f s left at most\n", t.Step, t.Steps, t.Loss, t.Left)
	return err
}

// writable makes the folder that path lies in and checks that a file can be made there, before hours are spent on what goes
// into it. "" is no file.
func writable(path string) error {
	if path == "" {
		return nil
	}
	// A name that is too long is found out here, and what is there need not be a file.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if dir := filepath.Dir(path); err != nil && !errors.Is(err, fs.ErrNotExist) && isDir(dir) {
		return artifact.Worded(err)
	}
	return artifact.WritableFolder(filepath.Dir(path))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
