package exec

import "f2pad.example/engine/graph"

// Prepare is what every executor does with a graph before it compiles it: it validates g, and returns a copy without what no output
// needs, its BatchNormalizations folded. g is neither changed nor kept, but its constants are shared.
func Prepare(g *graph.Graph) (*graph.Graph, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	g = g.Clone()
	g.Prune()
	if err := g.Fold(); err != nil {
		return nil, err
	}
	g.Prune()
	return g, nil
}
