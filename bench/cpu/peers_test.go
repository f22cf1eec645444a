package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// stub is a peer without any library.
const stub = `
import json, os, struct, sys
for line in sys.stdin:
    q = json.loads(line)
    do = q["do"]
    a = {}
    if do == "hello":
        a = {"versions": {"threads": str(q["threads"]), "omp": os.environ["OMP_NUM_THREADS"],
                          "kernels": os.environ.get("OPENBLAS_CORETYPE", "")}}
    elif do == "open" and q["case"] == "broken":
        a = {"error": "ValueError: no"}
    elif do == "open":
        a = {"ways": {q["params"]["name"]: "a note", "Other": ""}, "missing": {"Absent": "it is not installed"}}
    elif do == "check":
        with open(q["path"], "wb") as f:
            f.write(struct.pack("<2f", 1.5, -2))
    elif do == "run" and q["way"] == "Other":
        sys.exit(7)
    elif do == "run":
        a = {"seconds": 0.25}
    print(json.dumps(a), flush=True)
`

func meterWith(t *testing.T, script string) *meter {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("SKIPPED: what is said to the peers is not tested: there is no python3")
	}
	m := &meter{options: options{threads: 3, out: t.TempDir(), python: "python3", script: script}}
	require.NoError(t, os.MkdirAll(m.work(), 0o777))
	m.meet()
	t.Cleanup(func() { m.part() })
	return m
}

func stubbed(t *testing.T) *meter {
	script := filepath.Join(t.TempDir(), "stub.py")
	require.NoError(t, os.WriteFile(script, []byte(stub), 0o644))
	return meterWith(t, script)
}

func TestPeers(t *testing.T) {
	t.Setenv("OPENBLAS_CORETYPE", "Haswell")
	m := stubbed(t)
	require.Empty(t, m.NoPeer)
	require.Equal(t, map[string]string{"threads": "3", "omp": "3", "kernels": ""}, m.Peers)

	r := &row{}
	o, err := m.open(r, kernelsAuto, "case", map[string]string{"name": "Way"})
	require.NoError(t, err)
	require.Equal(t, []string{"Absent: it is not installed"}, r.Missing)
	require.Equal(t, []string{"Other", "Way"}, o.names())
	v, err := o.result("Way")
	require.NoError(t, err)
	require.Equal(t, []float32{1.5, -2}, v)
	w := o.way("Way")
	require.Equal(t, "a note", w.note)
	s, err := w.run()
	require.NoError(t, err)
	require.Equal(t, 0.25, s)

	_, err = m.open(r, kernelsAuto, "broken", nil)
	require.ErrorContains(t, err, "ValueError: no")

	// One that dies fails its row, and the next row starts another.
	_, err = o.way("Other").run()
	require.ErrorContains(t, err, "exit status 7")
	_, err = o.way("Way").run()
	require.NoError(t, err)
	require.NoError(t, m.close())
	require.NoError(t, m.part())
}

// Kernels are those that the peer is told to use; each choice has a process of its own.
func TestPeersOfSeveralKernels(t *testing.T) {
	m := stubbed(t)
	a, err := m.ask("SkylakeX", question{Do: "hello", Threads: 5})
	require.NoError(t, err)
	require.Equal(t, "SkylakeX", a.Versions["kernels"])
	require.Equal(t, "", m.Peers["kernels"])
	require.Len(t, m.peers, 2)
	require.NoError(t, m.part())
	require.Empty(t, m.peers)
}

func TestWithoutPeers(t *testing.T) {
	for python, why := range map[string]string{"": "not asked for", "no-such-python": "no no-such-python"} {
		m := &meter{options: options{python: python, out: t.TempDir()}}
		m.meet()
		require.Contains(t, m.NoPeer, why)
		r := &row{}
		o, err := m.open(r, kernelsAuto, "case", nil)
		require.NoError(t, err)
		require.Empty(t, o.names())
		require.Len(t, r.Missing, 1)
		require.Contains(t, r.Missing[0], "peers: "+m.NoPeer)
		_, err = m.onnxFile(arch)
		require.ErrorAs(t, err, &missing{})
		require.NoError(t, m.close())
	}
}

// The real one answers, whatever this machine has, and outlives what it does not know.
func TestPeerScript(t *testing.T) {
	m := meterWith(t, filepath.Join("..", "peers", "cpu.py"))
	require.Empty(t, m.NoPeer)
	require.NotEmpty(t, m.Peers["python"])
	_, err := m.ask(kernelsAuto, question{Do: "nonsense"})
	require.ErrorContains(t, err, "unknown question")
	bank, err := m.file("bank", []float32{0, 0, 3, 4})
	require.NoError(t, err)
	r := &row{}
	o, err := m.open(r, kernelsAuto, "knn", map[string]any{"dim": 2, "bank": 2, "queries": 2, "bank_file": bank, "query_file": bank})
	require.NoError(t, err)
	if len(o.ways) == 0 {
		require.Len(t, r.Missing, 1)
		require.Contains(t, r.Missing[0], "faiss: ")
		require.Contains(t, r.Missing[0], "is not installed")
		t.Log(r.Missing)
		return
	}
	v, err := o.result("faiss")
	require.NoError(t, err)
	require.Equal(t, []float32{0, 0, 0, 1}, v)
}

func TestEnvironment(t *testing.T) {
	require.Equal(t, []string{"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OMP_NUM_THREADS=2", "OPENBLAS_NUM_THREADS=2", "MKL_NUM_THREADS=2"},
		peerEnvironment(2, kernelsAuto))
	require.Equal(t, "OPENBLAS_CORETYPE=SkylakeX", peerEnvironment(2, kernelsWide)[0])
}

func TestRaw(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.bin")
	require.NoError(t, writeRaw(path, []float32{1, -2.5}))
	v, err := readRaw(path)
	require.NoError(t, err)
	require.Equal(t, []float32{1, -2.5}, v)
	require.NoError(t, writeRaw(path, []uint8{1, 2, 3}))
	_, err = readRaw(path)
	require.ErrorContains(t, err, "3 bytes are no float32")
}
