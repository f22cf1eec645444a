//go:build !linux

package stage

import "time"

func threadTime() time.Duration { return 0 }
