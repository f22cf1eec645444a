package onnx

import (
	"slices"
	"strings"
)

// Summary says what a model holds and what of it can be used, for images of one size.
type Summary struct {
	Producer    string         `json:"producer"`
	Opset       int            `json:"opset"`
	SHA256      string         `json:"sha256"`
	Input       Port           `json:"input"` // [N,3,H,W], also where the file has the channels last and a Transpose; or [N,1,H,W]
	Outputs     []Port         `json:"outputs"`
	Parameters  int            `json:"parameters"` // elements of the initializers that are real numbers
	Operators   map[string]int `json:"operators"`  // how often each occurs
	Layers      []Layer        `json:"layers"`     // from the image on
	FLOPs       int            `json:"flops"`      // of one image up to the last of Layers; a multiply-add is two
	Unsupported []Unsupported  `json:"unsupported"`
}

// Port is an input or output as the file declares it; an extent of -1 is open.
type Port struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
}

// Layer is a candidate for Model.Graph.
type Layer struct {
	Name   string  `json:"name"`   // of the module, or of the tensor where the file names no modules
	Tensor string  `json:"tensor"` // in the file
	Shape  []int   `json:"shape"`  // [C,H,W]
	Stride float64 `json:"stride"` // the image's height divided by H
}

// Unsupported is a node that cannot be translated. What depends on it is not listed.
type Unsupported struct {
	Node     string `json:"node"`
	Operator string `json:"operator"`
	Reason   string `json:"reason"`
}

// maxListed bounds the layers that Inspect lists.
const maxListed = 512

// Inspect summarises the model for images [N,3,h,w]. Parts that cannot be used are listed as unsupported and are no
// error; that the model has no image input is one.
func (m *Model) Inspect(h, w int) (_ *Summary, err error) {
	defer catch(&err)
	x, err := newImporter(m, h, w)
	if err != nil {
		return nil, err
	}
	image, _, err := m.image()
	if err != nil {
		return nil, err
	}
	s := &Summary{Producer: m.producer, Opset: m.opset, SHA256: m.sha256, Input: Port{image.name, image.shape},
		Outputs: []Port{}, Operators: map[string]int{}, Layers: []Layer{}, Unsupported: []Unsupported{}}
	for _, out := range m.outputs {
		s.Outputs = append(s.Outputs, Port{out.name, out.shape})
	}
	for _, t := range m.tensors {
		if n, err := size(t.dims); err == nil && t.elem.isFloat() {
			s.Parameters += n
		}
	}
	lost := map[string]bool{}
	for _, n := range m.nodes {
		s.Operators[n.op]++
		if !slices.ContainsFunc(n.in, func(name string) bool { return lost[name] }) {
			err := x.node(n)
			if err == nil {
				continue
			}
			s.Unsupported = append(s.Unsupported, Unsupported{n.name, n.op, reason(err)})
		}
		for _, out := range n.out {
			lost[out] = out != ""
		}
	}
	for _, c := range x.candidates() {
		out, err := x.layer(c.Tensor)
		if err != nil || out == x.values[image.name].name {
			continue
		}
		c.Shape = slices.Clone([]int(x.b.Shape(out)[1:]))
		if min(c.Shape[1], c.Shape[2]) == 1 { // no map
			continue
		}
		c.Stride = float64(h) / float64(c.Shape[1])
		s.Layers = append(s.Layers, c)
	}
	if len(s.Layers) > 0 {
		g, err := m.Graph(h, w, []string{s.Layers[len(s.Layers)-1].Tensor})
		if err != nil {
			return nil, err
		}
		if s.FLOPs, err = g.FLOPs(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// reason is an error about a node without the node's name.
func reason(err error) string {
	_, after, ok := strings.Cut(err.Error(), "): ")
	if !ok {
		return err.Error()
	}
	return after
}

// candidates are the tensors that leave the model's larger modules, or where it names none the last ones of each size, in
// the order in which they are computed.
func (x *importer) candidates() []Layer {
	place := map[string]int{}
	for i, n := range x.m.nodes {
		for _, out := range n.out {
			place[out] = i
		}
	}
	var list []Layer
	seen := map[string]bool{"": true}
	leaving := x.m.leaving()
	for _, path := range x.m.modules() {
		if !stage(path) || len(list) == maxListed {
			continue
		}
		if tensor := leaving[path]; !seen[tensor] {
			seen[tensor] = true
			list = append(list, Layer{Name: path, Tensor: tensor})
		}
	}
	if len(list) == 0 {
		var at []int
		for _, n := range x.m.nodes {
			v := x.values[n.out[0]]
			if v == nil || v.c != nil || v.rank() != 4 {
				continue
			}
			size := v.shape[2:]
			if len(list) == 0 || !slices.Equal(at, size) {
				list = append(list, Layer{})
			}
			at = size
			list[len(list)-1] = Layer{Name: n.out[0], Tensor: n.out[0]}
		}
		list = list[:min(len(list), maxListed)]
	}
	slices.SortStableFunc(list, func(a, b Layer) int { return place[a.Tensor] - place[b.Tensor] })
	return list
}

// stage reports whether a module's place in the hierarchy is that of a stage or a block.
func stage(path string) bool {
	parts := strings.Split(path, ".")
	return len(parts) < 3 || len(parts) == 3 && slices.Contains([]string{"layers", "blocks", "stages"}, parts[1])
}
