//go:build !linux

package gemm

import "time"

var began = time.Now()

// clock is the time, in seconds.
func clock() float64 { return time.Since(began).Seconds() }
