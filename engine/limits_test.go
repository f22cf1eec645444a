package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
)

// What a stranger's model may say is refused where it is read, by the name of the field.
func TestLoadRefusesWhatNoFitSays(t *testing.T) {
	calibration := func(field string, v any) func(map[string]any) {
		return func(i map[string]any) { in(i, "calibration")[field] = v }
	}
	inside := func(v any, names ...string) func(map[string]any) {
		return func(i map[string]any) { in(i, names[:len(names)-1]...)[names[len(names)-1]] = v }
	}
	for text, c := range map[string]struct {
		method, section string
		change          func(map[string]any)
	}{
		"size.px is 8193":                                                    {"padim", infoSection, inside(8193, "size", "px")},
		"size.px is -1":                                                      {"padim", infoSection, inside(-1, "size", "px")},
		"size.wide is 8193":                                                  {"padim", infoSection, inside(8193, "size", "wide")},
		"size.wide needs":                                                    {"padim", infoSection, inside(64, "size", "wide")},
		"size.keep_aspect needs":                                             {"padim", infoSection, inside(true, "size", "keep_aspect")},
		"calibration.q995 is -1e+09":                                         {"padim", infoSection, calibration("q995", -1e9)},
		"calibration.q995 is 1e+300":                                         {"padim", infoSection, calibration("q995", 1e300)},
		"calibration.map_q50 is -1e+300":                                     {"padim", infoSection, calibration("map_q50", -1e300)},
		"calibration.image_fpr is 1.5":                                       {"padim", infoSection, calibration("image_fpr", 1.5)},
		"calibration.pixel_fpr is -0.1":                                      {"padim", infoSection, calibration("pixel_fpr", -0.1)},
		"calibration.image_threshold is -1":                                  {"padim", infoSection, calibration("image_threshold", -1)},
		"cannot unmarshal string":                                            {"padim", infoSection, calibration("image_threshold", "NaN")},
		"calibration.source.from is \"dreams\"":                              {"padim", infoSection, inside("dreams", "calibration", "source", "from")},
		"calibration.source.images is -2":                                    {"padim", infoSection, inside(-2, "calibration", "source", "images")},
		"marked_images is 900":                                               {"padim", infoSection, inside(900, "calibration", "pixel_promise", "base", "marked_images")},
		"white level 0, want 255 to 65535":                                   {"padim", infoSection, inside(0, "white_level")},
		"inputs.peak16 is 65536":                                             {"padim", infoSection, inside(65536, "inputs", "peak16")},
		"inputs.width is 9 to 3":                                             {"padim", infoSection, inside([]int{9, 3}, "inputs", "width")},
		"inputs.grey, colour":                                                {"padim", infoSection, inside(-1, "inputs", "colour")},
		"calibration.painted_images is -1":                                   {"padim", infoSection, calibration("painted_images", -1)},
		"calibration.pixel_threshold.f2pad is -3":                            {"padim", infoSection, inside(-3, "calibration", "pixel_threshold", "f2pad")},
		"calibration.pixel_promise.base.above is":                            {"padim", infoSection, inside(2, "calibration", "pixel_promise", "base", "above")},
		"calibration.pixel_promise.base.dice is":                             {"padim", infoSection, inside(-1, "calibration", "pixel_promise", "base", "dice")},
		"refine.optimiser.iterations is 10000":                               {"padim", infoSection, inside(10000, "refine", "optimiser", "iterations")},
		"refine.fills.count is 64":                                           {"padim", infoSection, inside(64, "refine", "fills", "count")},
		"refine.fills.shifts is 1000000":                                     {"padim", infoSection, inside(1000000, "refine", "fills", "shifts")},
		"refine.fills.ring_pixels is 1000000":                                {"padim", infoSection, inside(1000000, "refine", "fills", "ring_pixels")},
		"refine.stride is 8":                                                 {"padim", infoSection, inside(8, "refine", "stride")},
		"padim has layers of [30 18] channels, the backbone scatter of [48]": {"padim", "method/info", inside([]int{30, 18}, "layers")},
		"option residual.floor is":                                           {"padim", infoSection, inside(-1, "refine", "residual", "floor")},
		"supports 100000":                                                    {"patchcore", "method/info", inside(100000, "options", "supports")},
		"at most 64 layers":                                                  {"patchcore", "method/info", inside(slices.Repeat([]int{1}, 65), "layers")},
	} {
		t.Run(text, func(t *testing.T) {
			_, err := altered(t, c.method, c.section, c.change)
			require.ErrorContains(t, err, text)
		})
	}
}

// A grid that images of the model's size do not have is noticed before there are images.
func TestLoadComparesTheGridWithTheSize(t *testing.T) {
	grid := func(h, w, px int) error {
		_, err := read(resealed(t, committed("padim"), func(name string, data any, shape []int) (any, []int) {
			if text, ok := data.(json.RawMessage); ok {
				v := map[string]any{}
				require.NoError(t, json.Unmarshal(text, &v))
				switch name {
				case infoSection:
					in(v, "size")["px"] = px
				case "method/info":
					v["grid"] = []int{h, w}
					in(v, "options")["native"] = h == 0
					if h == 0 {
						v["grid"] = []int{1, 1}
					}
				}
				text, err := json.Marshal(v)
				require.NoError(t, err)
				return json.RawMessage(text), shape
			}
			if name == "method/mean" || name == "method/factor" {
				return slices.Repeat(data.([]float32), max(h*w, 1)), []int{max(h*w, 1), shape[1]}
			}
			return data, shape
		}))
		return err
	}
	require.NoError(t, grid(0, 0, 0))
	require.NoError(t, grid(0, 0, 48), "one Gaussian serves any size")
	require.NoError(t, grid(6, 6, 24))
	require.NoError(t, grid(5, 5, 8), "the backbone pads small squares to 20 px")
	require.ErrorContains(t, grid(6, 6, 48), "padim has a grid of 6x6 cells, but size.px 48 and wide 0 make 12x12")
	require.ErrorContains(t, grid(6, 5, 24), "padim has a grid of 6x5 cells, but size.px 24 and wide 0 make 6x6")
	require.ErrorContains(t, grid(6, 6, 0), "padim has a grid of 6x6 cells, for one size of images, but size.px is 0 (native)")
}

// Arrays of other shapes than the options say are refused by the section's name.
func TestLoadRefusesArraysOfOtherShapes(t *testing.T) {
	for _, method := range []string{"padim", "patchcore"} {
		resealed(t, committed(method), func(section string, data any, shape []int) (any, []int) {
			if len(shape) == 0 || section == memorySection(0) {
				return data, shape
			}
			for what, change := range map[string]func(data any, shape []int) (any, []int){
				"one axis": func(data any, shape []int) (any, []int) { return data, append([]int{1}, shape...) },
				"shorter": func(data any, shape []int) (any, []int) {
					shape = slices.Clone(shape)
					shape[len(shape)-1]--
					n := 1
					for _, d := range shape {
						n *= d
					}
					switch data := data.(type) {
					case []float32:
						return data[:n], shape
					case []int32:
						return data[:n], shape
					}
					return data, shape
				},
				"bytes": func(any, []int) (any, []int) { return []uint8{1, 2, 3}, []int{3} },
			} {
				_, err := read(resealed(t, committed(method), func(name string, data any, shape []int) (any, []int) {
					if name == section {
						return change(data, shape)
					}
					return data, shape
				}))
				require.Error(t, err, "%s: %s: %s", method, section, what)
				require.ErrorContains(t, err, "section", "%s: %s: %s", method, section, what)
			}
			return data, shape
		})
	}
}

// A small model must not make a large square of a small image.
func TestEnginesBoundTheSquare(t *testing.T) {
	m, err := altered(t, "patchcore", infoSection, func(i map[string]any) { in(i, "size")["px"] = 8192 })
	require.NoError(t, err, "it can be looked at")
	_, err = New(m, Options{})
	require.ErrorIs(t, err, imageio.ErrTooLarge)
	require.ErrorContains(t, err, "the model makes 8192 x 8192 px of all images, from size.px 8192 and the backbone's least side 20 and multiple 4; at most 4096 a side")
	_, err = altered(t, "patchcore", infoSection, func(i map[string]any) { in(i, "size")["px"], in(i, "size")["wide"] = 48, 8192 })
	require.NoError(t, err)
	e, err := New(m, Options{MaxSide: 8192})
	require.NoError(t, err)
	require.NoError(t, e.Close())
	_, err = Fit(t.Context(), nil, FitOptions{Method: "padim", Size: Size{Px: 5000}}, nil)
	require.EqualError(t, err, "engine: size.px is 5000, want 0 (native) to 4096")
}

func TestFitRefusesEffortWithoutBound(t *testing.T) {
	o := refine.DefaultOptions(4)
	o.Optimiser.Iterations = 201
	_, err := Fit(t.Context(), nil, FitOptions{Method: "padim", Refine: &o}, nil)
	require.EqualError(t, err, "engine: refine.optimiser.iterations is 201, at most 200 are allowed")
	o = refine.DefaultOptions(8)
	_, err = Fit(t.Context(), nil, FitOptions{Method: "padim", Refine: &o}, nil)
	require.EqualError(t, err, "engine: the refinement's stride is 8, the backbone scatter has 4")
}

// FuzzModel: a model with one section changed and sealed again is refused, or scores an image within memory that the image's
// size bounds. In JSON one value is replaced; in an array some are, and axes of its shape are joined.
func FuzzModel(f *testing.F) {
	methods := committedMethods(f, filepath.Dir(committed("")))
	for i, method := range methods {
		resealed(f, committed(method), func(name string, data any, shape []int) (any, []int) {
			if text, ok := data.(json.RawMessage); ok {
				if i > 0 && name == infoSection {
					return data, shape // all are alike
				}
				var v any
				require.NoError(f, json.Unmarshal(text, &v))
				for at := range leaves(&v, -1, nil) {
					f.Add(uint8(i), name, uint16(at), []byte([]string{"-1", "1e5"}[at%2]))
				}
			} else {
				f.Add(uint8(i), name, uint16(0), []byte{0, 0, 128, 63})
				f.Add(uint8(i), name, uint16(7), []byte{0, 0, 128, 127, 255, 255, 127, 255})
			}
			return data, shape
		})
	}
	f.Fuzz(func(t *testing.T, which uint8, section string, at uint16, edit []byte) {
		if len(edit) == 0 || len(edit) > 64 {
			return
		}
		before := allocated()
		data, ok := edited(t, committed(methods[int(which)%len(methods)]), section, int(at), edit)
		if !ok {
			return
		}
		size := allocated() - before
		m, err := read(data)
		if err != nil {
			return
		}
		e, err := New(m, Options{Maps: m.Kinds(), MaxSide: 96, Batch: 1})
		require.Less(t, allocated()-before-size, uint64(fuzzModelMemory), "loading")
		if err != nil {
			return
		}
		defer e.Close()
		before = allocated()
		_ = e.Score(t.Context(), slices.Values([]dataset.Item{testImages[1]}), func(*Result) error { return nil }) // numbers may overflow
		require.Less(t, allocated()-before, uint64(fuzzScoreMemory), "scoring")
	})
}

const (
	fuzzModelMemory = 16 << 20  // a few times the committed models
	fuzzScoreMemory = 512 << 20 // all that is allocated, one after another, for an image of 48 x 48 pixels, at most 96 x 96 in the model
)

// edited is the file at path with one section edited; false if that cannot be sealed.
func edited(t *testing.T, path, section string, at int, edit []byte) ([]byte, bool) {
	ok := true
	data := resealed(t, path, func(name string, data any, shape []int) (any, []int) {
		if name != section {
			return data, shape
		}
		if text, is := data.(json.RawMessage); is {
			var v any
			require.NoError(t, json.Unmarshal(text, &v))
			if ok = json.Valid(edit); ok {
				leaves(&v, at%leaves(&v, -1, nil), json.RawMessage(edit))
			}
			text, err := json.Marshal(v)
			require.NoError(t, err)
			return json.RawMessage(text), shape
		}
		if at%8 == 7 && len(shape) > 1 { // join the first axes
			shape = append([]int{shape[0] * shape[1]}, shape[2:]...)
		}
		switch data := data.(type) {
		case []float32:
			data = slices.Clone(data)
			for k := 0; k+4 <= len(edit); k += 4 {
				v := math.Float32frombits(uint32(edit[k]) | uint32(edit[k+1])<<8 | uint32(edit[k+2])<<16 | uint32(edit[k+3])<<24)
				if v != v || math.IsInf(float64(v), 0) {
					v = math.MaxFloat32
				}
				data[(at+k/4)%len(data)] = v
			}
			return data, shape
		case []int32:
			data = slices.Clone(data)
			for k, b := range edit {
				data[(at+k)%len(data)] = int32(int8(b))
			}
			return data, shape
		case []uint8:
			data = slices.Clone(data)
			for k, b := range edit {
				data[(at+k)%len(data)] = b
			}
			return data, shape
		}
		panic(fmt.Sprintf("a section of %T", data))
	})
	return data, ok
}

func allocated() uint64 {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.TotalAlloc
}

// leaves counts the values of JSON that hold no others, in the order of their names, and puts another in the place of one.
func leaves(v *any, at int, with json.RawMessage) (count int) {
	visit := func(part any) any {
		count += leaves(&part, at-count, with)
		return part
	}
	switch v := (*v).(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			v[name] = visit(v[name])
		}
		return count
	case []any:
		for i := range v {
			v[i] = visit(v[i])
		}
		return count
	}
	if at == 0 {
		*v = with
	}
	return 1
}
