// Command serve measures f2pad serve with a client that knows nothing of its insides: over HTTP, at half its capacity, at all of it and at
// twice as much, while others send it what is malformed, too large, or too slow. It fails if a request is left without an answer, an
// answer is not what the image gets alone, what is accepted waits for longer than the queue can take, memory grows, or the
// program does not stop gracefully.
//
//	go run ./bench/serve [-seconds 60] [-refine none] bin/f2pad
//
// Requests come at random (a Poisson process), whether or not those before are answered; times are from when each was due.
//
//	main.go     what is done, in which order, and the page
//	program.go  f2pad, as a process
//	client.go   what is sent, and what became of it
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"f2pad.example/engine/perf/machine"
	"f2pad.example/engine/perf/stats"
	"f2pad.example/engine/perf/table"
)

const (
	batch, queue = 8, 32
	maxBody      = 1 // MiB
	readTimeout  = 2 * time.Second

	// What is tolerated: of the time that a full queue takes, and of memory in the second half of a load against the most before.
	mostOfBound, mostGrowth = 1.5, 1.15
)

var loads = []float64{0.5, 1, 2}

func main() {
	seconds := flag.Float64("seconds", 60, "how long each load lasts")
	refine := flag.String("refine", "none", "map that is made")
	page := flag.String("out", "out/serve.md", "page to write")
	flag.Parse()
	if flag.NArg() != 1 || *seconds < 2 {
		fmt.Fprintln(os.Stderr, "usage: serve [-seconds S] [-refine MAP] [-out PAGE] F2PAD")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *refine, *page, time.Duration(*seconds*float64(time.Second)), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run(program, refine, page string, each time.Duration, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "f2pad-serve-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	before := machine.Load()
	s, images, err := start(program, dir, refine)
	if err != nil {
		return err
	}
	defer s.kill()
	c := newClient(s.url, images)
	if err := c.learn(); err != nil {
		return err
	}
	var all []*load
	capacity := 0.
	for i, share := range append(loads, 1) {
		// Each time anew: others may use the machine, too.
		if capacity, err = c.capacity(each / 4); err != nil {
			return err
		}
		fmt.Fprintf(out, "capacity: %.1f images/s with %d clients that wait for their answers\n", capacity, 2*batch)
		l := c.load(share*capacity, each, uint64(i), i == len(loads))
		l.share, l.capacity = share, capacity
		for _, earlier := range all {
			l.before = max(l.before, slices.Max(append(earlier.memory, 0)))
		}
		all = append(all, l)
		fmt.Fprintln(out, l)
	}
	stopped, err := c.stop(s, capacity)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, stopped)
	var broken []error
	for _, l := range append(all, stopped) {
		broken = append(broken, l.verdict())
	}
	if err := write(page, refine, each, before, append(all, stopped)); err != nil {
		return err
	}
	return errors.Join(broken...)
}

// load is what came of requests at a rate.
type load struct {
	name     string
	capacity float64 // images per second
	share    float64 // of that
	rate     float64 // requests per second that were due
	hostile  bool
	took     time.Duration

	mu       sync.Mutex
	status   map[int]int // of images; 0: no answer
	late     map[string]int
	answered []float64 // seconds
	refused  []float64 // seconds until 429
	wrong    []string
	hostiles map[string]int
	memory   []float64 // MiB, once a second
	before   float64   // MiB, the most of the loads before
}

// bound is how long the last of a full queue waits: at the rate of the answers where it was full, otherwise at the capacity.
func (l *load) bound() float64 {
	if l.status[429] > 0 {
		return (queue + batch) / l.scored()
	}
	return (queue + batch) / max(l.capacity, l.scored())
}

// scored is how many images were answered a second.
func (l *load) scored() float64 { return float64(l.status[200]) / l.took.Seconds() }

// grown is the most memory of the second half by the most before it, also of the loads before: what garbage there is at a time is chance.
func (l *load) grown() float64 {
	if len(l.memory) < 4 {
		return math.NaN()
	}
	half := len(l.memory) / 2
	return slices.Max(l.memory[half:]) / max(l.before, slices.Max(l.memory[:half]))
}

func percentile(samples []float64, p float64) float64 {
	return stats.Percentile(slices.Sorted(slices.Values(samples)), p)
}

func (l *load) String() string {
	return fmt.Sprintf("%s: %.1f/s due, %.1f/s answered (p50 %s ms, p99 %s ms, bound %s ms), %d refused (p99 %s ms), %d without an answer, memory growth %s%s",
		l.title(), l.rate, l.scored(), ms(percentile(l.answered, 50)), ms(percentile(l.answered, 99)), ms(l.bound()),
		l.status[429], ms(percentile(l.refused, 99)), l.status[0], known(l.grown(), table.Digits), l.others())
}

func (l *load) title() string {
	switch {
	case l.name != "":
		return l.name
	case l.hostile:
		return fmt.Sprintf("%gx, hostile clients beside", l.share)
	}
	return fmt.Sprintf("%gx", l.share)
}

func (l *load) others() string {
	text := ""
	for status, n := range l.status {
		if status != 0 && status != 200 && status != 429 {
			text += fmt.Sprintf(", %d with status %d", n, status)
		}
	}
	for what, n := range l.hostiles {
		text += fmt.Sprintf(", %s: %d", what, n)
	}
	return text
}

// verdict is what is not as it should be.
func (l *load) verdict() error {
	var broken []error
	fail := func(is bool, format string, args ...any) {
		if is {
			broken = append(broken, fmt.Errorf(l.title()+": "+format, args...))
		}
	}
	fail(l.status[0] > 0, "%d requests without an answer: %v", l.status[0], l.late)
	for _, w := range l.wrong {
		fail(true, "%s", w)
	}
	for status, n := range l.status {
		fail(status != 0 && status != 200 && status != 429 && status != 503, "%d answers with status %d", n, status)
	}
	fail(l.status[200] == 0, "no image was scored")
	if l.name == "" {
		fail(percentile(l.answered, 99) > mostOfBound*l.bound(), "p99 is %.2f s, the queue takes %.2f s", percentile(l.answered, 99), l.bound())
		fail(l.grown() > mostGrowth, "memory grew by a factor of %.2f", l.grown())
	}
	return errors.Join(broken...)
}

func write(page, refine string, each time.Duration, before string, all []*load) error {
	if err := os.MkdirAll(filepath.Dir(page), 0o777); err != nil {
		return err
	}
	f, err := os.Create(page)
	if err != nil {
		return err
	}
	fmt.Fprintf(f, "# f2pad serve under load\n\n%s, %s. Load average %s before and %s after: client and server share the machine.\n\n",
		time.Now().Format("2 January 2006"), machine.Describe(), cmp.Or(before, "unknown"), cmp.Or(machine.Load(), "unknown"))
	fmt.Fprintf(f, "PaDiM with `scatter`, images of %d x %d pixels, map `%s`, `--batch %d --queue %d`; each load %s. "+
		"Capacity, in images a second, is that of %d clients, each waiting for its answer, before the load. "+
		"Times in ms, of accepted requests from when each was due; the bound is what a full queue takes: "+
		"at the rate of the answers where it was full, otherwise at the capacity. "+
		"Memory in MiB, and its peak in the second half of the load by the highest before.\n\n", side, side, refine, batch, queue, each, 2*batch)
	t := table.Table{Left: 1, Head: []string{"load", "capacity", "due/s", "answered/s", "p50", "p99", "bound", "429", "p99 of 429", "no answer", "memory", "growth"}}
	for _, l := range all {
		t.Add(l.title(), table.Digits(l.capacity), table.Digits(l.rate), table.Digits(l.scored()), ms(percentile(l.answered, 50)),
			ms(percentile(l.answered, 99)), ms(l.bound()), fmt.Sprint(l.status[429]), ms(percentile(l.refused, 99)), fmt.Sprint(l.status[0]),
			known(slices.Max(append(l.memory, math.Inf(-1))), table.Digits), known(l.grown(), table.Digits))
	}
	t.Markdown(f)
	for _, l := range all {
		if text := l.others(); text != "" {
			fmt.Fprintf(f, "%s%s.\n", l.title(), text)
		}
	}
	return f.Close()
}

func ms(seconds float64) string { return known(seconds, table.MS) }

// known writes a figure, if there is one.
func known(v float64, write func(float64) string) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	return write(v)
}

// due are the times of requests at a rate, as they come at random.
func due(rate float64, within time.Duration, seed uint64) (all []time.Duration) {
	r := rand.New(rand.NewPCG(1, seed))
	for at := 0.; ; {
		at += r.ExpFloat64() / rate
		d := time.Duration(at * float64(time.Second))
		if d >= within {
			return all
		}
		all = append(all, d)
	}
}
