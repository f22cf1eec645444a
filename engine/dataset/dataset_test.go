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
	"unicode/utf8"

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
			{Path: at("train/good/a.JPG"), ID: "train/good/a.JPG", Class: "good"},
			{Path: at("train/good/b.png"), ID: "train/good/b.png", Class: "good"},
		},
		Test: []Item{
			{Path: at("test/crack/10.png"), ID: "test/crack/10.png", Class: "crack", Mask: at("ground_truth/crack/10.png")},
			{Path: at("test/crack/9.png"), ID: "test/crack/9.png", Class: "crack", Mask: at("ground_truth/crack/9_mask.png")},
			{Path: at("test/good/000.png"), ID: "test/good/000.png", Class: "good"},
			{Path: at("test/good/001.png"), ID: "test/good/001.png", Class: "good"},
			{Path: at("test/hole/000.png"), ID: "test/hole/000.png", Class: "hole", Mask: at("ground_truth/hole/000_mask.png")},
		},
		Classes: []string{"crack", "good", "hole"},
		Ignored: []string{at("train/good/notes.txt"), at("test/empty/x.txt")},
	}, d)
}

func TestMVTecErrors(t *testing.T) {
	root := tree(t, "wood/train/good/a.png", "tile/train/good/a.png", "tile/readme.txt", "licence/x.txt")
	_, err := MVTec(root)
	require.EqualError(t, err, root+": holds folders of objects, name one: tile, wood")
	root = tree(t, "tile/train/good/a.png")
	_, err = MVTec(root)
	require.EqualError(t, err, root+": holds folders of objects, name one: tile")

	root = tree(t, "tile/test/good/a.png", "wood/readme.txt")
	_, err = MVTec(root)
	require.EqualError(t, err, root+": holds folders of objects, name one: tile")

	root = tree(t, "train/good/a.png", "test/all/a.png")
	_, err = MVTec(root)
	require.EqualError(t, err, filepath.Join(root, "test", "all")+
		`: a defect type cannot be called "all": that is what all types together are called; rename the folder`)
	_, err = MVTec(tree(t, "train/good/a.png", "test/all/readme.txt", "test/All of it/a.png"))
	require.NoError(t, err)

	root = tree(t, "train/good/a.txt", "test/hole/a.txt")
	_, err = MVTec(root)
	require.EqualError(t, err, root+": no images in train/good, and none in test")

	_, err = MVTec(filepath.Join(root, "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "absent: ")

	d, err := MVTec(tree(t, "train/good/a.png"))
	require.NoError(t, err)
	require.Empty(t, d.Test)
	train, err := d.Learn()
	require.NoError(t, err)
	require.Equal(t, d.Train, train)

	root = tree(t, "test/good/a.png", "test/hole/a.png", "ground_truth/hole/a.png")
	d, err = MVTec(root)
	require.NoError(t, err, "an evaluation needs no more")
	require.Len(t, d.Test, 2)
	_, err = d.Learn()
	require.EqualError(t, err, root+": no images in train/good")
}

func TestMVTecFindsMasksOfEveryKindAndCase(t *testing.T) {
	root := tree(t, "train/good/a.png",
		"test/Hole/000.png", "test/Hole/001.png", "test/Hole/002.JPG", "test/Hole/003.png", "test/Hole/004.png", "test/Hole/005.png",
		"test/Hole/006.png", "test/Hole/007.png", "test/Hole/A.png", "test/Hole/a.png",
		"Ground_Truth/hole/000_mask.PNG", "Ground_Truth/hole/001.bmp", "Ground_Truth/hole/002_MASK.jpg",
		"Ground_Truth/hole/003/000.png", "Ground_Truth/hole/003/001.png", // MVTec LOCO AD's way
		"Ground_Truth/hole/004_mask.jpg", "Ground_Truth/hole/004_mask.png", "Ground_Truth/hole/004_mask.tif",
		"Ground_Truth/hole/005_mask.txt", "Ground_Truth/hole/006_mask.png/readme.txt", "Ground_Truth/hole/007/readme.txt",
		"Ground_Truth/hole/A.png", "Ground_Truth/hole/a_mask.png")
	d, err := MVTec(root)
	require.NoError(t, err)
	got := map[string]string{}
	for _, it := range d.Test {
		require.False(t, it.Normal())
		got[filepath.Base(it.Path)] = ""
		if it.Mask != "" {
			rel, err := filepath.Rel(filepath.Join(root, "Ground_Truth", "hole"), it.Mask)
			require.NoError(t, err)
			got[filepath.Base(it.Path)] = filepath.ToSlash(rel)
		}
	}
	require.Equal(t, map[string]string{
		"000.png": "000_mask.PNG", "001.png": "001.bmp", "002.JPG": "002_MASK.jpg", "003.png": "003", "004.png": "004_mask.png",
		"005.png": "", "006.png": "", "007.png": "", "A.png": "A.png", "a.png": "a_mask.png",
	}, got)
	require.Equal(t, []string{"test/Hole/005.png", "test/Hole/006.png", "test/Hole/007.png"}, idsOf(WithoutMask(d.Test)))
}

func TestMVTecKnowsNormalImagesByOtherNames(t *testing.T) {
	d, err := MVTec(tree(t, "Train/ok/a.png", "Test/ok/1.png", "Test/Good/2.png", "Test/NORMAL/3.png", "Test/ko/4.png", "Train/ko/5.png"))
	require.NoError(t, err)
	require.Equal(t, []string{"Train/ok/a.png"}, idsOf(d.Train))
	require.Equal(t, []string{"good", "ko"}, d.Classes)
	require.Equal(t, []string{"Test/Good/2.png", "Test/NORMAL/3.png", "Test/ko/4.png", "Test/ok/1.png"}, idsOf(d.Test))
	for _, it := range d.Test {
		require.Equal(t, it.ID != "Test/ko/4.png", it.Normal(), it.ID)
		require.Equal(t, it.Normal(), it.Class == Good, it.ID)
	}
	_, err = MVTec(filepath.Dir(tree(t, "Train/OK/a.png")))
	require.ErrorContains(t, err, "holds folders of objects, name one: ")

	require.False(t, Item{Class: "hole"}.Normal(), "a defective image is defective without a mask, too")
	require.False(t, Item{Mask: "m.png"}.Normal())
	require.True(t, Item{}.Normal())
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

// TestWhatIsMissingKeepsItsName, so that the others are called the same when it is there again.
func TestWhatIsMissingKeepsItsName(t *testing.T) {
	t.Chdir(tree(t, "b/1.png", "b/2.png"))
	_, err := os.Stat("b/1.jpg")
	missing := "error: " + plain("b/1.jpg", err).Error()
	require.Equal(t, []string{missing, "b/1~2.png", "b/2.png"}, found(t, "b/1.jpg\nb/1.png\nb/2.png\n", "-"))
	require.NoError(t, os.WriteFile("b/1.jpg", nil, 0o666))
	require.Equal(t, []string{"b/1.jpg", "b/1~2.png", "b/2.png"}, found(t, "b/1.jpg\nb/1.png\nb/2.png\n", "-"))
}

func TestInputIDsStayInside(t *testing.T) {
	in := &inputs{seen: ids{}, folders: archiveFolders{}}
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

func TestSearchLeavesResultsOut(t *testing.T) {
	t.Chdir(tree(t, "a.png", "out/masks/m.png", "out/n.png", "sub/old/run.json", "sub/old/maps/x.tiff", "sub/b.png", "z/c.png"))
	list := func(s Search, args ...string) (paths, errs []string) {
		for it, err := range s.Inputs(args, strings.NewReader("")) {
			if err != nil {
				require.ErrorIs(t, err, ErrNamed)
				errs = append(errs, err.Error())
				continue
			}
			paths = append(paths, filepath.ToSlash(it.Path))
		}
		return paths, errs
	}
	var left []string
	s := Search{Out: "out", Left: func(why string) { left = append(left, why) }}
	paths, errs := list(s, ".")
	require.Equal(t, []string{"a.png", "sub/b.png", "z/c.png"}, paths)
	require.Empty(t, errs)
	require.Equal(t, []string{filepath.Join("sub", "old") + ": left out: holds results of score (run.json)"}, left)
	here, err := os.Getwd()
	require.NoError(t, err)
	paths, _ = list(Search{Out: filepath.Join(here, "z", "..", "out", "")}, "a.png", "out/../z", "sub")
	require.Equal(t, []string{"a.png", "z/c.png", "sub/b.png"}, paths)
	paths, _ = list(Search{Out: "not/yet/there"}, "z")
	require.Equal(t, []string{"z/c.png"}, paths)

	paths, errs = list(s, "out", "out/masks", "out/masks/m.png", "sub/old", "a.png", "out/n.png")
	require.Equal(t, []string{"a.png", "out/n.png"}, paths, "beside the outputs there may be inputs")
	require.Equal(t, []string{"out: is where results go", "out/masks: is where results go", "out/masks/m.png: is where results go",
		"sub/old: holds results of score (run.json), not images"}, errs)

	link(t, filepath.Join(here, "out"), filepath.Join("z", "to-out"))
	paths, _ = list(s, "z")
	require.Equal(t, []string{"z/c.png"}, paths)
	_, errs = list(s, "z/to-out")
	require.Len(t, errs, 1)
	items, err := Folder(".", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a.png", "out/masks/m.png", "out/n.png", "sub/b.png", "z/c.png"}, idsOf(items))
}

func TestTrainingTakesNormalImagesOnly(t *testing.T) {
	root := tree(t, "leather/train/good/1.png", "leather/test/good/2.png", "leather/test/hole/3.png", "leather/ground_truth/hole/3_mask.png",
		"results/run.json", "results/masks/a/4.png", "photos/5.png", "photos/more/6.png", "mixed/7.png", "mixed/old/run.json", "mixed/old/8.png",
		"masked/ground_truth/9.png", "masked/10.png")
	for dir, want := range map[string]int{
		"leather/train": 1, "leather/train/good": 1, "leather/test/good": 1, "photos": 2, "photos/more": 1,
		"leather": 0, ".": 0, "leather/test": 0, "leather/test/hole": 0, "leather/ground_truth": 0, "leather/ground_truth/hole": 0,
		"results": 0, "results/masks": 0, "results/masks/a": 0, "mixed": 0, "masked": 0,
	} {
		items, err := Training(filepath.Join(root, filepath.FromSlash(dir)), nil)
		require.Len(t, items, want, dir)
		require.Equal(t, want == 0, err != nil, "%s: %v", dir, err)
	}
	_, err := Training(filepath.Join(root, "leather"), nil)
	require.ErrorContains(t, err, "name it as --data, or "+filepath.Join(root, "leather", "train", "good"))
}

func TestIDsAreUTF8(t *testing.T) {
	require.Equal(t, "größe/a.png", valid("größe/a.png"))
	require.Equal(t, "a~FF~FEb\uFFFD.png", valid("a\xff\xfeb\uFFFD.png"))
	seen := ids{}
	require.Equal(t, "a~FF.png", seen.unique(valid("a\xff.png")))
	require.Equal(t, "a~FF~2.png", seen.unique("a~FF.png"))
}

// Whatever inputs are called, their outputs have distinct names that are UTF-8 and lead out of no folder.
func FuzzOutputNames(f *testing.F) {
	f.Add("a.png", "a.jpg", "a~2.png")
	f.Add("../../x.png", "/x.png", "x\xff.png")
	f.Add("m.png", "m.tiff/n.png", "M.PNG")
	f.Add(".png", "..", "a/..")
	f.Add("a~2", "a", "a~2~2.png")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		in := &inputs{seen: ids{}, folders: archiveFolders{}}
		seen := map[string]string{}
		for _, path := range []string{a, b, c, a, b} {
			if path == "" || strings.Contains(path, "\x00") {
				continue
			}
			if filepath.Base(filepath.Clean(path)) == ".." || filepath.Base(filepath.Clean(path)) == string(filepath.Separator) {
				continue // a folder, and no image
			}
			id := in.seen.unique(valid(in.id(path)))
			name := OutputName(id, ".tiff")
			require.True(t, utf8.ValidString(name), "%q", name)
			require.True(t, filepath.IsLocal(filepath.FromSlash(name)), "%q of %q", name, path)
			lower := strings.ToLower(name)
			require.NotContains(t, seen, lower, "%q and %q", path, seen[lower])
			seen[lower] = path
		}
	})
}
