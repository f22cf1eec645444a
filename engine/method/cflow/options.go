package cflow

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// How layers are fused; see Model.
const (
	FuseSum  = "sum"
	FuseRoot = "root"
	FuseMean = "mean"
)

// How a flow is trained.
const (
	LogSigmoid = "logsigmoid" // -log sigmoid(log p / D), the paper's
	Likelihood = "likelihood" // -log p / D
)

// Options say how a model is fitted. They start from ProfileOptions; any field may then be changed.
type Options struct {
	// Profile is the tradition that the defaults come from: "compact", "paper" or "anomalib".
	Profile string `json:"profile"`
	// Seed makes every random choice.
	Seed uint64 `json:"seed"`
	// Native leaves the position out, so that images may differ in size: every location is a sample of one texture.
	Native bool `json:"native"`

	Blocks    int     `json:"blocks"`    // coupling blocks of each flow
	Condition int     `json:"condition"` // values of the position's encoding, a multiple of 4; 0 if Native
	Clamp     float64 `json:"clamp"`     // largest log-scale of a block
	Soft      bool    `json:"soft"`      // blocks end in a random rotation, not in a random permutation
	// Whiten brings the features to mean 0 and covariance I (and Ridge) before the flow, which then begins as a Gaussian of
	// all locations.
	Whiten bool    `json:"whiten"`
	Ridge  float64 `json:"ridge"` // share of the mean variance that is added to every one
	Fuse   string  `json:"fuse"`  // one of the constants

	Loss string `json:"loss"` // one of the constants
	// MaxLocations bounds the feature vectors of a layer that are kept to train on, a uniform random subset; 0: all.
	MaxLocations int     `json:"max_locations"`
	Batch        int     `json:"batch"`     // vectors of a step
	Passes       float64 `json:"passes"`    // steps, in passes over what is kept; at most
	MaxSteps     int     `json:"max_steps"` // of a layer; 0: Passes alone
	Rate         float64 `json:"rate"`      // Adam's
	WarmUp       float64 `json:"warm_up"`   // share of the steps in which the rate rises from a tenth
	LastRate     float64 `json:"last_rate"` // what a cosine brings it down to, as a share
	HoldOut      int     `json:"hold_out"`  // one image in so many is not trained on but watched; 0: none
	Checks       int     `json:"checks"`    // how often in all the held-out likelihood is looked at
	Patience     int     `json:"patience"`  // looks without a better one after which training ends; 0: never
}

var profiles = []string{"compact", "paper", "anomalib"}

// ProfileOptions returns the options of a profile:
//   - "compact" (also ""), this project's own for a processor: whitened features, 6 blocks with rotations that scale
//     by at most exp(0.5), 32 values of position, the likelihood itself as loss, at most 2,000 steps of 512 vectors a layer, layers
//     fused by the root of the sum. Blocks that may scale more, by exp(1.9), follow what is far from everything normal and make
//     it likelier: on scatter's features of made-up wood they score worse than a Gaussian;
//   - "paper" (gudovskiy/cflow-ad): 8 blocks with rotations, 128 values of position, 25 x 8 passes over all locations in steps
//     of 256, rate 2e-4 after a warm-up over 2 of 25, down a cosine to 1e-3 of it, layers fused by the sum. Made for a GPU:
//     days on a processor;
//   - "anomalib": the same with permutations and rate 1e-4 throughout, until the held-out likelihood stops to rise. (Anomalib
//     itself looks at a metric of the test images.)
func ProfileOptions(profile string) (Options, error) {
	o := Options{
		Profile: profile, Blocks: 8, Condition: 128, Clamp: 1.9, Soft: true, Fuse: FuseSum, Loss: LogSigmoid,
		Batch: 256, Passes: 200, Rate: 2e-4, WarmUp: 0.08, LastRate: 1e-3,
	}
	switch profile {
	case "compact", "":
		o.Profile = "compact"
		o.Blocks, o.Condition, o.Clamp, o.Whiten, o.Ridge, o.Fuse, o.Loss = 6, 32, 0.5, true, 1e-3, FuseRoot, Likelihood
		o.MaxLocations, o.Batch, o.Passes, o.MaxSteps, o.Rate, o.WarmUp, o.LastRate = 100_000, 512, 20, 2000, 1e-3, 0.05, 1e-2
		o.HoldOut, o.Checks, o.Patience = 8, 40, 8
	case "paper":
	case "anomalib":
		o.Soft, o.Rate, o.WarmUp, o.LastRate = false, 1e-4, 0, 1
		o.HoldOut, o.Checks, o.Patience = 8, 200, 10
	default:
		return Options{}, fmt.Errorf("cflow: unknown profile %q: want one of %s", profile, strings.Join(profiles, ", "))
	}
	return o, nil
}

// check refuses what no flow works with; the error begins with the field.
func (o *Options) check() error {
	for _, f := range []struct {
		name    string
		value   string
		allowed []string
	}{
		{"profile", o.Profile, profiles},
		{"fuse", o.Fuse, []string{FuseSum, FuseRoot, FuseMean}},
		{"loss", o.Loss, []string{LogSigmoid, Likelihood}},
	} {
		if !slices.Contains(f.allowed, f.value) {
			return fmt.Errorf("%s is %q, want one of %s", f.name, f.value, strings.Join(f.allowed, ", "))
		}
	}
	const many = 1e9
	for _, f := range []struct {
		name               string
		value, least, most float64
	}{
		{"blocks", float64(o.Blocks), 1, maxBlocks},
		{"condition", float64(o.Condition), 0, maxCondition},
		{"condition's remainder by 4", float64(o.Condition % 4), 0, 0},
		{"clamp", o.Clamp, 1e-3, 5},
		{"ridge", o.Ridge, 0, 1},
		{"max_locations", float64(o.MaxLocations), 0, many},
		{"batch", float64(o.Batch), 1, 1 << 16},
		{"passes", o.Passes, 0, many},
		{"max_steps", float64(o.MaxSteps), 0, many},
		{"rate", o.Rate, 1e-9, 1},
		{"warm_up", o.WarmUp, 0, 1},
		{"last_rate", o.LastRate, 0, 1},
		{"hold_out", float64(o.HoldOut), 0, many},
		{"checks", float64(o.Checks), 0, many},
		{"patience", float64(o.Patience), 0, many},
	} {
		if !(f.value >= f.least && f.value <= f.most) || math.IsNaN(f.value) {
			return fmt.Errorf("%s is %g, want %g to %g", f.name, f.value, f.least, f.most)
		}
	}
	return nil
}

// Bounds of what a model file may say.
const (
	maxBlocks    = 64
	maxCondition = 1 << 10
	maxWidth     = 1 << 13
	maxLayers    = 64
	maxGrid      = 1 << 15
)
