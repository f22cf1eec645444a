package graph

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// MaxElements bounds the elements of a constant and of one image's part of a value; larger graphs are refused before
// anything is allocated.
const MaxElements = 1<<31 - 1

// maxRank bounds the number of axes.
const maxRank = 8

// Infer validates the graph and returns the shape of every value and constant; computed values have Shape[0] == N.
// Errors name the node. The cost is a few allocations per node, whatever the shapes.
func (g *Graph) Infer() (map[string]Shape, error) {
	s := newScope()
	for _, in := range g.Inputs {
		if err := s.input(in); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.Consts)) {
		if err := s.constant(name, g.Consts[name]); err != nil {
			return nil, err
		}
	}
	for i, n := range g.Nodes {
		if n == nil {
			return nil, fmt.Errorf("graph: node %d is nil", i)
		}
		if err := s.node(n); err != nil {
			return nil, err
		}
	}
	if err := s.outputs(g.Outputs); err != nil {
		return nil, err
	}
	return s.shapes, nil
}

// Validate is Infer without the shapes.
func (g *Graph) Validate() error {
	_, err := g.Infer()
	return err
}

// scope knows what is defined so far.
type scope struct {
	shapes map[string]Shape
	consts map[string]bool
	nodes  map[string]bool
}

func newScope() *scope {
	return &scope{map[string]Shape{}, map[string]bool{}, map[string]bool{}}
}

func (s *scope) define(name string, shape Shape) error {
	if name == "" {
		return errors.New("its name is empty")
	}
	if _, ok := s.shapes[name]; ok {
		return fmt.Errorf("the name %q is defined twice", name)
	}
	s.shapes[name] = slices.Clone(shape)
	return nil
}

func (s *scope) input(v Value) error {
	err := checkValue(v.Shape)
	if err == nil {
		err = s.define(v.Name, v.Shape)
	}
	if err != nil {
		return fmt.Errorf("graph: input %q: %w", v.Name, err)
	}
	return nil
}

func (s *scope) constant(name string, t *tensor.Dense) error {
	if err := checkConstant(t); err != nil {
		return fmt.Errorf("graph: constant %q: %w", name, err)
	}
	if err := s.define(name, Shape(t.Shape())); err != nil {
		return fmt.Errorf("graph: constant %q: %w", name, err)
	}
	s.consts[name] = true
	return nil
}

func (s *scope) node(n *Node) error {
	if err := s.infer(n); err != nil {
		return fmt.Errorf("graph: node %q (%s): %w", n.Name, n.Op, err)
	}
	return nil
}

func (s *scope) infer(n *Node) error {
	if n.Name == "" {
		return errors.New("its name is empty")
	}
	if s.nodes[n.Name] {
		return errors.New("another node has the same name")
	}
	s.nodes[n.Name] = true
	op, ok := operators[n.Op]
	if !ok {
		return errors.New("unknown operator")
	}
	for _, name := range slices.Sorted(maps.Keys(n.Attr)) {
		k, ok := op.attrs[name]
		if !ok {
			return fmt.Errorf("unknown attribute %q", name)
		}
		if !k.holds(n.Attr[name]) {
			return fmt.Errorf("attribute %q is %v (%T), want %s", name, n.Attr[name], n.Attr[name], k)
		}
	}
	in, err := s.inputs(n, op)
	if err != nil {
		return err
	}
	out, err := op.infer(n, in)
	if err == nil {
		err = checkValue(out)
	}
	if err != nil {
		return err
	}
	return s.define(n.Out, out)
}

// inputs resolves a node's inputs; the shape of one that is left out is nil.
func (s *scope) inputs(n *Node, op operator) ([]Shape, error) {
	if len(n.In) < op.min || len(n.In) > op.max {
		return nil, fmt.Errorf("%d inputs, want %d to %d", len(n.In), op.min, op.max)
	}
	in := make([]Shape, max(len(n.In), len(op.roles)))
	values := false
	for i, name := range n.In {
		if name == "" {
			if i < op.min {
				return nil, fmt.Errorf("input %d is left out", i)
			}
			continue
		}
		shape, ok := s.shapes[name]
		if !ok {
			return nil, fmt.Errorf("input %q is not defined before its use", name)
		}
		if i < len(op.roles) && op.roles[i] != either && s.consts[name] != (op.roles[i] == constant) {
			return nil, fmt.Errorf("input %d, %q, must be a %s", i, name, op.roles[i])
		}
		values = values || !s.consts[name]
		in[i] = shape
	}
	if !values {
		return nil, errors.New("all inputs are constants: fold the node")
	}
	return in, nil
}

func (s *scope) outputs(names []string) error {
	if len(names) == 0 {
		return errors.New("graph: no outputs")
	}
	for i, name := range names {
		_, ok := s.shapes[name]
		switch {
		case !ok:
			return fmt.Errorf("graph: output %q is not defined", name)
		case s.consts[name]:
			return fmt.Errorf("graph: output %q is a constant", name)
		case slices.Contains(names[:i], name):
			return fmt.Errorf("graph: output %q is listed twice", name)
		}
	}
	return nil
}

// checkValue checks that N comes first and that the rest is concrete and small enough.
func checkValue(s Shape) error {
	if len(s) == 0 || s[0] != N {
		return fmt.Errorf("shape %v does not begin with N (%d)", s, N)
	}
	return checkExtents(s, s[1:])
}

func checkExtents(whole, s Shape) error {
	if len(whole) > maxRank {
		return fmt.Errorf("%d axes, at most %d are supported", len(whole), maxRank)
	}
	n := 1
	for _, d := range s {
		if d < 1 {
			return fmt.Errorf("shape %v has an extent below 1", whole)
		}
		if d > MaxElements/n {
			return fmt.Errorf("shape %v has more than %d elements", whole, MaxElements)
		}
		n *= d
	}
	return nil
}

func checkConstant(t *tensor.Dense) error {
	if t == nil {
		return errors.New("is nil")
	}
	s := Shape(t.Shape())
	if len(s) == 0 {
		return errors.New("is a scalar; give it the shape [1]")
	}
	if err := checkExtents(s, s); err != nil {
		return err
	}
	return nd.Check("it", t, s...)
}

// Broadcast is numpy's rule: shapes are aligned at their last axes; an extent of 1, or a missing one, is repeated. N
// matches N and 1.
func Broadcast(a, b Shape) (Shape, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for i, d := range b {
		at := len(a) - len(b) + i
		switch {
		case out[at] == 1:
			out[at] = d
		case d != 1 && d != out[at]:
			return nil, fmt.Errorf("shapes %v and %v do not broadcast", a, b)
		}
	}
	return out, nil
}

func wantRank(what string, s Shape, rank int) error {
	if len(s) != rank {
		return fmt.Errorf("%s has shape %v, want %d axes", what, s, rank)
	}
	return nil
}

func wantShape(what string, s Shape, want ...int) error {
	if !s.Equal(want) {
		return fmt.Errorf("%s has shape %v, want %v", what, s, Shape(want))
	}
	return nil
}

func oneOf(name, got, values string) error {
	if !slices.Contains(strings.Fields(values), got) {
		return fmt.Errorf("%s %q is not one of: %s", name, got, values)
	}
	return nil
}
