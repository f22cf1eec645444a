package run

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"f2pad.example/engine/dataset"
)

// Inputs are what a run scores.
type Inputs struct {
	// Items are read once, as far ahead as the engine works. Their IDs give outputs of different names (dataset.OutputName), as those
	// of a dataset.Search do. One with an error is an input that failed; it has a Path only.
	Items iter.Seq2[dataset.Item, error]
	// Survey is what is known of them beforehand; the zero value is nothing.
	Survey Survey
}

// Survey is what is known of a run's inputs before anything is written.
type Survey struct {
	Total int // 0: not known

	known    bool   // all inputs were seen
	are      listed // if there are earlier results
	unlisted bool   // some folder could not be listed
	changing bool   // inputs come and go: that none is an earlier run's says nothing
	exists   func(url string) (bool, error)
}

// list is the argument that stands for a list on standard input.
const list = "-"

// Look goes through the inputs that arguments name, as where takes them, as far as they can be known beforehand: of a list
// on standard input, or where an archive would have to be read through, nothing is. One that is not there or holds nothing is an error (dataset.ErrNamed): it is more likely mistyped
// than meant. where.Out is where the results will go; of a shard, only its inputs count.
func Look(where dataset.Search, args []string, shard *Shard) (Survey, error) {
	s := Survey{are: newListed(), known: !slices.Contains(args, list)}
	if where.Buckets != nil {
		s.exists = func(url string) (bool, error) { return where.Buckets.Exists(context.Background(), url) }
	}
	s.are.exists = s.exists
	results := false
	for _, name := range []string{ResultsFile, PartFile, OldFile} {
		if _, err := os.Stat(filepath.Join(where.Out, name)); err == nil {
			results = true
		}
	}
	named := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == list })
	where.Unlisted = func(string) { s.known = false }
	where.Left, where.Ignored, where.Took = nil, nil, nil // they are told when the inputs are read
	n := 0
	for item, err := range where.Inputs(named, nil) {
		if errors.Is(err, dataset.ErrNamed) {
			return s, err
		}
		has := shard.has(n)
		n++
		if has {
			s.Total++
		}
		s.unlisted = s.unlisted || err != nil
		if results {
			s.are.add(item, has)
		}
	}
	if !s.known {
		s.Total = 0
	}
	return s, nil
}

// input is an input as Inputs.Items gives it.
type input struct {
	item dataset.Item
	err  error
}

// feed returns a function that gives the next input; none are left when ctx ends, even while standard input is waited for.
func feed(ctx context.Context, inputs iter.Seq2[dataset.Item, error]) func() (input, bool) {
	fed := make(chan input)
	go func() {
		defer close(fed)
		for item, err := range inputs {
			select {
			case fed <- input{item, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() (input, bool) {
		select {
		case in, ok := <-fed:
			return in, ok
		case <-ctx.Done():
			return input{}, false
		}
	}
}
