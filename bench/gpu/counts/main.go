// Command counts writes down what the kernels are made of, and what refining an image asks of a GPU, without one: instructions, registers and
// occupancy by NVIDIA's assembler and disassembler, bytes over the bus, launches and waits by the fake driver, operations and bytes of memory
// by kernels.Cost, and the least times that follow. Nothing of it is a measurement of speed.
//
//	make gpu-counts
//	go run -tags cuda ./bench/gpu/counts -ptxas FILE -nvdisasm FILE -backbone ONNX [-images N] [-side PX] [-batches 1,8,32] [-out FILE]
//
// Values are the host's, in pure Go: it computes all images beside a driver that computes nothing (shadow.go), with as many threads as there
// are cores, and once more on one, for the host's own share (host.go). It needs the environment $(CUDA_ENV) of cgo/driver/cuda.mk, and g++.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"f2pad.example/cgo/fakecuda"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/synth"
)

type options struct {
	ptxas, nvdisasm string
	backbone        string // ONNX file
	layers          []string
	methods         []string
	batches         []int
	images, side    int
	out             string
	date            time.Time
}

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "counts:", err)
		os.Exit(1)
	}
}

func parse(args []string, out io.Writer) (o options, err error) {
	f := flag.NewFlagSet("counts", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&o.ptxas, "ptxas", "ptxas", "NVIDIA's assembler")
	f.StringVar(&o.nvdisasm, "nvdisasm", "nvdisasm", "NVIDIA's disassembler, of the same version")
	f.StringVar(&o.backbone, "backbone", "", "ONNX file of the network, as gpubench -resnet writes it")
	layers := f.String("layers", "layer1,layer2,layer3", "its layers that make the features")
	methods := f.String("methods", "padim,patchcore", "methods to count")
	batches := f.String("batches", "1,8,32", "images in work at once")
	f.IntVar(&o.images, "images", 32, "images to refine, all with a defect")
	f.IntVar(&o.side, "side", 256, "pixels on their sides")
	f.StringVar(&o.out, "out", "gpu-counts.md", "page to write")
	if err = f.Parse(args); err != nil {
		return o, err
	}
	o.layers, o.methods, o.date = strings.Split(*layers, ","), strings.Split(*methods, ","), time.Now()
	for _, s := range strings.Split(*batches, ",") {
		n, e := strconv.Atoi(s)
		if e != nil || n < 1 {
			err = fmt.Errorf("-batches %s: want numbers from 1 on, separated by commas", *batches)
		}
		o.batches = append(o.batches, n)
	}
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.backbone == "":
		err = errors.New("-backbone is missing")
	case o.images < 1:
		err = fmt.Errorf("-images %d: want 1 or more", o.images)
	}
	if err != nil {
		fmt.Fprintln(out, "counts:", err)
	}
	return o, err
}

// memory is an H200's: what a dry device has by its word.
const memory = 141_000_000_000

func run(ctx context.Context, o options, progress io.Writer) error {
	tell := func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) }
	dir, err := os.MkdirTemp("", "f2pad-counts-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	driver, err := fakecuda.Build()
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		fakecuda.Variable: driver, "F2PAD_FAKE_DRY": "1", "F2PAD_FAKE_DEVICES": strconv.Itoa(len(precisions)), "F2PAD_FAKE_MEMORY": strconv.Itoa(memory),
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	p := &page{options: o}
	tell("assembling the kernels")
	if p.kernels, p.versions, err = assemble(ctx, o, dir); err != nil {
		return err
	}
	data, err := images(ctx, o, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	for _, method := range o.methods {
		tell("%s: fitting", method)
		c, err := fitted(ctx, o, method, data)
		if err != nil {
			return err
		}
		for _, batch := range o.batches {
			tell("%s: %d images, %d at once", method, o.images, batch)
			counts, err := c.count(ctx, batch, true, dir)
			if err != nil {
				return fmt.Errorf("%s, batch %d: %w", method, batch, err)
			}
			p.counts = append(p.counts, counts...)
		}
		tell("%s: the host's share", method)
		share, err := c.share(ctx, filepath.Join(dir, "out-"+method))
		if err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		p.shares = append(p.shares, share)
	}
	return artifact.WriteFileAtomic(o.out, p.write)
}

// images makes the data set, and leaves of its test images those with a defect, as many as are wanted.
func images(ctx context.Context, o options, dir string) (*dataset.Dataset, error) {
	const kinds = 5 // good and four defects, which share the test images out
	err := synth.Write(ctx, dir, synth.Options{Texture: "weave", Train: 40, Test: (o.images + kinds - 2) / (kinds - 1) * kinds, Size: o.side, Seed: 1}, nil)
	if err != nil {
		return nil, err
	}
	data, err := dataset.MVTec(dir)
	if err != nil {
		return nil, err
	}
	data.Test = slices.DeleteFunc(data.Test, dataset.Item.Normal)[:o.images]
	return data, nil
}
