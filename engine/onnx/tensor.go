package onnx

import (
	"encoding/binary"
	"fmt"
	"math"

	"f2pad.example/engine/graph"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	maxElements = graph.MaxElements
	maxRank     = 8
)

// dim is an integer that may be a multiple of the number of images: v, or v*N where n is set. What a graph computes from
// shapes is made of these.
type dim struct {
	v int
	n bool
}

// constant is a tensor that is known while a graph is built: floats, or integers (truth values are 0 and 1). It is never
// written to.
type constant struct {
	name   string // the initializer's, "" where it was computed
	shape  []int
	isInts bool
	floats []float32
	ints   []dim
}

func (c *constant) len() int {
	if c.isInts {
		return len(c.ints)
	}
	return len(c.floats)
}

// size is the product of the extents, which may be 0.
func size(shape []int) (int, error) {
	n, empty := 1, false
	for _, d := range shape {
		switch {
		case d == 0:
			empty = true
		case d < 0 || d > maxElements/n:
			return 0, fmt.Errorf("shape %v has more than %d elements", shape, maxElements)
		default:
			n *= d
		}
	}
	if empty {
		return 0, nil
	}
	return n, nil
}

// bytesPer is the size of an element in raw data, 0 for types that are not supported.
func (e elemType) bytesPer() int {
	switch e {
	case elemUint8, elemInt8, elemBool:
		return 1
	case elemFloat16, elemBFloat16:
		return 2
	case elemFloat, elemInt32:
		return 4
	case elemDouble, elemInt64:
		return 8
	}
	return 0
}

func (e elemType) isFloat() bool {
	return e == elemFloat || e == elemDouble || e == elemFloat16 || e == elemBFloat16
}

// decode reads the values. What it allocates is bounded by a small multiple of what the file has.
func (t *protoTensor) decode() (*constant, error) {
	n, err := size(t.dims)
	if err != nil {
		return nil, err
	}
	width := t.elem.bytesPer()
	if width == 0 {
		return nil, fmt.Errorf("elements of type %d are not supported", t.elem)
	}
	c := &constant{name: t.name, shape: t.dims, isInts: !t.elem.isFloat()}
	var bits []uint64
	at := func(i int) uint64 { return bits[i] }
	switch {
	case t.isRaw || t.external != nil:
		if len(t.raw) != n*width {
			return nil, fmt.Errorf("%d bytes for the shape %v, want %d", len(t.raw), t.dims, n*width)
		}
		at = func(i int) uint64 {
			b := t.raw[i*width:]
			switch width {
			case 1:
				return uint64(b[0])
			case 2:
				return uint64(binary.LittleEndian.Uint16(b))
			case 4:
				return uint64(binary.LittleEndian.Uint32(b))
			}
			return binary.LittleEndian.Uint64(b)
		}
	default:
		if n > len(t.message) { // every value takes a byte at least
			return nil, fmt.Errorf("not enough values for the shape %v", t.dims)
		}
		number, kind := t.typed()
		err := each(t.message, func(f field) (err error) {
			if f.number == number {
				bits, err = f.numbers(bits, kind)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(bits) != n {
			return nil, fmt.Errorf("%d values for the shape %v", len(bits), t.dims)
		}
	}
	if c.isInts {
		c.ints = make([]dim, n)
		for i := range c.ints {
			c.ints[i].v = t.elem.integer(at(i))
		}
		return c, nil
	}
	c.floats = make([]float32, n)
	for i := range c.floats {
		v := t.elem.real(at(i))
		c.floats[i] = float32(v)
		if math.IsInf(float64(c.floats[i]), 0) && !math.IsInf(v, 0) {
			return nil, fmt.Errorf("element %d, %g, exceeds float32", i, v)
		}
	}
	return c, nil
}

// typed is the field that holds the values where there is no raw data.
func (t *protoTensor) typed() (protowire.Number, protowire.Type) {
	switch t.elem {
	case elemFloat:
		return tensorFloats, protowire.Fixed32Type
	case elemDouble:
		return tensorDoubles, protowire.Fixed64Type
	case elemInt64:
		return tensorInt64s, protowire.VarintType
	}
	return tensorInt32s, protowire.VarintType
}

func (e elemType) integer(bits uint64) int {
	switch e {
	case elemUint8:
		return int(uint8(bits))
	case elemInt8:
		return int(int8(bits))
	case elemInt32:
		return int(int32(bits))
	case elemBool:
		return int(min(bits, 1))
	}
	return clamped(int64(bits))
}

// clamped is the nearest int, which may be narrower: the largest numbers stand for "to the end" in ONNX.
func clamped(v int64) int { return int(min(max(v, math.MinInt), math.MaxInt)) }

func (e elemType) real(bits uint64) float64 {
	switch e {
	case elemDouble:
		return math.Float64frombits(bits)
	case elemBFloat16:
		return float64(math.Float32frombits(uint32(bits) << 16))
	case elemFloat16:
		return half(uint16(bits))
	}
	return float64(math.Float32frombits(uint32(bits)))
}

// half is the value of an IEEE binary16.
func half(b uint16) float64 {
	sign := 1.0
	if b>>15 != 0 {
		sign = -1
	}
	exponent, fraction := int(b>>10&31), float64(b&1023)
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 31:
		if fraction != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}
