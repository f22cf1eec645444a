package onnx

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad/engine/graph"

	"github.com/stretchr/testify/require"
)

// file is a model in the making: images x [N,3,8,8] through nodes to the output y.
type file struct {
	opset   int
	nodes   []written
	tensors []message
	more    message // appended to the model
}

func (f file) bytes() []byte {
	g := message(nil).text(graphName, "g").port(graphInputs, "x", graph.Shape{graph.N, 3, 8, 8}, false)
	for _, n := range f.nodes {
		var m message
		for _, in := range n.in {
			m = m.text(nodeIn, in)
		}
		m = m.text(nodeOut, n.out).text(nodeName, n.name).text(nodeOp, n.op)
		g = g.sub(graphNodes, m.attributes(n.attr))
	}
	for _, t := range f.tensors {
		g = g.sub(graphInitializers, t)
	}
	g = g.sub(graphOutputs, message(nil).text(valueName, "y"))
	m := message(nil).varint(modelIRVersion, 8).sub(modelGraph, g)
	m = m.sub(modelOpsets, message(nil).varint(opsetVersion, f.opset))
	return append(m, f.more...)
}

func floats(name string, dims ...int) message {
	t := initializer{name: name, dims: dims, floats: make([]float32, product(dims))}
	return t.append(t.head())
}

func product(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

func relu(in, out string) written {
	return written{name: "the " + out, op: "Relu", in: []string{in}, out: out}
}

func TestErrors(t *testing.T) {
	y := relu("x", "y")
	with := func(n written, tensors ...message) file { return file{17, []written{n}, tensors, nil} }
	for _, c := range []struct {
		name string
		f    file
		want string
	}{
		{"old", file{8, []written{y}, nil, nil}, "opset 8; 9 to 23"},
		{"new", file{99, []written{y}, nil, nil}, "opset 99"},
		{"unknown operator", with(written{name: "odd", op: "Einsum", in: []string{"x"}, out: "y"}),
			`node "odd" (Einsum): the operator is not supported`},
		{"unknown attribute", with(written{name: "odd", op: "Relu", in: []string{"x"}, out: "y", attr: graph.Attrs{"a": 1}}),
			`node "odd" (Relu): the attribute "a"`},
		{"attribute of another type", with(written{name: "odd", op: "Softmax", in: []string{"x"}, out: "y",
			attr: graph.Attrs{"axis": float32(1)}}), `the attribute "axis"`},
		{"undefined", with(relu("z", "y")), `input "z" is not defined`},
		{"cycle", file{17, []written{relu("b", "a"), relu("a", "b"), y}, nil, nil}, "is part of a cycle"},
		{"twice", file{17, []written{y, y}, nil, nil}, `"y" is defined twice`},
		{"initializers alike", with(y, floats("w", 2), floats("w", 2)), "defined twice"},
		{"bytes missing", with(written{name: "n", op: "Add", in: []string{"x", "w"}, out: "y"},
			floats("w", 8)[:20]), `initializer "w"`},
		{"too short", with(written{name: "n", op: "Add", in: []string{"x", "w"}, out: "y"},
			message(nil).varint(tensorDims, 8).varint(tensorType, 1).text(tensorName, "w").text(tensorRaw, "1234")),
			"4 bytes for the shape [8], want 32"},
		{"huge", with(y, message(nil).varint(tensorDims, 1<<30).varint(tensorDims, 1<<30).varint(tensorType, 1).text(tensorName, "w")),
			"more than"},
		{"no values", with(written{name: "n", op: "Add", in: []string{"x", "w"}, out: "y"},
			message(nil).varint(tensorDims, 1<<20).varint(tensorType, 1).text(tensorName, "w")), "not enough values"},
		{"beyond float32", with(written{name: "n", op: "Add", in: []string{"x", "w"}, out: "y"},
			message(nil).varint(tensorDims, 1).varint(tensorType, int(elemDouble)).text(tensorName, "w").
				text(tensorRaw, "\x00\x00\x00\x00\x00\x00\xf0\x7e")), "exceeds float32"},
		{"strings", with(written{name: "n", op: "Add", in: []string{"x", "w"}, out: "y"},
			message(nil).varint(tensorDims, 1).varint(tensorType, 8).text(tensorName, "w")), "elements of type 8"},
		{"external", with(y, message(nil).varint(tensorDims, 1).varint(tensorType, 1).text(tensorName, "w").varint(tensorDataLocation, 1)),
			"not read from a file"},
		{"mixes images", with(written{name: "n", op: "Transpose", in: []string{"x"}, out: "y", attr: graph.Attrs{"perm": []int{1, 0, 2, 3}}}),
			"the images' axis is not the first"},
		{"across images", with(written{name: "n", op: "Softmax", in: []string{"x"}, out: "y", attr: graph.Attrs{"axis": 0}}),
			"axis 0 holds the images"},
		{"more memory than the file", with(written{name: "n", op: "ConstantOfShape", in: []string{"w"}, out: "y"},
			initializer{name: "w", dims: []int{2}, ints: []int{1 << 15, 1 << 15}}.whole()), "takes too much memory"},
		{"no map", with(written{name: "n", op: "Flatten", in: []string{"x"}, out: "y"}), "its shape is [-1 192]"},
		{"no image", with(written{name: "n", op: "Relu", in: []string{"w"}, out: "y"}, floats("w", 1)), "does not depend on the image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Read(c.f.bytes())
			if err == nil {
				_, err = m.Graph(8, 8, []string{"y"})
			}
			require.ErrorContains(t, err, c.want)
			require.True(t, strings.HasPrefix(err.Error(), "onnx: "), err.Error())
		})
	}
	m, err := Read(file{17, []written{y}, nil, nil}.bytes())
	require.NoError(t, err)
	for _, size := range [][2]int{{0, 8}, {8, -1}, {1 << 20, 8}} {
		_, err = m.Graph(size[0], size[1], []string{"y"})
		require.ErrorContains(t, err, "want 1 to")
	}
	_, err = m.Graph(8, 8, nil)
	require.ErrorContains(t, err, "no layers")
	_, err = m.Graph(8, 8, []string{"y", "the y"})
	require.ErrorContains(t, err, `"y" and "the y" are the same tensor`)
	_, err = m.Graph(8, 8, []string{"z"})
	require.ErrorContains(t, err, `no tensor, node or module "z"; it names no modules, its outputs are ["y"]`)
}

func (t initializer) whole() message { return t.append(t.head()) }

// TestHalf: numbers of IEEE binary16, by their bits.
func TestHalf(t *testing.T) {
	for bits, want := range map[uint16]float64{0: 0, 0x3c00: 1, 0xc000: -2, 0x3555: 0.333251953125, 0x7bff: 65504, 1: math.Pow(2, -24),
		0x03ff: 1023 * math.Pow(2, -24), 0x7c00: math.Inf(1), 0xfc00: math.Inf(-1)} {
		require.Equal(t, want, half(bits), "%#x", bits)
	}
	require.True(t, math.IsNaN(half(0x7e00)))
}

func TestModules(t *testing.T) {
	for _, c := range [][3]string{
		{"/layer1/layer1.1/relu_1/Relu", "", "layer1.1.relu_1"},
		{"/stages/stages.0/blocks/blocks.2/Add", "", "stages.0.blocks.2"},
		{"/features/denseblock1/denselayer1/Concat", "", "features.denseblock1.denselayer1"},
		{"/Add", "", ""},
		{"Identity_3", "", ""},
		{"node_relu", "['', 'layer1', 'layer1.0', 'layer1.0.relu', 'relu_3']", "layer1.0.relu"},
		{"node_cat", "['', 'cat']", ""},
		{"node_Shape_0", "['_empty_nn_module_stack_from_metadata_hook', 'sym_size_int_1']", ""},
		{"/" + strings.Repeat("a/", 4096), "", ""},
	} {
		require.Equal(t, c[2], modulePath(c[0], c[1]), c[0])
	}
	for _, name := range []string{"resnet18_ts", "resnet18_dynamo"} {
		m := open(t, name)
		g, err := m.Graph(64, 64, []string{"layer3", "layer1.0"})
		require.NoError(t, err)
		shapes, err := g.Infer()
		require.NoError(t, err)
		require.Equal(t, graph.Shape{graph.N, 256, 4, 4}, shapes[g.Outputs[0]])
		require.Equal(t, graph.Shape{graph.N, 64, 16, 16}, shapes[g.Outputs[1]])
		_, err = m.Graph(64, 64, []string{"layer"})
		require.ErrorContains(t, err, `module "layer"; there are layer1, layer1.0`)
		_, err = m.Graph(64, 64, []string{"stage1"})
		require.ErrorContains(t, err, "layer4")
	}
}

// TestMargins: purely local networks can be cut into windows; those that see the whole image cannot. In ResNet-18, cell o of
// layer2 sees 49 pixels to either side of pixel 8o (7x7 and 3x3 with stride 2, four 3x3, one with stride 2, three 3x3), which
// lies 3.5 off the cell's centre.
func TestMargins(t *testing.T) {
	for name, want := range map[string]struct {
		layer  string
		size   int
		margin int
	}{
		"resnet18_ts":        {"layer2", 64, 53},
		"convnext_tiny":      {"stages.0", 64, 38},
		"mobilenet_v3_small": {"features.1", 64, 0},
		"vit_small":          {"blocks.0", 64, 0},
	} {
		g, err := open(t, name).Graph(want.size, want.size, []string{want.layer})
		require.NoError(t, err)
		margin, ok := g.Margin()
		require.Equal(t, want.margin > 0, ok, name)
		require.Equal(t, want.margin, margin, name)
	}
}

// TestChannelsFirst: ConvNeXt's channels-last passages leave no Transpose and no MatMul.
func TestChannelsFirst(t *testing.T) {
	for _, name := range []string{"convnext_tiny", "convnext_tiny_dynamo"} {
		g, err := open(t, name).Graph(64, 64, []string{"stages.1"})
		require.NoError(t, err)
		for _, n := range g.Nodes {
			require.NotContains(t, []graph.Op{graph.Transpose, graph.MatMul, graph.Reshape}, n.Op, n.Name)
		}
	}
}

// TestOtherSize: a file with a batch of one and a size baked in serves other sizes where nothing depends on them, and
// says so where something does.
func TestOtherSize(t *testing.T) {
	g, err := open(t, "resnet18_ts").Graph(96, 160, []string{"layer2"})
	require.NoError(t, err)
	shapes, err := g.Infer()
	require.NoError(t, err)
	require.Equal(t, graph.Shape{graph.N, 128, 12, 20}, shapes[g.Outputs[0]])
	_, err = open(t, "vit_small").Graph(96, 128, []string{"blocks.0"})
	require.ErrorContains(t, err, "the model was exported for 64x64 pixels and 128x96 are asked for")
}

func TestInspect(t *testing.T) {
	s, err := open(t, "resnet18_ts").Inspect(64, 64)
	require.NoError(t, err)
	require.Equal(t, Port{"input.1", []int{1, 3, 64, 64}}, Port{"input.1", s.Input.Shape})
	require.Contains(t, s.Producer, "pytorch")
	require.Equal(t, 17, s.Opset)
	require.Equal(t, 20, s.Operators["Conv"])
	require.Equal(t, 11689512-4800*2+4800, s.Parameters, "PyTorch's 11689512, less one of scale and shift where a norm is fused")
	require.Empty(t, s.Unsupported)
	var stages []Layer
	for _, l := range s.Layers {
		if strings.HasPrefix(l.Name, "layer") && !strings.Contains(l.Name, ".") {
			stages = append(stages, l)
		}
	}
	require.Len(t, stages, 4)
	require.Equal(t, "layer2", stages[1].Name)
	require.Equal(t, []int{128, 8, 8}, stages[1].Shape)
	require.Equal(t, 8.0, stages[1].Stride)
	// 1.814e9 multiply-adds at 224x224 pixels, of which the classifier takes 512000.
	require.InEpsilon(t, 2*(1.814e9-512e3)*64*64/224/224, s.FLOPs, 0.01)
	text, err := json.Marshal(s)
	require.NoError(t, err)
	require.Contains(t, string(text), `"unsupported":[]`)

	odd := written{name: "odd", op: "Einsum", in: []string{"a"}, out: "b"}
	m, err := Read(file{17, []written{relu("x", "a"), odd, relu("b", "y")}, nil, nil}.bytes())
	require.NoError(t, err)
	s, err = m.Inspect(8, 8)
	require.NoError(t, err)
	require.Equal(t, []Unsupported{{"odd", "Einsum", "the operator is not supported"}}, s.Unsupported)
	require.Equal(t, []Layer{{"a", "a", []int{3, 8, 8}, 1}}, s.Layers)
}

// TestExternal: data beside the file are read and hashed; nothing outside of its folder is.
func TestExternal(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "model")
	require.NoError(t, os.Mkdir(inside, 0o755))
	write := func(name, text string) { require.NoError(t, os.WriteFile(name, []byte(text), 0o644)) }
	write(filepath.Join(dir, "secret"), "\x00\x00\x80\x3f")
	write(filepath.Join(inside, "weights"), "????\x00\x00\x00\x40")
	require.NoError(t, os.Symlink(filepath.Join(dir, "secret"), filepath.Join(inside, "link")))
	model := func(location, offset, length string) string {
		w := message(nil).varint(tensorDims, 1).varint(tensorType, 1).text(tensorName, "w").varint(tensorDataLocation, 1)
		for _, e := range [][2]string{{"location", location}, {"offset", offset}, {"length", length}} {
			w = w.sub(tensorExternal, message(nil).text(entryKey, e[0]).text(entryValue, e[1]))
		}
		path := filepath.Join(inside, "m.onnx")
		write(path, string(file{17, []written{{name: "n", op: "Mul", in: []string{"x", "w"}, out: "y"}}, []message{w}, nil}.bytes()))
		return path
	}
	path := model("weights", "4", "4")
	m, err := Open(path)
	require.NoError(t, err)
	g, err := m.Graph(8, 8, []string{"y"})
	require.NoError(t, err)
	require.Equal(t, []float32{2}, g.Consts["w"].Data())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	a, b := sha256.Sum256(text), sha256.Sum256([]byte("????\x00\x00\x00\x40"))
	both := sha256.Sum256(append(a[:], b[:]...))
	require.Equal(t, hex.EncodeToString(both[:]), m.SHA256())
	for _, c := range [][4]string{
		{"../secret", "0", "4", "outside the model's folder"},
		{filepath.Join(dir, "secret"), "0", "4", "outside the model's folder"},
		{"link", "0", "4", "escapes"},
		{"nothing", "0", "4", "no such file"},
		{".", "0", "4", "not a file"},
		{"weights", "6", "4", "exceed the file's 8"},
		{"weights", "9223372036854775807", "4", "exceed the file's 8"},
		{"weights", "-4", "4", `offset is "-4"`},
	} {
		_, err := Open(model(c[0], c[1], c[2]))
		require.ErrorContains(t, err, c[3], c[0])
	}
	m, err = Open(model("weights", "0", "8"))
	require.NoError(t, err)
	_, err = m.Graph(8, 8, []string{"y"})
	require.ErrorContains(t, err, "8 bytes for the shape [1], want 4")

	plain := file{17, []written{relu("x", "y")}, nil, nil}.bytes()
	m, err = Read(plain)
	require.NoError(t, err)
	sum := sha256.Sum256(plain)
	require.Equal(t, hex.EncodeToString(sum[:]), m.SHA256())
}
