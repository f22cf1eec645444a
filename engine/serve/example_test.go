package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"f2pad.example/engine"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/serve"
)

// A Server is an http.Handler: a program can have it beside others of its own.
func Example() {
	m, err := engine.Load(filepath.Join("..", "testdata", "r4", "padim.f2pad"))
	if err != nil {
		log.Fatal(err)
	}
	e, err := engine.New(m, engine.Options{Maps: []refine.Kind{refine.Base}})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	s := serve.New(serve.Options{Queue: 8})
	err = s.Start(serve.Model{Name: "weave", Engine: e, SHA256: m.SHA256(), Method: m.Info.Method, Backbone: m.Info.Backbone, Kind: refine.Base})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", s)
	server := httptest.NewServer(mux) // or http.ListenAndServe, with timeouts; s.Serve has them
	defer server.Close()

	photo, err := os.Open(filepath.Join("..", "testdata", "hole.png"))
	if err != nil {
		log.Fatal(err)
	}
	answer, err := http.Post(server.URL+"/v1/models/weave/score?name=hole.png", "image/png", photo)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	var found serve.Answer
	if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.StatusCode, found.Image, found.Anomalous, found.Width, "x", found.Height)
	if err := s.Stop(context.Background()); err != nil { // what was accepted has been answered
		log.Fatal(err)
	}
	// Output: 200 hole.png true 48 x 48
}
