package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine/backbone/pretrained"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/stretchr/testify/require"
)

// completed are the words that shells are offered, and what they are to do beside, as cobra's own test of it says.
func completed(t *testing.T, line ...string) (words []string, directive string) {
	t.Helper()
	r := f2pad(t, append([]string{cobra.ShellCompNoDescRequestCmd}, line...)...)
	require.Equal(t, exitOK, r.code, r.err)
	for word := range strings.Lines(r.out) {
		words = append(words, strings.TrimSpace(word))
	}
	_, directive, _ = strings.Cut(strings.TrimSpace(r.err), "directive: ")
	return words[:len(words)-1], strings.ReplaceAll(directive, "ShellCompDirective", "")
}

func TestCompletion(t *testing.T) {
	emptyCache(t)
	networks := []string{"efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"}
	for _, c := range []struct {
		line, words, directive string
	}{
		{"score --refine ", "none residual f2pad", "NoFileComp"},
		{"eval --refine none,", "none,residual none,f2pad", "NoSpace, NoFileComp"},
		{"eval --refine ", "none residual f2pad", "NoSpace, NoFileComp"},
		{"fit --method ", "padim patchcore cflow", "NoFileComp"},
		{"fit --size ", "native", "NoFileComp"},
		{"fit --channels ", "rgb bgr", "NoFileComp"},
		{"fit --white-level ", "auto", "NoFileComp"},
		{"fit --backbone ", strings.Join(append([]string{"scatter"}, networks...), " "), "Default"},
		{"fit --layers ", "", "NoFileComp"},
		{"fit --data ", "", "FilterDirs"},
		{"fit --roi ", "", "Default"},
		{"demo --device ", "auto cpu", "NoFileComp"},
		{"demo --executor ", "auto go ort", "NoFileComp"},
		{"score --model ", "f2pad", "FilterFileExt"},
		{"score --backbone ", "onnx", "FilterFileExt"},
		{"score --batch ", "", "NoFileComp"},
		{"score --ort-lib ", "", "Default"},
		{"inspect ", "f2pad onnx", "FilterFileExt"},
		{"inspect a.f2pad ", "", "NoFileComp"},
		{"calibrate ", "--images f2pad", "FilterFileExt"},
		{"merge --out d part1 ", "", "FilterDirs"},
		{"score --model m --out d a.png ", "", "Default"},
		{"backbones path ", strings.Join(networks, " "), "NoFileComp"},
		{"backbones add efficientnet-lite0 ", "", "Default"},
		{"version ", "", "NoFileComp"},
	} {
		words, directive := completed(t, strings.Split(c.line, " ")...)
		require.Equal(t, c.words, strings.Join(words, " "), c.line)
		require.Equal(t, c.directive, directive, c.line)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		require.Contains(t, f2pad(t, "completion", shell).out, "__complete", shell)
	}
}

// TestEveryArgumentIsCompleted: whoever adds a verb that takes some says what they are.
func TestEveryArgumentIsCompleted(t *testing.T) {
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		takes := cmd.Args != nil && (cmd.Args(cmd, []string{"x"}) == nil || cmd.Args(cmd, []string{"x", "y"}) == nil)
		if takes {
			words, directive := cmd.ValidArgsFunction(cmd, nil, "")
			require.False(t, directive == cobra.ShellCompDirectiveNoFileComp && len(words) == 0, cmd.CommandPath())
		}
		for _, verb := range cmd.Commands() {
			visit(verb)
		}
	}
	visit((&program{networks: pretrained.Networks()}).command())
}

func TestManual(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	t.Setenv("TZ", "UTC")
	dir := filepath.Join(t.TempDir(), "man1")
	r := f2pad(t, "man", "--out", dir)
	require.Equal(t, outcome{exitOK, "manual: 19 pages in " + dir + "\n", ""}, r)
	m := messages(t, f2pad(t, "man", "--out", dir, "--json").out)[0]
	require.Equal(t, dir, m["path"])
	for name := range filesBelow(t, dir) {
		require.Contains(t, m["pages"], name)
	}
	require.Len(t, m["pages"], 19)

	// Pages say what the help says: nothing in it is taken for Markdown.
	roff := strings.NewReplacer(`\&`, "", `\fB`, "", `\fP`, "")
	page := roff.Replace(content(t, dir, "f2pad-score.1"))
	for _, text := range []string{
		`.TH "F2PAD-SCORE" "1" "Jan 1970" "f2pad `, "maps/NAME.tiff (float32), masks/NAME.png", "--refine=none|residual|f2pad", "--roi=FILE", "--batch=N", "(default 1024)",
		"FILE with a mask, white where it is", "--device=auto|cpu|cuda|cuda:N,...", "(default auto)", "$F2PAD_ORT_LIB",
		"  f2pad score --model leather.f2pad --out results --maps --masks --overlays photos/*.png",
	} {
		require.Contains(t, page, text)
	}
	require.Contains(t, roff.Replace(content(t, dir, "f2pad-backbones-add.1")), "the *.pth file in them")

	cmd := &cobra.Command{Use: "x", Short: "_x_", Long: "a *b* _c_ `d` [e](f) <g> h|i \\ ~~j~~", Run: func(*cobra.Command, []string) {}}
	markdown(cmd)
	var out bytes.Buffer
	require.NoError(t, doc.GenMan(cmd, nil, &out))
	require.Contains(t, out.String(), "x - _x_\n")
	require.Contains(t, out.String(), "a *b* _c_ `d` [e](f) <g> h|i \\\\ ~~j~~\n")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	r = f2pad(t, "man", "--out", file)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, file)
	require.Equal(t, exitUsage, f2pad(t, "man").code)
}

func TestReleasesHaveTheirNames(t *testing.T) {
	require.NotEmpty(t, version())
	release = "v0.5.0"
	defer func() { release = "" }()
	require.Equal(t, "v0.5.0", version())
}
