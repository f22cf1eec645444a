package dataset

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"f2pad.example/engine/imageio"

	"github.com/stretchr/testify/require"
)

// packedMember is a member of a test's archive.
type packedMember struct {
	name, content string
	kind          byte // of tar; 0: a file
}

func membersOf(names ...string) (all []packedMember) {
	for _, name := range names {
		all = append(all, packedMember{name: name, content: "content of " + name})
	}
	return all
}

func tarOf(t testing.TB, members ...packedMember) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.content)), Typeflag: m.kind}
		if m.kind != 0 && m.kind != tar.TypeReg {
			h.Size, h.Linkname = 0, "/etc/passwd"
		}
		require.NoError(t, w.WriteHeader(h))
		if h.Size > 0 {
			_, err := io.WriteString(w, m.content)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func gzipOf(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zipOf(t testing.TB, members ...packedMember) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate}
		if i%2 == 0 {
			h.Method = zip.Store
		}
		switch m.kind {
		case tar.TypeSymlink:
			h.SetMode(fs.ModeSymlink | 0o777)
		case tar.TypeFifo:
			h.SetMode(fs.ModeNamedPipe | 0o644)
		}
		f, err := w.CreateHeader(h)
		require.NoError(t, err)
		_, err = io.WriteString(f, m.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// write writes a file into the present folder.
func write(t testing.TB, name string, data []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, data, 0o600))
}

// taken is what was found in inputs: "ID of PATH: content", or the error.
func taken(t testing.TB, s Search, args ...string) (all []string) {
	t.Helper()
	for it, err := range s.Inputs(args, strings.NewReader("")) {
		if err == nil {
			var f fs.File
			if f, _, err = it.Open(); err == nil {
				var data []byte
				if data, err = io.ReadAll(f); err == nil {
					all = append(all, fmt.Sprintf("%s of %s: %s", it.ID, it.Path, data))
				}
				require.NoError(t, f.Close())
			}
		}
		if err != nil {
			all = append(all, "error: "+err.Error())
		}
		it.Release()
	}
	return all
}

// archives writes the members as every kind of archive.
func archives(t testing.TB, members ...packedMember) []string {
	t.Helper()
	write(t, "a.tar", tarOf(t, members...))
	write(t, "a.tar.gz", gzipOf(t, tarOf(t, members...)))
	write(t, "A.TGZ", gzipOf(t, tarOf(t, members...)))
	write(t, "a.zip", zipOf(t, members...))
	return []string{"a.tar", "a.tar.gz", "A.TGZ", "a.zip"}
}

func TestArchivesAreInputs(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range archives(t, membersOf("b/2.png", "b/1.jpg", "b/1.png", "b/1.json", "b/1.cls", "inner.tar", ".hidden.png", "__MACOSX/._1.png", "./c.png")...) {
		var ignored []string
		s := Search{Ignored: func(path string) { ignored = append(ignored, path) }}
		want := []string{"b/2.png of %s/b/2.png: content of b/2.png", "b/1.jpg of %s/b/1.jpg: content of b/1.jpg",
			"b/1~2.png of %s/b/1.png: content of b/1.png", "c.png of %s/c.png: content of ./c.png"}
		for i := range want {
			want[i] = fmt.Sprintf(want[i], name)
		}
		require.Equal(t, want, taken(t, s, name), "in the archive's order")
		require.Equal(t, []string{name + "/b/1.json", name + "/b/1.cls", name + "/inner.tar"}, ignored)

		dir, err := os.Getwd()
		require.NoError(t, err)
		beside := taken(t, s, name, filepath.Join(dir, name))
		require.Len(t, beside, 8)
		require.Contains(t, beside[0], name+"/b/2.png of ")
		require.Contains(t, beside[4], strings.TrimPrefix(filepath.ToSlash(dir), "/")+"/"+name+"/b/2.png of ")
		require.Equal(t, want, taken(t, s, name))
	}
	var fromGlob, fromList []string
	for it, err := range Inputs([]string{"a.*"}, nil, nil) {
		require.NoError(t, err)
		fromGlob = append(fromGlob, it.Path)
		it.Release()
	}
	for it, err := range Inputs([]string{"-"}, strings.NewReader("a.tar\na.tar.gz\na.zip\n"), nil) {
		require.NoError(t, err)
		fromList = append(fromList, it.Path)
		it.Release()
	}
	var whole []string
	for it, err := range (Search{Whole: true}).Inputs([]string{"a.*", "absent.tar"}, nil) {
		require.Equal(t, it.Path == "absent.tar", err != nil)
		require.Nil(t, it.Source)
		whole = append(whole, it.Path)
	}
	require.Equal(t, []string{"a.tar", "a.tar.gz", "a.zip", "absent.tar"}, whole)
	require.Len(t, fromGlob, 12)
	require.Equal(t, fromGlob, fromList)
	require.Empty(t, found(t, "", ".")[1:], "those in folders are passed over")
}

func TestMembersAreOpenedWhereTheyAre(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range archives(t, membersOf("a.png", "b.png")...) {
		at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
		require.NoError(t, os.Chtimes(name, at, at))
		var items []Item
		for it, err := range Inputs([]string{name}, nil, nil) {
			require.NoError(t, err)
			items = append(items, it)
		}
		require.Len(t, items, 2)
		for i, it := range items {
			want := "content of " + string("ab"[i]) + ".png"
			for range 2 {
				f, info, err := it.Open()
				require.NoError(t, err)
				require.EqualValues(t, len(want), info.Size())
				require.True(t, info.Mode().IsRegular())
				require.True(t, at.Equal(info.ModTime()), "its archive's")
				data, err := io.ReadAll(f)
				require.NoError(t, err)
				require.Equal(t, want, string(data))
				if r, ok := f.(io.ReaderAt); ok {
					data = make([]byte, 4)
					_, err := r.ReadAt(data, 3)
					require.NoError(t, err)
					require.Equal(t, want[3:7], string(data))
				}
				require.NoError(t, f.Close())
			}
			require.Equal(t, name, it.Archive())
		}
		compressed := strings.Contains(strings.ToLower(name), "gz")
		if !compressed {
			require.NoError(t, os.Chtimes(name, at, at.Add(time.Second)))
			_, _, err := items[0].Open()
			require.ErrorIs(t, err, errChanged)
			require.NoError(t, os.Remove(name))
			_, _, err = items[0].Open()
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
		for _, it := range items {
			it.Release()
			it.Release()
		}
		if compressed {
			_, _, err := items[0].Open()
			require.ErrorIs(t, err, errReleased)
		}
	}
	require.Empty(t, Item{Path: "a.png"}.Archive())
	Item{Path: "a.png"}.Release()
}

// TestBadMembersFailByName: none is followed, none leads out of the archive, and the rest is there.
func TestBadMembersFailByName(t *testing.T) {
	t.Chdir(t.TempDir())
	out := "a name that leads out of the archive"
	for _, c := range []struct {
		member packedMember
		want   string // "" where it is passed over
		tar    bool   // only
	}{
		{packedMember{name: "../x.png"}, out, false},
		{packedMember{name: "a/../../x.png"}, out, false},
		{packedMember{name: "a/../x.png"}, out, false},
		{packedMember{name: "/etc/x.png"}, out, false},
		{packedMember{name: `..\x.png`}, out, false},
		{packedMember{name: `C:\x.png`}, out, false},
		{packedMember{name: "../x.txt"}, "", false},
		{packedMember{name: "link.png", kind: tar.TypeSymlink}, "a link in an archive, which is not followed", false},
		{packedMember{name: "link.txt", kind: tar.TypeSymlink}, "", false},
		{packedMember{name: "hard.png", kind: tar.TypeLink}, "a link in an archive, which is not followed", true},
		{packedMember{name: "pipe.png", kind: tar.TypeFifo}, "a device in an archive, which is not followed", false},
		{packedMember{name: "disk.png", kind: tar.TypeBlock}, "a device in an archive, which is not followed", true},
		{packedMember{name: "tty.png", kind: tar.TypeChar}, "a device in an archive, which is not followed", true},
		{packedMember{name: "good.png"}, "another member of the archive has that name", false},
		{packedMember{name: "big.png", content: strings.Repeat("x", 101)}, "image too large: 101 bytes, at most 100 are allowed", false},
	} {
		for _, name := range archives(t, packedMember{name: "good.png", content: "1"}, c.member, packedMember{name: "last.png", content: "2"}) {
			if c.tar && name == "a.zip" {
				continue
			}
			passed := 0
			got := taken(t, Search{MaxBytes: 100, Ignored: func(string) { passed++ }}, name)
			want := []string{"good.png of " + name + "/good.png: 1", "last.png of " + name + "/last.png: 2"}
			if c.want == "" {
				require.Equal(t, 1, passed)
			} else {
				want = []string{want[0], "error: " + name + "/" + c.member.name + ": " + c.want, want[1]}
			}
			require.Equal(t, want, got)
		}
	}
}

// TestBrokenArchivesFailBehindTheirGoodMembers: wherever they are cut off, and whichever byte is wrong.
func TestBrokenArchivesFailBehindTheirGoodMembers(t *testing.T) {
	t.Chdir(t.TempDir())
	good := tarOf(t, membersOf("a.png", "b.png", "c.png")...)
	want := []string{"a.png of x.tar/a.png: content of a.png", "b.png of x.tar/b.png: content of b.png", "c.png of x.tar/c.png: content of c.png"}
	for cut := 0; cut < len(good)-endMark+1; cut += 64 {
		write(t, "x.tar", good[:cut])
		got := taken(t, Search{}, "x.tar")
		whole := 0
		for ; whole < 3 && cut >= whole*1024+512+len("content of a.png"); whole++ {
		}
		require.Equal(t, want[:whole], got[:whole], "cut at %d", cut)
		require.Len(t, got, whole+1)
		require.Contains(t, got[whole], "error: x.tar: truncated archive")

		write(t, "x.tar.gz", gzipOf(t, good[:cut]))
		packed := taken(t, Search{}, "x.tar.gz")
		for i := range packed {
			packed[i] = strings.ReplaceAll(packed[i], "x.tar.gz", "x.tar")
		}
		require.Equal(t, got, packed)
	}
	packed := gzipOf(t, good)
	for cut := range packed {
		write(t, "x.tgz", packed[:cut])
		got := taken(t, Search{}, "x.tgz")
		require.Regexp(t, `^error: x.tgz: (truncated|corrupt) archive`, got[len(got)-1])
	}
	for at := 10; at < len(packed); at++ { // behind what names and dates it
		broken := bytes.Clone(packed)
		broken[at] ^= 0x55
		write(t, "x.tgz", broken)
		got := taken(t, Search{}, "x.tgz")
		require.Contains(t, got[len(got)-1], "error: x.tgz: ", "byte %d", at)
	}
	bad := bytes.Clone(good)
	bad[1024] ^= 1 // in the second header
	write(t, "x.tar", bad)
	require.Equal(t, []string{want[0], "error: x.tar: corrupt archive: archive/tar: invalid tar header"}, taken(t, Search{}, "x.tar"))
	write(t, "x.tar", append(bytes.Clone(good), good...))
	require.Equal(t, append(want, "error: x.tar: corrupt archive: there is more behind its end"), taken(t, Search{}, "x.tar"))
	write(t, "x.tar", append(bytes.Clone(good), make([]byte, 10240)...))
	require.Equal(t, want, taken(t, Search{}, "x.tar"))

	for name, data := range map[string][]byte{"x.zip": []byte("no archive"), "y.zip": zipOf(t, membersOf("a.png")...)[:40]} {
		write(t, name, data)
		require.Equal(t, []string{"error: " + name + ": corrupt archive: there is no directory at its end"}, taken(t, Search{}, name))
	}
}

func TestBrokenMembersOfZipFailAlone(t *testing.T) {
	t.Chdir(t.TempDir())
	good := zipOf(t, membersOf("a.png", "b.png", "c.png")...)
	at := bytes.Index(good, []byte("content of a.png"))
	bad := bytes.Clone(good)
	bad[at] ^= 1
	write(t, "x.zip", bad)
	got := taken(t, Search{}, "x.zip")
	require.Equal(t, "error: corrupt archive: a wrong checksum", got[0])
	require.Contains(t, got[2], "c.png of x.zip/c.png")

	central := bytes.Index(good, []byte("PK\x01\x02"))
	for what, change := range map[string]func([]byte){
		"encrypted in its archive":            func(b []byte) { b[central+8] |= 1 },
		"method 12":                           func(b []byte) { b[central+10] = 12 },
		"sizes that cannot be":                func(b []byte) { b[central+20]++ },
		"zip: not a valid zip file":           func(b []byte) { b[0] = 'x' },
		"image too large: 4294967294 bytes":   func(b []byte) { binary.LittleEndian.PutUint32(b[central+24:], 1<<32-2) },
		"another member of the archive has":   func(b []byte) { copy(b[bytes.LastIndex(b, []byte("b.png")):], "a.png") },
		"longer than it is said to be":        func(b []byte) { b[bytes.LastIndex(b, []byte("b.png"))-46+24]-- },
		"truncated archive":                   func(b []byte) { b[bytes.LastIndex(b, []byte("b.png"))-46+24]++ },
		"error: corrupt archive: flate: corr": func(b []byte) { b[bytes.Index(b, []byte("b.png"))+5] |= 6 },
	} {
		bad := bytes.Clone(good)
		change(bad)
		write(t, "x.zip", bad)
		got := taken(t, Search{}, "x.zip")
		require.Len(t, got, 3, what)
		require.Contains(t, strings.Join(got, "\n"), what)
		require.Contains(t, got[2], "c.png of x.zip/c.png", "%s", what)
		require.Equal(t, 1, strings.Count(strings.Join(got, "\n"), "error: "), "%s: %v", what, got)
	}
}

// TestBombsAreBounded: what is said of a size is not believed, and what is compressed is not read on for ever.
func TestBombsAreBounded(t *testing.T) {
	t.Chdir(t.TempDir())
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.CreateHeader(&zip.FileHeader{Name: "bomb.png", Method: zip.Deflate})
	require.NoError(t, err)
	zeros := make([]byte, 1<<20)
	for range 64 {
		_, err := f.Write(zeros)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	data := b.Bytes()
	binary.LittleEndian.PutUint32(data[bytes.LastIndex(data, []byte("bomb.png"))-46+24:], 100)
	write(t, "x.zip", data)
	got := taken(t, Search{MaxBytes: 1 << 20}, "x.zip")
	require.Equal(t, []string{"error: corrupt archive: the member is longer than it is said to be"}, got)

	h := &tar.Header{Name: "bomb.png", Size: 1 << 40, Mode: 0o644}
	b.Reset()
	tw := tar.NewWriter(&b)
	require.NoError(t, tw.WriteHeader(h))
	head := bytes.Clone(b.Bytes())
	for _, name := range []string{"y.tar", "y.tar.gz"} {
		data := head
		if strings.HasSuffix(name, "gz") {
			data = gzipOf(t, head)
		}
		write(t, name, data)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := taken(t, Search{MaxBytes: 1 << 41}, name)
		runtime.ReadMemStats(&after)
		require.Equal(t, []string{"error: " + name + ": truncated archive: it ends in bomb.png"}, got)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<23))
		require.Equal(t, "error: "+name+"/bomb.png: image too large: 1099511627776 bytes, at most 1073741824 are allowed", taken(t, Search{}, name)[0])
	}

	in := &tape{from: repeated{}, packed: &tape{}}
	in.packed.at = 1 << 20
	_, err = io.Copy(io.Discard, in)
	require.ErrorContains(t, err, "expands to more than 200 times its size")
	require.Less(t, in.at, int64(anyExpansion+1<<20))

	_, err = zip.NewReader(&metered{bytes.NewReader(data), 10}, int64(len(data)))
	require.ErrorIs(t, err, errManyMembers)
}

// repeated is zeros without end.
type repeated struct{}

func (repeated) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestMembersThatPassAreBounded: those in memory are waited for, as long as anybody wants more.
func TestMembersThatPassAreBounded(t *testing.T) {
	t.Chdir(t.TempDir())
	var members, zipped []packedMember
	for i := range 50 {
		members = append(members, packedMember{name: fmt.Sprintf("%02d.png", i), content: strings.Repeat("x", 40)})
	}
	members[7].content = strings.Repeat("x", 100) // alone
	for i := range members {                      // of zip those in between are not compressed
		zipped = append(zipped, packedMember{name: fmt.Sprintf("%02d.txt", i)}, members[i])
	}
	write(t, "a.tgz", gzipOf(t, tarOf(t, members...)))
	write(t, "a.zip", zipOf(t, zipped...))
	for _, name := range []string{"a.tgz", "a.zip"} {
		requirePassing(t, name)
	}
}

// requirePassing takes the members of the test above.
func requirePassing(t *testing.T, name string) {
	done := make(chan struct{})
	items := make(chan Item)
	go func() {
		defer close(items)
		for it, err := range (Search{MaxBytes: 100, Done: done}).Inputs([]string{name}, nil) {
			if err == nil {
				items <- it
			}
		}
	}()
	var have []Item
	for range 2 {
		have = append(have, <-items)
	}
	for i := 2; i < 50; i++ {
		select {
		case it := <-items:
			require.Fail(t, "too many members in memory", it.Path)
		case <-time.After(time.Millisecond):
		}
		for _, it := range have {
			it.Release()
		}
		have = []Item{<-items}
		if i < 48 && i != 6 && i != 7 {
			have = append(have, <-items)
			i++
		}
		if i > 40 {
			break
		}
	}
	close(done)
	_, more := <-items
	require.False(t, more)
}

// TestMembersHaveNamesOfTheirOwn: whatever archives, folders and other members are called, and in whatever order they come.
func TestMembersHaveNamesOfTheirOwn(t *testing.T) {
	root := t.TempDir()
	put := func(name string, members ...string) {
		name = filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		if len(members) == 0 {
			write(t, name, nil)
		} else {
			write(t, name, tarOf(t, membersOf(members...)...))
		}
	}
	put("a.tar", "b.tar/x.png", "b.tar/X.jpg", "y.png", "y.jpg")
	put("v/w/a.tar/b.tar", "x.png") // in a folder that is called like the archive above
	put("v/w/a.tar/y.png")
	put("v/w/a.tar/c/z.zip.png")
	put("v/w/A~2.tar/y.png")
	put("v/A.TAR", "y.png")
	t.Chdir(filepath.Join(root, "v", "w"))
	const above, upper, inner = "../../a.tar", "../A.TAR", "a.tar/b.tar"
	args := []string{inner, above, above, upper, "a.tar", "A~2.tar"}
	for turn := range len(args) * 2 {
		list := slices.Concat(args[turn%len(args):], args[:turn%len(args)])
		if turn >= len(args) {
			slices.Reverse(list)
		}
		seen, all := map[string]bool{}, idsIn(t, list...)
		require.Len(t, all, 1+4+4+1+2+1)
		for _, id := range all {
			out := strings.ToLower(OutputName(id, ""))
			require.False(t, seen[out], "%s in %v", id, list)
			require.True(t, filepath.IsLocal(filepath.FromSlash(out)))
			seen[out] = true
		}
	}
	require.Equal(t, []string{"a.tar/b.tar/x.png", "a.tar/b.tar/X~2.jpg", "a.tar/y.png", "a.tar/y~2.jpg", "a~2.tar/b.tar/x.png"},
		idsIn(t, above, above)[:5])
	require.Equal(t, []string{"a.tar/c/z.zip.png", "a.tar/y.png", "a~2.tar/b.tar/x.png"}, idsIn(t, "a.tar", above)[:3])
	require.Equal(t, []string{"a~2.tar/c/z.zip.png", "a~2.tar/y.png"}, idsIn(t, above, "a.tar")[4:])

	for _, name := range []string{"a.tar", "b/A.TAR.GZ", "a.tgz", "a.zip"} {
		f := archiveFolders{}
		require.Equal(t, name, f.claim(name))
		other := f.claim(name)
		require.Equal(t, kindOf(name).ending, kindOf(other).ending)
		require.NotEqual(t, other, f.claim(name))
		require.NotContains(t, []string{name + "/x", other + "/x"}, f.beside(other+"/x"))
	}
	f := archiveFolders{} // of folders that are called otherwise nothing is remembered
	for i := range 1000 {
		f.beside(fmt.Sprintf("folder/%d.png", i))
	}
	require.Empty(t, f)
}

func idsIn(t *testing.T, args ...string) (all []string) {
	t.Helper()
	for it, err := range Inputs(args, nil, nil) {
		require.NoError(t, err)
		all = append(all, it.ID)
	}
	return all
}

func TestArchivesAreNoFolders(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range archives(t, membersOf("a.png")...) {
		want := name + ": is an archive, which only score reads: unpack it, and name the folder"
		_, err := Folder(name, nil)
		require.EqualError(t, err, want)
		_, err = Training(name, nil)
		require.EqualError(t, err, want)
		_, err = MVTec(name)
		require.EqualError(t, err, want)
	}
	require.NoError(t, os.MkdirAll("b.tar/train/good", 0o700))
	write(t, "b.tar/train/good/a.png", nil)
	_, err := MVTec("b.tar")
	require.NoError(t, err, "a folder may have any name")
	require.Equal(t, []string{"train/good/a.png"}, found(t, "", "b.tar"))
	write(t, "none.tar", tarOf(t, membersOf("a.txt")...))
	for _, name := range []string{"none.tar", "gone.tar"} {
		for _, err := range Inputs([]string{name}, nil, nil) {
			require.ErrorIs(t, err, ErrNamed)
		}
	}
	var unlisted []string
	for range (Search{Unlisted: func(path string) { unlisted = append(unlisted, path) }}).Inputs([]string{"a.tar.gz"}, nil) {
		require.Fail(t, "it is not read")
	}
	require.Equal(t, []string{"a.tar.gz"}, unlisted)
	require.NotErrorIs(t, errTruncated, imageio.ErrTooLarge)
}

// Whatever an archive holds, its images stay in it, each is no longer than it is said to be and than is allowed, and reading it ends.
func FuzzArchive(f *testing.F) {
	members := append(membersOf("a.png", "b/c.jpg", "x.json"), packedMember{name: "l.png", kind: tar.TypeSymlink}, packedMember{name: "../u.png"})
	f.Add(uint8(0), tarOf(f, members...))
	f.Add(uint8(1), gzipOf(f, tarOf(f, members...)))
	f.Add(uint8(2), zipOf(f, members...))
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		const most = 1 << 16
		name := filepath.Join(t.TempDir(), []string{"a.tar", "a.tgz", "a.zip"}[kind%3])
		write(t, name, data)
		ids, outputs := 0, map[string]bool{}
		for it, err := range (Search{MaxBytes: most}).Inputs([]string{name}, nil) {
			if err != nil {
				require.True(t, strings.HasPrefix(err.Error(), it.Path+": "), err.Error())
				continue
			}
			out := strings.ToLower(OutputName(it.ID, ""))
			require.True(t, filepath.IsLocal(filepath.FromSlash(out)), out)
			require.False(t, outputs[out], out)
			outputs[out] = true
			require.Equal(t, name, it.Archive())
			if f, info, err := it.Open(); err == nil {
				require.LessOrEqual(t, info.Size(), int64(most))
				n, err := io.Copy(crc32.NewIEEE(), f)
				require.LessOrEqual(t, n, info.Size())
				if err == nil {
					require.Equal(t, info.Size(), n)
				}
				require.NoError(t, f.Close())
			}
			it.Release()
			ids++
		}
		require.Len(t, outputs, ids)
	})
}
