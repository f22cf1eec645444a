package text

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"f2pad.example/cmd/f2pad/ui"

	"github.com/stretchr/testify/require"
)

type result string

func (result) MessageType() string      { return "result" }
func (r result) Text(w io.Writer) error { _, err := fmt.Fprintln(w, string(r)); return err }

func TestResultsAndTheRestGoToTheirStreams(t *testing.T) {
	var out, err bytes.Buffer
	u := New(&out, &err, false)
	u.Progress(ui.Progress{Phase: "fit", Done: 1, Total: 2})
	u.Progress(ui.Progress{Phase: "fit", Done: 2, Total: 2})
	u.Failed("a.png", errors.New("a.png: empty"))
	u.Warn("careful")
	require.NoError(t, u.Show(result("the table")))
	u.Error(errors.New("it broke"), 1)
	u.Close()
	require.Equal(t, "the table\n", out.String())
	lines := strings.Split(err.String(), "\n")
	require.Regexp(t, `^fit: 2/2, .*/s$`, lines[0])
	require.Equal(t, []string{"error: a.png: empty", "warning: careful", "f2pad: it broke", ""}, lines[1:])
}

func TestCloseTellsTheLastStep(t *testing.T) {
	var err bytes.Buffer
	u := New(io.Discard, &err, false)
	u.Progress(ui.Progress{Phase: "list", Done: 3})
	u.Close()
	require.Regexp(t, `^list: 3(, .*/s)?\n$`, err.String())
}

func TestWhatIsShownStaysOnItsLine(t *testing.T) {
	var err bytes.Buffer
	u := New(io.Discard, &err, false)
	u.Failed("a", errors.New("a\n\x1b[2J: empty"))
	u.Warn("careful\r")
	u.Error(ui.Hint{Err: errors.New("b\nroken"), More: "See\a"}, 1)
	require.Equal(t, "error: a\\n\\x1b[2J: empty\nwarning: careful\\r\nf2pad: b\\nroken\nSee\\a\n", err.String())
}

// screen applies what is written to a terminal of one line: carriage returns go back, text replaces text.
func screen(s string) []string {
	var lines []string
	for _, line := range strings.Split(s, "\n") {
		var cells []rune
		for _, part := range strings.Split(line, "\r") {
			for i, r := range []rune(part) {
				if i == len(cells) {
					cells = append(cells, r)
				}
				cells[i] = r
			}
		}
		lines = append(lines, strings.TrimRight(string(cells), " "))
	}
	return lines
}

func TestBarMakesRoomForText(t *testing.T) {
	var term bytes.Buffer // both streams are the terminal
	u := New(&term, &term, true)
	u.Progress(ui.Progress{Phase: "score", Done: 1, Total: 4})
	u.Failed("a.png", errors.New("a.png: empty"))
	require.NoError(t, u.Show(result("verdict")))
	u.Progress(ui.Progress{Phase: "score", Done: 4, Total: 4})
	require.NoError(t, u.Show(result("summary")))
	u.Close()
	lines := screen(term.String())
	require.Equal(t, []string{"error: a.png: empty", "verdict"}, lines[:2])
	require.Regexp(t, `^score +100% .*\(4/4`, lines[2])
	require.Equal(t, []string{"summary", ""}, lines[3:])
}

func TestBarKeepsOneLineForEachPhase(t *testing.T) {
	var term bytes.Buffer
	u := New(io.Discard, &term, true)
	u.Progress(ui.Progress{Phase: "images", Done: 1, Total: 2})
	u.Progress(ui.Progress{Phase: "images", Done: 2, Total: 2})
	u.Progress(ui.Progress{Phase: "method", Done: 1, Total: 2})
	u.Close()
	lines := screen(term.String())
	require.Len(t, lines, 3)
	require.Regexp(t, `^images +100%`, lines[0])
	require.Regexp(t, `^method +50%`, lines[1])
}
