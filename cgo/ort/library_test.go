//go:build cgo

package ort

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// lookAt names the library that a process of its own is to look at: each has one only.
const lookAt = "F2PAD_ORT_TEST_LOOK"

// TestLookProcess is what runs in that process.
func TestLookProcess(t *testing.T) {
	library, ok := os.LookupEnv(lookAt)
	if !ok {
		t.Skip("SKIPPED here: the tests of Look run it in processes of its own")
	}
	var all []Status
	for range 2 { // what failed once fails again, and does not crash then, either
		all = append(all, Look(library))
	}
	_, err := Open(Options{Library: library})
	require.Equal(t, all[1].Loaded, err == nil)
	if err != nil {
		require.ErrorIs(t, err, ErrNoLibrary)
		require.Equal(t, all[1].Reason, err.Error())
	}
	text, err := json.Marshal(all[1])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(os.Getenv(lookAt+"_RESULT"), text, 0o666))
}

// look is Look in a process of its own.
func look(t *testing.T, library string, env ...string) (s Status) {
	t.Helper()
	result := filepath.Join(t.TempDir(), "status.json")
	c := exec.Command(os.Args[0], "-test.run=^TestLookProcess$")
	c.Env = append(os.Environ(), lookAt+"="+library, lookAt+"_RESULT="+result)
	c.Env = append(c.Env, env...)
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	text, err := os.ReadFile(result)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &s))
	return s
}

func refused(t *testing.T, s Status, library, reason string) {
	t.Helper()
	require.Equal(t, Status{Library: library, Reason: s.Reason}, s)
	require.Contains(t, s.Reason, ErrNoLibrary.Error())
	require.Contains(t, s.Reason, reason)
}

func TestLookAtWhatIsNoLibrary(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, content, 0o666))
		return path
	}
	missing := filepath.Join(dir, "missing.so")
	refused(t, look(t, missing), missing, "no such file")
	refused(t, look(t, dir), dir, "not a file")
	for name, content := range map[string][]byte{"empty.so": nil, "text.so": []byte("This is no library.\n"), "zeros.so": make([]byte, 1<<12)} {
		path := file(name, content)
		refused(t, look(t, path), path, name)
	}
	dangling := filepath.Join(dir, "dangling.so")
	require.NoError(t, os.Symlink(missing, dangling))
	refused(t, look(t, dangling), dangling, "no such file")
}

// compiled makes a shared library of C.
func compiled(t *testing.T, source string) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: libraries are made for Linux only")
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("SKIPPED: there is no C compiler")
	}
	path := filepath.Join(t.TempDir(), "library.so")
	c := exec.Command(cc, "-shared", "-fPIC", "-x", "c", "-o", path, "-")
	c.Stdin = bytes.NewBufferString(source)
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// old is a library that knows no interface that this program could use.
const old = `
static const void *get(unsigned version) { return 0; }
static const char *version(void) { return "1.9.0"; }
static const struct { const void *(*get)(unsigned); const char *(*version)(void); } base = {get, version};
const void *OrtGetApiBase(void) { return &base; }
`

func TestLookAtTheWrongLibrary(t *testing.T) {
	path := compiled(t, "int other(void) { return 1; }")
	refused(t, look(t, path), path, "OrtGetApiBase")
	path = compiled(t, old)
	refused(t, look(t, path), path, "version "+Version+" or later is needed")
	path = compiled(t, "extern int nowhere; int *p = &nowhere;")
	refused(t, look(t, path), path, "nowhere")
}

// A library that was cut off would kill the process, and the system's loader says nothing of use about one for another
// processor.
func TestLookAtADamagedLibrary(t *testing.T) {
	whole := compiled(t, "int table[1 << 16] = {1};")
	content, err := os.ReadFile(whole)
	require.NoError(t, err)
	for _, share := range []int{2, 20, 50, 90} {
		path := filepath.Join(t.TempDir(), "cut.so")
		require.NoError(t, os.WriteFile(path, content[:len(content)*share/100], 0o666))
		refused(t, look(t, path), path, "not a whole shared library")
	}
	bare := bytes.Clone(content) // without the section headers, which lie behind all else
	clear(bare[0x28:0x30])
	clear(bare[0x3c:0x40])
	path := filepath.Join(t.TempDir(), "bare.so")
	require.NoError(t, os.WriteFile(path, bare[:len(bare)/2], 0o666))
	refused(t, look(t, path), path, "has been cut off")
	f, err := elf.NewFile(bytes.NewReader(content))
	require.NoError(t, err)
	for _, c := range []struct {
		at     int // in the ELF header
		value  uint16
		reason string
	}{
		{18, uint16(elf.EM_S390), fmt.Sprintf("is for EM_S390, not for %v", f.Machine)},
		{16, uint16(elf.ET_EXEC), "not a shared library"},
	} {
		changed := bytes.Clone(content)
		binary.LittleEndian.PutUint16(changed[c.at:], c.value)
		path := filepath.Join(t.TempDir(), "changed.so")
		require.NoError(t, os.WriteFile(path, changed, 0o666))
		refused(t, look(t, path), path, c.reason)
	}
}

// Without a path the variable has its say, then the cache; none is passed over because it does not work.
func TestWhereTheLibraryIsLookedFor(t *testing.T) {
	dir := t.TempDir()
	wrong := filepath.Join(dir, "wrong.so")
	require.NoError(t, os.WriteFile(wrong, []byte("wrong"), 0o666))
	refused(t, look(t, "", Environment+"="+wrong, "XDG_CACHE_HOME="+dir), wrong, "wrong.so")

	empty := look(t, "", Environment+"=", "XDG_CACHE_HOME="+dir)
	if empty.Loaded {
		t.Logf("this system has the library: %v", empty)
	}
	require.Equal(t, libraryName(), empty.Library)

	cached := filepath.Join(dir, "f2pad", "ort", Version, runtime.GOOS+"-"+runtime.GOARCH, libraryName())
	require.NoError(t, os.MkdirAll(filepath.Dir(cached), 0o777))
	require.NoError(t, os.WriteFile(cached, []byte("wrong"), 0o666))
	refused(t, look(t, "", Environment+"=", "XDG_CACHE_HOME="+dir), cached, libraryName())
	home := filepath.Join(dir, "home")
	require.NoError(t, os.Mkdir(home, 0o777))
	require.NoError(t, os.Rename(filepath.Join(dir, "f2pad"), filepath.Join(home, "f2pad")))
	require.NoError(t, os.Rename(home, filepath.Join(dir, ".cache")))
	cached = filepath.Join(dir, ".cache", "f2pad", "ort", Version, runtime.GOOS+"-"+runtime.GOARCH, libraryName())
	refused(t, look(t, "", Environment+"=", "XDG_CACHE_HOME=", "HOME="+dir), cached, libraryName())
}

func TestOneLibraryInAProcess(t *testing.T) {
	open(t, Options{})
	first := Look("")
	other := filepath.Join(t.TempDir(), "other.so")
	content, err := os.ReadFile(first.Library)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(other, content, 0o666))
	refused(t, Look(other), other, first.Library)
	require.Equal(t, first, Look(""), "the first one is as good as before")
	link := filepath.Join(t.TempDir(), "link.so")
	require.NoError(t, os.Symlink(first.Library, link))
	require.Equal(t, first, Look(link), "another name for the same one")
}

func TestOpenRefusesOptions(t *testing.T) {
	for _, o := range []Options{{Threads: -1}, {Ordinal: -1}, {Provider: "abacus"}} {
		_, err := Open(o)
		require.Error(t, err, "%+v", o)
		require.NotErrorIs(t, err, ErrNoLibrary)
	}
}
