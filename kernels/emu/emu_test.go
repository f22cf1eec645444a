package emu_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/kernels"
	"f2pad.example/kernels/emu"

	"github.com/stretchr/testify/require"
)

// start is a machine that has the kernels of testdata, too.
func start(t *testing.T) *emu.Machine {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "probes.cu"))
	require.NoError(t, err)
	m, err := emu.Start(map[string][]byte{"probes.cu": text})
	if errors.Is(err, emu.ErrNoCompiler) {
		t.Skip("SKIPPED: the emulation is not tested: there is no g++")
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// put makes an array on the machine; what is written beside it fails the test.
func put[T float32 | int32 | uint32 | uint16 | uint8](t *testing.T, m *emu.Machine, v []T) kernels.Ptr {
	t.Helper()
	p, err := m.Alloc(len(kernels.Bytes(v)))
	require.NoError(t, err)
	require.NoError(t, m.Write(p, kernels.Bytes(v)))
	return p
}

func get[T float32 | int32 | uint32 | uint16 | uint8](t *testing.T, m *emu.Machine, n int, p kernels.Ptr) []T {
	t.Helper()
	v := make([]T, n)
	require.NoError(t, m.Read(kernels.Bytes(v), p))
	return v
}

// one launches a kernel in one block.
func one(kernel string, threads, shared int, args ...kernels.Arg) kernels.Launch {
	return kernels.Launch{Kernel: kernel, Block: threads, Shared: shared, Args: args}
}

// run launches a kernel that fills n values of out, and returns them.
func run[T float32 | int32 | uint32](
	t *testing.T, m *emu.Machine, kernel string, threads, shared, n int, args ...kernels.Arg,
) []T {
	t.Helper()
	out := put(t, m, make([]T, n))
	require.NoError(t, m.Launch(one(kernel, threads, shared, append(args, out.Arg())...)))
	v := get[T](t, m, n, out)
	require.NoError(t, m.Free(out))
	return v
}

func ascending(n int) []uint32 {
	v := make([]uint32, n)
	for i := range v {
		v[i] = uint32(1000 + 3*i)
	}
	return v
}

// seeds are enough orders of threads for whatever depends on the order to show.
const seeds = 5

// A kernel without one of its barriers gives wrong results under some order of threads, with it under none.
func TestMissingSyncShows(t *testing.T) {
	const threads = 96
	for _, c := range []struct {
		kernel string
		want   func(i int) int32
	}{
		{"reverse", func(i int) int32 { return int32(threads - 1 - i) }},  // read after write
		{"rotate", func(i int) int32 { return int32((i + 5) % threads) }}, // write after read, in a loop
	} {
		m := start(t)
		want := make([]int32, threads)
		for i := range want {
			want[i] = c.want(i)
		}
		wrong := 0
		for m.Seed = range seeds {
			require.Equal(t, want, run[int32](t, m, c.kernel, threads, 4*threads, threads, kernels.Int(1)), "seed %d", m.Seed)
			if !slices.Equal(want, run[int32](t, m, c.kernel, threads, 4*threads, threads, kernels.Int(0))) {
				wrong++
			}
		}
		require.Positive(t, wrong, c.kernel)
	}
}

// Threads start, and go on, in another order with each seed, ascending with none; the last of a warp goes on at once.
func TestOrders(t *testing.T) {
	m := start(t)
	const threads = 64
	seen := map[string]bool{}
	for m.Seed = range seeds {
		all := run[int32](t, m, "orders", threads, 0, 3*threads+1)[:3*threads]
		first, last := all[:threads], all[2*threads:]
		require.Equal(t, m.Seed == 0, slices.IsSorted(last), "seed %d", m.Seed)
		if m.Seed > 0 {
			require.False(t, slices.IsSorted(first), "seed %d", m.Seed)
			require.NotEqual(t, first, last)
		}
		seen[fmt.Sprint(first)], seen[fmt.Sprint(last)] = true, true
		times := map[int32]int{}
		for _, thread := range all {
			times[thread]++
		}
		require.Len(t, times, threads)
		for _, n := range times {
			require.Equal(t, 3, n)
		}
	}
	require.GreaterOrEqual(t, len(seen), 2*seeds-1)
}

// Shared memory that nobody wrote is NaN, in every block, whatever the block before left there.
func TestSharedMemoryStartsUndefined(t *testing.T) {
	m := start(t)
	out := put(t, m, make([]float32, 4*32))
	l := one("leftover", 32, 128, out.Arg())
	l.Grid = [3]int{4}
	require.NoError(t, m.Launch(l))
	for i, v := range get[float32](t, m, 4*32, out) {
		require.True(t, math.IsNaN(float64(v)), i)
	}
}

// A pipeline of asynchronous copies, three deep, is right with its waits. When it waits for one copy too few it reads NaN: what
// the buffer held before, three tiles ago, is gone.
func TestMissingWaitShows(t *testing.T) {
	m := start(t)
	const tiles = 7
	in := ascending(tiles * 32)
	src := put(t, m, in)
	for m.Seed = range seeds {
		require.Equal(t, in, run[uint32](t, m, "pipeline", 32, 3*128, tiles*32, src.Arg(), kernels.Int(tiles), kernels.Int(1)))
		got := run[uint32](t, m, "pipeline", 32, 3*128, tiles*32, src.Arg(), kernels.Int(tiles), kernels.Int(0))
		require.NotEqual(t, in, got)
		for i, v := range got {
			if v != in[i] {
				require.Equal(t, uint32(0xffffffff), v)
			}
		}
	}
}

// cpWait<n> leaves exactly the n latest groups open, and what was not committed; an empty group is a group.
func TestWaitCountsGroups(t *testing.T) {
	m := start(t)
	src := put(t, m, []uint32{11, 22, 33, 44})
	const open = 0xffffffff
	for step, want := range [][]uint32{
		{open, open, open, open}, {11, open, open, open}, {11, 22, open, open}, {11, 22, 33, open},
	} {
		require.Equal(t, want, run[uint32](t, m, "groups", 32, 16, 4, src.Arg(), kernels.Int(step)), "step %d", step)
	}
}

// A copy with ok false clears its bytes and does not read its source.
func TestCopiesClear(t *testing.T) {
	m := start(t)
	for _, bytes := range []int{16, 4} {
		src := put(t, m, make([]uint32, 32*bytes/4))
		words := ascending(32 * bytes / 4)
		require.NoError(t, m.Write(src, kernels.Bytes(words)))
		got := run[uint32](t, m, "clear", 32, 32*bytes, 32*bytes/4, src.Arg(), kernels.Int(bytes), kernels.Int(20))
		for i := range words {
			if i >= 20*bytes/4 {
				words[i] = 0
			}
		}
		require.Equal(t, words, got)
		require.Equal(t, make([]uint32, 32*bytes/4),
			run[uint32](t, m, "clear", 32, 32*bytes, 32*bytes/4, kernels.Ptr(0).Arg(), kernels.Int(bytes), kernels.Int(0)))
	}
}

// What must not happen ends in an error that says what, where, and in which thread.
func TestCatches(t *testing.T) {
	type launch func(p kernels.Ptr) kernels.Launch // p: 8 values
	probe := func(kernel string, threads, shared int, args ...kernels.Arg) launch {
		return func(p kernels.Ptr) kernels.Launch { return one(kernel, threads, shared, append(args, p.Arg())...) }
	}
	grid := func(g ...int) launch {
		return func(p kernels.Ptr) kernels.Launch {
			l := one("touch", 32, 0, kernels.Int(0), kernels.Int(0), p.Arg())
			copy(l.Grid[:], g)
			return l
		}
	}
	for _, c := range []struct {
		name   string
		launch launch
		says   string
		last   bool // the process is of no more use
	}{
		{"a read past the end", probe("touch", 32, 0, kernels.Int(8), kernels.Int(0)), "outside of all memory", true},
		{"a read far past the end", probe("touch", 32, 0, kernels.Int(1<<18-1), kernels.Int(0)), "outside of all memory", true},
		{"a write past the end", probe("touch", 32, 0, kernels.Int(8), kernels.Int(1)), "probes.cu:", true},
		{"a read before the start", probe("touch", 32, 0, kernels.Int(-1024), kernels.Int(0)), "outside of all memory", true},
		{"null", func(kernels.Ptr) kernels.Launch {
			return one("touch", 32, 0, kernels.Int(0), kernels.Int(1), kernels.Ptr(0).Arg())
		}, "outside of all memory at 0x0", true},
		{"a misaligned load", probe("vector", 32, 0, kernels.Int(1)), "misaligned or null address in probes.cu:", true},
		{"a misaligned copy", probe("copyFrom", 32, 512, kernels.Int(1)), "cpAsync: source not aligned to 16", true},
		{"a copy past the end", probe("copyFrom", 32, 512, kernels.Int(8)), "outside of all memory", true},
		{"a copy to what is not shared", probe("copyTo", 32, 512), "cpAsync: not in shared memory", true},
		{"ldMatrix of what is not shared", probe("loadFrom", 32, 512), "ldMatrix: not in shared memory", true},
		{"shared memory's end", probe("touchShared", 32, 128, kernels.Int(128)), "outside of all memory", true},
		{"shared memory's unaligned end", probe("touchShared", 32, 100, kernels.Int(100)), "written beside the 100 bytes", true},
		{"a stack overflow", probe("deep", 32, 0, kernels.Int(1<<20)), "too much on the stack", false},
		{"an index out of bounds", probe("local", 32, 0, kernels.Int(4)), "array's bounds in probes.cu:", false},
		{"an integer overflow", probe("square", 32, 0, kernels.Int(1<<16)), "integer overflow in probes.cu:", false},
		{"a division by zero", probe("divide", 32, 0, kernels.Int(0)), "division by zero", false},
		{"a thread without sync", probe("skip", 64, 0, kernels.Int(33)),
			"deadlock: 63 threads in sync(), 0 in a warp-wide function, 1 returned", false},
		{"different syncs", probe("twoSyncs", 64, 0), "in different sync()", false},
		{"a lane without shfl", probe("skipShuffle", 64, 0, kernels.Int(3)),
			"deadlock: 32 threads in sync(), 31 in a warp-wide function, 1 returned", false},
		{"different warp functions", probe("twoFunctions", 32, 0), "different warp-wide functions: shfl of line ", false},
		{"the same at two lines", probe("twoLines", 32, 0), "different warp-wide functions: shfl of line ", false},
		{"thread and block", probe("skipAt", 32, 0), "(block 1,0,0, thread 7)", true},
		{"blocks of 48", probe("touch", 48, 0, kernels.Int(0), kernels.Int(0)), "blocks of 48 threads", false},
		{"blocks of 2048", probe("touch", 2048, 0, kernels.Int(0), kernels.Int(0)), "blocks of 2048 threads", false},
		{"too much shared memory", probe("touch", 32, 227<<10+1, kernels.Int(0), kernels.Int(0)), "bytes of shared memory", false},
		{"too many blocks", grid(1 << 31), "grid of 2147483648 blocks in dimension 0", false},
		{"beyond 32 bits", grid(1<<32 + 1), "grid of 4294967297 blocks", false},
		{"too many in y", grid(1, 65536), "grid of 65536 blocks in dimension 1", false},
		{"negative", grid(-1), "grid of -1 blocks", false},
		{"a missing parameter", probe("touch", 32, 0, kernels.Int(0)), "2 parameters, want 3", false},
		{"an unknown kernel", probe("nothing", 32, 0), "no kernel nothing", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := start(t)
			p := put(t, m, make([]float32, 8))
			l := c.launch(p)
			if l.Kernel == "skipAt" {
				l.Grid = [3]int{2}
			}
			err := m.Launch(l)
			require.ErrorContains(t, err, c.says)
			if c.last {
				require.Equal(t, err, m.Launch(one("touch", 32, 0, kernels.Int(0), kernels.Int(0), p.Arg())))
				_, again := m.Alloc(4)
				require.Equal(t, err, again)
				return
			}
			require.NoError(t, m.Launch(one("touch", 32, 0, kernels.Int(0), kernels.Int(0), p.Arg())))
			require.NoError(t, m.Free(p))
		})
	}
}

// Between an allocation's last byte and the page that cannot be touched lie at most 15 bytes: Free looks at them.
func TestCatchesWritesBeside(t *testing.T) {
	m := start(t)
	for _, c := range []struct {
		at   int
		says string
	}{{0, ""}, {16, ""}, {17, "written past the end"}, {31, "written past the end"}, {-1, "written before the start"}} {
		p := put(t, m, make([]uint8, 17))
		require.NoError(t, m.Launch(one("touchByte", 32, 0, kernels.Int(c.at), p.Arg())))
		if c.says == "" {
			require.NoError(t, m.Free(p))
		} else {
			require.ErrorContains(t, m.Free(p), c.says)
		}
		require.ErrorContains(t, m.Free(p), "not allocated", "freed twice")
	}
	p := put(t, m, make([]uint8, 17))
	require.ErrorContains(t, m.Write(p, make([]byte, 18)), "outside")
	require.ErrorContains(t, m.Read(make([]byte, 18), p), "outside")
	require.NoError(t, m.Read(make([]byte, 1), p+16))
	_, err := m.Alloc(-1)
	require.ErrorContains(t, err, "out of memory")
	require.NoError(t, m.Free(p))
	require.ErrorContains(t, m.Launch(one("touchByte", 32, 0, kernels.Int(0), p.Arg())), "outside of all memory", "use after Free")
}

// A process that dies is an error, at once, and Close knows.
func TestProcessEnds(t *testing.T) {
	m := start(t)
	require.ErrorContains(t, m.Launch(one("die", 32, 0)), "the process has ended: exit status 3 so it goes")
	require.ErrorContains(t, m.Read(make([]byte, 4), 4096), "the process has ended")
	require.NoError(t, m.Close())
	require.NoError(t, m.Close())
}

func TestClosed(t *testing.T) {
	m := start(t)
	require.NoError(t, m.Close())
	_, err := m.Alloc(4)
	require.ErrorContains(t, err, "the process has ended")
}

// Every block runs once, in any order.
func TestGrid(t *testing.T) {
	m := start(t)
	for m.Seed = range seeds {
		for _, g := range [][3]int{{1, 1, 1}, {5, 3, 2}, {2, 1, 7}, {1, 60, 1}} {
			blocks := g[0] * g[1] * g[2]
			out := put(t, m, make([]int32, blocks*32))
			require.NoError(t, m.Launch(kernels.Launch{Kernel: "count", Grid: g, Block: 32, Args: []kernels.Arg{out.Arg()}}))
			for i, v := range get[int32](t, m, blocks*32, out) {
				require.Equal(t, int32(i+1), v, "%v", g)
			}
		}
	}
}

// The exchanges, against their definitions in PTX (shfl.sync with the clamp 0x1f, vote.sync.ballot).
func TestExchanges(t *testing.T) {
	m := start(t)
	in := ascending(64)
	src := put(t, m, in)
	for m.Seed = range seeds {
		for by := range 40 {
			want := make([]uint32, 4*64)
			for i := range 64 {
				lane, warp := i%32, i/32*32
				want[4*i] = in[warp+by%32]
				want[4*i+1] = in[warp+lane^by%32]
				want[4*i+2] = in[i]
				if lane+by%32 < 32 {
					want[4*i+2] = in[i+by%32]
				}
				for l := range 32 {
					if in[warp+l]%uint32(by+1) == 0 {
						want[4*i+3] |= 1 << l
					}
				}
			}
			require.Equal(t, want, run[uint32](t, m, "exchanges", 64, 0, 4*64, src.Arg(), kernels.Int(by)), "by %d", by)
		}
	}
}

// tensorSum adds products up as the emulation says that tensor cores do: four at a time to the accumulator, what is below 24 bits of the
// largest cut off, before and after. big.Float rounds towards zero, too.
func tensorSum(d float32, products []float64) float32 {
	for four := range slices.Chunk(products, 4) {
		summands := append([]float64{float64(d)}, four...)
		largest, plain := 0.0, 0.0
		for _, v := range summands {
			largest = max(largest, math.Abs(v))
			plain += v
		}
		if largest == 0 || math.IsInf(plain, 0) || math.IsNaN(plain) {
			d = float32(plain)
			continue
		}
		_, e := math.Frexp(largest)
		sum := new(big.Float)
		for _, v := range summands {
			sum.Add(sum, big.NewFloat(math.Ldexp(math.Trunc(math.Ldexp(v, 24-e)), e-24)))
		}
		d, _ = sum.SetMode(big.ToZero).SetPrec(24).Float32()
	}
	return d
}

// The fragments of mma.sync, written out from PTX's figures: lane 4g+t holds, of A (row, column): (g, t..), (g+8, t..),
// (g, t+.. of the upper half of k), (g+8, ...); of B (k, column): (t.., g), (t+.. of the upper half, g); of C and D: (g, 2t),
// (g, 2t+1), (g+8, 2t), (g+8, 2t+1). A kernel packs them so from plain matrices; the product is Go's.
func TestMma(t *testing.T) {
	m := start(t)
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		kernel string
		k      int
		round  func(float32) float64
	}{
		{"bf16", 16, func(v float32) float64 { return roundTo(v, 7) }},
		{"f16", 16, func(v float32) float64 { return roundTo(v, 10) }},
		{"tf32", 8, func(v float32) float64 { return roundTo(v, 10) }},
	} {
		a, b, d := normal(random, 16*c.k), normal(random, c.k*8), normal(random, 16*8)
		special := []float32{0, float32(math.Inf(1)), float32(math.NaN()), 0x1p-14}
		for i, v := range special {
			for k := range c.k {
				if k == 5 || v == 0 {
					a[(3*i+1)*c.k+k] = v
				}
			}
		}
		copy(d[8:], make([]float32, 4)) // of a row whose products are 0
		d[8] = float32(math.Copysign(0, -1))
		want := make([]float32, 16*8)
		for i := range 16 {
			for j := range 8 {
				var products []float64
				for k := range c.k {
					products = append(products, c.round(a[i*c.k+k])*c.round(b[k*8+j]))
				}
				want[8*i+j] = tensorSum(d[8*i+j], products)
			}
		}
		pa, pb, pd := put(t, m, a), put(t, m, b), put(t, m, d)
		for m.Seed = range seeds {
			got := run[float32](t, m, c.kernel, 32, 0, 16*8, pa.Arg(), pb.Arg(), pd.Arg())
			require.Equal(t, bits(want), bits(got), c.kernel)
		}
	}
}

// bits are those of values, all NaN alike.
func bits(values []float32) []uint32 {
	all := make([]uint32, len(values))
	for i, v := range values {
		if v != v {
			v = float32(math.NaN())
		}
		all[i] = math.Float32bits(v)
	}
	return all
}

// ldMatrix: lane l receives elements 2(l%4) and 2(l%4)+1 of row l/4 of each matrix; ldMatrixT of the transpose.
func TestLdMatrix(t *testing.T) {
	m := start(t)
	in := make([]uint16, 4*64)
	for i := range in {
		in[i] = uint16(257 * i)
	}
	src := put(t, m, in)
	for m.Seed = range seeds {
		for transposed := range 2 {
			want := make([]uint32, 4*32)
			for lane := range 32 {
				for i := range 4 {
					row, col := lane/4, lane%4*2
					at := [2]int{row*8 + col, row*8 + col + 1}
					if transposed == 1 {
						at = [2]int{col*8 + row, (col+1)*8 + row}
					}
					want[4*lane+i] = uint32(in[64*i+at[0]]) | uint32(in[64*i+at[1]])<<16
				}
			}
			require.Equal(t, want, run[uint32](t, m, "matrices", 32, 512, 128, src.Arg(), kernels.Int(transposed)))
		}
	}
}

// toBf16 rounds to nearest, ties to even, toTf32 ties away from zero; NaN stays NaN, and overflow is infinite.
func TestConversions(t *testing.T) {
	m := start(t)
	random := rand.New(rand.NewPCG(3, 4))
	in := []uint32{
		0, 0x80000000, 0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0x3f801000, 0x3f801001, 0x3f800fff, 0xbf801000, 0x7f7fffff,
		0xff7fffff, 0x7f800000, 0xff800000, 0x7f800001, 0xffffffff, 0x00000001, 0x00001000, 0x00008000, 0x00018000,
	}
	for len(in) < 1024 {
		in = append(in, random.Uint32())
	}
	want := make([]uint32, 2*len(in))
	for i, bits := range in {
		v := math.Float32frombits(bits)
		if v != v {
			want[2*i], want[2*i+1] = 0x7fffffff, 0x7fff
			continue
		}
		// To nearest by search: the candidate below in magnitude, or the one above.
		near := func(drop uint, up func(low, half uint32, odd bool) bool) uint32 {
			low, base := bits&(1<<drop-1), bits>>drop
			if up(low, 1<<(drop-1), base&1 == 1) {
				base++
			}
			return base
		}
		want[2*i] = near(13, func(low, half uint32, _ bool) bool { return low >= half }) << 13
		want[2*i+1] = near(16, func(low, half uint32, odd bool) bool { return low > half || low == half && odd })
	}
	src := put(t, m, in)
	require.Equal(t, want, run[uint32](t, m, "convert", 1024, 0, 2*len(in), src.Arg()))
}

// fromF16 of all there are: 10 bits of mantissa, 5 of an exponent whose bias is 15; NaN keeps its bits, and is quiet.
func TestFromF16(t *testing.T) {
	m := start(t)
	out := put(t, m, make([]uint32, 1<<16))
	require.NoError(t, m.Launch(kernels.Launch{Kernel: "halves", Grid: [3]int{64}, Block: 1024, Args: []kernels.Arg{out.Arg()}}))
	for i, got := range get[uint32](t, m, 1<<16, out) {
		sign, exponent, mantissa := uint32(i)>>15<<31, i>>10&31, i&1023
		want := math.Ldexp(float64(mantissa), -24)
		if exponent > 0 {
			want = math.Ldexp(float64(1024+mantissa), exponent-25)
		}
		bits := math.Float32bits(float32(want))
		if exponent == 31 {
			bits = 0x7f800000 | uint32(mantissa)<<13
			if mantissa != 0 {
				bits |= 0x400000
			}
		}
		require.Equal(t, sign|bits, got, "%#x", i)
	}
}

// logOnePlus against math.Log1p, over all magnitudes.
func TestLogOnePlus(t *testing.T) {
	m := start(t)
	const perOctave, threads = 60, 1024
	var in []float32
	for e := -149; e < 127; e++ {
		for i := range perOctave {
			in = append(in, float32(math.Ldexp(1+float64(i)/perOctave, e)))
		}
	}
	for i := range 2000 { // around where 1+x passes sqrt(2)
		in = append(in, math.Float32frombits(math.Float32bits(math.Sqrt2-1)+uint32(i)-1000))
	}
	in = append(in, 0)
	for len(in)%threads != 0 {
		in = append(in, float32(len(in)))
	}
	p, out := put(t, m, in), put(t, m, make([]float32, len(in)))
	l := one("logs", threads, 0, p.Arg(), out.Arg())
	l.Grid = [3]int{len(in) / threads}
	require.NoError(t, m.Launch(l))
	worst, at := 0.0, float32(0)
	for i, got := range get[float32](t, m, len(in), out) {
		want := math.Log1p(float64(in[i]))
		w := float32(want)
		ulp := float64(math.Nextafter32(w, float32(math.Inf(1)))) - float64(w)
		off := math.Abs(float64(got)-want) / ulp
		require.False(t, math.IsNaN(off), "log(1+%g) = %g", in[i], got)
		if off > worst {
			worst, at = off, in[i]
		}
	}
	require.LessOrEqual(t, worst, 4.0, "units in the last place, at %g", at)
	t.Logf("worst: %.2f units in the last place, at %g", worst, at)
}

// What the compiler says of a kernel that does not compile is in the error.
func TestBuildSaysWhatIsWrong(t *testing.T) {
	text := []byte("#include \"f2pad.cuh\"\nKERNEL(32) k(int32_t* p) { p[0] = nonsense; }\n")
	_, err := emu.Build("wrong", map[string][]byte{"wrong.cu": text})
	if errors.Is(err, emu.ErrNoCompiler) {
		t.Skip("SKIPPED: the emulation is not tested: there is no g++")
	}
	require.ErrorContains(t, err, "wrong.cu:2")
	require.ErrorContains(t, err, "nonsense")
}

// Without a compiler there is an error to test for.
func TestNoCompiler(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := emu.Start()
	require.ErrorIs(t, err, emu.ErrNoCompiler)
}

func normal(random *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(random.NormFloat64())
	}
	return v
}

// roundTo rounds to so many bits of mantissa; random values do not lie on ties.
func roundTo(v float32, bits int) float64 {
	frac, exp := math.Frexp(float64(v))
	scale := math.Ldexp(1, bits+1)
	return math.Ldexp(math.Round(frac*scale)/scale, exp)
}
