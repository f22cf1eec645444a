package perf

import (
	"context"
	"math/rand/v2"
	"time"
)

// Load is what a server is asked: so many requests that arrive at random, independently of one another (a Poisson process) and of
// how far the server is.
type Load struct {
	Rate  float64       // arrivals a second, on average
	Count int           // of them
	Seed  uint64        // of the moments at which they arrive
	Batch int           // requests that are served at once, at most
	Bound time.Duration // from a request's arrival to its answer; one that takes longer is late
	Late  int           // more late ones than these end it: the load is not borne. Negative: never
	Limit time.Duration // it ends when this is over; 0: never. Requests without an answer then are late
}

// Served is how a server bore a load.
type Served struct {
	Latencies []float64 // seconds from arrival to answer of those that were answered, in the order of arrival
	Late      int
	Batches   int
	Seconds   float64 // from the first moment to the last answer
	Ended     bool    // before all were answered: by Late or Limit
}

// Serve lets requests arrive and answers them, all that wait at once, up to Batch. answer does the work of requests from to
// from+n-1. The moments of arrival are fixed before: a server that is behind does not slow them down, and the wait for it counts.
func Serve(ctx context.Context, clock Clock, l Load, answer func(from, n int) error) (Served, error) {
	arrivals := l.arrivals()
	var s Served
	start := clock.Now()
	for from := 0; from < l.Count; {
		now := clock.Now() - start
		if l.Limit > 0 && now >= l.Limit {
			s.Ended = true
			s.Late += l.Count - from
			break
		}
		if wait := arrivals[from] - now; wait > 0 {
			if err := clock.Sleep(ctx, wait); err != nil {
				return s, err
			}
			now = clock.Now() - start
		}
		if err := ctx.Err(); err != nil {
			return s, err
		}
		n := 1
		for n < max(l.Batch, 1) && from+n < l.Count && arrivals[from+n] <= now {
			n++
		}
		if err := answer(from, n); err != nil {
			return s, err
		}
		done := clock.Now() - start
		for _, at := range arrivals[from : from+n] {
			s.Latencies = append(s.Latencies, (done - at).Seconds())
			if done-at > l.Bound {
				s.Late++
			}
		}
		from += n
		s.Batches++
		s.Seconds = done.Seconds()
		if l.Late >= 0 && s.Late > l.Late {
			s.Ended = from < l.Count
			break
		}
	}
	return s, nil
}

// arrivals are the moments, in their order: the gaps between them have an exponential distribution.
func (l Load) arrivals() []time.Duration {
	r := rand.New(rand.NewPCG(l.Seed, 1))
	at := make([]time.Duration, l.Count)
	sum := 0.0
	for i := range at {
		sum += r.ExpFloat64() / l.Rate
		at[i] = time.Duration(sum * float64(time.Second))
	}
	return at
}

// Trial is a rate that was tried.
type Trial struct {
	Rate float64 `json:"rate"`
	Held bool    `json:"held"`
}

// Search looks for the highest rate up to high that a server bears, by halving what is between one that it bears and one that it
// does not: high itself, then so many steps. try is told how often it was called before, for other arrivals each time. What was
// borne is tried once more from the highest down, and the first that is borne again is the answer: 0 where none is.
func Search(high float64, steps int, try func(rate float64, n int) (held bool, err error)) (rate float64, trials []Trial, err error) {
	ask := func(rate float64) (bool, error) {
		held, err := try(rate, len(trials))
		trials = append(trials, Trial{rate, held})
		return held, err
	}
	var borne []float64 // rising
	low, rate := 0.0, high
	for range steps + 1 {
		held, err := ask(rate)
		if err != nil {
			return 0, trials, err
		}
		if held {
			low = rate
			borne = append(borne, rate)
			if rate == high {
				break
			}
		} else {
			high = rate
		}
		rate = (low + high) / 2
	}
	for i := len(borne) - 1; i >= 0; i-- {
		held, err := ask(borne[i])
		if err != nil {
			return 0, trials, err
		}
		if held {
			return borne[i], trials, nil
		}
	}
	return 0, trials, nil
}
