package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/backbone"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/roi"
	"f2pad.example/engine/sight"

	"gorgonia.org/tensor"
)

// FitOptions configure Fit. The zero value of every field but Method means its default.
type FitOptions struct {
	Method   string // padim, patchcore, cflow
	Profile  string // one of Profiles of the method, of which the first is the default: the tradition whose conventions it follows
	Backbone string // scatter (default), or the path of an ONNX file
	// Layers of an ONNX file that make the features, and what it expects of its input; default: backbone.ImageNet.
	Layers     []string
	Preprocess *backbone.Preprocess
	Size       Size // default: native
	// WhiteLevel is the sample of images of 16 bits that is taken as 1, LeastWhite to imageio.MaxWhite. Default: the least 2^k - 1,
	// 8 <= k <= 16, that the images learned from do not exceed; of images of 8 bits it is always 255.
	WhiteLevel int
	Seed       uint64          // of every random choice
	HoldOut    float64         // share of the normal images kept back for the calibration; default 0.2
	ImageFPR   float64         // false-positive rate of the image threshold on normal images; default 0.05
	PixelFPR   float64         // the largest share of the pixels of normal images above a pixel threshold; default 0.01, what a painted defect covers on average
	Paintings  int             // simulated defects that the pixel thresholds are measured on, painted on held-out images; default 48
	Remember   int             // normal images that the model keeps as fills for the refinement; default 24, negative: none
	Refine     *refine.Options // default: refine.DefaultOptions of the backbone's stride
	Options                    // how the network runs; Maps is not used. Of several Places the first learns, and all calibrate
	// Program is recorded in the model: the version that fitted it.
	Program string
	// Progress, if set, is told how far the work is.
	Progress func(Progress)
	// Training, if set, is told of every step of a method that is trained, beside Progress.
	Training func(method.Progress)
	// Checkpoint, if not empty, is a file where a method that is trained keeps unfinished work. A fit that was killed goes on from
	// it when it is started again with the same images and options. Whoever has the model may remove it.
	Checkpoint string
}

// Progress is a step of long work. Phases come in order.
type Progress struct {
	Phase string // fit: "images", "backbone", "method", "coreset", "training", "calibration"; Eval: "score", "boundaries", "intervals"
	Done  int
	Total int // 0: not known
}

// ErrFewImages means that too few normal images are usable to fit and calibrate a model.
var ErrFewImages = errors.New("too few normal images")

// minImages is the least number of images to fit on, and to calibrate on.
const minImages = 2

// memoryPixels bounds the remembered normal images: 64 Mpx, as many bytes in the model for grey images.
const memoryPixels = 1 << 26

func (o FitOptions) withDefaults() (FitOptions, error) {
	set := func(v *float64, def float64) {
		if *v == 0 {
			*v = def
		}
	}
	kind, err := family(o.Method)
	if err != nil {
		return o, err
	}
	if o.Profile == "" {
		o.Profile = kind.Profiles[0]
	}
	if o.Backbone == "" {
		o.Backbone = Backbones()[0]
	}
	set(&o.HoldOut, 0.2)
	set(&o.ImageFPR, 0.05)
	set(&o.PixelFPR, 0.01)
	if o.Paintings == 0 {
		o.Paintings = defaultPaintings
	}
	if o.Remember == 0 {
		o.Remember = 24
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	o.Options = o.Options.withDefaults()
	if err := oneOf("profile of "+o.Method, o.Profile, kind.Profiles); err != nil {
		return o, err
	}
	if err := o.Size.Check(min(o.MaxSide, sight.MaxSide)); err != nil {
		return o, fmt.Errorf("engine: size.%w", err)
	}
	if o.WhiteLevel != 0 {
		if err := checkWhite(o.WhiteLevel); err != nil {
			return o, err
		}
	}
	if o.Refine != nil {
		if _, err := refine.New(*o.Refine); err != nil {
			return o, err
		}
		if err := checkEffort(o.Refine); err != nil {
			return o, err
		}
	}
	for _, r := range []struct {
		name string
		v    float64
	}{{"held-out share", o.HoldOut}, {"image false-positive rate", o.ImageFPR}, {"pixel false-positive rate", o.PixelFPR}} {
		if !(r.v > 0 && r.v < 1) {
			return o, fmt.Errorf("engine: %s %g, want it between 0 and 1", r.name, r.v)
		}
	}
	return o, nil
}

// Fit learns a model from normal images. Images that cannot be used are told to skip (file and reason; it may be nil) and
// left out, those for which the network gives NaN or Inf among them, after which the work begins anew. So are those with the same
// pixels as an earlier one, which Notice is told of, as of held-out images that are nearly the same as fitted ones; Fit fails with
// ErrFewImages if too few remain. The same images, options and seed give the same model, bit for bit.
//
// A seeded share of the images is held out of the fit, to calibrate the thresholds and the scale of the scores on images
// that the model has not seen. For the pixel thresholds some of them are scored once more with a simulated defect painted on
// them (synth.Paint): see Promise. That costs making all maps of the held-out images, and of as many more as there are Paintings, all of which have
// something to refine, a second or so each on a processor. Memory: the method's own (see its package) and a few images, which are read once
// for each pass over them; the network runs once on each, a gibibyte of features stays in memory for methods that visit them more
// than once, and what is more in a temporary file (os.TempDir).
func Fit(ctx context.Context, items []dataset.Item, o FitOptions, skip func(dataset.Item, error)) (*Model, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if skip == nil {
		skip = func(dataset.Item, error) {}
	}
	bb, err := o.openBackbone()
	if err != nil {
		return nil, err
	}
	if o.Refine != nil && o.Refine.Stride != bb.Stride() {
		return nil, fmt.Errorf("engine: the refinement's stride is %d, the backbone %s has %d", o.Refine.Stride, bb.Name(), bb.Stride())
	}
	f := newFitter(o, bb)
	usable, err := f.check(ctx, items, skip)
	if err != nil {
		return nil, err
	}
	if usable, err = f.settle(usable, skip); err != nil {
		return nil, err
	}
	for {
		m, err := f.learn(ctx, usable)
		if len(f.unusable) == 0 || ctx.Err() != nil {
			return m, err
		}
		// What has been learned so far rests on them, were it by the choice of who is held out.
		usable = f.without(usable, skip)
		if f.bb, err = o.openBackbone(); err != nil {
			return nil, err
		}
	}
}

// settle gives the region of interest the size of the first image, if it has none, and leaves out images that it does not fit then.
func (f *fitter) settle(usable []intake, skip func(dataset.Item, error)) ([]intake, error) {
	if f.o.ROI == nil || len(usable) == 0 {
		return usable, nil
	}
	f.region = f.o.ROI
	if h, _ := f.region.Size(); h == 0 {
		var err error
		if f.region, err = f.region.Sized(usable[0].look.h, usable[0].look.w); err != nil {
			return nil, err
		}
	}
	f.inspect = sight.Inspect(f.region, nil)
	return slices.DeleteFunc(usable, func(in intake) bool {
		_, err := f.inspect.At(in.look.h, in.look.w)
		if err != nil {
			skip(in.item, fmt.Errorf("%s: %w", in.item.Path, err))
		}
		return err != nil
	}), nil
}

// without leaves out what has turned out to be of no use.
func (f *fitter) without(usable []intake, skip func(dataset.Item, error)) []intake {
	usable = slices.DeleteFunc(usable, func(in intake) bool {
		err, bad := f.unusable[in.item]
		if bad {
			skip(in.item, err)
		}
		return bad
	})
	clear(f.unusable)
	return usable
}

// learn makes a model of images that can be read. Where unusable has some of them afterwards, there is no model.
func (f *fitter) learn(ctx context.Context, usable []intake) (*Model, error) {
	o, bb := f.o, f.bb
	f.white = cmp.Or(o.WhiteLevel, whiteOf(usable))
	fitted, calibrated, err := split(usable, o.HoldOut, o.Seed)
	if err != nil {
		return nil, err
	}
	if text := nearlySame(fitted, calibrated); text != "" && o.Notice != nil {
		o.Notice(text)
	}
	train, held := itemsOf(fitted), itemsOf(calibrated)
	if learns, ok := bb.(backbone.Fitter); ok {
		if err := learns.Fit(ctx, o.Places[0].Executor(), f.images("backbone", train), o.Seed); err != nil {
			return nil, fmt.Errorf("engine: fitting %s: %w", bb.Name(), err)
		}
	}
	m := &Model{backbone: bb, roi: f.region, Info: ModelInfo{
		Revision: Revision, Program: o.Program, Method: o.Method, Profile: o.Profile, Backbone: bb.Name(), Size: o.Size, Seed: o.Seed,
		Train: len(train), HeldOut: len(held), TrainSHA256: filesHash(usable), WhiteLevel: f.white, ROI: roiOf(f.region),
		Refine: refine.DefaultOptions(bb.Stride()),
	}}
	m.Info.Device, m.Info.Executor = place.Together(o.Places)
	for _, in := range usable {
		m.Info.Inputs.add(in.look)
	}
	if o.Refine != nil {
		m.Info.Refine = *o.Refine
	}
	if m.method, err = f.method(ctx, train); err != nil {
		return nil, fmt.Errorf("engine: fitting %s: %w", o.Method, err)
	}
	if m.memory, err = f.remember(ctx, train); err != nil {
		return nil, err
	}
	source := Source{From: FromFit, SHA256: filesHash(calibrated), Program: o.Program, Executor: m.Info.Executor, Device: m.Info.Device}
	if m.Info.Calibration, err = f.calibrate(ctx, m, held, source); err != nil {
		return nil, fmt.Errorf("engine: calibration: %w", err)
	}
	return m, nil
}

// openBackbone returns the network to fit on. One that cannot take images of the size asked for fails here.
func (o *FitOptions) openBackbone() (backbone.Backbone, error) {
	if slices.Contains(Backbones(), o.Backbone) {
		if len(o.Layers) > 0 || o.Preprocess != nil {
			return nil, fmt.Errorf("engine: layers and preprocessing are for ONNX files, not for the backbone %q", o.Backbone)
		}
		return backbone.NewScatter(), nil
	}
	if filepath.Ext(o.Backbone) != ".onnx" {
		return nil, fmt.Errorf("engine: unknown backbone %q: want one of %s, or a file FILE.onnx", o.Backbone, strings.Join(Backbones(), ", "))
	}
	prep := backbone.ImageNet
	if o.Preprocess != nil {
		prep = *o.Preprocess
	}
	bb, err := backbone.OpenONNX(o.Backbone, o.Layers, prep)
	if err != nil {
		return nil, err
	}
	if !o.Size.Native() {
		if _, err := bb.Graph(o.Size.Padded(bb)); err != nil {
			return nil, err
		}
	}
	return bb, nil
}

// fitter carries what the steps of a fit share.
type fitter struct {
	o     FitOptions
	bb    backbone.Backbone
	room  int64  // bytes that images share while they are looked at
	keeps int64  // bytes of features that are kept in memory
	known Inputs // what a model that is calibrated learned from
	white int    // white level

	inspect *sight.Inspection
	region  *roi.Region  // of the model that is fitted; nil: none
	seeing  *sight.Frame // that a method learns from at the moment

	unusable map[dataset.Item]error // that can be read, and for which the network gives nothing to learn from
}

func newFitter(o FitOptions, bb backbone.Backbone) *fitter {
	return &fitter{
		o: o, bb: bb, room: o.decodeRoom(), keeps: o.featureRoom(), white: cmp.Or(o.WhiteLevel, imageio.MaxWhite),
		inspect: sight.Inspect(o.ROI, nil),
	}
}

// blame notes that an image cannot be used.
func (f *fitter) blame(it dataset.Item, err error) {
	if f.unusable == nil {
		f.unusable = map[dataset.Item]error{}
	}
	f.unusable[it] = fmt.Errorf("%s: %w", it.Path, err)
}

// errUnusable ends a fit to images of which some turn out to be of no use.
var errUnusable = errors.New("engine: images cannot be used")

// check decodes every image once, so that what is broken is known before the long work, hashes the files in use, and leaves out
// images that are the same as others.
func (f *fitter) check(ctx context.Context, items []dataset.Item, skip func(dataset.Item, error)) ([]intake, error) {
	type checked struct {
		intake
		notes []string
		err   error
	}
	var usable []intake
	done := 0
	err := orderedWithin(ctx, newRoom(f.room), slices.Values(items), runtime.GOMAXPROCS(0), func(it dataset.Item, reserve func(int64) error) checked {
		fr, im, err := f.load(it, reserve)
		if err != nil {
			return checked{intake: intake{item: it}, err: err}
		}
		sum, err := hashItem(it)
		if err != nil {
			return checked{intake: intake{item: it}, err: err}
		}
		in, err := take(it, sum, fr.Y, lookOf(im))
		if err != nil {
			return checked{intake: intake{item: it}, err: err}
		}
		return checked{in, im.Notes, nil}
	}, func(c checked) error {
		done++
		f.o.Progress(Progress{"images", done, len(items)})
		if c.err != nil {
			skip(c.item, c.err)
			return nil
		}
		f.o.warn(c.item, c.notes)
		f.o.unlike(c.item, f.known.unlike(c.look, f.white))
		usable = append(usable, c.intake)
		return nil
	}, between{})
	return distinct(usable, f.o.Notice), err
}

// filesHash is the SHA-256 over the hashes of the images' files.
func filesHash(all []intake) string {
	h := sha256.New()
	for _, in := range all {
		h.Write(in.sum)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func itemsOf(all []intake) []dataset.Item {
	items := make([]dataset.Item, len(all))
	for i, in := range all {
		items[i] = in.item
	}
	return items
}

func hashItem(it dataset.Item) ([]byte, error) {
	r, _, err := it.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// split parts the images into those to fit on and those to calibrate on, each in the given order.
func split[T any](items []T, share float64, seed uint64) (train, held []T, err error) {
	n := len(items)
	if n < 2*minImages {
		return nil, nil, fmt.Errorf("engine: %w: %d usable, want at least %d", ErrFewImages, n, 2*minImages)
	}
	k := min(max(int(math.Round(share*float64(n))), minImages), n-minImages)
	out := make([]bool, n)
	for _, i := range rand.New(rand.NewPCG(seed, 1)).Perm(n)[:k] {
		out[i] = true
	}
	for i, it := range items {
		if out[i] {
			held = append(held, it)
		} else {
			train = append(train, it)
		}
	}
	return train, held, nil
}

// load reads an image and makes its frame. reserve is asked for the memory.
func (f *fitter) load(it dataset.Item, reserve func(int64) error) (fr *sight.Frame, im *imageio.Image, err error) {
	im, err = decodeImage(it, f.o.Limits, f.white, reserving(reserve, f.o.Size, f.bb.Multiple(), f.bb.MinSide()))
	if err != nil {
		return nil, nil, err
	}
	fr, err = sight.NewFrame(im, f.o.Size, f.bb.Multiple(), f.bb.MinSide())
	if err == nil {
		err = f.inspect.Restrict(fr)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", it.Path, err)
	}
	return fr, im, nil
}

// stream visits value(frame) of the images in order, computed ahead in parallel. One whose value, or visit, is a
// backbone.ErrNotFinite is blamed, and ends it with errUnusable when all have been seen: there may be others.
func stream[V any](ctx context.Context, f *fitter, phase string, items []dataset.Item, value func(*sight.Frame) (V, error), visit func(V) error) error {
	type made struct {
		it  dataset.Item
		v   V
		err error
	}
	done := 0
	err := orderedWithin(ctx, newRoom(f.room), slices.Values(items), runtime.GOMAXPROCS(0), func(it dataset.Item, reserve func(int64) error) (m made) {
		var fr *sight.Frame
		m.it = it
		if fr, _, m.err = f.load(it, reserve); m.err == nil {
			m.v, m.err = value(fr)
		}
		return m
	}, func(m made) error {
		done++
		f.o.Progress(Progress{phase, done, len(items)})
		if m.err == nil {
			m.err = visit(m.v)
		}
		if errors.Is(m.err, backbone.ErrNotFinite) {
			f.blame(m.it, m.err)
			return nil
		}
		return m.err
	}, between{})
	if err == nil && len(f.unusable) > 0 {
		return errUnusable
	}
	return err
}

func (f *fitter) images(phase string, items []dataset.Item) backbone.Images {
	return func(ctx context.Context, visit func(*tensor.Dense) error) error {
		return stream(ctx, f, phase, items, func(fr *sight.Frame) (*tensor.Dense, error) { return fr.Y, nil }, visit)
	}
}

// learned is what a method learns from an image.
type learned struct {
	from   *sight.Frame
	layers []*tensor.Dense
}

// method fits the detector on the features of the training images.
func (f *fitter) method(ctx context.Context, train []dataset.Item) (m method.Method, err error) {
	net := f.network()
	defer net.Close()
	features := func(ctx context.Context, visit func([]*tensor.Dense) error) error {
		return stream(ctx, f, "method", train, func(fr *sight.Frame) (learned, error) {
			h, w := fr.Size()
			layers, err := net.Features(ctx, nd.Wrap(nd.Data(fr.Y), 1, 3, h, w), []backbone.Affine{fr.Normalized(f.bb)})
			for _, l := range layers {
				if err == nil && !sight.Finite(nd.Data(l)) {
					err = fmt.Errorf("engine: %s gives %w", f.bb.Name(), backbone.ErrNotFinite)
				}
			}
			return learned{fr, layers}, err
		}, func(l learned) error {
			f.seeing = l.from
			return visit(l.layers)
		})
	}
	kind, err := family(f.o.Method)
	if err != nil {
		return nil, err
	}
	if kind.Revisits {
		keep := &keeper{compute: features, room: f.keeps, create: newScratch}
		defer func() { err = errors.Join(err, keep.close()) }()
		features = keep.visit
	}
	fitting := method.Fitting{
		Profile: f.o.Profile, Seed: f.o.Seed, Native: f.o.Size.Native(), Features: features, KCentre: f.kCentre,
		Progress: func(p method.Progress) {
			f.o.Progress(Progress{p.Phase, p.Done, p.Total})
			if f.o.Training != nil && p.Phase == "training" {
				f.o.Training(p)
			}
		},
	}
	if f.inspect != nil {
		fitting.Where = func(h, w int) []bool { return f.seeing.Grid(h, w) }
	}
	if f.o.Checkpoint != "" {
		fitting.Checkpoint = checkpoint(f.o.Checkpoint)
	}
	return kind.Fit(ctx, fitting)
}

// checkpoint is a file with unfinished work.
type checkpoint string

// Load implements method.Checkpoint. A file that is broken, or something else, is an error: it is not this program's to replace.
func (c checkpoint) Load() (*artifact.File, error) {
	f, err := artifact.Open(string(c))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// Save implements method.Checkpoint.
func (c checkpoint) Save(w *artifact.Writer) error {
	_, err := w.WriteFile(string(c))
	return err
}

// network runs the backbone on images as they are.
func (f *fitter) network() *sight.Network {
	return sight.NewNetwork(f.bb, f.o.Places[0].Executor(), sight.NewWindows(f.bb, f.o.MaxPixels, f.o.Context))
}

// kCentre chooses on the fit's first place, or where that fails on the next, and last on what takes over.
func (f *fitter) kCentre(ctx context.Context, x []float32, d, want int, starts []int, progress func(done, total int)) (centres []int, err error) {
	all := f.o.Places
	if f.o.Fallback != nil {
		all = append(slices.Clip(all), f.o.Fallback)
	}
	for i, p := range all {
		centres, err = p.KCentre(ctx, x, d, want, starts, progress)
		if i+1 == len(all) || !ofDevice(err) {
			break
		}
		if f.o.Notice != nil {
			f.o.Notice(fmt.Sprintf("%s: %s chooses the coreset: %v", p.Info().Device, nameOf(all[i+1].Info()), err))
		}
	}
	return centres, err
}

// remember keeps a seeded choice of the training images, in 8 bits, as many as asked for and as fit the memory.
func (f *fitter) remember(ctx context.Context, train []dataset.Item) ([]*refine.Normal, error) {
	pick := rand.New(rand.NewPCG(f.o.Seed, 2)).Perm(len(train))
	pick = pick[:max(0, min(f.o.Remember, len(pick)))]
	slices.Sort(pick)
	chosen := make([]dataset.Item, len(pick))
	for i, p := range pick {
		chosen[i] = train[p]
	}
	var memory []*refine.Normal
	pixels := 0
	err := stream(ctx, f, "images", chosen, func(fr *sight.Frame) (*refine.Normal, error) {
		return refine.Remember(fr.Y)
	}, func(n *refine.Normal) error {
		_, shape := n.Planes()
		if pixels += shape[1] * shape[2]; pixels <= memoryPixels {
			memory = append(memory, n)
		}
		return nil
	})
	return memory, err
}
