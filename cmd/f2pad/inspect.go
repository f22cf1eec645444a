package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/refine"

	"github.com/spf13/cobra"
)

func (p *program) inspect() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what a model file, or a network in an ONNX file, holds",
		Long: `Show what a model file holds: method, options, calibration, hashes and sections. The whole file is read and its
checksums are verified. Each threshold is shown with what it stands for, the number of images that it rests on, and what holds
with 95 % confidence after so many.

Of a network (FILE.onnx) it shows the input, the operators, the work, what is not supported, and the layers that fit
--backbone FILE.onnx can take as --layers, with the sizes of their maps.`,
		Example:           "  f2pad inspect leather.f2pad\n  f2pad inspect leather.f2pad --json | jq .info.calibration\n  f2pad inspect resnet18.onnx",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: positions(cobra.FixedCompletions([]string{"f2pad", "onnx"}, cobra.ShellCompDirectiveFilterFileExt)),
		RunE: p.verb(func(_ context.Context, args []string) error {
			if filepath.Ext(args[0]) == ".onnx" {
				n, err := describeNetwork(args[0])
				if err != nil {
					return err
				}
				return p.ui.Show(n)
			}
			f, err := artifact.Open(args[0])
			if err != nil {
				return err
			}
			m, err := engine.FromArtifact(f)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			msg, err := describe(args[0], m)
			if err != nil {
				return err
			}
			for _, s := range f.Sections() {
				msg.Sections = append(msg.Sections, section{s.Name, s.Kind, s.Shape, s.Bytes})
			}
			return p.ui.Show(msg)
		}),
	}
}

// modelMessage describes a model file.
type modelMessage struct {
	Path     string           `json:"path"`
	Bytes    int64            `json:"bytes"`
	SHA256   string           `json:"sha256"`
	Info     engine.ModelInfo `json:"info"`
	Kinds    []refine.Kind    `json:"kinds"` // the maps that it makes
	State    any              `json:"state"` // the method's own account of what it learned
	Backbone any              `json:"backbone"`
	// Confidence is how sure it is what the thresholds stand for.
	Confidence confidence `json:"confidence"`
	Sections   []section  `json:"sections,omitempty"`
	lacks      error      // the maps that it does not make, and why
}

// confidence is how sure it is what thresholds stand for, with as many images as they were measured on: limits hold with 95 %.
type confidence struct {
	Images int     `json:"images"`
	Above  float64 `json:"image_rate_at_most"` // the share of normal images above the image threshold
	// Marked is the share of normal images in whose map a pixel lies above its threshold, by the map's kind; not known of models
	// before revision 3.
	Marked map[refine.Kind]float64 `json:"marked_images_at_most"`
}

func confidenceOf(m *engine.Model) confidence {
	c := m.Info.Calibration
	_, above := c.ImageRate()
	out := confidence{Images: c.Source.Images, Above: above, Marked: map[refine.Kind]float64{}}
	for _, k := range m.Kinds() {
		if p, ok := c.Promises[k]; ok && p.Marked >= 0 {
			out.Marked[k] = metric.AtMost(p.Marked, c.Source.Images)
		}
	}
	return out
}

type section struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
}

func describe(path string, m *engine.Model) (modelMessage, error) {
	info, err := os.Stat(path)
	if err != nil {
		return modelMessage{}, err
	}
	return modelMessage{
		Path: path, Bytes: info.Size(), SHA256: m.SHA256(), Info: m.Info, Kinds: m.Kinds(), State: m.Describe(),
		Backbone: m.DescribeBackbone(), Confidence: confidenceOf(m), lacks: m.Makes(engine.Kinds()...),
	}, nil
}

func (modelMessage) MessageType() string { return "model" }

// imageRate says what false-positive rate the image threshold stands for: few held-out images do not support a small one.
func imageRate(c engine.Calibration) string {
	mean, most := c.ImageRate()
	text := fmt.Sprintf("%g %% of normal images lie above", 100*c.ImageFPR)
	if mean > c.ImageFPR {
		text = fmt.Sprintf("the largest of only %d held-out images, up to %.2g %% of normal images lie above (%g %% asked for)",
			c.Source.Images, 100*mean, 100*c.ImageFPR)
	}
	return fmt.Sprintf("%s; with 95 %% confidence at most %.2g %%", text, 100*most)
}

// pixelPromise says what a map's threshold stands for, and in how many normal images it marks something.
func pixelPromise(c engine.Calibration, k refine.Kind) string {
	text := rulePromise(c, k)
	if p, ok := c.Promises[k]; ok && p.Marked >= 0 {
		text += fmt.Sprintf("; in %d of these %d images a pixel does: with 95 %% confidence in at most %.2g %% of normal images",
			p.Marked, c.Source.Images, 100*metric.AtMost(p.Marked, c.Source.Images))
	}
	return text
}

func rulePromise(c engine.Calibration, k refine.Kind) string {
	p, ok := c.Promises[k]
	above := fmt.Sprintf("%.2g %% of the pixels of held-out normal images lie above", 100*p.Above)
	switch {
	case !ok: // of a model of revision 1
		return fmt.Sprintf("%g %% of normal pixels lie above", 100*c.PixelFPR)
	case p.Rule == engine.BySimulation:
		return fmt.Sprintf("marks simulated defects best (mean Dice %.2f); %s", p.Dice, above)
	case p.Dice.Defined():
		return fmt.Sprintf("%s, the most allowed: a lower one would mark simulated defects better (mean Dice %.2f)", above, p.Dice)
	}
	return above + ", the most allowed"
}

// support says how far the held-out images support the thresholds: any measure of a normal image exceeds that of n others
// with a probability of 1/(n+1).
func support(c engine.Calibration) string {
	n := c.Source.Images
	text := fmt.Sprintf("%d held-out images", n)
	if c.Painted > 0 {
		text += fmt.Sprintf(" and %d simulated defects on them (%s)", c.Painted, strings.Join(c.Paints, ", "))
	} else if c.Promises != nil {
		text += ", too small to simulate defects on"
	}
	return fmt.Sprintf("%s: one normal image in %d goes beyond all of them", text, n+1)
}

func (m modelMessage) Text(w io.Writer) error {
	i, c := m.Info, m.Info.Calibration
	var b strings.Builder
	ui.Fprintf(&b, "model        %s, %s\n", m.Path, size(m.Bytes))
	ui.Fprintf(&b, "sha256       %s\n", m.SHA256)
	ui.Fprintf(&b, "method       %s, profile %s, backbone %s, size %s, seed %d\n", i.Method, i.Profile, i.Backbone, i.Size, i.Seed)
	ui.Fprintf(&b, "learned      from %d normal images, %d others held out (sha256 %.12s...)\n", i.Train, i.HeldOut, i.TrainSHA256)
	if i.ROI.Pixels > 0 {
		ui.Fprintf(&b, "inspected    %.3g %% of an image: a region of interest made for %dx%d pixels\n",
			100*float64(i.ROI.Pixels)/float64(i.ROI.Width*i.ROI.Height), i.ROI.Width, i.ROI.Height)
	}
	if i.Inputs.Bits16 > 0 {
		ui.Fprintf(&b, "white level  %d of 16-bit images; the brightest that was learned from has %d\n", i.WhiteLevel, i.Inputs.Peak16)
	}
	computed := "method and calibration"
	if s := c.Source; s.From == engine.FromNew {
		computed = "method"
		ui.Fprintf(&b, "calibrated   on %d new normal images (sha256 %.12s...) by f2pad %s on %s (%s, %s), calibration on %s\n",
			s.Images, s.SHA256, s.Program, s.Executor.Executor, s.Executor.Device, s.Executor.Precision, s.Device.Device)
	} else {
		ui.Fprintf(&b, "calibrated   on the images held out\n")
	}
	ui.Fprintf(&b, "made by      f2pad %s on %s (%s, %s), %s on %s\n",
		i.Program, i.Executor.Executor, i.Executor.Device, i.Executor.Precision, computed, i.Device.Device)
	ui.Fprintf(&b, "image score  threshold %.5g: %s\n", c.ImageThreshold, imageRate(c))
	for _, k := range m.Kinds {
		ui.Fprintf(&b, "%-12s threshold %.5g: %s\n", string(k)+" map", c.PixelThreshold[k], pixelPromise(c, k))
	}
	ui.Fprintf(&b, "support      %s\n", support(c))
	if m.lacks != nil {
		ui.Fprintf(&b, "lacks        %v\n", m.lacks)
	}
	if m.Sections != nil {
		state, err := json.MarshalIndent(m.State, "", "  ")
		if err != nil {
			return err
		}
		network, err := json.MarshalIndent(m.Backbone, "", "  ")
		if err != nil {
			return err
		}
		options, err := json.MarshalIndent(i.Refine, "", "  ")
		if err != nil {
			return err
		}
		ui.Fprintf(&b, "\nstate %s\n\nbackbone %s\n\nrefinement %s\n\nsections\n",
			block(state), block(network), block(options))
		for _, s := range m.Sections {
			ui.Fprintf(&b, "  %-24s %-8s %-16s %10s\n", s.Name, s.Kind, fmt.Sprint(s.Shape), size(s.Bytes))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// block is JSON of several lines as it can be shown: what a model holds was written by others.
func block(data []byte) []byte { return []byte(ui.Lines(string(data))) }

// size words a number of bytes.
func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.2f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}
