package main

import "f2pad.example/kernels"

// The units of a card whose ceilings are measured.
const (
	memory = "memory" // bytes/s
	fp32   = "fp32"   // operations/s, like the tensor cores', which go by their precision
	bf16   = "bf16"
	f16    = "f16"
	tf32   = "tf32"
	// Copies from and to pinned memory of the host, and both at once: bytes/s.
	up   = "to the card"
	down = "from the card"
	both = "both ways"
)

// ceilings are the highest rates found of each unit, per second.
type ceilings map[string]float64

func (c ceilings) raise(unit string, rate float64) { c[unit] = max(c[unit], rate) }

// floor is the least time that the work can take on a unit, and the unit that decides: each unit has its share of the work
// to do, and at best they do it beside each other. Work of a unit whose ceiling is unknown does not count.
func (c ceilings) floor(k kernels.Cost) (seconds float64, unit string) {
	for _, w := range []struct {
		unit string
		work int64
	}{{memory, k.Bytes}, {fp32, k.Flops}, {k.Tensor, k.TensorFlops}} {
		if c[w.unit] <= 0 {
			continue
		}
		if t := float64(w.work) / c[w.unit]; t > seconds {
			seconds, unit = t, w.unit
		}
	}
	return seconds, unit
}
