package cuda

import (
	"time"

	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/device"
)

// Measure says whether the device's own time is measured from now on, which costs every call two events.
func (d *Device) Measure(on bool) { d.timed.Store(on) }

// Counters are what the device did so far, for all engines that use it. What lies between the first and the last work of a call
// is busy, though the device may wait for the host in there.
func (d *Device) Counters() device.Counters {
	c := d.gpu.Counters()
	c.Busy = time.Duration(d.busy.Load())
	return c
}

// State is what the driver's tool says of clocks, power and temperature at the moment; "" where there is none.
func (d *Device) State() string { return gpu.SMI(d.uuid) }

// timing marks where a call's work begins on the device. The function that it returns marks the end, waits for it, and counts.
func (d *Device) timing(j *job) (stop func()) {
	var marks [2]*gpu.Event
	if !d.timed.Load() {
		return func() {}
	}
	for i := range marks {
		if j.err == nil {
			marks[i], j.err = d.gpu.NewEvent()
		}
	}
	if j.err == nil {
		j.err = j.Record(marks[0])
	}
	return func() {
		if j.err == nil {
			j.err = j.Record(marks[1])
		}
		if j.err == nil {
			j.err = j.Sync() // which counts the host's waiting
		}
		if j.err == nil {
			var s float64
			s, j.err = marks[1].Elapsed(marks[0])
			d.busy.Add(int64(s * float64(time.Second)))
		}
		for _, e := range marks {
			if e == nil {
				continue
			}
			if err := e.Close(); j.err == nil {
				j.err = err
			}
		}
	}
}
