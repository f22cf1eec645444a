package main

import (
	"io"
	"runtime/debug"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// heapShare is what of --memory Go's heap may take before its garbage is collected at any price: ONNX Runtime and what lies beside
// the heap take the rest.
const heapShare = 0.8

// ceiling is --memory in bytes, by default half of what the machine or the container has; 0 where that cannot be told. The
// first call holds the garbage collector to it.
func (p *program) ceiling() int64 {
	bytes := int64(p.memory) << 20
	if bytes == 0 {
		all, err := memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)()
		if err != nil || all == 0 {
			return 0
		}
		bytes = int64(all / 2)
	}
	debug.SetMemoryLimit(int64(heapShare * float64(bytes)))
	return bytes
}

// planned is how an engine shares out memory, for --verbose.
type planned struct{ engine.Memory }

func (planned) MessageType() string { return "memory" }

func (m planned) Text(w io.Writer) error {
	_, err := ui.Fprintf(w, "memory: %s\n", m.String())
	return err
}
