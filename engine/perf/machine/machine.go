// Package machine says what a benchmark ran on, and how busy, how fast and at what cost that was.
package machine

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Describe describes the processor in a line.
func Describe() string {
	return fmt.Sprintf("%s, %d cores, %s/%s, %s", Processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}

// Processor is the processor's name, or "processor unknown".
func Processor() string { return processor("/proc/cpuinfo") }

// processor is what the system calls it. Virtual machines say little: family and model tell more.
func processor(cpuinfo string) string {
	text, err := os.ReadFile(cpuinfo)
	if err != nil {
		return "processor unknown"
	}
	said := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); ok && said[name] == "" {
			said[name] = strings.TrimSpace(value)
		}
	}
	name := said["model name"]
	if name == "" {
		return "processor unknown"
	}
	if said["cpu family"] != "" {
		name += fmt.Sprintf(" (family %s, model %s)", said["cpu family"], said["model"])
	}
	return name
}

// Load is the load average of the last minute: a machine that others use tells here. "" where it is not known.
func Load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
