//go:build cuda && cgo

package gpu

import (
	"sync/atomic"
	"time"

	"f2pad.example/engine/device"
)

// counters add up what streams do.
type counters struct {
	launches, up, down atomic.Int64
	enqueue, wait      atomic.Int64 // ns
}

// enqueued and waited count the time since start.
func (c *counters) enqueued(start time.Time) { c.enqueue.Add(int64(time.Since(start))) }
func (c *counters) waited(start time.Time)   { c.wait.Add(int64(time.Since(start))) }

func (c *counters) read() device.Counters {
	return device.Counters{
		Launches: c.launches.Load(), Uploaded: c.up.Load(), Downloaded: c.down.Load(),
		Enqueue: time.Duration(c.enqueue.Load()), Wait: time.Duration(c.wait.Load()),
	}
}
