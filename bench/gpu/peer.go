package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"f2pad.example/bench/internal/peer"
)

// gpuPeer is the process that does the same with PyTorch (gpu_torch.py), on the same card, when it is asked to. It checks
// itself against float64 before it answers the first question.
type gpuPeer struct {
	peerHello
	process *peer.Process
}

// peerHello is the peer's first answer.
type peerHello struct {
	Torch   string   `json:"torch"`
	CUDA    string   `json:"cuda"`
	Device  string   `json:"device"`
	Checked []string `json:"checked,omitempty"` // what was compared with float64, with the errors
	Error   string   `json:"error,omitempty"`
}

// peerQuestion asks for a case; the first, without Case, for the checks of all cases to come, Hello.
type peerQuestion struct {
	Hello []peerCase `json:"hello"`
	Flush int64      `json:"flush,omitempty"` // bytes to read before each run
	Case  *peerCase  `json:"case,omitempty"`
	Runs  int        `json:"runs,omitempty"`
	Most  int        `json:"most,omitempty"`
	// Seconds of runs, the flushes included.
	Seconds float64 `json:"seconds,omitempty"`
}

type peerCase struct {
	Peer   string         `json:"peer"`
	Params map[string]int `json:"params"`
}

// peerAnswer is what a case took, in every way that the peer knows of.
type peerAnswer struct {
	Variants    []variant `json:"variants,omitempty"`
	Error       string    `json:"error,omitempty"`
	OutOfMemory bool      `json:"out_of_memory,omitempty"`
}

// variant is one way to do a case's work.
type variant struct {
	Name      string  `json:"name"`
	Precision string  `json:"precision"`       // of the products: "float32", "tf32", "bf16", "f16"
	Exact     bool    `json:"exact"`           // as accurate as our kernel: counts for the ratio
	MS        float64 `json:"ms"`              // median
	P10       float64 `json:"p10_ms"`          //
	P90       float64 `json:"p90_ms"`          //
	Runs      int     `json:"runs"`            //
	Note      string  `json:"note,omitempty"`  // what the user of the table should know
	Error     string  `json:"error,omitempty"` // instead of times
}

// best is the fastest variant that is as accurate as our kernel.
func (a peerAnswer) best() (variant, bool) { return a.fastest(func(v variant) bool { return v.Exact }) }

func (a peerAnswer) fastest(counts func(variant) bool) (best variant, found bool) {
	for _, v := range a.Variants {
		if v.Error == "" && v.MS > 0 && counts(v) && (!found || v.MS < best.MS) {
			best, found = v, true
		}
	}
	return best, found
}

// peerPatience is how long an answer may take: compilers are part of it.
const peerPatience = 5 * time.Minute

// startPeer starts python with the script on the card of that UUID only.
func startPeer(python, script, uuid string, first peerQuestion) (*gpuPeer, error) {
	p := &gpuPeer{}
	var err error
	p.process, err = peer.Start(python, script, []string{"CUDA_VISIBLE_DEVICES=" + uuid}, peerPatience, first, &p.peerHello)
	if err != nil {
		return nil, err
	}
	if p.Error != "" {
		return nil, errors.Join(errors.New(p.Error), p.close())
	}
	return p, nil
}

// run measures a case.
func (p *gpuPeer) run(c peerCase, e effort) (a peerAnswer, err error) {
	err = p.process.Ask(peerQuestion{Case: &c, Runs: e.runs, Most: e.most, Seconds: e.seconds}, &a)
	return a, err
}

func (p *gpuPeer) close() error { return p.process.Close() }

// peerScript finds gpu_torch.py beside the program, or in the repository.
func peerScript() string {
	const name = "gpu_torch.py"
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	return filepath.Join("bench", "peers", name)
}
