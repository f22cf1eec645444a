package refine

import (
	"encoding/json"
	"fmt"
	"math"

	"f2pad.example/engine/artifact"
)

// A model records the revision of the refinement that its thresholds were measured with. Whoever changes Options, or makes
// other maps of the same options, makes Revision one more. If the older options still give the same maps, optionsOf says
// what they mean by the fields that are new; if not, sameMaps becomes Revision, too, and the models made before keep
// their base map and their image scores only.
const (
	Revision = 4
	sameMaps = 4 // the first revision whose options give the maps that they were calibrated for
)

// Options holds every constant of the refinement. Lengths that come from the grid's uncertainty about where things are,
// are in grid cells and scale with the backbone's stride; lengths at which pixels differ from their neighbours are in
// pixels (px) and do not. Sigmas are of Gaussians truncated at 4 sigma. z and u are calibrated scores.
//
// In JSON, options of an older revision become those of this one, and those of a newer one are an error
// (artifact.ErrNewer). What is too old for this program to make the same maps is kept as it was: see Current.
type Options struct {
	Revision   int               `json:"revision"`
	Stride     int               `json:"stride"` // pixels per grid cell
	Region     RegionOptions     `json:"region"`
	Fills      FillOptions       `json:"fills"`
	Residual   ResidualOptions   `json:"residual"`
	Optimiser  OptimiserOptions  `json:"optimiser"`
	Looks      LooksOptions      `json:"looks"`
	Map        MapOptions        `json:"map"`
	Classifier ClassifierOptions `json:"classifier"`

	older string // the JSON of options that are not Current
}

// Current reports whether this program makes the maps residual and f2pad that the options stand for. Of options that are not
// current, only Revision is set.
func (o *Options) Current() bool { return o.Revision >= sameMaps }

// plain is Options without its methods.
type plain Options

// UnmarshalJSON implements json.Unmarshaler. Fields that options of this revision do not have are an error.
func (o *Options) UnmarshalJSON(data []byte) error { return o.decode(data, Revision, sameMaps) }

func (o *Options) decode(data []byte, known, same int) error {
	err := artifact.DecodeOptions(data, known, func(revision int) any {
		if revision < same {
			*o = Options{Revision: revision, older: string(data)}
			return nil
		}
		*o = optionsOf(revision)
		return (*plain)(o)
	})
	if err != nil {
		return fmt.Errorf("refine: options: %w", err)
	}
	if o.older == "" {
		o.Revision = known
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (o Options) MarshalJSON() ([]byte, error) {
	if o.older != "" {
		return []byte(o.older), nil
	}
	return json.Marshal(plain(o))
}

// optionsOf returns the defaults of a revision from sameMaps on, without a stride. A field that came later gets the value
// that means what the program did before.
func optionsOf(int) Options { return DefaultOptions(0) }

// RegionOptions say what is suspicious (step 1).
type RegionOptions struct {
	SmoothCells float64 `json:"smooth_cells"` // sigma of u, the upsampled scores
	Suspect     float64 `json:"suspect"`      // u above which a pixel may belong to the region
	Certain     float64 `json:"certain"`      // u that a component of such pixels must exceed somewhere
	PeakCells   float64 `json:"peak_cells"`   // a pixel's neighbourhood reaches so many cells up, down, left and right
	PeakShare   float64 `json:"peak_share"`   // share of the neighbourhood's peak that a pixel must exceed to belong to the region
	TopShare    float64 `json:"top_share"`    // share of the image's highest peak that a component must exceed somewhere
	KeepCells   float64 `json:"keep_cells"`   // distance to such pixels within which it is kept
	DilateCells float64 `json:"dilate_cells"` // radius of its dilation
}

// FillOptions choose and fit the fills (step 2).
type FillOptions struct {
	Count         int     `json:"count"`          // fills per component
	Shifts        int     `json:"shifts"`         // shifts tried, at most
	ShiftCells    float64 `json:"shift_cells"`    // spacing of the shifts; at least one pixel
	ClearPx       float64 `json:"clear_px"`       // dilation of the suspicious region that a shifted component must not touch
	RingCells     float64 `json:"ring_cells"`     // width of the ring around a component on which candidates are compared
	RingPixels    int     `json:"ring_pixels"`    // pixels of the ring that are looked at, at most
	SmoothPx      float64 `json:"smooth_px"`      // sigma of the images when they are compared
	MeanShare     float64 `json:"mean_share"`     // share of the mean difference that costs nothing: the offset takes it up
	MemoryCost    float64 `json:"memory_cost"`    // factor on the cost of remembered images
	ApartCells    float64 `json:"apart_cells"`    // least distance of two shifts that are both taken
	OffsetCells   float64 `json:"offset_cells"`   // least sigma of the offset's interpolation
	OffsetDivisor float64 `json:"offset_divisor"` // else sqrt(area)/OffsetDivisor pixels
}

// ResidualOptions measure the image against its fills (step 3). The residual and the optimisation are in units of c, which is
// how much normal fills differ at the place, plus Floor.
type ResidualOptions struct {
	SmoothPx float64 `json:"smooth_px"` // sigma of the residual
	Quantile float64 `json:"quantile"`  // over the fills of their squared distance to the nearest other one: what they differ by
	SpreadPx float64 `json:"spread_px"` // sigma of that
	Floor    float64 `json:"floor"`     // least difference that counts, of pixels in [0,1]
	Low      float64 `json:"low"`       // residual/c up to which a pixel is no evidence
	High     float64 `json:"high"`      // residual/c from which it is full evidence
}

// OptimiserOptions are the constants of the optimisation (step 4).
type OptimiserOptions struct {
	// The optimisation is for islands in which a fill explains a share of a region's finding between these two (step 5).
	ExplainedFrom float64 `json:"explained_from"`
	ExplainedTo   float64 `json:"explained_to"`

	Iterations int     `json:"iterations"`
	Averaged   int     `json:"averaged"`    // last iterations whose mean is the result
	StartPx    float64 `json:"start_px"`    // sigma of the squared residual that chooses the fill to start from
	NearCells  float64 `json:"near_cells"`  // the data term's cells: those with a pixel this near the region
	DataWeight float64 `json:"data_weight"` // of the data term
	Margin     float64 `json:"margin"`      // the data term is 0 for z <= -Margin
	Lambda     float64 `json:"lambda"`      // weight of the penalty
	Eps        float64 `json:"eps"`         // of the penalty log(1 + n/eps)
	SharePx    float64 `json:"share_px"`    // sigma of the gradient's sharing
	NormPx     float64 `json:"norm_px"`     // sigma of the squared norm in the proximal step
	Momentum   float64 `json:"momentum"`    // of Adam's first moment
	Decay      float64 `json:"decay"`       // of Adam's second moment
	Rate       float64 `json:"rate"`        // step eta = Rate/(sqrt(v) + Lambda)
	SmoothPx   float64 `json:"smooth_px"`   // sigma of the result
}

// LooksOptions say where else the detector looks (step 5).
type LooksOptions struct {
	ShiftCells float64 `json:"shift_cells"` // how far the image is moved each way; 0: no further looks
}

// MapOptions join the detector's ranking and the evidence (step 6): log S = log g(v) + trust log((Floor + e)/(Floor + mean of
// e near by)), with g(v) = v^Power from Knee on.
type MapOptions struct {
	Power     float64 `json:"power"`
	Knee      float64 `json:"knee"`
	Floor     float64 `json:"floor"`
	MeanCells float64 `json:"mean_cells"` // sigma of the mean; it reaches the next cell at least
	Trust     Trust   `json:"trust"`
	Gain      float64 `json:"gain"` // S grows by the factor 1 + Gain x, x the share of the region's finding that its fill takes away
}

// Trust is the power of evidence: Slope (agreement with the detector - From), from Least to Most. An agreement of 1 is
// what evidence has that knows nothing of the detector.
type Trust struct {
	From  float64 `json:"from"`
	Slope float64 `json:"slope"`
	Least float64 `json:"least"`
	Most  float64 `json:"most"`
}

// ClassifierOptions say which pixels look like the clearest of the defect (step 7).
type ClassifierOptions struct {
	Top     float64 `json:"top"`      // share of the region's pixels, those with the highest score, that are examples of the defect
	Rest    float64 `json:"rest"`     // share, with the least score, that are examples of what is normal
	Pixels  int     `json:"pixels"`   // examples of each, at most
	FinePx  float64 `json:"fine_px"`  // sigma
	MidPx   float64 `json:"mid_px"`   // sigma
	WidePx  float64 `json:"wide_px"`  // sigma
	GrainPx float64 `json:"grain_px"` // sigma of the deviation from the mean, and of the mean
	Ridge   float64 `json:"ridge"`    // weight of the squared coefficients
	Floor   float64 `json:"floor"`    // as that of the map
	Trust   Trust   `json:"trust"`
}

// DefaultOptions returns the constants of the method for a backbone of the given stride.
func DefaultOptions(stride int) Options {
	return Options{
		Revision: Revision,
		Stride:   stride,
		Region: RegionOptions{
			SmoothCells: 0.25, Suspect: 0.5, Certain: 1, PeakCells: 8, PeakShare: 0.5, TopShare: 0.4, KeepCells: 3, DilateCells: 2,
		},
		Fills: FillOptions{
			Count: 6, Shifts: 500, ShiftCells: 0.5, ClearPx: 1, RingCells: 1.25, RingPixels: 150, SmoothPx: 1,
			MeanShare: 0.7, MemoryCost: 1.1, ApartCells: 1, OffsetCells: 0.75, OffsetDivisor: 2.5,
		},
		Residual: ResidualOptions{SmoothPx: 1, Quantile: 0.9, SpreadPx: 3, Floor: 0.01, Low: 1, High: 3},
		Optimiser: OptimiserOptions{
			ExplainedFrom: 0.2, ExplainedTo: 0.9, Iterations: 3, Averaged: 2, StartPx: 1.2, NearCells: 2, DataWeight: 16,
			Margin: 1, Lambda: 3, Eps: 0.1, SharePx: 1.5, NormPx: 1, Momentum: 0.8, Decay: 0.95, Rate: 0.1, SmoothPx: 1,
		},
		Looks: LooksOptions{ShiftCells: 0.5},
		Map: MapOptions{
			Power: 2, Knee: 0.25, Floor: 0.1, MeanCells: 4, Trust: Trust{From: 0.5, Slope: 0.75, Least: 0.25, Most: 3},
			Gain: 0.5,
		},
		Classifier: ClassifierOptions{
			Top: 0.05, Rest: 0.5, Pixels: 4096, FinePx: 1, MidPx: 4, WidePx: 8, GrainPx: 2, Ridge: 0.01, Floor: 0.2,
			Trust: Trust{From: 1.1, Slope: 1, Least: 0, Most: 1},
		},
	}
}

// check refuses values that no refinement can work with; the error names the field as JSON does.
func (o *Options) check() error {
	const tiny, huge = 1e-12, 1e6
	const long = 64 // of lengths, in cells or pixels: bounds what a model from a stranger can cost
	g, f, r, p, l, m, c := &o.Region, &o.Fills, &o.Residual, &o.Optimiser, &o.Looks, &o.Map, &o.Classifier
	for _, v := range []struct {
		field       string
		value       float64
		least, most float64
	}{
		{"revision", float64(o.Revision), Revision, Revision},
		{"stride", float64(o.Stride), 1, 256},
		{"region.smooth_cells", g.SmoothCells, 0, long},
		{"region.suspect", g.Suspect, 0, huge},
		{"region.certain", g.Certain, g.Suspect, huge},
		{"region.peak_cells", g.PeakCells, 0, long},
		{"region.peak_share", g.PeakShare, 0, 1},
		{"region.top_share", g.TopShare, 0, 1},
		{"region.keep_cells", g.KeepCells, 0, long},
		{"region.dilate_cells", g.DilateCells, 0, long},
		{"fills.count", float64(f.Count), 1, 64},
		{"fills.shifts", float64(f.Shifts), 0, huge},
		{"fills.shift_cells", f.ShiftCells, 0, long},
		{"fills.clear_px", f.ClearPx, 0, long},
		{"fills.ring_cells", f.RingCells, 0, long},
		{"fills.ring_pixels", float64(f.RingPixels), 1, huge},
		{"fills.smooth_px", f.SmoothPx, 0, long},
		{"fills.mean_share", f.MeanShare, 0, 1},
		{"fills.memory_cost", f.MemoryCost, 0, huge},
		{"fills.apart_cells", f.ApartCells, 0, long},
		{"fills.offset_cells", f.OffsetCells, tiny, long},
		{"fills.offset_divisor", f.OffsetDivisor, tiny, huge},
		{"residual.smooth_px", r.SmoothPx, 0, long},
		{"residual.quantile", r.Quantile, 0, 1},
		{"residual.spread_px", r.SpreadPx, 0, long},
		{"residual.floor", r.Floor, tiny, huge},
		{"residual.low", r.Low, 0, huge},
		{"residual.high", r.High, r.Low + tiny, huge},
		{"optimiser.explained_from", p.ExplainedFrom, 0, 1},
		{"optimiser.explained_to", p.ExplainedTo, p.ExplainedFrom, 1},
		{"optimiser.iterations", float64(p.Iterations), 1, 10000},
		{"optimiser.averaged", float64(p.Averaged), 1, float64(p.Iterations)},
		{"optimiser.start_px", p.StartPx, 0, long},
		{"optimiser.near_cells", p.NearCells, 0, long},
		{"optimiser.data_weight", p.DataWeight, 0, huge},
		{"optimiser.margin", p.Margin, -huge, huge},
		{"optimiser.lambda", p.Lambda, tiny, huge},
		{"optimiser.eps", p.Eps, tiny, huge},
		{"optimiser.share_px", p.SharePx, 0, long},
		{"optimiser.norm_px", p.NormPx, 0, long},
		{"optimiser.momentum", p.Momentum, 0, 1 - tiny},
		{"optimiser.decay", p.Decay, 0, 1 - tiny},
		{"optimiser.rate", p.Rate, 0, huge},
		{"optimiser.smooth_px", p.SmoothPx, 0, long},
		{"looks.shift_cells", l.ShiftCells, 0, 1},
		{"map.power", m.Power, tiny, 8},
		{"map.knee", m.Knee, tiny, huge},
		{"map.floor", m.Floor, tiny, huge},
		{"map.mean_cells", m.MeanCells, 0.25, long},
		{"map.trust.from", m.Trust.From, 0, huge},
		{"map.trust.slope", m.Trust.Slope, 0, huge},
		{"map.trust.least", m.Trust.Least, 0, 16},
		{"map.trust.most", m.Trust.Most, m.Trust.Least, 16},
		{"map.gain", m.Gain, 0, huge},
		{"classifier.top", c.Top, tiny, 1},
		{"classifier.rest", c.Rest, tiny, 1},
		{"classifier.pixels", float64(c.Pixels), 1, huge},
		{"classifier.fine_px", c.FinePx, 0, long},
		{"classifier.mid_px", c.MidPx, 0, long},
		{"classifier.wide_px", c.WidePx, 0, long},
		{"classifier.grain_px", c.GrainPx, 0, long},
		{"classifier.ridge", c.Ridge, 1e-6, huge},
		{"classifier.floor", c.Floor, tiny, huge},
		{"classifier.trust.from", c.Trust.From, 0, huge},
		{"classifier.trust.slope", c.Trust.Slope, 0, huge},
		{"classifier.trust.least", c.Trust.Least, 0, 16},
		{"classifier.trust.most", c.Trust.Most, c.Trust.Least, 16},
	} {
		if !(v.value >= v.least && v.value <= v.most) || math.IsNaN(v.value) {
			return fmt.Errorf("refine: option %s is %g, want %g to %g", v.field, v.value, v.least, v.most)
		}
	}
	return nil
}

// px is a length in cells as pixels.
func (o *Options) px(cells float64) float64 { return cells * float64(o.Stride) }
