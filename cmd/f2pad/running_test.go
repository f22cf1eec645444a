package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for a program that should do something soon, on a busy machine.
const patience = 8 * time.Minute

// running is a program that scores a list that the test writes line by line: it is never done before the test wants.
type running struct {
	*exec.Cmd
	t    *testing.T
	list io.WriteCloser
	said *bufio.Scanner
	err  bytes.Buffer
}

func (r *running) start() {
	t := r.t
	var err error
	r.list, err = r.StdinPipe()
	require.NoError(t, err)
	out, err := r.StdoutPipe()
	require.NoError(t, err)
	r.Stderr = &r.err
	r.said = bufio.NewScanner(out)
	require.NoError(t, r.Start())
	watchdog := time.AfterFunc(patience, func() { r.Process.Kill() })
	t.Cleanup(func() { watchdog.Stop(); r.Process.Kill() })
}

// feed writes the names and waits until each has been scored.
func (r *running) feed(names ...string) {
	r.t.Helper()
	for _, name := range names {
		fmt.Fprintln(r.list, name)
		r.await(`"message_type":"item"`)
	}
}

// await reads messages up to one that contains text.
func (r *running) await(text string) {
	r.t.Helper()
	for r.said.Scan() {
		if strings.Contains(r.said.Text(), text) {
			return
		}
	}
	r.t.Fatalf("the program ended without %s; stderr: %s", text, &r.err)
}

// end waits for the program's end and returns the last message and the exit code.
func (r *running) end() (string, int) {
	var last string
	for r.said.Scan() {
		last = r.said.Text()
	}
	r.Wait()
	return last, r.ProcessState.ExitCode()
}
