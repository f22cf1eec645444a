// Package peer talks to a process that does the same work with other libraries: a line of JSON is a question or its answer.
package peer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Process is a peer that answers one question at a time.
type Process struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	answers  chan []byte // closed when the process says no more
	patience time.Duration
}

// ErrGone says that the peer answers no more questions.
var ErrGone = errors.New("the peer is gone")

// Start starts python with the script and asks the first question: hello takes its answer. env, of the form NAME=value, is
// added to this process' environment, and NAME alone taken away. An answer may take as long as patience.
func Start(python, script string, env []string, patience time.Duration, first, hello any) (*Process, error) {
	path, err := exec.LookPath(python)
	if err != nil {
		return nil, fmt.Errorf("no %s: %w", python, err)
	}
	p := &Process{cmd: exec.Command(path, script), answers: make(chan []byte), patience: patience}
	p.cmd.Env = append(environment(os.Environ(), env), "PYTHONUNBUFFERED=1")
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.answers)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "{") { // a library may print, too
				p.answers <- []byte(lines.Text())
			}
		}
	}()
	if err := p.Ask(first, hello); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// environment returns base with the changes.
func environment(base, changes []string) []string {
	var env []string
next:
	for _, e := range base {
		name, _, _ := strings.Cut(e, "=")
		for _, c := range changes {
			if changed, _, _ := strings.Cut(c, "="); changed == name {
				continue next
			}
		}
		env = append(env, e)
	}
	for _, c := range changes {
		if strings.Contains(c, "=") {
			env = append(env, c)
		}
	}
	return env
}

// Ask asks a question and decodes its answer. After an error that wraps ErrGone there are no more.
func (p *Process) Ask(question, answer any) error {
	line, err := json.Marshal(question)
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	select {
	case line, ok := <-p.answers:
		if !ok {
			return ErrGone
		}
		if err := json.Unmarshal(line, answer); err != nil {
			return fmt.Errorf("the peer answered %.200q: %w", line, err)
		}
		return nil
	case <-time.After(p.patience):
		p.cmd.Process.Kill()
		return fmt.Errorf("%w: no answer within %v", ErrGone, p.patience)
	}
}

// Close ends the process, which ends by itself when nothing more can be asked.
func (p *Process) Close() error {
	p.in.Close()
	for range p.answers {
	}
	if err := p.cmd.Wait(); err != nil && p.cmd.ProcessState.ExitCode() != -1 {
		return fmt.Errorf("the peer: %w", err)
	}
	return nil
}
