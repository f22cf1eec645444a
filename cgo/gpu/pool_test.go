package gpu

import (
	"errors"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/device"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// bank is memory without a device: addresses that go up, a limit, and streams that advance when told to.
type bank struct {
	t       *testing.T
	limit   int64
	have    map[kernels.Ptr]int64
	next    kernels.Ptr
	used    int64
	streams []*ticks
	allocs  int
	waits   int
	bytes   map[kernels.Ptr]byte // what was filled, or written by a test
}

type ticks struct{ submitted, finished uint64 }

func (c *ticks) now() moment         { return moment{c, c.submitted} }
func (c *ticks) done(at uint64) bool { return c.finished >= at }

func (b *bank) alloc(bytes int64) (kernels.Ptr, error) {
	b.allocs++
	if b.used+bytes > b.limit {
		return 0, &Error{Call: "cuMemAlloc", Code: 2, Name: "CUDA_ERROR_OUT_OF_MEMORY"}
	}
	p := b.next
	b.next += kernels.Ptr(bytes)
	b.have[p] = bytes
	b.used += bytes
	return p, nil
}

func (b *bank) free(p kernels.Ptr) error {
	n, ok := b.have[p]
	require.True(b.t, ok, "free of an address that is not allocated")
	b.used -= n
	delete(b.have, p)
	return nil
}

func (b *bank) now() (all []moment) {
	for _, s := range b.streams {
		all = append(all, s.now())
	}
	return all
}

func (b *bank) wait() error {
	b.waits++
	for _, s := range b.streams {
		s.finished = s.submitted
	}
	return nil
}

func (b *bank) fill(p kernels.Ptr, bytes int64, value byte) error {
	for i := range bytes {
		b.bytes[p+kernels.Ptr(i)] = value
	}
	return nil
}

func (b *bank) read(dst []byte, p kernels.Ptr) error {
	for i := range dst {
		dst[i] = b.bytes[p+kernels.Ptr(i)]
	}
	return nil
}

func newPool(t *testing.T, limit, ceiling int64) (*pool, *bank) {
	b := &bank{t: t, limit: limit, next: 1 << 20, streams: []*ticks{{}, {}}}
	b.have, b.bytes = map[kernels.Ptr]int64{}, map[kernels.Ptr]byte{}
	return &pool{ceiling: ceiling, memory: b, cached: map[int64][]*block{}}, b
}

func TestClass(t *testing.T) {
	for n := int64(1); n < 1<<44; n += 1 + n/7 {
		c := class(n)
		require.GreaterOrEqual(t, c, n)
		require.Zero(t, c%alignment)
		require.Equal(t, c, class(c), "a class is in itself")
		if n > 16*alignment {
			require.LessOrEqual(t, c-n, n/8)
		} else {
			require.Less(t, c-n, int64(alignment))
		}
	}
}

// Random use: buffers in use never overlap, reuse waits for what it must, and the books balance.
func TestPoolKeepsBuffersApart(t *testing.T) {
	m, b := newPool(t, 1<<22, 1<<21)
	r := rand.New(rand.NewPCG(1, 2))
	type buffer struct {
		p     kernels.Ptr
		bytes int64
		owner *ticks
	}
	var live []buffer
	inUse := func(p kernels.Ptr, bytes int64) bool {
		for _, l := range live {
			if p < l.p+kernels.Ptr(l.bytes) && l.p < p+kernels.Ptr(bytes) {
				return true
			}
		}
		return false
	}
	freed := map[kernels.Ptr][]moment{} // what may still use the memory that was there
	reused, refused := 0, 0
	for range 20000 {
		s := b.streams[r.IntN(len(b.streams))]
		switch r.IntN(5) {
		case 0, 1:
			n := 1 + r.Int64N(40000)
			var owner clock
			own := s
			if r.IntN(2) == 0 {
				own = nil
			} else {
				owner = s
			}
			p, err := m.get(n, owner)
			if err != nil {
				require.ErrorIs(t, err, device.ErrOutOfMemory)
				refused++
				continue
			}
			require.False(t, inUse(p, n), "two buffers in the same place")
			for _, u := range freed[p] {
				require.True(t, u.of.done(u.at) || (own != nil && u.of == clock(own)), "reused while in use")
				reused++
			}
			delete(freed, p)
			live = append(live, buffer{p, n, own})
		case 2, 3:
			if len(live) == 0 {
				continue
			}
			i := r.IntN(len(live))
			l := live[i]
			live = append(live[:i], live[i+1:]...)
			freed[l.p] = b.now()
			if l.owner != nil {
				freed[l.p] = []moment{l.owner.now()}
			}
			require.NoError(t, m.put(l.p))
		default:
			s.submitted++
			if r.IntN(2) == 0 {
				s.finished = s.submitted - r.Uint64N(1+s.submitted-s.finished)
			}
		}
		require.LessOrEqual(t, b.used, m.ceiling)
		require.Equal(t, b.used, m.inUse+m.kept)
		require.Equal(t, len(live), m.used)
	}
	require.Greater(t, reused, 1000)
	require.Greater(t, refused, 10)
	for _, l := range live {
		require.NoError(t, m.put(l.p))
	}
	require.NoError(t, m.close(b))
	require.Empty(t, b.have)
}

func TestPoolReusesInStreamOrder(t *testing.T) {
	m, b := newPool(t, 1<<30, 1<<30)
	s, other := b.streams[0], b.streams[1]
	p, err := m.get(1000, s)
	require.NoError(t, err)
	s.submitted++
	require.NoError(t, m.put(p))

	q, err := m.get(900, s) // of the same class
	require.NoError(t, err)
	require.Equal(t, p, q, "its own stream gets it back at once")
	require.NoError(t, m.put(q))
	for _, owner := range []clock{other, nil} {
		q, err := m.get(1000, owner)
		require.NoError(t, err)
		require.NotEqual(t, p, q, "others do not, while work is under way")
		other.submitted++
	}
	s.finished = s.submitted
	q, err = m.get(1000, nil)
	require.NoError(t, err)
	require.Equal(t, p, q, "afterwards they do")

	s.submitted++
	require.NoError(t, m.put(q))
	q, err = m.get(1000, other)
	require.NoError(t, err)
	require.NotEqual(t, p, q, "memory of nobody's may be in use by any stream")
}

func TestPoolOutOfMemory(t *testing.T) {
	m, b := newPool(t, 1<<20, 10<<20) // the device has less than the ceiling says
	p, err := m.get(600<<10, nil)
	require.NoError(t, err)
	_, err = m.get(500<<10, nil)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.ErrorContains(t, err, "500.00 KiB")
	require.ErrorContains(t, err, "640.00 KiB in use by 1 buffers, ceiling 10.00 MiB")
	require.ErrorContains(t, err, "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (2)")
	var e *Error
	require.ErrorAs(t, err, &e)

	b.streams[0].submitted++
	require.NoError(t, m.put(p))
	before := b.allocs
	_, err = m.get(500<<10, nil)
	require.NoError(t, err, "what was kept makes room")
	require.Equal(t, 2, b.allocs-before, "it was tried once more")
	require.Equal(t, 1, b.waits, "and not before the work was done")

	m, b = newPool(t, 1<<30, 1<<20)
	p, err = m.get(600<<10, nil)
	require.NoError(t, err)
	_, err = m.get(500<<10, nil)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.ErrorContains(t, err, "ceiling 1.00 MiB")
	_, err = m.get(2<<20, nil)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.Equal(t, 1, b.allocs, "the driver was not asked for what the ceiling forbids")
	require.NoError(t, m.put(p))
	_, err = m.get(500<<10, nil)
	require.NoError(t, err)
	require.LessOrEqual(t, b.used, int64(1<<20))
}

type broken struct{ *bank }

func (broken) alloc(int64) (kernels.Ptr, error) { return 0, &Error{Call: "cuMemAlloc", Code: 700} }

func TestPoolDriverErrors(t *testing.T) {
	m, b := newPool(t, 1<<20, 1<<20)
	m.memory = broken{b}
	_, err := m.get(1, nil)
	require.Error(t, err)
	require.NotErrorIs(t, err, device.ErrOutOfMemory)
}

func TestPoolRefusesWhatIsNotItsOwn(t *testing.T) {
	m, _ := newPool(t, 1<<20, 1<<20)
	p, err := m.get(1000, nil)
	require.NoError(t, err)
	for _, wrong := range []kernels.Ptr{0, p + 1, p - 1, p + 1024, 1 << 40} {
		require.ErrorContains(t, m.put(wrong), "none of this device's buffers")
	}
	for _, n := range []int64{0, -1} {
		_, err := m.get(n, nil)
		require.Error(t, err)
	}

	require.NoError(t, m.check(p, 1000))
	require.NoError(t, m.check(p+999, 1))
	require.NoError(t, m.check(p+1000, 0))
	require.ErrorContains(t, m.check(p, 1001), "buffer of 1000")
	require.ErrorContains(t, m.check(p+600, 401), "600 bytes into a buffer of 1000")
	require.Error(t, m.check(p, -1))
	require.ErrorContains(t, m.check(p-1, 1), "none of")
	require.ErrorContains(t, m.check(p+1024, 1), "none of")

	require.NoError(t, m.put(p))
	require.ErrorContains(t, m.put(p), "freed before")
	require.ErrorContains(t, m.check(p, 1), "freed")
}

func TestPoolDebug(t *testing.T) {
	m, b := newPool(t, 1<<30, 1<<30)
	m.debug = true
	p, err := m.get(1000, nil)
	require.NoError(t, err)
	require.EqualValues(t, poison, b.bytes[p], "new memory is NaN")
	b.bytes[p+999] = 1
	require.NoError(t, m.put(p))
	p, err = m.get(1000, nil)
	require.NoError(t, err)
	b.bytes[p+1004] = 1
	err = m.put(p)
	require.ErrorContains(t, err, "written 5 bytes past its end")
	require.ErrorContains(t, err, "pool_test.go:")
	require.Zero(t, m.used)
}

func TestPoolLeaks(t *testing.T) {
	m, b := newPool(t, 1<<30, 1<<30)
	m.debug = true
	for range 3 {
		_, err := m.get(5000, nil)
		require.NoError(t, err)
	}
	p, err := m.get(10, nil)
	require.NoError(t, err)
	_, err = m.get(20, nil)
	require.NoError(t, err)
	require.NoError(t, m.put(p))
	err = m.close(b)
	require.ErrorContains(t, err, "4 buffers (14.67 KiB) were never freed")
	require.Regexp(t, `3 of 4.88 KiB from pool_test.go:\d+`, err)
	require.Regexp(t, `1 of 20 bytes from pool_test.go:\d+`, err)
	require.Empty(t, b.have, "they are freed all the same")
	_, err = m.get(1, nil)
	require.Error(t, err)
}

func TestErrorKinds(t *testing.T) {
	err := error(&Error{"cuMemAlloc", 2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory", "said the log"})
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.NotErrorIs(t, err, device.ErrLost)
	require.Equal(t, "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (2): out of memory\nsaid the log", err.Error())
	for _, code := range []int{46, 214, 700, 709, 719, 999} {
		require.True(t, (&Error{Code: code}).sticky(), code)
	}
	for _, code := range []int{1, 2, 100, 218, 500, 600, 701, 901} {
		require.False(t, (&Error{Code: code}).sticky(), code)
		require.Equal(t, code == 2, errors.Is(&Error{Code: code}, device.ErrOutOfMemory), code)
	}
}
