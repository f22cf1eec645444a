package main

import (
	"io"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
)

// profileTable is the result of --profile.
type profileTable struct {
	Images  int                `json:"images"`  // that were scored
	Seconds float64            `json:"seconds"` // of the whole run
	Stages  []engine.StageTime `json:"stages"`
}

func (profileTable) MessageType() string { return "profile" }

func (t profileTable) Text(w io.Writer) error {
	each := func(seconds float64) float64 { return 1e3 * seconds / float64(max(t.Images, 1)) }
	if _, err := ui.Fprintf(w, "where the time went, in ms for each of %s; stages run beside others, decode, frame and write beside all\n",
		counted(t.Images, "image")); err != nil {
		return err
	}
	for _, s := range t.Stages {
		name := string(s.Stage)
		if s.Part {
			name = "  " + name
		}
		if _, err := ui.Fprintf(w, "  %-18s %9.2f\n", name, each(s.Seconds)); err != nil {
			return err
		}
	}
	_, err := ui.Fprintf(w, "  %-18s %9.2f\n", "the whole run", each(t.Seconds))
	return err
}
