package onnx

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"f2pad.example/engine/graph"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of ONNX's protocol buffers (onnx.proto), as far as this package knows them.
const (
	modelIRVersion       = 1
	modelProducerName    = 2
	modelProducerVersion = 3
	modelGraph           = 7
	modelOpsets          = 8
	modelFunctions       = 25

	opsetDomain  = 1
	opsetVersion = 2

	graphNodes        = 1
	graphName         = 2
	graphInitializers = 5
	graphInputs       = 11
	graphOutputs      = 12
	graphSparse       = 15

	nodeIn       = 1
	nodeOut      = 2
	nodeName     = 3
	nodeOp       = 4
	nodeAttr     = 5
	nodeDomain   = 7
	nodeMetadata = 9

	entryKey   = 1
	entryValue = 2

	attrName    = 1
	attrFloat   = 2
	attrInt     = 3
	attrString  = 4
	attrTensor  = 5
	attrFloats  = 7
	attrInts    = 8
	attrStrings = 9
	attrType    = 20

	attrTypeFloat   = 1
	attrTypeInt     = 2
	attrTypeString  = 3
	attrTypeTensor  = 4
	attrTypeFloats  = 6
	attrTypeInts    = 7
	attrTypeStrings = 8

	tensorDims         = 1
	tensorType         = 2
	tensorSegment      = 3
	tensorFloats       = 4
	tensorInt32s       = 5
	tensorInt64s       = 7
	tensorName         = 8
	tensorRaw          = 9
	tensorDoubles      = 10
	tensorUint64s      = 11
	tensorExternal     = 13
	tensorDataLocation = 14

	valueName      = 1
	valueType      = 2
	typeTensor     = 1
	typeElem       = 1
	typeShape      = 2
	shapeDim       = 1
	dimensionValue = 1
	dimensionParam = 2
)

// elemType is a TensorProto.DataType.
type elemType int

const (
	elemFloat    elemType = 1
	elemUint8    elemType = 2
	elemInt8     elemType = 3
	elemInt32    elemType = 6
	elemInt64    elemType = 7
	elemBool     elemType = 9
	elemFloat16  elemType = 10
	elemDouble   elemType = 11
	elemBFloat16 elemType = 16
)

// message is a protocol buffer in the making.
type message []byte

func (m message) varint(field protowire.Number, v int) message {
	return protowire.AppendVarint(protowire.AppendTag(m, field, protowire.VarintType), uint64(v))
}

func (m message) text(field protowire.Number, s string) message {
	return protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), s)
}

func (m message) sub(field protowire.Number, sub message) message {
	return protowire.AppendBytes(protowire.AppendTag(m, field, protowire.BytesType), sub)
}

func (m message) float(field protowire.Number, v float32) message {
	return protowire.AppendFixed32(protowire.AppendTag(m, field, protowire.Fixed32Type), math.Float32bits(v))
}

// attributes appends a node's attributes in the order of their names.
func (m message) attributes(attr graph.Attrs) message {
	for _, name := range slices.Sorted(maps.Keys(attr)) {
		a := message(nil).text(attrName, name)
		switch v := attr[name].(type) {
		case int:
			a = a.varint(attrInt, v).varint(attrType, attrTypeInt)
		case float32:
			a = a.float(attrFloat, v).varint(attrType, attrTypeFloat)
		case string:
			a = a.text(attrString, v).varint(attrType, attrTypeString)
		case []int:
			for _, i := range v {
				a = a.varint(attrInts, i)
			}
			a = a.varint(attrType, attrTypeInts)
		case []float32:
			for _, f := range v {
				a = a.float(attrFloats, f)
			}
			a = a.varint(attrType, attrTypeFloats)
		}
		m = m.sub(nodeAttr, a)
	}
	return m
}

// port appends the declaration of a float32 input or output whose first axis is symbolic.
func (m message) port(field protowire.Number, name string, s graph.Shape, open bool) message {
	var shape message
	for a, d := range s {
		switch {
		case d == graph.N:
			shape = shape.sub(shapeDim, message(nil).text(dimensionParam, "N"))
		case open && a > 1:
			shape = shape.sub(shapeDim, nil)
		default:
			shape = shape.sub(shapeDim, message(nil).varint(dimensionValue, d))
		}
	}
	tensor := message(nil).varint(typeElem, int(elemFloat)).sub(typeShape, shape)
	return m.sub(field, message(nil).text(valueName, name).sub(valueType, message(nil).sub(typeTensor, tensor)))
}

// initializer is a constant to be written: one of the two slices is set.
type initializer struct {
	name   string
	dims   []int
	floats []float32
	ints   []int
}

// head is the message up to its values, which are the last field.
func (t initializer) head() message {
	var m message
	for _, d := range t.dims {
		m = m.varint(tensorDims, d)
	}
	elem := elemFloat
	if t.ints != nil {
		elem = elemInt64
	}
	m = m.varint(tensorType, int(elem)).text(tensorName, t.name)
	return protowire.AppendVarint(protowire.AppendTag(m, tensorRaw, protowire.BytesType), uint64(t.bytes()))
}

func (t initializer) bytes() int { return 4*len(t.floats) + 8*len(t.ints) }

func (t initializer) append(to message) message {
	for _, v := range t.floats {
		to = binary.LittleEndian.AppendUint32(to, math.Float32bits(v))
	}
	for _, v := range t.ints {
		to = binary.LittleEndian.AppendUint64(to, uint64(v))
	}
	return to
}
