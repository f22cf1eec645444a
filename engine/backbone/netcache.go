package backbone

import (
	"errors"
	"slices"

	"f2pad.example/engine/exec"
)

// netCache keeps the networks compiled for the image sizes seen last. Data sets mostly have one size; some have one per
// image.
type netCache struct {
	compile func(h, w int) (exec.Net, error)
	nets    []sizedNet // the one used last comes last
}

type sizedNet struct {
	h, w int
	net  exec.Net
}

const maxNets = 4

// get returns the network for h x w images, which belongs to the cache.
func (c *netCache) get(h, w int) (exec.Net, error) {
	for i, s := range c.nets {
		if s.h == h && s.w == w {
			c.nets = append(slices.Delete(c.nets, i, i+1), s)
			return s.net, nil
		}
	}
	if len(c.nets) == maxNets {
		if err := c.nets[0].net.Close(); err != nil {
			return nil, err
		}
		c.nets = c.nets[1:]
	}
	net, err := c.compile(h, w)
	if err != nil {
		return nil, err
	}
	c.nets = append(c.nets, sizedNet{h, w, net})
	return net, nil
}

// close closes all networks.
func (c *netCache) close() error {
	var errs []error
	for _, s := range c.nets {
		errs = append(errs, s.net.Close())
	}
	return errors.Join(errs...)
}
