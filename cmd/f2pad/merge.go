package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/run"

	"github.com/spf13/cobra"
)

func (p *program) merge() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "merge --out DIR SHARD_DIR...",
		Short: "Make one folder of results of those of all shards of a run",
		Long: `Make of the folders that 'f2pad score --shard I/N' wrote the one that a run without --shard would have written: results.jsonl
in the order of the inputs, byte for byte but for seconds, with maps, masks and overlays. They are hard links to the shards' files, or copies where
the file system has no links between the two; the shards stay as they are, and may be deleted afterwards.

A shard that is missing, given twice, not finished, or of another run (model, options, inputs) is refused before anything is written.
A merge that was interrupted or killed is repeated by the same command. docs/scripting.md describes the files.`,
		Example: `  f2pad score --model leather.f2pad --out part1 --shard 1/2 --masks shards/*.tar
  f2pad score --model leather.f2pad --out part2 --shard 2/2 --masks shards/*.tar
  f2pad merge --out results part1 part2`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: folders,
		RunE:              p.verb(func(ctx context.Context, args []string) error { return p.mergeShards(ctx, out, args) }),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&out, "out", "", "`DIR` to write to (required)")
	required(cmd, "out")
	return cmd
}

// mergeSummary is the result of merge.
type mergeSummary struct{ run.Merged }

func (mergeSummary) MessageType() string { return "summary" }

func (s mergeSummary) Text(w io.Writer) error {
	_, err := ui.Fprintf(w, "%s: %d anomalous, %d normal, %d failed\noutputs: %d linked, %d copied\nresults: %s\n",
		counted(s.Images, "image"), s.Anomalous, s.Images-s.Anomalous-s.Failed, s.Failed, s.Linked, s.Copied, s.Results)
	return err
}

func (p *program) mergeShards(ctx context.Context, out string, shards []string) error {
	m, err := run.Merge(ctx, out, shards, func(n, of int) { p.progress(engine.Progress{Phase: "merge", Done: n, Total: of}) })
	switch {
	case errors.Is(err, context.Canceled):
		return interrupted{"interrupted: the same command does it again"}
	case errors.Is(err, run.ErrOther):
		return fmt.Errorf("%w: choose another --out", err)
	case err != nil:
		return err
	}
	return p.ui.Show(mergeSummary{m})
}
