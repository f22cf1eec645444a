package bench

import (
	"fmt"

	"f2pad.example/engine"
	"f2pad.example/engine/device"
	"f2pad.example/engine/internal/stage"
	"f2pad.example/engine/peak"
	"f2pad.example/engine/perf"
	"f2pad.example/engine/perf/stats"
	"f2pad.example/engine/refine"
)

// Row is what was measured of one kind of work on one device. What is nil or empty does not exist for it, or nobody tells it.
type Row struct {
	Scenario Scenario    `json:"scenario"`
	Device   string      `json:"device"` // or several that compute together, cuda:0+cuda:1
	Map      refine.Kind `json:"map"`
	Batch    int         `json:"batch"`           // images in work at once on each device, at most
	Error    string      `json:"error,omitempty"` // it could not be measured; nothing below counts
	Note     string      `json:"note,omitempty"`

	ImagesPerSecond float64         `json:"images_per_s"` // of Server the rate that it holds; 0: none
	Round           *stats.Timing   `json:"round"`        // of one pass over all images; of Stream the sum of their latencies
	Interval        *stats.Interval `json:"interval"`     // of the median of these; of less than six rounds all that they span
	Spread          *float64        `json:"spread"`       // how far it reaches from the median, as a share of it
	Settled         bool            `json:"settled"`      // the rule of the measurement was met before its time was over
	Samples         []float64       `json:"samples_s"`    // of every round; those of devices in the same rows belong together
	Latency         *stats.Latency  `json:"latency"`      // of Stream and Server: of single images
	ImageSeconds    []float64       `json:"image_s"`      // of Stream: the median of each image, in their order
	Server          *ServerRow      `json:"server"`

	Refined int                `json:"refined_images"`       // those with something suspicious
	Suspect float64            `json:"suspicious"`           // share of all pixels that the refinement looks at
	Stages  []engine.StageTime `json:"stages"`               // seconds of each image
	Network *Share             `json:"network"`              // how near the stage "features" comes to the processor's ceilings
	Bus     *Bus               `json:"bus"`                  // of a device beside the CPU
	Joules  *float64           `json:"cpu_joules_per_image"` // of the processor's packages, all that runs on them
	Apart   *float64           `json:"scores_apart"`         // largest relative difference of image scores to the first device's
	// MapsApart is the RMS of the difference of maps to the first device's, of up to 32 images, over the larger RMS of the two.
	MapsApart *float64 `json:"maps_apart"`
	// MasksApart is the share of the pixels of these images that one mask marks and the other does not, MasksDice the Dice of the two
	// devices' masks, all pixels together; 1 where they are empty.
	MasksApart *float64 `json:"masks_apart"`
	MasksDice  *float64 `json:"masks_dice"`
	Against    *Against `json:"against"` // the first device of the row
	// Shares are those of the images that each of several devices computed in timed rounds.
	Shares map[string]float64 `json:"shares,omitempty"`
}

// ServerRow is how a server bore its load.
type ServerRow struct {
	Rate   float64      `json:"rate"` // arrivals a second
	Given  bool         `json:"rate_given"`
	Bound  float64      `json:"bound_s"`
	Held   bool         `json:"held"` // no more than one image in a hundred was late
	Asked  int          `json:"images"`
	Late   int          `json:"late"`
	Mean   float64      `json:"mean_batch"`
	Trials []perf.Trial `json:"trials"` // on the way to the rate
}

// Bus is what goes on between host and device for each image. Times are of calls that may run beside each other, added up.
type Bus struct {
	Launches   float64 `json:"launches"`
	Uploaded   float64 `json:"uploaded_bytes"`
	Downloaded float64 `json:"downloaded_bytes"`
	Enqueue    float64 `json:"enqueue_s"` // of the host, handing over work
	Wait       float64 `json:"wait_s"`    // of the host, until it is done
	Busy       float64 `json:"busy_s"`    // of the device
}

// Against is a row's time over that of another device in the same rounds.
type Against struct {
	Device string      `json:"device"`
	Ratio  stats.Ratio `json:"time_ratio"`
}

// Share is how near the network comes to what the processor can do.
type Share struct {
	Flops   float64  `json:"flops_per_s"`
	Bytes   float64  `json:"bytes_per_s"` // float32 that its operators read and write; caches keep some of it from the memory
	OfFlops *float64 `json:"of_flops"`    // of multiply-adds in registers
	OfCopy  float64  `json:"of_copy"`     // of a copy in memory
	Ceiling string   `json:"ceiling"`     // the nearer one: "compute" or "memory"
}

// Share gives each row its Network, where the network's work is known and runs on this machine's processor. The ceilings are the
// higher of those before and after.
func (r *Report) Share() {
	if r.Work == nil {
		return
	}
	most := r.Rates.Before
	most.Flops, most.Copy = max(most.Flops, r.Rates.After.Flops), max(most.Copy, r.Rates.After.Copy)
	onCPU := map[string]bool{} // by device
	for i, d := range r.Devices {
		onCPU[d.Device] = r.Executors[i].Device == device.CPU.Device
	}
	for _, row := range r.Rows {
		if !onCPU[row.Device] {
			continue
		}
		row.Network = shareOf(*r.Work, most, row.Batch, row.Stages)
	}
}

// shareOf is nil where no time was measured.
func shareOf(w engine.Work, r peak.Rates, batch int, stages []engine.StageTime) *Share {
	for _, s := range stages {
		if s.Stage != stage.Features || s.Seconds <= 0 || r.Copy <= 0 {
			continue
		}
		k := &Share{Flops: float64(w.Flops) / s.Seconds, Bytes: 4 * (float64(w.Values) + float64(w.Weights)/float64(batch)) / s.Seconds}
		k.OfCopy, k.Ceiling = k.Bytes/r.Copy, "memory"
		if r.Flops > 0 {
			of := k.Flops / r.Flops
			if k.OfFlops = &of; of > k.OfCopy {
				k.Ceiling = "compute"
			}
		}
		return k
	}
	return nil
}

// Name is what tells the row from others of its report.
func (r *Row) Name() string {
	name := fmt.Sprintf("%s/device=%s/map=%s/batch=%d", r.Scenario, r.Device, r.Map, r.Batch)
	if r.Server != nil && r.Server.Given {
		name += fmt.Sprintf("/rate=%g", r.Server.Rate)
	}
	return name
}

// Seconds is what the row takes for an image: what rows are compared by. Of a Server whose rate was given it is the latency that 99
// of 100 images keep, or 90 of 100, or half of them, as far as there are enough. ok is false where there is none.
func (r *Row) Seconds() (s float64, ok bool) {
	switch {
	case r.Error != "":
		return 0, false
	case r.Server != nil && r.Server.Given && r.Latency != nil:
		switch l := r.Latency; {
		case l.P99 != nil:
			return *l.P99, true
		case l.P90 != nil:
			return *l.P90, true
		default:
			return l.P50, true
		}
	case r.ImagesPerSecond > 0:
		return 1 / r.ImagesPerSecond, true
	}
	return 0, false
}
