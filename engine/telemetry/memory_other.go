//go:build !linux

package telemetry

func resident() (int64, bool) { return 0, false }
