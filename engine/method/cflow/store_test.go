package cflow

import (
	"bytes"
	"encoding/json"
	"testing"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/method/methodtest"

	"github.com/stretchr/testify/require"
)

func open(t *testing.T, data []byte) *artifact.File {
	t.Helper()
	f, err := artifact.Read(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	return f
}

// altered is a model's file with another method/info, or with arrays changed.
func altered(t *testing.T, m *Model, info func(v map[string]any), array func(name string, x []float32, shape []int) ([]float32, []int)) *artifact.File {
	t.Helper()
	f := open(t, methodtest.Encode(t, m))
	w := artifact.NewWriter()
	for _, s := range f.Sections() {
		if s.Kind == "json" {
			v := map[string]any{}
			require.NoError(t, f.JSON(s.Name, &v))
			if info != nil {
				info(v)
			}
			require.NoError(t, w.JSON(s.Name, v))
			continue
		}
		x, shape, err := f.Float32(s.Name)
		require.NoError(t, err)
		if array != nil {
			x, shape = array(s.Name, x, shape)
		}
		require.NoError(t, w.Float32(s.Name, x, shape...))
	}
	var buf bytes.Buffer
	_, err := w.WriteTo(&buf)
	require.NoError(t, err)
	return open(t, buf.Bytes())
}

func TestLoadRefuses(t *testing.T) {
	m := fitted(t, small(t, "compact"), threeLayers)
	native := small(t, "compact")
	native.Native = true
	options := func(field string, value any) func(map[string]any) {
		return func(v map[string]any) { v["options"].(map[string]any)[field] = value }
	}
	layer := func(i int, field string, value any) func(map[string]any) {
		return func(v map[string]any) { v["layers"].([]any)[i].(map[string]any)[field] = value }
	}
	for text, change := range map[string]func(map[string]any){
		`method is "padim", want "cflow"`:              func(v map[string]any) { v["method"] = "padim" },
		"made by a newer f2pad":                        func(v map[string]any) { v["revision"] = revision + 1 },
		`unknown field "depth"`:                        func(v map[string]any) { v["depth"] = 3 },
		`options.profile is "best"`:                    options("profile", "best"),
		`options.fuse is "max"`:                        options("fuse", "max"),
		"options.blocks is 0, want 1 to 64":            options("blocks", 0),
		"options.blocks is 1e+06":                      options("blocks", 1000000),
		"options.condition is 4096, want 0 to 1024":    options("condition", 4096),
		"options.condition's remainder":                options("condition", 10),
		"options.clamp is 50":                          options("clamp", 50),
		"options.batch is 0":                           options("batch", 0),
		"layers are 0, want 1 to 64":                   func(v map[string]any) { v["layers"] = []any{} },
		"layers[1].width is 1, want 2 to 8192":         layer(1, "width", 1),
		"layers[1].width is 1000000, want 2 to":        layer(1, "width", 1000000),
		"layers[0].grid is 0x20, want 1 to":            layer(0, "grid", []int{0, 20}),
		"layers[0].grid is 16x100000, want 1 to":       layer(0, "grid", []int{16, 100000}),
		"layers[2].grid is 17x5, finer than the first": layer(2, "grid", []int{17, 5}),
		"layers[2].largest is -100, want more than":    layer(2, "largest", -100),
		"layers[2].largest is 1e+12":                   layer(2, "largest", 1e12),
		"total is 1e+10":                               func(v map[string]any) { v["total"] = 1e10 },
		"layers[0].width 8192: they take too much memory": func(v map[string]any) {
			options("blocks", 64)(v)
			layer(0, "width", 8192)(v)
		},
		"layers[0].grid of 20000x20000 cells with options.condition 1024": func(v map[string]any) {
			options("condition", 1024)(v)
			layer(0, "grid", []int{20000, 20000})(v)
		},
	} {
		t.Run(text, func(t *testing.T) {
			_, err := Load(altered(t, m, change, nil))
			require.ErrorContains(t, err, `section "method/info": `)
			require.ErrorContains(t, err, text)
		})
	}
	_, err := Load(altered(t, fitted(t, native, oneLayer), layer(0, "grid", []int{16, 18}), nil))
	require.ErrorContains(t, err, "layers[0].grid is 16x18, want 0 to 0")

	names := 0
	for _, s := range open(t, methodtest.Encode(t, m)).Sections() {
		if s.Kind == "json" {
			continue
		}
		names++
		_, err := Load(altered(t, m, nil, func(name string, x []float32, shape []int) ([]float32, []int) {
			if name == s.Name {
				return x[:1], []int{1}
			}
			return x, shape
		}))
		require.ErrorContains(t, err, s.Name)
	}
	require.Equal(t, 12, names)
	_, err = Load(altered(t, m, nil, func(name string, x []float32, shape []int) ([]float32, []int) {
		if name == "method/layer01/whiten" {
			x[0] = 0
		}
		return x, shape
	}))
	require.EqualError(t, err, `section "method/layer01/whiten": cflow: diagonal value 0, want more than 0`)
}

func TestDescribe(t *testing.T) {
	m := fitted(t, small(t, "anomalib"), threeLayers)
	text, err := json.Marshal(m.Describe())
	require.NoError(t, err)
	var d Description
	require.NoError(t, json.Unmarshal(text, &d))
	require.Equal(t, []int{5, 4, 3}, d.Layers)
	for i, l := range m.layers {
		require.Equal(t, len(l.theta), d.Parameters[i])
	}
}
