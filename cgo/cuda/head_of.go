package cuda

import (
	"errors"
	"fmt"

	"f2pad.example/engine/method"
	"f2pad.example/engine/method/cflow"
	"f2pad.example/engine/method/padim"
	"f2pad.example/engine/method/patchcore"
)

// errNoHead says that a method has no head on the device, or not for what was fitted: it is computed on the host.
var errNoHead = errors.New("the method is computed on the host")

// head makes a method's head on the device, which closes it before it is closed itself. Whatever does not wrap errNoHead is a failure.
func (d *Device) head(m method.Method) (head, error) {
	switch m := m.(type) {
	case *padim.Model:
		return d.gaussiansHead(m)
	case *cflow.Model:
		return d.flowHead(m)
	case *patchcore.Model:
		return d.bankHead(m)
	}
	return nil, fmt.Errorf("cuda: %s: %w", m.Name(), errNoHead)
}
