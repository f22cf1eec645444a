//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"f2pad.example/engine/serve"

	"github.com/stretchr/testify/require"
)

// serving is a running f2pad serve --json.
type serving struct {
	*running
	url      string
	listens  map[string]any
	messages chan map[string]any // what it says from then on; closed at its end
}

func startServing(t *testing.T, args ...string) *serving {
	t.Helper()
	setup(t)
	s := &serving{
		running:  &running{t: t, Cmd: command(append([]string{"serve", "--json", "--listen", "127.0.0.1:0", "--timeout", "10m", "--read-timeout", "10m"}, args...)...)},
		messages: make(chan map[string]any, 1000),
	}
	out, err := s.StdoutPipe()
	require.NoError(t, err)
	s.Stderr = &s.err
	require.NoError(t, s.Start())
	watchdog := time.AfterFunc(patience, func() { s.Process.Kill() })
	t.Cleanup(func() { watchdog.Stop(); s.Process.Kill() })
	go func() {
		defer close(s.messages)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var m map[string]any
			if json.Unmarshal(lines.Bytes(), &m) == nil {
				s.messages <- m
			}
		}
	}()
	s.listens = s.says("listening")
	s.url = s.listens["url"].(string)
	return s
}

// says waits for a message.
func (s *serving) says(messageType string) map[string]any {
	s.t.Helper()
	for m := range s.messages {
		if m["message_type"] == messageType {
			return m
		}
	}
	s.t.Fatalf("the program ended without %s; stderr: %s", messageType, &s.err)
	return nil
}

func (s *serving) post(path string, image []byte) (int, []byte) {
	s.t.Helper()
	r, err := http.Post(s.url+path, "image/png", bytes.NewReader(image))
	require.NoError(s.t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(s.t, err)
	return r.StatusCode, body
}

// stop ends it by a signal and returns the last message.
func (s *serving) stop(signal os.Signal) map[string]any {
	s.t.Helper()
	require.NoError(s.t, s.Process.Signal(signal))
	var last map[string]any
	for m := range s.messages {
		last = m
	}
	s.Wait()
	require.Equal(s.t, exitOK, s.ProcessState.ExitCode(), s.err.String())
	return last
}

// What is served is what score writes.
func TestServe(t *testing.T) {
	setup(t)
	out := t.TempDir()
	folder := filepath.Join(data(), "test")
	require.Equal(t, exitOK, f2pad(t, "score", "--model", model(), "--out", out, "--masks", "--maps", "--overlays", folder).code)
	s := startServing(t, "--model", "weave="+model())
	require.Equal(t, "weave", s.listens["models"].([]any)[0].(map[string]any)["model"])
	var wg sync.WaitGroup
	for _, l := range lines(t, out) {
		wg.Go(func() {
			image, err := os.ReadFile(l["image"].(string))
			require.NoError(t, err)
			status, body := s.post("/v1/models/weave/score?output=mask,map,overlay", image)
			require.Equal(t, http.StatusOK, status, "%s", body)
			var a serve.Answer
			require.NoError(t, json.Unmarshal(body, &a))
			var fields map[string]any
			require.NoError(t, json.Unmarshal(body, &fields))
			for _, same := range []string{"image_score", "threshold", "anomalous", "refined", "pixel_threshold", "regions", "device", "sha256", "bytes"} {
				require.Equal(t, l[same], fields[same], same)
			}
			for name, file := range map[string][]byte{"mask": a.Mask, "map": a.Map, "overlay": a.Overlay} {
				require.Equal(t, content(t, out, l[name].(string)), string(file), "%s, byte for byte", name)
			}
		})
	}
	wg.Wait()
	status, body := s.post("/v1/score?name=broken.png", []byte("\x89PNG\r\n\x1a\nbroken"))
	require.Equal(t, http.StatusUnprocessableEntity, status)
	require.Contains(t, string(body), "broken.png: corrupt image")
	request := s.says("request")
	require.Equal(t, "weave", request["model"])
	require.Equal(t, 200., request["status"])
	r, err := http.Get(s.url + "/metrics")
	require.NoError(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Contains(t, string(text), `f2pad_images_total{model="weave",result="failed"} 1`)
	require.Contains(t, string(text), `f2pad_stage_images_total{model="weave",stage="decode"} 5`, "the image to begin with does not count")
	last := s.stop(syscall.SIGTERM)
	require.Equal(t, "summary", last["message_type"])
	require.Equal(t, map[string]any{"200": 5., "422": 1.}, last["requests"])
}

// A signal ends no request that was accepted.
func TestServeStopsGracefully(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		s := startServing(t, "--model", model(), "--batch", "1")
		image := goodImage(t)
		began, statuses := make(chan struct{}, 20), make(chan int, 20)
		for range cap(began) {
			go func() {
				body, sends := io.Pipe()
				go func() {
					_, err := sends.Write(image[:100]) // returns when it is on its way
					began <- struct{}{}
					if err == nil {
						_, err = sends.Write(image[100:])
					}
					sends.CloseWithError(err)
				}()
				r, err := http.Post(s.url+"/v1/score", "image/png", body)
				if err != nil {
					statuses <- -1
					return
				}
				_, err = io.Copy(io.Discard, r.Body)
				r.Body.Close()
				if err != nil {
					statuses <- -2
					return
				}
				statuses <- r.StatusCode
			}()
		}
		require.Equal(t, 200, <-statuses, "one is answered, others are on their way")
		last := s.stop(signal)
		answered := 1
		for range cap(began) - 1 {
			// Refused, or before it was accepted not even that: -1.
			status := <-statuses
			require.Contains(t, []int{200, 503, -1}, status)
			if status == 200 {
				answered++
			}
		}
		require.EqualValues(t, last["requests"].(map[string]any)["200"], answered, "what was scored was heard of")
	}
}

// What decides results decides them here as in score.
func TestServeTakesThresholdsAndMaps(t *testing.T) {
	s := startServing(t, "--model", model(), "--threshold=-1e9", "--pixel-threshold=-1e9", "--min-area", "1000000", "--refine", "none", "--queue", "3")
	require.Equal(t, 3., s.listens["limits"].(map[string]any)["queue"])
	require.Equal(t, "none", s.listens["models"].([]any)[0].(map[string]any)["refine"])
	status, body := s.post("/v1/score", goodImage(t))
	require.Equal(t, http.StatusOK, status)
	var a serve.Answer
	require.NoError(t, json.Unmarshal(body, &a))
	require.True(t, a.Anomalous)
	require.Equal(t, -1e9, a.Threshold)
	require.Equal(t, -1e9, *a.PixelThreshold)
	require.Equal(t, "none", a.Refine)
	require.Empty(t, a.Regions, "--min-area drops the one of all pixels")
	s.stop(os.Interrupt)
}

func TestServeRefusesWrongCommandLines(t *testing.T) {
	setup(t)
	for _, args := range [][]string{
		{"serve"},
		{"serve", "--model", model(), "more"},
		{"serve", "--model", model(), "--queue", "0"},
		{"serve", "--model", model(), "--max-wait", "5"},
		{"serve", "--model", model(), "--timeout", "0s"},
		{"serve", "--model", "a=" + model(), "--model", "b=" + model(), "--threshold", "1"},
		{"serve", "--model", model(), "--refine", "more"},
	} {
		r := f2pad(t, args...)
		require.Equal(t, exitUsage, r.code, "%v: %s", args, r.err)
	}
}

func TestServeSaysWhatIsWrong(t *testing.T) {
	setup(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	any := []string{"--listen", "127.0.0.1:0"}
	for want, args := range map[string][]string{
		"address already in use": {"--model", model(), "--listen", taken.Addr().String()},
		"nothing.f2pad: no such": append(any, "--model", "nothing.f2pad"),
		`another one is called`:  append(any, "--model", model(), "--model", model()),
		`its name is to be of`:   append(any, "--model", " ="+model()),
	} {
		r := f2pad(t, append([]string{"serve"}, args...)...)
		require.Equal(t, exitFailure, r.code, r.err)
		require.Contains(t, r.err, want)
		require.NotContains(t, r.err, "listening")
	}
}

// Text goes to standard error, and so does a warning where others can reach the server.
func TestServeInText(t *testing.T) {
	setup(t)
	cmd := command("serve", "--model", model(), "--listen", "0.0.0.0:0", "--timeout", "10m", "--read-timeout", "10m")
	err, e := cmd.StderrPipe()
	require.NoError(t, e)
	var out bytes.Buffer
	cmd.Stdout = &out
	require.NoError(t, cmd.Start())
	watchdog := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	said := bufio.NewScanner(err)
	warned := false
	for said.Scan() && !strings.HasPrefix(said.Text(), "listening at ") {
		warned = warned || strings.Contains(said.Text(), "neither a password nor encryption")
	}
	require.True(t, warned)
	url := strings.TrimPrefix(said.Text(), "listening at ")
	url = strings.Replace(url, "[::]", "127.0.0.1", 1)
	r, e := http.Post(url+"/v1/score?name=a%0Ab.png", "", bytes.NewReader(goodImage(t)))
	require.NoError(t, e)
	r.Body.Close()
	require.Equal(t, 200, r.StatusCode)
	require.True(t, said.Scan())
	require.Regexp(t, `^\S+ 200 POST /v1/score \d+ ms, \d+ of them waiting, batch of 1: a\\nb.png (normal|anomalous) [\d.]+$`, said.Text())
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	for said.Scan() {
	}
	require.NoError(t, cmd.Wait())
	require.Regexp(t, `^1 request in .*, 1 of them with status 200\n$`, out.String())
}
