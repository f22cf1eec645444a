package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"f2pad.example/cgo/cuda"
	"f2pad.example/cgo/ort"
	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/place"

	"github.com/spf13/cobra"
)

// The values of --device beside cuda:N.
const (
	autoDevice = "auto"
	cpuDevice  = "cpu"
	allDevices = "cuda"
	cudaDevice = "cuda:"
)

// deviceName is the flag --device.
type deviceName struct{ value *string }

func (d deviceName) Set(s string) error {
	_, err := ordinals(s, ",")
	if err == nil {
		*d.value = s
	}
	return err
}

func (d deviceName) String() string { return deref(d.value) }
func (d deviceName) Type() string   { return "auto|cpu|cuda|cuda:N,..." }

// ordinals are the N of GPUs cuda:N that are named one by one with sep between them; none of auto, cpu and cuda.
func ordinals(s, sep string) (all []int, err error) {
	if s == autoDevice || s == cpuDevice || s == allDevices {
		return nil, nil
	}
	for _, one := range strings.Split(s, sep) {
		n, ok := strings.CutPrefix(one, cudaDevice)
		i, err := strconv.ParseUint(n, 10, 8)
		switch {
		case one != s && (one == autoDevice || one == cpuDevice || one == allDevices):
			return nil, fmt.Errorf("names %s beside GPUs: only cuda:N compute together", one)
		case !ok || err != nil:
			return nil, fmt.Errorf("must be %s, %s, %s for all GPUs, or cuda:N, of several cuda:N%scuda:N", autoDevice, cpuDevice, allDevices, sep)
		case slices.Contains(all, int(i)):
			return nil, fmt.Errorf("names cuda:%d twice", i)
		}
		all = append(all, int(i))
	}
	return all, nil
}

// there returns an error unless there are the GPUs that a value of --device names. That there is no GPU at all is not the command
// line's fault, and found when they are opened.
func there(named []int) error {
	if len(named) == 0 {
		return nil
	}
	all := cuda.Look().Devices
	for _, n := range named {
		switch {
		case len(all) == 0 || n < len(all):
		case len(all) == 1:
			return fmt.Errorf("there is no cuda:%d: there is cuda:0", n)
		default:
			return fmt.Errorf("there is no cuda:%d: there are cuda:0 to cuda:%d", n, len(all)-1)
		}
	}
	return nil
}

// chosen says where a verb computes.
type chosen struct {
	device.Info
	Reason string `json:"reason,omitempty"` // why auto took the CPU
}

func (chosen) MessageType() string { return "device" }

func (c chosen) Text(w io.Writer) error {
	text := "device: " + c.Device
	switch {
	case c.Name != "":
		text += fmt.Sprintf(", %s (driver %s)", c.Name, c.Driver)
	case c.Reason != "":
		text += " (" + c.Reason + ")"
	}
	_, err := ui.Fprintf(w, "%s\n", text)
	return err
}

// computing returns the engine's options for what --device names, and says where that is. With auto these are the GPUs of one kind
// with the first, with the CPU to take over if they fail, or the CPU where there is none, or where the command line says what networks
// run on there.
func (p *program) computing() (engine.Options, error) {
	o := engine.Options{
		Notice: p.notice,
		Warn:   func(it dataset.Item, note string) { p.ui.Warn(it.Path + ": " + note) },
		Limits: imageio.Limits{MaxBytes: int64(p.imageMemory) << 20},
		Unlike: p.unlike(),
	}
	o.Memory, o.Shrink = p.ceiling(), p.memory > 0 // what nobody asked for must not tell machines apart
	if p.verbose {
		o.Planned = func(m engine.Memory) { p.ui.Note(planned{m}) }
	}
	if p.device == cpuDevice || p.on.Reason != "" || p.device == autoDevice && p.byHand() {
		return o, p.onCPU(&o, p.on.Reason)
	}
	gpus, err := p.openGPUs()
	switch {
	case err == nil:
		for _, d := range gpus {
			o.Places = append(o.Places, d)
		}
		on, networks := place.Together(o.Places)
		if p.tell(chosen{Info: on}) {
			p.ui.Note(executing{Info: networks})
			if strings.Contains(on.Name, "+") {
				p.ui.Warn(fmt.Sprintf("%s are of several kinds (%s): what an image gets depends, by rounding, on which of them computes it", on.Device, on.Name))
			}
		}
		if p.device == autoDevice {
			o.Fallback = place.NewHost(nil)
		}
		return o, nil
	case p.device == autoDevice && p.precision == string(cuda.Float32): // what was named by hand has to be there
		return o, p.onCPU(&o, err.Error())
	}
	return o, fmt.Errorf("--device %s: %w", p.device, err)
}

// onCPU makes the CPU the place of options.
func (p *program) onCPU(o *engine.Options, why string) error {
	ex, err := p.network()
	if err != nil {
		return err
	}
	p.tell(chosen{device.CPU, why})
	o.Places = []place.Place{place.NewHost(ex)}
	return nil
}

// openGPUs returns the GPUs that --device names. Of those that auto takes, some may be somebody else's: they are left out.
func (p *program) openGPUs() (all []*cuda.Device, err error) {
	named, err := ordinals(p.device, ",")
	if err != nil {
		return nil, err
	}
	if len(named) == 0 {
		known := cuda.Look().Usable()
		if p.device == autoDevice {
			known = cuda.Look().Alike()
		}
		for _, g := range known {
			named = append(named, g.Ordinal)
		}
	}
	if len(named) == 0 {
		named = []int{0} // which says what is missing
	}
	var left []error
	for _, n := range named {
		d, err := p.openGPU(n)
		switch {
		case err == nil:
			all = append(all, d)
		case p.device == autoDevice:
			left = append(left, err)
		default:
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, left[0]
	}
	for _, err := range left {
		p.notice(fmt.Sprintf("a GPU is left out: %v", err))
	}
	return all, nil
}

// openGPU opens a GPU, once.
func (p *program) openGPU(n int) (*cuda.Device, error) {
	if d := p.gpus[n]; d != nil {
		return d, nil
	}
	d, err := cuda.Open(n, cuda.Precision(p.precision))
	if err != nil {
		return nil, err
	}
	if p.gpus == nil {
		p.gpus = map[int]*cuda.Device{}
	}
	p.gpus[n] = d
	return d, nil
}

// unlike warns of the first image that differs from those that the model learned from in a trait; others like it may be many.
func (p *program) unlike() func(dataset.Item, engine.Difference) {
	told := map[engine.Trait]bool{}
	return func(it dataset.Item, d engine.Difference) {
		if told[d.Trait] {
			return
		}
		told[d.Trait] = true
		switch d.Trait {
		case engine.WhiteTrait:
			p.ui.Warn(fmt.Sprintf("%s %s: fit with a higher --white-level to see more; further images like it are not named", it.Path, d.Text))
		default:
			p.ui.Warn(fmt.Sprintf("%s %s: its scores may mean nothing; further images of another %s are not named", it.Path, d.Text, d.Trait))
		}
	}
}

// tell says where the program computes, once, and reports whether it did.
func (p *program) tell(c chosen) bool {
	if p.on == c {
		return false
	}
	p.on = c
	p.ui.Note(c)
	return true
}

// closeGPUs says what was left on the GPUs.
func (p *program) closeGPUs() {
	for _, n := range slices.Sorted(maps.Keys(p.gpus)) {
		if err := p.gpus[n].Close(); err != nil && !errors.Is(err, device.ErrLost) {
			p.ui.Warn(err.Error())
		}
	}
	p.gpus = nil
}

// notice is told by the engine when it goes on in another way than it was asked to.
func (p *program) notice(text string) {
	p.notices = append(p.notices, text)
	p.ui.Warn(text)
}

// deviceList is the result of devices.
type deviceList struct {
	CPU  cpuInfo     `json:"cpu"`
	CUDA cuda.Status `json:"cuda"`
	ORT  ort.Status  `json:"onnxruntime"`
	Auto []string    `json:"auto"` // that --device auto takes
}

type cpuInfo struct {
	Arch  string `json:"arch"`
	Cores int    `json:"cores"` // that Go uses
}

func (deviceList) MessageType() string { return "devices" }

func (l deviceList) Text(w io.Writer) error {
	var b strings.Builder
	ui.Fprintf(&b, "cpu     %s, %d cores\n", l.CPU.Arch, l.CPU.Cores)
	for _, g := range l.CUDA.Devices {
		ui.Fprintf(&b, "cuda:%d  %s, compute capability %d.%d, %d SMs, %s free of %s\n",
			g.Ordinal, g.Name, g.Major, g.Minor, g.SMs, size(g.MemoryFree), size(g.MemoryTotal))
	}
	switch {
	case l.CUDA.Reason != "":
		ui.Fprintf(&b, "cuda    none: %s\n", l.CUDA.Reason)
	default:
		ui.Fprintf(&b, "driver  %s (%s)\n", l.CUDA.Driver, l.CUDA.Library)
	}
	switch {
	case l.ORT.Loaded:
		ui.Fprintf(&b, "ort     ONNX Runtime %s (%s)\n", l.ORT.Version, l.ORT.Library)
	default:
		ui.Fprintf(&b, "ort     none: %s\n", l.ORT.Reason)
	}
	ui.Fprintf(&b, "auto    %s\n", strings.Join(l.Auto, ", "))
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *program) devices() *cobra.Command {
	return &cobra.Command{
		Use:   "devices",
		Short: "List what there is to compute on",
		Long: `List what there is to compute on: the CPU, NVIDIA GPUs with their memory, or the reason why there are none, and
ONNX Runtime, or the reason why it is not used.

Other verbs take one of these, or several GPUs, as --device:

  auto           the default: the first GPU of compute capability 8.0 or later and all that are of one kind with it, or the CPU where
                 there is none, which also takes over when they are all lost or too small
  cpu            the CPU
  cuda           all GPUs of compute capability 8.0 or later
  cuda:1         one GPU
  cuda:0,cuda:1  several; in bench, which compares what commas separate, cuda:0+cuda:1

Several GPUs share the images: each batch goes to the one that has the least to do, results keep their order and, of GPUs of one
kind, their bytes. Where one is lost, the others do its work. A fit learns on the first and calibrates on all. CUDA_VISIBLE_DEVICES
says which GPUs there are, as for every program that uses CUDA.

A GPU computes everything, its networks in --precision. On the CPU networks run on --executor: auto is ONNX Runtime where its library
loads (with pure Go for the gradients of networks with depthwise convolutions, which it is faster at), or pure Go.`,
		Example: "  f2pad devices\n  f2pad devices --json\n  f2pad score --device cuda:0,cuda:1 --model leather.f2pad --out results photos/",
		Args:    cobra.NoArgs,
		RunE: p.verb(func(context.Context, []string) error {
			l := deviceList{cpuInfo{runtime.GOARCH, runtime.GOMAXPROCS(0)}, cuda.Look(), ort.Look(p.ortLib), nil}
			for _, g := range l.CUDA.Alike() {
				l.Auto = append(l.Auto, fmt.Sprintf("%s%d", cudaDevice, g.Ordinal))
			}
			if len(l.Auto) == 0 {
				l.Auto = []string{cpuDevice}
			}
			return p.ui.Show(l)
		}),
	}
}
