package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine/artifact"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

func (p *program) man() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "man --out DIR",
		Short: "Write the manual: a man page for each verb",
		Long: `Write f2pad.1 and a page for each verb, which man shows once they are in a folder that it looks into: the man1 of one that
'manpath' lists. The month on them is that of SOURCE_DATE_EPOCH (seconds since 1970) if it is set, and otherwise this one.`,
		Example: "  f2pad man --out ~/.local/share/man/man1\n  man f2pad-score",
		Args:    cobra.NoArgs,
		RunE: p.verb(func(context.Context, []string) error {
			m, err := p.writeManual(out)
			if err != nil {
				return err
			}
			return p.ui.Show(m)
		}),
	}
	cmd.Flags().StringVar(&out, "out", "", "`DIR` to write to (required)")
	required(cmd, "out")
	return cmd
}

// manualMessage says what man wrote.
type manualMessage struct {
	Path  string   `json:"path"`
	Pages []string `json:"pages"`
}

func (manualMessage) MessageType() string { return "manual" }

func (m manualMessage) Text(w io.Writer) error {
	_, err := ui.Fprintf(w, "manual: %s in %s\n", counted(len(m.Pages), "page"), m.Path)
	return err
}

// writeManual writes a page for each command into a folder.
func (p *program) writeManual(dir string) (manualMessage, error) {
	m := manualMessage{Path: dir}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return m, artifact.Worded(err)
	}
	root := (&program{networks: p.networks}).command() // its texts will be changed
	root.InitDefaultVersionFlag()
	root.DisableAutoGenTag = true
	markdown(root)
	var write func(cmd *cobra.Command) error
	write = func(cmd *cobra.Command) error {
		for _, verb := range cmd.Commands() {
			if verb.Hidden {
				continue
			}
			if err := write(verb); err != nil {
				return err
			}
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		m.Pages = append(m.Pages, name)
		return artifact.WriteFileAtomic(filepath.Join(dir, name), func(w io.Writer) error {
			return doc.GenMan(cmd, &doc.GenManHeader{Source: "f2pad " + version(), Manual: "F2PAD"}, w)
		})
	}
	return m, write(root)
}

// markdown makes the texts of a command, and of those below it, mean in Markdown, which pages are made from, what they say; and has
// its flags show what they take, as they do in the help.
func markdown(cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	cmd.Short, cmd.Long = literal.Replace(cmd.Short), literal.Replace(cmd.Long)
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		name, usage := pflag.UnquoteUsage(f)
		f.Usage = literal.Replace(usage)
		if name == "" {
			return // it takes nothing
		}
		switch f.DefValue {
		case "", "0", "[]":
		default:
			f.Usage += literal.Replace(" (default " + f.DefValue + ")")
		}
		f.DefValue, f.Value = literal.Replace(name), unquoted{f.Value}
	})
	for _, verb := range cmd.Commands() {
		markdown(verb)
	}
}

var literal = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`, "|", `\|`, "~", `\~`)

// unquoted is a flag's value that is not shown in quotes.
type unquoted struct{ pflag.Value }

func (unquoted) Type() string { return "" }
