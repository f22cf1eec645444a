package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// patience is how long an answer may take before it counts as none.
const patience = time.Minute

// client sends images and knows what they get.
type client struct {
	url    string
	http   *http.Client
	images []sent
}

type sent struct {
	name string
	data []byte
	want float64 // its score
}

func newClient(url string, paths []string) *client {
	c := &client{url: url, http: &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{MaxIdleConns: 1 << 12, MaxIdleConnsPerHost: 1 << 12},
	}}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			panic(err) // the program has just made it
		}
		c.images = append(c.images, sent{name: filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path), data: data})
	}
	return c
}

// send posts a body and returns the status and the answer.
func (c *client) send(name string, body io.Reader) (int, []byte, error) {
	r, err := c.http.Post(c.url+"/v1/score?name="+name, "application/octet-stream", body)
	if err != nil {
		return 0, nil, err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, nil, err
	}
	return r.StatusCode, answer, nil
}

// score sends an image.
func (c *client) score(im *sent) (status int, score float64, err error) {
	status, answer, err := c.send(im.name, bytes.NewReader(im.data))
	if err != nil || status != http.StatusOK {
		return status, 0, err
	}
	var a struct {
		Image string  `json:"image"`
		Score float64 `json:"image_score"`
	}
	if err := json.Unmarshal(answer, &a); err != nil || a.Image != im.name {
		return 0, 0, fmt.Errorf("the answer to %s is %.100s (%v)", im.name, answer, err)
	}
	return status, a.Score, nil
}

// learn scores every image by itself.
func (c *client) learn() error {
	for i := range c.images {
		status, score, err := c.score(&c.images[i])
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("%s: status %d: %v", c.images[i].name, status, err)
		}
		c.images[i].want = score
	}
	return nil
}

// capacity is how many images a second are scored when two batches wait at any time.
func (c *client) capacity(within time.Duration) (float64, error) {
	var done atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, 2*batch)
	began := time.Now()
	for i := range 2 * batch {
		wg.Go(func() {
			for n := i; time.Since(began) < within; n++ {
				status, _, err := c.score(&c.images[n%len(c.images)])
				if err != nil || status != http.StatusOK {
					failed <- fmt.Errorf("measuring the capacity: status %d: %v", status, err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return 0, err
	default:
	}
	return float64(done.Load()) / time.Since(began).Seconds(), nil
}

// load sends images at a rate, and what is hostile beside them, if that is wanted.
func (c *client) load(rate float64, within time.Duration, seed uint64, hostile bool) *load {
	l := &load{rate: rate, hostile: hostile, status: map[int]int{}, late: map[string]int{}, hostiles: map[string]int{}}
	end := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() { c.watch(l, end) })
	if hostile {
		for _, h := range []func() error{c.malformed, c.huge, c.slow, c.leave} {
			beside.Go(func() { l.repeat(h, end) })
		}
	}
	began := time.Now()
	var wg sync.WaitGroup
	for n, at := range due(rate, within, seed) {
		time.Sleep(time.Until(began.Add(at)))
		wg.Go(func() { c.one(l, &c.images[n%len(c.images)], began.Add(at)) })
	}
	wg.Wait()
	l.took = time.Since(began)
	close(end)
	beside.Wait()
	return l
}

// one sends an image that was due at a time, and notes what became of it.
func (c *client) one(l *load, im *sent, at time.Time) {
	status, score, err := c.score(im)
	took := time.Since(at).Seconds()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status[status]++
	switch {
	case err != nil:
		l.late[err.Error()]++
	case status == http.StatusOK:
		l.answered = append(l.answered, took)
		if score != im.want {
			l.wrong = append(l.wrong, fmt.Sprintf("%s got %v, alone %v", im.name, score, im.want))
		}
	case status == http.StatusTooManyRequests:
		l.refused = append(l.refused, took)
	}
}

// repeat does what is hostile, again and again, until the end; and counts how often it was taken as it should be.
func (l *load) repeat(h func() error, end chan struct{}) {
	for {
		select {
		case <-end:
			return
		case <-time.After(100 * time.Millisecond):
		}
		err := h()
		l.mu.Lock()
		if err == nil {
			l.hostiles["hostile requests refused cleanly"]++
		} else {
			l.hostiles["otherwise"]++
			l.wrong = append(l.wrong, err.Error())
		}
		l.mu.Unlock()
	}
}

// expect is an error unless the status is one of those. A full queue comes first.
func expect(what string, status int, err error, want ...int) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for _, w := range append(want, http.StatusTooManyRequests) {
		if status == w {
			return nil
		}
	}
	return fmt.Errorf("%s: status %d", what, status)
}

// malformed sends what begins like an image.
func (c *client) malformed() error {
	im := c.images[rand.IntN(len(c.images))]
	data := bytes.Clone(im.data[:min(len(im.data), 1000+rand.IntN(10000))])
	for range rand.IntN(20) {
		data[rand.IntN(len(data))] ^= byte(1 + rand.IntN(255))
	}
	status, _, err := c.send("malformed", bytes.NewReader(data))
	return expect("a malformed image", status, err, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge)
}

// huge sends more than is allowed, without saying how much.
func (c *client) huge() error {
	status, _, err := c.send("huge", io.LimitReader(strings.NewReader(strings.Repeat("x", 3*maxBody<<20)), 1<<40))
	return expect("a huge body", status, err, http.StatusRequestEntityTooLarge)
}

// slow sends a byte at a time.
func (c *client) slow() error {
	body, sends := io.Pipe()
	go func() {
		for range 10 * int(readTimeout/time.Second) {
			if _, err := sends.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(readTimeout / 8)
		}
	}()
	defer body.Close()
	status, _, err := c.send("slow", body)
	return expect("a slow body", status, err, http.StatusRequestTimeout)
}

// leave sends an image and goes.
func (c *client) leave() error {
	im := c.images[0]
	hasty := &http.Client{Timeout: time.Millisecond * time.Duration(1+rand.IntN(50))}
	r, err := hasty.Post(c.url+"/v1/score?name=leaves", "image/png", bytes.NewReader(im.data))
	if err == nil {
		r.Body.Close()
	}
	return nil
}

// watch notes the memory once a second until the end.
func (c *client) watch(l *load, end chan struct{}) {
	for {
		select {
		case <-end:
			return
		case <-time.After(time.Second):
		}
		if mib, err := c.memory(); err == nil {
			l.mu.Lock()
			l.memory = append(l.memory, mib)
			l.mu.Unlock()
		}
	}
}

// memory is what the server takes, in MiB.
func (c *client) memory() (float64, error) {
	bytes, err := c.metric("f2pad_memory_bytes")
	return bytes / (1 << 20), err
}

// metric is what the server tells under a name, with its labels.
func (c *client) metric(name string) (float64, error) {
	r, err := c.http.Get(c.url + "/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(v), 64)
		}
	}
	return 0, fmt.Errorf("/metrics has no %s", name)
}

// notAccepted reports whether there was no connection, or one that was idle and is closed just as a request is written to it: by the
// program, or, once it is seen that the program has, by the client's own transport.
func notAccepted(err error) bool {
	for _, is := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, io.EOF, net.ErrClosed} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// stop ends the program under load. What is not accepted any more is refused with 503 or has no connection; the rest is answered.
func (c *client) stop(s *program, rate float64) (*load, error) {
	l := &load{name: "SIGTERM under load", capacity: rate, rate: rate, status: map[int]int{}, late: map[string]int{}, hostiles: map[string]int{}}
	before, err := c.metric(`f2pad_requests_total{code="200",path="/v1/score"}`)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var wg sync.WaitGroup
	const most = 4 * time.Second
	var told atomic.Bool
	for n, at := range due(rate, most, 99) {
		time.Sleep(time.Until(began.Add(at)))
		if at > most/2 && told.CompareAndSwap(false, true) {
			if err := s.stop(); err != nil {
				return nil, err
			}
		}
		wg.Go(func() {
			im := &c.images[n%len(c.images)]
			status, score, err := c.score(im)
			l.mu.Lock()
			defer l.mu.Unlock()
			if told.Load() && notAccepted(err) {
				l.hostiles["not accepted any more"]++
				return
			}
			l.status[status]++
			if err != nil {
				l.late[err.Error()]++
			}
			if status == http.StatusOK {
				l.answered = append(l.answered, time.Since(began.Add(at)).Seconds())
				if score != im.want {
					l.wrong = append(l.wrong, fmt.Sprintf("%s got %v, alone %v", im.name, score, im.want))
				}
			}
		})
	}
	if told.CompareAndSwap(false, true) { // none was due since
		if err := s.stop(); err != nil {
			return nil, err
		}
	}
	wg.Wait()
	l.took = time.Since(began)
	last, err := s.wait()
	if err != nil {
		return nil, fmt.Errorf("the program did not stop gracefully: %w", err)
	}
	requests, ok := last["requests"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the program's last words are %v", last)
	}
	if n, _ := requests["200"].(float64); int(n-before) != l.status[http.StatusOK] {
		l.wrong = append(l.wrong, fmt.Sprintf("the program answered %v images, its clients heard of %d", n-before, l.status[http.StatusOK]))
	}
	return l, nil
}
