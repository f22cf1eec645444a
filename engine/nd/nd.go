// Package nd makes and opens the host arrays that cross package borders: row-major float32 *tensor.Dense. Inner loops
// work on the slices; the shapes are written [N,C,H,W].
package nd

import (
	"fmt"
	"slices"

	"gorgonia.org/tensor"
)

// New returns a zeroed float32 tensor of the given shape. Every extent must be at least 1.
func New(shape ...int) *tensor.Dense {
	return Wrap(make([]float32, Size(shape...)), shape...)
}

// Wrap returns a tensor of the given shape over data, which it shares. It panics if the lengths disagree, as indexing
// past a slice would.
func Wrap(data []float32, shape ...int) *tensor.Dense {
	if len(data) != Size(shape...) {
		panic(fmt.Sprintf("nd: %d values for shape %v", len(data), shape))
	}
	return tensor.New(tensor.WithShape(slices.Clone(shape)...), tensor.WithBacking(data))
}

// Data returns the tensor's values, shared and row-major.
func Data(t *tensor.Dense) []float32 {
	return t.Float32s() // unlike Data it does not allocate
}

// Size is the product of the extents.
func Size(shape ...int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// Check returns an error unless t is a float32 tensor of the wanted shape; -1 stands for any extent. name tells the
// caller which argument was wrong.
func Check(name string, t *tensor.Dense, want ...int) error {
	if t == nil {
		return fmt.Errorf("%s is nil, want %v", name, want)
	}
	if t.Dtype() != tensor.Float32 {
		return fmt.Errorf("%s is %v, want float32", name, t.Dtype())
	}
	got := t.Shape()
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		ok = want[i] == -1 || want[i] == got[i]
	}
	if !ok {
		return fmt.Errorf("%s has shape %v, want %v", name, got, want)
	}
	if !t.DataOrder().IsRowMajor() || t.RequiresIterator() {
		return fmt.Errorf("%s is not contiguous and row-major", name)
	}
	return nil
}
