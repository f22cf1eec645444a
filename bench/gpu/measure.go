package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"f2pad.example/engine/perf/stats"
	"f2pad.example/kernels"
	"f2pad.example/kernels/kerneltest"
)

// effort is how often something is measured: until both are reached, but no more than most times.
type effort struct {
	runs, most int
	seconds    float64 // the flushes and the host's waiting included
}

var (
	thorough = effort{runs: 20, most: 1000, seconds: 0.2}
	quick    = effort{runs: 3, most: 20, seconds: 0.02}
)

// bed is a case put on the card, ready to be timed.
type bed struct {
	kerneltest.Bed
	c        card
	work     func(q kernels.Queue) error
	cost     kernels.Cost
	launches int
}

// prepare sets a case up, small where it can be, and checks what its work writes: that it is right where the case knows, that it is
// something in any case. What it allocates is freed by Free, also after an error.
func prepare(c card, b kerneltest.Bench, small bool) (*bed, error) {
	poison := &poisoner{card: c, sizes: map[kernels.Ptr]int{}}
	p := &bed{Bed: kerneltest.Bed{M: poison, Rand: rand.New(rand.NewPCG(1, 2)), Small: small}, c: c}
	var err error
	if p.work, p.cost, err = b.Setup(&p.Bed); err != nil {
		return p, err
	}
	before, err := poison.left()
	if err != nil {
		return p, err
	}
	counted := &counter{Queue: c}
	if err := p.work(counted); err != nil {
		return p, err
	}
	p.launches = counted.launches
	after, err := poison.left()
	if err == nil && before > 0 && after == before {
		err = fmt.Errorf("the kernel wrote nothing but NaN to %d buffers", after)
	}
	if err == nil && p.Check != nil {
		err = p.Check()
	}
	return p, err
}

// time returns the times of single runs, in seconds, after a warm-up.
func (p *bed) time(work func(q kernels.Queue) error, e effort) ([]float64, error) {
	for range 3 {
		if _, err := p.c.Time(work); err != nil {
			return nil, err
		}
	}
	var samples []float64
	for start := time.Now(); len(samples) < e.runs || len(samples) < e.most && time.Since(start).Seconds() < e.seconds; {
		s, err := p.c.Time(work)
		if err != nil {
			return nil, err
		}
		samples = append(samples, s)
	}
	return samples, nil
}

// replayed times a graph of the work.
func (p *bed) replayed(e effort) (stats.Timing, error) {
	replay, done, err := p.c.Record(p.work)
	if err != nil {
		return stats.Timing{}, err
	}
	samples, err := p.time(replay, e)
	if e := done(); err == nil {
		err = e
	}
	return stats.Of(samples), err
}

// counter counts launches.
type counter struct {
	kernels.Queue
	launches int
}

func (c *counter) Launch(l kernels.Launch) error {
	c.launches++
	return c.Queue.Launch(l)
}

// poisoner sets all bits of new memory, which makes it NaN.
type poisoner struct {
	card
	sizes map[kernels.Ptr]int
}

func (p *poisoner) Alloc(bytes int) (kernels.Ptr, error) {
	at, err := p.card.Alloc(bytes)
	if err == nil {
		p.sizes[at] = bytes
		err = p.Fill(at, bytes, 0xff)
	}
	return at, err
}

// left counts the buffers that are mostly NaN still, as far as it looks. That a kernel is right its suite says; here it is
// enough to see that it did something.
func (p *poisoner) left() (int, error) {
	const look = 1 << 16
	left := 0
	for at, bytes := range p.sizes {
		v := make([]uint32, min(bytes, look)/4)
		if err := p.Read(kernels.Bytes(v), at); err != nil {
			return 0, err
		}
		nan := 0
		for _, bits := range v {
			if f := math.Float32frombits(bits); f != f {
				nan++
			}
		}
		if 2*nan > len(v) {
			left++
		}
	}
	return left, nil
}
