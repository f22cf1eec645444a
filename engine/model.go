package engine

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"f2pad/engine/artifact"
	"f2pad/engine/backbone"
	"f2pad/engine/device"
	"f2pad/engine/exec"
	"f2pad/engine/method"
	"f2pad/engine/method/padim"
	"f2pad/engine/method/patchcore"
	"f2pad/engine/metric"
	"f2pad/engine/refine"
)

// Size says what a model does with an image's size.
type Size struct {
	Px         int  `json:"px"`          // side of the square that images are resized to; 0: native, each at its own size
	KeepAspect bool `json:"keep_aspect"` // fit into the square and pad by reflection instead of stretching
}

// Native reports whether images are run at their own size.
func (s Size) Native() bool { return s.Px == 0 }

func (s Size) String() string {
	switch {
	case s.Native():
		return "native"
	case s.KeepAspect:
		return fmt.Sprintf("%d, aspect kept", s.Px)
	}
	return fmt.Sprint(s.Px)
}

// Model is a fitted detector with all that scoring needs. It is immutable and safe for concurrent use.
type Model struct {
	Info     ModelInfo
	backbone backbone.Backbone
	method   method.Method
	memory   []*refine.Normal // remembered normal images in the model's space
	hash     string
}

// Revision is that of ModelInfo and of a model's sections as a whole: one more when a field or a kind of section comes, goes or
// means something else. infoOf then says what the older revisions mean by it. Methods, backbones and the refinement have
// revisions of their own.
const Revision = 2

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
	Device      device.Info    `json:"device"` // that fitted and calibrated it
	Refine      refine.Options `json:"refine"`
	Calibration Calibration    `json:"calibration"`
}

// Calibration is measured on held-out normal images: no defect and no label takes part in it.
type Calibration struct {
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

// Promise is how a pixel threshold was chosen, and what it did in the calibration.
type Promise struct {
	Rule  Rule         `json:"rule"`
	Above float64      `json:"above"` // share of the pixels above it in the held-out images without a defect
	Dice  metric.Value `json:"dice"`  // mean over the images with a painted defect, at the threshold; null without such images
}

// Rule names how a pixel threshold was chosen: as the higher one of two.
type Rule string

const (
	BySimulation Rule = "simulation" // it marks the painted defects best: the highest mean of their Dice (metric.MeanDice)
	ByRate       Rule = "rate"       // a share of PixelFPR of the normal pixels lies above
)

// infoOf returns the defaults of a revision. The first had no scale of maps, with which no refinement of today goes, and took
// all pixel thresholds by rate.
func infoOf(revision int) *ModelInfo {
	i := &ModelInfo{}
	if revision == 1 {
		i.Calibration.MapQ995 = 1
	}
	return i
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

// thresholds are those of Kinds.
func (m *Model) thresholds() map[refine.Kind]float64 {
	t := map[refine.Kind]float64{}
	for _, k := range m.Kinds() {
		t[k] = m.Info.Calibration.PixelThreshold[k]
	}
	return t
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

// Methods lists the detectors that Fit knows.
func Methods() []string { return []string{"padim", "patchcore"} }

// Profiles lists the named sets of method options.
func Profiles() []string { return []string{"f2pad", "paper", "anomalib"} }

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
	var info *ModelInfo
	err := f.Options(infoSection, Revision, func(revision int) any {
		info = infoOf(revision)
		return info
	})
	if err != nil {
		return nil, err
	}
	m.Info = *info
	m.Info.Revision = Revision
	if err := m.Info.check(); err != nil {
		return nil, fmt.Errorf("section %q: %w", infoSection, err)
	}
	if m.backbone, err = backbone.Load(f); err != nil {
		return nil, err
	}
	switch m.Info.Method {
	case "padim":
		m.method, err = padim.Load(f)
	case "patchcore":
		m.method, err = patchcore.Load(f)
	}
	if err != nil {
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
	return m, nil
}

// check refuses what a model written by Fit never says.
func (i *ModelInfo) check() error {
	if err := oneOf("method", i.Method, Methods()); err != nil {
		return err
	}
	if i.Size.Px < 0 || i.Size.Px > maxSide {
		return fmt.Errorf("engine: size %d px, want 0 (native) to %d", i.Size.Px, maxSide)
	}
	if !(i.Calibration.Q995 > i.Calibration.Q50) {
		return fmt.Errorf("engine: calibration quantiles %g and %g are not in order", i.Calibration.Q50, i.Calibration.Q995)
	}
	if !(i.Calibration.MapQ995 > i.Calibration.MapQ50) {
		return fmt.Errorf("engine: the map's calibration quantiles %g and %g are not in order", i.Calibration.MapQ50, i.Calibration.MapQ995)
	}
	if _, ok := i.Calibration.PixelThreshold[refine.Base]; !ok {
		return fmt.Errorf("engine: no threshold for the map %s", refine.Base)
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
	_, err := refine.New(i.Refine)
	return err
}

// maxSide is the largest square that images are resized to.
const maxSide = 8192
