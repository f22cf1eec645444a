package run

import (
	"context"
	"iter"

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
