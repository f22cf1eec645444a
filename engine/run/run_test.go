package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// pretender is an engine that scores whatever there is: a map of 12 x 10 pixels made of the content.
type pretender struct {
	before func(n int, it dataset.Item) // called before a result is given, if not nil
	side   int                          // of another image size
	on     device.Info                  // default: the CPU
}

func (p pretender) Executor() exec.Info {
	return exec.Info{Executor: "pretender", Device: p.on.Device}
}

func (p pretender) Device() device.Info { return cmp.Or(p.on, device.CPU) }

func (p pretender) Score(ctx context.Context, items iter.Seq[dataset.Item], emit func(*engine.Result) error) error {
	n := 0
	for it := range items {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.before != nil {
			p.before(n, it)
		}
		n++
		if err := emit(p.result(it)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (p pretender) result(it dataset.Item) *engine.Result {
	r := &engine.Result{Item: it}
	if r.File, r.Err = engine.FingerprintOf(it); r.Err != nil {
		return r
	}
	h, w := 10, 12
	if p.side > 0 {
		h, w = p.side, p.side
	}
	sum := fnv.New32()
	sum.Write([]byte(r.File.SHA256))
	r.Score = float64(sum.Sum32() % 1000)
	r.Threshold, r.Anomalous, r.Device = 500, r.Score > 500, p.Device().Device
	m := nd.New(h, w)
	for i := range nd.Data(m) {
		nd.Data(m)[i] = float32((int(r.Score) + 7*i) % 11)
	}
	r.Image = &imageio.Image{Pix: nd.New(1, h, w), Depth: 8}
	r.Maps = map[refine.Kind]*tensor.Dense{refine.F2PAD: m}
	r.PixelThreshold = map[refine.Kind]float64{refine.F2PAD: 8}
	return r
}

// everything asks for all outputs.
func everything(dir string, tell func(Event) error) Options {
	return Options{Dir: dir, Kind: refine.F2PAD, Info: Info{Version: "v1", Maps: true, Masks: true, Overlays: true}, Tell: tell}
}

func feedOf(items []dataset.Item) Inputs {
	return Inputs{Items: func(yield func(dataset.Item, error) bool) {
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}}
}

// inMemory are so many inputs that are no files.
func inMemory(n int) (items []dataset.Item) {
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		name := fmt.Sprintf("%03d.png", i)
		items = append(items, dataset.Item{Path: "shard.tar/" + name, ID: name, Source: dataset.Bytes([]byte("content of "+name), at)})
	}
	return items
}

// told is what a run told, in words.
type told []string

func (l *told) tell(e Event) error {
	switch e := e.(type) {
	case Scored:
		*l = append(*l, "scored "+e.Path())
	case Failed:
		*l = append(*l, "failed "+e.Path)
	case Kept:
		*l = append(*l, "kept "+e.Path)
	case Progress:
		*l = append(*l, fmt.Sprintf("%d of %d", e.Done, e.Total))
	case Warning:
		*l = append(*l, "warning "+e.Text)
	}
	return nil
}

// of are the events of one kind.
func (l told) of(kind string) (all []string) {
	for _, text := range l {
		if name, ok := strings.CutPrefix(text, kind+" "); ok {
			all = append(all, name)
		}
	}
	return all
}

func paths(items []dataset.Item) (all []string) {
	for _, it := range items {
		all = append(all, it.Path)
	}
	return all
}

func TestRunTellsInTheInputsOrder(t *testing.T) {
	items := inMemory(20)
	items[3] = dataset.Item{Path: "gone.png", ID: "gone.png"}
	dir := filepath.Join(t.TempDir(), "out")
	var said told
	in := feedOf(items)
	in.Survey.Total = 20
	sum, err := Run(t.Context(), pretender{}, everything(dir, said.tell), in)
	require.NoError(t, err)
	require.Equal(t, 20, sum.Images)
	require.Equal(t, 1, sum.Failed)
	require.Zero(t, sum.Kept)
	require.Positive(t, sum.Anomalous)
	require.Less(t, sum.Anomalous, 19)
	require.Equal(t, filepath.Join(dir, ResultsFile), sum.Results)
	require.Equal(t, "f2pad", sum.Refine)
	require.Equal(t, "pretender", sum.Executor.Executor)
	var want told
	for i, it := range items {
		what := "scored "
		if i == 3 {
			what = "failed "
		}
		want = append(want, fmt.Sprintf("%d of 20", i), what+it.Path)
	}
	require.Equal(t, append(want, "20 of 20"), said)
	for _, name := range []string{"maps/007.tiff", "masks/007.png", "overlays/007.png", RunFile} {
		require.FileExists(t, filepath.Join(dir, name))
	}
	require.Len(t, filesBelow(t, dir), 3*19+2)

	said = nil
	again, err := Run(t.Context(), pretender{}, everything(dir, said.tell), feedOf(items))
	require.NoError(t, err)
	require.Equal(t, 19, again.Kept)
	require.Equal(t, sum.Anomalous, again.Anomalous)
	require.Equal(t, paths(slices.Delete(slices.Clone(items), 3, 4)), said.of("kept"))
	require.Equal(t, []string{"gone.png"}, said.of("failed"))
	require.Empty(t, said.of("scored"))
}

// TestRunOfMembersGoesOnAsOneOfFiles: changed ones are scored again, and others are kept.
func TestRunOfMembersGoesOnAsOneOfFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	items, dir := inMemory(5), t.TempDir()
	_, err := Run(t.Context(), pretender{}, everything(dir, nil), feedOf(items))
	require.NoError(t, err)
	now := time.Now()
	items[1].Source = dataset.Bytes([]byte("content of 001.png"), now) // touched
	items[2].Source = dataset.Bytes([]byte("something else"), now)
	var said told
	_, err = Run(t.Context(), pretender{}, everything(dir, said.tell), feedOf(items))
	require.NoError(t, err)
	require.Equal(t, []string{items[2].Path}, said.of("scored"))
	require.Len(t, said.of("kept"), 4)

	said = nil
	_, err = Run(t.Context(), pretender{}, everything(dir, said.tell), feedOf(items[:4]))
	require.NoError(t, err)
	require.Len(t, said.of("warning"), 1)
	require.Contains(t, said.of("warning")[0], "gone, and dropped from the results (shard.tar/004.png)")

	require.NoError(t, os.Mkdir("shard.tar", 0o700)) // as if the archive were there
	require.NoError(t, os.WriteFile("shard.tar/003.png", nil, 0o600))
	_, err = Run(t.Context(), pretender{}, everything(dir, said.tell), feedOf(items[:3]))
	require.ErrorIs(t, err, ErrOther)
}

// TestInputsWithErrorsHaveFailed, whatever else is said of them, and whatever an earlier run found.
func TestInputsWithErrorsHaveFailed(t *testing.T) {
	items, dir := inMemory(3), t.TempDir()
	_, err := Run(t.Context(), pretender{}, everything(dir, nil), feedOf(items))
	require.NoError(t, err)
	var said told
	sum, err := Run(t.Context(), pretender{}, everything(dir, said.tell), Inputs{Items: func(yield func(dataset.Item, error) bool) {
		_ = yield(items[0], nil) && yield(items[1], errors.New("boom")) && yield(items[2], nil)
	}})
	require.NoError(t, err)
	require.Equal(t, 2, sum.Kept)
	require.Equal(t, []string{items[1].Path}, said.of("failed"))
	require.Contains(t, content(t, dir, ResultsFile), `"error":"boom"`)
	again, err := Run(t.Context(), pretender{}, everything(dir, nil), feedOf(items))
	require.NoError(t, err)
	require.Equal(t, 3, again.Kept, "what was known stays known")
}

func TestRunWithoutInputsAndWithoutFingerprints(t *testing.T) {
	_, err := Run(t.Context(), pretender{}, everything(t.TempDir(), nil), feedOf(nil))
	require.ErrorIs(t, err, ErrNoInputs)
	_, err = Run(t.Context(), forgetful{}, everything(t.TempDir(), nil), feedOf(inMemory(1)))
	require.ErrorContains(t, err, "the engine takes no fingerprints")
	_, err = Run(t.Context(), confused{}, everything(t.TempDir(), nil), feedOf(inMemory(2)))
	require.ErrorContains(t, err, "out of turn")
}

type forgetful struct{ pretender }

func (forgetful) Score(_ context.Context, items iter.Seq[dataset.Item], emit func(*engine.Result) error) error {
	for it := range items {
		return emit(&engine.Result{Item: it})
	}
	return nil
}

type confused struct{ pretender }

func (confused) Score(_ context.Context, items iter.Seq[dataset.Item], emit func(*engine.Result) error) error {
	all := slices.Collect(items)
	return emit(pretender{}.result(all[1]))
}

// at is a run whose writing of each image can be interfered with: begin is told before an image's files are written.
func at(t *testing.T, dir string, said *told, begin func(image string) error) *scoring {
	t.Helper()
	var tell func(Event) error
	if said != nil {
		tell = said.tell
	}
	o := everything(dir, nil)
	j, err := openJournal(dir, o.info(pretender{}), false, false, func(string) {})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, j.close()) })
	return &scoring{tell: teller(tell), journal: j, out: outputs{
		dir: dir, kind: o.Kind, maps: true, masks: true, overlays: true, claim: func(image, stem string, c claim) error {
			if err := begin(image); err != nil {
				return err
			}
			return j.claim(image, stem, c)
		},
	}}
}

// TestWritingOverlapsAndLinesStayInOrder: the first image is the last one written, and no more are in work than may be.
func TestWritingOverlapsAndLinesStayInOrder(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	most := writersPerCore * 2
	items, dir := inMemory(3*most), t.TempDir()
	others := make(chan struct{}, len(items))
	var now, peak, given atomic.Int64
	var said told
	s := at(t, dir, &said, func(image string) error {
		peak.Store(max(peak.Load(), now.Add(1)))
		defer now.Add(-1)
		if image == items[0].Path {
			for range most - 1 {
				<-others
			}
			require.EqualValues(t, most, given.Load(), "the engine waits until a line is written")
			require.Empty(t, said.of("scored"))
			return nil
		}
		others <- struct{}{}
		return nil
	})
	e := pretender{before: func(n int, _ dataset.Item) {
		if n < most {
			given.Add(1)
		}
	}}
	require.NoError(t, s.score(t.Context(), e, feedOf(items).Items))
	require.NoError(t, s.journal.finish(nil))
	require.Equal(t, paths(items), said.of("scored"))
	require.LessOrEqual(t, peak.Load(), int64(most))
	require.Zero(t, s.inWork)
}

func TestLargeResultsAreWrittenBeforeTheEngineGoesOn(t *testing.T) {
	s := &scoring{out: outputs{kind: refine.F2PAD, maps: true, overlays: true}}
	r := pretender{side: 100}.result(inMemory(1)[0])
	require.EqualValues(t, 100*100*14, s.out.size(r))
	s.out.overlays = false
	require.EqualValues(t, 100*100*6, s.out.size(r))

	items, dir := inMemory(5), t.TempDir()
	s = at(t, dir, nil, func(string) error { time.Sleep(time.Millisecond); return nil })
	s.most = budget{4, 100*100*14 - 1}
	e := pretender{side: 100, before: func(n int, _ dataset.Item) {
		for _, it := range items[:n] {
			require.FileExists(t, filepath.Join(dir, "overlays", it.ID))
		}
	}}
	require.NoError(t, s.score(t.Context(), e, feedOf(items).Items))
}

// TestErrorOfWritingEndsTheRunWhereItIs: the lines before it stand, and the run goes on from there.
func TestErrorOfWritingEndsTheRunWhereItIs(t *testing.T) {
	items := inMemory(12)
	boom := errors.New("boom")
	fresh := t.TempDir()
	_, err := Run(t.Context(), pretender{}, everything(fresh, nil), feedOf(items))
	require.NoError(t, err)
	want := filesBelow(t, fresh)
	for _, bad := range []int{0, 1, 5, 11} {
		dir := t.TempDir()
		var said told
		s := at(t, dir, &said, func(image string) error {
			if image == items[bad].Path {
				return boom
			}
			return nil
		})
		require.ErrorIs(t, s.score(t.Context(), pretender{}, feedOf(items).Items), boom)
		require.NoError(t, s.journal.close())
		require.Equal(t, paths(items[:bad]), said.of("scored"))
		require.Equal(t, bad, strings.Count(content(t, dir, PartFile), "\n"))
		_, err := Run(t.Context(), pretender{}, everything(dir, nil), feedOf(items))
		require.NoError(t, err)
		require.Equal(t, want, filesBelow(t, dir))
	}
}

func TestErrorOfTheListenerEndsTheRun(t *testing.T) {
	boom := errors.New("boom")
	for _, kind := range []Event{Scored{}, Progress{}, Failed{}, Kept{}} {
		items, dir := inMemory(9), t.TempDir()
		_, err := Run(t.Context(), pretender{}, everything(dir, nil), feedOf(items[:2]))
		require.NoError(t, err)
		items[5] = dataset.Item{Path: "gone.png", ID: "gone.png"}
		told := 0
		_, err = Run(t.Context(), pretender{}, everything(dir, func(e Event) error {
			if fmt.Sprintf("%T", e) == fmt.Sprintf("%T", kind) {
				told++
				return boom
			}
			return nil
		}), feedOf(items))
		require.ErrorIs(t, err, boom, "%T", kind)
		require.Equal(t, 1, told, "%T", kind)
	}
}

// TestPanicsReachTheCaller: those of the writing, of the listener and of the engine, when nothing is at work any more.
func TestPanicsReachTheCaller(t *testing.T) {
	items := inMemory(9)
	var p *par.Panic
	caught := func(do func()) (value any) {
		defer func() { value = recover() }()
		do()
		return nil
	}
	s := at(t, t.TempDir(), nil, func(image string) error {
		if image == items[4].Path {
			panic("writing")
		}
		return nil
	})
	value := caught(func() { _ = s.score(t.Context(), pretender{}, feedOf(items).Items) })
	require.ErrorAs(t, value.(error), &p)
	require.Equal(t, "writing", p.Value)

	dir := t.TempDir()
	value = caught(func() {
		_, _ = Run(t.Context(), pretender{}, everything(dir, func(e Event) error {
			if _, ok := e.(Scored); ok {
				panic("listener")
			}
			return nil
		}), feedOf(items))
	})
	require.ErrorAs(t, value.(error), &p)
	require.Equal(t, "listener", p.Value)
	require.NoFileExists(t, filepath.Join(dir, LockFile))

	dir = t.TempDir()
	e := pretender{before: func(n int, _ dataset.Item) {
		if n == 3 {
			panic("engine")
		}
	}}
	require.Equal(t, "engine", caught(func() { _, _ = Run(t.Context(), e, everything(dir, nil), feedOf(items)) }))
	require.NoFileExists(t, filepath.Join(dir, LockFile))
	require.Equal(t, 3, strings.Count(content(t, dir, PartFile), "\n"), "what was given is written")
	_, err := Run(t.Context(), pretender{}, everything(dir, nil), feedOf(items))
	require.NoError(t, err)
}

func TestInterruptedRunFinishesWhatIsInHand(t *testing.T) {
	items, dir := inMemory(30), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	e := pretender{before: func(n int, _ dataset.Item) {
		if n == 11 {
			cancel() // the twelfth is in hand
		}
	}}
	sum, err := Run(ctx, e, everything(dir, nil), feedOf(items))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 12, sum.Images)
	require.Equal(t, 12, strings.Count(content(t, dir, PartFile), "\n"))
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NotContains(t, d.Name(), ".tmp")
		return err
	}))
	again, err := Run(t.Context(), pretender{}, everything(dir, nil), feedOf(items))
	require.NoError(t, err)
	require.Equal(t, 12, again.Kept)
}

// TestFirstOfTwoThatCollideWins: whichever that is, and however fast the other one would be.
func TestFirstOfTwoThatCollideWins(t *testing.T) {
	source := dataset.Bytes([]byte("x"), time.Time{})
	file, below := dataset.Item{Path: "m.png", ID: "m.png", Source: source}, dataset.Item{Path: "m.tiff/n.png", ID: "m.tiff/n.png", Source: source}
	for _, items := range [][]dataset.Item{{file, below}, {below, file}} {
		var said told
		s := at(t, t.TempDir(), &said, func(image string) error {
			if image == items[0].Path {
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		})
		require.NoError(t, s.score(t.Context(), pretender{}, feedOf(items).Items))
		require.Equal(t, []string{items[0].Path}, said.of("scored"))
		require.Equal(t, []string{items[1].Path}, said.of("failed"))
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"m", "m.tiff/n", true}, {"M", "m.TIFF/n", true}, {"m", "m.png/a/b", true}, {"d/m", "d/m.png/n", true},
		{"m", "m", false}, {"m", "n", false}, {"m", "m/n", false}, {"m", "m.tif/n", false}, {"", "x", false}, {"m", "m.tiff", false},
	} {
		require.Equal(t, c.want, collide(c.a, c.b), c)
		require.Equal(t, c.want, collide(c.b, c.a), c)
	}
}

// TestKeptLinesDoNotGather: their turn comes while the inputs behind them are still looked at.
func TestKeptLinesDoNotGather(t *testing.T) {
	items, dir := inMemory(8), t.TempDir()
	_, err := Run(t.Context(), pretender{}, everything(dir, nil), feedOf(items))
	require.NoError(t, err)
	var mu sync.Mutex
	kept := 0
	enough := make(chan struct{})
	in := Inputs{Items: func(yield func(dataset.Item, error) bool) {
		for i, it := range items {
			if i == 6 {
				select {
				case <-enough:
				case <-time.After(time.Minute):
					t.Error("the first have to wait for the last")
				}
			}
			if !yield(it, nil) {
				return
			}
		}
	}}
	_, err = Run(t.Context(), pretender{}, everything(dir, func(e Event) error {
		mu.Lock()
		defer mu.Unlock()
		if _, ok := e.(Kept); ok {
			if kept++; kept == 5 {
				close(enough)
			}
		}
		return nil
	}), in)
	require.NoError(t, err)
	require.Equal(t, 8, kept)
}

func TestLookKnowsInputsBeforehand(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	require.NoError(t, os.Mkdir(in, 0o700))
	for _, name := range []string{"a.png", "b.png", "c.txt"} {
		require.NoError(t, os.WriteFile(filepath.Join(in, name), nil, 0o600))
	}
	s, err := Look(dataset.Search{Out: out}, []string{in}, nil)
	require.NoError(t, err)
	require.Equal(t, Survey{Total: 2, known: true, are: newListed()}, s)
	require.NoError(t, os.Mkdir(out, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(out, PartFile), []byte(`{"image":"other.png","error":"broken"}`+"\n"), 0o600))
	s, err = Look(dataset.Search{Out: out}, []string{in}, nil)
	require.NoError(t, err)
	require.Len(t, s.are.images.all, 2)
	s, err = Look(dataset.Search{Out: out}, []string{in, "-"}, nil)
	require.NoError(t, err)
	require.Zero(t, s.Total)
	require.False(t, s.known)
	_, err = Look(dataset.Search{Out: out}, []string{filepath.Join(dir, "absent")}, nil)
	require.ErrorIs(t, err, dataset.ErrNamed)
}

// TestRunOfAnEngine scores files and the same content in memory with a model.
func TestRunOfAnEngine(t *testing.T) {
	m, err := engine.Load(filepath.Join("..", "testdata", "r4", "padim.f2pad"))
	require.NoError(t, err)
	kind := m.Kinds()[len(m.Kinds())-1]
	e, err := engine.New(m, engine.Options{Maps: []refine.Kind{kind}, Fingerprints: true})
	require.NoError(t, err)
	defer e.Close()
	var files, memory []dataset.Item
	for _, name := range []string{"good.png", "hole.png"} {
		path := filepath.Join("..", "testdata", name)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		files = append(files, dataset.Item{Path: path, ID: name})
		memory = append(memory, dataset.Item{Path: path, ID: name, Source: dataset.Bytes(data, time.Time{})})
	}
	var want map[string]string
	var lines []Line
	for _, items := range [][]dataset.Item{files, memory} {
		dir := t.TempDir()
		o := everything(dir, func(e Event) error {
			if s, ok := e.(Scored); ok {
				s.Seconds, s.Modified = 0, ""
				lines = append(lines, s.Line)
			}
			return nil
		})
		o.Kind, o.Info.Regions = kind, region.Options{Fill: true}
		_, err := Run(t.Context(), e, o, feedOf(items))
		require.NoError(t, err)
		got := filesBelow(t, dir)
		delete(got, ResultsFile)
		require.Len(t, got, 7)
		if want == nil {
			want = got
		}
		require.Equal(t, want, got)
	}
	require.Len(t, lines, 4)
	require.Equal(t, lines[:2], lines[2:])
}

// TestFormatLineIsWhatARunWrites where it writes no outputs.
func TestFormatLineIsWhatARunWrites(t *testing.T) {
	items := append(inMemory(5), dataset.Item{Path: filepath.Join(t.TempDir(), "absent-\xff.png")})
	for _, kind := range []refine.Kind{refine.F2PAD, ""} {
		dir := t.TempDir()
		_, err := Run(t.Context(), pretender{}, Options{Dir: dir, Kind: kind, Info: Info{Version: "v1"}}, feedOf(items))
		require.NoError(t, err)
		var want strings.Builder
		for _, it := range items {
			line, err := FormatLine(pretender{}.result(it), kind, region.Options{})
			require.NoError(t, err)
			want.Write(append(line, '\n'))
		}
		require.Equal(t, want.String(), content(t, dir, ResultsFile))
		require.Contains(t, want.String(), `"error":`)
	}
}

// GPUs of one kind give the same: a run goes on with whichever there are, and shards of several make one run.
func TestAnyGPUsOfAKindGoOnWithARun(t *testing.T) {
	t.Chdir(t.TempDir())
	pack(t, "a.tar", numbered(6)...)
	on := func(gpus, name string) device.Info { return device.Info{Device: gpus, Name: name, Driver: "12.4"} }
	dir := t.TempDir()
	run := func(ctx context.Context, p pretender) (Summary, error) {
		return Run(ctx, p, everything(dir, nil), looked(t, dir, "a.tar"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := pretender{on: on("cuda:0+cuda:1", "H200"), before: func(n int, _ dataset.Item) {
		if n == 2 {
			cancel()
		}
	}}
	sum, err := run(ctx, first)
	require.ErrorIs(t, err, context.Canceled)
	begun := sum.Devices["cuda:0+cuda:1"]
	require.Positive(t, begun)
	for _, other := range []device.Info{on("cuda:0+cuda:1", "A100"), {Device: "cuda:0", Name: "H200", Driver: "11.8"}, device.CPU} {
		_, err = run(t.Context(), pretender{on: other})
		require.ErrorIs(t, err, ErrOther, other.Name)
	}
	sum, err = run(t.Context(), pretender{on: on("cuda:3", "H200")})
	require.NoError(t, err)
	require.Equal(t, 6, sum.Images)
	require.Equal(t, map[string]int{"cuda:3": 6 - begun}, sum.Devices)

	var shards []string
	for i, d := range []device.Info{on("cuda:0", "H200"), on("cuda:1", "H200"), on("cuda:1", "A100")} {
		s, dir := Shard{min(i, 1) + 1, 2}, t.TempDir()
		survey, err := Look(dataset.Search{Out: dir}, []string{"a.tar"}, &s)
		require.NoError(t, err)
		o := everything(dir, nil)
		o.Info.Shard = &s
		_, err = Run(t.Context(), pretender{on: d}, o, Inputs{Items: dataset.Inputs([]string{"a.tar"}, nil, nil), Survey: survey})
		require.NoError(t, err)
		shards = append(shards, dir)
	}
	_, err = Merge(t.Context(), t.TempDir(), shards[:2], nil)
	require.NoError(t, err)
	_, err = Merge(t.Context(), t.TempDir(), []string{shards[0], shards[2]}, nil)
	require.ErrorContains(t, err, "hold results of different runs (device is ")
}
