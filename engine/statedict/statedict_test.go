package statedict

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func stored(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return data
}

func TestReadWhatPyTorchWrites(t *testing.T) {
	var want []struct {
		Name, Type string
		Shape      []int
		Values     []float64
	}
	require.NoError(t, json.Unmarshal(stored(t, "state.json"), &want))
	require.NotEmpty(t, want)
	classes := map[string]string{
		"torch.float32": "FloatStorage", "torch.float16": "HalfStorage", "torch.int64": "LongStorage", "torch.bool": "BoolStorage",
	}
	got, err := Read(stored(t, "state.pth"))
	require.NoError(t, err)
	require.Len(t, got, len(want))
	for i, w := range want {
		g := got[i]
		require.Equal(t, w.Name, g.Name)
		require.Equal(t, classes[w.Type], g.Storage, w.Name)
		require.True(t, slices.Equal(w.Shape, g.Shape), "%s: %v, want %v", w.Name, g.Shape, w.Shape)
		if g.Storage != "FloatStorage" {
			require.Nil(t, g.Data, w.Name)
			continue
		}
		require.Len(t, g.Data, len(w.Values), w.Name)
		for j, v := range w.Values {
			require.Equal(t, float32(v), g.Data[j], "%s[%d]", w.Name, j)
		}
	}
	many, err := Read(stored(t, "many.pth"))
	require.NoError(t, err)
	require.Len(t, many, 1100)
	for i, g := range many {
		require.Equal(t, Tensor{fmt.Sprint(i), "FloatStorage", []int{}, []float32{float32(i)}}, g)
	}
}

func TestReadRefusesOtherFiles(t *testing.T) {
	state := stored(t, "state.pth")
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":       {nil, "magic number"},
		"text":          {[]byte("weights"), "magic number"},
		"newer format":  {stored(t, "zip.pth"), "_use_new_zipfile_serialization=False"},
		"checkpoint":    {stored(t, "checkpoint.pth"), `the entry "epoch" is a number, not a tensor`},
		"list":          {stored(t, "list.pth"), "the file holds a list, not a state dict"},
		"version":       {bytes.Replace(state, []byte(version), []byte("\x80\x02M\xe8\x03."), 1), "version is not 1001"},
		"big endian":    {bytes.Replace(state, []byte("little_endianq\x02\x88"), []byte("little_endianq\x02\x89"), 1), "not little-endian"},
		"cut off":       {state[:len(state)-1], "the file's"},
		"cut off early": {state[:200], "the file's"},
		"longer":        {append(slices.Clone(state), 0), "1 bytes are left over"},
	} {
		t.Run(name, func(t *testing.T) {
			tensors, err := Read(c.data)
			require.ErrorContains(t, err, "statedict: ")
			require.ErrorContains(t, err, c.want)
			require.Nil(t, tensors)
		})
	}
}

// The pieces of a file in the making.
const (
	system  = "\x80\x02}X\x0d\x00\x00\x00little_endian\x88s."
	ordered = "ccollections\nOrderedDict\n)R"
	rebuild = "ctorch._utils\n_rebuild_tensor_v2\n"
)

func str(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func num(n int) string { return "J" + string(binary.LittleEndian.AppendUint32(nil, uint32(n))) }

func nums(list ...int) string {
	var b strings.Builder
	b.WriteByte('(')
	for _, n := range list {
		b.WriteString(num(n))
	}
	return b.String() + "t"
}

func store(class, key string, count int) string {
	return "(" + str("storage") + "ctorch\n" + class + "\n" + str(key) + str("cpu") + num(count) + "NtQ"
}

func tensorOf(storage string, offset int, shape, stride string) string {
	return rebuild + "(" + storage + num(offset) + shape + stride + "\x89" + ordered + "tR"
}

// file puts an object and storages of float32 together.
func file(object string, storages map[string]int) []byte {
	b := []byte(magic + version + system + "\x80\x02" + object + ".\x80\x02](")
	keys := make([]string, 0, len(storages))
	for key := range storages {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		b = append(b, str(key)...)
	}
	b = append(b, "e."...)
	for _, key := range keys {
		b = binary.LittleEndian.AppendUint64(b, uint64(storages[key]))
		for i := range storages[key] {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(i)))
		}
	}
	return b
}

func entryOf(name, value string) string { return ordered + str(name) + value + "s" }

func TestReadByHand(t *testing.T) {
	s := store("FloatStorage", "0", 6)
	got, err := Read(file(entryOf("w", tensorOf(s, 1, nums(2, 2), nums(1, 2))), map[string]int{"0": 6}))
	require.NoError(t, err)
	require.Equal(t, []Tensor{{"w", "FloatStorage", []int{2, 2}, []float32{1, 3, 2, 4}}}, got)
}

func TestReadRefusesByName(t *testing.T) {
	s := store("FloatStorage", "0", 6)
	whole := tensorOf(s, 0, nums(6), nums(1))
	six := map[string]int{"0": 6}
	for name, c := range map[string]struct {
		object   string
		storages map[string]int
		want     string
	}{
		"a function":           {"cos\nsystem\n" + str("true") + "\x85R", nil, `no state dict needs "os.system"`},
		"another of torch's":   {"ctorch\nload\n", nil, `no state dict needs "torch.load"`},
		"another storage":      {"ctorch\nComplexFloatStorage\n", nil, `"torch.ComplexFloatStorage"`},
		"a name without end":   {"c" + strings.Repeat("a", 1000), nil, "does not end within 256"},
		"another instruction":  {"2", nil, "(DUP): no state dict needs this instruction"},
		"an unknown one":       {"\xff", nil, "(0xff)"},
		"protocol 4":           {"\x80\x04", nil, "protocol 4, want 2"},
		"a storage is called":  {"ctorch\nFloatStorage\n)R", nil, "cannot be called"},
		"arguments to a dict":  {"ccollections\nOrderedDict\n" + num(1) + "\x85R", nil, "1 arguments, want none"},
		"few arguments":        {rebuild + ")R", nil, "0 arguments, want 6"},
		"no storage":           {tensorOf("N", 0, nums(6), nums(1)), nil, "a tensor in None, want a storage"},
		"no shape":             {tensorOf(s, 0, "N", nums(1)), six, "the shape of a tensor: it is None"},
		"negative extent":      {tensorOf(s, 0, nums(-1), nums(1)), six, "-1 on axis 0"},
		"negative stride":      {tensorOf(s, 0, nums(2), nums(-1)), six, "the strides of a tensor: -1 on axis 0"},
		"many axes":            {tensorOf(s, 0, nums(1, 1, 1, 1, 1, 1, 1, 1, 1), nums(1)), six, "9 axes"},
		"fewer strides":        {tensorOf(s, 0, nums(2, 3), nums(1)), six, "2 extents and 1 strides"},
		"negative offset":      {tensorOf(s, -1, nums(2), nums(1)), six, "offset -1"},
		"outside":              {entryOf("w", tensorOf(s, 1, nums(6), nums(1))), six, `the tensor "w": the shape [6] with strides [1] from element 1 exceeds`},
		"scalar outside":       {entryOf("w", tensorOf(s, 6, nums(), nums())), six, `the tensor "w": element 6 exceeds`},
		"huge":                 {entryOf("w", tensorOf(s, 0, nums(1<<30, 1<<30, 1<<30), nums(0, 0, 0))), six, `the tensor "w": the shape`},
		"more than the file":   {entryOf("w", tensorOf(s, 0, nums(1<<20), nums(0))), six, "hold more than the file's"},
		"huge storage":         {store("FloatStorage", "0", 1<<30), nil, `the storage "0" has 1073741824 elements: the file has`},
		"a view":               {"(" + str("storage") + "ctorch\nFloatStorage\n" + str("0") + str("cpu") + num(1) + num(1) + "tQ", nil, "a view of another"},
		"no class":             {"(" + str("storage") + num(1) + str("0") + str("cpu") + num(1) + "NtQ", nil, "want a class of storages"},
		"no function's class":  {"(" + str("storage") + rebuild + str("0") + str("cpu") + num(1) + "NtQ", nil, "want a class of storages"},
		"no key":               {"(" + str("storage") + "ctorch\nFloatStorage\n" + num(1) + str("cpu") + num(1) + "NtQ", nil, "key is a number"},
		"persistent number":    {num(1) + "Q", nil, `begins with "storage"`},
		"storages differ":      {s + store("FloatStorage", "0", 5), nil, `the storage "0" is FloatStorage of 6 elements and FloatStorage of 5`},
		"storage missing":      {entryOf("w", whole), nil, `the storage "0" is missing`},
		"storage not used":     {ordered, six, `no tensor uses the storage "0"`},
		"storage shorter":      {entryOf("w", whole), map[string]int{"0": 5}, `the storage "0" has 5 elements, its tensors say 6`},
		"twice":                {ordered + "(" + str("w") + whole + str("w") + whole + "u", six, `the entry "w" is there twice`},
		"no tensor":            {entryOf("w", s), six, `the entry "w" is a storage, not a tensor`},
		"number as key":        {ordered + num(1) + num(1) + "s", nil, "a key is a number"},
		"key alone":            {ordered + "(" + str("w") + "u", nil, "a key has no value"},
		"key of a list":        {"]" + str("w") + num(1) + "s", nil, "a list takes no keys"},
		"item of a dict":       {"}" + num(1) + "a", nil, "a dict takes no items"},
		"attributes of a list": {"]}b", nil, "only dicts have attributes"},
		"attributes of none":   {"}b", nil, "only dicts have attributes"},
		"no mark":              {num(1) + "t", nil, "there is no mark"},
		"a mark in the way":    {num(1) + "(" + num(1) + "\x86", nil, "fewer than 2 values"},
		"two objects":          {num(1) + num(1), nil, "ends with 2 values"},
		"nothing":              {"", nil, "ends with 0 values"},
		"memory empty":         {"h\x07", nil, "nothing is at place 7"},
		"memory far":           {num(1) + "r\x00\x00\x00\x10", nil, "place 268435456 of the memory"},
		"memory negative":      {num(1) + "r\xff\xff\xff\xff", nil, "place 4294967295 of the memory"},
		"put nothing":          {"q\x00", nil, "nothing to put"},
		"long string":          {"X\xff\xff\xff\xff", nil, "a string: 4294967295 bytes"},
		"no text":              {"X\x01\x00\x00\x00\xff", nil, "not UTF-8"},
		"long number":          {"\x8a\x09123456789", nil, "a number of 9 bytes"},
		"deep stack":           {strings.Repeat("(", maxStack+1), nil, "values on the stack"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(file(c.object, c.storages))
			require.ErrorContains(t, err, "statedict: ")
			require.ErrorContains(t, err, c.want)
		})
	}
}

// Values that refer to each other, or to themselves, cost no more than their instructions.
func TestReadKnotsInTheObject(t *testing.T) {
	self := "]q\x00h\x00a"
	_, err := Read(file(self, nil))
	require.ErrorContains(t, err, "holds a list")
	doubling := ")q\x00" + strings.Repeat("h\x00h\x00\x86q\x00", 10_000)
	_, err = Read(file(doubling+strings.Repeat("\x86", 9_999), nil))
	require.Error(t, err)
	_, err = Read(file(strings.Repeat(")", 10)+strings.Repeat("\x85", 1_000_000)+strings.Repeat("\x86", 9), nil))
	require.ErrorContains(t, err, "holds a tuple")
}

// mostPerByte is what reading may allocate per byte of the file: the doc comment of Read, and the allocator's rounding.
const mostPerByte = 64

// slack is what errors and test machinery take beside that.
const slack = 1 << 16

func allocated(work func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	work()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Bits flipped, bytes cut out, repeated and spliced, lengths changed: what comes of that is an error or a state dict.
func TestReadMutants(t *testing.T) {
	const mutants = 2000
	state, many := stored(t, "state.pth"), stored(t, "many.pth")
	rng := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for i := range mutants {
		data := slices.Clone(state)
		for range 1 + rng.IntN(3) {
			at := rng.IntN(len(data))
			switch i % 5 {
			case 0:
				data[at] ^= 1 << rng.IntN(8)
			case 1:
				data = data[:at+1]
			case 2: // another part of the file, or of another one
				from := [][]byte{data, many}[rng.IntN(2)]
				lo := rng.IntN(len(from))
				data = slices.Insert(data, at, slices.Clone(from[lo:min(len(from), lo+1+rng.IntN(64))])...)
			case 3:
				data = slices.Delete(data, at, min(len(data), at+1+rng.IntN(64)))
			case 4: // a length, a place or a count
				n := []uint32{0, 1, 0x7f, 0xff, 0x100, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff}[rng.IntN(9)]
				if at+4 <= len(data) {
					binary.LittleEndian.PutUint32(data[at:], n)
				}
			}
			if len(data) == 0 {
				break
			}
		}
		var tensors []Tensor
		var err error
		bytes := allocated(func() { tensors, err = Read(data) })
		require.LessOrEqual(t, bytes, uint64(mostPerByte*len(data)+slack), "mutant %d", i)
		if err != nil {
			refused++
			require.ErrorContains(t, err, "statedict: ", "mutant %d", i)
			continue
		}
		requireValid(t, data, tensors)
	}
	t.Logf("%d of %d refused", refused, mutants)
	require.Greater(t, refused, mutants/2)
}

// requireValid checks what Read promises of its result.
func requireValid(t testing.TB, file []byte, tensors []Tensor) {
	t.Helper()
	names, total := map[string]bool{}, 0
	for _, g := range tensors {
		require.False(t, names[g.Name])
		names[g.Name] = true
		require.Positive(t, widths[g.Storage])
		n := 1
		for _, d := range g.Shape {
			require.GreaterOrEqual(t, d, 0)
			n *= d
		}
		if g.Storage == floatStorage {
			require.Len(t, g.Data, n)
			total += 4 * n
		}
	}
	require.LessOrEqual(t, total, len(file))
}

// FuzzRead: whatever a file holds, reading ends with tensors or an error.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"state.pth", "checkpoint.pth", "list.pth"} {
		f.Add(stored(f, name))
	}
	f.Add(file(entryOf("w", tensorOf(store("FloatStorage", "0", 6), 1, nums(2, 2), nums(1, 2))), map[string]int{"0": 6}))
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, err := Read(data)
		if err == nil {
			requireValid(t, data, tensors)
		}
	})
}
