//go:build !linux

package peak

import "time"

var began = time.Now()

// Clock is the time, in seconds.
func Clock() float64 { return time.Since(began).Seconds() }

// Thread is 0: it is not known.
func Thread() time.Duration { return 0 }
