package engine

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/backbone"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/method"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/roi"
	"f2pad.example/engine/sight"
)

// Size says what a model does with an image's size.
type Size = sight.Size

// Model is a fitted detector with all that scoring needs. It is immutable and safe for concurrent use.
type Model struct {
	Info     ModelInfo
	backbone backbone.Backbone
	method   method.Method
	memory   []*refine.Normal // remembered normal images in the model's space
	roi      *roi.Region      // what is inspected of images; nil: everything
	hash     string
	bytes    int64 // of its sections
}

// Revision is that of ModelInfo and of a model's sections as a whole: one more when a field or a kind of section comes, goes or
// means something else. infoOf then says what the older revisions mean by it. Methods, backbones and the refinement have
// revisions of their own.
const Revision = 4

// ModelInfo is what a model records about itself.
type ModelInfo struct {
	Revision    int            `json:"revision"`
	Program     string         `json:"program"` // version of f2pad that fitted it
	Method      string         `json:"method"`
	Profile     string         `json:"profile"`
	Backbone    string         `json:"backbone"`
	Size        Size           `json:"size"`
	Seed        uint64         `json:"seed"`
	Train       int            `json:"train_images"`    // images the method was fitted on
	HeldOut     int            `json:"held_out_images"` // normal images kept back for the calibration
	TrainSHA256 string         `json:"train_sha256"`    // over the files used, in order
	Executor    exec.Info      `json:"executor"`
	Device      device.Info    `json:"device"`      // that fitted and calibrated it
	Inputs      Inputs         `json:"inputs"`      // what the images were like, those held out among them
	WhiteLevel  int            `json:"white_level"` // sample of images of 16 bits that is taken as 1, as all that is brighter
	ROI         ROI            `json:"roi"`
	Refine      refine.Options `json:"refine"`
	Calibration Calibration    `json:"calibration"`
}

// Calibration is measured on held-out normal images: no defect and no label takes part in it.
type Calibration struct {
	Source Source `json:"source"`

	Q50  float64 `json:"q50"`  // median of the location scores s
	Q995 float64 `json:"q995"` // their 99.5 % quantile; z = (s - Q50)/(Q995 - Q50)

	MapQ50  float64 `json:"map_q50"`  // likewise of the pixels of the method's own map
	MapQ995 float64 `json:"map_q995"` // v = (base - MapQ50)/(MapQ995 - MapQ50)

	ImageFPR       float64 `json:"image_fpr"` // stated false-positive rate of the image threshold
	ImageThreshold float64 `json:"image_threshold"`

	PixelFPR       float64                 `json:"pixel_fpr"` // the largest share of normal pixels that may lie above a pixel threshold
	PixelThreshold map[refine.Kind]float64 `json:"pixel_threshold"`
	Promises       map[refine.Kind]Promise `json:"pixel_promise"`   // of the pixel thresholds
	Painted        int                     `json:"painted_images"`  // held-out images with a simulated defect painted on them
	Paints         []string                `json:"painted_defects"` // kinds of these defects (synth.Paints), sorted
}

// scores and maps are the scales of the method's scores and of its own maps.
func (c *Calibration) scores() sight.Scale { return sight.Scale{Q50: c.Q50, Q995: c.Q995} }
func (c *Calibration) maps() sight.Scale   { return sight.Scale{Q50: c.MapQ50, Q995: c.MapQ995} }

// Source says what a calibration was measured on, and by what.
type Source struct {
	From     Origin      `json:"from"`
	Images   int         `json:"images"`   // how many normal images
	SHA256   string      `json:"sha256"`   // over their files, in order; "" in models before revision 3
	Program  string      `json:"program"`  // version of f2pad that calibrated
	Executor exec.Info   `json:"executor"` // that ran the network
	Device   device.Info `json:"device"`   // where methods and refinement were computed
}

// Origin says where the images of a calibration came from.
type Origin string

const (
	FromFit Origin = "fit" // held out of the images that the fit was given
	FromNew Origin = "new" // given to Calibrate, after the fit
)

// Promise is how a pixel threshold was chosen, and what it did in the calibration.
type Promise struct {
	Rule  Rule    `json:"rule"`
	Above float64 `json:"above"` // share of the pixels above it in the held-out images without a defect
	// Marked counts the held-out images without a defect in which a pixel lies above it; -1 in models before revision 3.
	Marked int          `json:"marked_images"`
	Dice   metric.Value `json:"dice"` // mean over the images with a painted defect, at the threshold; null without such images
}

// Rule names how a pixel threshold was chosen: as the higher one of two.
type Rule string

const (
	BySimulation Rule = "simulation" // it marks the painted defects best: the highest mean of their Dice (metric.MeanDice)
	ByRate       Rule = "rate"       // a share of PixelFPR of the normal pixels lies above
)

// infoOf returns the defaults of a revision. The first had no scale of maps, with which no refinement of today goes, and took
// all pixel thresholds by rate; before the fourth, images of 16 bits were taken to use all of them.
func infoOf(revision int) *ModelInfo {
	i := &ModelInfo{}
	if revision < 4 {
		i.WhiteLevel = imageio.MaxWhite
	}
	if revision == 1 {
		i.Calibration.MapQ995 = 1
	}
	return i
}

// mend fills in what models before revision 3 did not say: they were calibrated by the fit, and nobody counted what was marked.
func (i *ModelInfo) mend() {
	i.Calibration.Source = Source{From: FromFit, Images: i.HeldOut, Program: i.Program, Executor: i.Executor, Device: i.Device}
	for k, p := range i.Calibration.Promises {
		p.Marked = -1
		i.Calibration.Promises[k] = p
	}
}

// ErrNoMap means that a model cannot make a map that it was asked for.
var ErrNoMap = errors.New("the model does not make")

// Kinds lists the maps that the model can make, in the order of the package's Kinds: those it has thresholds for. A model
// whose refinement is older than the program's makes its base map only, since its thresholds are for other maps than the
// program would make.
func (m *Model) Kinds() []refine.Kind {
	return slices.DeleteFunc(Kinds(), func(k refine.Kind) bool {
		_, ok := m.Info.Calibration.PixelThreshold[k]
		return !ok || k != refine.Base && !m.Info.Refine.Current()
	})
}

// thresholds are that of images and those of Kinds: the model's own, or those that take their place.
func (m *Model) thresholds(o Options) (image float64, pixel map[refine.Kind]float64) {
	image, pixel = m.Info.Calibration.ImageThreshold, map[refine.Kind]float64{}
	if o.ImageThreshold != nil {
		image = *o.ImageThreshold
	}
	for _, k := range m.Kinds() {
		pixel[k] = m.Info.Calibration.PixelThreshold[k]
		if o.PixelThreshold != nil {
			pixel[k] = *o.PixelThreshold
		}
	}
	return image, pixel
}

// Makes returns an error (ErrNoMap) that names the maps of kinds that the model cannot make, and says why.
func (m *Model) Makes(kinds ...refine.Kind) error {
	has := m.Kinds()
	var lacks []string
	for _, k := range kinds {
		if !slices.Contains(Kinds(), k) {
			return fmt.Errorf("engine: unknown map %q: want one of %v", k, Kinds())
		}
		if !slices.Contains(has, k) {
			lacks = append(lacks, string(k))
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	why := "it has no thresholds for them"
	if !m.Info.Refine.Current() {
		why = fmt.Sprintf("its refinement is of revision %d, this program's of revision %d", m.Info.Refine.Revision, refine.Revision)
	}
	return fmt.Errorf("engine: %w %s (it makes %v): %s; fit it again to get them", ErrNoMap, strings.Join(lacks, " and "), has, why)
}

// Describe returns the method's own account of its fitted state, for people (JSON-encodable).
func (m *Model) Describe() any { return m.method.Describe() }

// DescribeBackbone returns the backbone's account of itself, likewise.
func (m *Model) DescribeBackbone() any { return m.backbone.Describe() }

// SHA256 is the hash of the model file this model was loaded from or saved to; empty before that.
func (m *Model) SHA256() string { return m.hash }

// Work is what the network has to do for an image of h x w pixels that is seen as a whole.
type Work struct {
	Height  int `json:"height"` // px, to the network
	Width   int `json:"width"`
	Flops   int `json:"flops"`   // of convolutions and products; a multiply-add is two
	Values  int `json:"values"`  // float32 that its operators read and write, see graph.Traffic
	Weights int `json:"weights"` // float32, read once for all images that run together
}

// Work returns the work on an image. It costs no more than reading the network's shapes.
func (m *Model) Work(h, w int) (k Work, err error) {
	if _, k.Height, k.Width, err = sight.LayFrame(h, w, m.Info.Size, m.backbone.Multiple(), m.backbone.MinSide()); err != nil {
		return k, err
	}
	g, err := m.backbone.Graph(k.Height, k.Width)
	if err != nil {
		return k, err
	}
	if k.Flops, err = g.FLOPs(); err != nil {
		return k, err
	}
	k.Values, k.Weights, err = g.Traffic()
	return k, err
}

// Backbones lists the built-in backbones.
func Backbones() []string { return []string{"scatter"} }

func oneOf(what, v string, known []string) error {
	if slices.Contains(known, v) {
		return nil
	}
	return fmt.Errorf("engine: unknown %s %q: want one of %s", what, v, strings.Join(known, ", "))
}

const infoSection = "model/info"

// Save writes the model file atomically and returns its SHA-256. The same model gives the same bytes.
func (m *Model) Save(path string) (string, error) {
	w := artifact.NewWriter()
	info := m.Info
	info.Revision = Revision
	if err := w.JSON(infoSection, info); err != nil {
		return "", fmt.Errorf("engine: %s: %w", path, err)
	}
	if err := m.backbone.Save(w); err != nil {
		return "", fmt.Errorf("engine: %s: %w", path, err)
	}
	if err := m.method.Save(w); err != nil {
		return "", fmt.Errorf("engine: %s: %w", path, err)
	}
	if err := saveROI(w, m.roi); err != nil {
		return "", fmt.Errorf("engine: %s: %w", path, err)
	}
	for i, n := range m.memory {
		data, shape := n.Planes()
		if err := w.Uint8(memorySection(i), data, shape...); err != nil {
			return "", fmt.Errorf("engine: %s: %w", path, err)
		}
	}
	hash, err := w.WriteFile(path)
	if err == nil {
		m.hash = hash
	}
	return hash, err
}

func memorySection(i int) string { return fmt.Sprintf("memory/%03d", i) }

// Load reads a model file, also of an older program, and, if its backbone is an ONNX file, that: where it was when the
// model was fitted, or beside the model (ErrNoNetwork if neither). Errors name the file and the part that is broken, or
// made by a newer program (artifact.ErrNewer).
func Load(path string) (*Model, error) { return LoadWith(path, "") }

// LoadWith is Load with the path of the backbone's ONNX file, which has to be the one that the model was fitted with
// (backbone.ErrOtherNetwork). Without one ("") a file of its name is looked for in the folders, too, after the model's.
func LoadWith(path, network string, folders ...string) (*Model, error) {
	f, err := artifact.Open(path)
	if err != nil {
		return nil, err
	}
	m, err := FromArtifact(f)
	if err == nil {
		err = m.bind(path, network, folders)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// ErrNoNetwork means that the file of a model's backbone is not where it was, nor beside the model, nor in the folders given.
var ErrNoNetwork = errors.New("the backbone's file is missing")

// bind reads the backbone's own file, if it has one: the first with the right hash.
func (m *Model) bind(path, network string, folders []string) error {
	bb, ok := m.backbone.(backbone.External)
	switch {
	case !ok && network != "":
		return fmt.Errorf("engine: the backbone %s is built in: it needs no file %s", m.backbone.Name(), network)
	case !ok:
		return nil
	case network != "":
		return bb.Bind(network)
	}
	places := []string{bb.File(), filepath.Join(filepath.Dir(path), bb.Name())}
	for _, folder := range folders {
		places = append(places, filepath.Join(folder, bb.Name()))
	}
	var other error
	for _, p := range places {
		if _, err := os.Stat(p); err != nil {
			continue
		}
		err := bb.Bind(p)
		if !errors.Is(err, backbone.ErrOtherNetwork) {
			return err
		}
		if other == nil {
			other = err
		}
	}
	if other != nil {
		return other
	}
	return fmt.Errorf("engine: %w: there is no %s", ErrNoNetwork, strings.Join(places, ", nor "))
}

// FromArtifact reads a model from an opened artifact, without the file of an External backbone: it can be looked at, but not
// run.
func FromArtifact(f *artifact.File) (*Model, error) {
	m := &Model{hash: f.SHA256()}
	for _, s := range f.Sections() {
		m.bytes += s.Bytes
	}
	var info *ModelInfo
	made := 0
	err := f.Options(infoSection, Revision, func(revision int) any {
		info, made = infoOf(revision), revision
		return info
	})
	if err != nil {
		return nil, err
	}
	if made < 3 {
		info.mend()
	}
	m.Info = *info
	m.Info.Revision = Revision
	if err := m.Info.check(); err != nil {
		return nil, fmt.Errorf("section %q: %w", infoSection, err)
	}
	if m.backbone, err = backbone.Load(f); err != nil {
		return nil, err
	}
	kind, err := family(m.Info.Method)
	if err != nil {
		return nil, err
	}
	if m.method, err = kind.Load(f); err != nil {
		return nil, err
	}
	if m.roi, err = loadROI(f, m.Info.ROI); err != nil {
		return nil, err
	}
	for i := 0; f.Has(memorySection(i)); i++ {
		data, shape, err := f.Uint8(memorySection(i), -1, -1, -1)
		if err != nil {
			return nil, err
		}
		n, err := refine.NewNormal(data, shape[0], shape[1], shape[2])
		if err != nil {
			return nil, fmt.Errorf("section %q: %w", memorySection(i), err)
		}
		m.memory = append(m.memory, n)
	}
	if err := m.agree(); err != nil {
		return nil, err
	}
	return m, nil
}

// check refuses what a model written by Fit never says; what the parts say of each other is agree's.
func (i *ModelInfo) check() error {
	if err := oneOf("method", i.Method, Methods()); err != nil {
		return err
	}
	if err := i.Size.Check(sight.MaxSide); err != nil {
		return fmt.Errorf("engine: size.%w", err)
	}
	if err := i.Calibration.check(); err != nil {
		return fmt.Errorf("engine: calibration.%w", err)
	}
	if err := i.Inputs.check(); err != nil {
		return fmt.Errorf("engine: inputs.%w", err)
	}
	if err := checkWhite(i.WhiteLevel); err != nil {
		return err
	}
	if err := i.ROI.check(); err != nil {
		return fmt.Errorf("engine: roi.%w", err)
	}
	if i.Refine.Revision < 1 {
		return errors.New("engine: no options of the refinement")
	}
	if !i.Refine.Current() { // its maps may have had other names
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(i.Calibration.PixelThreshold)) {
		if !slices.Contains(Kinds(), k) {
			return fmt.Errorf("engine: threshold for an unknown map %q: want one of %v", k, Kinds())
		}
	}
	if _, err := refine.New(i.Refine); err != nil {
		return err
	}
	return checkEffort(&i.Refine)
}

// check refuses what no calibration finds; the error begins with the field.
func (c *Calibration) check() error {
	if !(c.Q995 > c.Q50) {
		return fmt.Errorf("q995 is %g, want more than q50, %g", c.Q995, c.Q50)
	}
	if !(c.MapQ995 > c.MapQ50) {
		return fmt.Errorf("map_q995 is %g, want more than map_q50, %g", c.MapQ995, c.MapQ50)
	}
	if c.Source.From != FromFit && c.Source.From != FromNew {
		return fmt.Errorf("source.from is %q, want %s or %s", c.Source.From, FromFit, FromNew)
	}
	if _, ok := c.PixelThreshold[refine.Base]; !ok {
		return fmt.Errorf("pixel_threshold: no threshold for the map %s", refine.Base)
	}
	type field struct {
		name        string
		value       float64
		least, most float64
	}
	const huge = math.MaxFloat32 // of which scores are
	all := []field{
		{"source.images", float64(c.Source.Images), 0, math.MaxInt32},
		{"q50", c.Q50, -huge, huge},
		{"q995", c.Q995, -huge, huge},
		{"map_q50", c.MapQ50, -huge, huge},
		{"map_q995", c.MapQ995, -huge, huge},
		{"image_fpr", c.ImageFPR, 0, 1},
		{"image_threshold", c.ImageThreshold, 0, huge},
		{"pixel_fpr", c.PixelFPR, 0, 1},
		{"painted_images", float64(c.Painted), 0, math.MaxInt32},
	}
	for _, k := range slices.Sorted(maps.Keys(c.PixelThreshold)) {
		all = append(all, field{fmt.Sprintf("pixel_threshold.%s", k), c.PixelThreshold[k], 0, huge})
	}
	for _, k := range slices.Sorted(maps.Keys(c.Promises)) {
		p := c.Promises[k]
		all = append(all, field{fmt.Sprintf("pixel_promise.%s.above", k), p.Above, 0, 1},
			field{fmt.Sprintf("pixel_promise.%s.marked_images", k), float64(p.Marked), -1, float64(c.Source.Images)})
		if p.Dice.Defined() {
			all = append(all, field{fmt.Sprintf("pixel_promise.%s.dice", k), float64(p.Dice), 0, 1})
		}
	}
	for _, f := range all {
		if !(f.value >= f.least && f.value <= f.most) {
			return fmt.Errorf("%s is %g, want %g to %g", f.name, f.value, f.least, f.most)
		}
	}
	return nil
}

// checkEffort bounds what refining an image can cost by some ten to thirty times what the defaults do.
func checkEffort(o *refine.Options) error {
	for _, v := range []struct {
		field       string
		value, most int
	}{
		{"fills.count", o.Fills.Count, 32},
		{"fills.shifts", o.Fills.Shifts, 10_000},
		{"fills.ring_pixels", o.Fills.RingPixels, 5_000},
		{"optimiser.iterations", o.Optimiser.Iterations, 200},
	} {
		if v.value > v.most {
			return fmt.Errorf("engine: refine.%s is %d, at most %d are allowed", v.field, v.value, v.most)
		}
	}
	return nil
}

// agree compares what the parts of a model say of each other, so that what does not fit is known before an image is scored.
func (m *Model) agree() error {
	shape, widths := m.method.Shape(), m.backbone.Widths()
	if !slices.Equal(shape.Widths, widths) {
		return fmt.Errorf("engine: %s has layers of %v channels, the backbone %s of %v", m.Info.Method, shape.Widths, m.backbone.Name(), widths)
	}
	if stride := m.backbone.Stride(); m.Info.Refine.Current() && m.Info.Refine.Stride != stride {
		return fmt.Errorf("engine: refine.stride is %d, the backbone %s has %d", m.Info.Refine.Stride, m.backbone.Name(), stride)
	}
	if shape.H == 0 {
		return nil
	}
	if m.Info.Size.Native() {
		return fmt.Errorf("engine: %s has a grid of %dx%d cells, for one size of images, but size.px is 0 (native)", m.Info.Method, shape.H, shape.W)
	}
	h, w := m.Info.Size.Padded(m.backbone)
	if h, w = h/m.backbone.Stride(), w/m.backbone.Stride(); shape.H != h || shape.W != w {
		return fmt.Errorf("engine: %s has a grid of %dx%d cells, but size.px %d and wide %d make %dx%d", m.Info.Method, shape.H, shape.W,
			m.Info.Size.Px, m.Info.Size.Wide, h, w)
	}
	return nil
}

// DefaultMaxSide is what Options.MaxSide is if it is not given.
const DefaultMaxSide = sight.DefaultMaxSide
