package naive_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// golden: both sides compute in float64, in different orders, and the file keeps 12 digits.
var golden = compare.Tolerance{Abs: 1e-11, Rel: 1e-11}

// TestGolden compares every operator with PyTorch (testdata/golden.py).
func TestGolden(t *testing.T) {
	var cases []struct {
		Name, Op string
		Attrs    map[string]struct {
			Int    *int
			Float  *float32
			String *string
			Ints   []int
			Floats []float32
		}
		Values, Consts []*naive.Array
		Want           *naive.Array
	}
	file, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(file, &cases))
	for _, c := range cases {
		t.Run(c.Op+" "+c.Name, func(t *testing.T) {
			attr := graph.Attrs{}
			for name, v := range c.Attrs {
				switch {
				case v.Int != nil:
					attr[name] = *v.Int
				case v.Float != nil:
					attr[name] = *v.Float
				case v.String != nil:
					attr[name] = *v.String
				case v.Ints != nil:
					attr[name] = v.Ints
				default:
					attr[name] = v.Floats
				}
			}
			b := graph.NewBuilder("golden")
			var names []string
			in := map[string]*naive.Array{}
			for i, v := range c.Values {
				name := string(rune('a' + i))
				in[name] = v
				names = append(names, b.Input(name, append([]int{graph.N}, v.Shape[1:]...)...))
			}
			for _, v := range c.Consts {
				w := nd.New(v.Shape...)
				for i := range v.Data {
					nd.Data(w)[i] = float32(v.Data[i])
				}
				names = append(names, b.Const(w))
			}
			g, err := b.Graph(b.OpAs("y", graph.Op(c.Op), attr, names...))
			require.NoError(t, err)
			values, err := naive.Run(g, in)
			require.NoError(t, err)
			require.Equal(t, c.Want.Shape, values["y"].Shape)
			compare.Require(t, "y", values["y"].Data, c.Want.Data, golden)
		})
	}
}

// TestNotANumber: a NaN goes through Relu and Sign, and lies in no interval.
func TestNotANumber(t *testing.T) {
	b := graph.NewBuilder("nan")
	x := b.Input("x", graph.N, 3)
	g, err := b.Graph(b.OpAs("relu", graph.Relu, nil, x), b.OpAs("sign", graph.Sign, nil, x), b.OpAs("step", graph.Step,
		graph.Attrs{"min": float32(0)}, x))
	require.NoError(t, err)
	nan := math.NaN()
	values, err := naive.Run(g, map[string]*naive.Array{"x": {Shape: []int{1, 3}, Data: []float64{nan, -1, 2}}})
	require.NoError(t, err)
	require.True(t, math.IsNaN(values["relu"].Data[0]))
	require.True(t, math.IsNaN(values["sign"].Data[0]))
	require.Equal(t, []float64{0, 0, 1}, values["step"].Data)
}

func TestErrors(t *testing.T) {
	b := graph.NewBuilder("errors")
	x, y := b.Input("x", graph.N, 3), b.Input("y", graph.N, 3)
	g, err := b.Graph(b.Op(graph.Add, nil, x, y))
	require.NoError(t, err)
	two, three := naive.New(2, 3), naive.New(3, 3)
	for _, c := range []struct {
		name string
		in   map[string]*naive.Array
		want string
	}{
		{"missing", map[string]*naive.Array{"x": two}, `input "y" is missing`},
		{"empty", map[string]*naive.Array{"x": naive.New(0, 3), "y": two}, `input "x" is missing or empty`},
		{"images differ", map[string]*naive.Array{"x": two, "y": three}, `input "y" has shape [3 3]`},
		{"short", map[string]*naive.Array{"x": {Shape: []int{2, 3}}, "y": two}, `input "x" has shape [2 3] and 0 values`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := naive.Run(g, c.in)
			require.ErrorContains(t, err, c.want)
		})
	}
	g.Outputs = nil
	_, err = naive.Run(g, nil)
	require.ErrorContains(t, err, "no outputs")
}

// TestNearestTies: halfway between two sources, round_prefer_floor takes the first (which PyTorch does not offer).
func TestNearestTies(t *testing.T) {
	b := graph.NewBuilder("ties")
	x := b.Input("x", graph.N, 1, 1, 6)
	g, err := b.Graph(b.OpAs("y", graph.Resize, graph.Attrs{"sizes": []int{graph.N, 1, 1, 3}}, x))
	require.NoError(t, err)
	in := &naive.Array{Shape: []int{1, 1, 1, 6}, Data: []float64{0, 1, 2, 3, 4, 5}}
	values, err := naive.Run(g, map[string]*naive.Array{"x": in})
	require.NoError(t, err)
	require.Equal(t, []float64{0, 2, 4}, values["y"].Data)
}
