package cuda

import (
	"f2pad.example/engine/method"
	"f2pad.example/engine/sight"
)

// Detector implements place.Place: the network runs on the device, and its features come down to the method.
func (d *Device) Detector(s sight.Spec) (sight.Detector, error) {
	return &detector{sight.NewHost(d.ex, s), d, s.Method.Map()}, nil
}

// detector makes its maps on the device.
type detector struct {
	*sight.Host
	d *Device
	o method.MapOptions
}

// Maps implements sight.Detector.
func (t *detector) Maps(s []float32, n, h, w, H, W int, dst []float32) error {
	return t.d.Maps(s, n, h, w, H, W, t.o, dst)
}
