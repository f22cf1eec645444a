package backbone

import (
	"errors"
	"math"

	"gonum.org/v1/gonum/mat"
)

// moments accumulates the mean and the scatter matrix of C-vectors in float64, block by block (Chan, Golub and LeVeque,
// "Updating formulae and a pairwise algorithm for computing sample variances", 1979). The order of the blocks is the
// order of the sums.
type moments struct {
	n       int
	mean    []float64
	scatter []float64 // C x C, upper triangle: sum of (x-mean)(x-mean)^T
}

func newMoments(c int) *moments {
	return &moments{mean: make([]float64, c), scatter: make([]float64, c*c)}
}

// add takes the P vectors of a [C,P] map.
func (m *moments) add(x []float32) {
	c := len(m.mean)
	p := len(x) / c
	centred := make([]float64, len(x))
	delta := make([]float64, c)
	for i := range c {
		row := x[i*p : (i+1)*p]
		sum := 0.0
		for _, v := range row {
			sum += float64(v)
		}
		mean := sum / float64(p)
		for j, v := range row {
			centred[i*p+j] = float64(v) - mean
		}
		delta[i] = mean - m.mean[i]
	}
	total := m.n + p
	weight := float64(m.n) * float64(p) / float64(total)
	for i := range c {
		a := centred[i*p : (i+1)*p]
		for j := i; j < c; j++ {
			sum := delta[i] * delta[j] * weight
			for k, b := range centred[j*p : (j+1)*p] {
				sum += a[k] * b
			}
			m.scatter[i*c+j] += sum
		}
		m.mean[i] += delta[i] * float64(p) / float64(total)
	}
	m.n = total
}

// minDeviation keeps a channel that hardly varies in training from being blown up: its noise would weigh as much as any
// other channel's signal.
const minDeviation = 1e-3

// pca returns the standard deviation of each channel and the first d eigenvectors [d,C] of the standardised channels'
// covariance, by falling eigenvalue. An eigenvector's sign is that which makes its largest component positive.
func (m *moments) pca(d int) (deviation, vectors []float64, err error) {
	c := len(m.mean)
	if m.n < 2 {
		return nil, nil, errors.New("too few feature vectors for a covariance")
	}
	deviation = make([]float64, c)
	for i := range c {
		deviation[i] = max(math.Sqrt(m.scatter[i*c+i]/float64(m.n)), minDeviation)
	}
	cov := mat.NewSymDense(c, nil)
	for i := range c {
		for j := i; j < c; j++ {
			v := m.scatter[i*c+j] / (float64(m.n) * deviation[i] * deviation[j])
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, nil, errors.New("the features of the training images are not finite")
			}
			cov.SetSym(i, j, v)
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(cov, true) {
		return nil, nil, errors.New("the eigenvalues of the covariance did not converge")
	}
	var all mat.Dense
	eigen.VectorsTo(&all) // columns, by rising eigenvalue
	vectors = make([]float64, d*c)
	for k := range d {
		row := vectors[k*c : (k+1)*c]
		mat.Col(row, c-1-k, &all)
		largest := 0
		for i := range row {
			if math.Abs(row[i]) > math.Abs(row[largest]) {
				largest = i
			}
		}
		if row[largest] < 0 {
			for i := range row {
				row[i] = -row[i]
			}
		}
	}
	return deviation, vectors, nil
}
