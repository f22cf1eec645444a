package patchcore

import (
	"fmt"

	"f2pad/engine/method"
)

// NewBank returns the bank that a Model searches on the CPU, of the vectors rows [M,D], which it keeps: what
// method.Device's Bank is on a device. It takes up to as much memory again, packed for the search: a quarter where the
// processor multiplies bytes.
func NewBank(rows []float32, d int) (method.Bank, error) {
	if d < 1 || len(rows) == 0 || len(rows)%d != 0 {
		return nil, fmt.Errorf("patchcore: a bank of %d values for vectors of %d", len(rows), d)
	}
	return newBank(rows, d), nil
}
