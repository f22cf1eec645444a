//go:build cuda && cgo

package gpu

import (
	"fmt"
	"testing"
	"time"

	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// On the fake driver these measure the package and the fake; on a GPU what a user sees.

// Any driver call: locking the thread, setting the context, and a call that does nothing.
func BenchmarkCall(b *testing.B) {
	d := open(b, Options{})
	for b.Loop() {
		if err := d.alive(); err != nil {
			b.Fatal(err)
		}
	}
}

// A launch of a small kernel, with a hundredth of a wait: all of it, and what the host needs to submit it.
func BenchmarkLaunch(b *testing.B) {
	d := open(b, Options{})
	in, out := alloc(b, d, 4), alloc(b, d, spreadBytes)
	require.NoError(b, d.Write(in, make([]byte, 4)))
	var l kernels.Launch
	require.NoError(b, spread(queue(func(x kernels.Launch) error { l = x; return nil }), in, out))
	var waiting time.Duration
	n := 0
	for b.Loop() {
		if err := d.Launch(l); err != nil {
			b.Fatal(err)
		}
		if n++; n%100 == 0 {
			start := time.Now()
			require.NoError(b, d.Stream().Sync())
			waiting += time.Since(start)
		}
	}
	b.ReportMetric(float64((b.Elapsed()-waiting).Nanoseconds())/float64(b.N), "host-ns/launch")
	require.NoError(b, d.Stream().Sync())
	free(b, d, in, out)
}

// A launch as one of 100 in a graph.
func BenchmarkGraphLaunch(b *testing.B) {
	const nodes = 100
	d := open(b, Options{})
	in, out := alloc(b, d, 4), alloc(b, d, spreadBytes)
	require.NoError(b, d.Write(in, make([]byte, 4)))
	g, err := d.Stream().Capture(func(q kernels.Queue) error {
		for range nodes {
			if err := spread(q, in, out); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(b, err)
	for b.Loop() {
		if err := g.Launch(d.Stream()); err != nil {
			b.Fatal(err)
		}
		require.NoError(b, d.Stream().Sync())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*nodes), "ns/launch")
	free(b, d, in, out)
}

func BenchmarkAlloc(b *testing.B) {
	d := open(b, Options{})
	for b.Loop() {
		p, err := d.stream.Alloc(1 << 20)
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Free(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCopies(b *testing.B) {
	for _, n := range []int{4 << 10, 1 << 20, 64 << 20} {
		d := open(b, Options{})
		s := d.Stream()
		p, q := alloc(b, d, n), alloc(b, d, n)
		host := make([]byte, n)
		pinned, err := d.AllocPinned(n)
		require.NoError(b, err)
		for _, c := range []struct {
			name  string
			bytes int
			copy  func() error
		}{
			{"Upload", n, func() error { return s.Upload(p, host) }},
			{"Download", n, func() error { return s.Download(host, p) }},
			{"DownloadAsync", n, func() error { return s.DownloadAsync(pinned, p) }},
			{"Copy", 2 * n, func() error { return s.Copy(q, p, n) }}, // read and written
			{"Fill", n, func() error { return s.Fill(p, n, 0) }},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				b.SetBytes(int64(c.bytes))
				for i := 0; b.Loop(); i++ {
					if err := c.copy(); err != nil {
						b.Fatal(err)
					}
					if i%16 == 15 {
						require.NoError(b, s.Sync())
					}
				}
				require.NoError(b, s.Sync())
			})
		}
		require.NoError(b, d.FreePinned(pinned))
		free(b, d, p, q)
	}
}
