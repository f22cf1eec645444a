package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"f2pad.example/bench/internal/peer"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/cflow"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/synth"
	"f2pad.example/engine/truth"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// Scores that are the ground truth find everything; constant ones nothing.
func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, synth.Write(t.Context(), dir, synth.Options{Texture: "weave", Train: 1, Test: 2, Size: size, Seed: 3}, nil))
	set, err := dataset.MVTec(dir)
	require.NoError(t, err)
	s := make([]float32, len(set.Test)*size*size)
	for i, it := range set.Test {
		if it.Mask != "" {
			m, err := truth.Read(it.Mask, size, size, imageio.Limits{})
			require.NoError(t, err)
			copy(s[i*size*size:], nd.Data(m.Pix))
		}
	}
	r, err := measure(method.MapOptions{}, s, size, size, set.Test)
	require.NoError(t, err)
	require.Equal(t, len(set.Test), r.images)
	require.InDelta(t, 1, r.auroc, 1e-9)
	require.InDelta(t, 1, r.ap, 1e-9)
	clear(s)
	r, err = measure(method.MapOptions{}, s, size, size, set.Test)
	require.NoError(t, err)
	require.InDelta(t, 0.5, r.auroc, 1e-9)
	require.Less(t, r.ap, 0.3)
}

// stub is a peer whose scores are the first layer's first channel of the test images, after 7 seconds.
const stub = `
import json, struct, sys
for line in sys.stdin:
    q = json.loads(line)
    if q["do"] == "open":
        p = q["params"]
        assert p["options"]["profile"] == "compact" and p["layers"] == [[2, 1, 2]], p
    if q["do"] == "check":
        x = struct.unpack("<8f", open(p["test"][0], "rb").read())
        with open(q["path"], "wb") as f:
            f.write(struct.pack("<5f", *x[0:2], *x[4:6], 7))
    print("{}", flush=True)
`

func TestTorch(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("SKIPPED: what is said to the peer is not tested: there is no python3")
	}
	script := filepath.Join(t.TempDir(), "stub.py")
	require.NoError(t, os.WriteFile(script, []byte(stub), 0o644))
	b := &bench{}
	var hello struct{}
	b.peer, err = peer.Start(python, script, nil, time.Minute, map[string]any{"do": "hello"}, &hello)
	require.NoError(t, err)
	defer b.peer.Close()
	o, err := cflow.ProfileOptions("")
	require.NoError(t, err)
	f := []*tensor.Dense{nd.Wrap([]float32{1, 2, 3, 4, 5, 6, 7, 8}, 2, 2, 1, 2)}
	s, seconds, err := b.torch(o, f, f, 4)
	require.NoError(t, err)
	require.Equal(t, []float32{1, 2, 5, 6}, s)
	require.Equal(t, 7.0, seconds)
	_, _, err = b.torch(o, f, f, 5)
	require.ErrorContains(t, err, "20 bytes of scores, want 24")
}
