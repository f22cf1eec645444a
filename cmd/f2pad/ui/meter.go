package ui

import "time"

// Meter thins out progress: it reports once per interval and at the end of a phase, with the rate since the phase began:
// when it said so, with nothing done, or else when the phase before had its last step. So the first steps count, too, which
// a batch of images takes all at once.
type Meter struct {
	Every time.Duration
	Now   func() time.Time // the clock; tests set it

	last  Progress
	first int       // Done when the phase began
	began time.Time // that moment
	step  time.Time // the last step
	shown time.Time // the last report
	fresh bool      // last has not been reported
}

// NewMeter returns a meter whose first phase begins now.
func NewMeter(every time.Duration) Meter { return Meter{Every: every, Now: time.Now, step: time.Now()} }

// Reading is a report of a Meter.
type Reading struct {
	Progress
	Elapsed   time.Duration // since the phase began
	Rate      float64       // per second; 0: not known yet
	Remaining time.Duration // 0: not known
}

// Update takes a step and returns what is due: the end of the previous phase, this step, or nothing.
func (m *Meter) Update(p Progress) []Reading {
	var due []Reading
	now := m.Now()
	if p.Phase != m.last.Phase || p.Done < m.last.Done { // some phases pass over the images again
		due = m.Flush()
		m.first, m.began, m.shown = 0, m.step, now
		if p.Done == 0 || m.step.IsZero() {
			m.first, m.began = p.Done, now
		}
	}
	m.last, m.fresh, m.step = p, true, now
	if now.Sub(m.shown) >= m.Every || p.Total > 0 && p.Done == p.Total {
		due = append(due, m.Flush()...)
	}
	return due
}

// Flush returns the last step if it has not been reported.
func (m *Meter) Flush() []Reading {
	if !m.fresh {
		return nil
	}
	m.fresh, m.shown = false, m.Now()
	r := Reading{Progress: m.last, Elapsed: m.shown.Sub(m.began)}
	if n := m.last.Done - m.first; n > 0 && r.Elapsed > 0 {
		r.Rate = float64(n) / r.Elapsed.Seconds()
		if left := m.last.Total - m.last.Done; left > 0 {
			r.Remaining = time.Duration(float64(left) / r.Rate * float64(time.Second))
		}
	}
	return []Reading{r}
}
