package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/run/lock"

	"github.com/stretchr/testify/require"
)

// sharded scores shard i of n into a new folder.
func sharded(t *testing.T, i, n int, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	_, err := runShard(t, dir, Shard{i, n}, nil, args...)
	require.NoError(t, err)
	return dir
}

func runShard(t *testing.T, dir string, s Shard, tell func(Event) error, args ...string) (Summary, error) {
	t.Helper()
	survey, err := Look(dataset.Search{Out: dir}, args, &s)
	require.NoError(t, err)
	o := everything(dir, tell)
	o.Info.Shard = &s
	return Run(t.Context(), pretender{}, o, Inputs{Items: dataset.Inputs(args, nil, nil), Survey: survey})
}

// mixed makes inputs of every kind, some of them bad, and names of outputs that have to be told apart.
func mixed(t *testing.T) []string {
	t.Helper()
	t.Chdir(t.TempDir())
	pack(t, "a.tar", append(numbered(7), "../out.png", "000.jpg")...)
	pack(t, "b.tar.gz", append(numbered(4), "x.json")...)
	pack(t, "c.zip", numbered(3)...)
	require.NoError(t, os.Mkdir("d", 0o700))
	for _, name := range []string{"1.png", "1.jpg", "1.tif", "gr\xf6\xdfe.png"} {
		if err := os.WriteFile(filepath.Join("d", name), []byte("content of "+name), 0o600); err != nil {
			require.NoError(t, os.WriteFile(filepath.Join("d", "other.png"), nil, 0o600)) // this system takes UTF-8 only
		}
	}
	data, err := os.ReadFile("a.tar")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("e.tar", data[:3000], 0o600))
	return []string{"a.tar", "b.tar.gz", "c.zip", "d", "e.tar"}
}

var secondsOf = regexp.MustCompile(`"seconds":[^,}]*`)

func timeless(files map[string]string) map[string]string {
	files[ResultsFile] = secondsOf.ReplaceAllString(files[ResultsFile], "")
	return files
}

// TestShardsMergeToTheRunOfAllInputs: with the names and the order that it has, whatever the number of shards and the order they are given in.
func TestShardsMergeToTheRunOfAllInputs(t *testing.T) {
	args := mixed(t)
	whole := t.TempDir()
	sum, err := Run(t.Context(), pretender{}, everything(whole, nil), looked(t, whole, args...))
	require.NoError(t, err)
	want := timeless(filesBelow(t, whole))
	require.Greater(t, sum.Images, 20)
	for _, n := range []int{1, 2, 3, 7, sum.Images, sum.Images + 5} {
		var folders []string
		for i := n; i >= 1; i-- {
			folders = append(folders, sharded(t, i, n, args...))
		}
		dir := filepath.Join(t.TempDir(), "merged")
		for again := range 2 {
			told := 0
			m, err := Merge(t.Context(), dir, folders, func(n, of int) { told = n; require.Equal(t, sum.Images, of) })
			require.NoError(t, err)
			require.Equal(t, sum.Images, told)
			require.Equal(t, []int{sum.Images, sum.Anomalous, sum.Failed}, []int{m.Images, m.Anomalous, m.Failed})
			require.Equal(t, 3*(sum.Images-sum.Failed), m.Linked+m.Copied)
			require.Equal(t, want, timeless(filesBelow(t, dir)), "%d shards, merge %d", n, again)
		}
		for _, f := range folders {
			require.NoError(t, os.RemoveAll(f))
		}
		require.Equal(t, want, timeless(filesBelow(t, dir)), "the shards may go")
		again, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, args...))
		require.NoError(t, err)
		require.Equal(t, sum.Images-sum.Failed, again.Kept, "the run of all inputs goes on in it")
	}
}

func TestShardsGoOn(t *testing.T) {
	args := mixed(t)
	boom := errors.New("boom")
	fresh, dir := sharded(t, 2, 3, args...), t.TempDir()
	scored := 0
	_, err := runShard(t, dir, Shard{2, 3}, func(e Event) error {
		if _, ok := e.(Scored); ok {
			if scored++; scored == 3 {
				return boom
			}
		}
		return nil
	}, args...)
	require.ErrorIs(t, err, boom)
	_, err = Merge(t.Context(), t.TempDir(), []string{dir}, nil)
	require.EqualError(t, err, dir+": shard 2/3 is not finished: run its command again")
	sum, err := runShard(t, dir, Shard{2, 3}, nil, args...)
	require.NoError(t, err)
	require.Equal(t, 3, sum.Kept)
	require.Equal(t, timeless(filesBelow(t, fresh)), timeless(filesBelow(t, dir)))

	_, err = runShard(t, dir, Shard{1, 3}, nil, args...)
	require.ErrorContains(t, err, "holds results of another run (shard was 2/3, is 1/3)")
	_, err = Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, args...))
	require.ErrorContains(t, err, "(shard was 2/3, is <nil>)")
}

// TestInputsMoveBetweenShards where others come or go: each is scored by the shard that has it now.
func TestInputsMoveBetweenShards(t *testing.T) {
	t.Chdir(t.TempDir())
	pack(t, "a.tar", numbered(9)...)
	one, two := sharded(t, 1, 2, "a.tar"), sharded(t, 2, 2, "a.tar")
	pack(t, "a.tar", append([]string{"new.png"}, numbered(9)...)...)
	_, err := Merge(t.Context(), t.TempDir(), []string{one, two}, nil)
	require.NoError(t, err, "the shards are of one mind, if of yesterday's")
	var said told
	_, err = runShard(t, one, Shard{1, 2}, said.tell, "a.tar")
	require.NoError(t, err)
	require.Contains(t, said.of("warning")[0], "5 images of an earlier run: gone, or another shard's, and dropped from the results (a.tar/000.png, ")
	_, err = Merge(t.Context(), t.TempDir(), []string{one, two}, nil)
	require.ErrorContains(t, err, "hold results of different inputs (10, and 9 of them)")
	_, err = runShard(t, two, Shard{2, 2}, nil, "a.tar")
	require.NoError(t, err)
	dir, whole := t.TempDir(), t.TempDir()
	_, err = Merge(t.Context(), dir, []string{one, two}, nil)
	require.NoError(t, err)
	_, err = Run(t.Context(), pretender{}, everything(whole, nil), looked(t, whole, "a.tar"))
	require.NoError(t, err)
	require.Equal(t, timeless(filesBelow(t, whole)), timeless(filesBelow(t, dir)))

	data, err := os.ReadFile("a.tar")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("a.tar", data[:3500], 0o600)) // after 3 members: the fault is the other shard's
	_, err = runShard(t, one, Shard{1, 2}, nil, "a.tar")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("a.tar", data, 0o600))
	sum, err := runShard(t, one, Shard{1, 2}, nil, "a.tar")
	require.NoError(t, err)
	require.Equal(t, 5, sum.Kept, "what a fault hid is not thrown away")
}

func TestMergeRefusesWhatDoesNotBelongTogether(t *testing.T) {
	t.Chdir(t.TempDir())
	pack(t, "a.tar", numbered(6)...)
	pack(t, "b.tar", numbered(5)...)
	one, two := sharded(t, 1, 2, "a.tar"), sharded(t, 2, 2, "a.tar")
	copied := t.TempDir()
	require.NoError(t, os.CopyFS(copied, os.DirFS(two)))
	whole := t.TempDir()
	_, err := Run(t.Context(), pretender{}, everything(whole, nil), looked(t, whole, "a.tar"))
	require.NoError(t, err)
	changed := func(name string, change func(dir string)) string {
		dir := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.CopyFS(dir, os.DirFS(two)))
		change(dir)
		return dir
	}
	replace := func(file, old, by string) func(string) {
		return func(dir string) {
			path := filepath.Join(dir, file)
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Contains(t, string(data), old)
			require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(data), old, by, 1)), 0o600))
		}
	}
	for _, c := range []struct {
		want    string
		folders []string
	}{
		{"missing: shard 2/2", []string{one}},
		{"missing: shard 1/2", []string{two}},
		{"shard 2/2 is given twice", []string{one, two, two}},
		{"shard 2/2 is given twice: ", []string{one, two, copied}},
		{"shard 1/3: they are of different runs", []string{two, sharded(t, 1, 3, "a.tar")}},
		{"hold results of different inputs (6, and 5 of them)", []string{one, sharded(t, 2, 2, "b.tar")}},
		{"holds the results of a run without --shard", []string{one, whole}},
		{"holds no results of score (there is no run.json)", []string{one, t.TempDir()}},
		{"hold results of different runs (model_sha256 is , and other)", []string{one, changed("m", replace(RunFile, `"model_sha256": ""`, `"model_sha256": "other"`))}},
		{"hold results of different runs (masks is true, and false)", []string{one, changed("o", replace(RunFile, `"masks": true`, `"masks": false`))}},
		{`unknown field "later"`, []string{one, changed("l", replace(RunFile, `{`, `{"later": 1,`))}},
		{"is not finished", []string{one, changed("u", func(dir string) {
			require.NoError(t, os.Rename(filepath.Join(dir, ResultsFile), filepath.Join(dir, PartFile)))
		})}},
		{"001.tiff: no such file or directory: run the command of shard 2/2 again", []string{one, changed("g", func(dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "maps", "001.tiff")))
		})}},
		{"line 3 of shard 2/2 is missing or broken", []string{one, changed("c", func(dir string) {
			path := filepath.Join(dir, ResultsFile)
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(path, info.Size()-3))
		})}},
		{"line 4 of shard 2/2 is one too many", []string{one, changed("t", func(dir string) {
			path := filepath.Join(dir, ResultsFile)
			data := content(t, dir, ResultsFile)
			require.NoError(t, os.WriteFile(path, []byte(data+data), 0o600))
		})}},
		{"hold results of other inputs than they say", []string{one, changed("x", replace(ResultsFile, "a.tar/001.png", "a.tar/701.png"))}},
		{"line 1 of shard 2/2 has other outputs than were asked for", []string{one, changed("n", replace(ResultsFile, `"map":"maps/001.tiff"`, `"map":null`))}},
		{"line 1 of shard 2/2 is missing or broken", []string{one, changed("e", replace(ResultsFile, `"map":"maps/`, `"map":"../maps/`))}},
	} {
		dir := filepath.Join(t.TempDir(), "merged")
		_, err := Merge(t.Context(), dir, c.folders, nil)
		require.ErrorContains(t, err, c.want)
		require.NoDirExists(t, dir, c.want)
	}
	_, err = Merge(t.Context(), one, []string{one, two}, nil)
	require.ErrorContains(t, err, "is where the merged results go")
	_, err = Merge(t.Context(), t.TempDir(), nil, nil)
	require.ErrorContains(t, err, "no shards")

	before := filesBelow(t, whole)
	_, err = Merge(t.Context(), whole, []string{sharded(t, 1, 1, "b.tar")}, nil)
	require.ErrorIs(t, err, ErrOther)
	require.ErrorContains(t, err, "holds results of other inputs")
	require.Equal(t, before, filesBelow(t, whole))
	_, err = Merge(t.Context(), changed("p", func(dir string) { require.NoError(t, os.WriteFile(filepath.Join(dir, PartFile), nil, 0o600)) }),
		[]string{one, two}, nil)
	require.ErrorContains(t, err, "holds a run that is not finished (results.jsonl.part)")
	busy, err := lock.Take(filepath.Join(one, LockFile))
	require.NoError(t, err)
	_, err = Merge(t.Context(), t.TempDir(), []string{one, two}, nil)
	require.ErrorContains(t, err, "in use by process")
	require.NoError(t, busy.Release())
}

// TestAMergeThatEndedIsRepeated: nothing of the shards is lost, and there are no results before all is there.
func TestAMergeThatEndedIsRepeated(t *testing.T) {
	t.Chdir(t.TempDir())
	pack(t, "a.tar", numbered(10)...)
	pack(t, "b.tar", numbered(10)...)
	folders := []string{sharded(t, 1, 2, "a.tar"), sharded(t, 2, 2, "a.tar")}
	shards := []map[string]string{filesBelow(t, folders[0]), filesBelow(t, folders[1])}
	whole := t.TempDir()
	_, err := Run(t.Context(), pretender{}, everything(whole, nil), looked(t, whole, "a.tar"))
	require.NoError(t, err)
	for end := 1; end <= 10; end += 3 {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Merge(ctx, dir, folders, func(n, _ int) {
			if n == end {
				cancel()
			}
		})
		if end < 10 {
			require.ErrorIs(t, err, context.Canceled)
			require.NoFileExists(t, filepath.Join(dir, ResultsFile))
			_, err = Merge(t.Context(), dir, []string{sharded(t, 1, 1, "b.tar")}, nil)
			require.ErrorContains(t, err, "holds a merge of other inputs that is not finished")
		}
		// What is there may be another file: it is replaced.
		name := filepath.Join(dir, "maps", "000.tiff")
		require.NoError(t, os.Remove(name))
		require.NoError(t, os.WriteFile(name, []byte("other"), 0o600))
		m, err := Merge(t.Context(), dir, folders, nil)
		require.NoError(t, err)
		require.Equal(t, 1, m.Copied)
		require.Equal(t, timeless(filesBelow(t, whole)), timeless(filesBelow(t, dir)))
		for i, f := range folders {
			require.Equal(t, shards[i], filesBelow(t, f))
		}
	}
}

func TestShards(t *testing.T) {
	for _, bad := range []string{"", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1/10001", "1/ 2"} {
		_, err := ParseShard(bad)
		require.Error(t, err, bad)
	}
	for n := 1; n < 6; n++ {
		for count := range 20 {
			all := 0
			for i := 1; i <= n; i++ {
				s, err := ParseShard(fmt.Sprintf("%d/%d", i, n))
				require.NoError(t, err)
				has := 0
				for k := range count {
					if s.has(k) {
						has++
					}
				}
				require.Equal(t, has, s.share(count))
				all += has
			}
			require.Equal(t, count, all)
		}
	}
}
