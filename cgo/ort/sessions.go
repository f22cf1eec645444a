//go:build cgo

package ort

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"f2pad.example/engine/onnx"

	ort "github.com/yalue/onnxruntime_go"
)

// sessions are those in use. A session copies its weights, and networks are compiled for many sizes of images: steps that
// differ in size only share one.
type sessions struct {
	mu  sync.Mutex
	all map[sessionKey]*session
}

type sessionKey struct {
	model   [sha256.Size]byte
	threads int
}

// session runs a step for any size of image.
type session struct {
	*ort.DynamicAdvancedSession
	of    *sessions
	key   sessionKey
	users int
}

// session returns the session of a step on so many threads, which its user closes.
func (e *Executor) session(s *step, threads int) (*session, error) {
	model, err := onnx.WriteOpen(s.part)
	if err != nil {
		return nil, err
	}
	key := sessionKey{sha256.Sum256(model), threads}
	e.sessions.mu.Lock()
	defer e.sessions.mu.Unlock()
	if found := e.sessions.all[key]; found != nil {
		found.users++
		return found, nil
	}
	settings, err := e.settings(threads)
	if err != nil {
		return nil, err
	}
	made, err := ort.NewDynamicAdvancedSessionWithONNXData(model, names(s.in), names(s.out), settings)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ort: %q: %w", s.part.Name, err), settings.Destroy())
	}
	if err := settings.Destroy(); err != nil {
		return nil, errors.Join(err, made.Destroy())
	}
	opened := &session{made, &e.sessions, key, 1}
	if e.sessions.all == nil {
		e.sessions.all = map[sessionKey]*session{}
	}
	e.sessions.all[key] = opened
	return opened, nil
}

// close ends one use; the last one frees the session.
func (s *session) close() error {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	delete(s.of.all, s.key)
	return s.Destroy()
}
