package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"f2pad.example/engine/artifact"
)

// path is where the result of a combination is stored. The key is in the name, so that the results of another program or of
// other options stay beside it.
func (o *options) path(c combination, key string) string {
	return filepath.Join(o.work(), c.file("."+key[:12]+".json"))
}

// stored reads a stored result. One that is missing or broken is not there.
func (o *options) stored(c combination, key string) (*result, bool) {
	raw, err := os.ReadFile(o.path(c, key))
	if err != nil {
		return nil, false
	}
	r := &result{}
	if json.Unmarshal(raw, r) != nil || r.Key != key {
		return nil, false
	}
	return r, true
}

func (o *options) store(c combination, r *result) error {
	return artifact.WriteFileAtomic(o.path(c, r.Key), func(w io.Writer) error { return json.NewEncoder(w).Encode(r) })
}
