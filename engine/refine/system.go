package refine

import (
	"math"
	"slices"
)

// system solves A x = b on a weighted graph: (A x)_i = diagonal_i x_i - sum_j weight_ij x_j with diagonal_i >= sum_j
// weight_ij: symmetric, and positive definite if every connected part has some excess on its diagonal.
//
// The edges of a random walk span six orders of magnitude. Conjugate gradients with a local preconditioner (incomplete
// Cholesky) take thousands of iterations there, and look finished while patches behind weak edges are still wrong. So the
// preconditioner is an algebraic multigrid (Notay 2010, aggregation with a K-cycle): each level merges unknowns along
// edges that are strong at both ends, a merged group counts as constant, and the merged equations are solved by two
// steps of conjugate gradients with the next level's cycle as their preconditioner. Weak edges are left for the levels
// at which what they join has become single unknowns.
type system struct{ levels []*level }

// level is a graph with the vectors that the cycle needs on it.
type level struct {
	first    []int32 // the edges of i are first[i] to first[i+1]
	to       []int32
	weight   []float64
	diagonal []float64
	group    []int32 // the unknown of the next level that i is merged into
	twice    bool    // two steps of conjugate gradients, not one

	b, x     []float64 // the cycle's right-hand side and result
	sum      []float64 // accelerate's result
	dir, adi []float64 // search direction, and A times it
}

const (
	// strong is the share of the largest weight at either end from which an edge is merged along.
	strong = 0.25
	// groupMost bounds a group: in large ones constants are a poor guess.
	groupMost = 8
	// A level that keeps more than stalled of the unknowns merges again with larger groups: stars need them.
	stalled = 0.8
	// enough is the share of the squared residual below which the second step of accelerate is left out.
	enough = 0.25 * 0.25
)

// newLevel returns an empty graph for n unknowns with room for edges. Unknowns are added in order: their edges, then end.
func newLevel(n, edges int) *level {
	l := &level{first: append(make([]int32, 0, n+1), 0), to: make([]int32, 0, edges), weight: make([]float64, 0, edges)}
	for _, v := range []*[]float64{&l.diagonal, &l.b, &l.x, &l.sum, &l.dir, &l.adi} {
		*v = make([]float64, n)
	}
	return l
}

func (l *level) edge(to int32, weight float64) {
	l.to = append(l.to, to)
	l.weight = append(l.weight, weight)
}

// end closes the unknown whose edges were added last.
func (l *level) end() { l.first = append(l.first, int32(len(l.to))) }

// edges returns the edges of unknown i.
func (l *level) edges(i int) ([]int32, []float64) {
	a, b := l.first[i], l.first[i+1]
	return l.to[a:b], l.weight[a:b]
}

// solve finds x for the graph and its right-hand side b, which it overwrites, by flexible conjugate gradients from 0, until
// ||b - A x|| <= tol ||b||. It returns x, the iterations used and the relative residual reached.
func solve(fine *level, tol float64, most int) (x []float64, iterations int, residual float64) {
	x = make([]float64, len(fine.b))
	norm := math.Sqrt(dot(fine.b, fine.b))
	if norm == 0 {
		return x, 0, 0
	}
	var s system
	visits := 1 // of a level in one cycle
	for l := fine; l != nil; l = l.merged() {
		if 2*visits*len(l.b) <= len(fine.b) { // a cycle's work stays within a few times that on the finest level
			l.twice = true
			visits *= 2
		}
		s.levels = append(s.levels, l)
	}
	s.cycle(0)
	copy(fine.dir, fine.x)
	for residual = 1; residual > tol && iterations < most; iterations++ {
		curve := fine.descend(x)
		residual = math.Sqrt(dot(fine.b, fine.b)) / norm
		s.cycle(0)
		fine.conjugate(curve)
	}
	return x, iterations, residual
}

// descend goes to the minimum along dir: x += alpha dir, b -= alpha A dir. It returns dir . A dir.
func (l *level) descend(x []float64) float64 {
	for i, d := range l.diagonal {
		l.adi[i] = d*l.dir[i] - l.neighbours(i, l.dir)
	}
	curve := dot(l.dir, l.adi)
	if curve <= 0 { // dir is 0 up to rounding
		return 0
	}
	alpha := dot(l.dir, l.b) / curve
	for i, d := range l.dir {
		x[i] += alpha * d
		l.b[i] -= alpha * l.adi[i]
	}
	return curve
}

// conjugate makes x, the cycle's result for the new b, the next direction, conjugate to dir.
func (l *level) conjugate(curve float64) {
	beta := 0.0
	if curve > 0 {
		beta = dot(l.x, l.adi) / curve
	}
	for i, v := range l.x {
		l.dir[i] = v - beta*l.dir[i]
	}
}

// neighbours is sum_j weight_ij v_j.
func (l *level) neighbours(i int, v []float64) float64 {
	sum := 0.0
	to, weight := l.edges(i)
	for k, j := range to {
		sum += weight[k] * v[j]
	}
	return sum
}

// cycle sets x ~ A^-1 b on level k: Gauss-Seidel forward, the next level's correction, Gauss-Seidel backward.
func (s *system) cycle(k int) {
	l := s.levels[k]
	clear(l.x)
	for i := range l.x {
		l.relax(i)
	}
	if k+1 == len(s.levels) {
		return // without edges that was exact
	}
	next := s.levels[k+1]
	clear(next.b)
	for i, g := range l.group {
		next.b[g] += l.b[i] + l.neighbours(i, l.x) - l.diagonal[i]*l.x[i]
	}
	s.accelerate(k + 1)
	for i, g := range l.group {
		l.x[i] += next.sum[g]
	}
	for i := len(l.x) - 1; i >= 0; i-- {
		l.relax(i)
	}
}

func (l *level) relax(i int) { l.x[i] = (l.b[i] + l.neighbours(i, l.x)) / l.diagonal[i] }

// accelerate sets sum ~ A^-1 b on level k by one or two steps of flexible conjugate gradients, and overwrites b.
func (s *system) accelerate(k int) {
	l := s.levels[k]
	before := dot(l.b, l.b)
	clear(l.sum)
	s.cycle(k)
	copy(l.dir, l.x)
	curve := l.descend(l.sum)
	if l.twice && dot(l.b, l.b) > enough*before {
		s.cycle(k)
		l.conjugate(curve)
		l.descend(l.sum)
	}
}

// merged returns the next level, or nil if there is no edge left to merge along.
func (l *level) merged() *level {
	if len(l.to) == 0 {
		return nil
	}
	n := len(l.diagonal)
	most := make([]float64, n)
	for i := range most {
		_, weight := l.edges(i)
		for _, w := range weight {
			most[i] = max(most[i], w)
		}
	}
	for size := groupMost; ; size *= groupMost {
		count := l.assign(most, size)
		if float64(count) <= stalled*float64(n) || size >= n {
			return l.quotient(count)
		}
	}
}

// assign numbers the groups of at most size unknowns that hang together by strong edges, and returns how many there are.
// most is the largest weight at each unknown. The largest of all is strong, so there are fewer groups than unknowns.
func (l *level) assign(most []float64, size int) int {
	n := len(most)
	parent, members := make([]int32, n), make([]int, n)
	for i := range parent {
		parent[i], members[i] = int32(i), 1
	}
	root := func(i int32) int32 {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	for i := range n {
		to, weight := l.edges(i)
		for k, j := range to {
			if weight[k] < strong*max(most[i], most[j]) {
				continue
			}
			a, b := root(int32(i)), root(j)
			if a, b = min(a, b), max(a, b); a != b && members[a]+members[b] <= size {
				parent[b] = a
				members[a] += members[b]
			}
		}
	}
	l.group = make([]int32, n)
	count := 0
	for i := range l.group {
		if r := root(int32(i)); r < int32(i) { // a root is its group's first
			l.group[i] = l.group[r]
		} else {
			l.group[i] = int32(count)
			count++
		}
	}
	return count
}

// quotient returns the graph of the groups: rows and columns are summed over their members.
func (l *level) quotient(count int) *level {
	begin := make([]int32, count+1) // of each group among the unknowns in the order of their groups
	for _, g := range l.group {
		begin[g+1]++
	}
	for g := range count {
		begin[g+1] += begin[g]
	}
	order, end := make([]int32, len(l.group)), slices.Clone(begin)
	for i, g := range l.group {
		order[end[g]] = int32(i)
		end[g]++
	}
	q := newLevel(count, len(l.to)/2)
	at := make([]int32, count) // where the edge from the group in hand to each group is, if not before its first
	for i := range at {
		at[i] = -1
	}
	for g := range count {
		start := int32(len(q.to))
		for _, i := range order[begin[g]:begin[g+1]] {
			q.diagonal[g] += l.diagonal[i]
			to, weight := l.edges(int(i))
			for k, j := range to {
				switch h := l.group[j]; {
				case int(h) == g:
					q.diagonal[g] -= weight[k]
				case at[h] >= start:
					q.weight[at[h]] += weight[k]
				default:
					at[h] = int32(len(q.to))
					q.edge(h, weight[k])
				}
			}
		}
		q.end()
	}
	return q
}

func dot(a, b []float64) float64 {
	s := 0.0
	for i, v := range a {
		s += v * b[i]
	}
	return s
}
