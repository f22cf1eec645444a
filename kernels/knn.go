package kernels

import (
	"fmt"
	"math"
)

// The geometry that knn.cu is written for.
const (
	knnQueries  = 128 // queries of a tile
	knnRows     = 256 // rows of a tile
	knnClasses  = 16  // classes of a split
	knnShared   = 4 * 64 * (knnQueries + knnRows)
	knnMaxRows  = math.MaxInt32 - knnRows
	knnMaxSplit = 64
	knnSample   = 2048 // rows that the centre is the mean of
	// KNNMaxK bounds KNNTopK.K, KNNMaxQueries its N.
	KNNMaxK       = 32
	KNNMaxQueries = 64
	// KNNMaxN bounds the queries of KNN, KNNMaxD the length of all vectors.
	KNNMaxN = 1 << 22
	KNNMaxD = 4096
)

// KNNBank makes the bank Rows [M,D] (float32, M to 2^31-257, D to 4096) ready to be searched by KNN: Enqueue fills Prepared,
// memory for Bytes() bytes of the caller's. Both must stay as they are while the bank is searched. A bank that does not fit
// the device is searched in chunks of rows, each a KNNBank.
type KNNBank struct {
	M, D int
	// Products of bfloat16 that make the bounds: 1 (hi.hi), or 3, which bounds four times more tightly at three times the
	// cost. The answer is the same. 1 is right unless the vectors' differences are small beside their distance from the
	// bank's mean (below some 5 %): then 1 leaves much to be measured.
	Products       int
	Rows, Prepared Ptr
}

func (b KNNBank) check() error {
	if b.M < 1 || b.M > knnMaxRows || b.D < 1 || b.D > KNNMaxD {
		return fmt.Errorf("kernels: knn: bank [%d,%d], want [1 to %d, 1 to %d]", b.M, b.D, knnMaxRows, KNNMaxD)
	}
	if b.Products != 1 && b.Products != 3 {
		return fmt.Errorf("kernels: knn: %d products, want 1 or 3", b.Products)
	}
	return aligned("knn", 16, named{"bank", b.Rows}, named{"prepared bank", b.Prepared})
}

// blocks is how many blocks of 64 bytes a prepared vector has.
func (b KNNBank) blocks() int {
	if b.Products == 1 {
		return ceil(b.D, 32)
	}
	return ceil(b.D, 16)
}

func (b KNNBank) tiles() int { return ceil(b.M, knnRows) }

// The prepared bank is the centre, the facts of rows, and the panels.
func (b KNNBank) facts() Ptr  { return b.Prepared.Plus(64 * ceil(b.D, 64)) }
func (b KNNBank) panels() Ptr { return b.facts().Plus(2 * knnRows * b.tiles()) }

// Bytes is the size of the memory at Prepared: some 2 M D bytes for one product, 4 M D for three.
func (b KNNBank) Bytes() int {
	return 4*64*ceil(b.D, 64) + knnRows*b.tiles()*(8+64*b.blocks())
}

// Enqueue launches the preparation.
func (b KNNBank) Enqueue(q Queue) error {
	if err := b.check(); err != nil {
		return err
	}
	step := ceil(b.M, knnSample)
	err := q.Launch(Launch{
		Module: "knn", Kernel: "knn_center",
		Grid: [3]int{ceil(b.D, 32)}, Block: 256, Shared: 8 * 256,
		Args: []Arg{b.Rows.Arg(), Int(ceil(b.M, step)), Int(step), Int(b.D), b.Prepared.Arg()},
		Cost: b.Cost(),
	})
	if err != nil {
		return err
	}
	return b.prepare(q, b.Rows, b.M, knnRows, b.panels(), b.facts())
}

func (b KNNBank) prepare(q Queue, vectors Ptr, count, panel int, panels, facts Ptr) error {
	queries := 0
	if panel == knnQueries {
		queries = 1
	}
	return q.Launch(Launch{
		Module: "knn", Kernel: "knn_prepare",
		Grid: [3]int{panel / 8 * ceil(count, panel)}, Block: 256,
		Args: []Arg{
			vectors.Arg(), Int(count), Int(b.D), b.Prepared.Arg(), Int(b.Products), Int(panel), Int(queries), panels.Arg(), facts.Arg(),
		},
	})
}

// Cost is that of one preparation.
func (b KNNBank) Cost() Cost {
	values := int64(b.M) * int64(b.D)
	return Cost{Bytes: 4*values + int64(b.Bytes()), Flops: 8 * values}
}

// KNN finds, for each of the queries [N,D] (float32), the nearest row of a bank: Winner [N] (int32), the lowest of equally
// near ones, and Dist [N] (float64), |q-b|^2. Distances are compared as float64 sums of (q-b)^2, whatever Bank.Products, as
// the CPU's search does. A query that is not finite gets the first row, and the distance to it, NaN or Inf.
//
// The cost grows with what bounds cannot rule out. Measured [N] (int32; may be 0) receives how many rows were measured for
// each query.
type KNN struct {
	Bank KNNBank
	N    int
	// First is the index of the bank's first row in all of the bank. With Accumulate, Winner and Dist hold the result for
	// other rows, and the nearer counts: a bank searched in chunks gives the same bits as one searched whole.
	First      int
	Accumulate bool
	// Processors is how many multiprocessors to keep busy; 0: 132. It does not change the result.
	Processors int
	Queries    Ptr
	Scratch    Ptr // memory for ScratchBytes() bytes, free again after the launches
	Winner     Ptr
	Dist       Ptr
	Measured   Ptr
}

// splits is into how many parts the bank is cut for the blocks of a query tile: what keeps the processors busy for the
// shortest time, and 8 or more if the bank is large, since many small classes leave little to measure.
func (k KNN) splits() int {
	processors := k.Processors
	if processors <= 0 {
		processors = 132
	}
	tiles, strips := k.Bank.tiles(), ceil(k.N, knnQueries)
	best, least := 1, math.Inf(1)
	for s := min(8, ceil(tiles, 2)); s <= min(knnMaxSplit, tiles); s++ {
		// Filling the pipeline and writing candidates cost about half a tile.
		if t := float64(ceil(strips*s, processors)) * (float64(ceil(tiles, s)) + 0.5); t < least {
			best, least = s, t
		}
	}
	return best
}

// The scratch memory is the queries' facts and panels, the classes' least bounds and their rows.
func (k KNN) panels() Ptr { return k.Scratch.Plus(2 * knnQueries * ceil(k.N, knnQueries)) }
func (k KNN) bounds() Ptr {
	return k.panels().Plus(16 * k.Bank.blocks() * knnQueries * ceil(k.N, knnQueries))
}
func (k KNN) rows() Ptr { return k.bounds().Plus(2 * knnClasses * k.splits() * k.N) }

// ScratchBytes is the size of the memory at Scratch: for each query some 2 D bytes (three products: 4 D) and 12 for each of
// 128 or more classes.
func (k KNN) ScratchBytes() int {
	return knnQueries*ceil(k.N, knnQueries)*(8+64*k.Bank.blocks()) + 12*knnClasses*k.splits()*k.N
}

// Enqueue launches the search.
func (k KNN) Enqueue(q Queue) error {
	if k.N < 1 || k.N > KNNMaxN {
		return fmt.Errorf("kernels: knn: %d queries, want 1 to %d", k.N, KNNMaxN)
	}
	if err := k.Bank.check(); err != nil {
		return err
	}
	if k.First < 0 || k.First+k.Bank.M > math.MaxInt32 {
		return fmt.Errorf("kernels: knn: first row %d of %d, want 0 to %d", k.First, k.Bank.M, math.MaxInt32-k.Bank.M)
	}
	if err := aligned("knn", 16, named{"queries", k.Queries}, named{"scratch", k.Scratch}); err != nil {
		return err
	}
	if err := aligned("knn", 8, named{"winner", k.Winner}, named{"dist", k.Dist}); err != nil {
		return err
	}
	if k.Measured%4 != 0 {
		return fmt.Errorf("kernels: knn: measured is not aligned to 4 bytes")
	}
	b := k.Bank
	if err := b.prepare(q, k.Queries, k.N, knnQueries, k.panels(), k.Scratch); err != nil {
		return err
	}
	splits := k.splits()
	err := q.Launch(Launch{
		Module: "knn", Kernel: fmt.Sprintf("knn_products%d", b.Products),
		Grid: [3]int{splits * ceil(k.N, knnQueries)}, Block: 256, Shared: knnShared,
		Args: []Arg{
			k.panels().Arg(), k.Scratch.Arg(), b.panels().Arg(), b.facts().Arg(), Int(k.N), Int(b.blocks()), Int(b.tiles()), Int(splits),
			k.bounds().Arg(), k.rows().Arg(),
		},
		Cost: k.Cost(),
	})
	if err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "knn", Kernel: "knn_refine",
		Grid: [3]int{k.N}, Block: 128, Shared: 4 * (16 + 4),
		Args: []Arg{
			k.Queries.Arg(), b.Rows.Arg(), Int(b.M), Int(b.D), Int(k.First), Bool(k.Accumulate), k.Scratch.Arg(),
			k.bounds().Arg(), k.rows().Arg(), Int(b.tiles()), Int(splits), k.Winner.Arg(), k.Dist.Arg(), k.Measured.Arg(),
		},
	})
}

// Cost is that of one search in which bounds rule out all rows but one.
func (k KNN) Cost() Cost {
	n, m, d := int64(k.N), int64(k.Bank.M), int64(k.Bank.D)
	return Cost{
		Bytes: int64(k.Bank.Bytes()) + n*(4*d+12),
		// The running minimum, and the winner's distance.
		Flops: n * (8*m + 3*d), TensorFlops: 2 * n * m * d * int64(k.Bank.Products), Tensor: "bf16",
	}
}

// KNNTopK finds, for each of up to 64 queries [N,D], the K nearest rows of the bank Rows [M,D], nearest first, the lowest of
// equally near ones first: Index [N,K] (int32) and Dist [N,K] (float64, |q-b|^2). Beyond the bank's size Index is -1 and Dist
// +Inf. First and Accumulate are KNN's, and so is how distances are compared.
type KNNTopK struct {
	N, M, D, K  int
	First       int
	Accumulate  bool
	Processors  int // as KNN.Processors
	Queries     Ptr
	Rows        Ptr
	Scratch     Ptr // memory for ScratchBytes() bytes
	Index, Dist Ptr
}

// Queries that a block of knn_topk measures at once.
const knnGroup = 16

func (k KNNTopK) splits() int {
	processors := k.Processors
	if processors <= 0 {
		processors = 132
	}
	return max(1, min(2*processors/ceil(k.N, knnGroup), ceil(k.M, 32)))
}

// ScratchBytes is the size of the memory at Scratch.
func (k KNNTopK) ScratchBytes() int { return 12 * k.N * k.splits() * k.K }

// Enqueue launches the search and the merge of its lists.
func (k KNNTopK) Enqueue(q Queue) error {
	switch {
	case k.N < 1 || k.N > KNNMaxQueries:
		return fmt.Errorf("kernels: knn_topk: %d queries, want 1 to %d", k.N, KNNMaxQueries)
	case k.M < 1 || k.M > knnMaxRows || k.D < 1 || k.D > KNNMaxD:
		return fmt.Errorf("kernels: knn_topk: bank [%d,%d], want [1 to %d, 1 to %d]", k.M, k.D, knnMaxRows, KNNMaxD)
	case k.K < 1 || k.K > KNNMaxK:
		return fmt.Errorf("kernels: knn_topk: %d neighbours, want 1 to %d", k.K, KNNMaxK)
	case k.First < 0 || k.First+k.M > math.MaxInt32:
		return fmt.Errorf("kernels: knn_topk: first row %d of %d, want 0 to %d", k.First, k.M, math.MaxInt32-k.M)
	}
	err := aligned("knn_topk", 8, named{"queries", k.Queries}, named{"bank", k.Rows}, named{"scratch", k.Scratch},
		named{"index", k.Index}, named{"dist", k.Dist})
	if err != nil {
		return err
	}
	splits := k.splits()
	rows := k.Scratch.Plus(2 * k.N * splits * k.K)
	err = q.Launch(Launch{
		Module: "knn", Kernel: "knn_topk",
		Grid: [3]int{splits * ceil(k.N, knnGroup)}, Block: 256, Shared: 8 * knnGroup * k.K * 12,
		Args: []Arg{
			k.Queries.Arg(), k.Rows.Arg(), Int(k.N), Int(k.M), Int(k.D), Int(k.K), Int(splits), k.Scratch.Arg(), rows.Arg(),
		},
		Cost: k.Cost(),
	})
	if err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "knn", Kernel: "knn_merge", Grid: [3]int{k.N}, Block: 32,
		Args: []Arg{
			k.Scratch.Arg(), rows.Arg(), Int(k.K), Int(splits), Int(k.First), Bool(k.Accumulate), k.Dist.Arg(), k.Index.Arg(),
		},
	})
}

// Cost is that of one search.
func (k KNNTopK) Cost() Cost {
	n, m, d := int64(k.N), int64(k.M), int64(k.D)
	return Cost{Bytes: 4*(m+n)*d + 12*n*int64(k.K), Flops: 3 * n * m * d}
}

// KNNScore is S [L] (float32), the distances |q-b|, or with Squared |q-b|^2, whose squares KNN has left in Dist [L].
type KNNScore struct {
	L       int
	Squared bool
	Dist, S Ptr
}

// Enqueue launches the kernel.
func (s KNNScore) Enqueue(q Queue) error {
	if s.L < 1 || s.L > math.MaxInt32 {
		return fmt.Errorf("kernels: knn_score: %d locations, want 1 to %d", s.L, math.MaxInt32)
	}
	if err := aligned("knn_score", 8, named{"dist", s.Dist}); err != nil {
		return err
	}
	if err := aligned("knn_score", 4, named{"s", s.S}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "knn", Kernel: "knn_score", Grid: [3]int{ceil(s.L, 256)}, Block: 256,
		Args: []Arg{s.Dist.Arg(), Int(s.L), Bool(s.Squared), s.S.Arg()},
		Cost: s.Cost(),
	})
}

// Cost is that of one launch.
func (s KNNScore) Cost() Cost { return Cost{Bytes: 12 * int64(s.L)} }

// KNNGradient is DQ [L,D], dq_l = scale_l (q_l - b_winner(l)), for queries [L,D] whose Winner [L] and Dist [L] KNN has found:
// the gradient of scores |q-b| (scale dS/|q-b|) or, with Squared, |q-b|^2 (scale 2 dS), given DS [L]. It is 0 where dS or the
// distance is. Without DS (0) it is the difference q_l - b_winner(l). Rows [M,D] is the bank, or the chunk of it that begins
// with row First: DQ of other chunks' winners is left alone.
type KNNGradient struct {
	L, D          int
	M, First      int
	Squared       bool
	Queries, Rows Ptr
	Winner, Dist  Ptr
	DS, DQ        Ptr
}

// Enqueue launches the kernel.
func (g KNNGradient) Enqueue(q Queue) error {
	switch {
	case g.L < 1 || g.L > KNNMaxN:
		return fmt.Errorf("kernels: knn_gradient: %d locations, want 1 to %d", g.L, KNNMaxN)
	case g.M < 1 || g.M > knnMaxRows || g.D < 1 || g.D > KNNMaxD:
		return fmt.Errorf("kernels: knn_gradient: bank [%d,%d], want [1 to %d, 1 to %d]", g.M, g.D, knnMaxRows, KNNMaxD)
	case g.First < 0 || g.First+g.M > math.MaxInt32:
		return fmt.Errorf("kernels: knn_gradient: first row %d of %d, want 0 to %d", g.First, g.M, math.MaxInt32-g.M)
	}
	err := aligned("knn_gradient", 16, named{"queries", g.Queries}, named{"bank", g.Rows}, named{"dq", g.DQ})
	if err != nil {
		return err
	}
	if err := aligned("knn_gradient", 8, named{"winner", g.Winner}, named{"dist", g.Dist}); err != nil {
		return err
	}
	if g.DS%4 != 0 {
		return fmt.Errorf("kernels: knn_gradient: dS is not aligned to 4 bytes")
	}
	return q.Launch(Launch{
		Module: "knn", Kernel: "knn_gradient", Grid: [3]int{ceil(g.L, 8)}, Block: 256,
		Args: []Arg{
			g.Queries.Arg(), g.Rows.Arg(), Int(g.L), Int(g.D), Int(g.First), Int(g.M), g.Winner.Arg(), g.Dist.Arg(), g.DS.Arg(),
			Bool(g.Squared), g.DQ.Arg(),
		},
		Cost: g.Cost(),
	})
}

// Cost is that of one launch.
func (g KNNGradient) Cost() Cost {
	l, d := int64(g.L), int64(g.D)
	return Cost{Bytes: 12*l*d + 16*l, Flops: 2 * l * d}
}
