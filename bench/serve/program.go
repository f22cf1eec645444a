package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

const side = 256 // pixels

// program is a running f2pad serve.
type program struct {
	cmd   *exec.Cmd
	url   string
	ended chan map[string]any // its last message
}

// start makes images and a model with the program, and serves that.
func start(path, dir, refine string) (*program, []string, error) {
	data, model := filepath.Join(dir, "data"), filepath.Join(dir, "model.f2pad")
	for _, args := range [][]string{
		{"synth", "--out", data, "--train", "24", "--test", "20", "--size", fmt.Sprint(side)},
		{"fit", "--data", data, "--method", "padim", "--out", model},
	} {
		if text, err := exec.Command(path, args...).CombinedOutput(); err != nil {
			return nil, nil, fmt.Errorf("%s %s: %w\n%s", path, args[0], err, text)
		}
	}
	images, err := filepath.Glob(filepath.Join(data, "test", "*", "*.png"))
	if err != nil || len(images) == 0 {
		return nil, nil, fmt.Errorf("no images in %s: %v", data, err)
	}
	p := &program{ended: make(chan map[string]any, 1), cmd: exec.Command(path, "serve", "--json", "--model", model, "--listen", "127.0.0.1:0", "--refine", refine,
		"--batch", fmt.Sprint(batch), "--queue", fmt.Sprint(queue), "--max-body", fmt.Sprint(maxBody), "--read-timeout", readTimeout.String())}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, nil, err
	}
	messages := json.NewDecoder(bufio.NewReader(out))
	for {
		var m map[string]any
		if err := messages.Decode(&m); err != nil {
			p.kill()
			return nil, nil, fmt.Errorf("%s serve ended: %w", path, err)
		}
		if m["message_type"] == "listening" {
			p.url = m["url"].(string)
			break
		}
	}
	go func() {
		last := map[string]any{}
		for {
			var m map[string]any
			if err := messages.Decode(&m); err != nil {
				if err != io.EOF {
					last = map[string]any{"error": err.Error()}
				}
				p.ended <- last
				return
			}
			last = m
		}
	}()
	return p, images, nil
}

// stop sends SIGTERM, and returns what the program says at its end. It is to end with 0.
func (p *program) stop() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

func (p *program) wait() (map[string]any, error) {
	last := <-p.ended
	return last, p.cmd.Wait()
}

func (p *program) kill() { _ = p.cmd.Process.Kill() }
