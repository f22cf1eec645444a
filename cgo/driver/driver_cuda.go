//go:build cuda && cgo

package driver

// #cgo CFLAGS: -I${SRCDIR}/include
// #cgo LDFLAGS: -ldl
// #include "shim.h"
import "C"

import (
	"fmt"
	"os"
)

// Status opens the driver, unless a driver call did so before, and tells how that went. It is safe for concurrent use and
// always answers the same.
func Status() State {
	d := C.f2pad_driver()
	s := State{Loaded: d.loaded != 0, Path: C.GoString(&d.path[0]), Reason: C.GoString(&d.reason[0])}
	if d.version > 0 {
		s.Version = fmt.Sprintf("%d.%d", d.version/1000, d.version%1000/10)
	}
	// The usual cause of a driver that finds no device.
	if devices, set := os.LookupEnv("CUDA_VISIBLE_DEVICES"); set && !s.Loaded && s.Path != "" {
		s.Reason += fmt.Sprintf("; CUDA_VISIBLE_DEVICES is %q", devices)
	}
	return s
}
