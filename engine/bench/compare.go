package bench

import (
	"fmt"
	"math"
	"slices"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/perf/stats"
)

// Comparison is what has changed from one report to another.
type Comparison struct {
	Threshold   float64  `json:"threshold"`   // share by which a row may take longer
	Slower      int      `json:"slower"`      // rows that take longer than that
	Differences []string `json:"differences"` // of what the two were measured with
	Rows        []Change `json:"rows"`
	Lost        []string `json:"lost"`     // rows that the new report has, too, without a result: they failed, or no rate was held
	Old         []string `json:"only_old"` // other rows without a partner
	New         []string `json:"only_new"`
}

// Change is of a row that both have.
type Change struct {
	Row string  `json:"row"`
	Old float64 `json:"old_s"` // see Row.Seconds
	New float64 `json:"new_s"`
	// Ratio is how many times as long the new one takes: of pairs their median. Interval is its 95 % interval, nil of single
	// values. Where either side has less than six samples it spans all that they could mean.
	Ratio    float64         `json:"ratio"`
	Interval *stats.Interval `json:"interval"`
	Pairs    int             `json:"pairs"`  // images that were measured in both; 0: the rows' rounds are compared, which are no pairs
	Slower   bool            `json:"slower"` // by more than the threshold, and the interval is above 1
	Faster   bool            `json:"faster"` // by more than the threshold, and the interval is below 1
}

// Compare compares the rows that two reports share. Where both have streamed the same images, an image is compared with itself.
// Rounds of two runs are no pairs: there the interval is that of the quotient of any two values in those of the medians, which is
// wider than need be.
func Compare(before, after *Report, threshold float64) *Comparison {
	c := &Comparison{
		Threshold: threshold, Differences: differences(before, after), Rows: []Change{}, Lost: []string{}, Old: []string{}, New: []string{},
	}
	same := before.Images.SHA256 == after.Images.SHA256 && before.Images.SHA256 != ""
	both := map[string]bool{}
	for _, a := range before.Rows {
		s, ok := a.Seconds()
		if !ok {
			continue
		}
		i := slices.IndexFunc(after.Rows, func(b *Row) bool { return b.Name() == a.Name() })
		if i < 0 {
			c.Old = append(c.Old, a.Name())
			continue
		}
		b := after.Rows[i]
		t, ok := b.Seconds()
		if !ok {
			c.Lost = append(c.Lost, a.Name())
			continue
		}
		both[a.Name()] = true
		d := Change{Row: a.Name(), Old: s, New: t}
		if same && len(a.ImageSeconds) > 0 && len(a.ImageSeconds) == len(b.ImageSeconds) {
			d.pair(a.ImageSeconds, b.ImageSeconds)
		} else {
			d.rounds(a, b, float64(before.Images.Count), float64(after.Images.Count))
		}
		low, high := d.Ratio, d.Ratio
		if d.Interval != nil {
			low, high = d.Interval.Low, d.Interval.High
		}
		d.Slower = d.Ratio > 1+threshold && low > 1
		d.Faster = d.Ratio < 1/(1+threshold) && high < 1
		if d.Slower {
			c.Slower++
		}
		c.Rows = append(c.Rows, d)
	}
	for _, b := range after.Rows {
		if _, ok := b.Seconds(); ok && !both[b.Name()] {
			c.New = append(c.New, b.Name())
		}
	}
	return c
}

// pair compares images with themselves.
func (d *Change) pair(before, after []float64) {
	ratios := make([]float64, len(before))
	for i := range ratios {
		ratios[i] = after[i] / before[i]
	}
	slices.Sort(ratios)
	interval, _ := stats.MedianInterval(ratios)
	d.Ratio, d.Interval, d.Pairs = stats.Percentile(ratios, 50), &interval, len(ratios)
}

// rounds compares the seconds of an image in rounds of so many images.
func (d *Change) rounds(a, b *Row, before, after float64) {
	d.Ratio = d.New / d.Old
	if len(a.Samples) == 0 || len(b.Samples) == 0 {
		return
	}
	of := func(r *Row, images float64) stats.Interval {
		i, _ := stats.MedianInterval(slices.Sorted(slices.Values(r.Samples)))
		return stats.Interval{Low: i.Low / images, High: i.High / images}
	}
	i, j := of(a, before), of(b, after)
	d.Interval = &stats.Interval{Low: j.Low / i.High, High: j.High / i.Low}
}

// drift is what the processor's ceilings may differ by between two runs on one machine before it is said.
const drift = 0.05

// differences lists what else than the program may have changed the times.
func differences(a, b *Report) []string {
	all := []string{}
	tell := func(what string, before, after any) {
		if x, y := fmt.Sprint(before), fmt.Sprint(after); x != y {
			all = append(all, fmt.Sprintf("%s: %s, then %s", what, x, y))
		}
	}
	tell("version", a.Program, b.Program)
	tell("compiler", a.Go, b.Go)
	tell("processor", a.Machine.Processor, b.Machine.Processor)
	tell("cores", a.Machine.Cores, b.Machine.Cores)
	tell("GOMAXPROCS", a.Machine.MaxProcs, b.Machine.MaxProcs)
	tell("method", a.Model.Method, b.Model.Method)
	tell("backbone", a.Model.Backbone, b.Model.Backbone)
	tell("size", a.Model.Size, b.Model.Size)
	tell("model", short(a.Model.SHA256), short(b.Model.SHA256))
	tell("images", short(a.Images.SHA256), short(b.Images.SHA256))
	version, precision := func(e exec.Info) string { return e.Executor + " " + e.Version }, func(e exec.Info) string { return e.Precision }
	tell("executor", a.networks(version), b.networks(version))
	tell("precision", a.networks(precision), b.networks(precision))
	tell("devices", a.Devices, b.Devices)
	tell("--memory", a.Asked.Memory, b.Asked.Memory)
	for _, r := range []struct {
		what       string
		old, later float64
	}{
		{"multiply-adds of the processor", max(a.Rates.Before.Flops, a.Rates.After.Flops), max(b.Rates.Before.Flops, b.Rates.After.Flops)},
		{"copies in memory", max(a.Rates.Before.Copy, a.Rates.After.Copy), max(b.Rates.Before.Copy, b.Rates.After.Copy)},
	} {
		if r.old > 0 && r.later > 0 && math.Abs(math.Log(r.later/r.old)) > drift {
			all = append(all, fmt.Sprintf("%s: %.2f times as fast as before", r.what, r.later/r.old))
		}
	}
	return all
}

// short is the beginning of a hash.
func short(hash string) string { return hash[:min(12, len(hash))] }
