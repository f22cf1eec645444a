package serve

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"strings"
	"time"
)

// What a connection may take: for its requests' headers, and between two of them.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	mostHeader    = 16 << 10 // bytes
)

// Serve answers what comes to a listener until ctx ends. Then new images are refused, and it returns when those that were accepted have
// been answered: nil, or the error that kept it from that.
func (s *Server) Serve(ctx context.Context, on net.Listener) error {
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: min(headerTimeout, s.opts.ReadTimeout), IdleTimeout: idleTimeout, MaxHeaderBytes: mostHeader,
		ErrorLog: log.New(faults{s}, "", 0),
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(on) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	s.refuse()
	// Nobody takes longer than this: what is beyond is cut off.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.ReadTimeout+s.opts.Timeout+s.opts.WriteTimeout)
	defer cancel()
	if err := h.Shutdown(last); err != nil {
		return errors.Join(err, h.Close())
	}
	return s.Stop(last)
}

// faults are what net/http has to say of connections.
type faults struct{ s *Server }

func (f faults) Write(text []byte) (int, error) {
	f.s.opts.fault(errors.New(strings.TrimSpace(string(text))))
	return len(text), nil
}
