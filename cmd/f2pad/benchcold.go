package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/bench"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/perf/stats"
	"f2pad.example/engine/refine"

	"github.com/spf13/cobra"
)

// steps are the moments of a cold start, of the wall's clock in ns: those of another process, where no other clock is shared.
type steps struct {
	Began  int64 `json:"began"`
	Loaded int64 `json:"loaded"`
	Opened int64 `json:"opened"`
	Made   int64 `json:"made"`
	First  int64 `json:"first"`
	Next   int64 `json:"next"`
}

func (steps) MessageType() string { return "first_result" }

func (s steps) Text(w io.Writer) error {
	_, err := ui.Fprintf(w, "%+v\n", s)
	return err
}

// firstResult is the verb of the processes that coldStarts starts.
func (p *program) firstResult() *cobra.Command {
	var model, backbone string
	maps := kinds{&[]refine.Kind{}}
	cmd := &cobra.Command{
		Use: "first-result IMAGE", Hidden: true, Args: cobra.ExactArgs(1), ValidArgsFunction: positions(anyFile),
		RunE: p.verb(func(ctx context.Context, args []string) error {
			s := steps{Began: time.Now().UnixNano()}
			m, err := p.load(model, backbone)
			if err != nil {
				return err
			}
			s.Loaded = time.Now().UnixNano()
			opts, err := p.computing()
			if err != nil {
				return err
			}
			s.Opened = time.Now().UnixNano()
			opts.Maps, opts.Batch = *maps.value, 1
			e, err := engine.New(m, opts)
			if err != nil {
				return err
			}
			s.Made = time.Now().UnixNano()
			for _, done := range []*int64{&s.First, &s.Next} {
				err := e.Score(ctx, slices.Values([]dataset.Item{{Path: args[0]}}), func(r *engine.Result) error { return r.Err })
				if err != nil {
					return errors.Join(err, e.Close())
				}
				*done = time.Now().UnixNano()
			}
			if err := e.Close(); err != nil {
				return err
			}
			return p.ui.Show(s)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&model, "model", "", "")
	f.StringVar(&backbone, "backbone", "", "")
	f.Var(maps, "refine", "")
	required(cmd, "model", "refine")
	return cmd
}

// coldStarts measures how long a process takes to its first result, the most refined map of those asked for. What fails is
// said in place of the figures. image is a file to write the first of the images to.
func (p *program) coldStarts(ctx context.Context, o benchOptions, model, image string, images *heldImages, devices []device.Info) ([]*bench.Cold, error) {
	cold := []*bench.Cold{}
	if o.cold == 0 {
		return cold, nil
	}
	first := images.items[0]
	data, err := readItem(first)
	if err != nil {
		return nil, err
	}
	image += filepath.Ext(first.Path)
	err = artifact.WriteFileAtomic(image, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		args := []string{
			"bench", "first-result", "--json", "--model", model, "--refine", kinds{&[]refine.Kind{last(o.maps)}}.String(), "--device", apart(d.Device),
			"--image-memory", strconv.Itoa(p.imageMemory), "--memory", strconv.Itoa(p.memory),
		}
		if d == device.CPU {
			args = append(args, "--executor", p.executorName, "--ort-provider", p.ortProvider)
		} else {
			args = append(args, "--precision", p.precision)
		}
		if o.backbone != "" {
			args = append(args, "--backbone", o.backbone)
		}
		if p.ortLib != "" && d == device.CPU {
			args = append(args, "--ort-lib", p.ortLib)
		}
		c := &bench.Cold{Device: d.Device}
		cold = append(cold, c)
		var laps [6][]float64
		var total []float64
		for i := range o.cold {
			began, s, err := start(ctx, append(args, "--", image))
			if ctx.Err() != nil {
				return cold[:len(cold)-1], ctx.Err()
			}
			if err != nil {
				c.Error = err.Error()
				break
			}
			at := began
			for k, next := range []int64{s.Began, s.Loaded, s.Opened, s.Made, s.First, s.Next} {
				laps[k] = append(laps[k], float64(next-at)/1e9)
				at = next
			}
			total = append(total, float64(s.First-began)/1e9)
			p.progress(engine.Progress{Phase: "cold start", Done: i + 1, Total: o.cold})
		}
		if c.Error != "" {
			continue
		}
		for k, to := range []*float64{&c.Start, &c.Load, &c.Open, &c.Engine, &c.First, &c.Next} {
			*to = stats.Of(laps[k]).Median
		}
		c.Total = stats.Of(total)
	}
	return cold, nil
}

// start runs this program again and returns what it says of a cold start, and when that began.
func start(ctx context.Context, args []string) (began int64, s steps, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, s, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	began = time.Now().UnixNano()
	out, err := cmd.Output()
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var said struct {
		steps
		MessageType string `json:"message_type"`
		Error       string `json:"error"`
	}
	switch wrong := json.Unmarshal(lines[len(lines)-1], &said); {
	case said.Error != "":
		return began, s, errors.New(said.Error)
	case err != nil:
		return began, s, fmt.Errorf("a process that was to score an image: %w", err)
	case wrong != nil:
		return began, s, fmt.Errorf("a process that was to score an image said %.100q: %w", lines[len(lines)-1], wrong)
	case said.MessageType != (steps{}).MessageType():
		return began, s, fmt.Errorf("a process that was to score an image said %.100q", lines[len(lines)-1])
	}
	return began, said.steps, nil
}
