package peak

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is the processor time of this process, in seconds: what other processes take does not count.
func Clock() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // which cannot fail with these arguments
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// Thread is the processor time of the calling thread.
func Thread() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // which cannot fail with these arguments
	return time.Duration(t.Nano())
}
