package metric

import (
	"errors"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTallyCountsAllKeysInOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, records := range []int{1, 3, 40, 5000} {
		c := newTally(Options{TempDir: t.TempDir(), MemoryRecords: records})
		want := map[uint64]uint64{}
		for range 500 {
			key := rng.Uint64() >> (8 * rng.IntN(8)) // all magnitudes: differences that borrow and that wrap
			if rng.IntN(8) == 0 {
				key = math.MaxUint64
			}
			want[key]++
			require.NoError(t, c.add(key))
		}
		var keys []uint64
		require.NoError(t, c.each(func(key, count uint64) error {
			keys = append(keys, key)
			require.Equal(t, want[key], count)
			return nil
		}))
		require.Equal(t, slices.Sorted(maps.Keys(want)), keys)
		require.NoError(t, c.close())
	}
}

func TestTallyIsBounded(t *testing.T) {
	c := newTally(Options{TempDir: t.TempDir(), MemoryRecords: 2})
	var last [3]int
	for i := range uint64(2 * 16 * 16 * 3) {
		require.NoError(t, c.add(i))
		levels := map[int]int{}
		for _, r := range c.runs {
			levels[r.level]++
		}
		for _, n := range levels {
			require.Less(t, n, fanIn)
		}
		last = [3]int{levels[0], levels[1], levels[2]}
		require.LessOrEqual(t, cap(c.buf)+cap(c.scratch), 4)
	}
	require.Equal(t, [3]int{15, 15, 2}, last, "767 runs, base 16")
	files, err := os.ReadDir(c.dir)
	require.NoError(t, err)
	require.Len(t, files, len(c.runs))
	require.NoError(t, c.close())
	require.NoDirExists(t, c.dir)
}

func TestTallyNoticesDamage(t *testing.T) {
	stop := errors.New("stop")
	for name, c := range map[string]struct {
		damage func(path string) error
		want   error
		says   string
	}{
		"missing":       {os.Remove, os.ErrNotExist, "reading records back"},
		"empty":         {func(p string) error { return os.Truncate(p, 0) }, io.EOF, "reading records back"},
		"half a record": {func(p string) error { return os.Truncate(p, 3) }, io.ErrUnexpectedEOF, "reading records back"},
		"fewer records": {func(p string) error { return os.Truncate(p, 2) }, nil, "hold 6 records, want 7"},
		"no varint": {func(p string) error {
			return os.WriteFile(p, slices.Repeat([]byte{0xff}, 30), 0o600)
		}, io.ErrUnexpectedEOF, "reading records back"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newTally(Options{TempDir: t.TempDir(), MemoryRecords: 2})
			for i := range uint64(7) {
				require.NoError(t, a.add(i<<32))
			}
			ignore := func(uint64, uint64) error { return nil }
			require.NoError(t, a.each(ignore))
			require.ErrorIs(t, a.each(func(uint64, uint64) error { return stop }), stop)
			require.NoError(t, c.damage(a.runs[1].path))
			err := a.each(ignore)
			require.ErrorContains(t, err, c.says)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			require.NoError(t, a.close())
		})
	}
}

func TestRadixSort(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for _, n := range []int{0, 1, 2, 300} {
		for _, mask := range []uint64{0, 0xff, 0xff00ff, math.MaxUint64} {
			a := make([]uint64, n)
			for i := range a {
				a[i] = rng.Uint64()&mask | 1<<40
			}
			want := slices.Sorted(slices.Values(a))
			got, other := radixSort(a, nil)
			require.True(t, slices.Equal(want, got), "%d keys of bits %x", n, mask)
			require.Len(t, other, n)
		}
	}
}

func TestRankKeepsOrder(t *testing.T) {
	values := []float32{-math.MaxFloat32, -1, -math.SmallestNonzeroFloat32, 0, math.SmallestNonzeroFloat32, 1, math.MaxFloat32}
	for i, v := range values {
		require.Equal(t, v, unrank(rank(v)))
		if i > 0 {
			require.Less(t, rank(values[i-1]), rank(v))
		}
	}
	require.Equal(t, rank(0), rank(float32(math.Copysign(0, -1))))
}

func TestQuantilesStreamInAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	values := make([]float32, 2000)
	for i := range values {
		values[i] = float32(math.Round(rng.NormFloat64()*100) / 100)
	}
	shares := []float64{0, 0.001, 0.5, 0.9, 0.999, 0.9999, 1}
	all := NewQuantiles(Options{})
	require.NoError(t, all.Add(values))
	want, err := all.At(shares...)
	require.NoError(t, err)
	require.Equal(t, float64(slices.Min(values)), want[0])
	require.Equal(t, float64(slices.Max(values)), want[6])

	slices.Reverse(values)
	q := NewQuantiles(Options{TempDir: t.TempDir(), MemoryRecords: 30})
	for part := range slices.Chunk(values, 7) {
		require.NoError(t, q.Add(part))
	}
	for range 2 {
		got, err := q.At(shares...)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, at := range []float64{-9, -0.5, 0, 0.25, 1, 9, math.NaN()} {
		above := 0
		for _, v := range values {
			if float64(v) > at {
				above++
			}
		}
		got, err := q.Above(at)
		require.NoError(t, err)
		require.Equal(t, float64(above)/2000, got, "above %g", at)
	}
	require.NoError(t, q.Close())
}

func TestQuantilesRefuse(t *testing.T) {
	q := NewQuantiles(Options{})
	_, err := q.At(0.5)
	require.ErrorContains(t, err, "no values")
	_, err = q.Above(0.5)
	require.ErrorContains(t, err, "no values")
	require.ErrorContains(t, q.Add([]float32{1, float32(math.NaN())}), "value[1] is NaN")
	require.Zero(t, q.Len())
	require.NoError(t, q.Add([]float32{1}))
	for _, share := range []float64{-0.1, 1.1, math.NaN()} {
		_, err := q.At(share)
		require.ErrorContains(t, err, "want 0..1")
	}
	got, err := q.At()
	require.NoError(t, err)
	require.Empty(t, got)
}
