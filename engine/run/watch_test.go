package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/run/lock"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
)

// patience is how long a test waits for what should come soon, on a busy machine.
const patience = 8 * time.Minute

// watched is a Watch at work.
type watched struct {
	t      *testing.T
	in     string
	out    string
	stop   context.CancelFunc
	passes chan Summary
	ended  chan struct{}
	sum    Summary
	err    error

	mu   sync.Mutex
	said told
}

// old is a time at which files count as complete at once.
var old = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// put makes a file appear whole.
func (w *watched) put(name, content string) {
	w.t.Helper()
	path := filepath.Join(w.in, name)
	require.NoError(w.t, os.MkdirAll(filepath.Dir(path), 0o700))
	tmp := filepath.Join(filepath.Dir(path), ".tmp")
	require.NoError(w.t, os.WriteFile(tmp, []byte(content), 0o600))
	require.NoError(w.t, os.Chtimes(tmp, old, old))
	require.NoError(w.t, os.Rename(tmp, path))
}

// watching starts a Watch of a folder; change may change what it is asked for.
func watching(t *testing.T, in, out string, change func(o *Options, w *Watching)) *watched {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &watched{t: t, in: in, out: out, stop: stop, passes: make(chan Summary, 1000), ended: make(chan struct{})}
	o := everything(out, func(e Event) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.said.tell(e)
	})
	what := Watching{Args: []string{in}, Rescan: time.Hour, Settle: 100 * time.Millisecond, Passed: func(s Summary) error { w.passes <- s; return nil }}
	if change != nil {
		change(&o, &what)
	}
	go func() {
		defer close(w.ended)
		w.sum, w.err = Watch(ctx, pretender{}, o, what)
	}()
	t.Cleanup(func() { stop(); <-w.ended })
	return w
}

// until waits for a pass after which there are so many images.
func (w *watched) until(images int) Summary {
	w.t.Helper()
	return w.untilIt(func(s Summary) bool { return s.Images == images })
}

func (w *watched) untilIt(is func(Summary) bool) Summary {
	w.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case s := <-w.passes:
			if is(s) {
				return s
			}
		case <-w.ended:
			require.FailNow(w.t, "the watch ended", "%v", w.err)
		case <-deadline:
			require.FailNow(w.t, "nothing happened")
		}
	}
}

func (w *watched) end() (Summary, error) {
	w.stop()
	<-w.ended
	return w.sum, w.err
}

func (w *watched) told(kind string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said.of(kind)
}

// requireAsRun fails unless the results are those of a run of the inputs as they are.
func (w *watched) requireAsRun(args ...string) {
	w.t.Helper()
	fresh := w.t.TempDir()
	_, err := Run(w.t.Context(), pretender{}, everything(fresh, nil), looked(w.t, fresh, args...))
	require.NoError(w.t, err)
	have := filesBelow(w.t, w.out)
	delete(have, LockFile)
	require.Equal(w.t, filesBelow(w.t, fresh), have)
}

// TestAWatchIsAtEveryMomentARun of what there is: with what is new, replaced, gone and failed.
func TestAWatchIsAtEveryMomentARun(t *testing.T) {
	in, out := t.TempDir(), t.TempDir()
	w := watching(t, in, out, nil)
	w.put("b.png", "b")
	w.until(1)
	w.put("new/c.png", "c") // in a folder that there was not
	w.until(2)
	w.put("a.png", "a") // before the others
	w.until(3)
	w.requireAsRun(in)
	at := func(name string) string { return filepath.Join(in, name) }
	require.Equal(t, []string{at("b.png"), at("new/c.png"), at("a.png")}, w.told("scored"), "each once, as they come")

	w.put("b.png", "other b")
	w.untilIt(func(Summary) bool { return len(w.told("scored")) == 4 })
	w.requireAsRun(in)
	require.NoError(t, os.Remove(at("a.png")))
	w.until(2)
	w.requireAsRun(in)
	require.Contains(t, strings.Join(w.told("warning"), "\n"), "1 image of an earlier run: gone, and dropped from the results ("+at("a.png")+")")
	require.NoFileExists(t, filepath.Join(out, "maps", "a.tiff"))

	require.NoError(t, os.Symlink("nowhere", at("x.png"))) // which fails
	w.until(3)
	w.put("d.png", "d")
	s := w.until(4)
	require.Equal(t, 1, s.Failed)
	require.Equal(t, []string{at("x.png")}, w.told("failed"), "it is tried again, and told once")
	require.NoError(t, os.Remove(at("x.png")))
	w.put("x.png", "x")
	w.untilIt(func(s Summary) bool { return s.Failed == 0 })
	w.requireAsRun(in)

	sum, err := w.end()
	require.NoError(t, err)
	require.Equal(t, 4, sum.Images)
	require.Zero(t, sum.Kept, "none is of an earlier run")
	w = watching(t, in, out, nil)
	require.Equal(t, 4, w.until(4).Kept)
	w.put("e.png", "e")
	require.Equal(t, 4, w.until(5).Kept)
	sum, err = w.end()
	require.NoError(t, err)
	require.Equal(t, 4, sum.Kept)
}

// TestAFileIsTakenWhenItIsComplete: not while it is written to, and what is known of it stays known until it is.
func TestAFileIsTakenWhenItIsComplete(t *testing.T) {
	for settle := time.Second; !takenWhenComplete(t, settle); settle *= 2 {
		t.Logf("this machine is too busy to write to a file more than once in %v", settle)
	}
}

// takenWhenComplete has a file written to for longer than it has to stay as it is. It reports whether it was written to so often that it was
// not complete in between, or else nothing is known.
func takenWhenComplete(t *testing.T, settle time.Duration) bool {
	const tick = 20 * time.Millisecond // of files' times, at most
	in, out := t.TempDir(), t.TempDir()
	w := watching(t, in, out, func(_ *Options, w *Watching) { w.Settle = settle })
	w.put("a.png", "a")
	w.put("b.png", "b")
	w.until(2)
	before, busy := time.Now(), false // before the latest change
	f, err := os.OpenFile(filepath.Join(in, "b.png"), os.O_WRONLY|os.O_TRUNC, 0)
	require.NoError(t, err)
	defer f.Close()
	for i := range 8 {
		now := time.Now()
		_, err = fmt.Fprint(f, i)
		require.NoError(t, err)
		busy, before = busy || time.Since(before) > settle-tick, now
		w.put(fmt.Sprintf("c%d.png", i), "c")
		time.Sleep(settle / 4)
	}
	if busy {
		w.end()
		return false
	}
	w.until(10)
	require.Empty(t, w.told("failed"))
	var of []string
	for _, path := range w.told("scored") {
		if filepath.Base(path) == "b.png" {
			of = append(of, path)
		}
	}
	require.Len(t, of, 2, "once as it was, and once as it is")
	w.requireAsRun(in)
	return true
}

func TestSettledFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.png")
	require.NoError(t, os.WriteFile(path, []byte("a"), 0o600))
	now := time.Now()
	w := &watch{Watching: Watching{Args: []string{dir}, Settle: time.Second}}
	info := func(modified time.Time) fs.FileInfo {
		require.NoError(t, os.Chtimes(path, modified, modified))
		i, err := os.Stat(path)
		require.NoError(t, err)
		return i
	}
	require.True(t, w.settled(path, info(now.Add(-2*time.Second)), now))
	require.False(t, w.settled(path, info(now), now))
	ahead := info(now.Add(time.Hour)) // by another clock
	require.False(t, w.settled(path, ahead, now))
	w.unsettled = map[string]sighting{path: {1, ahead.ModTime(), now.Add(-time.Second)}}
	require.True(t, w.settled(path, ahead, now))
	w.unsettled = map[string]sighting{path: {2, ahead.ModTime(), now.Add(-time.Second)}}
	require.False(t, w.settled(path, ahead, now))
	require.True(t, w.settled("s3://bucket/a.png", ahead, now))

	w.unsettled = nil
	v, _ := w.look()
	require.True(t, v.waiting)
	since := w.unsettled[path].since
	w.look()
	require.Equal(t, since, w.unsettled[path].since)
	info(now.Add(2 * time.Hour))
	w.look()
	require.NotEqual(t, since, w.unsettled[path].since)
}

// TestAWatchWithoutWordOfChangesLooks, as it does at stores, and tries again what failed.
func TestAWatchWithoutWordOfChangesLooks(t *testing.T) {
	b := memblob.OpenBucket(nil)
	buckets := &dataset.Buckets{Open: func(context.Context, string) (*blob.Bucket, error) { return b, nil }}
	defer buckets.Close()
	store := func(key, content string) { require.NoError(t, b.WriteAll(t.Context(), key, []byte(content), nil)) }
	out := t.TempDir()
	w := watching(t, "mem://photos/in", out, func(_ *Options, w *Watching) {
		w.Search.Buckets, w.Rescan = buckets, 50*time.Millisecond
	})
	store("in/a.png", "a")
	w.until(1)
	store("in/b.png", "b")
	w.until(2)
	store("in/a.png", "another a")
	w.untilIt(func(Summary) bool { return len(w.told("scored")) == 3 })
	require.NoError(t, b.Delete(t.Context(), "in/a.png"))
	w.until(1)
	_, err := w.end()
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(out, "maps", "b.tiff"))
	require.NoFileExists(t, filepath.Join(out, "maps", "a.tiff"))
}

func TestAWatchOfWhatIsGoneWaits(t *testing.T) {
	top := t.TempDir()
	in, out := filepath.Join(top, "in"), t.TempDir()
	_, err := Watch(t.Context(), pretender{}, everything(out, nil), Watching{Args: []string{in}})
	require.ErrorIs(t, err, dataset.ErrNamed, "more likely mistyped than meant")
	require.NoError(t, os.Mkdir(in, 0o700))
	w := watching(t, in, out, func(_ *Options, w *Watching) { w.Rescan = 50 * time.Millisecond })
	w.put("a.png", "a")
	w.until(1)
	require.NoError(t, os.Rename(in, in+" elsewhere"))
	require.Eventually(t, func() bool { return len(w.told("warning")) > 0 }, patience, 10*time.Millisecond)
	require.Contains(t, w.told("warning")[0], in+": no such file or directory: nothing is scored until it is back")
	time.Sleep(200 * time.Millisecond)
	require.Len(t, w.told("warning"), 1)
	require.FileExists(t, filepath.Join(out, "maps", "a.tiff"), "what is known stays")
	require.NoError(t, os.Rename(in+" elsewhere", in))
	w.put("b.png", "b")
	w.until(2)
	require.NoError(t, os.Remove(filepath.Join(in, "a.png")))
	require.NoError(t, os.Remove(filepath.Join(in, "b.png"))) // all that there was
	w.put("c.png", "c")
	w.until(1)
	_, err = w.end()
	require.NoError(t, err)
	w.put("d.png", "d")
	require.NoError(t, os.Remove(filepath.Join(in, "c.png")))
	w = watching(t, in, out, nil)
	w.until(1)
	require.Equal(t, []string{filepath.Join(in, "d.png")}, w.told("scored"))
}

// TestAWatchGoesOnWithoutWhatIsNoInput: what a run would have refused fails by itself.
func TestAWatchGoesOnWithoutWhatIsNoInput(t *testing.T) {
	in := t.TempDir()
	w := watching(t, in, t.TempDir(), func(_ *Options, w *Watching) {
		w.Args = []string{filepath.Join(in, "*.tar"), filepath.Join(in, "*.png")}
	})
	w.put("a.png", "a")
	w.until(1)
	pack(t, filepath.Join(in, "none.tar"), "notes.txt")
	s := w.until(2)
	require.Equal(t, 1, s.Failed)
	pack(t, filepath.Join(in, "some.tar"), "x.png", "y.png")
	w.until(4)
	require.Equal(t, []string{filepath.Join(in, "none.tar")}, w.told("failed"))
}

func TestAWatchHasTheFolderForItself(t *testing.T) {
	in, out := t.TempDir(), t.TempDir()
	w := watching(t, in, out, nil)
	w.put("a.png", "a")
	w.until(1)
	_, err := Run(t.Context(), pretender{}, everything(out, nil), looked(t, out, in))
	require.ErrorIs(t, err, lock.ErrHeld)
	_, err = w.end()
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(out, LockFile))

	other := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(other, "z.png"), []byte("z"), 0o600))
	_, err = Watch(t.Context(), pretender{}, everything(out, nil), Watching{Args: []string{other}, Settle: time.Nanosecond})
	require.ErrorIs(t, err, ErrOther, "a.png is still there")
	_, err = Watch(t.Context(), pretender{}, everything(out, nil), Watching{Args: []string{"-"}})
	require.ErrorContains(t, err, "a list is not watched")
	none := filepath.Join(t.TempDir(), "none")
	w = watching(t, t.TempDir(), none, nil)
	_, err = w.end()
	require.NoError(t, err)
	require.NoDirExists(t, none, "nothing was written")
}

// TestAWatchThatEndsInAPassIsGoneOnWith: by another watch or a run, to the same bytes.
func TestAWatchThatEndsInAPassIsGoneOnWith(t *testing.T) {
	in, fresh := t.TempDir(), t.TempDir()
	for _, name := range numbered(12) {
		require.NoError(t, os.WriteFile(filepath.Join(in, name), []byte("content of "+name), 0o600))
	}
	_, err := Run(t.Context(), pretender{}, everything(fresh, nil), looked(t, fresh, in))
	require.NoError(t, err)
	boom := errors.New("boom")
	for _, end := range []int{1, 6, 12} {
		dir, lines := t.TempDir(), 0
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Watch(ctx, pretender{}, everything(dir, func(e Event) error {
			if _, ok := e.(Scored); ok {
				if lines++; lines == end {
					return boom
				}
			}
			return nil
		}), Watching{Args: []string{in}, Settle: time.Nanosecond})
		cancel()
		require.ErrorIs(t, err, boom)
		w := watching(t, in, dir, nil)
		require.Equal(t, end, w.until(12).Kept)
		_, err = w.end()
		require.NoError(t, err)
		require.Equal(t, filesBelow(t, fresh), filesBelow(t, dir))
	}
}

func TestFoldersThatAreListenedTo(t *testing.T) {
	top := t.TempDir()
	a, b := filepath.Join(top, "a"), filepath.Join(top, "b")
	require.NoError(t, os.Mkdir(a, 0o700))
	n, err := listen()
	require.NoError(t, err)
	defer n.close()
	set := func(want bool, folders ...string) {
		t.Helper()
		news, err := n.set(folders)
		require.NoError(t, err)
		require.Equal(t, want, news)
	}
	set(true, a, a, b)
	set(false, a, b)
	require.NoError(t, os.Mkdir(b, 0o700))
	set(true, a, b)
	require.ElementsMatch(t, []string{a, b}, n.watcher.WatchList())
	set(false, b)
	require.Equal(t, []string{b}, n.watcher.WatchList())
	require.NoError(t, os.WriteFile(filepath.Join(b, "x"), nil, 0o600))
	select {
	case <-n.changes():
	case <-time.After(patience):
		t.Fatal("nothing was heard")
	}
	require.NoError(t, os.Remove(filepath.Join(b, "x")))
	require.NoError(t, os.Remove(b))
	require.Eventually(t, func() bool { return len(n.watcher.WatchList()) == 0 }, patience, time.Millisecond)
	require.NoError(t, os.Mkdir(b, 0o700))
	set(true, b)

	require.Equal(t, a, above(a))
	require.Equal(t, top, above(filepath.Join(top, "x.png")))
	require.Equal(t, a, above(filepath.Join(a, "*.png")))
	require.Equal(t, top, above(filepath.Join(top, "*", "x*.png")))
}

// TestInputsThatAreNotReadyHaveNoLine, and what is known of them stays known.
func TestInputsThatAreNotReadyHaveNoLine(t *testing.T) {
	items, dir := inMemory(3), t.TempDir()
	_, err := Run(t.Context(), pretender{}, everything(dir, nil), feedOf(items))
	require.NoError(t, err)
	var said told
	sum, err := Run(t.Context(), pretender{}, everything(dir, said.tell), Inputs{Items: func(yield func(dataset.Item, error) bool) {
		_ = yield(items[0], nil) && yield(items[1], fmt.Errorf("%s: %w", items[1].Path, dataset.ErrNotReady)) && yield(items[2], nil)
	}})
	require.NoError(t, err)
	require.Equal(t, 2, sum.Images)
	require.Zero(t, sum.Failed)
	require.Empty(t, said.of("failed"))
	require.NotContains(t, content(t, dir, ResultsFile), items[1].Path)
	again, err := Run(t.Context(), pretender{}, everything(dir, nil), feedOf(items))
	require.NoError(t, err)
	require.Equal(t, 3, again.Kept)
}
