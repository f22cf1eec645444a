package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
)

// latest is the folder of the models with the newest options.
const latest = "r4"

// revisions are the folders with models, as gen_models.go made them: r1 before there were revisions.
func revisions(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob("testdata/r*")
	require.NoError(t, err)
	require.NotEmpty(t, dirs)
	return dirs
}

// testImages are what the golden maps are of.
var testImages = []dataset.Item{{Path: "testdata/good.png", ID: "good"}, {Path: "testdata/hole.png", ID: "hole"}}

// portedTolerance: between processors the last bits of features differ, and PaDiM's Mahalanobis distance, through a covariance
// whose smallest eigenvalue is 0.01, carries them on.
var portedTolerance = compare.Tolerance{Abs: 1e-5, Rel: 1e-5}

// fuses reports whether Go's compiler fuses multiply-adds on this processor, which rounds what is not in kernels differently.
func fuses() bool {
	const x = 1 + 0x1p-30
	return mulAdd(x, x, -mulAdd(x, x, 0)) != 0
}

//go:noinline
func mulAdd(a, b, c float64) float64 { return a*b + c }

// Models that were made long ago give the bytes that they gave then: base maps do not change with the refinement.
func TestModelsOfEveryRevisionKeepTheirBaseMaps(t *testing.T) {
	for _, r := range revisions(t) {
		var golden map[string]map[string]struct {
			Score float64           `json:"score"`
			Base  map[string]string `json:"base"`
		}
		text, err := os.ReadFile(filepath.Join(r, "golden.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &golden))
		for _, method := range committedMethods(t, r) {
			t.Run(filepath.Base(r)+" "+method, func(t *testing.T) {
				m, err := Load(filepath.Join(r, method+".f2pad"))
				require.NoError(t, err)
				require.Contains(t, m.Kinds(), refine.Base)
				got := scored(t, m, Options{Maps: m.Kinds()}, testImages)
				require.Len(t, golden[method], len(testImages))
				for id, want := range golden[method] {
					require.NoError(t, got[id].Err)
					require.Len(t, got[id].Maps, len(m.Kinds()))
					base := nd.Data(got[id].Maps[refine.Base])
					recorded, err := imageio.ReadMap(filepath.Join(r, method+"-"+id+".tiff"))
					require.NoError(t, err)
					compare.Require(t, id, base, nd.Data(recorded), portedTolerance)
					compare.Require(t, id+": score", []float64{got[id].Score}, []float64{want.Score}, portedTolerance)
					if fuses() {
						t.Log("SKIPPED: the compiler fuses multiply-adds here: the same bytes are not asked for")
						continue
					}
					kernels := "portable"
					if gemm.Best().Fused {
						kernels = "fused"
					}
					h := sha256.New()
					require.NoError(t, binary.Write(h, binary.LittleEndian, base))
					require.Equal(t, want.Base[kernels], hex.EncodeToString(h.Sum(nil)), "%s: other bytes with %s kernels", id, kernels)
				}
			})
		}
	}
}

// fields lists the names of a JSON object, those of objects in it after a point.
func fields(t *testing.T, text json.RawMessage) (names []string) {
	t.Helper()
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(text, &all))
	for name, v := range all {
		if v[0] != '{' {
			names = append(names, name)
			continue
		}
		for _, n := range fields(t, v) {
			names = append(names, name+"."+n)
		}
	}
	slices.Sort(names)
	return names
}

// options are the sections of a model that have revisions, as JSON.
func options(t *testing.T, path string) map[string]json.RawMessage {
	t.Helper()
	f, err := artifact.Open(path)
	require.NoError(t, err)
	all := map[string]json.RawMessage{}
	for _, s := range f.Sections() {
		if s.Kind == "json" && s.Name != "backbone/info" { // a name, which says whose the other sections are
			var text json.RawMessage
			require.NoError(t, f.JSON(s.Name, &text))
			all[s.Name] = text
		}
	}
	var info map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(all[infoSection], &info))
	all["refine"] = info["refine"]
	delete(info, "refine")
	rest, err := json.Marshal(info)
	require.NoError(t, err)
	all[infoSection] = rest
	return all
}

func revision(t *testing.T, text json.RawMessage) int {
	t.Helper()
	head := struct {
		Revision int `json:"revision"`
	}{1}
	require.NoError(t, json.Unmarshal(text, &head))
	return head.Revision
}

// Options that gain or lose a field have a new revision.
func TestOptionsOfOneRevisionHaveTheSameFields(t *testing.T) {
	for _, r := range revisions(t) {
		for _, method := range committedMethods(t, r) {
			old := filepath.Join(r, method+".f2pad")
			m, err := Load(old)
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), "again.f2pad")
			_, err = m.Save(path)
			require.NoError(t, err)
			was, is := options(t, old), options(t, path)
			require.Len(t, is, len(was))
			for section, then := range was {
				now := is[section]
				if revision(t, then) != revision(t, now) {
					continue
				}
				named := func(text json.RawMessage) []string {
					return slices.DeleteFunc(fields(t, text), func(n string) bool { return n == "revision" })
				}
				require.Equal(t, named(then), named(now), "%s, %s: other fields need another revision", r, section)
			}
		}
	}
}

// committedMethods are those of a folder; the latest has all.
func committedMethods(t testing.TB, dir string) (methods []string) {
	t.Helper()
	for _, m := range Methods() {
		_, err := os.Stat(filepath.Join(dir, m+".f2pad"))
		if filepath.Base(dir) == latest {
			require.NoError(t, err)
		}
		if err == nil {
			methods = append(methods, m)
		}
	}
	return methods
}

// committed is the path of a latest committed model.
func committed(method string) string {
	return filepath.Join("testdata", latest, method+".f2pad")
}

// resealed is the file at path with other sections: change returns what to write in the place of one, whose data are JSON's
// bytes, []float32, []uint8 or []int32.
func resealed(t testing.TB, path string, change func(name string, data any, shape []int) (any, []int)) []byte {
	t.Helper()
	f, err := artifact.Open(path)
	require.NoError(t, err)
	w := artifact.NewWriter()
	for _, s := range f.Sections() {
		var data any
		var shape []int
		switch s.Kind {
		case "float32":
			data, shape, err = f.Float32(s.Name)
		case "uint8":
			data, shape, err = f.Uint8(s.Name)
		case "int32":
			data, shape, err = f.Int32(s.Name)
		case "json":
			var text json.RawMessage
			err = f.JSON(s.Name, &text)
			data = text
		}
		require.NoError(t, err)
		data, shape = change(s.Name, data, shape)
		switch data := data.(type) {
		case []float32:
			err = w.Float32(s.Name, data, shape...)
		case []uint8:
			err = w.Uint8(s.Name, data, shape...)
		case []int32:
			err = w.Int32(s.Name, data, shape...)
		case json.RawMessage:
			err = w.JSON(s.Name, data)
		}
		require.NoError(t, err)
	}
	var buf bytes.Buffer
	_, err = w.WriteTo(&buf)
	require.NoError(t, err)
	return buf.Bytes()
}

func read(data []byte) (*Model, error) {
	f, err := artifact.Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	return FromArtifact(f)
}

// altered is a committed model with another JSON section.
func altered(t *testing.T, method, section string, change func(v map[string]any)) (*Model, error) {
	t.Helper()
	return read(resealed(t, committed(method), func(name string, data any, shape []int) (any, []int) {
		if name != section {
			return data, shape
		}
		v := map[string]any{}
		require.NoError(t, json.Unmarshal(data.(json.RawMessage), &v))
		change(v)
		text, err := json.Marshal(v)
		require.NoError(t, err)
		return json.RawMessage(text), shape
	}))
}

// changed is a committed model with another section "model/info".
func changed(t *testing.T, change func(info map[string]any)) (*Model, error) {
	t.Helper()
	return altered(t, "padim", infoSection, change)
}

// in is an object in an object.
func in(v map[string]any, names ...string) map[string]any {
	for _, n := range names {
		v = v[n].(map[string]any)
	}
	return v
}

func TestLoadRefusesOtherRevisionsByName(t *testing.T) {
	_, err := changed(t, func(map[string]any) {})
	require.NoError(t, err)
	for _, c := range []struct {
		change func(info map[string]any)
		is     error // nil: any
		text   string
	}{
		{func(i map[string]any) { i["revision"], i["sharpness"] = Revision+1, 2 }, artifact.ErrNewer,
			fmt.Sprintf(`section "model/info": made by a newer f2pad (revision %d, this program knows up to %d)`, Revision+1, Revision)},
		{func(i map[string]any) { i["revision"] = uint64(1) << 63 }, artifact.ErrNewer, "made by a newer f2pad (revision 9223372036854775808"},
		{func(i map[string]any) { i["revision"] = 0 }, artifact.ErrCorrupt, `section "model/info": revision 0, want 1 to`},
		{func(i map[string]any) { i["revision"] = -3 }, artifact.ErrCorrupt, `section "model/info": revision -3, want 1 to`},
		{func(i map[string]any) { i["sharpness"] = 2 }, artifact.ErrCorrupt, `section "model/info": json: unknown field "sharpness"`},
		{func(i map[string]any) { r := in(i, "refine"); r["revision"], r["moonlight"] = refine.Revision+1, 0.5 }, artifact.ErrNewer,
			fmt.Sprintf(`section "model/info": refine: options: made by a newer f2pad (revision %d, this`, refine.Revision+1)},
		{func(i map[string]any) { in(i, "refine")["revision"] = 0 }, artifact.ErrCorrupt, `refine: options: revision 0, want 1 to`},
		{func(i map[string]any) { i["refine"] = map[string]any{"revision": refine.Revision, "moonlight": 0.5} }, artifact.ErrCorrupt,
			`refine: options: json: unknown field "moonlight"`},
		{func(i map[string]any) { delete(i, "refine") }, nil, "no options of the refinement"},
		{func(i map[string]any) { delete(in(i, "calibration", "pixel_threshold"), "base") }, nil, "no threshold for the map base"},
		{func(i map[string]any) { delete(in(i, "calibration"), "pixel_threshold") }, nil, "no threshold for the map base"},
		{func(i map[string]any) { in(i, "calibration")["map_q50"] = 1e9 }, nil, "calibration.map_q995 is"},
	} {
		_, err := changed(t, c.change)
		require.ErrorContains(t, err, c.text)
		if c.is != nil {
			require.ErrorIs(t, err, c.is)
		}
	}
	_, err = changed(t, func(i map[string]any) {
		i["refine"] = map[string]any{"revision": refine.Revision, "stride": 4}
		in(i, "calibration", "pixel_threshold")["heat"] = 1
	})
	require.ErrorContains(t, err, `threshold for an unknown map "heat": want one of [base residual f2pad]`)
}

func TestAModelMakesTheMapsItHasThresholdsFor(t *testing.T) {
	m := *fixture(t).model(t, "padim 128")
	require.Equal(t, Kinds(), m.Kinds())
	require.NoError(t, m.Makes(Kinds()...))
	m.Info.Calibration.PixelThreshold = map[refine.Kind]float64{refine.Residual: 2, refine.Base: 1}
	require.Equal(t, []refine.Kind{refine.Base, refine.Residual}, m.Kinds())
	require.EqualError(t, m.Makes(Kinds()...),
		"engine: the model does not make f2pad (it makes [base residual]): it has no thresholds for them; fit it again to get them")
	_, err := New(&m, Options{Maps: []refine.Kind{refine.F2PAD}})
	require.ErrorIs(t, err, ErrNoMap)
	_, err = New(&m, Options{Maps: []refine.Kind{"heat"}})
	require.EqualError(t, err, `engine: unknown map "heat": want one of [base residual f2pad]`)
}

// A model whose refinement this program does not do any more keeps its base map, its thresholds for it, and its scores.
func TestAModelOfAnOlderRefinementMakesItsBaseMap(t *testing.T) {
	p := fixture(t)
	today := p.model(t, "padim 128")
	old := *today
	old.Info.Refine = refine.Options{}
	require.Equal(t, []refine.Kind{refine.Base}, old.Kinds())

	for _, kinds := range [][]refine.Kind{{refine.Residual}, {refine.Base, refine.F2PAD}} {
		_, err := New(&old, Options{Maps: kinds})
		require.ErrorIs(t, err, ErrNoMap)
		_, err = Eval(t.Context(), &old, p.few, EvalOptions{Options: Options{Maps: kinds}})
		require.ErrorIs(t, err, ErrNoMap)
	}
	require.EqualError(t, old.Makes(Kinds()...), fmt.Sprintf("engine: the model does not make residual and f2pad (it makes [base]): "+
		"its refinement is of revision 0, this program's of revision %d; fit it again to get them", refine.Revision))

	base := Options{Maps: []refine.Kind{refine.Base}}
	want, got := scored(t, today, base, p.few), scored(t, &old, base, p.few)
	requireSame(t, want, got)
	for id, r := range got {
		require.Equal(t, want[id].Threshold, r.Threshold)
		require.Equal(t, map[refine.Kind]float64{refine.Base: today.Info.Calibration.PixelThreshold[refine.Base]}, r.PixelThreshold)
		require.False(t, r.Refined)
	}
	rows, err := Eval(t.Context(), &old, p.few, EvalOptions{TempDir: t.TempDir()})
	require.NoError(t, err)
	for _, r := range rows {
		require.Equal(t, string(refine.Base), r.Map)
	}
}

func TestFitRefusesOptionsOfAnotherRevision(t *testing.T) {
	o := refine.DefaultOptions(4)
	o.Revision--
	_, err := Fit(t.Context(), fixture(t).data.Train, FitOptions{Method: "padim", Refine: &o}, nil)
	require.ErrorContains(t, err, "refine: option revision is")
}
