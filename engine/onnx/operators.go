package onnx

import (
	"strings"
)

// reader translates a node whose inputs are in (nil where left out, with at least min entries) and returns its outputs.
type reader func(x *importer, n *node, in []*value) []*value

// operator is what the importer knows about one of ONNX's.
type operator struct {
	min, max int            // number of inputs
	attrs    map[string]int // the types of the attributes
	read     reader
}

// operators is never written to.
var operators = map[string]operator{
	"Conv":                  {2, 3, window, readConv},
	"ConvTranspose":         {2, 3, attributes("I:output_padding,output_shape", window), readConv},
	"BatchNormalization":    {5, 5, attributes("f:epsilon,momentum i:training_mode,spatial"), readBatchNormalization},
	"LayerNormalization":    {2, 3, attributes("i:axis,stash_type f:epsilon"), readLayerNormalization},
	"InstanceNormalization": {3, 3, attributes("f:epsilon"), readInstanceNormalization},
	"MaxPool":               {1, 1, attributes("i:ceil_mode,storage_order", window), readPool},
	"AveragePool":           {1, 1, attributes("i:ceil_mode,count_include_pad", window), readPool},
	"GlobalAveragePool":     {1, 1, nil, readGlobalPool},
	"GlobalMaxPool":         {1, 1, nil, readGlobalPool},
	"Resize": {1, 4, attributes("s:mode,coordinate_transformation_mode,nearest_mode,keep_aspect_ratio_policy " +
		"i:antialias,exclude_outside f:cubic_coeff_a,extrapolation_value I:axes"), readResize},

	"Relu":        {1, 1, nil, readUnary},
	"LeakyRelu":   {1, 1, attributes("f:alpha"), readUnary},
	"Sigmoid":     {1, 1, nil, readUnary},
	"HardSigmoid": {1, 1, attributes("f:alpha,beta"), readUnary},
	"HardSwish":   {1, 1, nil, readUnary},
	"Tanh":        {1, 1, nil, readUnary},
	"Exp":         {1, 1, nil, readUnary},
	"Log":         {1, 1, nil, readUnary},
	"Sqrt":        {1, 1, nil, readUnary},
	"Abs":         {1, 1, nil, readUnary},
	"Sign":        {1, 1, nil, readUnary},
	"Erf":         {1, 1, nil, readUnary},
	"Floor":       {1, 1, nil, readUnary}, // of constants only
	"Ceil":        {1, 1, nil, readUnary},
	"Neg":         {1, 1, nil, readNeg},
	"Reciprocal":  {1, 1, nil, readReciprocal},
	"Gelu":        {1, 1, attributes("s:approximate"), readGelu},
	"Clip":        {1, 3, nil, readClip},
	"Softmax":     {1, 1, attributes("i:axis"), readSoftmax},

	"Add":            {2, 2, nil, readBinary},
	"Sub":            {2, 2, nil, readBinary},
	"Mul":            {2, 2, nil, readBinary},
	"Div":            {2, 2, nil, readBinary},
	"Pow":            {2, 2, nil, readPow},
	"Min":            {2, 2, nil, readMinMax},
	"Max":            {2, 2, nil, readMinMax},
	"Mod":            {2, 2, attributes("i:fmod"), readBinary}, // and what follows: of constants only
	"Equal":          {2, 2, nil, readBinary},
	"Less":           {2, 2, nil, readBinary},
	"Greater":        {2, 2, nil, readBinary},
	"LessOrEqual":    {2, 2, nil, readBinary},
	"GreaterOrEqual": {2, 2, nil, readBinary},
	"And":            {2, 2, nil, readBinary},
	"Or":             {2, 2, nil, readBinary},
	"Not":            {1, 1, nil, readNot},
	"Where":          {3, 3, nil, readWhere},
	"Sum":            {1, maxItems, nil, readSum},

	"MatMul":     {2, 2, nil, readMatMul},
	"Gemm":       {2, 3, attributes("f:alpha,beta i:transA,transB"), readGemm},
	"ReduceMean": {1, 2, reduction, readReduce},
	"ReduceSum":  {1, 2, reduction, readReduce},
	"ReduceL2":   {1, 2, reduction, readReduce},
	"ReduceProd": {1, 2, reduction, readReduce}, // of constants only

	"Identity":  {1, 1, nil, readIdentity},
	"Dropout":   {1, 3, attributes("f:ratio i:seed"), readDropout},
	"Cast":      {1, 1, attributes("i:to,saturate"), readCast},
	"Concat":    {1, maxItems, attributes("i:axis"), readConcat},
	"Split":     {1, 2, attributes("i:axis,num_outputs I:split"), readSplit},
	"Slice":     {3, 5, nil, readSlice},
	"Gather":    {2, 2, attributes("i:axis"), readGather},
	"Pad":       {2, 4, attributes("s:mode"), readPad},
	"Transpose": {1, 1, attributes("I:perm"), readTranspose},
	"Reshape":   {2, 2, attributes("i:allowzero"), readReshape},
	"Flatten":   {1, 1, attributes("i:axis"), readFlatten},
	"Squeeze":   {1, 2, attributes("I:axes"), readSqueeze},
	"Unsqueeze": {1, 2, attributes("I:axes"), readUnsqueeze},
	"Expand":    {2, 2, nil, readExpand},

	"DepthToSpace":    {1, 1, attributes("i:blocksize s:mode"), readDepthToSpace},
	"Shape":           {1, 1, attributes("i:start,end"), readShape},
	"Size":            {1, 1, nil, readSize},
	"Constant":        {0, 0, attributes("t:value f:value_float F:value_floats i:value_int I:value_ints"), readConstant},
	"ConstantOfShape": {1, 1, attributes("t:value"), readConstantOfShape},
	"Range":           {3, 3, nil, readRange},
	"Tile":            {2, 2, nil, readTile}, // of constants only
}

// former is the form that an operator had up to an opset; without read there was none yet.
type former struct {
	last int
	operator
}

// formers has the operators that opsets 9 and 10 have in another form than later ones, oldest first. It is never written to.
var formers = map[string][]former{
	"MaxPool":     {{9, operator{1, 1, attributes("s:auto_pad I:kernel_shape,pads,strides i:storage_order"), readPool}}},
	"AveragePool": {{9, operator{1, 1, attributes("s:auto_pad I:kernel_shape,pads,strides i:count_include_pad"), readPool}}},
	"Slice":       {{9, operator{1, 1, attributes("I:axes,ends,starts"), readSlice}}},
	"Upsample":    {{9, operator{2, 2, attributes("s:mode"), readUpsample}}},
	"Resize":      {{9, operator{}}, {10, operator{2, 2, attributes("s:mode"), readUpsample}}},
	"Clip":        {{10, operator{1, 1, attributes("f:min,max"), readClip}}},
	"Pad":         {{10, operator{1, 1, attributes("s:mode I:pads f:value"), readPad}}},
	"Gemm":        {{10, operator{3, 3, attributes("f:alpha,beta i:transA,transB"), readGemm}}},

	"DepthToSpace":       {{10, operator{1, 1, attributes("i:blocksize"), readDepthToSpace}}},
	"Mod":                {{9, operator{}}},
	"Range":              {{10, operator{}}},
	"LessOrEqual":        {{10, operator{}}},
	"GreaterOrEqual":     {{10, operator{}}},
	"HardSwish":          {{10, operator{}}},
	"Gelu":               {{10, operator{}}},
	"LayerNormalization": {{10, operator{}}},
}

// operator is the named one in the model's opset.
func (m *Model) operator(name string) operator {
	op := operators[name]
	for _, f := range formers[name] {
		if m.opset <= f.last {
			op = f.operator
			break
		}
	}
	if op.read == nil && formers[name] != nil {
		fail("the operator is not supported in opset %d", m.opset)
	}
	if op.read == nil {
		fail("the operator is not supported")
	}
	return op
}

var (
	window    = attributes("s:auto_pad I:dilations,kernel_shape,pads,strides i:group")
	reduction = attributes("I:axes i:keepdims,noop_with_empty_axes")
)

// attributes reads a list such as "i:group,axis s:mode": lower case for a number, a text or a tensor, upper case for lists.
func attributes(list string, more ...map[string]int) map[string]int {
	types := map[string]int{"f": attrTypeFloat, "i": attrTypeInt, "s": attrTypeString, "t": attrTypeTensor,
		"F": attrTypeFloats, "I": attrTypeInts}
	m := map[string]int{}
	for _, part := range strings.Fields(list) {
		kind, names, _ := strings.Cut(part, ":")
		for _, name := range strings.Split(names, ",") {
			m[name] = types[kind]
		}
	}
	for _, other := range more {
		for name, t := range other {
			m[name] = t
		}
	}
	return m
}

func (n *node) int(name string, def int) int {
	if a := n.attr[name]; a != nil {
		return clamped(a.i)
	}
	return def
}

func (n *node) float(name string, def float32) float32 {
	if a := n.attr[name]; a != nil {
		return a.f
	}
	return def
}

func (n *node) string(name, def string) string {
	if a := n.attr[name]; a != nil {
		return a.s
	}
	return def
}

// ints is nil where the attribute is not set.
func (n *node) ints(name string) []int {
	a := n.attr[name]
	if a == nil {
		return nil
	}
	list := make([]int, len(a.ints))
	for i, v := range a.ints {
		list[i] = clamped(v)
	}
	return list
}
