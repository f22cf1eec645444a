package perf

import (
	"context"
	"time"
)

// Clock is what measuring goes by. A test has one of its own.
type Clock interface {
	Now() time.Duration // since some moment
	// Sleep returns when d is over, or with ctx's error when that ends before.
	Sleep(ctx context.Context, d time.Duration) error
}

// Wall is the time that passes.
func Wall() Clock { return wall(time.Now()) }

type wall time.Time

func (w wall) Now() time.Duration { return time.Since(time.Time(w)) }

func (w wall) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
