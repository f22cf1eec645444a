package scoring

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/run"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	flag.Parse()
	beam.Init()
	os.Exit(m.Run())
}

// testdata is the engine's.
func testdata(name string) string { return filepath.Join("..", "..", "engine", "testdata", name) }

// inputs makes all kinds of inputs, sound and broken, in the working folder, and returns what names them: arguments, and a list.
func inputs(t *testing.T) (args []string, list string) {
	t.Helper()
	t.Chdir(t.TempDir())
	put := func(name string, data []byte) {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o777))
		require.NoError(t, os.WriteFile(name, data, 0o600))
	}
	images := map[string][]byte{}
	for _, name := range []string{"good.png", "hole.png"} {
		data, err := os.ReadFile(filepath.Join(origin, testdata(name)))
		require.NoError(t, err)
		images[name] = data
		put("folder/"+name, data)
		put("folder/below/2-"+name, data)
		put("by-list-"+name, data)
	}
	put("folder/broken.png", []byte("no image"))
	put("folder/notes.txt", nil)
	put("odd-\xff.png", images["hole.png"])
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, name := range []string{"a/good.png", "a/hole.png", "b/hole.png", "c/broken.png"} {
		data, ok := images[filepath.Base(name)]
		if !ok {
			data = []byte("no image")
		}
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o600}))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	z := gzip.NewWriter(&packed)
	_, err := z.Write(plain.Bytes())
	require.NoError(t, err)
	require.NoError(t, z.Close())
	put("whole.tar", plain.Bytes())
	put("packed.tar.gz", packed.Bytes())
	put("cut.tar.gz", packed.Bytes()[:packed.Len()*2/3])
	put("empty.tar", nil)
	return []string{"whole.tar", "folder", "packed.tar.gz", "-", "*-\xff.png", "cut.tar.gz"},
		"by-list-hole.png\nabsent.png\nfolder\nempty.tar\n\nby-list-good.png"
}

var origin = func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}()

func job(t *testing.T, args []string, list string) Job {
	t.Helper()
	j := Job{
		Computing: Computing{Model: filepath.Join(origin, testdata("r4/padim.f2pad")), Kind: refine.F2PAD, Batch: 3, Executor: GoExecutor},
		List:      []byte(list), Out: t.TempDir(), Shards: 4,
	}
	j.name(args...)
	return j
}

// name makes arguments the job's inputs.
func (j *Job) name(args ...string) {
	j.Inputs = nil
	for _, arg := range args {
		j.Inputs = append(j.Inputs, []byte(arg))
	}
}

// beamed runs a job on Prism.
func beamed(t *testing.T, j Job) Tally {
	t.Helper()
	require.NoError(t, j.Prepare("v1", false))
	p, s := beam.NewPipelineWithRoot()
	Build(s, j)
	_, err := beam.Run(t.Context(), "prism", p)
	require.NoError(t, err)
	sum, err := j.Summary()
	require.NoError(t, err)
	return sum
}

// timeless is a line without the time that it took.
func timeless(t *testing.T, line []byte) string {
	t.Helper()
	const field = `,"seconds":`
	i := bytes.LastIndex(line, []byte(field))
	if i < 0 {
		require.Contains(t, string(line), `"error":`)
		return string(line)
	}
	var seconds float64
	require.NoError(t, json.Unmarshal(bytes.TrimSuffix(line[i+len(field):], []byte("}")), &seconds), "seconds are the last field")
	return string(line[:i])
}

// TestBeamEqualsScore: line by line, and byte by byte but for seconds, what Prism writes is what a run into a folder writes.
func TestBeamEqualsScore(t *testing.T) {
	args, list := inputs(t)
	for _, kind := range []refine.Kind{refine.F2PAD, ""} {
		j := job(t, args, list)
		j.Kind = kind
		got := beamed(t, j)

		m, err := engine.Load(j.Model)
		require.NoError(t, err)
		o := engine.Options{Fingerprints: true}
		if kind != "" {
			o.Maps = []refine.Kind{kind}
		}
		e, err := engine.New(m, o)
		require.NoError(t, err)
		out := t.TempDir()
		where := dataset.Search{Out: out}
		want, err := run.Run(t.Context(), e, run.Options{Dir: out, Kind: kind, Info: run.Info{Version: "v1", Model: m.SHA256()}},
			run.Inputs{Items: where.Inputs(args, strings.NewReader(list))})
		require.NoError(t, err)
		require.NoError(t, e.Close())
		require.Equal(t, Tally{Images: int64(want.Images), Anomalous: int64(want.Anomalous), Failed: int64(want.Failed)}, got)
		require.Greater(t, got.Failed, int64(5))
		require.Greater(t, got.Anomalous, int64(5))
		require.Equal(t, want.Info, j.prepared(t).Info)

		results, err := os.ReadFile(filepath.Join(out, run.ResultsFile))
		require.NoError(t, err)
		lines, err := Read(j.Out)
		require.NoError(t, err)
		require.Len(t, lines, bytes.Count(results, []byte("\n")))
		i := 0
		for line := range bytes.Lines(results) {
			require.Equal(t, timeless(t, bytes.TrimSuffix(line, []byte("\n"))), timeless(t, lines[i].Line))
			i++
		}
	}
}

// prepared is the job as its folder has it.
func (j Job) prepared(t *testing.T) asked {
	t.Helper()
	data, err := os.ReadFile(j.path(runFile))
	require.NoError(t, err)
	var a asked
	require.NoError(t, json.Unmarshal(data, &a))
	return a
}

// TestResultsAreWrittenAgain: a job that is run again replaces every file, and leaves nothing else.
func TestResultsAreWrittenAgain(t *testing.T) {
	args, list := inputs(t)
	j := job(t, args, list)
	j.Kind = ""
	beamed(t, j)
	names := func() (names []string) {
		entries, err := os.ReadDir(j.Out)
		require.NoError(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	want := []string{
		"_SUCCESS", "_run.json", "results-00000-of-00004.parquet", "results-00001-of-00004.parquet", "results-00002-of-00004.parquet",
		"results-00003-of-00004.parquet",
	}
	require.Equal(t, want, names())
	before, err := Read(j.Out)
	require.NoError(t, err)
	for i := range int64(4) {
		lines, err := readShard(j.shardPath(i))
		require.NoError(t, err)
		require.True(t, slices.IsSortedFunc(lines, inOrder))
	}
	beamed(t, j)
	after, err := Read(j.Out)
	require.NoError(t, err)
	require.Len(t, after, len(before))
	for i := range before {
		require.Equal(t, timeless(t, before[i].Line), timeless(t, after[i].Line))
		require.Equal(t, [2]int64{before[i].Input, before[i].Member}, [2]int64{after[i].Input, after[i].Member})
	}

	j.name("folder/good.png")
	require.Equal(t, Tally{Images: 1}, beamed(t, j))
	require.Equal(t, want, names())
	after, err = Read(j.Out)
	require.NoError(t, err)
	require.Len(t, after, 1, "what an earlier run has left is gone")

	j.Shards = 2
	err = j.Prepare("v1", false)
	require.ErrorIs(t, err, run.ErrOther)
	require.ErrorContains(t, err, "shards was 4, is 2")
	require.NoError(t, j.Prepare("v1", true))
	require.Equal(t, []string{"_run.json"}, names())
	require.NoError(t, os.Remove(j.path(runFile)))
	require.NoError(t, os.WriteFile(j.shardPath(0), nil, 0o600))
	require.ErrorIs(t, j.Prepare("v1", false), run.ErrOther)
}

func TestRowsAreForOthersToRead(t *testing.T) {
	_, _ = inputs(t)
	j := job(t, []string{"folder/hole.png", "folder/broken.png"}, "")
	j.Shards = 1
	beamed(t, j)
	f, err := os.Open(j.shardPath(0))
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	file, err := parquet.OpenFile(f, info.Size())
	require.NoError(t, err)
	var names []string
	for _, c := range file.Schema().Fields() {
		names = append(names, c.Name())
		require.Equal(t, slices.Contains([]string{"input", "member", "image"}, c.Name()), c.Required(), c.Name())
	}
	require.Equal(t, []string{
		"input", "member", "image", "image_base64", "bytes", "modified", "sha256", "tag", "image_score", "threshold", "anomalous", "refined",
		"device",
		"pixel_threshold", "regions", "map", "mask", "overlay", "seconds", "error",
	}, names)
	about, ok := file.Lookup(infoKey)
	require.True(t, ok)
	require.Contains(t, about, `"refine":"f2pad"`)
	type row struct {
		Image   string   `parquet:"image"`
		Score   *float64 `parquet:"image_score,optional"`
		Error   *string  `parquet:"error,optional"`
		Regions []struct {
			Area int64   `parquet:"area"`
			Peak float32 `parquet:"peak"`
		} `parquet:"regions,list,optional"`
	}
	rows, err := parquet.Read[row](f, info.Size())
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Nil(t, rows[0].Error)
	require.Positive(t, *rows[0].Score)
	require.Positive(t, rows[0].Regions[0].Area)
	require.Positive(t, rows[0].Regions[0].Peak)
	require.Equal(t, "folder/broken.png", rows[1].Image)
	require.Nil(t, rows[1].Score)
	require.Contains(t, *rows[1].Error, "folder/broken.png: ")
}

func TestOneEngineInAProcess(t *testing.T) {
	_, _ = inputs(t)
	j := job(t, []string{"folder"}, "")
	require.NoError(t, j.Prepare("v1", false))
	first, err := j.engine()
	require.NoError(t, err)
	again := j
	again.Out = "elsewhere"
	second, err := again.engine()
	require.NoError(t, err)
	require.Same(t, first, second)
	again.Batch = 1
	third, err := again.engine()
	require.NoError(t, err)
	require.NotSame(t, first, third)
}

func TestJobsThatCannotBeDone(t *testing.T) {
	_, _ = inputs(t)
	sound := job(t, []string{"folder"}, "")
	for _, c := range []struct {
		change func(j *Job)
		why    string
	}{
		{func(j *Job) { j.name("nowhere") }, "nowhere: "},
		{func(j *Job) { j.name("-") }, "no inputs"},
		{func(j *Job) { j.Model = "nowhere.f2pad" }, "nowhere.f2pad"},
		{func(j *Job) { j.Model = filepath.Join(origin, testdata("r1/padim.f2pad")) }, "makes"},
		{func(j *Job) { j.Executor = "gpu" }, `unknown executor "gpu": want go or ort`},
		{func(j *Job) { j.ROI = "nowhere.png" }, "nowhere.png"},
		{func(j *Job) { j.Out = "folder/good.png" }, "folder/good.png"},
		{func(j *Job) { j.Out = "odd-\xff" }, `"odd-\xff": is not UTF-8`},
		{func(j *Job) { j.Shards = 0 }, "at least one file"},
	} {
		j := sound
		c.change(&j)
		require.ErrorContains(t, j.Prepare("v1", false), c.why)
	}
}

// TestAWorkerWithAnotherModelRefuses to score with it.
func TestAWorkerWithAnotherModelRefuses(t *testing.T) {
	_, _ = inputs(t)
	j := job(t, []string{"folder"}, "")
	data, err := os.ReadFile(j.Model)
	require.NoError(t, err)
	j.Model = "model.f2pad"
	require.NoError(t, os.WriteFile(j.Model, data, 0o600))
	require.NoError(t, j.Prepare("v1", false))
	data, err = os.ReadFile(filepath.Join(origin, testdata("r3/padim.f2pad")))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(j.Model, data, 0o600))
	j.Batch++ // another engine
	p, s := beam.NewPipelineWithRoot()
	Build(s, j)
	_, err = beam.Run(t.Context(), "prism", p)
	require.ErrorContains(t, err, "model.f2pad: is another model here")
	_, err = j.Summary()
	require.Error(t, err)
}
