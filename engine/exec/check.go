package exec

import (
	"fmt"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Role is what a tensor is to a Net.
type Role string

// The roles of the tensors that Forward and Backward take.
const (
	Input          Role = "input"
	Output         Role = "output"
	OutputGradient Role = "output gradient"
	InputGradient  Role = "input gradient" // may be nil
)

// Check compares the caller's tensors with what a graph has in that role, for executors. The first tensor sets the number of
// images where it is still 0.
func Check[P interface{ Value() (string, graph.Shape) }](role Role, want []P, ts []*tensor.Dense, images *int) error {
	if len(ts) != len(want) {
		return fmt.Errorf("%d %ss, want %d", len(ts), role, len(want))
	}
	for i, t := range ts {
		if t == nil && role == InputGradient {
			continue
		}
		name, shape := want[i].Value()
		if err := nd.Check(string(role), t, shape...); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		got := t.Shape()[0]
		if *images == 0 {
			*images = got
		}
		if got != *images || got < 1 {
			return fmt.Errorf("%s %q has %d images, want %d", role, name, got, max(*images, 1))
		}
	}
	return nil
}
