// Package table writes tables of figures as text and as Markdown.
package table

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table is text in columns, the first Left of them aligned to the left.
type Table struct {
	Left int
	Head []string
	Rows [][]string
}

// Add adds a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Without leaves columns out.
func (t *Table) Without(columns ...string) *Table {
	short := &Table{Left: t.Left}
	keep := func(cells []string) (kept []string) {
		for i, c := range cells {
			if !slices.Contains(columns, t.Head[i]) {
				kept = append(kept, c)
			}
		}
		return kept
	}
	for _, r := range t.Rows {
		short.Add(keep(r)...)
	}
	short.Head = keep(t.Head)
	return short
}

// Text writes the table in aligned columns, each line after the prefix.
func (t *Table) Text(w io.Writer, prefix string) {
	width := make([]int, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		line := ""
		for i, c := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if i < t.Left {
				line += c + pad + "  "
			} else {
				line += pad + c + "  "
			}
		}
		fmt.Fprintln(w, prefix+strings.TrimRight(line, " "))
	}
}

// Markdown writes the table as Markdown, which no cell can break, and an empty line.
func (t *Table) Markdown(w io.Writer) {
	line := func(cells []string) {
		safe := make([]string, len(cells))
		for i, c := range cells {
			safe[i] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(c)
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(safe, " | "))
	}
	line(t.Head)
	for i := range t.Head {
		fmt.Fprint(w, map[bool]string{true: "|---", false: "|---:"}[i < t.Left])
	}
	fmt.Fprintln(w, "|")
	for _, r := range t.Rows {
		line(r)
	}
	fmt.Fprintln(w)
}

// MS writes seconds as milliseconds, three digits of them.
func MS(seconds float64) string { return Digits(1e3 * seconds) }

// Digits writes three digits of v, or four decimals of what is small.
func Digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.4f", v)
}
