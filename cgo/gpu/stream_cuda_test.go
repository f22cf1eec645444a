//go:build cuda && cgo

package gpu

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"f2pad.example/kernels"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCopies(t *testing.T) {
	d := open(t, Options{})
	r := rand.New(rand.NewPCG(seed, 0))
	for _, n := range []int{1, 3, 4096, 64 << 10, 64<<10 + 1, 4 << 20, 13<<20 + 5} {
		p, q := alloc(t, d, n+7), alloc(t, d, n+7)
		data := random(n, r)
		got := make([]byte, n)
		require.NoError(t, d.Write(p+7, data))
		require.NoError(t, d.Stream().Copy(q, p+7, n))
		require.NoError(t, d.Read(got, q))
		require.True(t, string(data) == string(got), "%d bytes", n)

		require.NoError(t, d.Stream().Fill(q+1, n-1, 0xab))
		require.NoError(t, d.Read(got, q))
		require.Equal(t, data[0], got[0])
		require.Equal(t, n-1, bytes.Count(got[1:], []byte{0xab}))
		free(t, d, p, q)
	}
}

func TestCopiesRefuse(t *testing.T) {
	d := open(t, Options{})
	p, q := alloc(t, d, 100), alloc(t, d, 100)
	s := d.Stream()
	b := make([]byte, 101)
	for what, err := range map[string]error{
		"gpu: upload: 101 bytes at":    s.Upload(p, b),
		"gpu: upload: 0x1 is none":     s.Upload(1, b),
		"gpu: upload: 0x2 is none":     s.UploadAsync(2, b),
		"gpu: upload: the memory is":   s.UploadAsync(p, b[:10]),
		"gpu: download: 101 bytes":     s.Download(b, p),
		"gpu: download: 0x1 is none":   s.DownloadAsync(b, 1),
		"gpu: download: the memory is": s.DownloadAsync(b[:10], p),
		"gpu: copy: 60 bytes at":       s.Copy(p+50, q, 60),
		"gpu: copy: 0x1 is none":       s.Copy(p, 1, 4),
		"gpu: copy: -1 bytes":          s.Copy(p, q, -1),
		"gpu: fill: 1 bytes at":        s.Fill(p+100, 1, 0),
	} {
		require.ErrorContains(t, err, what)
	}
	for _, err := range []error{s.Upload(p+100, nil), s.Download(nil, p), s.Copy(p, q, 0), s.Fill(p, 0, 1)} {
		require.NoError(t, err, "nothing is to be done")
	}
	free(t, d, p, q)
	require.ErrorContains(t, s.Upload(p, b[:1]), "freed")
}

// Upload has taken the bytes when it returns, however many uploads are under way.
func TestUploadFromOneBuffer(t *testing.T) {
	d := open(t, Options{})
	for _, n := range []int{100, 70000} {
		const count = 100 // more than there are slots
		p := alloc(t, d, n*count)
		b := make([]byte, n)
		for i := range count {
			for j := range b {
				b[j] = byte(i)
			}
			require.NoError(t, d.Write(p+kernels.Ptr(i*n), b))
		}
		got := make([]byte, n*count)
		require.NoError(t, d.Read(got, p))
		for i, v := range got {
			if v != byte(i/n) {
				t.Fatalf("byte %d of %d uploads is %d, want %d", i, count, v, i/n)
			}
		}
		free(t, d, p)
	}
}

// What is fetched is there after the next wait, whatever happened to the memory since, in parts and in more pieces than there are slots.
func TestFetch(t *testing.T) {
	d := open(t, Options{})
	r := rand.New(rand.NewPCG(seed, 0))
	s, err := d.NewStream()
	require.NoError(t, err)
	for _, n := range []int{5, 70_000, 4<<20 + 1, 20 << 20} {
		p := alloc(t, d, n)
		data := random(n, r)
		require.NoError(t, s.Upload(p, data[:n/3], nil, data[n/3:]), "in parts, too")
		got := make([]byte, n)
		require.NoError(t, s.Fetch(p, got[:2], got[2:2], got[2:n/2], got[n/2:]))
		require.NoError(t, s.Fill(p, n, 0))
		require.NoError(t, s.Sync())
		require.True(t, slices.Equal(data, got), "%d bytes", n)
		free(t, d, p)
	}
	const n, count = 65 << 10, 30 // more than there are slots
	p := alloc(t, d, n*count)
	data, got := random(n*count, r), make([]byte, n*count)
	require.NoError(t, s.Upload(p, data))
	for i := range count {
		at := i * n
		require.NoError(t, s.Fetch(p+kernels.Ptr(at), got[at:at+n]))
		require.NoError(t, s.Upload(p+kernels.Ptr(at), data[:n]), "it takes a slot, too")
	}
	require.NoError(t, s.Sync())
	require.True(t, slices.Equal(data, got))
	require.NoError(t, s.Fetch(p, got[:10]))
	require.NoError(t, s.Close(), "what nobody waited for is given up")
	other, err := d.NewStream()
	require.NoError(t, err)
	require.NoError(t, other.Fetch(p, got[:10]))
	require.ErrorContains(t, other.Fetch(p, make([]byte, n*count), []byte{1}), "bytes")
	free(t, d, p) // and the device is closed
}

// Streams that fetch as much as they like never wait for each other's slots.
func TestFetchBesideOthers(t *testing.T) {
	d := open(t, Options{})
	const n, count = 100 << 10, 20
	p := alloc(t, d, n)
	require.NoError(t, d.Write(p, make([]byte, n)))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := d.NewStream()
			for range count {
				err = errors.Join(err, s.Fetch(p, make([]byte, n)))
			}
			assert.NoError(t, errors.Join(err, s.Close()))
		})
	}
	wg.Wait()
	free(t, d, p)
}

func TestPinned(t *testing.T) {
	d := open(t, Options{})
	r := rand.New(rand.NewPCG(seed, 0))
	b, err := d.AllocPinned(5000)
	require.NoError(t, err)
	p := alloc(t, d, 5000)
	data := random(5000, r)
	require.NoError(t, d.Write(p, data))
	require.NoError(t, d.Stream().DownloadAsync(b[1000:], p+1000))
	require.NoError(t, d.Stream().DownloadAsync(b[:1000], p))
	require.NoError(t, d.Stream().Sync())
	require.Equal(t, data, b)
	require.GreaterOrEqual(t, d.Stats().Pinned, int64(5000))
	before := d.Counters().Uploaded
	copy(b, random(5000, r))
	require.NoError(t, d.Stream().UploadAsync(p+4000, b[:1000]))
	require.NoError(t, d.Stream().UploadAsync(p, b[1000:]))
	require.EqualValues(t, 5000, d.Counters().Uploaded-before)
	require.NoError(t, d.Read(data, p)) // which waits for both
	require.Equal(t, slices.Concat(b[1000:], b[:1000]), data)
	copy(b, data)

	for _, wrong := range [][]byte{data, unsafe.Slice(&b[0], 5001), unsafe.Slice(&b[4999], 2)} {
		require.False(t, d.isPinned(wrong))
	}

	require.ErrorContains(t, d.FreePinned(b[1:]), "not of AllocPinned")
	require.NoError(t, d.Stream().DownloadAsync(b, p))
	require.NoError(t, d.FreePinned(b), "when the copy is done")
	require.NoError(t, d.Stream().Sync())
	require.ErrorContains(t, d.FreePinned(b), "not of AllocPinned")
	for _, n := range []int{0, -1} {
		_, err := d.AllocPinned(n)
		require.Error(t, err)
	}
	free(t, d, p)
}

func TestEvents(t *testing.T) {
	d := open(t, Options{})
	other, err := d.NewStream()
	require.NoError(t, err)
	var e [2]*Event
	for i := range e {
		e[i], err = d.NewEvent()
		require.NoError(t, err)
	}
	_, err = e[0].Elapsed(e[1])
	require.Error(t, err, "neither was recorded")
	_, err = e[0].Elapsed(e[0])
	require.ErrorContains(t, err, "twice")
	in, out, copied := alloc(t, d, 4), alloc(t, d, spreadBytes), alloc(t, d, spreadBytes)
	for round := range byte(20) {
		require.NoError(t, d.Stream().Record(e[0]))
		require.NoError(t, d.Write(in, []byte{round, 2, 3, 4}))
		require.NoError(t, spread(d, in, out))
		require.NoError(t, d.Stream().Record(e[1]))
		require.NoError(t, other.Wait(e[1]))
		require.NoError(t, other.Copy(copied, out, spreadBytes))
		got := make([]byte, spreadBytes)
		require.NoError(t, other.Download(got, copied))
		requireSpread(t, got, [4]byte{round, 2, 3, 4})
		s, err := e[1].Elapsed(e[0])
		require.NoError(t, err)
		require.GreaterOrEqual(t, s, 0.0)
		require.Less(t, s, 10.0)
	}
	// Elapsed waits itself.
	require.NoError(t, other.Record(e[0]))
	require.NoError(t, spread(other, in, out))
	require.NoError(t, other.Record(e[1]))
	_, err = e[1].Elapsed(e[0])
	require.NoError(t, err)
	free(t, d, in, out, copied)
	require.NoError(t, other.Close())
}

func TestMemoryOfAStream(t *testing.T) {
	d := open(t, Options{})
	s, err := d.NewStream()
	require.NoError(t, err)
	in, err := s.Alloc(4)
	require.NoError(t, err)
	require.NoError(t, s.Upload(in, []byte{9, 8, 7, 6}))
	got := make([]byte, spreadBytes)
	var first kernels.Ptr
	for i := range 10 { // each launch writes where the one before did, and nobody waits
		out, err := s.Alloc(spreadBytes)
		require.NoError(t, err)
		if i == 0 {
			first = out
		}
		require.Equal(t, first, out)
		require.NoError(t, spread(s, in, out))
		if i == 9 {
			require.NoError(t, s.Download(got, out))
		}
		free(t, d, out)
	}
	requireSpread(t, got, [4]byte{9, 8, 7, 6})
	free(t, d, in)
	require.NoError(t, s.Close())
	require.Equal(t, first, alloc(t, d, spreadBytes), "a closed stream is done with its memory")
	free(t, d, first)
}

// A graph does what its work does, again and again, on any stream.
func TestCapture(t *testing.T) {
	d := open(t, Options{})
	r := rand.New(rand.NewPCG(seed, 0))
	s, err := d.NewStream()
	require.NoError(t, err)
	in, out, all := alloc(t, d, 4), alloc(t, d, spreadBytes), alloc(t, d, 2*spreadBytes)
	work := func(q kernels.Queue) error {
		w := q.(Work)
		err := spread(queue(func(l kernels.Launch) error {
			err := w.Launch(l)
			clear(l.Args) // they were copied
			return err
		}), in, out)
		if err != nil {
			return err
		}
		return errors.Join(w.Copy(all, out, spreadBytes), w.Fill(all+spreadBytes/2, 12, 0x77), spread(w, all, all+spreadBytes),
			w.Fill(out, spreadBytes, 0), w.Copy(in, out+8, 4), w.Copy(in, out, 0), w.Fill(in, 0, 1))
	}
	g, err := s.Capture(work)
	require.NoError(t, err)
	empty, err := s.Capture(func(kernels.Queue) error { return nil })
	require.NoError(t, err)

	run := func(stream *Stream, input []byte, f func() error) []byte {
		require.NoError(t, stream.Fill(all, 2*spreadBytes, 0xff))
		require.NoError(t, stream.Upload(in, input))
		require.NoError(t, f())
		got, after := make([]byte, 2*spreadBytes), make([]byte, 4)
		require.NoError(t, stream.Download(got, all))
		require.NoError(t, stream.Download(after, in))
		require.Equal(t, make([]byte, 4), after)
		return got
	}
	for range 5 {
		input := random(4, r)
		want := run(s, input, func() error { return work(s) })
		requireSpread(t, want[:spreadBytes/2], [4]byte(input))
		for _, stream := range []*Stream{s, d.Stream()} {
			before := d.Counters().Launches
			got := run(stream, input, func() error { return errors.Join(empty.Launch(stream), g.Launch(stream)) })
			require.Equal(t, want, got)
			require.EqualValues(t, 2, d.Counters().Launches-before, "kernels that the graph launches")
		}
	}
	require.NoError(t, g.Launch(s))
	require.NoError(t, g.Close(), "what was launched goes on")
	require.NoError(t, s.Sync())
	require.ErrorIs(t, g.Launch(s), ErrClosed)
	free(t, d, in, out, all)
}

// Others may do what this thread may not while it captures.
// Who watches is told of all that a device is given to do, in a graph as often as that is launched.
func TestWatch(t *testing.T) {
	var mu sync.Mutex
	told := map[string]int{}
	d := open(t, Options{Watch: func(g Given) {
		mu.Lock()
		defer mu.Unlock()
		what := []string{"launched", "replayed", "graphed", "uploaded", "downloaded", "copied", "filled", "waited"}[g.What]
		told[what]++
		told[what+" bytes"] += g.Bytes
		if g.Launch.Kernel != "" {
			told[what+" "+g.Launch.Kernel]++
		}
	}})
	s, err := d.NewStream()
	require.NoError(t, err)
	in, out := alloc(t, d, 4), alloc(t, d, 2*spreadBytes)
	work := func(q kernels.Queue) error {
		w := q.(Work)
		return errors.Join(spread(w, in, out), w.Copy(out+spreadBytes, out, spreadBytes), w.Fill(out, 12, 1), w.Fill(out, 0, 1))
	}
	g, err := s.Capture(work)
	require.NoError(t, err)
	require.Empty(t, told, "a capture runs nothing")
	require.NoError(t, errors.Join(s.Upload(in, []byte{1, 2}, []byte{3, 4}), work(s), g.Launch(s), g.Launch(s), s.Sync(), s.Sync()))
	require.NoError(t, s.Download(make([]byte, 8), out))
	kernel := ""
	require.NoError(t, spread(queue(func(l kernels.Launch) error { kernel = l.Kernel; return nil }), in, out))
	require.Equal(t, map[string]int{
		"launched": 1, "launched " + kernel: 1, "launched bytes": 0, "replayed": 2, "replayed " + kernel: 2, "replayed bytes": 0,
		"graphed": 2, "graphed bytes": 0, "uploaded": 1, "uploaded bytes": 4, "downloaded": 1, "downloaded bytes": 8,
		"copied": 3, "copied bytes": 3 * spreadBytes, "filled": 3, "filled bytes": 36, "waited": 2, "waited bytes": 0,
	}, told, "the second Sync had nothing to wait for")
	free(t, d, in, out)
	require.NoError(t, errors.Join(g.Close(), s.Close()))
}

func TestOthersWorkDuringACapture(t *testing.T) {
	d := open(t, Options{Memory: 1 << 20})
	hidden, err := d.NewStream()
	require.NoError(t, err)
	p := alloc(t, d, spreadBytes)
	errs := make(chan error, 1)
	var x execGraph
	require.NoError(t, d.do(func() (err error) {
		x, err = capture(hidden.s, func() error {
			go func() {
				q, err := d.Alloc(600 << 10)
				if err == nil {
					err = errors.Join(d.Free(q), d.Trim(), d.Write(p, make([]byte, 1000)), d.Stream().Sync(), spread(d, p+16, p))
				}
				errs <- err
			}()
			return <-errs
		})
		return err
	}))
	require.NoError(t, d.do(x.destroy))
	free(t, d, p)
	require.NoError(t, hidden.Close())
}

func TestCaptureRefuses(t *testing.T) {
	d := open(t, Options{})
	p := alloc(t, d, spreadBytes)
	s := d.Stream()
	e, err := d.NewEvent()
	require.NoError(t, err)
	other, err := d.NewStream()
	require.NoError(t, err)
	var kept kernels.Queue
	_, err = s.Capture(func(q kernels.Queue) error {
		kept = q
		_, alloc := d.Alloc(4)
		_, streamAlloc := s.Alloc(4)
		_, again := s.Capture(func(q kernels.Queue) error { return nil })
		for what, err := range map[string]error{
			"alloc": alloc, "alloc ": streamAlloc, "sync": s.Sync(), "upload": d.Write(p, make([]byte, 4)),
			"download": d.Read(make([]byte, 4), p), "copy": s.Copy(p, p+8, 4), "fill": s.Fill(p, 4, 0), "record": s.Record(e),
			"wait": s.Wait(e), "launch of upsample": spread(s, p, p), "capture": again,
		} {
			require.ErrorContains(t, err, "gpu: "+what)
			require.ErrorContains(t, err, "while the stream is captured")
		}
		require.NoError(t, other.Fill(p, 4, 1), "other streams work on")
		require.NoError(t, other.Sync())
		x, err := other.Alloc(4)
		require.NoError(t, err)
		free(t, d, x)
		return fmt.Errorf("its own error")
	})
	require.EqualError(t, err, "its own error")
	require.ErrorContains(t, spread(kept, p, p), "is over")
	require.NoError(t, s.Sync(), "afterwards the stream works as before")
	free(t, d, p)
}
