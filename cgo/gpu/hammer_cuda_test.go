//go:build cuda && cgo

package gpu

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"f2pad.example/kernels"
	"f2pad.example/kernels/kerneltest"

	"github.com/stretchr/testify/require"
)

// Every kernel passes its suite again and again, with fresh data, while another stream keeps the memory busy: what depends on when
// a thread runs shows under load. F2PAD_HAMMER says for how long; at least one suite runs.
func TestHammer(t *testing.T) {
	text := os.Getenv("F2PAD_HAMMER")
	if text == "" && real {
		t.Skip("SKIPPED: the kernels are not tested under load: F2PAD_HAMMER, such as 30s, is not set")
	}
	limit, err := time.ParseDuration(cmp.Or(text, "1ns"))
	require.NoError(t, err)
	d := open(t, Options{})
	stop, stopped := make(chan struct{}), make(chan error)
	go func() { stopped <- load(d, stop) }()
	suites := 0
	for start := time.Now(); suites == 0 || time.Since(start) < limit; {
		kerneltest.All(t, func(t *testing.T) kernels.Machine {
			if suites > 0 && (time.Since(start) >= limit || t.Failed()) {
				t.Skip("SKIPPED: this suite is not run under load: no time is left")
			}
			suites++
			return d
		}, rand.Uint64())
		if t.Failed() {
			break
		}
	}
	close(stop)
	require.NoError(t, <-stopped)
	t.Logf("%d suites, each beside copies on another stream", suites)
}

// load copies a buffer back and forth on a stream of its own until it is stopped.
func load(d *Device, stop <-chan struct{}) (err error) {
	bytes := int(min(64<<20, d.info.MemoryTotal>>10)) // more than caches hold; little on the fake driver
	s, err := d.NewStream()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var p [2]kernels.Ptr
	for i := range p {
		if p[i], err = d.Alloc(bytes); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.Free(p[i])) }()
	}
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		for i := range 16 {
			if err := s.Copy(p[i%2], p[1-i%2], bytes); err != nil {
				return err
			}
		}
		if err := s.Sync(); err != nil {
			return err
		}
	}
}
