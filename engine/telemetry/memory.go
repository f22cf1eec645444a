package telemetry

import "runtime/metrics"

// Memory is what the process takes in bytes: its resident set where the system says that, otherwise what Go has of the system.
func Memory() int64 {
	if n, ok := resident(); ok {
		return n
	}
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64() - sample[1].Value.Uint64())
}
