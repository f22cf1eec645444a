package main

import (
	"fmt"
	"io"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
)

// profileTable is the result of --profile.
type profileTable struct {
	Images  int                `json:"images"`  // that were scored
	Seconds float64            `json:"seconds"` // of the whole run
	Stages  []engine.StageTime `json:"stages"`
	// Processor time, where the stages' is known: of the run without what it begins with, and of that what is neither the network's nor
	// the method's.
	CPU     float64 `json:"cpu_seconds,omitempty"`
	Outside float64 `json:"outside_cpu_seconds,omitempty"`
}

func (profileTable) MessageType() string { return "profile" }

// profileOf makes the table; cpu is the processor time of scoring.
func profileOf(images int, seconds, cpu float64, stages []engine.StageTime) profileTable {
	t := profileTable{Images: images, Seconds: seconds, Stages: stages}
	network, known := 0.0, false
	for _, s := range stages {
		known = known || s.CPU > 0
		if s.Stage.Network() {
			network += s.CPU
		}
	}
	if known {
		t.CPU, t.Outside = cpu, cpu-network
	}
	return t
}

func (t profileTable) Text(w io.Writer) error {
	each := func(seconds float64) float64 { return 1e3 * seconds / float64(max(t.Images, 1)) }
	line := func(name string, seconds ...float64) error {
		text := fmt.Sprintf("  %-18s", name)
		for _, s := range seconds {
			text += fmt.Sprintf(" %9.2f", each(s))
		}
		_, err := ui.Fprintf(w, "%s\n", text)
		return err
	}
	known, columns := t.CPU > 0, ""
	if known {
		columns = "; on the right, of that the processor's"
	}
	if _, err := ui.Fprintf(w, "where the time went, in ms for each of %s; stages run beside others, decode, frame and write beside all%s\n",
		counted(t.Images, "image"), columns); err != nil {
		return err
	}
	rest := t.CPU
	for _, s := range t.Stages {
		name, times := string(s.Stage), []float64{s.Seconds}
		if s.Part {
			name = "  " + name
		} else {
			rest -= s.CPU
		}
		if known {
			times = append(times, s.CPU)
		}
		if err := line(name, times...); err != nil {
			return err
		}
	}
	if !known {
		return line("the whole run", t.Seconds)
	}
	if _, err := ui.Fprintf(w, "  %-18s %9s %9.2f\n", "the rest", "", each(rest)); err != nil {
		return err
	}
	if err := line("the whole run", t.Seconds, t.CPU); err != nil {
		return err
	}
	_, err := ui.Fprintf(w, "  %-18s %9s %9.2f\n", "without network", "", each(t.Outside))
	return err
}
