package cuda

import "f2pad.example/engine/refine"

// Costs implements refine.Filler, on the host for now, as Offsets and Spreads do.
func (d *Device) Costs(s []refine.Search) error   { return refine.Host{}.Costs(s) }
func (d *Device) Offsets(o []refine.Offset) error { return refine.Host{}.Offsets(o) }
func (d *Device) Spreads(s []refine.Spread) error { return refine.Host{}.Spreads(s) }
