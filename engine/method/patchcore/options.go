package patchcore

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/method"
)

// Projections of the patches before the coreset is chosen. One that would not make them shorter is skipped.
const (
	NoProjection     = "none"
	GaussProjection  = "gaussian" // independent normal entries
	SparseProjection = "sparse"   // Li et al. 2006: entries 0 but for a share of 1/sqrt(D), of either sign
)

// Options say how a model is fitted. They start from ProfileOptions; any field may then be changed.
type Options struct {
	// Profile is the tradition that the map's conventions follow: "f2pad", "paper" or "anomalib".
	Profile string `json:"profile"`
	// Seed makes every random choice.
	Seed uint64 `json:"seed"`

	// EmbedDim is D of the paper's embedding: 3x3 neighbourhoods unfolded and pooled to EmbedDim values. 0: each layer
	// averaged over 3x3 and concatenated, D being the sum of the layers' channels.
	EmbedDim int `json:"embed_dim"`
	// Squared scores are squared distances.
	Squared bool `json:"squared"`
	// Supports is the number b of bank members around the nearest one that re-weight the image score; below 2: none.
	Supports int `json:"supports"`

	// MaxPatches bounds the patches that the coreset is chosen from: a uniform random subset of all patches of all
	// training images; 0: all. Time and memory of a fit grow with it; a rare kind of normal patch with a share of r
	// is still seen with a probability of about 1-exp(-r*MaxPatches).
	MaxPatches int `json:"max_patches"`
	// Ratio is the share of these patches that the bank keeps. More members score normal patches lower; time to fit and
	// to score, and the model's size, grow with their number.
	Ratio float64 `json:"ratio"`
	// MaxBank bounds the bank; 0: Ratio alone.
	MaxBank int `json:"max_bank"`
	// Projection is one of the constants above. ProjectDim is its length; 0: as many as the lemma of Johnson and
	// Lindenstrauss asks for at distortion Epsilon, 4 ln(P)/(Epsilon^2/2 - Epsilon^3/3).
	Projection string  `json:"projection"`
	ProjectDim int     `json:"project_dim"`
	Epsilon    float64 `json:"epsilon"`
	// StartPoints is the number of random patches whose mean distance stands in for the distance to a bank that is still
	// empty; 0: the bank starts with one random patch.
	StartPoints int `json:"start_points"`
}

var profiles = []string{"f2pad", "paper", "anomalib"}

// ProfileOptions returns the options of a profile:
//   - "f2pad" (also ""), this project's own: averaged 3x3, distances not squared, image score re-weighted with b = 9, 10 %
//     and at most 4,000 of at most 100,000 patches, chosen on 128 random projections where D is larger. With D = 48 on
//     two cores the choice takes 3 to 7 s and the search for an image of 64x64 cells 0.01 s where the processor multiplies
//     bytes, 0.05 s where not (0.02 and 0.1 s with 10,000 members);
//   - "paper" (amazon-science/patchcore-inspection): unfolded 3x3 pooled to 1024, squared distances, the largest one as
//     the image score, 10 % of all patches chosen on 128 random projections, started from 10 points;
//   - "anomalib": averaged 3x3, distances, image score re-weighted with b = 9, 10 % of all patches chosen on a sparse
//     random projection at distortion 0.9, map resized by nearest.
func ProfileOptions(profile string) (Options, error) {
	o := Options{Profile: profile, Ratio: 0.1, Supports: 9, Projection: NoProjection}
	switch profile {
	case "f2pad", "":
		o.Profile, o.MaxPatches, o.MaxBank = "f2pad", 100_000, 4_000
		o.Projection, o.ProjectDim = GaussProjection, 128
	case "paper":
		o.EmbedDim, o.Squared, o.Supports, o.StartPoints = 1024, true, 0, 10
		o.Projection, o.ProjectDim = GaussProjection, 128
	case "anomalib":
		o.Projection, o.Epsilon = SparseProjection, 0.9
	default:
		return Options{}, fmt.Errorf("patchcore: unknown profile %q: want one of %s", profile, strings.Join(profiles, ", "))
	}
	return o, nil
}

// Family is how the engine knows PatchCore.
func Family() method.Family {
	return method.Family{
		Name:     name,
		Profiles: profiles,
		Fit: func(ctx context.Context, f method.Fitting) (method.Method, error) {
			o, err := ProfileOptions(f.Profile)
			if err != nil {
				return nil, err
			}
			o.Seed = f.Seed
			return FitWith(ctx, o, f)
		},
		Load: func(f *artifact.File) (method.Method, error) { return Load(f) },
		Plan: plan,
	}
}

// plan: the work is the choice of the bank, one distance of every patch to every member.
func plan(f method.Fitting, layers [][3]int, images int) (method.Plan, error) {
	o, err := ProfileOptions(f.Profile)
	if err != nil {
		return method.Plan{}, err
	}
	var widths []int
	for _, l := range layers {
		widths = append(widths, l[0])
	}
	p := method.Plan{Patches: images * layers[0][1] * layers[0][2]}
	if o.MaxPatches > 0 {
		p.Patches = min(p.Patches, o.MaxPatches)
	}
	p.Bank = o.members(p.Patches)
	dim := newEmbedding(widths, o.EmbedDim).dim
	chosen := dim
	p.Bytes = 4 * int64(dim) * int64(p.Patches+p.Bank)
	if d := o.projectedDim(p.Patches); o.Projection != NoProjection && d < dim {
		chosen = d
		p.Bytes += 4 * int64(d) * int64(p.Patches)
	}
	p.Work = float64(p.Patches) * float64(p.Bank) * float64(chosen)
	return p, nil
}

// members is how many of so many patches the bank keeps.
func (o *Options) members(patches int) int {
	want := max(1, int(o.Ratio*float64(patches)))
	if o.MaxBank > 0 {
		want = min(want, o.MaxBank)
	}
	return want
}

// maxSupports bounds the time that an image score takes: members are inserted in order.
const maxSupports = 1000

// maxExtent bounds widths, so that their products cannot overflow.
const maxExtent = 1 << 15

func (o *Options) check() error {
	switch {
	case !slices.Contains(profiles, o.Profile):
		return fmt.Errorf("unknown profile %q: want one of %s", o.Profile, strings.Join(profiles, ", "))
	case o.EmbedDim < 0 || o.EmbedDim > maxExtent:
		return fmt.Errorf("embedding of %d values, want 0 to %d", o.EmbedDim, maxExtent)
	case o.Supports < 0 || o.MaxPatches < 0 || o.MaxBank < 0 || o.ProjectDim < 0 || o.StartPoints < 0:
		return fmt.Errorf("supports %d, patches %d, bank %d, projection %d, start points %d: none may be negative",
			o.Supports, o.MaxPatches, o.MaxBank, o.ProjectDim, o.StartPoints)
	case o.Supports > maxSupports:
		return fmt.Errorf("supports %d, at most %d are allowed", o.Supports, maxSupports)
	case !(o.Ratio > 0 && o.Ratio <= 1):
		return fmt.Errorf("ratio %g, want more than 0 and at most 1", o.Ratio)
	case !slices.Contains([]string{NoProjection, GaussProjection, SparseProjection}, o.Projection):
		return fmt.Errorf("unknown projection %q", o.Projection)
	case o.Projection != NoProjection && o.ProjectDim == 0 && !(o.Epsilon > 0 && o.Epsilon < 1):
		return fmt.Errorf("distortion %g, want between 0 and 1", o.Epsilon)
	}
	return nil
}

// projectedDim is the length of the projection of count patches.
func (o *Options) projectedDim(count int) int {
	if o.ProjectDim > 0 {
		return o.ProjectDim
	}
	e := o.Epsilon
	return max(1, int(4*math.Log(float64(count))/(e*e/2-e*e*e/3)))
}
