package graph

import "math"

// HasAttr reports whether the attribute is set.
func (n *Node) HasAttr(name string) bool { _, ok := n.Attr[name]; return ok }

// Int returns an integer attribute, def where it is not set. Like the other getters it trusts the type: Infer checks it.
func (n *Node) Int(name string, def int) int { return attr(n, name, def) }

// Float returns a real attribute, def where it is not set.
func (n *Node) Float(name string, def float32) float32 { return attr(n, name, def) }

// String returns a text attribute, def where it is not set.
func (n *Node) String(name, def string) string { return attr(n, name, def) }

// Ints returns a list of integers, def where it is not set. The list belongs to the node.
func (n *Node) Ints(name string, def []int) []int { return attr(n, name, def) }

// Floats returns a list of reals, def where it is not set. The list belongs to the node.
func (n *Node) Floats(name string, def []float32) []float32 { return attr(n, name, def) }

// Axis returns the attribute "axis" counted from the front, for an operand of the given rank.
func (n *Node) Axis(def, rank int) int { return fromFront(n.Int("axis", def), rank) }

func attr[T any](n *Node, name string, def T) T {
	if v, ok := n.Attr[name].(T); ok {
		return v
	}
	return def
}

func fromFront(axis, rank int) int {
	if axis < 0 {
		return axis + rank
	}
	return axis
}

// kind is the type of an attribute.
type kind string

const (
	anInt    kind = "int"
	aFlag    kind = "int, 0 or 1"
	aFloat   kind = "float32"
	aString  kind = "string"
	someInts kind = "[]int"
	someReal kind = "[]float32"
)

// holds reports whether v is of this kind and has no NaN.
func (k kind) holds(v any) bool {
	switch v := v.(type) {
	case int:
		return k == anInt || k == aFlag && (v == 0 || v == 1)
	case string:
		return k == aString
	case []int:
		return k == someInts
	case float32:
		return k == aFloat && !isNaN(v)
	case []float32:
		for _, f := range v {
			if isNaN(f) {
				return false
			}
		}
		return k == someReal
	}
	return false
}

func isNaN(f float32) bool { return math.IsNaN(float64(f)) }
