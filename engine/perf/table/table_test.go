package table

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func example() *Table {
	t := &Table{Left: 1, Head: []string{"name", "ms", "remark"}}
	t.Add("a|b", "10.0", "ü")
	t.Add("line\nbreak", "", "")
	return t
}

func TestText(t *testing.T) {
	var b strings.Builder
	short := &Table{Left: 1, Head: []string{"name", "ms", "remark"}}
	short.Add("größe", "10.0", "x")
	short.Add("b", "", "")
	short.Text(&b, "> ")
	require.Equal(t, "> name     ms  remark\n> größe  10.0       x\n> b\n", b.String())

	b.Reset()
	short.Without("ms").Text(&b, "")
	require.Equal(t, "name   remark\ngröße       x\nb\n", b.String())
}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	e := example()
	e.Markdown(&b)
	require.Equal(t, "| name | ms | remark |\n|---|---:|---:|\n| a\\|b | 10.0 | ü |\n| line break |  |  |\n\n", b.String())
	require.Equal(t, example(), e, "the table is as it was")
}

func TestDigits(t *testing.T) {
	for v, want := range map[float64]string{0.01234567: "0.0123", 1.2345: "1.23", 12.345: "12.3", 1234.5: "1234", 0: "0.0000"} {
		require.Equal(t, want, Digits(v))
	}
	require.Equal(t, "1.50", MS(0.0015))
}
