package exec_test

import (
	"testing"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func TestGuard(t *testing.T) {
	b := graph.NewBuilder("two")
	x, y := b.Input("x", graph.N, 2, 3), b.Input("y", graph.N, 2, 3)
	g, err := b.Graph(b.OpAs("sum", graph.Add, nil, x, y))
	require.NoError(t, err)
	guard, err := exec.NewGuard("some", g, true)
	require.NoError(t, err)
	of := func(shapes ...[]int) (all []*tensor.Dense) {
		for _, s := range shapes {
			if s == nil {
				all = append(all, nil)
				continue
			}
			all = append(all, nd.New(s...))
		}
		return all
	}
	four := []int{4, 2, 3}
	in, out := of(four, four), of(four)
	images, err := guard.Forward(in, out)
	require.NoError(t, err)
	require.Equal(t, 4, images)
	_, err = guard.Backward(out, in)
	require.EqualError(t, err, "some: Backward without a Forward of its own", "it is not Done")
	guard.Done(4)
	images, err = guard.Backward(out, of(nil, four))
	require.NoError(t, err)
	require.Equal(t, 4, images)
	_, err = guard.Backward(out, in)
	require.EqualError(t, err, "some: Backward without a Forward of its own", "a Forward serves one")

	for want, c := range map[string][2][]*tensor.Dense{
		"some: 1 inputs, want 2":                  {of(four), out},
		"some: 2 outputs, want 1":                 {in, in},
		`some: input "y" has 3 images, want 4`:    {of(four, []int{3, 2, 3}), out},
		`some: output "sum" has 1 images, want 4`: {in, of([]int{1, 2, 3})},
		`some: "x": input has shape (4, 3, 2)`:    {of([]int{4, 3, 2}, four), out},
		`some: "y": input is nil`:                 {of(four, nil), out},
	} {
		_, err := guard.Forward(c[0], c[1])
		require.ErrorContains(t, err, want)
	}
	guard.Done(4)
	_, err = guard.Backward(of([]int{3, 2, 3}), in)
	require.EqualError(t, err, `some: output gradient "sum" has 3 images, want 4`)
	_, err = guard.Backward(out, in)
	require.NoError(t, err, "what is refused changes nothing")
	guard.Done(4)
	_, err = guard.Forward(in, out)
	require.NoError(t, err)
	_, err = guard.Backward(out, in)
	require.ErrorContains(t, err, "without a Forward", "after one that failed")

	once, err := exec.NewGuard("some", g, false)
	require.NoError(t, err)
	once.Done(1)
	_, err = once.Backward(out, in)
	require.EqualError(t, err, "some: Backward on a net compiled without gradient")

	guard = guard.Closed()
	_, err = guard.Forward(in, out)
	require.EqualError(t, err, "some: the net is closed")
	_, err = guard.Backward(out, in)
	require.EqualError(t, err, "some: the net is closed")
}
