package graph_test

import (
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// rounded: folded weights are rounded to float32 (6e-8 each), and a sum of 27 of them is compared.
var rounded = compare.Tolerance{Abs: 2e-6, Rel: 1e-6}

// random adds a constant of numbers between lo and lo+1.
func random(b *graph.Builder, r *rand.Rand, lo float32, shape ...int) string {
	t := nd.New(shape...)
	for i := range nd.Data(t) {
		nd.Data(t)[i] = lo + r.Float32()
	}
	return b.Const(t)
}

// run evaluates g on two images of random numbers from -0.5 to 0.5.
func run(t *testing.T, g *graph.Graph) map[string]*naive.Array {
	r := rand.New(rand.NewPCG(5, 6))
	in := map[string]*naive.Array{}
	for _, v := range g.Inputs {
		x := naive.New(append(ints(2), v.Shape[1:]...)...)
		for i := range x.Data {
			x.Data[i] = r.Float64() - 0.5
		}
		in[v.Name] = x
	}
	values, err := naive.Run(g, in)
	require.NoError(t, err)
	return values
}

// parts are what the networks of TestFold are made of.
type parts struct {
	*graph.Builder
	norm   func(x string) string
	conv   func(x, bias string) string
	square string // weights [4,4,1,1]
}

func TestFold(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(p parts, x string) []string
		ops  []graph.Op // after Fold
	}{
		{"conv without bias", func(p parts, x string) []string {
			return []string{p.norm(p.conv(x, ""))}
		}, []graph.Op{graph.Conv}},
		{"conv with bias, twice", func(p parts, x string) []string {
			return []string{p.norm(p.norm(p.conv(x, "bias")))}
		}, []graph.Op{graph.Conv}},
		{"conv read elsewhere", func(p parts, x string) []string {
			y := p.conv(x, "bias")
			return []string{p.norm(y), p.Op(graph.Relu, nil, y)}
		}, []graph.Op{graph.Conv, graph.Mul, graph.Add, graph.Relu}},
		{"conv is an output", func(p parts, x string) []string {
			y := p.conv(x, "bias")
			return []string{p.norm(y), y}
		}, []graph.Op{graph.Conv, graph.Mul, graph.Add}},
		{"conv with bias left out", func(p parts, x string) []string {
			return []string{p.norm(p.Op(graph.Conv, nil, x, p.square, ""))}
		}, []graph.Op{graph.Conv}},
		{"shared weights", func(p parts, x string) []string {
			return []string{p.norm(p.conv(x, "bias")), p.conv(x, "bias")}
		}, []graph.Op{graph.Conv, graph.Conv}},
		{"behind an input", func(p parts, x string) []string {
			return []string{p.norm(x)}
		}, []graph.Op{graph.Mul, graph.Add}},
		{"two axes", func(p parts, x string) []string {
			return []string{p.norm(p.Op(graph.ReduceMean, attrs{"axes": ints(2, 3), "keepdims": 0}, x))}
		}, []graph.Op{graph.ReduceMean, graph.Mul, graph.Add}},
		{"padded conv", func(p parts, x string) []string {
			zeros := p.Op(graph.Pad, attrs{"pads": ints(0, 0, 0, 2, 0, 0, 1, 3)}, x)
			return []string{p.norm(p.conv(p.Op(graph.Pad, attrs{"pads": ints(0, 0, 1, 0, 0, 0, 0, 0)}, zeros), "bias"))}
		}, []graph.Op{graph.Conv}},
		{"padding that is read elsewhere", func(p parts, x string) []string {
			zeros := p.Op(graph.Pad, attrs{"pads": ints(0, 0, 0, 2, 0, 0, 1, 3)}, x)
			return []string{p.conv(zeros, ""), p.conv(zeros, "bias"), p.Op(graph.Relu, nil, zeros)}
		}, []graph.Op{graph.Pad, graph.Conv, graph.Conv, graph.Relu}},
		{"padding that is an output", func(p parts, x string) []string {
			zeros := p.Op(graph.Pad, attrs{"pads": ints(0, 0, 0, 2, 0, 0, 1, 3)}, x)
			return []string{zeros, p.conv(zeros, "")}
		}, []graph.Op{graph.Pad, graph.Conv}},
		{"padding with more than zeros", func(p parts, x string) []string {
			ones := p.Op(graph.Pad, attrs{"pads": ints(0, 0, 0, 2, 0, 0, 1, 3), "value": float32(1)}, x)
			mirrored := p.Op(graph.Pad, attrs{"pads": ints(0, 0, 0, 2, 0, 0, 1, 3), "mode": "reflect"}, ones)
			return []string{p.conv(mirrored, "")}
		}, []graph.Op{graph.Pad, graph.Pad, graph.Conv}},
		{"padding of channels", func(p parts, x string) []string {
			more := p.Op(graph.Slice, attrs{"starts": ints(0), "ends": ints(3), "axes": ints(1)}, x)
			return []string{p.conv(p.Op(graph.Pad, attrs{"pads": ints(0, 1, 0, 0, 0, 0, 0, 0)}, more), "")}
		}, []graph.Op{graph.Slice, graph.Pad, graph.Conv}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := graph.NewBuilder("fold")
			r := rand.New(rand.NewPCG(1, 2))
			x := b.Input("x", n, 4, 5, 5)
			weights := random(b, r, -0.5, 4, 2, 3, 3)
			b.ConstAs("bias", nd.Wrap([]float32{1, -2, 3, -4}, 4))
			norm := func(x string) string {
				return b.Op(graph.BatchNormalization, attrs{"epsilon": float32(0.25)}, x,
					random(b, r, -0.5, 4), random(b, r, 0, 4), random(b, r, -1, 4), random(b, r, 0.1, 4))
			}
			conv := func(x, bias string) string {
				return b.Conv(x, weights, bias, attrs{"pads": ints(1, 1, 1, 1), "group": 2})
			}
			g, err := b.Graph(c.make(parts{b, norm, conv, random(b, r, -0.5, 4, 4, 1, 1)}, x)...)
			require.NoError(t, err)
			want, before := run(t, g), nd.Data(g.Consts[weights])[0]

			require.NoError(t, g.Fold())
			var ops []graph.Op
			for _, node := range g.Nodes {
				ops = append(ops, node.Op)
			}
			require.Equal(t, c.ops, ops)
			got := run(t, g)
			for _, out := range g.Outputs {
				compare.Require(t, out, got[out].Data, want[out].Data, rounded)
			}
			require.Equal(t, before, nd.Data(g.Consts[weights])[0], "a constant was written to")

			again := g.Clone()
			require.NoError(t, again.Fold())
			require.Equal(t, g, again)
		})
	}
}

// TestFoldNames: names that Fold makes up avoid those of the graph.
func TestFoldNames(t *testing.T) {
	b := graph.NewBuilder("names")
	r := rand.New(rand.NewPCG(1, 2))
	two := func() string { return random(b, r, 0.5, 2) }
	x := b.OpAs("bn/scaled", graph.Relu, nil, b.Input("bn/a", n, 2))
	y := b.OpAs("bn", graph.BatchNormalization, nil, x, two(), two(), two(), two())
	g, err := b.Graph(y, x)
	require.NoError(t, err)
	want := run(t, g)
	require.NoError(t, g.Fold())
	compare.Require(t, "bn", run(t, g)["bn"].Data, want["bn"].Data, rounded)
}

func TestFoldInvalid(t *testing.T) {
	g := chain()
	g.Nodes[0].Op = "Nonsense"
	require.ErrorContains(t, g.Fold(), "unknown operator")
}
