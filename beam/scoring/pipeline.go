package scoring

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/run"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.DoFn3x1[context.Context, []byte, func(Address), error](&listFn{})
	register.DoFn3x1[context.Context, Address, func(int64, Scored), error](&scoreFn{})
	register.DoFn2x0[[]byte, func(int64, Scored)](&shardsFn{})
	register.DoFn4x1[context.Context, int64, func(*Scored) bool, func(Tally), error](&writeFn{})
	register.DoFn3x1[context.Context, int, func(*Tally) bool, error](&finishFn{})
	register.Emitter1[Address]()
	register.Emitter1[Tally]()
	register.Emitter2[int64, Scored]()
	register.Iter1[Scored]()
	register.Iter1[Tally]()
	for _, element := range []any{Address{}, Scored{}, Tally{}} {
		beam.RegisterType(reflect.TypeOf(element))
	}
}

// Address is an input that a worker opens: a file, or an archive with all its members.
type Address struct {
	Input int64  // its place among the inputs
	Path  []byte // which need not be UTF-8
	Error string // why it is no input
}

// Scored is a line of results, and where in their order it stands. An archive's members have the Input of the archive.
type Scored struct {
	Input, Member int64
	Line          []byte // run.FormatLine; nil: a shard without any
}

// inOrder compares the places of lines.
func inOrder(a, b Scored) int {
	return cmp.Or(cmp.Compare(a.Input, b.Input), cmp.Compare(a.Member, b.Member))
}

// Tally is what came of images.
type Tally struct {
	Images    int64 `json:"images"`
	Anomalous int64 `json:"anomalous"`
	Failed    int64 `json:"failed"`
}

// Build adds a job, which was prepared, to a pipeline. What it writes does not depend on how often, and where, Beam runs a part of it.
func Build(s beam.Scope, j Job) {
	s = s.Scope("f2pad")
	addresses := beam.Reshuffle(s, beam.ParDo(s, &listFn{j}, beam.Impulse(s))) // who finds the inputs does not score all of them
	scored := beam.ParDo(s, &scoreFn{Job: j}, addresses)
	shards := beam.ParDo(s, &shardsFn{j.Shards}, beam.Impulse(s))
	tallies := beam.ParDo(s, &writeFn{j}, beam.GroupByKey(s, beam.Flatten(s, scored, shards)))
	beam.ParDo0(s, &finishFn{j}, beam.GroupByKey(s, beam.AddFixedKey(s, tallies)))
}

// listFn finds the inputs.
type listFn struct{ Job Job }

func (f *listFn) ProcessElement(ctx context.Context, _ []byte, emit func(Address)) error {
	where := dataset.Search{
		Out: f.Job.Out, Whole: true, Left: func(why string) { log.Warn(ctx, why) },
		Ignored: func(path string) { log.Warnf(ctx, "%s: ignored, for its name does not end as an image's does", path) },
	}
	n := int64(0)
	for item, err := range where.Inputs(f.Job.args(), bytes.NewReader(f.Job.List)) {
		a := Address{Input: n, Path: []byte(item.Path)}
		if err != nil {
			a.Error = err.Error()
		}
		emit(a)
		n++
	}
	return ctx.Err()
}

// scoreFn scores inputs, a batch of addresses at a time.
type scoreFn struct {
	Job Job

	engine *engine.Engine
	batch  []Address
}

func (f *scoreFn) Setup(context.Context) (err error) {
	f.engine, err = f.Job.engine()
	return err
}

func (f *scoreFn) StartBundle(context.Context, func(int64, Scored)) { f.batch = nil }

func (f *scoreFn) ProcessElement(ctx context.Context, a Address, emit func(int64, Scored)) error {
	if f.batch = append(f.batch, a); len(f.batch) < f.Job.Batch {
		return nil
	}
	return f.FinishBundle(ctx, emit)
}

func (f *scoreFn) FinishBundle(ctx context.Context, emit func(int64, Scored)) error {
	batch := f.batch
	f.batch = nil
	// What is wrong with an input goes through the engine with it, which gives results in the order of inputs.
	type turn struct {
		at  Scored
		err error
	}
	var mu sync.Mutex // the engine reads ahead
	var turns []turn
	items := func(yield func(dataset.Item) bool) {
		for _, a := range batch {
			member := int64(0)
			for item, err := range f.open(ctx, a) {
				if err != nil {
					item = dataset.Item{Path: item.Path}
				}
				mu.Lock()
				turns = append(turns, turn{Scored{Input: a.Input, Member: member}, err})
				mu.Unlock()
				member++
				if !yield(item) {
					return
				}
			}
		}
	}
	return f.engine.Score(ctx, items, func(r *engine.Result) (err error) {
		mu.Lock()
		t := turns[0]
		turns = turns[1:]
		mu.Unlock()
		r.Item.Release()
		if t.err != nil {
			r.Err = t.err
		}
		if t.at.Line, err = run.FormatLine(r, f.Job.Kind, f.Job.Regions); err != nil {
			return err
		}
		emit((t.at.Input+t.at.Member)%int64(f.Job.Shards), t.at)
		return nil
	})
}

// open yields the images at an address.
func (f *scoreFn) open(ctx context.Context, a Address) func(func(dataset.Item, error) bool) {
	path := string(a.Path)
	if a.Error != "" {
		return func(yield func(dataset.Item, error) bool) { yield(dataset.Item{Path: path}, errors.New(a.Error)) }
	}
	return dataset.Search{
		MaxBytes: f.Job.ImageMemory, Done: ctx.Done(),
		Ignored: func(path string) { log.Warnf(ctx, "%s: ignored, for its name does not end as an image's does", path) },
	}.Inputs([]string{path}, nil)
}

// shardsFn names all shards, so that each is written, also if there is nothing for it: what stood there is of an earlier job.
type shardsFn struct{ Shards int }

func (f *shardsFn) ProcessElement(_ []byte, emit func(int64, Scored)) {
	for i := range f.Shards {
		emit(int64(i), Scored{})
	}
}

// writeFn writes a shard.
type writeFn struct{ Job Job }

func (f *writeFn) ProcessElement(ctx context.Context, shard int64, lines func(*Scored) bool, emit func(Tally)) error {
	var all []Scored
	for s := (Scored{}); lines(&s); s = (Scored{}) {
		if s.Line != nil {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, inOrder)
	tally, err := writeShard(f.Job.shardPath(shard), f.Job.Info, all)
	if err == nil {
		emit(tally)
	}
	return err
}

// finishFn says that all shards are written.
type finishFn struct{ Job Job }

func (f *finishFn) ProcessElement(_ context.Context, _ int, tallies func(*Tally) bool) error {
	shards, sum := 0, Tally{}
	for t := (Tally{}); tallies(&t); t = (Tally{}) {
		shards++
		sum = Tally{sum.Images + t.Images, sum.Anomalous + t.Anomalous, sum.Failed + t.Failed}
	}
	if shards != f.Job.Shards {
		return fmt.Errorf("%s: %d shards were written, not %d", f.Job.Out, shards, f.Job.Shards)
	}
	return f.Job.writeSummary(sum)
}
