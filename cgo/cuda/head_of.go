package cuda

import (
	"errors"
	"fmt"

	"f2pad.example/engine/method"
)

// errNoHead means that a method has no head on the device, and is computed on the host.
var errNoHead = errors.New("it is computed on the host")

// head brings a method's scores to the device.
func (d *Device) head(m method.Method) (head, error) {
	return nil, fmt.Errorf("%s: %w", m.Name(), errNoHead)
}
