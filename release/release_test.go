package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	out, err := output(dir, env, name, args...)
	require.NoError(t, err)
	return out
}

// repository commits files as a repository of the test's own, of a fixed time, and returns its folder.
func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: releases are not tested: there is no git")
	}
	for name, value := range map[string]string{
		"GIT_AUTHOR_DATE": "2021-02-03T04:05:06Z", "GIT_COMMITTER_DATE": "2021-02-03T04:05:06Z", "GIT_CONFIG_GLOBAL": os.DevNull,
		"GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": "x", "GIT_COMMITTER_NAME": "x", "GIT_COMMITTER_EMAIL": "x",
	} {
		t.Setenv(name, value)
	}
	dir := t.TempDir()
	for name, text := range files {
		put(t, filepath.Join(dir, name), text)
	}
	run(t, dir, nil, "git", "init", "-q")
	run(t, dir, nil, "git", "add", "-A")
	run(t, dir, nil, "git", "commit", "-q", "-m", "x")
	return dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
}

func TestVersions(t *testing.T) {
	dir := repository(t, map[string]string{"go.mod": "module f2pad.example\n", ".gitignore": "ignored\n"})
	commit := strings.TrimSpace(run(t, dir, nil, "git", "rev-parse", "HEAD"))
	find := func(version string, dirty bool) source {
		s, err := findSource(filepath.Join(dir, "."), version, dirty)
		require.NoError(t, err)
		return s
	}
	refused := func(version, why string) {
		_, err := findSource(dir, version, false)
		require.ErrorContains(t, err, why)
	}
	s := find("", false)
	require.Equal(t, "v0.0.0-20210203040506-"+commit[:12], s.version)
	require.Equal(t, time.Date(2021, 2, 3, 4, 5, 6, 0, time.UTC), s.time)
	require.Equal(t, "v0.5.0", find("v0.5.0", false).version)
	for _, v := range []string{"0.5.0", "v0.5", "v2.0.0", "v1.0.0+x", "latest"} {
		refused(v, fmt.Sprintf("version %q: must be vX.Y.Z", v))
	}
	for _, tag := range []string{"v0.9.0", "v0.10.0", "nightly", "v2.0.0"} {
		run(t, dir, nil, "git", "tag", tag)
	}
	require.Equal(t, "v0.10.0", find("", false).version)

	put(t, filepath.Join(dir, "ignored"), "")
	require.Equal(t, "HEAD", find("", false).revision)
	put(t, filepath.Join(dir, "new.go"), "package x\n")
	refused("", "changes that are not committed")
	refused("", "?? new.go")
	s = find("", true)
	require.Equal(t, "v0.10.0-dirty", s.version)
	require.Equal(t, []string{"new.go"}, s.untracked)
	put(t, filepath.Join(dir, "go.mod"), "module f2pad.example\n\ngo 1.26.0\n")
	refused("", " M go.mod")
	s = find("v0.11.0", true)
	require.Equal(t, "v0.11.0-dirty", s.version)
	require.Contains(t, run(t, dir, nil, "git", "show", s.revision+":go.mod"), "go 1.26.0")

	run(t, dir, nil, "git", "add", "-A")
	run(t, dir, nil, "git", "commit", "-q", "-m", "y")
	commit = strings.TrimSpace(run(t, dir, nil, "git", "rev-parse", "HEAD"))
	require.Equal(t, "v0.10.1-0.20210203040506-"+commit[:12], find("", false).version)
	refused("v0.9.0", "its tag is another commit's than HEAD")
	_, err := findSource(t.TempDir(), "", false)
	require.Error(t, err)
}

func TestPlatforms(t *testing.T) {
	var log strings.Builder
	all, err := chosen("", &log)
	require.NoError(t, err)
	require.Equal(t, len(targets), len(all)+strings.Count(log.String(), "left out linux_amd64_cuda"))
	some, err := chosen("linux_arm64,windows_amd64", &log)
	require.NoError(t, err)
	require.Equal(t, []target{{"linux", "arm64", false}, {"windows", "amd64", false}}, some)
	_, err = chosen("plan9_amd64", &log)
	require.ErrorContains(t, err, `unknown platform "plan9_amd64": want some of [linux_amd64 linux_amd64_cuda `)
}

// TestArchivesAreTheSame whatever the order of their entries, and who owns the files, which they say nothing of.
func TestArchivesAreTheSame(t *testing.T) {
	at := time.Date(2021, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))
	for _, name := range []string{"a.tar.gz", "a.zip"} {
		var before []byte
		for i, mode := range []fs.FileMode{0o600, 0o755} {
			file := filepath.Join(t.TempDir(), "program")
			require.NoError(t, os.WriteFile(file, []byte("program"), mode))
			require.NoError(t, os.Chtimes(file, time.Time{}, time.Unix(int64(i+1)*1e6, 0)))
			entries := []entry{{name: "a/bin/program", file: file, executable: true}, {name: "a/LICENSE", text: "text"}}
			if i == 1 {
				entries[0], entries[1] = entries[1], entries[0]
				at = at.UTC()
			}
			path := filepath.Join(t.TempDir(), name)
			require.NoError(t, writeArchive(path, entries, at))
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			if i == 1 {
				require.Equal(t, before, data, name)
			}
			before = data
		}
	}
	require.Error(t, writeArchive(filepath.Join(t.TempDir(), "a.zip"), []entry{{name: "x", file: "absent"}}, at))
}

func TestNeededGlibc(t *testing.T) {
	_, err := neededGlibc(filepath.Join("..", "go.mod"))
	require.Error(t, err)
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" || !compilesC() {
		t.Skip("SKIPPED: what glibc a program needs is not tested: there is no C compiler for linux/amd64")
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "main.c"), "int puts(const char *); int main(void) { return puts(\"x\"); }\n")
	program := filepath.Join(dir, "main")
	run(t, dir, nil, "cc", "-o", program, "main.c")
	needs, err := neededGlibc(program)
	require.NoError(t, err)
	want := 2 // the oldest of this processor is 2.2.5; __libc_start_main has been 2.34's since then
	if strings.Contains(run(t, dir, nil, "objdump", "-T", program), "GLIBC_2.34") {
		want = 34
	}
	require.Equal(t, want, needs)
	run(t, dir, nil, "cc", "-static", "-o", program, "main.c")
	_, err = neededGlibc(program)
	require.Error(t, err)
}

// snapshot commits this tree, as it is, as v0.5.0 of a repository of the test's own.
func snapshot(t *testing.T) string {
	t.Helper()
	root, err := output(".", nil, "git", "rev-parse", "--show-toplevel")
	if err != nil {
		t.Skip("SKIPPED: no release is made: this is no git repository, or there is no git")
	}
	root = strings.TrimSpace(root)
	files := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(run(t, root, nil, "git", "ls-files", "-coz", "--exclude-standard"), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // removed, but not yet in git's eyes
		}
		require.NoError(t, err)
		files[name] = string(data)
	}
	dir := repository(t, files)
	run(t, dir, nil, "git", "tag", "v0.5.0")
	return dir
}

func filesBelow(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	sums := map[string][sha256.Size]byte{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		rel, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		sums[filepath.ToSlash(rel)] = sha256.Sum256(data)
		return nil
	}))
	return sums
}

// TestARelease makes one of this tree twice, in other folders; runs what is in the archive; and installs the program from the module
// proxy as its users do.
func TestARelease(t *testing.T) {
	if os.Getenv("F2PAD_RELEASE") != "1" {
		t.Skip("SKIPPED: no release is made, for that compiles all of the program, several times: make test-release")
	}
	first := snapshot(t)
	second := filepath.Join(t.TempDir(), "another", "folder")
	run(t, first, nil, "git", "clone", "-q", first, second)
	here := target{os: runtime.GOOS, arch: runtime.GOARCH}
	var dist [2]string
	for i, dir := range []string{first, second} {
		t.Setenv("TZ", []string{"UTC", "Asia/Tokyo"}[i])
		dist[i] = t.TempDir()
		r := release{out: dist[i], targets: []target{here}, log: io.Discard}
		require.NoError(t, r.make(dir))
	}
	sums := filesBelow(t, dist[0])
	require.Equal(t, sums, filesBelow(t, dist[1]))
	name := fmt.Sprintf("f2pad_v0.5.0_%s", here)
	proxied := "proxy/f2pad.example/@v/v0.5.0"
	listed, err := os.ReadFile(filepath.Join(dist[0], sumsFile))
	require.NoError(t, err)
	for _, file := range []string{name + here.archive(), proxied + ".info", proxied + ".mod", proxied + ".zip"} {
		require.Contains(t, string(listed), fmt.Sprintf("%x  %s\n", sums[file], file))
	}
	require.Equal(t, 4, strings.Count(string(listed), "\n"))

	prefix := t.TempDir()
	unpackArchive(t, filepath.Join(dist[0], name+here.archive()), prefix)
	says := "f2pad v0.5.0 (" + run(t, first, nil, "go", "env", "GOVERSION")
	exe := filepath.Join(prefix, "bin", "f2pad")
	require.True(t, strings.HasPrefix(run(t, prefix, nil, exe, "version"), strings.TrimSpace(says)))
	for file, want := range map[string]string{
		"share/man/man1/f2pad.1":                     "Feb 2021",
		"share/man/man1/f2pad-score.1":               "f2pad v0.5.0",
		"share/man/man1/f2pad-backbones-add.1":       "NAME",
		"share/bash-completion/completions/f2pad":    "bash completion",
		"share/zsh/site-functions/_f2pad":            "#compdef f2pad",
		"share/fish/vendor_completions.d/f2pad.fish": "complete -c f2pad",
		"share/powershell/f2pad.ps1":                 "Register-ArgumentCompleter",
		"share/doc/f2pad/LICENSE":                    "Apache License",
		"share/doc/f2pad/README.md":                  "# F2PAD",
		"share/doc/f2pad/LICENSES-OF-OTHERS":         "github.com/spf13/cobra ",
	} {
		data, err := os.ReadFile(filepath.Join(prefix, file))
		require.NoError(t, err)
		require.Contains(t, string(data), want, file)
	}

	// Modules of others come from the cache of this machine, as if from a proxy.
	cache := strings.TrimSpace(run(t, first, nil, "go", "env", "GOMODCACHE"))
	path, bin := t.TempDir(), t.TempDir()
	env := []string{
		"GOPATH=" + path, "GOMODCACHE=" + filepath.Join(path, "pkg", "mod"), "GOBIN=" + bin, "GOFLAGS=-modcacherw -trimpath", "CGO_ENABLED=0",
		"GOPROXY=file://" + filepath.ToSlash(dist[0]) + "/proxy,file://" + filepath.ToSlash(cache) + "/cache/download",
		"GOSUMDB=off", "GONOSUMDB=f2pad.example", "GOWORK=off",
	}
	for _, version := range []string{"v0.5.0", "latest"} {
		run(t, path, env, "go", "install", "f2pad.example/cmd/f2pad@"+version)
		require.True(t, strings.HasPrefix(run(t, bin, nil, filepath.Join(bin, "f2pad"), "version"), strings.TrimSpace(says)))
	}

	// The next release stands beside it.
	put(t, filepath.Join(first, "docs", "new.md"), "new\n")
	src, err := findSource(first, "v0.6.0", true)
	require.NoError(t, err)
	_, err = writeProxy(src, filepath.Join(dist[0], "proxy"))
	require.NoError(t, err)
	list, err := os.ReadFile(filepath.Join(dist[0], "proxy", modulePath, "@v", "list"))
	require.NoError(t, err)
	require.Equal(t, "v0.5.0\nv0.6.0-dirty\n", string(list))
}

// unpackArchive unpacks a .tar.gz without its outermost folder, as tar --strip-components=1 does.
func unpackArchive(t *testing.T, path, prefix string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	z, err := gzip.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
		require.Equal(t, "2021-02-03T04:05:06Z", h.ModTime.UTC().Format(time.RFC3339))
		_, name, _ := strings.Cut(h.Name, "/")
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		put(t, filepath.Join(prefix, name), string(text))
		require.NoError(t, os.Chmod(filepath.Join(prefix, name), h.FileInfo().Mode()))
	}
}
