//go:build ignore

// Collects messages.json, seeds of FuzzMessage, from what the fuzzer has kept; run it in this folder:
//
//	go test -run '^$' -fuzz '^FuzzMessage$' -fuzztime 5m ..
//	go run gen_messages.go "$(go env GOCACHE)/fuzz/f2pad.example/engine/onnx/FuzzMessage"
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
)

type seed struct {
	Model, Other uint16
	Edits        []byte
}

func main() {
	files, err := filepath.Glob(filepath.Join(os.Args[1], "*"))
	if err != nil {
		log.Fatal(err)
	}
	var seeds []seed
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			log.Fatal(err)
		}
		var s seed
		var edits string
		if _, err := fmt.Sscanf(string(text), "go test fuzz v1\nuint16(%d)\nuint16(%d)\n[]byte(%q)", &s.Model, &s.Other, &edits); err != nil {
			log.Fatal(name, ": ", err)
		}
		s.Edits = []byte(edits)
		seeds = append(seeds, s)
	}
	slices.SortFunc(seeds, func(a, b seed) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Other, b.Other), slices.Compare(a.Edits, b.Edits))
	})
	out := []byte("[\n")
	for i, s := range seeds {
		line, err := json.Marshal(s)
		if err != nil {
			log.Fatal(err)
		}
		if out = append(out, line...); i < len(seeds)-1 {
			out = append(out, ',')
		}
		out = append(out, '\n')
	}
	if err := os.WriteFile("messages.json", append(out, "]\n"...), 0o644); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(seeds), "seeds")
}
