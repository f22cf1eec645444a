package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
	"f2pad.example/engine/roi"
	"f2pad.example/engine/run"

	"github.com/spf13/pflag"
)

// The flags' own types refuse a wrong value while the command line is read, so that it is a usage error, and say what is
// allowed.

// choice is a flag that takes one of a few words.
type choice struct {
	value   *string
	allowed []string
}

func (c choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("must be %s", alternatives(c.allowed))
	}
	*c.value = s
	return nil
}

func (c choice) String() string { return deref(c.value) }
func (c choice) Type() string   { return strings.Join(c.allowed, "|") }

func deref(s *string) string { // pflag asks the zero value, too
	if s == nil {
		return ""
	}
	return *s
}

func alternatives(words []string) string {
	n := len(words)
	if n == 1 {
		return words[0]
	}
	return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
}

// number is a flag that takes a whole number of a range.
type number struct {
	value       *int
	least, most int
}

func (n number) Set(s string) error {
	v, err := strconv.Atoi(s)
	if err != nil || v < n.least || v > n.most {
		return fmt.Errorf("must be a whole number from %d to %d", n.least, n.most)
	}
	*n.value = v
	return nil
}

func (n number) String() string {
	if n.value == nil {
		return "0"
	}
	return strconv.Itoa(*n.value)
}

func (n number) Type() string { return "N" }

// period is a flag that takes a time of a range.
type period struct {
	value       *time.Duration
	least, most time.Duration
}

func (d period) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil || v < d.least || v > d.most {
		return fmt.Errorf("must be a time from %s to %s (500ms, 10s, 2m)", d.least, d.most)
	}
	*d.value = v
	return nil
}

func (d period) String() string {
	if d.value == nil {
		return ""
	}
	return d.value.String()
}

func (d period) Type() string { return "TIME" }

// shardFlag is a flag that takes a part of the inputs.
type shardFlag struct{ value **run.Shard }

func (s shardFlag) Set(text string) error {
	shard, err := run.ParseShard(text)
	if err == nil {
		*s.value = &shard
	}
	return err
}

func (s shardFlag) String() string {
	if s.value == nil || *s.value == nil {
		return ""
	}
	return (*s.value).String()
}

func (s shardFlag) Type() string { return "I/N" }

// decimal is a flag that takes a finite number and has no default.
type decimal struct{ value **float64 }

func (d decimal) Set(s string) error {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return errors.New("must be a number")
	}
	*d.value = &v
	return nil
}

func (d decimal) String() string {
	if d.value == nil || *d.value == nil {
		return ""
	}
	return strconv.FormatFloat(**d.value, 'g', -1, 64)
}

func (d decimal) Type() string { return "X" }

// share is a flag that takes a share of a range, and has no default of its own.
type share struct {
	value       *float64
	least, most float64
}

func (s share) Set(text string) error {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= s.least && v <= s.most) {
		return fmt.Errorf("must be a share from %s to %s (0.05 is 5 %%)", plainly(s.least), plainly(s.most))
	}
	*s.value = v
	return nil
}

func (s share) String() string {
	if s.value == nil || *s.value == 0 {
		return ""
	}
	return plainly(*s.value)
}

func (s share) Type() string { return "SHARE" }

// plainly is a number without an exponent.
func plainly(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// The flags of rates take what a calibration can mean: beyond half of all that is normal a threshold is none.
const (
	leastImageFPR, leastPixelFPR = 1e-4, 1e-6
	mostFPR                      = 0.5
)

// rateFlags are the flags of verbs that calibrate. defaults are their defaults in words.
func rateFlags(f *pflag.FlagSet, image, pixel *float64, imageDefault, pixelDefault string) {
	f.Var(share{image, leastImageFPR, mostFPR}, "image-fpr",
		"share of normal images that may lie above the image threshold; default: "+imageDefault)
	f.Var(share{pixel, leastPixelFPR, mostFPR}, "pixel-fpr",
		"largest share of the pixels of normal images that may lie above a map's threshold; default: "+pixelDefault)
}

// thresholdFlags are the flags of verbs that decide.
func thresholdFlags(f *pflag.FlagSet, image, pixel **float64) {
	f.Var(decimal{image}, "threshold", "image threshold in place of the model's: an image above it is called anomalous")
	f.Var(decimal{pixel}, "pixel-threshold", "pixel threshold of every map in place of the model's")
}

// regionFlags are the flags of verbs that make masks.
func regionFlags(f *pflag.FlagSet, o *region.Options) {
	f.Var(number{&o.Close, 0, mostClose}, "close", "close gaps in the masks at the pixel threshold by a disc of this radius in pixels; 0: none")
	f.BoolVar(&o.Fill, "fill", false, "fill holes of these masks, after --close")
	f.Var(number{&o.MinArea, 0, math.MaxInt32}, "min-area", "drop regions of these masks with fewer pixels, after --fill; 0: none")
}

const mostClose = 1000 // px

// modelSize is the flag --size of fit: "native", the side of a square or height x width, in pixels.
type modelSize struct{ size *engine.Size }

const (
	native           = "native"
	minSize, maxSize = 32, 8192
)

func (m modelSize) Set(s string) error {
	m.size.Px, m.size.Wide = 0, 0
	if s == native {
		return nil
	}
	high, wide, both := strings.Cut(s, "x")
	err := number{&m.size.Px, minSize, engine.DefaultMaxSide}.Set(high)
	if err == nil && both {
		err = number{&m.size.Wide, minSize, engine.DefaultMaxSide}.Set(wide)
	}
	if err != nil {
		return fmt.Errorf("must be %s or PX or HxW (height x width), pixels from %d to %d", native, minSize, engine.DefaultMaxSide)
	}
	if m.size.Wide == m.size.Px {
		m.size.Wide = 0 // a square by another name
	}
	return nil
}

func (m modelSize) String() string {
	switch {
	case m.size == nil || m.size.Native():
		return native
	case m.size.Wide != 0:
		return fmt.Sprintf("%dx%d", m.size.Px, m.size.Wide)
	}
	return strconv.Itoa(m.size.Px)
}

func (m modelSize) Type() string { return "PX|HxW|native" }

// regionFile is the flag --roi.
type regionFile struct {
	path   string
	region *roi.Region // nil: none was given
	sha256 *string     // of the file
}

func (r *regionFile) flag(f *pflag.FlagSet, usage string) {
	f.StringVar(&r.path, "roi", "", usage+": `FILE` with a mask, white where it is, or with polygons (.json)")
}

// read reads the file, if there is one.
func (r *regionFile) read(p *program) error {
	if r.path == "" {
		return nil
	}
	var err error
	if r.region, err = roi.Read(r.path, imageio.Limits{MaxBytes: int64(p.imageMemory) << 20}); err != nil {
		return fmt.Errorf("--roi %w", err)
	}
	print, err := engine.TakeFingerprint(r.path)
	if err != nil {
		return fmt.Errorf("--roi %w", err)
	}
	r.sha256 = &print.SHA256
	return nil
}

// whiteLevel is the flag --white-level of fit.
type whiteLevel struct{ level *int }

const autoWhite = "auto"

func (l whiteLevel) Set(s string) error {
	if s == autoWhite {
		*l.level = 0
		return nil
	}
	if (number{l.level, engine.LeastWhite, imageio.MaxWhite}).Set(s) != nil {
		return fmt.Errorf("must be %s or a whole number from %d to %d", autoWhite, engine.LeastWhite, imageio.MaxWhite)
	}
	return nil
}

func (l whiteLevel) String() string {
	if l.level == nil || *l.level == 0 {
		return autoWhite
	}
	return strconv.Itoa(*l.level)
}

func (l whiteLevel) Type() string { return "N|auto" }

// The values of --refine and the maps they stand for.
var refineNames = []string{"none", string(refine.Residual), string(refine.F2PAD)}

func kindOf(name string) refine.Kind {
	if name == "none" {
		return refine.Base
	}
	return refine.Kind(name)
}

// kinds is the flag --refine of eval: a comma-separated list. Reports show the maps in the engine's order.
type kinds struct{ value *[]refine.Kind }

func (k kinds) Set(s string) error {
	var chosen []refine.Kind
	for _, name := range strings.Split(s, ",") {
		if !slices.Contains(refineNames, name) {
			return fmt.Errorf("must be a comma-separated list of %s", strings.Join(refineNames, ", "))
		}
		chosen = append(chosen, kindOf(name))
	}
	*k.value = slices.DeleteFunc(engine.Kinds(), func(kind refine.Kind) bool { return !slices.Contains(chosen, kind) })
	return nil
}

func (k kinds) String() string {
	if k.value == nil {
		return ""
	}
	var names []string
	for _, kind := range *k.value {
		names = append(names, run.RefineName(kind))
	}
	return strings.Join(names, ",")
}

func (k kinds) Type() string { return "list" }

// made returns an error unless a model makes all of kinds.
func made(m *engine.Model, kinds ...refine.Kind) error {
	err := m.Makes(kinds...)
	if errors.Is(err, engine.ErrNoMap) {
		return fmt.Errorf("%w; --refine none makes base", err)
	}
	return err
}

// missing says which of kinds a model does not make, and why; the verb goes on without them.
func (p *program) missing(m *engine.Model, kinds ...refine.Kind) {
	if err := m.Makes(kinds...); err != nil {
		p.notice(err.Error())
	}
}

var _ = []pflag.Value{choice{}, number{}, decimal{}, share{}, modelSize{}, whiteLevel{}, kinds{}, deviceName{}, period{}}

// backboneFile is the flag --backbone of verbs that use a model.
func backboneFile(f *pflag.FlagSet, path *string) {
	f.StringVar(path, "backbone", "", "the model's ONNX `FILE`, if it is neither where it was, nor beside the model, nor among 'f2pad backbones'")
}
