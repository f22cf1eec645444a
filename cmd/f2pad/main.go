// Command f2pad fits anomaly detectors on normal images, scores images with them and makes pixel-accurate maps of what it
// finds.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"f2pad.example/cgo/cuda"
	"f2pad.example/cgo/ort"
	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/cmd/f2pad/ui/json"
	"f2pad.example/cmd/f2pad/ui/text"
	"f2pad.example/engine"
	"f2pad.example/engine/backbone/pretrained"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/imageio"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// The program's exit codes; docs/scripting.md promises them.
const (
	exitOK        = 0
	exitFailure   = 1
	exitUsage     = 2
	exitPartial   = 3 // some inputs failed
	exitSlower    = 4 // bench compare: something has become slower
	exitCancelled = 130
)

func main() {
	p := &program{in: os.Stdin, out: os.Stdout, err: os.Stderr, networks: pretrained.Networks()}
	os.Exit(p.run(os.Args[1:]))
}

// program is one run of f2pad: what its verbs share.
type program struct {
	in       io.Reader
	out, err io.Writer
	json     bool
	networks []pretrained.Network // that --backbone takes by name
	device   string               // --device
	gpus     map[int]*cuda.Device // by ordinal, opened by the first step that computes there
	on       chosen               // where the last step computed
	notices  []string             // what the engine did in another way than asked

	executorName, ortLib, ortProvider string        // --executor, --ort-lib, --ort-provider
	precision                         string        // --precision
	imageMemory                       int           // --image-memory, in MiB
	memory                            int           // --memory, in MiB; 0: half of the machine's
	verbose                           bool          // --verbose
	executor                          exec.Executor // what they stand for, once it is asked for
	ui                                ui.UI         // set when a verb begins
	failed                            int           // inputs that could not be used
}

// errPartial ends a verb that did its work for some inputs only. They have been reported one by one.
var errPartial = errors.New("some inputs failed")

// run runs one command line and returns the exit code.
func (p *program) run(args []string) (code int) {
	defer func() {
		if r := recover(); r != nil {
			code = exitFailure
			if p.ui == nil {
				p.ui = p.newUI()
			}
			what, where, _ := strings.Cut(fmt.Sprint(r), "\n")
			p.ui.Error(ui.Hint{Err: fmt.Errorf("this is a bug in f2pad: %s", what), More: where + string(debug.Stack())}, code)
		}
	}()
	root := p.command()
	root.SetArgs(args)
	root.SetOut(p.out)
	root.SetErr(p.err)
	cmd, err := root.ExecuteC()
	code = exitCode(err)
	if err != nil && p.ui == nil { // no verb began: the command line is wrong
		p.ui, code = p.newUI(), exitUsage
		err = ui.Hint{Err: onOneLine(err), More: fmt.Sprintf("See '%s --help'", cmd.CommandPath())}
	}
	if in := (interrupted{}); code == exitCancelled && !errors.As(err, &in) {
		err = interrupted{"interrupted"}
	}
	if code != exitOK && code != exitPartial {
		p.ui.Error(err, code)
	}
	return code
}

// onOneLine is what cobra says of a command that there is not, with the names that it suggests behind it instead of below.
func onOneLine(err error) error {
	text, names, ok := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	if !ok {
		return err
	}
	return fmt.Errorf("%s: did you mean %s?", text, strings.Join(strings.Fields(names), " or "))
}

// exitCode is the exit code of a verb that ended with err.
func exitCode(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errPartial):
		return exitPartial
	case errors.Is(err, errSlower):
		return exitSlower
	case errors.Is(err, context.Canceled):
		return exitCancelled
	}
	return exitFailure
}

func (p *program) newUI() ui.UI {
	if p.json {
		return json.New(p.out)
	}
	f, ok := p.err.(*os.File)
	return text.New(p.out, p.err, ok && term.IsTerminal(int(f.Fd())))
}

// command builds the tree of verbs.
func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "f2pad",
		Short: "Find defects in images, to the pixel, from normal images alone",
		Long: `f2pad learns what normal images look like, scores new images against that, and draws
pixel-accurate maps of what is not normal. It needs no labels, and runs on the CPU or an NVIDIA GPU.`,
		Example: `  f2pad demo
  f2pad fit --data mvtec/leather --method patchcore --backbone efficientnet-lite0 --out leather.f2pad
  f2pad score --model leather.f2pad --out results --masks --overlays photos/
  f2pad serve --model leather.f2pad
  f2pad eval --data mvtec/leather --model leather.f2pad --report leather.html`,
		Version:           version(),
		PersistentPreRunE: func(*cobra.Command, []string) error { return p.checkPlace() },
		SilenceUsage:      true,
		SilenceErrors:     true,
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.PersistentFlags().BoolVar(&p.json, "json", false, "write JSON lines to standard output (see docs/scripting.md)")
	p.device = autoDevice
	root.PersistentFlags().Var(deviceName{&p.device}, "device", "where fit, calibrate, score, serve, eval and demo compute; see devices")
	p.executorName, p.ortProvider = autoExecutor, ort.CPU
	root.PersistentFlags().Var(choice{&p.executorName, executors}, "executor",
		"what networks run on with --device cpu: ONNX Runtime (ort), pure Go (go), or ort where its library loads")
	p.precision = string(cuda.Float32)
	root.PersistentFlags().Var(choice{&p.precision, precisions}, "precision",
		"what a GPU computes convolutions in; float16, with float32 sums, is for the tensor cores")
	root.PersistentFlags().StringVar(&p.ortLib, "ort-lib", "", "ONNX Runtime's shared library; default: $"+ort.Environment+", what 'make ort' put into the user's cache, or the system's")
	root.PersistentFlags().Var(choice{&p.ortProvider, ortProviders}, "ort-provider",
		"what ONNX Runtime runs on; cuda and tensorrt need a library with them, and take the first GPU, while the CPU does the rest")
	p.imageMemory = imageio.DefaultMaxBytes >> 20
	root.PersistentFlags().Var(number{&p.imageMemory, 1, 1 << 16}, "image-memory",
		"MiB that an image or a mask may take while it is decoded; what takes more is refused")
	root.PersistentFlags().Var(number{&p.memory, 0, 1 << 24}, "memory",
		"MiB that the program plans to stay within, but for --image-memory's: smaller batches and windows, earlier garbage collection; 0: half of the machine's, by batches alone")
	root.PersistentFlags().BoolVar(&p.verbose, "verbose", false, "say also how memory is shared out")
	root.AddCommand(p.demo(), p.synth(), p.fit(), p.calibrate(), p.score(), p.serve(), p.merge(), p.export(), p.eval(), p.bench(), p.inspect(), p.backbones(), p.devices(), p.man(), p.version())
	p.complete(root)
	return root
}

// verb turns a verb's work into what cobra runs.
func (p *program) verb(work func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p.ui = p.newUI()
		ctx, cancel := p.interruptible()
		defer cancel()
		err := work(ctx, args)
		p.closeGPUs()
		p.ui.Close()
		if err == nil && p.failed > 0 {
			return errPartial
		}
		return err
	}
}

// interruptible returns a context that the first interrupt cancels: the work in hand is finished. A second one ends the
// program at once.
func (p *program) interruptible() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		p.ui.Warn("interrupted: finishing the images in hand; interrupt again to quit at once")
		cancel()
		<-signals
		os.Exit(exitCancelled)
	}()
	return ctx, cancel
}

// fail reports an input that could not be used. The program goes on and exits with exitPartial.
func (p *program) fail(input string, err error) {
	p.failed++
	p.ui.Failed(input, err)
}

// passedOver are the files in folders and archives of images that do not have an image's name: how many, and the first few.
type passedOver struct {
	n     int
	first []string
}

func (f *passedOver) add(path string) {
	const named = 3
	if f.n++; f.n <= named {
		f.first = append(f.first, path)
	}
}

// passedOver says what was passed over: an image may be among it.
func (p *program) passedOver(f passedOver) {
	if f.n == 0 {
		return
	}
	text := fmt.Sprintf("ignored %d files whose names do not end as an image's do: %s", f.n, strings.Join(f.first, ", "))
	switch {
	case f.n == 1:
		text = "ignored a file whose name does not end as an image's does: " + f.first[0]
	case f.n > len(f.first):
		text += ", …"
	}
	p.ui.Warn(text)
}

// ignored says what a data set's folders hold beside images.
func (p *program) ignored(d *dataset.Dataset) {
	var f passedOver
	for _, path := range d.Ignored {
		f.add(path)
	}
	p.passedOver(f)
}

// progress passes the engine's progress on.
func (p *program) progress(e engine.Progress) { p.ui.Progress(ui.Progress(e)) }
