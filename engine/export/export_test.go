package export

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/run"

	"github.com/stretchr/testify/require"
)

// recorded is the run that testdata/gen_golden.py made.
const recorded = "testdata/run"

// exported exports the run in dir, and returns what was told of the images that were left out.
func exported(t *testing.T, dir string, o Options) (sum Summary, leftOut []string, err error) {
	t.Helper()
	r, err := run.OpenResults(dir, true)
	require.NoError(t, err)
	defer r.Close()
	o.LeftOut = func(image string, cause error) {
		require.NotEmpty(t, image)
		leftOut = append(leftOut, cause.Error())
	}
	sum, err = Export(t.Context(), r, o)
	return sum, leftOut, err
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

// below lists the files below a folder.
func below(t *testing.T, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, err := filepath.Rel(dir, path)
			require.NoError(t, err)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	}))
	return names
}

// copied is a copy of the recorded run.
func copied(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	require.NoError(t, os.CopyFS(dir, os.DirFS(recorded)))
	return dir
}

// TestGoldens: the files are those that pandas, shapely, pycocotools, datumaro and Label Studio's SDK have read.
func TestGoldens(t *testing.T) {
	const images, failed, regions = 10, 1, 42
	for name, o := range map[string]Options{
		"images.csv":                {Format: "csv"},
		"regions.csv":               {Format: "csv", EachRegion: true, Polygons: true},
		"regions-simplified.csv":    {Format: "csv", EachRegion: true, Polygons: true, Simplify: 1.5},
		"coco.json":                 {Format: "coco", RelativeTo: "data", Prefix: "images/"},
		"coco-polygons.json":        {Format: "coco", RelativeTo: "data", Prefix: "images/", Polygons: true, Label: "fault"},
		"cvat.xml":                  {Format: "cvat"},
		"cvat-polygons.xml":         {Format: "cvat", Polygons: true},
		"labelstudio.json":          {Format: "labelstudio"},
		"labelstudio-polygons.json": {Format: "labelstudio", Polygons: true},
	} {
		o.Out = filepath.Join(t.TempDir(), "new", name)
		sum, left, err := exported(t, recorded, o)
		require.NoError(t, err, name)
		require.Equal(t, content(t, filepath.Join("testdata", "golden", name)), content(t, o.Out), name)
		require.Equal(t, []string{name}, below(t, filepath.Dir(o.Out)))
		var want []string
		gone := 0 // regions
		if o.Format != "csv" {
			want, gone = append(want, "data/can/test/hole/\uFFFD.png: its name is not UTF-8, which "+o.Format+" cannot say"), 1
		}
		if o.RelativeTo != "" {
			want, gone = append(want, "elsewhere/x.png: is not below data"), 2
		}
		require.Equal(t, want, left, name)
		sum.Seconds = 0
		require.Equal(t, Summary{
			Format: o.Format, Path: o.Out, Images: images, Exported: images - failed - len(want), Failed: failed, LeftOut: len(want),
			Regions: regions - gone, Finished: true,
		}, sum, name)
	}
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // again into the same folder
		sum, left, err := exported(t, recorded, Options{Format: "mvtec", Out: dir})
		require.NoError(t, err)
		require.Equal(t, 6, sum.Exported)
		require.Equal(t, []string{
			"data/can/test_private/000.png: is not where MVTec AD has its test images (OBJECT/test/DEFECT/ID)",
			"data/can/test_private_mixed/000.png: is not where MVTec AD has its test images (OBJECT/test/DEFECT/ID)",
			"elsewhere/x.png: is not where MVTec AD has its test images (OBJECT/test/DEFECT/ID)",
		}, left)
		require.Equal(t, []string{
			"can/test/good/001.tiff", "can/test/good/noise.tiff", "can/test/hole/000.tiff", "can/test/hole/002.tiff", "can/test/hole/a & b <ü> +%.tiff",
			"can/test/hole/\xff.tiff",
		}, below(t, dir))
	}
	require.Equal(t, content(t, recorded+"/maps/4.tiff"), content(t, filepath.Join(dir, "can/test/hole/002.tiff")))

	dir = t.TempDir()
	sum, left, err := exported(t, recorded, Options{Format: "mvtec-ad2", Out: dir, Object: "vial"})
	require.NoError(t, err)
	require.Equal(t, 2, sum.Exported)
	require.Len(t, left, 7)
	require.Equal(t, []string{
		"anomaly_images/vial/test_private/000.tiff", "anomaly_images/vial/test_private_mixed/000.tiff",
		"anomaly_images_thresholded/vial/test_private/000.png", "anomaly_images_thresholded/vial/test_private_mixed/000.png",
	}, below(t, dir))
	require.Equal(t, content(t, recorded+"/masks/5.png"), content(t, filepath.Join(dir, "anomaly_images_thresholded/vial/test_private/000.png")))
	m, err := imageio.ReadMap(recorded + "/maps/5.tiff")
	require.NoError(t, err)
	half := filepath.Join(t.TempDir(), "half")
	require.NoError(t, imageio.WriteHalfMap(half, m))
	require.Equal(t, content(t, half), content(t, filepath.Join(dir, "anomaly_images/vial/test_private/000.tiff")))
}

func TestPlacesInLayouts(t *testing.T) {
	for _, c := range []struct {
		layout
		image, object, want string
	}{
		{mvtecAD, "leather/test/hole/003.png", "", "leather/test/hole/003"},
		{mvtecAD, "test/hole/003.png", "leather", "leather/test/hole/003"},
		{mvtecAD, "/data/mvtec/wood/test/good/a.b.png", "", "wood/test/good/a.b"},
		{mvtecAD, "shards/wood.tar/wood/test/good/1.png", "", "wood/test/good/1"},
		{mvtecAD, "x/test/test/1.png", "", "x/test/test/1"},
		{mvtecAD, "./a/../wood/test/good/1", "", "wood/test/good/1"},
		{mvtecAD, "test/hole/003.png", "", "its path does not say which object it shows"},
		{mvtecAD, "../test/hole/003.png", "", "its path does not say which object it shows"},
		{mvtecAD, "wood/test/003.png", "", "is not where MVTec AD has its test images"},
		{mvtecAD, "wood/test/a/b/003.png", "", "is not where MVTec AD has its test images"},
		{mvtecAD, "wood/train/good/003.png", "", "is not where MVTec AD has its test images"},
		{mvtecAD2, "can/test_public/bad/003.png", "", "can/test_public/bad/003"},
		{mvtecAD2, "can/test_private/003.png", "", "can/test_private/003"},
		{mvtecAD2, "can/test_private/good/003.png", "", "is not where MVTec AD 2 has its test images"},
	} {
		got, err := c.place(c.image, c.object)
		if err != nil {
			got = err.Error()
			require.True(t, strings.HasPrefix(got, c.image+": "), got)
			require.Contains(t, got, c.want)
			continue
		}
		require.Equal(t, c.want, got)
	}
}

// TestTwoImagesOfOnePlace: the first one has it, whatever the folder held before.
func TestTwoImagesOfOnePlace(t *testing.T) {
	dir := copied(t)
	path := filepath.Join(dir, run.ResultsFile)
	lines := strings.SplitAfter(content(t, path), "\n")
	twin := strings.Replace(lines[4], `"data/can/test/hole/002.jpg"`, `"other/can/test/HOLE/000.bmp"`, 1)
	require.NotEqual(t, lines[4], twin)
	require.NoError(t, os.WriteFile(path, []byte(lines[0]+twin), 0o600))
	out := t.TempDir()
	for range 2 {
		_, left, err := exported(t, dir, Options{Format: "mvtec", Out: out})
		require.NoError(t, err)
		require.Equal(t, []string{"other/can/test/HOLE/000.bmp: another image has the same place (can/test/HOLE/000)"}, left)
		require.Equal(t, []string{"can/test/hole/000.tiff"}, below(t, out))
	}
}

// TestWhatIsNotThereIsLeftOut, by its name, and the rest goes on.
func TestWhatIsNotThereIsLeftOut(t *testing.T) {
	dir := copied(t)
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	require.NoError(t, os.Remove(at("masks/0.png")))
	require.NoError(t, os.Remove(at("masks/1.png"))) // empty
	require.NoError(t, os.WriteFile(at("masks/3.png"), []byte(content(t, recorded+"/masks/5.png")), 0o600))
	require.NoError(t, os.WriteFile(at("masks/4.png"), []byte(content(t, at("masks/4.png"))[:60]), 0o600))
	require.NoError(t, os.Remove(at("maps/5.tiff")))
	path := at(run.ResultsFile)
	lines := strings.SplitAfter(content(t, path), "\n")
	lines[6] = strings.Replace(lines[6], `"mask": "masks/6.png"`, `"mask": null`, 1)
	lines[8] = strings.Replace(lines[8], `"mask": "masks/`, `"mask": "/masks/`, 1)
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600))
	mask := func(n string) string { return filepath.Join(dir, "masks", n+".png") }
	want := []string{
		mask("0") + ": no such file or directory",
		mask("1") + ": no such file or directory",
		mask("3") + ": is not the mask of its line: it has 10 regions, not 1",
		mask("4") + ": image is corrupt: unexpected EOF",
		"data/can/test_private_mixed/000.png: its line names no mask or no map",
		"data/can/test/hole/\uFFFD.png: its name is not UTF-8, which FORMAT cannot say",
		path + ": line 9: broken line",
	}
	for _, o := range []Options{
		{Format: "coco"}, {Format: "cvat"}, {Format: "labelstudio"}, {Format: "csv", EachRegion: true, Polygons: true},
	} {
		o.Out = filepath.Join(t.TempDir(), "out")
		sum, left, err := exported(t, dir, o)
		require.NoError(t, err, o.Format)
		require.Equal(t, 10, sum.Images)
		require.Equal(t, 10, sum.Exported+sum.Failed+sum.LeftOut)
		require.Equal(t, 1, sum.Failed)
		require.Equal(t, len(left), sum.LeftOut)
		mine := strings.Split(strings.ReplaceAll(strings.Join(want, "\n"), "FORMAT", o.Format), "\n")
		if o.Format == "csv" {
			mine = append(mine[:1:1], mine[2], mine[3], mine[4], mine[6]) // of those without a region it needs no mask
			left = append(left[:1:1], left[2:]...)
		}
		for i := range mine {
			what, _, _ := strings.Cut(mine[i], ": image is corrupt")
			require.Contains(t, left[i], what, o.Format)
		}
		require.Len(t, left, len(mine))
		require.Contains(t, content(t, o.Out), "elsewhere/x.png")
	}
	out := t.TempDir()
	_, left, err := exported(t, dir, Options{Format: "mvtec-ad2", Out: out})
	require.NoError(t, err)
	require.Contains(t, left, filepath.Join(dir, "maps", "5.tiff")+": no such file or directory")
	require.Empty(t, below(t, out), "half of an image is none")
}

// TestMasksOfOtherImages: regions are looked for where their peaks are, and have to be as large as their lines say.
func TestMasksOfOtherImages(t *testing.T) {
	dir := copied(t)
	path := filepath.Join(dir, run.ResultsFile)
	lines := strings.SplitAfter(content(t, path), "\n")
	for _, change := range [][2]string{
		{`"area": 8`, `"area": 7`}, {`"peak_x": `, `"peak_x": -`}, {`"peak_y": `, `"peak_y": 9`}, {`"width": 8`, `"width": 9`}, {`"x": 0`, `"x": -1`},
		{`"width": 8, "height": 8`, `"width": 4, "height": 8`}, {`"height": 8`, `"height": 0`},
	} {
		changed := strings.Replace(lines[7], change[0], change[1], 1)
		if change[0] == `"peak_x": ` && strings.Contains(changed, `"peak_x": -0`) {
			changed = strings.Replace(lines[7], change[0], `"peak_x": 8`, 1)
		}
		require.NotEqual(t, lines[7], changed)
		require.NoError(t, os.WriteFile(path, []byte(changed), 0o600))
		_, left, err := exported(t, dir, Options{Format: "csv", EachRegion: true, Polygons: true, Out: filepath.Join(t.TempDir(), "out")})
		require.NoError(t, err)
		require.Len(t, left, 1, change)
		require.Contains(t, left[0], "7.png: is not the mask of its line: no region of ", change)
	}
}

// TestRunsOfTheFirstVersions: their lines have no regions, but there are masks.
func TestRunsOfTheFirstVersions(t *testing.T) {
	dir := copied(t)
	path := filepath.Join(dir, run.ResultsFile)
	var old strings.Builder
	for line := range strings.Lines(content(t, path)) {
		var l map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		for _, field := range []string{"regions", "pixel_threshold", "sha256", "bytes", "modified", "refined", "device"} {
			delete(l, field)
		}
		require.NoError(t, json.NewEncoder(&old).Encode(l))
	}
	require.NoError(t, os.WriteFile(path, []byte(old.String()), 0o600))
	out := filepath.Join(t.TempDir(), "out")
	for _, o := range []Options{{Format: "csv", EachRegion: true}, {Format: "coco"}, {Format: "labelstudio"}, {Format: "cvat"}, {Format: "csv"}} {
		o.Out = out
		sum, left, err := exported(t, dir, o)
		require.NoError(t, err)
		regions := 42
		switch {
		case o.Format == "csv" && !o.EachRegion:
			regions = 0
			require.Contains(t, content(t, out), "\ndata/can/test/hole/000.png,,,,,,1.5,2.25,true,false,,,,,,maps/0.tiff,masks/0.png,,0.25,\n")
		case o.EachRegion:
			require.Contains(t, content(t, out), "\ndata/can/test/hole/000.png,,1.5,2.25,1,0,0,4,4,13,,,,,\n", "in the order of their first pixels")
		default:
			regions = 41
			require.Len(t, left, 1)
			if o.Format == "coco" {
				require.Contains(t, content(t, out), `"bbox":[0,0,4,4],"area":13,"iscrowd":0,"score":1.5,`)
			}
		}
		require.Equal(t, regions, sum.Regions)
	}
}

func TestWhatCannotWorkIsSaidBefore(t *testing.T) {
	dir := copied(t)
	path := filepath.Join(dir, run.RunFile)
	was := content(t, path)
	out := filepath.Join(t.TempDir(), "new", "out")
	for _, c := range []struct {
		run, by, want string
		o             Options
	}{
		{`"masks": true`, `"masks": false`, "the run wrote no masks, which coco is made of: score with --masks", Options{Format: "coco"}},
		{`"masks": true`, `"masks": false`, "the run wrote no masks, which csv is made of", Options{Format: "csv", EachRegion: true, Polygons: true}},
		{`"maps": true`, `"maps": false`, "the run wrote no maps, which mvtec is made of: score with --maps", Options{Format: "mvtec"}},
		{`"refine": "f2pad", "maps": true, "masks": true`, `"refine": "none", "maps": false, "masks": false`, "made no maps", Options{Format: "csv", EachRegion: true}},
	} {
		now := strings.NewReplacer("\n", " ", "  ", " ").Replace(was)
		now = strings.Replace(strings.ReplaceAll(now, "  ", " "), c.run, c.by, 1)
		require.Contains(t, now, c.by)
		require.NoError(t, os.WriteFile(path, []byte(now), 0o600))
		c.o.Out = out
		_, _, err := exported(t, dir, c.o)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, dir+": ")
		require.NoDirExists(t, filepath.Dir(out))
	}
	require.NoError(t, os.WriteFile(path, []byte(was), 0o600))
	for _, own := range []string{"run.json", "results.jsonl", "results.jsonl.part", "masks/x", "maps", "overlays/a/b"} {
		_, _, err := exported(t, dir, Options{Format: "csv", Out: filepath.Join(dir, own)})
		require.ErrorIs(t, err, ErrOwn, own)
	}
	_, _, err := exported(t, dir, Options{Format: "csv", Out: filepath.Join(dir, "table.csv")})
	require.NoError(t, err)
	_, _, err = exported(t, dir, Options{Format: "csv", Out: dir})
	require.EqualError(t, err, dir+" is not a regular file")
	_, _, err = exported(t, dir, Options{Format: "mvtec", Out: path})
	require.ErrorIs(t, err, ErrOwn)
	file := filepath.Join(dir, "table.csv")
	_, _, err = exported(t, dir, Options{Format: "mvtec", Out: file})
	require.ErrorContains(t, err, file+": ")
}

func TestOptionsThatAreNotTheFormats(t *testing.T) {
	for want, o := range map[string]Options{
		`unknown format "xml"`:                     {Format: "xml"},
		"--rows is not for --format coco":          {Format: "coco", EachRegion: true},
		"--polygons is not for --format mvtec":     {Format: "mvtec", Polygons: true},
		"--polygons needs --rows regions":          {Format: "csv", Polygons: true},
		"--simplify is for --polygons":             {Format: "cvat", Simplify: 1},
		"--simplify must not be negative":          {Format: "cvat", Polygons: true, Simplify: -1},
		"--label is not for --format parquet":      {Format: "parquet", Label: "x"},
		"--relative-to is not for --format csv":    {Format: "csv", RelativeTo: "x"},
		"--prefix is not for --format mvtec-ad2":   {Format: "mvtec-ad2", Prefix: "x"},
		"--object is not for --format labelstudio": {Format: "labelstudio", Object: "x"},
		"--object must be the name of a folder":    {Format: "mvtec", Object: ".."},
	} {
		_, err := o.Check()
		require.EqualError(t, err, want)
		_, _, err = exported(t, recorded, o)
		require.EqualError(t, err, want)
	}
	for _, f := range Formats() {
		got, err := Options{Format: f.Name}.Check()
		require.NoError(t, err)
		require.Equal(t, f.Folder, got.Folder)
	}
}

// TestAnExportThatEndsLeavesWhatWas, and nothing of its own.
func TestAnExportThatEndsLeavesWhatWas(t *testing.T) {
	for _, format := range []string{"csv", "parquet", "coco", "cvat", "labelstudio"} {
		out := filepath.Join(t.TempDir(), "out")
		require.NoError(t, os.WriteFile(out, []byte("before"), 0o600))
		r, err := run.OpenResults(recorded, false)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		_, err = Export(ctx, r, Options{Format: format, Out: out, Progress: func(done, total int) {
			require.Equal(t, 10, total)
			if done == 3 {
				cancel()
			}
		}})
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, r.Close())
		require.Equal(t, "before", content(t, out))
		require.Equal(t, []string{"out"}, below(t, filepath.Dir(out)))
	}
}

// counting is a format that counts what is on its way.
type counting struct {
	now, most atomic.Int64
	order     []int
	fails     error
}

func (c *counting) take(e *entry) (func() error, error) {
	if n := c.now.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
	number := e.number
	return func() error {
		c.now.Add(-1)
		c.order = append(c.order, number)
		if number%100 == 0 {
			return fault{errors.New("left out")}
		}
		if number == 3001 {
			return c.fails
		}
		return nil
	}, nil
}

func (c *counting) end() error { c.order = append(c.order, -1); return nil }

// TestLinesAreNotHeld: of thousands some dozens are on their way, and they are written in their order.
func TestLinesAreNotHeld(t *testing.T) {
	dir := copied(t)
	line := strings.SplitAfter(content(t, filepath.Join(recorded, run.ResultsFile)), "\n")[1]
	const n = 5000
	require.NoError(t, os.WriteFile(filepath.Join(dir, run.ResultsFile), []byte(strings.Repeat(line, n)), 0o600))
	r, err := run.OpenResults(dir, false)
	require.NoError(t, err)
	defer r.Close()
	for _, fails := range []error{nil, errors.New("disk full")} {
		c := &counting{fails: fails}
		left := 0
		x := &exporting{Options: Options{LeftOut: func(string, error) { left++ }}, results: r}
		err = x.export(t.Context(), Format{open: func(*exporting, io.Writer) (sink, error) { return c, nil }}, nil)
		require.Equal(t, fails, err)
		require.LessOrEqual(t, c.most.Load(), int64(perCore*runtime.GOMAXPROCS(0)))
		for i, got := range c.order {
			if i < n {
				require.Equal(t, i+1, got)
			}
		}
		if fails == nil {
			require.Equal(t, -1, c.order[n])
			require.Equal(t, n/100, left)
			require.Equal(t, n, x.sum.Exported+x.sum.LeftOut)
		} else {
			require.Len(t, c.order, 3001, "what comes after is not written")
		}
	}
}

func TestAnUnfinishedRun(t *testing.T) {
	dir := copied(t)
	lines := strings.SplitAfter(content(t, filepath.Join(dir, run.ResultsFile)), "\n")
	require.NoError(t, os.Remove(filepath.Join(dir, run.ResultsFile)))
	require.NoError(t, os.WriteFile(filepath.Join(dir, run.PartFile), []byte(strings.Join(lines[:3], "")+lines[3][:20]), 0o600))
	_, err := run.OpenResults(dir, false)
	require.ErrorIs(t, err, run.ErrUnfinished)
	sum, left, err := exported(t, dir, Options{Format: "csv", Out: filepath.Join(dir, "out.csv")})
	require.NoError(t, err)
	require.Empty(t, left)
	require.Equal(t, []any{3, 1, false}, []any{sum.Images, sum.Failed, sum.Finished})
}
