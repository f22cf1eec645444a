package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine/run"

	"github.com/stretchr/testify/require"
)

// pictures makes a folder with images of the given names, all of one content.
func pictures(t *testing.T, names ...string) string {
	t.Helper()
	setup(t)
	dir := t.TempDir()
	for _, name := range names {
		copyTo(t, filepath.Join(data(), "test", "good", "000.png"), filepath.Join(dir, name))
	}
	return dir
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o777))
	require.NoError(t, os.WriteFile(to, b, 0o666))
}

// score runs score into out.
func score(t *testing.T, out string, args ...string) outcome {
	t.Helper()
	return f2pad(t, append([]string{"score", "--model", model(), "--out", out}, args...)...)
}

// images are those of the results, in their order.
func images(t *testing.T, out string) (names []string) {
	t.Helper()
	for _, l := range lines(t, out) {
		names = append(names, filepath.Base(l["image"].(string)))
	}
	return names
}

func TestScoreDoesNotFeedOnItself(t *testing.T) {
	in := pictures(t, "a.png", "z/b.png", "zz.png")
	for _, out := range []string{filepath.Join(in, "z"), filepath.Join(in, "y", "deep")} {
		r := score(t, out, "--batch", "1", "--overlays", "--masks", in)
		require.Equal(t, exitOK, r.code, r.err)
	}
	require.Equal(t, []string{"a.png", "zz.png"}, images(t, filepath.Join(in, "z")), "it is left out with all in it")
	require.Equal(t, []string{"a.png", "zz.png"}, images(t, filepath.Join(in, "y", "deep")), "and so are earlier results")
	r := score(t, filepath.Join(in, "z"), "--batch", "1", "--overlays", "--masks", in)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.out, "2 of them finished by an earlier run")
	require.Contains(t, r.err, filepath.Join(in, "y", "deep")+": left out: holds results of score (run.json)")

	// Through a link, too.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(in, link); err != nil {
		t.Skip("SKIPPED: this system has no symbolic links: ", err)
	}
	out := filepath.Join(in, "by-link")
	require.Equal(t, exitOK, score(t, out, "--batch", "1", "--overlays", link).code)
	require.Equal(t, []string{"a.png", "zz.png"}, images(t, out))
}

func TestInputsThatAreTheOutputAreRefused(t *testing.T) {
	in := pictures(t, "a.png", "photos/b.png")
	require.Equal(t, exitOK, score(t, in, "--overlays", filepath.Join(in, "photos")).code, "beside the outputs there may be inputs")
	before := filesBelow(t, in)
	for want, args := range map[string][]string{
		"holds results of score":       {in},
		"overlays: is where results":   {filepath.Join(in, "overlays")},
		"b.png: is where results go":   {filepath.Join(in, "overlays", "b.png")},
		"b.png: is where results go (": {filepath.Join(in, "overlays", "*.png")},
	} {
		r := score(t, in, append([]string{"--overlays"}, args...)...)
		require.Equal(t, exitFailure, r.code, want)
		require.Contains(t, r.err, strings.TrimSuffix(want, " ("))
		require.Equal(t, before, filesBelow(t, in))
	}
	fresh := pictures(t, "a.png")
	r := score(t, fresh, fresh)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, fresh+": is where results go")
	require.Len(t, filesBelow(t, fresh), 1)
}

func TestFitRefusesWhatIsNotNormal(t *testing.T) {
	setup(t)
	results := t.TempDir()
	require.Equal(t, exitOK, score(t, results, "--masks", filepath.Join(data(), "test")).code)
	objects := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(objects, "leather"), os.DirFS(data())))
	beside := filepath.Join(t.TempDir(), "beside")
	require.NoError(t, os.CopyFS(beside, os.DirFS(filepath.Join(data(), "train", "good"))))
	require.NoError(t, os.CopyFS(filepath.Join(beside, "results"), os.DirFS(results)))
	model := filepath.Join(t.TempDir(), "m")
	for dir, want := range map[string]string{
		data():                                 "--data",
		objects:                                "--data",
		filepath.Join(data(), "test"):          filepath.Join("train", "good"),
		filepath.Join(data(), "test", "hole"):  filepath.Join("train", "good"),
		filepath.Join(data(), "ground_truth"):  filepath.Join("train", "good"),
		results:                                "holds results of score",
		filepath.Join(results, "masks"):        "holds results of score",
		filepath.Join(results, "masks/hole"):   "holds results of score",
		beside:                                 "results: holds results of score",
		filepath.Join(data(), "ground_truth/"): "--data",
	} {
		r := f2pad(t, "fit", "--images", dir, "--method", "padim", "--out", model)
		require.Equal(t, exitFailure, r.code, dir)
		require.Contains(t, r.err, want, dir)
		require.NoFileExists(t, model)
	}
	require.Equal(t, exitOK, f2pad(t, "fit", "--images", filepath.Join(data(), "train"), "--method", "padim", "--size", "32", "--out", filepath.Join(t.TempDir(), "new", "m")).code)
}

func TestBrokenTailIsMended(t *testing.T) {
	in, out := pictures(t, "a.png", "b.png"), t.TempDir()
	require.Equal(t, exitOK, score(t, out, "--masks", in).code)
	want := files(t, out)
	whole := content(t, out, run.ResultsFile)
	for _, broken := range []string{whole + "garbage", whole + "\x00\x00\x00\x00", whole + `{"image":"c`, whole[:len(whole)-7]} {
		require.NoError(t, os.WriteFile(filepath.Join(out, run.ResultsFile), []byte(broken), 0o666))
		r := score(t, out, "--masks", in)
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.err, "warning: "+filepath.Join(out, run.ResultsFile)+": the last ")
		require.Equal(t, want, files(t, out))
	}
}

func TestNamesThatCannotBeOutputsFailAlone(t *testing.T) {
	long, longest := strings.Repeat("x", 247)+".bmp.png", strings.Repeat("y", 255-len(".png"))+".png"
	in := pictures(t, "a.png", "m.png", "m.tiff/n.png", long, longest, "z.png")
	out := t.TempDir()
	for range 2 {
		r := score(t, out, "--maps", in)
		require.Equal(t, exitPartial, r.code, r.err)
		all := lines(t, out)
		require.Len(t, all, 6)
		require.Equal(t, []string{"a.png", "m.png", "n.png", long, longest, "z.png"}, images(t, out))
		for i, want := range []string{"", "", "not a directory|cannot find the path|not a regular", "name too long", "name too long", ""} {
			if want == "" {
				require.FileExists(t, filepath.Join(out, all[i]["map"].(string)))
				continue
			}
			require.Regexp(t, want, all[i]["error"])
			require.ElementsMatch(t, []string{"image", "error"}, keys(all[i]))
		}
	}
	// The other way round: the folder is there when the file is to be written.
	in = pictures(t, "m.bmp.png", "m.bmp/n.png", "z.png")
	require.NoError(t, os.Rename(filepath.Join(in, "m.bmp.png"), filepath.Join(in, "n.png")))
	out = t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(out, "masks", "n.png"), 0o777))
	r := score(t, out, "--maps", "--masks", in)
	require.Equal(t, exitPartial, r.code, r.err)
	require.NoFileExists(t, filepath.Join(out, "maps", "n.tiff"), "of what failed nothing is left")
	require.FileExists(t, filepath.Join(out, "maps", "z.tiff"))
}

func TestNamesThatAreNotUTF8ComeBack(t *testing.T) {
	in, out := pictures(t, "a.png", "z.png"), t.TempDir()
	odd := filepath.Join(in, "m\xff\xfe.png")
	if err := os.Rename(filepath.Join(in, "a.png"), odd); err != nil {
		t.Skip("SKIPPED: this file system has no such names: ", err)
	}
	for run := range 2 {
		r := score(t, out, "--masks", "--json", in)
		require.Equal(t, exitOK, r.code, r.out)
		require.Contains(t, r.out, fmt.Sprintf(`"kept":%d`, 2*run))
	}
	l := lines(t, out)[0]
	path, err := base64.StdEncoding.DecodeString(l["image_base64"].(string))
	require.NoError(t, err)
	require.Equal(t, odd, string(path))
	require.Equal(t, "masks/m~FF~FE.png", l["mask"])
	require.FileExists(t, filepath.Join(out, "masks", "m~FF~FE.png"))
	require.NotContains(t, lines(t, out)[1], "image_base64")
}

func TestPassingTroublesPass(t *testing.T) {
	in, out := pictures(t, "a.png", "sub/b.png", "z.png"), t.TempDir()
	good, err := os.ReadFile(filepath.Join(in, "z.png"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(in, "a.png"), good[:50], 0o666))
	require.Equal(t, exitPartial, score(t, out, "--maps", in).code)
	require.NoError(t, os.WriteFile(filepath.Join(in, "a.png"), good, 0o666))
	r := score(t, out, "--maps", in)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.out, "3 images: 0 anomalous, 3 normal, 0 failed; 2 of them finished")
	want := files(t, out)

	// A folder that cannot be listed for once.
	sub := filepath.Join(in, "sub")
	require.NoError(t, os.Chmod(sub, 0))
	_, listed := os.ReadDir(sub) // root lists everything; the journal's own tests do without
	r = score(t, out, "--maps", in)
	require.NoError(t, os.Chmod(sub, 0o777))
	if listed != nil {
		require.Equal(t, exitPartial, r.code, r.err)
	}
	r = score(t, out, "--maps", in)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.out, "3 of them finished")
	require.Equal(t, want, files(t, out))

	require.NoError(t, os.Remove(filepath.Join(out, "maps", "a.tiff")))
	r = score(t, out, "--maps", in)
	require.Contains(t, r.out, "2 of them finished", "one deleted map is one image")
	require.Equal(t, want, files(t, out))
}

func TestVerdictsAreThoseOfTheContent(t *testing.T) {
	in, out := pictures(t, "b.png", "c.png", "d.png"), t.TempDir()
	require.Equal(t, exitOK, score(t, out, "--masks", in).code)
	copyTo(t, filepath.Join(data(), "test", "hole", "000.png"), filepath.Join(in, "b.png"))
	copyTo(t, filepath.Join(data(), "test", "hole", "000.png"), filepath.Join(in, "a.png"))
	require.NoError(t, os.Remove(filepath.Join(in, "d.png")))
	r := score(t, out, "--masks", in)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.out, "3 images: 2 anomalous, 1 normal, 0 failed; 1 of them finished")
	require.Contains(t, r.err, "1 image of an earlier run: gone, and dropped from the results ("+filepath.Join(in, "d.png"))
	require.Equal(t, []string{"a.png", "b.png", "c.png"}, images(t, out))
	fresh := t.TempDir()
	require.Equal(t, exitOK, score(t, fresh, "--masks", in).code)
	require.Equal(t, files(t, fresh), files(t, out))
}

func TestMistypedInputsStopBeforeAnythingIsWritten(t *testing.T) {
	in := pictures(t, "a.png")
	empty := t.TempDir()
	out := filepath.Join(t.TempDir(), "out")
	for want, args := range map[string][]string{
		"no images in this folder": {in, empty},
		"matches nothing":          {in, filepath.Join(in, "*.tif")},
		"missing.png: ":            {filepath.Join(in, "missing.png"), in},
		"nowhere: ":                {filepath.Join(in, "nowhere")},
	} {
		r := score(t, out, args...)
		require.Equal(t, exitFailure, r.code, r.err)
		require.Contains(t, r.err, want)
		require.NoDirExists(t, out)
	}
	cmd := command("score", "--model", model(), "--out", out, "-")
	cmd.Stdin = strings.NewReader("\n\n")
	r := finish(t, cmd)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "the list on standard input is empty")
	require.NoDirExists(t, out)
}

func TestOutputsMakeTheirFolders(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	m := filepath.Join(dir, "new", "er", "m")
	require.Equal(t, exitOK, f2pad(t, "fit", "--data", data(), "--method", "padim", "--size", "32", "--out", m).code)
	page, sheet := filepath.Join(dir, "pages", "r.html"), filepath.Join(dir, "sheets", "s.png")
	r := f2pad(t, "eval", "--data", data(), "--model", m, "--refine", "none", "--report", page, "--sheet", sheet)
	require.Equal(t, exitOK, r.code, r.err)
	require.FileExists(t, page)
	require.FileExists(t, sheet)
	require.Equal(t, 1, strings.Count(r.out, "image AUROC")+strings.Count(r.out, "I-AUROC")+strings.Count(r.out, "category"), r.out)
	require.Less(t, strings.Index(r.out, "all"), strings.Index(r.out, "report: "))
}

func TestNamesDoNotWriteToTheTerminal(t *testing.T) {
	in, out := pictures(t, "a.png"), t.TempDir()
	bad := filepath.Join(in, "x\x1b[2J\a\ry\nz.png")
	if err := os.WriteFile(bad, nil, 0o666); err != nil {
		t.Skip("SKIPPED: this file system has no such names: ", err)
	}
	copyTo(t, filepath.Join(in, "a.png"), filepath.Join(in, "n\x1b]0;title\a.png"))
	r := score(t, out, in)
	require.Equal(t, exitPartial, r.code)
	for _, text := range []string{r.out, r.err} {
		require.NotContains(t, text, "\x1b")
		require.NotContains(t, text, "\a")
		require.NotContains(t, text, "\r")
	}
	require.Contains(t, r.err, `x\x1b[2J\a\ry\nz.png: `)
	require.Contains(t, r.out, `n\x1b]0;title\a.png`)

	broken := filepath.Join(t.TempDir(), "broken")
	require.NoError(t, os.CopyFS(broken, os.DirFS(data())))
	require.NoError(t, os.Rename(filepath.Join(broken, "test", "hole"), filepath.Join(broken, "test", "ho\x1b[31mle")))
	require.NoError(t, os.Rename(filepath.Join(broken, "ground_truth", "hole"), filepath.Join(broken, "ground_truth", "ho\x1b[31mle")))
	r = f2pad(t, "eval", "--data", broken, "--model", model(), "--refine", "none")
	require.Equal(t, exitOK, r.code, r.err)
	require.NotContains(t, r.out, "\x1b")
	require.Contains(t, r.out, `ho\x1b[31mle`)
	r = score(t, out, "no\x1b[2Jthing.png")
	require.NotContains(t, r.err, "\x1b")
}

// panicking is a stream that fails as no stream should.
type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic("boom\x1b") }

func TestPanicIsAFailure(t *testing.T) {
	var said strings.Builder
	p := &program{out: panicking{}, err: &said}
	require.Equal(t, exitFailure, p.run([]string{"version"}))
	require.Contains(t, said.String(), `f2pad: this is a bug in f2pad: boom\x1b`)
	require.NotContains(t, said.String(), "\x1b")
}

func TestWordsForPeople(t *testing.T) {
	in := pictures(t, "a.png")
	r := score(t, t.TempDir(), in)
	require.Contains(t, r.out, "1 image: ")
	r = f2pad(t, "score", "--model", filepath.Join(in, "none"), "--out", t.TempDir(), in)
	require.Equal(t, 1, strings.Count(r.err, filepath.Join(in, "none")), r.err)
}
