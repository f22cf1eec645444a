package machine

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Clocks are the frequencies that the cores ran at when they were asked, in MHz.
type Clocks struct {
	Least  float64 `json:"least_mhz"`
	Most   float64 `json:"most_mhz"`
	Source string  `json:"source"` // "cpufreq", or "cpuinfo", which in a virtual machine tells the nominal frequency only
}

// ReadClocks asks Linux; nil where it does not tell, or another system runs.
func ReadClocks() *Clocks { return clocks("/sys/devices/system/cpu", "/proc/cpuinfo") }

func clocks(cpus, cpuinfo string) *Clocks {
	c := &Clocks{Source: "cpufreq"}
	files, _ := filepath.Glob(filepath.Join(cpus, "cpu[0-9]*", "cpufreq", "scaling_cur_freq")) // the pattern is sound
	for _, f := range files {
		if khz, ok := number(f); ok {
			c.add(khz / 1e3)
		}
	}
	if c.Most == 0 {
		c.Source = "cpuinfo"
		text, err := os.ReadFile(cpuinfo)
		if err != nil {
			return nil
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			if mhz, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && strings.TrimSpace(name) == "cpu MHz" {
				c.add(mhz)
			}
		}
	}
	if c.Most == 0 {
		return nil
	}
	return c
}

func (c *Clocks) add(mhz float64) {
	if mhz <= 0 {
		return
	}
	if c.Most == 0 || mhz < c.Least {
		c.Least = mhz
	}
	c.Most = max(c.Most, mhz)
}

// number reads a file that holds one.
func number(path string) (float64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	return v, err == nil
}
