package stage

import (
	"runtime"
	"testing"
	"time"

	"f2pad.example/engine/peak"

	"github.com/stretchr/testify/require"
)

func TestSpentAddsUp(t *testing.T) {
	var s Spent
	require.NotNil(t, s.Times(), "in JSON, a list")
	require.Empty(t, s.Times())
	for i, stage := range Order() {
		s.Add(stage, 1, Took{time.Duration(i+1) * time.Second, time.Second})
		s.Add(stage, 1, Took{time.Second, time.Second / 2})
	}
	times := s.Times()
	require.Len(t, times, len(Order()))
	parts := 0
	for i, got := range times {
		require.Equal(t, Order()[i], got.Stage)
		require.Equal(t, float64(i+2), got.Seconds)
		require.Equal(t, 1.5, got.CPU)
		if got.Part {
			parts++
		}
	}
	require.Equal(t, 2, parts)
	s.Reset()
	require.Empty(t, s.Times())
}

// What sleeps, or waits for another goroutine's work, takes no processor time.
func TestProcessorTime(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: only Linux tells a thread's processor time")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	took := map[Stage]Took{}
	timer := Timer(func(s Stage, _ int, t Took) { took[s] = t })
	work := func() {
		require.Positive(t, peak.Thread())
		for until := peak.Thread() + 20*time.Millisecond; peak.Thread() < until; {
		}
	}
	defer timer.Pin()()
	lap := timer.Start(1)
	work()
	lap(Regions)
	time.Sleep(30 * time.Millisecond)
	lap(Evidence)
	done := make(chan bool)
	go func() {
		work()
		close(done)
	}()
	<-done
	lap(Join)
	require.GreaterOrEqual(t, took[Regions].CPU, 20*time.Millisecond)
	require.GreaterOrEqual(t, took[Evidence].Wall, 30*time.Millisecond)
	require.Less(t, took[Evidence].CPU, 20*time.Millisecond)
	require.GreaterOrEqual(t, took[Join].Wall, 20*time.Millisecond)
	require.Less(t, took[Join].CPU, 20*time.Millisecond, "another goroutine's work is not the stage's")

	runtime.GOMAXPROCS(2)
	lap = timer.Start(1)
	work()
	lap(Write)
	require.Zero(t, took[Write].CPU, "others may have helped")
	Timer(nil).Pin()()
	Timer(nil).Start(1)(Write)
}
