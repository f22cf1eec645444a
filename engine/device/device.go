// Package device names what computes beside the CPU, and what can go wrong with it.
package device

import (
	"errors"
	"time"
)

// Info says which device computed; results record it.
type Info struct {
	Device string `json:"device"`           // "cpu", "cuda:0"
	Name   string `json:"name,omitempty"`   // "NVIDIA H200"; empty for the CPU
	Driver string `json:"driver,omitempty"` // version of the driver: "12.4"
}

// CPU is what the engine computes on by itself.
var CPU = Info{Device: "cpu"}

// ErrOutOfMemory says that the device's memory does not hold the work: less at a time may fit.
var ErrOutOfMemory = errors.New("out of device memory")

// ErrLost says that the device cannot be used any more in this process, and that the work in hand on it is gone.
var ErrLost = errors.New("device lost")

// Counters add up what a device was given to do, by all that use it. The times are of calls that may run beside each other, and
// are added up, too.
type Counters struct {
	Launches   int64         // kernels, also those that a launch of a graph runs
	Uploaded   int64         // bytes to the device
	Downloaded int64         // bytes from it
	Enqueue    time.Duration // of the host, in calls that hand the device its work
	Wait       time.Duration // of the host, until that is done
	Busy       time.Duration // of the device by its own clock, from each call's first work to its last; 0 unless it is asked to measure that
}

// Add is both together.
func (c Counters) Add(d Counters) Counters {
	return Counters{
		c.Launches + d.Launches, c.Uploaded + d.Uploaded, c.Downloaded + d.Downloaded,
		c.Enqueue + d.Enqueue, c.Wait + d.Wait, c.Busy + d.Busy,
	}
}

// Sub is what was added since.
func (c Counters) Sub(since Counters) Counters {
	return c.Add(Counters{-since.Launches, -since.Uploaded, -since.Downloaded, -since.Enqueue, -since.Wait, -since.Busy})
}
