// Package device names what computes beside the CPU, and what can go wrong with it.
package device

import "errors"

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
