package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine/onnx"
)

// freeSide is the side of the images that a network which takes any is looked at with.
const freeSide = 256

// networkMessage describes an ONNX file.
type networkMessage struct {
	Path string `json:"path"`
	Size [2]int `json:"size"` // height and width of the images that shapes and FLOPs are for
	*onnx.Summary
}

func (networkMessage) MessageType() string { return "network" }

func describeNetwork(path string) (networkMessage, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // a pipe would be waited for
		return networkMessage{}, fmt.Errorf("%s: not a regular file", path)
	}
	m, err := onnx.Open(path)
	if err != nil {
		return networkMessage{}, err
	}
	h, w := m.InputSize()
	if h == 0 || w == 0 {
		h, w = freeSide, freeSide
	}
	s, err := m.Inspect(h, w)
	if err != nil {
		return networkMessage{}, fmt.Errorf("%s: %w", path, err)
	}
	return networkMessage{path, [2]int{h, w}, s}, nil
}

// extents words a shape as the file declares it.
func extents(shape []int) string {
	words := make([]string, len(shape))
	for i, d := range shape {
		if words[i] = strconv.Itoa(d); d < 0 {
			words[i] = "any"
		}
	}
	return strings.Join(words, "x")
}

func (n networkMessage) Text(w io.Writer) error {
	var b strings.Builder
	ui.Fprintf(&b, "network      %s, opset %d, made by %s\n", n.Path, n.Opset, n.Producer)
	ui.Fprintf(&b, "sha256       %s\n", n.SHA256)
	ui.Fprintf(&b, "input        %s %s\n", n.Input.Name, extents(n.Input.Shape))
	for _, out := range n.Outputs {
		ui.Fprintf(&b, "output       %s %s\n", out.Name, extents(out.Shape))
	}
	ui.Fprintf(&b, "parameters   %.2f million\n", float64(n.Parameters)/1e6)
	if len(n.Layers) > 0 {
		ui.Fprintf(&b, "work         %.2f GFLOP for an image of %dx%d pixels, up to the last of the layers\n", float64(n.FLOPs)/1e9, n.Size[1], n.Size[0])
	}
	operators := slices.SortedFunc(maps.Keys(n.Operators), func(a, b string) int {
		if n.Operators[a] != n.Operators[b] {
			return n.Operators[b] - n.Operators[a]
		}
		return strings.Compare(a, b)
	})
	for i, op := range operators {
		operators[i] = fmt.Sprintf("%d %s", n.Operators[op], op)
	}
	ui.Fprintf(&b, "operators    %s\n", strings.Join(operators, ", "))
	if len(n.Layers) == 0 {
		ui.Fprintf(&b, "\nno layer can be used\n")
	} else {
		ui.Fprintf(&b, "\nlayers (for --layers; maps for an image of %dx%d pixels)\n  %-28s %8s %9s %7s  %s\n",
			n.Size[1], n.Size[0], "name", "channels", "cells", "stride", "tensor")
		for _, l := range n.Layers {
			ui.Fprintf(&b, "  %-28s %8d %9s %7.4g  %s\n", l.Name, l.Shape[0], fmt.Sprintf("%dx%d", l.Shape[1], l.Shape[2]), l.Stride, l.Tensor)
		}
	}
	for i, u := range n.Unsupported {
		if i == 0 {
			ui.Fprintf(&b, "\nnot supported; layers behind it cannot be used\n")
		}
		ui.Fprintf(&b, "  node %q (%s): %s\n", u.Node, u.Operator, u.Reason)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
