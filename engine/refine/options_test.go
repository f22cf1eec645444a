package refine

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"f2pad.example/engine/artifact"

	"github.com/stretchr/testify/require"
)

// Every field can be broken, and the error says which it was, by the name it has in JSON.
func TestOptionsAreChecked(t *testing.T) {
	fields := 0
	var visit func(v reflect.Value, name string, o *Options)
	visit = func(v reflect.Value, name string, o *Options) {
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue
			}
			f, tag := v.Field(i), v.Type().Field(i).Tag.Get("json")
			require.NotEmpty(t, tag, "%s has no name in JSON", v.Type().Field(i).Name)
			switch full := strings.TrimPrefix(name+"."+tag, "."); f.Kind() {
			case reflect.Struct:
				visit(f, full, o)
			case reflect.Int:
				good := f.Int()
				for _, bad := range []int64{-1, math.MaxInt32} {
					f.SetInt(bad)
					_, err := New(*o)
					require.ErrorContains(t, err, "refine: option "+full+" is")
				}
				f.SetInt(good)
				fields++
			case reflect.Float64:
				good := f.Float()
				for _, bad := range []float64{-1e9, 1e9, math.NaN(), math.Inf(1)} {
					f.SetFloat(bad)
					_, err := New(*o)
					require.ErrorContains(t, err, "refine: option "+full+" is")
				}
				f.SetFloat(good)
				fields++
			default:
				require.Fail(t, fmt.Sprint(full, " is a ", f.Kind()))
			}
		}
	}
	for _, stride := range []int{1, 4, 8, 16} {
		o := DefaultOptions(stride)
		fields = 0
		visit(reflect.ValueOf(&o).Elem(), "", &o)
		require.Greater(t, fields, 45)
		require.Equal(t, DefaultOptions(stride), o)
		_, err := New(o)
		require.NoError(t, err)
	}
	_, err := New(Options{Revision: Revision})
	require.ErrorContains(t, err, "stride")
}

func TestOptionsRefuseWhatContradicts(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"region.certain":     func(o *Options) { o.Region.Suspect = 2 },
		"residual.high":      func(o *Options) { o.Residual.Low = 3 },
		"optimiser.averaged": func(o *Options) { o.Optimiser.Iterations = 1 },
		"map.trust.most":     func(o *Options) { o.Map.Trust.Least = 4 },
		"classifier.trust.m": func(o *Options) { o.Classifier.Trust.Least = 4 },
	} {
		o := DefaultOptions(4)
		change(&o)
		_, err := New(o)
		require.ErrorContains(t, err, want)
	}
}

func TestOptionsSurviveJSON(t *testing.T) {
	o := DefaultOptions(8)
	o.Fills.Count, o.Optimiser.Lambda = 3, 0.25
	blob, err := json.Marshal(o)
	require.NoError(t, err)
	var back Options
	require.NoError(t, json.Unmarshal(blob, &back))
	require.Equal(t, o, back)
	require.True(t, back.Current())
}

func TestOptionsOfOtherRevisions(t *testing.T) {
	// Today's: what was stored before there were revisions. What is missing has the default.
	var o Options
	require.NoError(t, o.decode([]byte(`{"stride":8,"fills":{"count":3}}`), 1, 1))
	want := DefaultOptions(8)
	want.Revision, want.Fills.Count = 1, 3
	require.Equal(t, want, o)

	// An older one of the same maps becomes one of this revision.
	require.NoError(t, o.decode([]byte(`{"revision":2,"stride":8,"fills":{"count":3}}`), 3, 2))
	want.Revision = 3
	require.Equal(t, want, o)
	require.ErrorContains(t, o.decode([]byte(`{"revision":2,"moonlight":{}}`), 3, 2), `refine: options: json: unknown field "moonlight"`)

	// One of other maps is kept as it is, whatever its fields.
	const old = `{"stride":8,"moonlight":{"grain":0.5}}`
	require.NoError(t, o.decode([]byte(old), 3, 2))
	require.Equal(t, 1, o.Revision)
	blob, err := json.Marshal(struct{ O Options }{o})
	require.NoError(t, err)
	require.Equal(t, `{"O":`+old+`}`, string(blob))

	err = json.Unmarshal(fmt.Appendf(nil, `{"revision":%d,"moonlight":{}}`, Revision+1), &o)
	require.ErrorIs(t, err, artifact.ErrNewer)
	require.EqualError(t, err, fmt.Sprintf(
		"refine: options: made by a newer f2pad (revision %d, this program knows up to %d)", Revision+1, Revision))
}

// Options that this program cannot run are refused where they would be.
func TestOptionsThatAreNotCurrentDoNotRun(t *testing.T) {
	o := Options{Revision: sameMaps - 1, Stride: 4}
	require.False(t, o.Current())
	_, err := New(o)
	require.ErrorContains(t, err, "refine: option revision is")
}

// Lengths that scale are those of the design at stride 4: 32, 12, 8, 2, 5, 4, 3, 8 and 2 px, and sigmas 1 and 16.
func TestCellsArePixelsAtStride4(t *testing.T) {
	o := DefaultOptions(4)
	var got []float64
	for _, cells := range []float64{
		o.Region.PeakCells, o.Region.KeepCells, o.Region.DilateCells, o.Fills.ShiftCells, o.Fills.RingCells, o.Fills.ApartCells, o.Fills.OffsetCells,
		o.Optimiser.NearCells, o.Looks.ShiftCells, o.Region.SmoothCells, o.Map.MeanCells,
	} {
		got = append(got, o.px(cells))
	}
	require.Equal(t, []float64{32, 12, 8, 2, 5, 4, 3, 8, 2, 1, 16}, got)
}
