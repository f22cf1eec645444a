package padim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/method"
)

// KeepPublished keeps as many channels as were published: 100 (ResNet-18's layers, D = 448) where D < 1792, else 550
// (WideResNet-50-2, D = 1792).
const KeepPublished = -1

// Options say how a model is fitted. They start from ProfileOptions; any field may then be changed.
type Options struct {
	// Profile is the tradition that the map's conventions follow: "f2pad", "paper" or "anomalib".
	Profile string `json:"profile"`
	// Seed chooses the channels that are kept.
	Seed uint64 `json:"seed"`
	// Native fits one Gaussian for all locations, so that images may differ in size. It sees every location's features
	// as samples of one texture: right for homogeneous surfaces, blind to what is wrong only where it is.
	Native bool `json:"native"`

	// Keep is how many of the D channels are kept, chosen at random; 0 or at least D: all. Time and memory grow with
	// its square.
	Keep int `json:"keep"`
	// Channels, if not nil, are the channels to keep (ascending, of the concatenated layers) instead of a random choice.
	Channels []int `json:"-"`
	// Ridge is added to the covariance's diagonal.
	Ridge float64 `json:"ridge"`
	// Window averages the covariances (not the means) over Window x Window neighbouring locations, at the border over
	// those that exist. Odd; 1: none. More than the images of a small training set can say about a location alone.
	Window int `json:"window"`
	// Global is the share of the covariance averaged over all locations; the window's has 1-Global.
	Global float64 `json:"global"`
}

var profiles = []string{"f2pad", "paper", "anomalib"}

// ProfileOptions returns the options of a profile:
//   - "f2pad" (also ""), this project's own for few images: 100 random channels of a deep network, or all of scatter's 48,
//     covariance pooled over 5x5 neighbours, 0.7 of that + 0.3 of the global one + 0.01 I;
//   - "paper": Defard et al. 2021: 100 or 550 random channels, sample covariance + 0.01 I;
//   - "anomalib": the same with another 1e-5 I, and its map's boundary (mirrored without the edge pixel).
func ProfileOptions(profile string) (Options, error) {
	o := Options{Profile: profile, Keep: KeepPublished, Ridge: 0.01, Window: 1}
	switch profile {
	case "f2pad", "":
		o.Profile, o.Keep, o.Window, o.Global = "f2pad", 100, 5, 0.3
	case "paper":
	case "anomalib":
		o.Ridge += 1e-5
	default:
		return Options{}, fmt.Errorf("padim: unknown profile %q: want one of %s", profile, strings.Join(profiles, ", "))
	}
	return o, nil
}

// Family is how the engine knows PaDiM.
func Family() method.Family {
	return method.Family{
		Name:     name,
		Profiles: profiles,
		Fit: func(ctx context.Context, f method.Fitting) (method.Method, error) {
			o, err := ProfileOptions(f.Profile)
			if err != nil {
				return nil, err
			}
			o.Seed, o.Native = f.Seed, f.Native
			return FitWith(ctx, o, f)
		},
		Load: func(f *artifact.File) (method.Method, error) { return Load(f) },
		Plan: plan,
	}
}

// plan: what is left when the features are seen, inverting, does not depend on how many there were.
func plan(f method.Fitting, layers [][3]int, _ int) (method.Plan, error) {
	o, err := ProfileOptions(f.Profile)
	if err != nil {
		return method.Plan{}, err
	}
	width, states := 0, layers[0][1]*layers[0][2]
	for _, l := range layers {
		width += l[0]
	}
	if f.Native {
		states = 1
	}
	k := int64(o.keep(width))
	return method.Plan{Bytes: int64(states) * 6 * k * (k + 1), Work: 1}, nil
}

// keep is how many of so many channels are kept.
func (o *Options) keep(width int) int {
	keep := o.Keep
	switch {
	case keep == KeepPublished && width < 1792:
		keep = 100
	case keep == KeepPublished:
		keep = 550
	}
	if keep == 0 || keep > width {
		keep = width
	}
	return keep
}

func (o *Options) check() error {
	switch {
	case !slices.Contains(profiles, o.Profile):
		return fmt.Errorf("unknown profile %q: want one of %s", o.Profile, strings.Join(profiles, ", "))
	case o.Keep < KeepPublished:
		return fmt.Errorf("keep %d channels", o.Keep)
	case !(o.Ridge > 0) || math.IsInf(o.Ridge, 0):
		return fmt.Errorf("ridge %g, want more than 0", o.Ridge)
	case o.Window < 1 || o.Window%2 == 0:
		return fmt.Errorf("window of %d cells, want an odd number", o.Window)
	case !(o.Global >= 0 && o.Global <= 1):
		return fmt.Errorf("global share %g, want 0 to 1", o.Global)
	}
	return nil
}

// checkChannels accepts an ascending choice out of width channels.
func checkChannels(channels []int, width int) error {
	if len(channels) == 0 {
		return errors.New("no channels kept")
	}
	last := -1
	for _, c := range channels {
		if c <= last || c >= width {
			return fmt.Errorf("kept channel %d after %d, want ascending numbers below %d", c, last, width)
		}
		last = c
	}
	return nil
}
