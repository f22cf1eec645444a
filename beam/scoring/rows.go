package scoring

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/run"

	"github.com/parquet-go/parquet-go"
)

// A row is a line of results.jsonl whose fields are columns, with its place among the inputs before them, and why it failed, if it
// did, behind. Its type is made of run.Line, so that the two hold the same whatever that comes to hold. All columns but input, member and
// image may be null: those of results are where there is an error.
var (
	rowType = reflect.StructOf(slices.Concat(
		[]reflect.StructField{
			{Name: "Input", Type: reflect.TypeFor[int64](), Tag: `json:"-" parquet:"input"`},
			{Name: "Member", Type: reflect.TypeFor[int64](), Tag: `json:"-" parquet:"member"`},
		},
		columns(reflect.TypeFor[run.Name](), false),
		slices.DeleteFunc(columns(reflect.TypeFor[run.Line](), true), func(f reflect.StructField) bool {
			_, named := reflect.TypeFor[run.Name]().FieldByName(f.Name)
			return named
		}),
		[]reflect.StructField{{Name: "Error", Type: reflect.TypeFor[*string](), Tag: `json:"error" parquet:"error,optional"`}},
	))
	schema = parquet.SchemaOf(reflect.New(rowType).Interface())
)

// columns are the fields of a struct, those of embedded ones among them, as parquet-go wants them; with null as values of all.
func columns(of reflect.Type, null bool) (fields []reflect.StructField) {
	for _, f := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() {
			continue
		}
		t, tag := f.Type, name
		switch {
		case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
			t, tag = reflect.SliceOf(reflect.StructOf(columns(t.Elem(), false))), name+",list,optional"
		case t.Kind() == reflect.Slice, t.Kind() == reflect.Pointer:
			tag = name + ",optional"
		case null:
			t, tag = reflect.PointerTo(t), name+",optional"
		}
		fields = append(fields, reflect.StructField{Name: f.Name, Type: t, Tag: reflect.StructTag(fmt.Sprintf(`json:%q parquet:%q`, name, tag))})
	}
	return fields
}

// placeOf are the columns that are no fields of a line.
func placeOf(row reflect.Value) (input, member reflect.Value) {
	return row.Elem().FieldByName("Input"), row.Elem().FieldByName("Member")
}

// infoKey is the key of what decided the results, in the metadata of a file with rows.
const infoKey = "f2pad"

// writeShard writes lines as the file of a shard, and counts them.
func writeShard(path string, info run.Info, lines []Scored) (t Tally, _ error) {
	about, err := json.Marshal(info)
	if err != nil {
		return t, err
	}
	return t, artifact.WriteFileAtomic(path, func(w io.Writer) error {
		rows := parquet.NewWriter(w, schema, parquet.Compression(&parquet.Zstd), parquet.KeyValueMetadata(infoKey, string(about)))
		t = Tally{}
		for _, s := range lines {
			row := reflect.New(rowType)
			if err := json.Unmarshal(s.Line, row.Interface()); err != nil {
				return err
			}
			input, member := placeOf(row)
			input.SetInt(s.Input)
			member.SetInt(s.Member)
			t.Images++
			if !row.Elem().FieldByName("Error").IsNil() {
				t.Failed++
			} else if row.Elem().FieldByName("Anomalous").Elem().Bool() {
				t.Anomalous++
			}
			if err := rows.Write(row.Interface()); err != nil {
				return err
			}
		}
		return rows.Close()
	})
}

// Read returns the lines of a folder of results in the order of the inputs, as results.jsonl holds them.
func Read(dir string) ([]Scored, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "results-*.parquet"))
	if err != nil {
		return nil, err
	}
	var all []Scored
	for _, path := range paths {
		lines, err := readShard(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, lines...)
	}
	slices.SortFunc(all, inOrder)
	return all, nil
}

func readShard(path string) (lines []Scored, _ error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows := parquet.NewReader(f, schema)
	defer rows.Close()
	for {
		row := reflect.New(rowType)
		if err := rows.Read(row.Interface()); errors.Is(err, io.EOF) {
			return lines, nil
		} else if err != nil {
			return nil, err
		}
		data, err := json.Marshal(row.Interface())
		if err != nil {
			return nil, err
		}
		var line any = &run.Line{}
		if !row.Elem().FieldByName("Error").IsNil() {
			line = &struct {
				run.Name
				Error string `json:"error"`
			}{}
		}
		if err := json.Unmarshal(data, line); err != nil {
			return nil, err
		}
		input, member := placeOf(row)
		s := Scored{Input: input.Int(), Member: member.Int()}
		if s.Line, err = json.Marshal(line); err != nil {
			return nil, err
		}
		lines = append(lines, s)
	}
}
