package onnx

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"

	"github.com/stretchr/testify/require"
)

// file is a model in the making: images x [N,3,8,8] through nodes to the output y.
type file struct {
	opset   int
	nodes   []written
	tensors []message
	more    message // appended to the model
}

func (f file) bytes() []byte { return f.taking(graph.N, 3, 8, 8) }

// taking is the file with an input x of another shape.
func (f file) taking(shape ...int) []byte {
	g := message(nil).text(graphName, "g").port(graphInputs, "x", shape, false)
	for _, n := range f.nodes {
		var m message
		for _, in := range n.in {
			m = m.text(nodeIn, in)
		}
		for _, out := range strings.Split(n.out, ",") {
			m = m.text(nodeOut, out)
		}
		m = m.text(nodeName, n.name).text(nodeOp, n.op)
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
		{"not of opset 9", file{9, []written{{name: "n", op: "TopK", in: []string{"x"}, out: "y"}}, nil, nil},
			`node "n" (TopK): the operator is not supported`},
		{"before its time", file{9, []written{{name: "n", op: "Resize", in: []string{"x", "s"}, out: "y"}}, []message{floats("s", 4)}, nil},
			`node "n" (Resize): the operator is not supported in opset 9`},
		{"after its time", file{10, []written{{name: "n", op: "Upsample", in: []string{"x", "s"}, out: "y"}}, []message{floats("s", 4)}, nil},
			`node "n" (Upsample): the operator is not supported in opset 10`},
		{"inputs of later opsets", file{10, []written{{name: "n", op: "Clip", in: []string{"x", "w"}, out: "y"}}, []message{floats("w")}, nil},
			"2 inputs, want 1 to 1"},
		{"attributes of later opsets", file{9, []written{{name: "n", op: "MaxPool", in: []string{"x"}, out: "y",
			attr: graph.Attrs{"kernel_shape": []int{2, 2}, "ceil_mode": 1}}}, nil, nil}, `the attribute "ceil_mode" is not supported`},
		{"attributes of earlier opsets", file{11, []written{{name: "n", op: "Clip", in: []string{"x"}, out: "y",
			attr: graph.Attrs{"max": float32(1)}}}, nil, nil}, `the attribute "max" is not supported`},
		{"shrinking Upsample", file{9, []written{{name: "n", op: "Upsample", in: []string{"x", "s"}, out: "y"}}, []message{floats("s", 4)}, nil},
			"a scale of 0: want at least 1"},
		{"nearest in between", file{10, []written{{name: "n", op: "Resize", in: []string{"x", "s"}, out: "y"}},
			[]message{initializer{name: "s", dims: []int{4}, floats: []float32{1, 1, 0.75, 0.5}}.whole()}, nil},
			"the nearest elements for a scale of 0.75 are not the same everywhere"},
		{"negative pads", file{10, []written{{name: "n", op: "Pad", in: []string{"x"}, out: "y",
			attr: graph.Attrs{"pads": []int{0, 0, -1, 0, 0, 0, 0, 0}}}}, nil, nil}, `node "n" (Pad): pads [0 0 -1 0 0 0 0 0]`},
		{"no pads", file{10, []written{{name: "n", op: "Pad", in: []string{"x"}, out: "y"}}, nil, nil}, "pads [] for axes [0 1 2 3]"},
		{"in training", file{9, []written{{name: "n", op: "BatchNormalization", in: []string{"x", "w", "w", "w", "w"}, out: "y,mean"}},
			[]message{floats("w", 3)}, nil}, "the model is in training mode"},
		{"perm of nothing", with(written{name: "n", op: "Transpose", in: []string{"x"}, out: "y", attr: graph.Attrs{"perm": []int{}}}),
			"perm [] of 4 axes"},
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

	m := open(t, "open_nsfw")
	h, w := m.InputSize()
	require.Equal(t, [2]int{224, 224}, [2]int{h, w})
	s, err = m.Inspect(h, w)
	require.NoError(t, err)
	require.Equal(t, Port{"input:0", []int{-1, 3, 224, 224}}, s.Input, "the file has the channels last")
	require.Equal(t, 9, s.Opset)
	require.Empty(t, s.Unsupported)
	require.Equal(t, []Layer{{"Relu:0", "Relu:0", []int{64, 112, 112}, 2}, {"Relu_9:0", "Relu_9:0", []int{128, 56, 56}, 4},
		{"Relu_21:0", "Relu_21:0", []int{256, 28, 28}, 8}, {"Relu_39:0", "Relu_39:0", []int{512, 14, 14}, 16},
		{"Relu_48:0", "Relu_48:0", []int{1024, 7, 7}, 32}}, s.Layers)

	odd := written{name: "odd", op: "Einsum", in: []string{"a"}, out: "b"}
	m, err = Read(file{17, []written{relu("x", "a"), odd, relu("b", "y")}, nil, nil}.bytes())
	require.NoError(t, err)
	s, err = m.Inspect(8, 8)
	require.NoError(t, err)
	require.Equal(t, []Unsupported{{"odd", "Einsum", "the operator is not supported"}}, s.Unsupported)
	require.Equal(t, []Layer{{"a", "a", []int{3, 8, 8}, 1}}, s.Layers)
}

// withExternal writes a model whose weight w lies in another file.
func withExternal(t *testing.T, dir, location, offset, length string) string {
	t.Helper()
	w := message(nil).varint(tensorDims, 1).varint(tensorType, 1).text(tensorName, "w").varint(tensorDataLocation, 1)
	for _, e := range [][2]string{{"location", location}, {"offset", offset}, {"length", length}} {
		w = w.sub(tensorExternal, message(nil).text(entryKey, e[0]).text(entryValue, e[1]))
	}
	path := filepath.Join(dir, "m.onnx")
	data := file{17, []written{{name: "n", op: "Mul", in: []string{"x", "w"}, out: "y"}}, []message{w}, nil}.bytes()
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return path
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
	model := func(location, offset, length string) string { return withExternal(t, inside, location, offset, length) }
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
		{".", "0", "4", "not a regular file"},
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

// TestChannelsLast: a network of images [N,H,W,3] that are transposed first is one of images [N,3,H,W]; others are refused.
func TestChannelsLast(t *testing.T) {
	front := func(in, out string) written {
		return written{name: "the " + out, op: "Transpose", in: []string{in}, out: out, attr: graph.Attrs{"perm": []int{0, 3, 1, 2}}}
	}
	pool := func(in, out string) written {
		return written{name: "the " + out, op: "MaxPool", in: []string{in}, out: out, attr: graph.Attrs{"kernel_shape": []int{2, 4}, "strides": []int{2, 4}}}
	}
	two := file{9, []written{front("x", "a"), front("x", "b"), pool("a", "c"), pool("b", "d"),
		{name: "sum", op: "Add", in: []string{"c", "d"}, out: "y"}}, nil, nil}
	m, err := Read(two.taking(graph.N, 12, 16, 3))
	require.NoError(t, err)
	h, w := m.InputSize()
	require.Equal(t, [2]int{12, 16}, [2]int{h, w})
	g, err := m.Graph(12, 16, []string{"y"})
	require.NoError(t, err)
	require.Equal(t, []graph.Value{{Name: "x", Shape: graph.Shape{graph.N, 3, 12, 16}}}, g.Inputs)
	require.Len(t, g.Nodes, 3, "no Transpose is left")
	shapes, err := g.Infer()
	require.NoError(t, err)
	require.Equal(t, graph.Shape{graph.N, 3, 6, 4}, shapes[g.Outputs[0]])
	s, err := m.Inspect(12, 16)
	require.NoError(t, err)
	require.Equal(t, Port{"x", []int{-1, 3, 12, 16}}, s.Input)
	require.Equal(t, []Layer{{"y", "y", []int{3, 6, 4}, 2}}, s.Layers, "the image itself is no layer")
	m, err = Read(two.taking(graph.N, 3, 12, 16))
	require.NoError(t, err)
	h, w = m.InputSize()
	require.Equal(t, [2]int{12, 16}, [2]int{h, w}, "three rows in front are channels")

	back := written{name: "back", op: "Transpose", in: []string{"x"}, out: "b", attr: graph.Attrs{"perm": []int{0, 2, 1, 3}}}
	for name, c := range map[string]struct {
		nodes []written
		want  string
	}{
		"as it is":            {[]written{relu("x", "y")}, `node "the y" (Relu) takes the input "x", which is [N,H,W,3], as it is`},
		"also as it is":       {[]written{front("x", "a"), relu("a", "y"), relu("x", "z")}, `node "the z" (Relu) takes the input "x"`},
		"another permutation": {[]written{back, relu("b", "y")}, `node "back" (Transpose) takes the input "x"`},
		"untouched":           {[]written{{name: "c", op: "ConstantOfShape", in: []string{"w"}, out: "y"}}, "and nothing takes it"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Read(file{17, c.nodes, []message{floats("w", 1)}, nil}.taking(graph.N, 8, 8, 3))
			require.NoError(t, err)
			_, err = m.Graph(8, 8, []string{"y"})
			require.ErrorContains(t, err, c.want)
			_, err = m.Inspect(8, 8)
			require.ErrorContains(t, err, c.want)
			h, w := m.InputSize()
			require.Equal(t, [2]int{}, [2]int{h, w})
		})
	}
}

// TestFaults: what nobody has foreseen is an error that names the node, too.
func TestFaults(t *testing.T) {
	for name, c := range map[string][2]string{
		"a Constant of nothing":    {"CAg6WQoZEgFrIghDb25zdGFudCoKCgV2YWx1ZaABBAoOCgF4CgFrEgF5IgNNdWwSAWdaHgoBeBIZChcIARITCgMSAU4KAggDCgMSAWgKAxIBd2IJCgF5EgQKAggBQgQKABAR", `(Constant): the attribute "value" holds no tensor`},
		"a Transpose without axes": {"CAg6XQocCgF4EgF0IglUcmFuc3Bvc2UqCQoEcGVybaABBwoPCgF0EgF5IgdTb2Z0bWF4EgFnWh4KAXgSGQoXCAESEwoDEgFOCgIIAwoDEgFoCgMSAXdiCQoBeRIECgIIAUIECgAQEQ==", "(Transpose): perm [] of 4 axes"},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := base64.StdEncoding.DecodeString(c[0])
			require.NoError(t, err)
			m, err := Read(data)
			require.NoError(t, err)
			_, err = m.Graph(16, 16, []string{"y"})
			require.ErrorContains(t, err, c[1])
			s, err := m.Inspect(16, 16)
			require.NoError(t, err)
			require.NotEmpty(t, s.Unsupported)
		})
	}
	m := &Model{opset: 17}
	err := startImport(m).node(&node{name: "odd", op: "LeakyRelu", in: []string{"x"}, out: []string{"y"}, attr: map[string]*attribute{"alpha": nil}})
	require.ErrorIs(t, err, errFault)
	require.ErrorContains(t, err, `onnx: node "odd" (LeakyRelu): `)
	m.inputs = []port{{name: "x", elem: elemFloat, shape: []int{-1, 3, 8, 8}}}
	m.nodes, m.makers = []*node{nil}, map[string]*node{"y": nil}
	_, err = m.Graph(8, 8, []string{"y"})
	require.ErrorIs(t, err, errFault)
	_, err = m.Inspect(8, 8)
	require.ErrorIs(t, err, errFault)
}

// TestBudget: initializers that share one place in a file do not make it larger, and integers take more than what they were
// made from.
func TestBudget(t *testing.T) {
	var tensors []message
	for i := range 400 {
		w := message(nil).varint(tensorDims, 1<<18).varint(tensorType, 1).text(tensorName, fmt.Sprint("w", i)).varint(tensorDataLocation, 1)
		tensors = append(tensors, w.sub(tensorExternal, message(nil).text(entryKey, "location").text(entryValue, "weights")))
	}
	all := written{name: "n", op: "Sum", in: []string{"x"}, out: "y"}
	for i := range tensors {
		all.in = append(all.in, fmt.Sprint("w", i))
	}
	number := func(name string, v int) message { return initializer{name: name, ints: []int{v}}.whole() }
	tensors = append(tensors, number("zero", 0), number("one", 1), number("many", 4e8),
		initializer{name: "shape", dims: []int{1}, ints: []int{4e8}}.whole())
	for name, n := range map[string]written{
		"one place":    all,
		"real numbers": {name: "n", op: "ConstantOfShape", in: []string{"shape"}, out: "y"},
		"integers":     {name: "n", op: "Range", in: []string{"zero", "many", "one"}, out: "y"},
	} {
		t.Run(name, func(t *testing.T) {
			data := file{17, []written{n}, tensors, nil}.bytes()
			m, err := parse(data)
			require.NoError(t, err)
			require.NoError(t, m.load(data, func(string, int64) ([]byte, error) { return make([]byte, 1<<20), nil }))
			_, err = m.Graph(8, 8, []string{"y"})
			require.ErrorContains(t, err, "computing in advance takes too much memory")
		})
	}
}

// A network of one channel is given the luminance; its input is no layer, and its graph takes colour.
func TestOneChannel(t *testing.T) {
	f := file{17, []written{relu("x", "y"), relu("y", "x/colour"), relu("x/colour", "z")}, nil, nil}
	m, err := Read(f.taking(graph.N, 1, 12, 16))
	require.NoError(t, err)
	require.True(t, m.Grey())
	h, w := m.InputSize()
	require.Equal(t, [2]int{12, 16}, [2]int{h, w})
	g, err := m.Graph(2, 4, []string{"z"})
	require.NoError(t, err)
	require.Equal(t, []graph.Value{{Name: "x/colour'", Shape: graph.Shape{graph.N, 3, 2, 4}}}, g.Inputs, "a name of its own")
	x := &naive.Array{Shape: []int{2, 3, 2, 4}, Data: make([]float64, 48)}
	for i := range x.Data {
		x.Data[i] = float64(i) / 7
	}
	out, err := naive.Run(g, map[string]*naive.Array{"x/colour'": x})
	require.NoError(t, err)
	got := out[g.Outputs[0]]
	require.Equal(t, []int{2, 1, 2, 4}, got.Shape)
	for i, v := range got.Data {
		at := i/8*24 + i%8
		require.InDelta(t, 0.299*x.Data[at]+0.587*x.Data[at+8]+0.114*x.Data[at+16], v, 1e-6)
	}
	s, err := m.Inspect(12, 16)
	require.NoError(t, err)
	require.Equal(t, Port{"x", []int{-1, 1, 12, 16}}, s.Input)
	require.Equal(t, []Layer{{"z", "z", []int{1, 12, 16}, 1}}, s.Layers)
	m, err = Read(f.taking(graph.N, 3, 12, 16))
	require.NoError(t, err)
	require.False(t, m.Grey())
	m, err = Read(f.taking(graph.N, 2, 12, 16))
	require.NoError(t, err)
	_, err = m.Graph(12, 16, []string{"y"})
	require.ErrorContains(t, err, "want float images [N,3,H,W] or [N,1,H,W]")
}
