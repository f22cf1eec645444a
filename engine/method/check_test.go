package method_test

import (
	"testing"

	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func TestCheck(t *testing.T) {
	f := []*tensor.Dense{nd.New(2, 5, 8, 6), nd.New(2, 3, 8, 6), nd.New(2, 1, 1, 4)}
	g, err := method.Check(f, []int{5, 3, 1})
	require.NoError(t, err)
	require.Equal(t, method.Grid{N: 2, H: 8, W: 6}, g)
	require.Equal(t, 48, g.Cells())
	for _, c := range []struct {
		f    []*tensor.Dense
		text string
	}{
		{f[:2], "features of 2 layers, want 3"},
		{[]*tensor.Dense{f[0], f[2], f[1]}, "features of layer 2 has shape (2, 1, 1, 4), want [2 3 -1 -1]"},
		{[]*tensor.Dense{f[0], nd.New(1, 3, 8, 6), f[2]}, "features of layer 2 has shape (1, 3, 8, 6), want [2 3 -1 -1]"},
		{[]*tensor.Dense{f[0], nd.New(2, 3, 9, 6), f[2]}, "features of layer 2 has shape (2, 3, 9, 6), finer than the first"},
		{[]*tensor.Dense{f[0], nd.New(2, 3, 8, 7), f[2]}, "features of layer 2 has shape (2, 3, 8, 7), finer than the first"},
		{[]*tensor.Dense{f[0], f[1], nd.New(2, 1, 4)}, "features of layer 3 has shape (2, 1, 4)"},
	} {
		_, err := method.Check(c.f, []int{5, 3, 1})
		require.ErrorContains(t, err, c.text)
	}
	_, err = method.Check(nil, nil)
	require.EqualError(t, err, "features of 0 layers, want 0")
}

func TestCheckGrad(t *testing.T) {
	f := []*tensor.Dense{nd.New(1, 2, 4, 4), nd.New(1, 3, 2, 2)}
	r := &method.Result{S: nd.New(1, 4, 4)}
	dS := nd.New(1, 4, 4)
	_, err := r.CheckGrad(f, dS, f, []int{2, 3})
	require.NoError(t, err)
	_, err = r.CheckGrad(f, dS, []*tensor.Dense{f[0], nd.New(1, 3, 1, 2)}, []int{2, 3})
	require.EqualError(t, err, "gradient of the features of layer 2 has shape (1, 3, 1, 2), want (1, 3, 2, 2)")
	_, err = r.CheckGrad(f, dS, []*tensor.Dense{f[0], nil}, []int{2, 3})
	require.EqualError(t, err, "gradient of the features of layer 2 is nil, want [1 3 -1 -1]")
	_, err = r.CheckGrad(f, nd.New(1, 4, 3), f, []int{2, 3})
	require.EqualError(t, err, "gradient of the scores has shape (1, 4, 3), want [1 4 4]")
}

func TestWidths(t *testing.T) {
	widths, err := method.Widths([]*tensor.Dense{nd.New(1, 2, 4, 4), nd.New(1, 3, 2, 2)})
	require.NoError(t, err)
	require.Equal(t, []int{2, 3}, widths)
	_, err = method.Widths([]*tensor.Dense{nd.New(1, 2, 4, 4), nd.New(3, 2, 2)})
	require.ErrorContains(t, err, "features of layer 2 has shape (3, 2, 2)")
}
