// Package place says where an engine computes: on the CPU (Host), or on a GPU, which cgo/cuda opens. All that is computed for an
// image is computed in one place; a suite that every place passes is in placetest.
package place

import (
	"context"
	"slices"
	"strings"

	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/method/patchcore"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"
)

// Place computes. It is safe for concurrent use, and its owner closes it after the engines that use it. Host is the reference: what
// other places compute may differ from it by float32 rounding. device.ErrOutOfMemory and device.ErrLost can be told.
type Place interface {
	Info() device.Info
	// Executor runs networks there for callers on the host, as fits are.
	Executor() exec.Executor
	// Detector brings a network and a method there.
	Detector(s sight.Spec) (sight.Detector, error)
	// Pixels are the parts of the refinement that ask neither a network nor whole images, which a Detector's Batch has.
	refine.Pixels
	// KCentre chooses PatchCore's bank; see patchcore.KCentre.
	KCentre(ctx context.Context, x []float32, d, want int, starts []int, progress func(done, total int)) ([]int, error)
}

// Together is what several places are that share one engine's work: what they are called, each thing once, joined by "+"
// (cuda:0+cuda:1), and what networks run on there, likewise.
func Together(all []Place) (device.Info, exec.Info) {
	var ds []device.Info
	var es []exec.Info
	for _, p := range all {
		ds, es = append(ds, p.Info()), append(es, p.Executor().Info())
	}
	return device.Info{
			Device: joined(ds, func(d device.Info) string { return d.Device }),
			Name:   joined(ds, func(d device.Info) string { return d.Name }),
			Driver: joined(ds, func(d device.Info) string { return d.Driver }),
		}, exec.Info{
			Executor:  joined(es, func(e exec.Info) string { return e.Executor }),
			Device:    joined(es, func(e exec.Info) string { return e.Device }),
			Precision: joined(es, func(e exec.Info) string { return e.Precision }),
			Version:   joined(es, func(e exec.Info) string { return e.Version }),
		}
}

func joined[T any](all []T, of func(T) string) string {
	var words []string
	for _, v := range all {
		if w := of(v); !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	return strings.Join(words, "+")
}

// Host is the CPU: networks on an executor, everything else in Go.
type Host struct {
	refine.Host
	ex exec.Executor
}

var _ Place = Host{}

// NewHost returns the CPU with networks on ex; nil: in Go, too.
func NewHost(ex exec.Executor) Host {
	if ex == nil {
		ex = goexec.New()
	}
	return Host{ex: ex}
}

// Info is device.CPU.
func (Host) Info() device.Info { return device.CPU }

// Executor implements Place.
func (h Host) Executor() exec.Executor { return h.ex }

// Detector implements Place. It never fails.
func (h Host) Detector(s sight.Spec) (sight.Detector, error) { return sight.NewHost(h.ex, s), nil }

// KCentre implements Place.
func (Host) KCentre(ctx context.Context, x []float32, d, want int, starts []int, progress func(done, total int)) ([]int, error) {
	return patchcore.KCentre(ctx, x, d, want, starts, progress)
}
