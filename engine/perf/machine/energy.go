package machine

import "path/filepath"

// Energy is what the processor's packages have taken, as RAPL counts it: everything that runs on them, and not the memory. The
// system may let only its administrator read it.
type Energy struct{ zones []zone }

// zone is a package's counter, which begins anew at most.
type zone struct {
	file       string
	last, most float64 // microjoules
	sum        float64
}

// OpenEnergy begins to count; nil where the system does not tell.
func OpenEnergy() *Energy { return openEnergy("/sys/class/powercap") }

func openEnergy(powercap string) *Energy {
	e := &Energy{}
	folders, _ := filepath.Glob(filepath.Join(powercap, "intel-rapl:[0-9]*")) // AMD's processors go by that name, too
	for _, f := range folders {
		z := zone{file: filepath.Join(f, "energy_uj")}
		var ok, bounded bool
		z.last, ok = number(z.file)
		z.most, bounded = number(filepath.Join(f, "max_energy_range_uj"))
		if sub, _ := filepath.Match("intel-rapl:*:*", filepath.Base(f)); ok && bounded && !sub { // a package counts its parts
			e.zones = append(e.zones, z)
		}
	}
	if len(e.zones) == 0 {
		return nil
	}
	return e
}

// Joules are those since Energy was opened. It is to be asked more often than the counters begin anew, which takes a minute at
// the least. ok is false where a counter cannot be read any more.
func (e *Energy) Joules() (joules float64, ok bool) {
	if e == nil {
		return 0, false
	}
	for i := range e.zones {
		z := &e.zones[i]
		now, ok := number(z.file)
		if !ok {
			return 0, false
		}
		d := now - z.last
		if d < 0 {
			d += z.most
		}
		z.sum, z.last = z.sum+d, now
		joules += z.sum / 1e6
	}
	return joules, true
}
