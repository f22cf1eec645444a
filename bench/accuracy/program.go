package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"f2pad.example/engine/device"
	engineexec "f2pad.example/engine/exec"
	"f2pad.example/engine/metric"
)

// program is the built program.
type program struct{ path string }

// exitPartial is the program's exit code where some inputs failed (docs/scripting.md).
const exitPartial = 3

// messages are the last of each type that a run of the program said.
type messages map[string]json.RawMessage

// run runs a verb of the program. progress is told how far it is.
func (p program) run(progress func(phase string, done, total int), args ...string) (messages, error) {
	cmd := exec.Command(p.path, append(args, "--json")...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	said := messages{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var m struct {
			Type        string `json:"message_type"`
			Phase       string
			Done, Total int
		}
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			continue // not a message
		}
		if m.Type == "progress" {
			progress(m.Phase, m.Done, m.Total)
			continue
		}
		said[m.Type] = append(json.RawMessage(nil), lines.Bytes()...)
	}
	err = errors.Join(lines.Err(), cmd.Wait())
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == exitPartial {
		err = nil
	}
	if err != nil {
		var e struct{ Error string }
		if said.read("exit_error", &e) == nil {
			err = errors.New(e.Error)
		}
		return nil, fmt.Errorf("%s: %w", args[0], err)
	}
	return said, nil
}

// read decodes the message of a type.
func (m messages) read(kind string, into any) error {
	raw, ok := m[kind]
	if !ok {
		return fmt.Errorf("the program said nothing of type %s", kind)
	}
	return json.Unmarshal(raw, into)
}

// probed is what a small fit told of a backbone: that there is one, what it is, and what it runs on.
type probed struct {
	identity string
	Executor engineexec.Info
	Device   device.Info
}

func silent(string, int, int) {}

// probe tries every backbone on a few small images, those that -run leaves out, too: their stored results are on the page.
func (b *run) probe() {
	b.known = map[string]probed{}
	for _, bb := range b.backbones() {
		p, err := b.tryBackbone(bb)
		if err != nil {
			why := fmt.Sprintf("all of backbone %s: %s", bb.Name, oneLine(err.Error()))
			b.Skipped = append(b.Skipped, why)
			fmt.Fprintln(b.out, "SKIPPED:", why)
			continue
		}
		b.known[bb.Name] = p
	}
}

func (b *run) tryBackbone(bb backbone) (p probed, err error) {
	dir, err := os.MkdirTemp("", "f2pad-accuracy-")
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	data := filepath.Join(dir, "data")
	if _, err := b.program.run(silent, "synth", "--out", data, "--train", "8", "--test", "1", "--size", "64"); err != nil {
		return p, err
	}
	args := []string{"fit", "--data", data, "--method", "padim", "--size", "64", "--out", filepath.Join(dir, "model.f2pad")}
	said, err := b.program.run(silent, append(args, bb.Args...)...)
	if err != nil {
		return p, err
	}
	var model struct {
		Backbone json.RawMessage
		Info     struct {
			Executor engineexec.Info
			Device   device.Info
		}
	}
	if err := said.read("model", &model); err != nil {
		return p, err
	}
	return probed{string(model.Backbone), model.Info.Executor, model.Info.Device}, nil
}

// makeTexture makes a made-up data set, or what is missing of it.
func (b *run) makeTexture(s set) error {
	_, err := b.program.run(b.progress("synth"), "synth", "--out", s.Dir, "--texture", s.Texture, "--train", strconv.Itoa(textureTrain),
		"--test", strconv.Itoa(textureTest), "--size", strconv.Itoa(textureSize), "--seed", strconv.Itoa(textureSeed))
	return err
}

// patience is how often a run says how far it is.
const patience = 20 * time.Second

// progress passes on, now and then, how far a verb is.
func (b *run) progress(verb string) func(phase string, done, total int) {
	last := time.Now()
	return func(phase string, done, total int) {
		if time.Since(last) < patience {
			return
		}
		last = time.Now()
		fmt.Fprintf(b.out, "    %s: %s %d/%d\n", verb, phase, done, total)
	}
}

// one fits and evaluates a combination and stores what came out. Its model, of up to 350 MB, is not kept.
func (b *run) one(c combination) (err error) {
	key, err := b.key(c)
	if err != nil {
		return err
	}
	model, sheet := filepath.Join(b.work(), c.file(".f2pad")), c.file(".png")
	defer func() {
		if e := os.Remove(model); !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	r := &result{Key: key, Dataset: c.Dataset.Name, Method: c.Method, Backbone: c.Backbone.Name, Size: c.Size, Sheet: sheet, Date: time.Now()}
	args := []string{"fit", "--data", c.Dataset.Dir, "--method", c.Method, "--size", strconv.Itoa(c.Size), "--seed", "0", "--out", model}
	fitted, err := b.program.run(b.progress("fit"), append(args, c.Backbone.Args...)...)
	if err != nil {
		return err
	}
	r.FitSeconds = time.Since(r.Date).Seconds()
	var about struct {
		Info struct {
			Train   int `json:"train_images"`
			HeldOut int `json:"held_out_images"`
		}
	}
	if err := fitted.read("model", &about); err != nil {
		return err
	}
	r.Train = about.Info.Train + about.Info.HeldOut
	said, err := b.program.run(b.progress("eval"), "eval", "--data", c.Dataset.Dir, "--model", model,
		"--limit", strconv.Itoa(b.limit), "--spread", "--sheet", filepath.Join(b.work(), sheet))
	if err != nil {
		return err
	}
	if err := said.read("summary", r); err != nil {
		return err
	}
	r.EvalSeconds = time.Since(r.Date).Seconds() - r.FitSeconds
	return b.store(c, r)
}

// commit is the revision of the source, and whether it was changed; "" where version control is not at hand.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// result is what is stored of a combination. Rows, Failed, Executor and Device are as eval's summary has them.
type result struct {
	Key         string          `json:"key"`
	Dataset     string          `json:"dataset"`
	Method      string          `json:"method"`
	Backbone    string          `json:"backbone"`
	Size        int             `json:"size"`
	Date        time.Time       `json:"date"`
	Train       int             `json:"train_images"` // those for the calibration included
	FitSeconds  float64         `json:"fit_seconds"`
	EvalSeconds float64         `json:"eval_seconds"`
	Sheet       string          `json:"sheet_file"` // beside the stored result
	Failed      int             `json:"failed"`
	Executor    engineexec.Info `json:"executor"`
	Device      device.Info     `json:"device"`
	Rows        []metric.Row    `json:"rows"`
}

// name is the combination's.
func (r *result) name() string {
	return fmt.Sprintf("%s/%s/%s/%d", r.Dataset, r.Method, r.Backbone, r.Size)
}

// rows are the rows to show and to judge: those of all classes together only where there are several.
func (r *result) rows() []metric.Row {
	classes := map[string]bool{}
	for _, row := range r.Rows {
		classes[row.Category] = true
	}
	return slices.DeleteFunc(slices.Clone(r.Rows), func(row metric.Row) bool { return row.Category == all && len(classes) == 2 })
}
