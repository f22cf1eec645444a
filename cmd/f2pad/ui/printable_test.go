package ui

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"plain/name 1.png": "plain/name 1.png", "größe/画像.png": "größe/画像.png", "": "",
		"\x1b[31mred": `\x1b[31mred`, "a\nb\rc\td\a": `a\nb\rc\td\a`, "\x7f\u009b1m": `\x7f\u009b1m`,
		"\xff\xfe": `\xff\xfe`, "\uFFFD": "\uFFFD", "a\u202Etxt.png": `a\u202etxt.png`, "a\u2028b": `a\u2028b`, "a\u00a0b": "a\u00a0b",
		`C:\x`: `C:\x`,
	} {
		require.Equal(t, want, Printable(s))
		require.Equal(t, want, Printable(want), "what is shown is shown")
	}
	require.Equal(t, "a\nb\\x1b\n", Lines("a\nb\x1b\n"))
}

type stringer string

func (s stringer) String() string { return string(s) }

func TestFprintfEscapesWhatItIsGiven(t *testing.T) {
	var b strings.Builder
	_, err := Fprintf(&b, "%-4s|%v|%s|%d|%.1f\n", "\a", errors.New("e\x1b"), stringer("s\n"), 7, 0.25)
	require.NoError(t, err)
	require.Equal(t, "\\a  |e\\x1b|s\\n|7|0.2\n", b.String())
}

func TestReasonKeepsTheLinesThatWereMeant(t *testing.T) {
	a, b := errors.New("a\nforged"), errors.New("b\x1b")
	require.Equal(t, `a\nforged`, Reason(a))
	require.Equal(t, "a\\nforged\nb\\x1b", Reason(errors.Join(a, b)))
	require.Equal(t, "a\\nforged\nSee\n'x'", Reason(Hint{a, "See\n'x'"}))
	require.Equal(t, `a\nforged: b\x1b`, Reason(fmt.Errorf("%w: %w", a, b)))
	require.ErrorIs(t, Hint{b, ""}, b)
	require.Equal(t, "b\x1b\nmore", Hint{b, "more"}.Error())
}
