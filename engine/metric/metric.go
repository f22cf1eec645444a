// Package metric measures anomaly maps against ground truth: image AUROC, pixel AUROC, AP and AUPRO, Dice and IoU at the
// best and at a given threshold, a boundary F-score, what thresholds decide, and how far differences between maps owe to the choice of images.
// Everything is computed at the images' own size, streams through bounded memory, and is exact: no binning, no sampling;
// Bootstrap alone bins, draws, and keeps a kilobyte or so of each image. The other results depend on the set of images only,
// not on the order in which they were added, and are the same to the bit whether or not memory sufficed.
//
// Two conventions hold throughout. A pixel is marked anomalous where score > threshold, as in the masks this program
// writes. A metric that the data do not define, such as an AUROC with one class only, is a NaN Value and null in JSON.
package metric

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
)

// Value is a metric. NaN says that the data do not define it.
type Value float64

// Undefined is the Value of a metric that the data do not define.
func Undefined() Value { return Value(math.NaN()) }

// Defined reports whether the data define v.
func (v Value) Defined() bool { return !math.IsNaN(float64(v)) }

// String formats v with four decimals, or as "n/a".
func (v Value) String() string {
	if !v.Defined() {
		return "n/a"
	}
	return strconv.FormatFloat(float64(v), 'f', 4, 64)
}

// MarshalJSON writes null for an undefined value.
func (v Value) MarshalJSON() ([]byte, error) {
	if !v.Defined() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(v))
}

// UnmarshalJSON reads null as an undefined value.
func (v *Value) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		*v = Undefined()
		return nil
	}
	return json.Unmarshal(b, (*float64)(v))
}

// Row is one line of an evaluation: one kind of map over one category ("all": over all of them).
type Row struct {
	Category        string  `json:"category"`
	Map             string  `json:"map"` // base, residual (the control) or f2pad
	Images          int     `json:"images"`
	Defective       int     `json:"defective"` // images of a defect type
	WithMask        int     `json:"with_mask"` // those of them with ground truth, which metrics of pixels are over, beside normal ones
	ImageAUROC      Value   `json:"image_auroc"`
	PixelAUROC      Value   `json:"pixel_auroc"`
	PixelAP         Value   `json:"pixel_ap"`
	AUPRO           Value   `json:"aupro"`
	DiceOracle      Value   `json:"dice_oracle"`
	IoUOracle       Value   `json:"iou_oracle"`
	DiceLabelFree   Value   `json:"dice_labelfree"`
	IoULabelFree    Value   `json:"iou_labelfree"`
	BoundaryF       Value   `json:"boundary_f"`
	SecondsPerImage float64 `json:"seconds_per_image"`
	// Worse is the share of the defective images with an AP whose AP is below the base map's by more than WorseBy; undefined for the
	// base map, and where it was not measured.
	Worse Value `json:"worse"`
	// Intervals of PixelAP minus that of the base map and of the control (see Bootstrap); nil where the other map is this
	// one or a more refined one or was not measured, and without anomalous pixels.
	OverBase    *Interval `json:"pixel_ap_over_base"`
	OverControl *Interval `json:"pixel_ap_over_residual"`
}

// Options bound the memory of an accumulator.
type Options struct {
	TempDir       string // parent of the folder for spilled records; "": the system's
	MemoryRecords int    // records held in memory, 16 bytes each; 0: 1<<18
}
