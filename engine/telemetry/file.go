package telemetry

import (
	"io"

	"f2pad.example/engine/artifact"

	"github.com/prometheus/common/expfmt"
)

// WriteFile writes all metrics to the file at path in Prometheus' text format, atomically: what collects it (node_exporter, where path
// ends in .prom) sees a whole one.
func (s *Scoring) WriteFile(path string) error {
	families, err := s.Registry.Gather()
	if err != nil {
		return err
	}
	return artifact.WriteFileAtomic(path, func(w io.Writer) error {
		enc := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
		for _, f := range families {
			if err := enc.Encode(f); err != nil {
				return err
			}
		}
		return nil
	})
}
