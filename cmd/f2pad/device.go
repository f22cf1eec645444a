package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
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
	cudaDevice = "cuda:"
)

// deviceName is the flag --device.
type deviceName struct{ value *string }

func (d deviceName) Set(s string) error {
	if s != autoDevice && s != cpuDevice {
		if _, err := ordinal(s); err != nil {
			return err
		}
	}
	*d.value = s
	return nil
}

func (d deviceName) String() string { return deref(d.value) }
func (d deviceName) Type() string   { return "auto|cpu|cuda:N" }

// ordinal is N of cuda:N.
func ordinal(s string) (int, error) {
	n, ok := strings.CutPrefix(s, cudaDevice)
	i, err := strconv.ParseUint(n, 10, 8)
	if !ok || err != nil {
		return 0, errors.New("must be auto, cpu or cuda:N")
	}
	return int(i), nil
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

// computing returns the engine's options for what --device names, and says which place that is. With auto that is the first GPU,
// with the CPU to take over if it fails, or the CPU where there is none, or where the command line says what networks run on there.
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
	d, err := p.openGPU()
	switch {
	case err == nil:
		if p.tell(chosen{Info: d.Info()}) {
			p.ui.Note(executing{Info: d.Executor().Info()})
		}
		o.Place = d
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
	o.Place = place.NewHost(ex)
	return nil
}

// openGPU returns the GPU that --device names, auto being the first. It is opened once.
func (p *program) openGPU() (*cuda.Device, error) {
	if p.gpu != nil {
		return p.gpu, nil
	}
	at := 0
	if p.device != autoDevice {
		var err error
		if at, err = ordinal(p.device); err != nil {
			return nil, err
		}
	}
	d, err := cuda.Open(at, cuda.Precision(p.precision))
	if err != nil {
		return nil, err
	}
	p.gpu = d
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

// closeGPU says what was left on the GPU.
func (p *program) closeGPU() {
	if p.gpu == nil {
		return
	}
	if err := p.gpu.Close(); err != nil && !errors.Is(err, device.ErrLost) {
		p.ui.Warn(err.Error())
	}
	p.gpu = nil
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
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *program) devices() *cobra.Command {
	return &cobra.Command{
		Use:   "devices",
		Short: "List what there is to compute on",
		Long: `List what there is to compute on: the CPU, NVIDIA GPUs with their memory, or the reason why there are none, and
ONNX Runtime, or the reason why it is not used. Other verbs take a device as --device; the default, auto, is the first
GPU, or the CPU where there is none. A GPU computes everything, its networks in --precision. On the CPU networks run on --executor:
auto is ONNX Runtime where its library loads (with pure Go for the gradients of networks with depthwise convolutions, which it is
faster at), or pure Go.`,
		Example: "  f2pad devices\n  f2pad devices --json\n  f2pad score --device cuda:1 --model leather.f2pad --out results photos/",
		Args:    cobra.NoArgs,
		RunE: p.verb(func(context.Context, []string) error {
			return p.ui.Show(deviceList{cpuInfo{runtime.GOARCH, runtime.GOMAXPROCS(0)}, cuda.Look(), ort.Look(p.ortLib)})
		}),
	}
}
