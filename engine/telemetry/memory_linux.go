package telemetry

import (
	"bytes"
	"os"
	"strconv"
)

// resident is the resident set: the second number of statm, in pages.
func resident() (bytesOf int64, ok bool) {
	text, err := os.ReadFile("/proc/self/statm")
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}
