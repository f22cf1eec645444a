package kerneltest

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// sums is for float64 sums of up to some thousand squares in another order.
var sums = compare.Tolerance{Rel: 1e-13}

// squaredDistance is |a-b|^2.
func squaredDistance(a, b []float32) float64 {
	sum := 0.0
	for i, x := range a {
		d := float64(x) - float64(b[i])
		sum += d * d
	}
	return sum
}

// neighbours are the k rows of bank [M,d] nearest to q, the lowest of equals first, and their distances.
func neighbours(q, bank []float32, d, k int) ([]int32, []float64) {
	type near struct {
		row  int32
		dist float64
	}
	all := make([]near, len(bank)/d)
	for j := range all {
		all[j] = near{int32(j), squaredDistance(q, bank[j*d:(j+1)*d])}
	}
	slices.SortStableFunc(all, func(a, b near) int { return cmp.Compare(a.dist, b.dist) })
	rows, dists := make([]int32, k), make([]float64, k)
	for i := range k {
		if rows[i], dists[i] = -1, math.Inf(1); i < len(all) {
			rows[i], dists[i] = all[i].row, all[i].dist
		}
	}
	return rows, dists
}

// float64s decodes what memory for twice as many uint32 holds.
func float64s(m *Memory[uint32]) []float64 {
	v := m.Read()
	f := make([]float64, len(v)/2)
	for i := range f {
		f[i] = math.Float64frombits(uint64(v[2*i]) | uint64(v[2*i+1])<<32)
	}
	return f
}

// found is what a search gives.
type found struct {
	winner   []int32
	dist     []float64
	measured []int32
}

// same requires the same bits.
func (f found) same(r *Rig, what string, other found) {
	require.Equal(r.T, f.winner, other.winner, what)
	for i, d := range f.dist {
		require.Equal(r.T, math.Float64bits(d), math.Float64bits(other.dist[i]), "%s: distance of %d", what, i)
	}
}

// nearest searches bank [M,d], whole or in chunks that end at the given rows.
func nearest(r *Rig, q, bank []float32, d, products, processors int, ends ...int) found {
	n, queries := len(q)/d, In(r, q)
	winner, dist, measured := Out[int32](r, n), Out[uint32](r, 2*n), Out[int32](r, n)
	var inputs []Array
	var work []func(kernels.Queue) error
	var outputs = []Array{winner, dist, measured}
	first := 0
	for _, end := range append(ends, len(bank)/d) {
		rows := In(r, bank[first*d:end*d])
		b := kernels.KNNBank{M: end - first, D: d, Products: products, Rows: rows.Ptr}
		b.Prepared = 16 // not null: Bytes does not depend on it
		prepared := Out[uint8](r, b.Bytes())
		b.Prepared = prepared.Ptr
		k := kernels.KNN{
			Bank: b, N: n, First: first, Accumulate: first > 0, Processors: processors,
			Queries: queries.Ptr, Winner: winner.Ptr, Dist: dist.Ptr, Measured: measured.Ptr,
		}
		k.Scratch = Out[uint8](r, k.ScratchBytes()).Ptr
		inputs = append(inputs, rows)
		outputs = append(outputs, prepared)
		work = append(work, b.Enqueue, k.Enqueue)
		first = end
	}
	r.Run(func(queue kernels.Queue) error {
		for _, w := range work {
			if err := w(queue); err != nil {
				return err
			}
		}
		return nil
	}, append(inputs, queries), outputs)
	return found{winner.Read(), float64s(dist), measured.Read()}
}

// exact requires what a search in float64 finds.
func exact(r *Rig, q, bank []float32, d int, f found) {
	r.T.Helper()
	want := make([]float64, len(f.winner))
	for i, w := range f.winner {
		rows, dists := neighbours(q[i*d:(i+1)*d], bank, d, 1)
		want[i] = dists[0]
		require.True(r.T, w >= 0 && int(w) < len(bank)/d, "winner %d of query %d", w, i)
		if w == rows[0] {
			continue
		}
		// Only where sums in another order tie.
		row, lowest := bank[int(w)*d:(int(w)+1)*d], bank[int(rows[0])*d:(int(rows[0])+1)*d]
		require.InEpsilon(r.T, want[i], squaredDistance(q[i*d:(i+1)*d], row), sums.Rel, "query %d: row %d, want %d", i, w, rows[0])
		require.NotEqual(r.T, row, lowest, "query %d: not the lowest of equals", i)
	}
	compare.Require(r.T, "distances", f.dist, want, sums)
}

func total(v []int32) int {
	sum := 0
	for _, x := range v {
		sum += int(x)
	}
	return sum
}

// KNN tests the module knn.
func KNN(t *testing.T, m kernels.Machine, seed uint64) {
	t.Run("bounds", func(t *testing.T) { knnBounds(t, m, seed) })
	t.Run("nearest", func(t *testing.T) { knnNearest(t, m, seed) })
	t.Run("topk", func(t *testing.T) { knnTopK(t, m, seed) })
	t.Run("gradient", func(t *testing.T) { knnGradient(t, m, seed) })
	t.Run("refuses", func(t *testing.T) { knnRefuses(t, m) })
}

// prepared is what knn_prepare makes of vectors: two facts a row, and the values in parts.
type prepared struct {
	facts  []float32
	hi, lo [][]float32
}

// decode reads knn.cu's layout: facts, then panels.
func decode(v []byte, rows, d, panel, products int) prepared {
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(v[4*i:]) }
	value := func(at int) float32 { return math.Float32frombits(uint32(binary.LittleEndian.Uint16(v[at:])) << 16) }
	padded, width := (rows+panel-1)/panel*panel, 32
	if products == 3 {
		width = 16
	}
	blocks := (d + width - 1) / width
	var p prepared
	for row := range rows {
		p.facts = append(p.facts, math.Float32frombits(word(2*row)), math.Float32frombits(word(2*row+1)))
		hi, lo := make([]float32, blocks*width), make([]float32, blocks*width)
		for k := range hi {
			at := 8*padded + ((row/panel*blocks+k/width)*panel+row%panel)*64
			piece, twist := k%width/8, row/2%4
			hi[k] = value(at + 16*(piece^twist) + k%8*2)
			if products == 3 {
				lo[k] = value(at + 16*((piece+2)^twist) + k%8*2)
			}
		}
		p.hi, p.lo = append(p.hi, hi), append(p.lo, lo)
	}
	return p
}

// tensorCore adds a.b to sum as NVIDIA's do at worst: groups of 4 products and the sum are shifted to the greatest exponent
// and cut off at 24 bits.
func tensorCore(sum float64, a, b []float32) float64 {
	for k := 0; k < len(a); k += 4 {
		var terms [5]float64
		terms[4] = sum
		_, most := math.Frexp(sum)
		for i := range 4 {
			terms[i] = float64(a[k+i]) * float64(b[k+i])
			if _, e := math.Frexp(terms[i]); terms[i] != 0 && (e > most || sum == 0) {
				most = max(most, e)
			}
		}
		sum = 0
		for _, x := range terms {
			sum += math.Trunc(math.Ldexp(x, 24-most))
		}
		_, e := math.Frexp(sum)
		sum = math.Ldexp(math.Trunc(math.Ldexp(sum, 24-e)), e-24+most-24)
	}
	return sum
}

// knnBounds tests what exactness stands on: the bounds that come of the prepared vectors, with the tensor cores at their
// worst, are below the distances, and not far.
func knnBounds(t *testing.T, m kernels.Machine, seed uint64) {
	for _, c := range []struct{ d, products int }{{1, 1}, {31, 1}, {31, 3}, {400, 1}, {1000, 3}} {
		Case(t, m, seed, func(r *Rig) {
			const n, M = 4, 10
			q, bank := r.Normal(n*c.d), r.Normal(M*c.d)
			// Query 0 and row 0: bfloat16 loses most, all in one direction. Query 1 and row 2: the accumulator does. The bank's
			// mean stays 0.
			for k := range c.d {
				q[k], bank[k], bank[c.d+k] = 1.0039, 1.0039, -1.0039
				bank[2*c.d+k] = max(bank[2*c.d+k], -bank[2*c.d+k])
				q[c.d+k] = bank[2*c.d+k]
				for row := 2; row < M; row += 2 {
					bank[(row+1)*c.d+k] = -bank[row*c.d+k]
				}
			}
			queries, rows := In(r, q), In(r, bank)
			k := kernels.KNN{Bank: kernels.KNNBank{M: M, D: c.d, Products: c.products, Rows: rows.Ptr}, N: n, Queries: queries.Ptr}
			b, s := Out[uint8](r, k.Bank.Bytes()), Out[uint8](r, k.ScratchBytes())
			k.Bank.Prepared, k.Scratch = b.Ptr, s.Ptr
			k.Winner, k.Dist = Out[int32](r, n).Ptr, Out[uint32](r, 2*n).Ptr
			r.Run(func(queue kernels.Queue) error { return errors.Join(k.Bank.Enqueue(queue), k.Enqueue(queue)) },
				[]Array{queries, rows}, []Array{b, s})
			bytes := b.Read()
			x, y := decode(s.Read(), n, c.d, 128, c.products), decode(bytes[256*((c.d+63)/64):], M, c.d, 256, c.products)

			// A row's facts cover what rounding leaves of it.
			shareRest, shareLow := 0.0016, 0.0
			if c.products == 3 {
				shareRest, shareLow = 0.0016*0.0016, 0.0016
			}
			for j := range M {
				all, low, rest := 0.0, 0.0, 0.0
				for k := range c.d {
					centre := math.Float32frombits(binary.LittleEndian.Uint32(bytes[4*k:]))
					v, h, l := float64(bank[j*c.d+k])-float64(centre), float64(y.hi[j][k]), float64(y.lo[j][k])
					all, low, rest = all+v*v, low+l*l, rest+(v-h-l)*(v-h-l)
				}
				square, length := float64(y.facts[2*j]), float64(y.facts[2*j+1])
				require.LessOrEqual(r.T, square, all*(1-0x1p-22), "row %d", j)
				require.InEpsilon(r.T, all, square, 1e-6, "row %d", j)
				require.GreaterOrEqual(r.T, length, max(math.Sqrt(all), math.Sqrt(rest)/shareRest*(1-1e-6)), "row %d", j)
				require.GreaterOrEqual(r.T, length*shareLow, math.Sqrt(low)*(1-1e-6), "row %d", j)
			}

			const looseness = 0.012 // for 1 product: four times 0.0016, accumulation, and what rounding has really done
			worst, zero := 0.0, make([]float32, c.d)
			for i := range n {
				for j := range M {
					sum := 0.0
					for k := 0; k < len(x.hi[i]); k += 16 {
						sum = tensorCore(sum, x.hi[i][k:k+16], y.hi[j][k:k+16])
						sum = tensorCore(sum, x.lo[i][k:k+16], y.hi[j][k:k+16])
						sum = tensorCore(sum, x.hi[i][k:k+16], y.lo[j][k:k+16])
					}
					w := y.facts[2*j] - 2*float32(sum)
					w -= x.facts[2*i+1] * y.facts[2*j+1]
					bound, d := float64(x.facts[2*i])+float64(w), squaredDistance(q[i*c.d:(i+1)*c.d], bank[j*c.d:(j+1)*c.d])
					require.LessOrEqual(r.T, bound, d, "query %d, row %d", i, j)
					both := math.Sqrt(squaredDistance(q[i*c.d:(i+1)*c.d], zero) * squaredDistance(bank[j*c.d:(j+1)*c.d], zero))
					if i > 0 && j > 1 {
						worst = max(worst, (d-bound)/both)
					}
					if i == 0 && j == 0 && c.products == 1 {
						require.Greater(r.T, d, bound)
						require.Less(r.T, d, float64(x.facts[0])+float64(y.facts[0])-2*sum, "rounding makes this pair look farther apart")
					}
				}
			}
			r.T.Logf("bounds are up to %.5f |x||y| below the distances", worst)
			if c.d > 1 {
				require.Less(r.T, worst, map[int]float64{1: looseness, 3: looseness / 4}[c.products])
			}
		}, "vectors of %d, %d products", c.d, c.products)
	}
}

func knnNearest(t *testing.T, m kernels.Machine, seed uint64) {
	for _, c := range []struct{ n, m, d, products int }{
		{1, 1, 1, 1}, {1, 2, 3, 3}, {3, 5, 31, 1}, {3, 127, 48, 3}, {64, 129, 48, 1}, {130, 300, 33, 1}, {2, 1000, 100, 1},
		{1, 300, 384, 1}, {1, 129, 100, 3},
	} {
		Case(t, m, seed, func(r *Rig) {
			q, bank := r.Normal(c.n*c.d), r.Normal(c.m*c.d)
			for i := range bank {
				bank[i] += 3 // the mean matters
			}
			for i := range q {
				q[i] += 3
			}
			f := nearest(r, q, bank, c.d, c.products, 0)
			exact(r, q, bank, c.d, f)
			r.T.Logf("%d rows measured for %d queries of %d rows", total(f.measured), c.n, c.m)
			if c.m > 1 && c.d > 3 {
				require.Less(r.T, total(f.measured), max(c.n*c.m/3, 3), "rows measured: the bounds rule out too little")
			}
		}, "%d queries, %d rows of %d, %d products", c.n, c.m, c.d, c.products)
	}
	Case(t, m, seed, func(r *Rig) {
		const n, M, d = 4, 300, 17
		bank := r.Normal(M * d)
		copy(bank[5*d:6*d], bank[250*d:251*d]) // twins in different classes
		copy(bank[8*d:9*d], bank[0*d:1*d])     // and in one
		q := slices.Concat(bank[250*d:251*d], bank[8*d:9*d], bank[299*d:300*d], bank[7*d:8*d])
		for _, products := range []int{1, 3} {
			f := nearest(r, q, bank, d, products, 0)
			require.Equal(r.T, []int32{5, 0, 299, 7}, f.winner)
			require.Equal(r.T, make([]float64, n), f.dist)
		}
	}, "duplicates, and queries that are rows")
	Case(t, m, seed, func(r *Rig) {
		// Two clusters far apart, and within them differences far below what bfloat16 tells.
		const n, M, d = 3, 400, 20
		at := r.Normal(d)
		points := func(count int) []float32 {
			v := r.Normal(count * d)
			for i := range v {
				side := float32(1 - 2*(i/d%2))
				v[i] = side*at[i%d] + 2e-2*v[i]
			}
			return v
		}
		q, bank := points(n), points(M)
		one, three := nearest(r, q, bank, d, 1, 0), nearest(r, q, bank, d, 3, 0)
		exact(r, q, bank, d, one)
		exact(r, q, bank, d, three)
		one.same(r, "products 1 and 3", three)
		for i := range n {
			require.Greater(r.T, int(one.measured[i]), 32, "query %d: whole classes need measuring", i)
		}
		require.Less(r.T, total(three.measured), total(one.measured)/2, "three products rule out more")
	}, "near ties")
	Case(t, m, seed, func(r *Rig) {
		const n, M, d = 9, 260, 10
		nan, inf := float32(math.NaN()), float32(math.Inf(1))
		q, bank := r.Normal(n*d), r.Normal(M*d)
		q[0*d+3], q[1*d+4], q[2*d+5] = nan, inf, -inf
		for k := range d {
			q[3*d+k] *= 1e20  // |q|^2 is more than a float32 holds
			q[4*d+k] *= 1e15  // far, yet all can be computed
			q[5*d+k] *= 1e-22 // close to nothing
			bank[7*d+k] *= 1e20
			bank[9*d+k] *= 1e15
			bank[11*d+k] *= 1e-22
			bank[12*d+k] *= 1e-22
			bank[13*d+k] *= 1e-40 // subnormal
		}
		copy(q[6*d:7*d], bank[7*d:8*d])
		copy(q[7*d:8*d], bank[9*d:10*d])
		for _, products := range []int{1, 3} {
			f := nearest(r, q, bank, d, products, 0)
			exact(r, q[3*d:], bank, d, found{winner: f.winner[3:], dist: f.dist[3:]})
			require.Equal(r.T, []int32{0, 0, 0}, f.winner[:3])
			require.True(r.T, math.IsNaN(f.dist[0]) && math.IsInf(f.dist[1], 1) && math.IsInf(f.dist[2], 1), "%v", f.dist[:3])
			require.Equal(r.T, []int32{1, 1, 1}, f.measured[:3])
			require.Equal(r.T, []float64{0, 0}, f.dist[6:8])
			f.same(r, "in chunks", nearest(r, q, bank, d, products, 0, 8, 100))
		}
	}, "values that are huge, tiny or no numbers")
	Case(t, m, seed, func(r *Rig) {
		q, bank := r.Normal(20*10), r.Normal(300*10)
		for _, v := range [][]float32{q, bank} {
			for i := range v {
				v[i] *= 3e-23
			}
		}
		exact(r, q, bank, 10, nearest(r, q, bank, 10, 3, 0))
	}, "all products underflow")
	Case(t, m, seed, func(r *Rig) {
		const n, M, d = 130, 600, 5
		q, bank := r.Normal(n*d), r.Normal(M*d)
		whole := nearest(r, q, bank, d, 1, 0)
		exact(r, q, bank, d, whole)
		whole.same(r, "another split", nearest(r, q, bank, d, 1, 1))
		whole.same(r, "in chunks", nearest(r, q, bank, d, 1, 0, 1, 257))
		for _, i := range []int{0, 129} {
			alone := found{winner: whole.winner[i : i+1], dist: whole.dist[i : i+1]}
			alone.same(r, "alone", nearest(r, q[i*d:(i+1)*d], bank, d, 1, 0))
		}
	}, "splits, chunks and batches make no difference")
}

func knnTopK(t *testing.T, m kernels.Machine, seed uint64) {
	topK := func(r *Rig, q, bank []float32, d, k, processors int, ends ...int) ([]int32, []float64) {
		n, queries := len(q)/d, In(r, q)
		index, dist := Out[int32](r, n*k), Out[uint32](r, 2*n*k)
		inputs := []Array{queries}
		var work []kernels.KNNTopK
		first := 0
		for _, end := range append(ends, len(bank)/d) {
			rows := In(r, bank[first*d:end*d])
			top := kernels.KNNTopK{
				N: n, M: end - first, D: d, K: k, First: first, Accumulate: first > 0, Processors: processors,
				Queries: queries.Ptr, Rows: rows.Ptr, Index: index.Ptr, Dist: dist.Ptr,
			}
			top.Scratch = Out[uint8](r, top.ScratchBytes()).Ptr
			inputs = append(inputs, rows)
			work = append(work, top)
			first = end
		}
		r.Run(func(queue kernels.Queue) error {
			for _, w := range work {
				if err := w.Enqueue(queue); err != nil {
					return err
				}
			}
			return nil
		}, inputs, []Array{index, dist})
		return index.Read(), float64s(dist)
	}
	for _, c := range []struct{ n, m, d, k int }{
		{1, 1, 1, 1}, {3, 2, 3, 5}, {17, 100, 31, 9}, {2, 200, 48, 32}, {64, 33, 5, 3}, {1, 129, 384, 9},
	} {
		Case(t, m, seed, func(r *Rig) {
			q, bank := r.Normal(c.n*c.d), r.Normal(c.m*c.d)
			if c.m > 20 {
				copy(bank[20*c.d:21*c.d], bank[3*c.d:4*c.d])
				copy(q, bank[3*c.d:4*c.d])
			}
			index, dist := topK(r, q, bank, c.d, c.k, 0)
			var finite, want []float64
			for i := range c.n {
				rows, dists := neighbours(q[i*c.d:(i+1)*c.d], bank, c.d, c.k)
				require.Equal(r.T, rows, index[i*c.k:(i+1)*c.k], "query %d", i)
				for j, x := range dists {
					if rows[j] < 0 {
						require.True(r.T, math.IsInf(dist[i*c.k+j], 1))
						continue
					}
					finite, want = append(finite, dist[i*c.k+j]), append(want, x)
				}
			}
			compare.Require(r.T, "distances", finite, want, sums)
			again, dists := topK(r, q, bank, c.d, c.k, 1)
			require.Equal(r.T, index, again, "another split")
			require.Equal(r.T, dist, dists, "another split")
			if c.m > 2 {
				again, dists = topK(r, q, bank, c.d, c.k, 0, 1, c.m/2)
				require.Equal(r.T, index, again, "in chunks")
				require.Equal(r.T, dist, dists, "in chunks")
			}
		}, "%d queries, %d of %d rows of %d", c.n, c.k, c.m, c.d)
	}
	Case(t, m, seed, func(r *Rig) {
		const M, d, k = 300, 6, 6 // a warp sees more rows than its list holds
		q, bank := r.Normal(4*d), r.Normal(M*d)
		q[0] = float32(math.NaN())
		for j := range d {
			q[1*d+j] *= 1e25 // squares overflow float32
			q[2*d+j] *= 2e-23
			for row := range M {
				switch {
				case row < M/2 && row/4%8 == 0:
					bank[row*d+j] *= 2e-23 // squares underflow; all these rows are one warp's
				case row > 2*M/3:
					bank[row*d+j] *= 1e25
				}
			}
		}
		index, dist := topK(r, q, bank, d, k, 1)
		require.Equal(r.T, []int32{0, 1, 2, 3, 4, 5}, index[:k])
		require.True(r.T, math.IsNaN(dist[0]) && math.IsNaN(dist[k-1]))
		for i := 1; i < 4; i++ {
			rows, _ := neighbours(q[i*d:(i+1)*d], bank, d, k)
			require.Equal(r.T, rows, index[i*k:(i+1)*k], "query %d", i)
		}
	}, "values that are huge, tiny or no numbers")
}

func knnGradient(t *testing.T, m kernels.Machine, seed uint64) {
	for _, c := range []struct{ l, m, d, first int }{{1, 1, 1, 0}, {13, 7, 31, 0}, {64, 20, 48, 5}, {9, 4, 132, 0}} {
		Case(t, m, seed, func(r *Rig) {
			q, bank, dS := r.Normal(c.l*c.d), r.Normal(c.m*c.d), r.Normal(c.l)
			winner, dist := make([]int32, c.l), make([]uint32, 2*c.l)
			squared := make([]float64, c.l)
			for l := range c.l {
				row := r.Rand.IntN(c.m)
				winner[l] = int32(row + c.first)
				switch l % 8 {
				case 5:
					copy(q[l*c.d:], bank[row*c.d:(row+1)*c.d])
				case 6:
					dS[l] = 0
				case 7:
					for k := range c.d {
						q[l*c.d+k] *= 1e25
					}
				}
				squared[l] = squaredDistance(q[l*c.d:(l+1)*c.d], bank[row*c.d:(row+1)*c.d])
				bits := math.Float64bits(squared[l])
				dist[2*l], dist[2*l+1] = uint32(bits), uint32(bits>>32)
			}
			other := c.l / 2 // this one's winner is in another chunk
			if c.first > 0 {
				winner[other] = int32(c.first - 1)
			}
			queries, rows, w, s, up := In(r, q), In(r, bank), In(r, winner), In(r, dist), In(r, dS)
			dq := Out[float32](r, c.l*c.d)
			for _, square := range []bool{false, true} {
				score := Out[float32](r, c.l)
				k := kernels.KNNScore{L: c.l, Squared: square, Dist: s.Ptr, S: score.Ptr}
				r.Run(k.Enqueue, []Array{s}, []Array{score})
				got, want := score.Read(), slices.Clone(squared)
				for l := range want {
					if !square {
						want[l] = math.Sqrt(want[l])
					}
					got[l], want[l] = min(got[l], math.MaxFloat32), min(want[l], math.MaxFloat32) // squares overflow
				}
				compare.Require(r.T, "scores", got, want, rounding)
			}
			g := kernels.KNNGradient{
				L: c.l, D: c.d, M: c.m, First: c.first,
				Queries: queries.Ptr, Rows: rows.Ptr, Winner: w.Ptr, Dist: s.Ptr, DS: up.Ptr, DQ: dq.Ptr,
			}
			for _, mode := range []string{"distance", "squared", "difference"} {
				g.Squared = mode == "squared"
				if mode == "difference" {
					g.DS = 0
				}
				r.Run(g.Enqueue, []Array{queries, rows, w, s, up}, []Array{dq})
				got := dq.Read()
				for l := range c.l {
					part, want := got[l*c.d:(l+1)*c.d], make([]float64, c.d)
					if c.first > 0 && l == other {
						require.True(r.T, math.IsNaN(float64(part[0])), "location %d was written", l)
						continue
					}
					scale := float64(dS[l])
					switch {
					case mode == "difference":
						scale = 1
					case mode == "squared":
						scale *= 2
					case squared[l] > 0:
						scale /= math.Sqrt(squared[l])
					}
					row := int(winner[l]) - c.first
					for k := range want {
						want[k] = scale * (float64(q[l*c.d+k]) - float64(bank[row*c.d+k]))
					}
					compare.Require(quiet{r.T}, mode, part, want, rounding)
				}
			}
		}, "%d locations of %d", c.l, c.d)
	}
}

// quiet logs nothing.
type quiet struct{ testing.TB }

func (quiet) Logf(string, ...any) {}

func knnRefuses(t *testing.T, m kernels.Machine) {
	bank := kernels.KNNBank{M: 2, D: 3, Products: 1, Rows: 256, Prepared: 512}
	for what, change := range map[string]func(*kernels.KNNBank){
		"bank [0,3]": func(b *kernels.KNNBank) { b.M = 0 }, "bank [2,5000]": func(b *kernels.KNNBank) { b.D = 5000 },
		"2 products": func(b *kernels.KNNBank) { b.Products = 2 }, "bank is null": func(b *kernels.KNNBank) { b.Rows = 0 },
		"prepared bank is not aligned": func(b *kernels.KNNBank) { b.Prepared = 520 },
	} {
		b := bank
		change(&b)
		require.ErrorContains(t, b.Enqueue(m), what)
		require.ErrorContains(t, kernels.KNN{Bank: b, N: 1}.Enqueue(m), what)
	}
	good := kernels.KNN{Bank: bank, N: 1, Queries: 1024, Scratch: 2048, Winner: 4096, Dist: 8192}
	for what, change := range map[string]func(*kernels.KNN){
		"0 queries": func(k *kernels.KNN) { k.N = 0 }, "first row": func(k *kernels.KNN) { k.First = math.MaxInt32 - 1 },
		"queries is null": func(k *kernels.KNN) { k.Queries = 0 }, "dist is not aligned": func(k *kernels.KNN) { k.Dist = 8196 },
		"scratch is not": func(k *kernels.KNN) { k.Scratch = 8 }, "measured": func(k *kernels.KNN) { k.Measured = 3 },
	} {
		k := good
		change(&k)
		require.ErrorContains(t, k.Enqueue(m), what)
	}
	top := kernels.KNNTopK{N: 1, M: 2, D: 3, K: 1, Queries: 256, Rows: 512, Scratch: 1024, Index: 2048, Dist: 4096}
	for what, change := range map[string]func(*kernels.KNNTopK){
		"65 queries": func(k *kernels.KNNTopK) { k.N = 65 }, "bank [0,3]": func(k *kernels.KNNTopK) { k.M = 0 },
		"33 neighbours": func(k *kernels.KNNTopK) { k.K = 33 }, "first row": func(k *kernels.KNNTopK) { k.First = -1 },
		"index is null": func(k *kernels.KNNTopK) { k.Index = 0 }, "dist is not aligned": func(k *kernels.KNNTopK) { k.Dist = 4100 },
	} {
		k := top
		change(&k)
		require.ErrorContains(t, k.Enqueue(m), what)
	}
	score := kernels.KNNScore{L: 1, Dist: 8, S: 4}
	for what, change := range map[string]func(*kernels.KNNScore){
		"0 locations": func(s *kernels.KNNScore) { s.L = 0 }, "dist is null": func(s *kernels.KNNScore) { s.Dist = 0 },
		"s is not": func(s *kernels.KNNScore) { s.S = 2 },
	} {
		s := score
		change(&s)
		require.ErrorContains(t, s.Enqueue(m), what)
	}
	gradient := kernels.KNNGradient{
		L: 1, D: 3, M: 2, Queries: 256, Rows: 512, Winner: 1024, Dist: 2048, DS: 4096, DQ: 8192,
	}
	for what, change := range map[string]func(*kernels.KNNGradient){
		"0 locations": func(g *kernels.KNNGradient) { g.L = 0 }, "bank [2,0]": func(g *kernels.KNNGradient) { g.D = 0 },
		"first row": func(g *kernels.KNNGradient) { g.First = -1 }, "dq is not aligned": func(g *kernels.KNNGradient) { g.DQ = 8 },
		"winner is null": func(g *kernels.KNNGradient) { g.Winner = 0 }, "dS is not": func(g *kernels.KNNGradient) { g.DS = 2 },
	} {
		g := gradient
		change(&g)
		require.ErrorContains(t, g.Enqueue(m), what)
	}
}

func init() {
	register("knn", KNN)
	for _, c := range []struct{ n, m, d, products int }{
		{25088, 20000, 1536, 1}, {25088, 20000, 1536, 3}, {25088, 20000, 384, 1}, {784, 1000000, 1536, 1},
	} {
		registerBench(Bench{
			Kernel: "knn_min", Size: fmt.Sprintf("%d x %d x %d, %d products", c.n, c.m, c.d, c.products), Peer: "knn_min",
			Params: map[string]int{"n": c.n, "m": c.m, "d": c.d},
			Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
				k := kernels.KNN{Bank: kernels.KNNBank{M: c.m, D: c.d, Products: c.products}, N: c.n}
				err := errors.Join(
					put(&k.Queries)(b.Normal(c.n*c.d, 1, 1)), put(&k.Bank.Rows)(b.Normal(c.m*c.d, 1, 1)),
					put(&k.Bank.Prepared)(b.Alloc(k.Bank.Bytes()/4)), put(&k.Scratch)(b.Alloc(k.ScratchBytes()/4)),
					put(&k.Winner)(b.Alloc(c.n)), put(&k.Dist)(b.Alloc(2*c.n)),
				)
				if err == nil {
					err = k.Bank.Enqueue(b.M)
				}
				return k.Enqueue, k.Cost(), err
			},
		})
	}
	for _, m := range []int{20000, 1000000} {
		const n, d, k = 32, 1536, 9
		registerBench(Bench{
			Kernel: "knn_topk", Size: fmt.Sprintf("%d of %d x %d, %d queries", k, m, d, n), Peer: "knn_topk",
			Params: map[string]int{"n": n, "m": m, "d": d, "k": k},
			Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
				top := kernels.KNNTopK{N: n, M: m, D: d, K: k}
				err := errors.Join(
					put(&top.Queries)(b.Normal(n*d, 1, 1)), put(&top.Rows)(b.Normal(m*d, 1, 1)),
					put(&top.Scratch)(b.Alloc(top.ScratchBytes()/4)), put(&top.Index)(b.Alloc(n*k)), put(&top.Dist)(b.Alloc(2*n*k)),
				)
				return top.Enqueue, top.Cost(), err
			},
		})
	}
	registerBench(Bench{
		Kernel: "knn_gradient", Size: "25088 x 1536", Peer: "knn_gradient", Params: map[string]int{"l": 25088, "m": 20000, "d": 1536},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			const l, m, d = 25088, 20000, 1536
			g := kernels.KNNGradient{L: l, M: m, D: d}
			winner, dist := make([]int32, l), make([]uint32, 2*l)
			for i := range winner {
				winner[i] = int32(b.Rand.IntN(m))
				dist[2*i+1] = uint32(math.Float64bits(2*d) >> 32)
			}
			err := errors.Join(
				put(&g.Queries)(b.Normal(l*d, 1, 1)), put(&g.Rows)(b.Normal(m*d, 1, 1)), put(&g.Winner)(Put(b, winner)),
				put(&g.Dist)(Put(b, dist)), put(&g.DS)(b.Normal(l, 0, 1)), put(&g.DQ)(b.Alloc(l*d)),
			)
			return g.Enqueue, g.Cost(), err
		},
	})
}

// put keeps an address unless there was an error, which it passes on.
func put(to *kernels.Ptr) func(kernels.Ptr, error) error {
	return func(p kernels.Ptr, err error) error {
		*to = p
		return err
	}
}
