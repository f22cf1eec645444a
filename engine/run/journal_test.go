package run

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/internal/fnv"
	"f2pad.example/engine/run/lock"

	"github.com/stretchr/testify/require"
)

// wanted is a run that asks for masks.
var wanted = Info{Version: "v1", Model: "abc", Refine: "f2pad", Masks: true}

// folder is a test's run: its inputs below in, its results in out.
type folder struct {
	t       *testing.T
	in, out string
	broken  map[string]bool // inputs that cannot be scored
	warned  []string
}

// names are the inputs of most of the test's runs; b.png cannot be scored.
var names = []string{"a.png", "b.png", "c.png", "d.png"}

func newFolder(t *testing.T) *folder {
	dir := t.TempDir()
	f := &folder{t: t, in: filepath.Join(dir, "in"), out: filepath.Join(dir, "out"), broken: map[string]bool{"b.png": true}}
	require.NoError(t, os.Mkdir(f.in, 0o777))
	for _, name := range names {
		f.put(name, "content of "+name)
	}
	return f
}

// put writes an input; all have the same time.
func (f *folder) put(name, content string) {
	f.t.Helper()
	path := filepath.Join(f.in, name)
	require.NoError(f.t, os.WriteFile(path, []byte(content), 0o666))
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(f.t, os.Chtimes(path, at, at))
}

func (f *folder) path(name string) string { return filepath.Join(f.in, name) }

func (f *folder) open() (*journal, error) {
	f.warned = nil
	return openJournal(f.out, wanted, false, false, func(text string) { f.warned = append(f.warned, text) })
}

// work does what is left of a run of inputs, up to but not including input number end, and returns which it kept. The
// mask of an image holds the image's content.
func (f *folder) work(inputs []string, end int) (kept []string) {
	f.t.Helper()
	j, err := f.open()
	require.NoError(f.t, err)
	defer j.close()
	for _, name := range inputs[:end] {
		k, ok, err := j.keep(dataset.Item{Path: f.path(name), ID: name})
		require.NoError(f.t, err)
		if ok {
			kept = append(kept, name)
			require.NoError(f.t, j.copy(k))
			continue
		}
		if f.broken[name] {
			require.NoError(f.t, j.add(unscored{nameOf(f.path(name)), "broken"}))
			continue
		}
		f.score(j, name)
	}
	if end == len(inputs) {
		require.NoError(f.t, j.finish(nil))
	}
	return kept
}

// score does one image.
func (f *folder) score(j *journal, name string) {
	f.t.Helper()
	stem := dataset.OutputName(name, "")
	mask := "masks/" + stem + ".png"
	require.NoError(f.t, j.claim(f.path(name), stem, claim{Mask: &mask}))
	require.NoError(f.t, os.MkdirAll(filepath.Join(f.out, "masks"), 0o777))
	data, err := os.ReadFile(f.path(name))
	require.NoError(f.t, err)
	require.NoError(f.t, os.WriteFile(filepath.Join(f.out, mask), data, 0o666))
	p, err := engine.TakeFingerprint(f.path(name))
	require.NoError(f.t, err)
	require.NoError(f.t, j.add(Line{
		Name: nameOf(f.path(name)), Content: contentOf(p), Anomalous: name == "d.png", Mask: &mask,
	}))
}

func content(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(data)
}

// filesBelow reads all files below dir.
func filesBelow(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(rel)] = string(b)
		return err
	}))
	return all
}

// state is all files of the results.
func (f *folder) state() map[string]string { return filesBelow(f.t, f.out) }

// requireAsNew fails unless the results are those of a run of the inputs into an empty folder.
func (f *folder) requireAsNew(inputs []string, msg ...any) {
	f.t.Helper()
	fresh := *f
	fresh.out = f.t.TempDir()
	require.Empty(f.t, fresh.work(inputs, len(inputs)))
	require.Equal(f.t, fresh.state(), f.state(), msg...)
}

func TestRunEndedAnywhereGoesOnToTheSameResults(t *testing.T) {
	for end := range 4 {
		for _, cut := range []int{0, 1, 9} { // bytes that the dying process did not write any more
			f := newFolder(t)
			f.work(names, end)
			require.NoFileExists(t, filepath.Join(f.out, ResultsFile))
			whole := 0
			if end > 0 {
				part := content(t, f.out, PartFile)
				part = part[:len(part)-cut]
				require.NoError(t, os.WriteFile(filepath.Join(f.out, PartFile), []byte(part), 0o666))
				whole = strings.Count(part, "\n")
			}
			if whole >= 2 {
				whole-- // what failed is tried again
			}
			require.Len(t, f.work(names, 4), whole)
			require.Equal(t, cut > 0 && end > 0, len(f.warned) > 0)
			f.requireAsNew(names, "ended before %d, %d bytes short", end, cut)
		}
	}
}

func TestCompleteRunIsLeftAlone(t *testing.T) {
	f := newFolder(t)
	f.broken = nil
	f.work(names, 4)
	before, err := os.Stat(filepath.Join(f.out, ResultsFile))
	require.NoError(t, err)
	require.Equal(t, names, f.work(names, 4))
	after, err := os.Stat(filepath.Join(f.out, ResultsFile))
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	require.Equal(t, before.ModTime(), after.ModTime())
}

func TestWhatFailedIsTriedAgainInItsPlace(t *testing.T) {
	for _, ended := range []int{3, 4} {
		f := newFolder(t)
		f.work(names, ended)
		f.broken = nil
		require.Equal(t, append([]string{"a.png"}, names[2:ended]...), f.work(names, 4))
		f.requireAsNew(names)
	}
}

func TestNewInputsTakeTheirPlaceAnywhere(t *testing.T) {
	f := newFolder(t)
	f.broken = nil
	f.work([]string{"b.png", "d.png"}, 2)
	require.Equal(t, []string{"b.png", "d.png"}, f.work(names, 4))
	f.requireAsNew(names)
}

// Ended at every step of adding new inputs among old ones, and that again.
func TestRunWithNewInputsEndedAnywhere(t *testing.T) {
	for first := range 5 {
		for second := range 5 {
			f := newFolder(t)
			f.broken = nil
			f.work([]string{"b.png", "d.png"}, 2)
			f.work(names, first)
			if first == 4 {
				require.NoError(t, os.Remove(filepath.Join(f.out, "masks", "a.png")))
			}
			f.work(names, second)
			kept := f.work(names, 4)
			require.Contains(t, kept, "b.png")
			require.Contains(t, kept, "d.png")
			f.requireAsNew(names, "ended before %d, then %d", first, second)
		}
	}
}

func TestChangedImageIsScoredAgainAndATouchedOneIsNot(t *testing.T) {
	f := newFolder(t)
	f.work(names, 4)
	f.put("a.png", "CONTENT OF a.png") // same size, same time: nobody can see that
	require.Contains(t, f.work(names, 4), "a.png")
	now := time.Now()
	require.NoError(t, os.Chtimes(f.path("a.png"), now, now))
	require.Equal(t, []string{"c.png", "d.png"}, f.work(names, 4))
	f.requireAsNew(names)

	f.put("c.png", "longer than it was before")
	require.Equal(t, []string{"a.png", "d.png"}, f.work(names, 4))
	f.requireAsNew(names)

	later := now.Add(time.Hour)
	require.NoError(t, os.Chtimes(f.path("d.png"), later, later))
	require.Equal(t, []string{"a.png", "c.png", "d.png"}, f.work(names, 4))
	f.requireAsNew(names, "the line has the new time")
}

func TestRemovedImageIsToldAndDropped(t *testing.T) {
	for _, gone := range []string{"a.png", "c.png", "d.png"} {
		f := newFolder(t)
		f.broken = nil
		f.work(names, 4)
		require.NoError(t, os.Remove(f.path(gone)))
		var left []string
		for _, name := range names {
			if name != gone {
				left = append(left, name)
			}
		}
		require.Equal(t, left, f.work(left, 3))
		require.Len(t, f.warned, 1)
		require.Contains(t, f.warned[0], "1 image of an earlier run: gone, and dropped from the results ("+f.path(gone))
		f.requireAsNew(left)
		require.Equal(t, left, f.work(left, 3))
		require.Empty(t, f.warned)
	}
}

func TestLineWithoutItsOutputIsDoneAgainAlone(t *testing.T) {
	for _, ended := range []int{3, 4} {
		f := newFolder(t)
		f.broken = nil
		f.work(names, ended)
		require.NoError(t, os.Remove(filepath.Join(f.out, "masks/b.png")))
		require.Equal(t, append([]string{"a.png"}, names[2:ended]...), f.work(names, 4))
		f.requireAsNew(names)
	}
}

func TestOutputsOfAnotherImageAreNotTakenForAnImagesOwn(t *testing.T) {
	f := newFolder(t)
	f.put("a.bmp", "the other a")
	f.work([]string{"a.png"}, 1)
	// a.bmp comes first and takes the name; the program dies before its line is written.
	j, err := f.open()
	require.NoError(t, err)
	_, ok, err := j.keep(dataset.Item{Path: f.path("a.bmp"), ID: "a.bmp"})
	require.NoError(t, err)
	require.False(t, ok)
	mask := "masks/a.png"
	require.NoError(t, j.claim(f.path("a.bmp"), "a", claim{Mask: &mask}))
	require.NoError(t, os.WriteFile(filepath.Join(f.out, mask), []byte("the other a"), 0o666))
	require.NoError(t, j.close())
	require.NoError(t, os.Remove(f.path("a.bmp")))
	require.Empty(t, f.work([]string{"a.png"}, 1))
	f.requireAsNew([]string{"a.png"})
}

func TestGarbageIsCutOffAndToldOf(t *testing.T) {
	for _, garbage := range []string{"\x00\x00\x00\n", "{}\n", "{\"image\":\"c", "null\n{\"image\":\"d.png\"}\n", "\xff\xfe", `{"image":"d.png"}` + "\n"} {
		for _, ended := range []int{2, 4} { // interrupted, complete
			f := newFolder(t)
			f.broken = nil
			f.work(names, ended)
			file := PartFile
			if ended == 4 {
				file = ResultsFile
			}
			good := content(t, f.out, file)
			require.NoError(t, os.WriteFile(filepath.Join(f.out, file), []byte(good+garbage), 0o666))
			require.Equal(t, names[:ended], f.work(names, 4), garbage)
			require.Len(t, f.warned, 1)
			require.Contains(t, f.warned[0], file+": the last ")
			f.requireAsNew(names)
		}
	}
}

func TestResultsOfSomethingElseAreRefused(t *testing.T) {
	for _, end := range []int{3, 4} { // interrupted, complete
		f := newFolder(t)
		f.work(names, end)

		other := wanted
		other.Refine = "residual"
		_, err := openJournal(f.out, other, false, false, nil)
		require.ErrorIs(t, err, ErrOther)
		require.ErrorContains(t, err, "(refine was f2pad, is residual)")

		before := f.state()
		j, err := f.open()
		require.NoError(t, err)
		require.NoError(t, j.others(f.surveyed(false, f.path("a.png"), f.path("c.png"), f.path("d.png"))))
		require.ErrorContains(t, j.others(f.surveyed(false, f.path("a.png"))), "other inputs ("+f.path("c.png"))
		require.NoError(t, j.others(f.surveyed(true, f.path("a.png"))), "a folder could not be listed")
		require.ErrorContains(t, j.finish(nil), "more inputs ("+f.path("a.png"))
		require.NoError(t, j.close())
		require.Equal(t, before, f.state())

		require.NoError(t, os.RemoveAll(f.in))
		j, err = f.open()
		require.NoError(t, err)
		require.ErrorContains(t, j.others(f.surveyed(false, "x.png")), "which is no longer there")
		require.NoError(t, j.close())

		require.NoError(t, os.Remove(filepath.Join(f.out, RunFile)))
		_, err = f.open()
		require.ErrorContains(t, err, "unknown run")
	}
}

func TestWhatIsKnownOfUnlistedImagesStaysKnown(t *testing.T) {
	f := newFolder(t)
	f.broken = nil
	f.work(names, 4)
	j, err := f.open()
	require.NoError(t, err)
	// A folder cannot be listed for once: there is one input, and it fails.
	_, ok, err := j.keep(dataset.Item{Path: f.in})
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, j.add(unscored{nameOf(f.in), "permission denied"}))
	require.NoError(t, j.finish(nil))
	require.NoError(t, j.close())
	require.Equal(t, 1, strings.Count(content(t, f.out, ResultsFile), "\n"))

	require.Equal(t, names, f.work(names, 4))
	f.requireAsNew(names)
}

func TestWhatIsKnownDoesNotGrowWithEveryRun(t *testing.T) {
	f := newFolder(t)
	f.work(names, 4)
	f.put("c.png", "it cannot be read")
	f.broken["c.png"] = true
	f.work(names, 4)
	once := content(t, f.out, OldFile)
	require.Equal(t, 1, strings.Count(once, "\n"), "what c.png was like before")
	for range 3 {
		require.Equal(t, []string{"a.png", "d.png"}, f.work(names, 4))
	}
	require.Equal(t, once, content(t, f.out, OldFile))
	delete(f.broken, "c.png")
	require.Equal(t, []string{"a.png", "d.png"}, f.work(names, 4), "it has changed")
	f.requireAsNew(names[:4])
}

func TestResultsWithoutFingerprintsAreUnverified(t *testing.T) {
	f := newFolder(t)
	f.broken = nil
	f.work(names, 4)
	var old strings.Builder
	for line := range strings.Lines(content(t, f.out, ResultsFile)) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		for _, field := range []string{"bytes", "modified", "sha256"} {
			delete(m, field)
		}
		require.NoError(t, json.NewEncoder(&old).Encode(m))
	}
	require.NoError(t, os.WriteFile(filepath.Join(f.out, ResultsFile), []byte(old.String()), 0o666))
	require.Empty(t, f.work(names, 4))
	require.Len(t, f.warned, 1)
	require.Contains(t, f.warned[0], "4 results of a version that did not record which content was scored: unverified, and scored again")
	f.requireAsNew(names)
}

func TestPathsThatAreNotUTF8AreRecorded(t *testing.T) {
	f := newFolder(t)
	name := "c\xff.png"
	if err := os.WriteFile(f.path(name), []byte("x"), 0o666); err != nil {
		t.Skip("SKIPPED: this file system has no such names: ", err)
	}
	j, err := f.open()
	require.NoError(t, err)
	_, _, err = j.keep(dataset.Item{Path: f.path(name), ID: "c~FF.png"})
	require.NoError(t, err)
	p, err := engine.TakeFingerprint(f.path(name))
	require.NoError(t, err)
	mask := "masks/c~FF.png"
	require.NoError(t, os.MkdirAll(filepath.Join(f.out, "masks"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(f.out, mask), nil, 0o666))
	require.NoError(t, j.add(Line{Name: nameOf(f.path(name)), Content: contentOf(p), Mask: &mask}))
	require.NoError(t, j.finish(nil))
	require.NoError(t, j.close())
	var l struct {
		Image  string
		Base64 []byte `json:"image_base64"`
	}
	require.NoError(t, json.Unmarshal([]byte(content(t, f.out, ResultsFile)), &l))
	require.Equal(t, f.path("c\uFFFD.png"), l.Image)
	require.Equal(t, f.path(name), string(l.Base64))

	j, err = f.open()
	require.NoError(t, err)
	_, ok, err := j.keep(dataset.Item{Path: f.path(name), ID: "c~FF.png"})
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, j.close())
}

func TestLineThatLeadsOutOfTheFolderIsNone(t *testing.T) {
	for _, mask := range []string{"../x.png", "masks/../../x.png", "/x.png", "masks", "run.json", "other/x.png"} {
		_, ok := parseLine([]byte(`{"image":"a","image_score":1,"mask":"` + mask + "\"}\n"))
		require.False(t, ok, mask)
	}
	_, ok := parseLine([]byte(`{"image":"a","image_score":1,"mask":"masks/x.png"}` + "\n"))
	require.True(t, ok)
}

func TestForceThrowsOldResultsAway(t *testing.T) {
	for _, end := range []int{3, 4} {
		f := newFolder(t)
		f.work(names, end)
		other := wanted
		other.Refine = "residual"
		j, err := openJournal(f.out, other, true, false, nil)
		require.NoError(t, err)
		_, ok, err := j.keep(dataset.Item{Path: f.path("x.png"), ID: "x.png"})
		require.NoError(t, err)
		require.False(t, ok)
		require.NoError(t, j.add(Line{Name: nameOf(f.path("x.png"))}))
		require.NoError(t, j.finish(nil))
		require.NoError(t, j.close())
		require.Equal(t, 1, strings.Count(content(t, f.out, ResultsFile), "\n"))
		require.Contains(t, content(t, f.out, RunFile), `"refine": "residual"`)
	}
}

func TestRunsOfOneFolderExcludeEachOther(t *testing.T) {
	f := newFolder(t)
	j, err := f.open()
	require.NoError(t, err)
	_, err = f.open()
	require.ErrorIs(t, err, lock.ErrHeld)
	_, err = openJournal(f.out, wanted, true, false, nil)
	require.ErrorIs(t, err, lock.ErrHeld, "--force breaks no lock")
	require.NoError(t, j.close())
	require.NoDirExists(t, f.out, "it was made for nothing")
	f.work(names, 4)
	require.NoFileExists(t, filepath.Join(f.out, LockFile))
}

// What reads the inputs may still be at it when the run is ended.
func TestEndedRunIsNotTouched(t *testing.T) {
	f := newFolder(t)
	j, err := f.open()
	require.NoError(t, err)
	_, _, err = j.keep(dataset.Item{Path: f.path("a.png"), ID: "a.png"})
	require.NoError(t, err)
	f.score(j, "a.png")
	require.NoError(t, j.close())
	before := f.state()
	_, _, err = j.keep(dataset.Item{Path: f.path("b.png"), ID: "b.png"})
	require.ErrorIs(t, err, errClosed)
	require.Equal(t, before, f.state())
}

func TestNoInputsGiveEmptyResults(t *testing.T) {
	f := newFolder(t)
	f.work(nil, 0)
	require.Empty(t, content(t, f.out, ResultsFile))
}

// TestKilledWithSeveralImagesInHand: however the steps of several images mix, and wherever a run ends, no line is believed that
// is not true, though images come, go, fail, change and take each other's outputs between runs.
func TestKilledWithSeveralImagesInHand(t *testing.T) {
	trials := 100
	if testing.Short() {
		trials = 20
	}
	pool := []string{"a.bmp", "a.png", "a~2.png", "b.png", "c.bmp", "c.png", "c.tif"}
	for trial := range trials {
		r := rand.New(rand.NewPCG(uint64(trial), 14))
		f := newFolder(t)
		require.NoError(t, os.RemoveAll(f.in))
		require.NoError(t, os.Mkdir(f.in, 0o777))
		var items []dataset.Item
		for round := range 6 {
			for _, name := range pool {
				switch r.IntN(4) {
				case 0:
					require.NoError(t, os.RemoveAll(f.path(name)))
				case 1:
					f.put(name, fmt.Sprintf("%s, %d", name, r.IntN(3)))
					at := time.Date(2020, 1, 1, 0, round, 0, 0, time.UTC)
					require.NoError(t, os.Chtimes(f.path(name), at, at))
				}
			}
			f.put("z.png", "always there")
			var err error
			items, err = dataset.Folder(f.in, nil)
			require.NoError(t, err)
			for _, name := range pool { // what is not there may be an input all the same, one that has no name
				if _, err := os.Stat(f.path(name)); err != nil && round < 5 && r.IntN(2) == 0 {
					items = append(items, dataset.Item{Path: f.path(name)})
				}
			}
			slices.SortFunc(items, func(a, b dataset.Item) int { return strings.Compare(a.Path, b.Path) })
			steps := r.IntN(5 * len(items))
			if round == 5 {
				steps = math.MaxInt
			}
			f.mix(r, items, steps)
			f.requireTrue("trial %d, round %d", trial, round)
		}
		got := f.state()
		fresh := *f
		fresh.out = t.TempDir()
		fresh.mix(r, items, math.MaxInt)
		want := fresh.state()
		for name := range got { // a kill may leave the mask of an image that has no line and is gone since
			if _, ok := want[name]; !ok && strings.HasPrefix(name, "masks/") {
				delete(got, name)
			}
		}
		require.Equal(t, want, got, "trial %d", trial)
	}
}

// mix does so many steps of a run in which up to three images are in hand at once, in any order that keeps that of the lines, and
// ends it as a kill does. With steps left it is completed.
func (f *folder) mix(r *rand.Rand, items []dataset.Item, steps int) {
	f.t.Helper()
	j, err := f.open()
	require.NoError(f.t, err)
	defer j.close()
	type image struct {
		dataset.Item
		kept *kept
		step int // 1: in hand, 2: claimed, 3: its mask is written
	}
	var queue []*image // read, without a line
	mask := func(i *image) string { return "masks/" + dataset.OutputName(i.ID, ".png") }
	read := 0
	for ; steps > 0 && (read < len(items) || len(queue) > 0); steps-- {
		at, inHand, first := r.IntN(len(queue)+1), 0, -1 // the first that is not in hand
		for n, i := range queue {
			if i.step > 0 && i.ID != "" {
				inHand++
			} else if i.kept == nil && first < 0 {
				first = n
			}
		}
		if at == len(queue) {
			if read == len(items) {
				continue
			}
			k, ok, err := j.keep(items[read])
			require.NoError(f.t, err)
			i := &image{Item: items[read]}
			if ok {
				i.kept = &k
			}
			if i.ID == "" {
				i.step = 3 // it has failed
			}
			queue = append(queue, i)
			read++
			continue
		}
		switch i := queue[at]; {
		case i.kept != nil:
			if at == 0 {
				require.NoError(f.t, j.copy(*i.kept))
				queue = queue[1:]
			}
		case i.step == 0:
			if at == first && inHand < 3 {
				i.step++
			}
		case i.step == 1:
			name := mask(i)
			require.NoError(f.t, j.claim(i.Path, dataset.OutputName(i.ID, ""), claim{Mask: &name}))
			i.step++
		case i.step == 2:
			data, err := os.ReadFile(i.Path)
			require.NoError(f.t, err)
			require.NoError(f.t, os.MkdirAll(filepath.Join(f.out, "masks"), 0o777))
			require.NoError(f.t, os.WriteFile(filepath.Join(f.out, mask(i)), data, 0o666))
			i.step++
		case i.step == 3 && at == 0 && i.ID == "":
			require.NoError(f.t, j.add(unscored{nameOf(i.Path), "not there"}))
			queue = queue[1:]
		case i.step == 3 && at == 0:
			p, err := engine.TakeFingerprint(i.Path)
			require.NoError(f.t, err)
			name := mask(i)
			require.NoError(f.t, j.add(Line{Name: nameOf(i.Path), Content: contentOf(p), Mask: &name}))
			queue = queue[1:]
		}
	}
	if steps > 0 {
		require.NoError(f.t, j.finish(nil))
	}
}

// requireTrue fails if a line of the results so far names a mask that is not its image's.
func (f *folder) requireTrue(msg ...any) {
	f.t.Helper()
	for _, name := range []string{ResultsFile, PartFile} {
		data, err := os.ReadFile(filepath.Join(f.out, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		require.NoError(f.t, err)
		for text := range strings.Lines(string(data)) {
			l, ok := parseLine([]byte(text))
			require.True(f.t, ok, text)
			if l.Error != "" {
				continue
			}
			mask, err := os.ReadFile(filepath.Join(f.out, l.Mask))
			require.NoError(f.t, err, msg...)
			require.Equal(f.t, l.SHA256, fmt.Sprintf("%x", sha256.Sum256(mask)), msg...)
		}
	}
}

// surveyed is a survey that found these images, in another order than that of the lines.
func (f *folder) surveyed(unlisted bool, images ...string) Survey {
	s := Survey{are: newListed(), unlisted: unlisted, found: filesIn(f.out)}
	for _, path := range images {
		s.are.images.add(fnv.Of(path))
	}
	return s
}
