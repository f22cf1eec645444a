package run

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"

	"github.com/stretchr/testify/require"
)

// scoreAll does what is left of a run of the items, of which those without an ID fail, and visits the journal after each. It returns
// how many it kept.
func (f *folder) scoreAll(items []dataset.Item, visit func(j *journal, i int)) (kept int) {
	f.t.Helper()
	return f.scoreSome(items, len(items), visit)
}

// scoreSome is scoreAll that ends behind the first so many items.
func (f *folder) scoreSome(items []dataset.Item, end int, visit func(j *journal, i int)) (kept int) {
	f.t.Helper()
	j, err := f.open()
	require.NoError(f.t, err)
	defer j.close()
	for i, it := range items[:end] {
		k, ok, err := j.keep(it)
		require.NoError(f.t, err)
		switch {
		case ok:
			kept++
			require.NoError(f.t, j.copy(k))
		case it.ID == "":
			require.NoError(f.t, j.add(unscored{nameOf(it.Path), "broken"}))
		default:
			stem := dataset.OutputName(it.ID, "")
			mask := "masks/" + stem + ".png"
			require.NoError(f.t, j.claim(it.Path, stem, claim{Mask: &mask}))
			require.NoError(f.t, os.MkdirAll(filepath.Join(f.out, "masks"), 0o777))
			require.NoError(f.t, os.WriteFile(filepath.Join(f.out, mask), []byte(it.ID), 0o666))
			p, err := engine.TakeFingerprint(it.Path)
			require.NoError(f.t, err)
			require.NoError(f.t, j.add(Line{Name: nameOf(it.Path), Content: contentOf(p), Mask: &mask}))
		}
		if visit != nil {
			visit(j, i)
		}
	}
	if end == len(items) {
		require.NoError(f.t, j.finish(nil))
	}
	return kept
}

// What a run remembers of the run before does not grow with that as long as the inputs come in its order: of a hundred images it
// remembers those that failed, and those that have changed.
func TestARunThatGoesOnRemembersNextToNothing(t *testing.T) {
	f := newFolder(t)
	var items []dataset.Item
	for i := range 100 {
		name := fmt.Sprintf("%03d.png", i)
		f.put(name, name)
		items = append(items, dataset.Item{Path: f.path(name), ID: name})
		if i%25 == 3 {
			items[i].ID = "" // it failed, and does so again
		}
	}
	require.Zero(t, f.scoreAll(items, nil))
	items[28].ID = "028.png" // and succeeds
	items[60].ID = ""        // and fails for the first time: it is named, but not there
	require.NoError(t, os.Remove(items[60].Path))
	f.put("070.png", "another content")
	kept := f.scoreAll(items, func(j *journal, i int) {
		require.NotNil(t, j.rest, "in order at image %d", i)
		require.LessOrEqual(t, len(j.known), 3)
		require.LessOrEqual(t, len(j.named.images.all), 6)
	})
	require.Equal(t, 100-4-1-1, kept)
	require.FileExists(t, filepath.Join(f.out, OldFile), "what is known of the one that failed now")
	items[60].ID = "060.png"
	f.put("060.png", "060.png")
	require.Equal(t, 100-3, f.scoreAll(items, nil), "it is not scored again")
	require.NoFileExists(t, filepath.Join(f.out, OldFile))
	require.Equal(t, 100-3, f.scoreAll(items, nil))
}

// What a run that goes on remembers of one that was changed on its way and then killed are the lines that this has not come to: in what it has
// written, the inputs come in order.
func TestAChangedRunThatWasKilledIsRememberedOnce(t *testing.T) {
	f := newFolder(t)
	var items []dataset.Item
	for i := range 100 {
		name := fmt.Sprintf("%03d.png", i)
		f.put(name, name)
		items = append(items, dataset.Item{Path: f.path(name), ID: name})
	}
	require.Zero(t, f.scoreAll(items[1:], nil))
	f.scoreSome(items, 50, nil) // with a first one that is new, which moves all that follow
	require.FileExists(t, filepath.Join(f.out, OldFile))
	kept := f.scoreAll(items, func(j *journal, i int) {
		require.LessOrEqual(t, len(j.known), 50)
		require.Equal(t, i < 50, j.rest != nil && j.part == nil, "image %d", i)
		require.Empty(t, j.named.images.all)
	})
	require.Equal(t, 100, kept)
	require.NoFileExists(t, filepath.Join(f.out, OldFile))
}

// An image that was scored twice and now is to be once has outputs too many, wherever the inputs left the order of the lines.
func TestAnImageThatIsAnInputOnceLess(t *testing.T) {
	for _, changed := range []bool{false, true} {
		f := newFolder(t)
		item := func(name, id string) dataset.Item { return dataset.Item{Path: f.path(name), ID: id} }
		require.Zero(t, f.scoreAll([]dataset.Item{item("c.png", "c.png"), item("a.png", "a.png"), item("a.png", "a~2.png"), item("d.png", "d.png")}, nil))
		if changed {
			f.put("c.png", "another content") // lines are added from there on
		}
		want := 3
		if changed {
			want = 2
		}
		require.Equal(t, want, f.scoreAll([]dataset.Item{item("c.png", "c.png"), item("a.png", "a.png"), item("d.png", "d.png")}, nil))
		require.FileExists(t, filepath.Join(f.out, "masks", "a.png"))
		require.NoFileExists(t, filepath.Join(f.out, "masks", "a~2.png"))
		require.NoFileExists(t, filepath.Join(f.out, OldFile))
	}
}

// An image that is still there, but no input any more, is missed, though another one has its outputs now.
func TestAnImageWhoseOutputsAreAnothersNowIsMissed(t *testing.T) {
	f := newFolder(t)
	item := func(name, id string) dataset.Item { return dataset.Item{Path: f.path(name), ID: id} }
	require.Zero(t, f.scoreAll([]dataset.Item{item("a.png", "x.png"), item("d.png", "d.png")}, nil))
	j, err := f.open()
	require.NoError(t, err)
	defer j.close()
	_, ok, err := j.keep(item("c.png", "x.png"))
	require.NoError(t, err)
	require.False(t, ok)
	mask := "masks/x.png"
	require.NoError(t, j.claim(f.path("c.png"), "x", claim{Mask: &mask}))
	require.NoError(t, j.add(Line{Name: nameOf(f.path("c.png")), Content: Content{SHA256: "00"}, Mask: &mask}))
	k, ok, err := j.keep(item("d.png", "d.png"))
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, j.copy(k))
	require.ErrorContains(t, j.finish(nil), "holds results of more inputs ("+f.path("a.png"))
	require.NoError(t, os.Remove(f.path("a.png")))
	require.NoError(t, j.finish(nil))
	require.FileExists(t, filepath.Join(f.out, mask), "it is the other's")
	require.Contains(t, f.warned[0], "1 image of an earlier run: gone, and dropped")
}

// An input that failed has no outputs, and those that it gets when it does not fail any more may be a later line's, which the inputs have not
// come to: that is not believed any more when the run is killed there.
func TestAnInputThatFailedTakesTheOutputsOfALaterLine(t *testing.T) {
	f := newFolder(t)
	f.put("a.bmp", "the first a")
	item := func(name, id string) dataset.Item { return dataset.Item{Path: f.path(name), ID: id} }
	failing := []dataset.Item{item("a.bmp", ""), item("a.png", "a.png"), item("d.png", "d.png")}
	require.Zero(t, f.scoreAll(failing, nil))
	j, err := f.open()
	require.NoError(t, err)
	_, ok, err := j.keep(item("a.bmp", "a.bmp"))
	require.NoError(t, err)
	require.False(t, ok)
	mask := "masks/a.png"
	require.NoError(t, j.claim(f.path("a.bmp"), "a", claim{Mask: &mask}))
	require.NoError(t, os.WriteFile(filepath.Join(f.out, mask), []byte("of a.bmp"), 0o666))
	require.NoError(t, j.close())

	require.Equal(t, 1, f.scoreAll(failing, nil), "d.png alone")
	require.Equal(t, "a.png", content(t, f.out, mask))
	require.Equal(t, 1, f.scoreAll([]dataset.Item{item("a.bmp", "a.bmp"), item("a.png", "a~2.png"), item("d.png", "d.png")}, nil))
	require.Equal(t, []string{"a.bmp", "a~2.png"}, []string{content(t, f.out, mask), content(t, f.out, "masks/a~2.png")})
}
