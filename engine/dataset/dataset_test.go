package dataset

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// tree makes empty files below a new folder and returns it.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, f := range files {
		f = filepath.Join(root, filepath.FromSlash(f))
		require.NoError(t, os.MkdirAll(filepath.Dir(f), 0o700))
		require.NoError(t, os.WriteFile(f, nil, 0o600))
	}
	return root
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Skip("SKIPPED: this system has no symbolic links: ", err)
	}
}

func idsOf(items []Item) (list []string) {
	for _, it := range items {
		list = append(list, it.ID)
	}
	return list
}

func TestMVTec(t *testing.T) {
	root := tree(t, "train/good/b.png", "train/good/a.JPG", "train/good/notes.txt", "train/good/.hidden.png",
		"test/hole/000.png", "test/good/001.png", "test/good/000.png", "test/crack/10.png", "test/crack/9.png",
		"test/empty/x.txt", "ground_truth/hole/000_mask.png", "ground_truth/crack/9.png", "ground_truth/crack/9_mask.png",
		"ground_truth/crack/10.png", "test/.cache/1.png", "test/readme.txt", "readme.png")
	d, err := MVTec(root)
	require.NoError(t, err)
	at := func(p string) string { return filepath.Join(root, filepath.FromSlash(p)) }
	require.Equal(t, &Dataset{
		Root: root,
		Train: []Item{
			{at("train/good/a.JPG"), "train/good/a.JPG", "good", ""},
			{at("train/good/b.png"), "train/good/b.png", "good", ""},
		},
		Test: []Item{
			{at("test/crack/10.png"), "test/crack/10.png", "crack", at("ground_truth/crack/10.png")},
			{at("test/crack/9.png"), "test/crack/9.png", "crack", at("ground_truth/crack/9_mask.png")},
			{at("test/good/000.png"), "test/good/000.png", "good", ""},
			{at("test/good/001.png"), "test/good/001.png", "good", ""},
			{at("test/hole/000.png"), "test/hole/000.png", "hole", at("ground_truth/hole/000_mask.png")},
		},
		Classes: []string{"crack", "good", "hole"},
		Ignored: []string{at("train/good/notes.txt"), at("test/empty/x.txt")},
	}, d)
}

func TestMVTecErrors(t *testing.T) {
	root := tree(t, "train/good/a.png", "test/hole/000.png", "test/hole/001.png", "ground_truth/hole/000_mask.png")
	require.NoError(t, os.Mkdir(filepath.Join(root, "ground_truth", "hole", "001_mask.png"), 0o700))
	_, err := MVTec(root)
	require.EqualError(t, err, filepath.Join(root, "test", "hole", "001.png")+
		": no ground truth: neither 001_mask.png nor 001.png in "+filepath.Join(root, "ground_truth", "hole"))

	root = tree(t, "wood/train/good/a.png", "tile/train/good/a.png", "tile/readme.txt", "licence/x.txt")
	_, err = MVTec(root)
	require.EqualError(t, err, root+": holds folders of objects, name one: tile, wood")
	root = tree(t, "tile/train/good/a.png")
	_, err = MVTec(root)
	require.EqualError(t, err, root+": holds folders of objects, name one: tile")

	root = tree(t, "train/good/a.txt", "test/good/a.png")
	_, err = MVTec(root)
	require.EqualError(t, err, root+": no images in train/good")

	_, err = MVTec(filepath.Join(root, "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "absent: ")

	d, err := MVTec(tree(t, "train/good/a.png"))
	require.NoError(t, err)
	require.Empty(t, d.Test)
}

func TestFolder(t *testing.T) {
	root := tree(t, "b.png", "a.txt", "a/x.tif", "a/x.tiff", "a/X.PNG", "a/y.bmp",
		"c.webp", "c.jpeg", ".h/1.png", ".2.png", "z.gif")
	items, err := Folder(root, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a/X.PNG", "a/x~2.tif", "a/x~3.tiff", "a/y.bmp", "b.png", "c.jpeg", "c~2.webp"}, idsOf(items))
	require.Equal(t, filepath.Join(root, "a", "x.tif"), items[1].Path)

	var ignored []string
	_, err = Folder(filepath.Join(root, ".h", ".."), func(path string) { ignored = append(ignored, path) })
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(root, "a.txt"), filepath.Join(root, "z.gif")}, ignored, "hidden files are none")
	empty := tree(t, "a/readme.txt")
	_, err = Folder(empty, nil)
	require.EqualError(t, err, empty+": no images in this folder")
	_, err = Folder(filepath.Join(root, "absent"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestFolderFollowsEachLinkOnce(t *testing.T) {
	root := tree(t, "a/1.png", "b/2.png", "b/deep/3.png")
	link(t, root, filepath.Join(root, "a", "up"))
	link(t, filepath.Join(root, "b"), filepath.Join(root, "a", "side"))
	link(t, filepath.Join(root, "gone.png"), filepath.Join(root, "b", "broken.png"))
	items, err := Folder(root, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a/1.png", "a/side/2.png", "a/side/broken.png", "a/side/deep/3.png"}, idsOf(items))

	outside := filepath.Join(t.TempDir(), "link")
	link(t, filepath.Join(root, "b", "deep"), outside)
	items, err = Folder(outside, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"3.png"}, idsOf(items))
}

// found collects "id" or "error" lines.
func found(t *testing.T, stdin string, args ...string) (lines []string) {
	t.Helper()
	for it, err := range Inputs(args, strings.NewReader(stdin), nil) {
		if err != nil {
			require.Empty(t, it.ID)
			require.True(t, strings.HasPrefix(err.Error(), it.Path+": "), err.Error())
			lines = append(lines, "error: "+err.Error())
			continue
		}
		_, statErr := os.Stat(it.Path)
		require.NoError(t, statErr)
		lines = append(lines, it.ID)
	}
	return lines
}

func TestInputs(t *testing.T) {
	t.Chdir(tree(t, "a/1.png", "a/2.png", "a/note.txt", "b/1.png", "b/c/2.jpg", "b/c/2.png", "odd[1].png", "empty/x.txt"))
	here, err := os.Getwd()
	require.NoError(t, err)
	_, err = os.Stat("absent.png")
	absent := plain("absent.png", err).Error() // in the system's words

	require.Equal(t, []string{"1.png", "c/2.jpg", "c/2~2.png"}, found(t, "", "b"))
	require.Equal(t, []string{"1.png", "2.png"}, found(t, "", filepath.Join(here, "a")+string(filepath.Separator)))
	require.Equal(t, []string{"a/1.png", "a/2.png", "b/1.png", "b/c/2.jpg", "b/c/2~2.png"}, found(t, "", "a", "./b"))
	require.Equal(t, []string{"a/1.png"}, found(t, "", "a/1.png"))
	require.Equal(t, []string{"a/note.txt"}, found(t, "", "a/note.txt"), "who names a file means it")
	require.Equal(t, []string{"a/1.png", "b/1.png"}, found(t, "", "?/1.png"))
	require.Equal(t, []string{"c/2.jpg", "c/2~2.png"}, found(t, "", "../"+filepath.Base(here)+"/b")[1:])
	require.Equal(t, []string{"odd[1].png"}, found(t, "", "odd[1].png"), "a name that looks like a pattern")
	require.Equal(t, []string{"a/1.png", "a/1~2.png", "a/1~3.png"}, found(t, "", "a/1.png", "./a/1.png", "b/../a/1.png"))
	require.Equal(t, []string{"error: " + absent, "a/1.png", "error: *.tif: matches nothing",
		"error: [x: syntax error in pattern", "error: empty: no images in this folder", "b/1.png"},
		found(t, "", "absent.png", "a/1.png", "*.tif", "[x", "empty", "b/1.png"))
	require.Equal(t, []string{"a/1.png", "error: " + absent, "error: b: is a folder", "odd[1].png", "b/1.png"},
		found(t, "a/1.png\r\nabsent.png\n\nb\nodd[1].png", "-", "b/1.png"))
}

func TestInputIDsStayInside(t *testing.T) {
	in := &inputs{seen: ids{}}
	for path, want := range map[string]string{
		"/data/x.png": "data/x.png", "../x.png": "x.png", "../../a/../b/x.png": "b/x.png", "/../x.png": "x.png",
		"./x.png": "x.png", "..x/y.png": "..x/y.png",
	} {
		require.Equal(t, want, in.id(filepath.FromSlash(path)))
	}
	in.root = "data"
	require.Equal(t, "x.png", in.id(filepath.Join("data", "x.png")))
	require.Equal(t, "other/x.png", in.id(filepath.Join("other", "x.png")))
	in.root = "x.png"
	require.Equal(t, "x.png", in.id("x.png"))
}

// endless is a list that never ends; it fails the test when far more is read than was asked for.
type endless struct {
	t    *testing.T
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, "a.png\n")
	e.read += n
	require.Less(e.t, e.read, 1<<20)
	return n, nil
}

func TestInputsStreamsTheList(t *testing.T) {
	t.Chdir(tree(t, "a.png"))
	n := 0
	for it, err := range Inputs([]string{"-", "-"}, &endless{t: t}, nil) {
		require.NoError(t, err)
		require.Equal(t, "a.png", it.Path)
		if n++; n == 3 {
			break
		}
	}
	require.Equal(t, 3, n)
}

func TestInputsStopsWhenTold(t *testing.T) {
	t.Chdir(tree(t, "a/1.png", "a/2.png", "b/3.png"))
	for _, args := range [][]string{{"a", "b"}, {"a/*.png", "b"}, {"absent", "b"}, {"*.tif", "b"}} {
		n := 0
		for range Inputs(args, nil, nil) {
			n++
			break
		}
		require.Equal(t, 1, n, args)
	}
}

func TestInputsReportsABrokenList(t *testing.T) {
	t.Chdir(tree(t, "a.png"))
	boom := errors.New("boom")
	for want, stdin := range map[string]io.Reader{
		"boom": io.MultiReader(strings.NewReader("a.png\n"), iotest.ErrReader(boom)),
	} {
		var last error
		n := 0
		for _, err := range Inputs([]string{"-"}, stdin, nil) {
			last = err
			n++
		}
		require.Equal(t, 2, n)
		require.ErrorContains(t, last, "list on standard input: ")
		require.ErrorContains(t, last, want)
	}
}

// TestALineTooLongIsOneInput: what follows it is read, however long it is and wherever the list ends.
func TestALineTooLongIsOneInput(t *testing.T) {
	t.Chdir(tree(t, "a.png", "b.png"))
	long := func(n int) string { return strings.Repeat("x", n) }
	told := func(n int) string { return fmt.Sprintf("error: line %d on standard input: more than 65536 bytes", n) }
	require.Equal(t, []string{"a.png", told(2), "b.png"}, found(t, "a.png\n"+long(maxLine+1)+"\nb.png\n", "-"))
	require.Equal(t, []string{told(1), "b.png", told(4)}, found(t, long(5*maxLine+7)+"\r\n\nb.png\n"+long(maxLine+3), "-"))
	require.Equal(t, []string{told(1)}, found(t, long(maxLine+1), "-"))
	for _, end := range []string{"\n", "\r\n", ""} { // a line of just the length is a name, if a strange one
		got := found(t, long(maxLine)+end+strings.Repeat("b.png", min(1, len(end))), "-")
		require.Len(t, got, 1+min(1, len(end)))
		require.NotContains(t, got[0], "more than")
	}
}

func TestAByteOrderMarkIsNoPartOfTheList(t *testing.T) {
	t.Chdir(tree(t, "a.png", "\ufeffb.png"))
	require.Equal(t, []string{"a.png", "\ufeffb.png"}, found(t, "\ufeffa.png\n\ufeffb.png\n", "-"))
	require.Empty(t, found(t, "\ufeff", "-"))
	require.Empty(t, found(t, "\ufeff\n", "-"))
}

func TestOutputName(t *testing.T) {
	require.Equal(t, "test/hole/003.tiff", OutputName("test/hole/003.png", ".tiff"))
	require.Equal(t, "a.b.png", OutputName("a.b.c", ".png"))
	require.Equal(t, "v1.2/plain.png", OutputName("v1.2/plain", ".png"))
}

func TestUniqueGivesDistinctOutputNames(t *testing.T) {
	names := []string{"a.png", "a.jpg", "A.png", "a~2.png", "b/a.png", "a", "a~2~2.png"}
	seen, got := ids{}, []string{}
	for _, n := range names {
		got = append(got, seen.unique(n))
	}
	require.Equal(t, []string{"a.png", "a~2.jpg", "A~3.png", "a~2~2.png", "b/a.png", "a~4", "a~2~2~2.png"}, got)
	for i := range got {
		got[i] = strings.ToLower(OutputName(got[i], ""))
	}
	slices.Sort(got)
	require.Len(t, slices.Compact(got), len(names))
}

func TestUniqueIsNotSlowedByRepetition(t *testing.T) {
	seen := ids{}
	for range 100_000 { // quadratic time would be noticed
		seen.unique("a.png")
	}
	require.Equal(t, "a~100001.png", seen.unique("a.png"))
}
