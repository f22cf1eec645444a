package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"f2pad.example/bench/internal/peer"
	"f2pad.example/kernels/kerneltest"

	"github.com/stretchr/testify/require"
)

// stub is a peer without PyTorch, which behaves as the case it is asked for says.
const stub = `
import json, os, sys
for line in sys.stdin:
    q = json.loads(line)
    if "case" not in q:
        print("a library says hello")
        answer = {"torch": "9.9", "cuda": os.environ["CUDA_VISIBLE_DEVICES"], "device": os.environ["STUB_DEVICE"],
                  "checked": [c["peer"] + str(c["params"]["n"]) for c in q["hello"]], "error": os.environ.get("STUB_ERROR", "")}
    elif q["case"]["peer"] == "die":
        sys.exit(7)
    elif q["case"]["peer"] == "refuse":
        answer = {"error": "no", "out_of_memory": True}
    elif q["case"]["peer"] == "babble":
        print("{nonsense", flush=True)
        continue
    else:
        way = {"precision": "float32", "exact": True, "p10_ms": 1, "p90_ms": 9, "runs": q["runs"]}
        answer = {"variants": [{**way, "name": "slow", "ms": 8}, {**way, "name": "best", "ms": 4},
                               {**way, "name": "rough", "exact": False, "ms": 1},
                               {**way, "name": "broken", "error": "no", "ms": 0}]}
    print(json.dumps(answer), flush=True)
`

// python returns the interpreter and the stub's path.
func python(t *testing.T) (interpreter, script string) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("SKIPPED: what is said to the peer is not tested: there is no python3")
	}
	script = filepath.Join(t.TempDir(), "stub.py")
	require.NoError(t, os.WriteFile(script, []byte(stub), 0o644))
	return "python3", script
}

func TestPeer(t *testing.T) {
	interpreter, script := python(t)
	t.Setenv("STUB_DEVICE", "NVIDIA X")
	cases := []peerCase{{"blur", map[string]int{"n": 3}}, {"knn_min", map[string]int{"n": 4}}}
	p, err := startPeer(interpreter, script, "GPU-1", peerQuestion{Hello: cases})
	require.NoError(t, err)
	said := peerHello{Torch: "9.9", CUDA: "GPU-1", Device: "NVIDIA X", Checked: []string{"blur3", "knn_min4"}}
	require.Equal(t, said, p.peerHello)

	a, err := p.run(cases[0], effort{runs: 17})
	require.NoError(t, err)
	require.Len(t, a.Variants, 4)
	best, ok := a.best()
	require.True(t, ok)
	require.Equal(t, variant{Name: "best", Precision: "float32", Exact: true, MS: 4, P10: 1, P90: 9, Runs: 17}, best)
	any, ok := a.fastest(func(variant) bool { return true })
	require.True(t, ok)
	require.Equal(t, "rough", any.Name)
	_, ok = peerAnswer{}.best()
	require.False(t, ok)

	a, err = p.run(peerCase{Peer: "refuse"}, quick)
	require.NoError(t, err)
	require.Equal(t, peerAnswer{Error: "no", OutOfMemory: true}, a)
	_, err = p.run(peerCase{Peer: "babble"}, quick)
	require.ErrorContains(t, err, "nonsense")
	require.NotErrorIs(t, err, peer.ErrGone)
	_, err = p.run(peerCase{Peer: "die"}, quick)
	require.ErrorIs(t, err, peer.ErrGone)
	_, err = p.run(cases[0], quick)
	require.ErrorIs(t, err, peer.ErrGone)
	require.ErrorContains(t, p.close(), "exit status 7")
}

func TestPeerThatCannotRun(t *testing.T) {
	_, err := startPeer("no-such-python", "x.py", "", peerQuestion{})
	require.ErrorContains(t, err, "no no-such-python")
	interpreter, script := python(t)
	t.Setenv("STUB_DEVICE", "")
	t.Setenv("STUB_ERROR", "no PyTorch")
	_, err = startPeer(interpreter, script, "", peerQuestion{Hello: []peerCase{}})
	require.ErrorContains(t, err, "no PyTorch")
	_, err = startPeer(interpreter, filepath.Join(t.TempDir(), "none.py"), "", peerQuestion{})
	require.ErrorIs(t, err, peer.ErrGone)
}

// The real one answers as much, whatever it finds on this machine.
func TestPeerScript(t *testing.T) {
	interpreter, _ := python(t)
	_, err := startPeer(interpreter, filepath.Join("..", "peers", "gpu_torch.py"), "none", peerQuestion{Hello: []peerCase{}})
	require.Error(t, err, "no card has that name")
	require.NotErrorIs(t, err, peer.ErrGone)
	t.Log(err)
}

// Whatever a case asks the peer for, there is, and takes the sizes that the case gives.
func TestPeerHasWhatCasesAskFor(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "peers", "gpu_torch.py"))
	require.NoError(t, err)
	benches := kerneltest.Benches()
	require.NotEmpty(t, benches)
	for _, b := range benches {
		if b.Peer == "" {
			t.Logf("%s %s has no peer", b.Kernel, b.Size)
			continue
		}
		require.Regexp(t, `(?m)^    "`+b.Peer+`": \(`+b.Peer+`, `, string(text))
		m := regexp.MustCompile(`(?m)^def ` + b.Peer + `\(data, (.*)\):$`).FindSubmatch(text)
		require.NotNil(t, m, b.Peer)
		takes := map[string]bool{}
		for _, p := range strings.Split(string(m[1]), ", ") {
			name, _, optional := strings.Cut(p, "=")
			takes[name] = true
			require.True(t, optional || has(b.Params, name), "%s %s: the peer needs %s", b.Kernel, b.Size, name)
		}
		for name := range b.Params {
			require.True(t, takes[name], "%s %s: the peer does not know %s", b.Kernel, b.Size, name)
		}
	}
}

func has(m map[string]int, key string) bool {
	_, ok := m[key]
	return ok
}
