package main

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"f2pad.example/engine/backbone"

	"github.com/spf13/pflag"
)

// preprocessing is what the flags say that an ONNX file expects of its input.
type preprocessing struct{ backbone.Preprocess }

var preprocessingFlags = []string{"mean", "std", "range", "channels"}

func (p *preprocessing) flags(f *pflag.FlagSet) {
	f.Var(triple{&p.Mean, false}, "mean", "mean that an ONNX network expects to be taken off: one number, or those of R, G and B")
	f.Var(triple{&p.Std, true}, "std", "standard deviation that it expects to be divided by, likewise")
	f.Var(whitePoint{&p.Range}, "range", "value of a white pixel before that: 1, or 255")
	f.Var(channelOrder{&p.BGR}, "channels", "order of its channels")
}

// given reports whether any of the flags is on the command line.
func (p *preprocessing) given(f *pflag.FlagSet) bool {
	return slices.ContainsFunc(preprocessingFlags, f.Changed)
}

// triple is a flag of three numbers, one per colour channel, or of one for all.
type triple struct {
	value    *[3]float32
	positive bool
}

func (t triple) Set(s string) error {
	parts := strings.Split(s, ",")
	if len(parts) == 1 {
		parts = slices.Repeat(parts, 3)
	}
	must := "must be a number or three, R,G,B" + map[bool]string{true: ", above 0"}[t.positive]
	if len(parts) != 3 {
		return errors.New(must)
	}
	for c, part := range parts {
		v, err := strconv.ParseFloat(part, 32)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || t.positive && v <= 0 {
			return errors.New(must)
		}
		t.value[c] = float32(v)
	}
	return nil
}

func (t triple) String() string {
	if t.value == nil {
		return ""
	}
	var parts []string
	for _, v := range t.value {
		parts = append(parts, strconv.FormatFloat(float64(v), 'g', -1, 32))
	}
	return strings.Join(parts, ",")
}

func (t triple) Type() string { return "X|R,G,B" }

// whitePoint is the flag --range.
type whitePoint struct{ value *float32 }

func (w whitePoint) Set(s string) error {
	switch s {
	case "1":
		*w.value = 1
	case "255":
		*w.value = 255
	default:
		return errors.New("must be 1 or 255")
	}
	return nil
}

func (w whitePoint) String() string {
	if w.value == nil {
		return ""
	}
	return strconv.FormatFloat(float64(*w.value), 'g', -1, 32)
}

func (w whitePoint) Type() string { return "1|255" }

// channelOrder is the flag --channels.
type channelOrder struct{ bgr *bool }

func (c channelOrder) Set(s string) error {
	if s != "rgb" && s != "bgr" {
		return errors.New("must be rgb or bgr")
	}
	*c.bgr = s == "bgr"
	return nil
}

func (c channelOrder) String() string {
	if c.bgr != nil && *c.bgr {
		return "bgr"
	}
	return "rgb"
}

func (c channelOrder) Type() string { return "rgb|bgr" }
