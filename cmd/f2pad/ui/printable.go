package ui

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns s as it can be shown on a terminal, on one line: what is not to be seen there, or would move about in
// it, is escaped as Go does (\x1b, \n), and so are bytes that are not UTF-8. Names of files and classes may hold anything.
func Printable(s string) string {
	clean := true
	for _, r := range s {
		if !shown(r) || r == utf8.RuneError {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case shown(r):
			b.WriteString(s[:n])
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// shown reports whether a terminal shows r as it is. Marks that turn the direction of writing are not printable for unicode.
func shown(r rune) bool {
	return unicode.IsPrint(r) || unicode.Is(unicode.Zs, r) && r != '\u2028' && r != '\u2029'
}

// Lines is Printable for each line of s.
func Lines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = Printable(l)
	}
	return strings.Join(lines, "\n")
}

// Fprintf is fmt.Fprintf with Printable strings, errors and Stringers. The format is taken as it is.
func Fprintf(w io.Writer, format string, args ...any) (int, error) {
	safe := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case string:
			safe[i] = Printable(a)
		case error:
			safe[i] = Printable(a.Error())
		case fmt.Stringer:
			safe[i] = Printable(a.String())
		default:
			safe[i] = a
		}
	}
	return fmt.Fprintf(w, format, safe...)
}

// Hint is an error and, on lines of their own, more that its reader should know.
type Hint struct {
	Err  error
	More string
}

func (h Hint) Error() string { return h.Err.Error() + "\n" + h.More }
func (h Hint) Unwrap() error { return h.Err }

// Reason is the text of an error, Printable but for the lines that were meant: those of a Hint and of errors.Join.
func Reason(err error) string {
	switch e := err.(type) {
	case Hint:
		return Reason(e.Err) + "\n" + Lines(e.More)
	case interface{ Unwrap() []error }:
		var parts, lines []string
		for _, part := range e.Unwrap() {
			parts, lines = append(parts, part.Error()), append(lines, Reason(part))
		}
		if strings.Join(parts, "\n") == err.Error() {
			return strings.Join(lines, "\n")
		}
	}
	return Printable(err.Error())
}
