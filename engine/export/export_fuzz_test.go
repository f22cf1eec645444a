package export

import (
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine/run"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
)

// FuzzExport exports results that hold anything, with a mask that is anything: each line is exported, has failed or is left out, what is written can
// be read, and what lies beside it is not touched.
func FuzzExport(f *testing.F) {
	info, err := os.ReadFile(filepath.Join(recorded, run.RunFile))
	require.NoError(f, err)
	results, err := os.ReadFile(filepath.Join(recorded, run.ResultsFile))
	require.NoError(f, err)
	mask, err := os.ReadFile(filepath.Join(recorded, "masks", "0.png"))
	require.NoError(f, err)
	grey, err := os.ReadFile(filepath.Join(recorded, "maps", "0.tiff"))
	require.NoError(f, err)
	lines := strings.SplitAfter(string(results), "\n")
	for i := range uint8(14) {
		f.Add(i, lines[0], mask)
		f.Add(i, lines[int(i)%10]+lines[0], mask)
	}
	f.Add(uint8(2), strings.ReplaceAll(lines[0], `"x": 0`, `"x": -1`), mask)
	f.Add(uint8(2), strings.ReplaceAll(lines[0], "masks/0.png", "masks/../../beside"), mask)
	f.Add(uint8(12), strings.ReplaceAll(lines[0], "hole/000", "../../../beside"), mask)
	f.Fuzz(func(t *testing.T, kind uint8, lines string, mask []byte) {
		dir := t.TempDir()
		from, out, beside := filepath.Join(dir, "run"), filepath.Join(dir, "to", "out"), filepath.Join(dir, "beside")
		for path, data := range map[string]string{
			filepath.Join(from, run.RunFile): string(info), filepath.Join(from, run.ResultsFile): lines, filepath.Join(from, "masks", "0.png"): string(mask),
			filepath.Join(from, "maps", "0.tiff"): string(grey), beside: "beside",
		} {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
			require.NoError(t, os.WriteFile(path, []byte(data), 0o600))
		}
		all := Formats()
		format := all[int(kind)%len(all)]
		o := Options{Format: format.Name, Out: out}
		if int(kind) >= len(all) {
			switch format.Name {
			case "csv", "parquet":
				o.EachRegion, o.Polygons = true, true
			case "coco", "cvat", "labelstudio":
				o.Polygons, o.Simplify = true, 1
			default:
				o.Object = "can"
			}
		}
		r, err := run.OpenResults(from, true)
		require.NoError(t, err)
		defer r.Close()
		sum, err := Export(t.Context(), r, o)
		require.NoError(t, err)
		require.Equal(t, sum.Images, sum.Exported+sum.Failed+sum.LeftOut)
		require.Equal(t, "beside", content(t, beside))
		require.Len(t, below(t, from), 5, "with the lock")
		if format.Folder {
			return
		}
		data := content(t, out)
		switch format.Name {
		case "csv":
			rows, err := csv.NewReader(strings.NewReader(data)).ReadAll()
			require.NoError(t, err)
			if !o.EachRegion {
				require.Len(t, rows, 1+sum.Exported+sum.Failed)
			}
		case "parquet":
			p, err := parquet.OpenFile(strings.NewReader(data), int64(len(data)))
			require.NoError(t, err)
			if !o.EachRegion {
				require.EqualValues(t, sum.Exported+sum.Failed, p.NumRows())
			}
		case "cvat":
			dec := xml.NewDecoder(strings.NewReader(data))
			for err == nil {
				_, err = dec.Token()
			}
			require.True(t, errors.Is(err, io.EOF), err)
		default:
			require.True(t, json.Valid([]byte(data)), data)
		}
	})
}
