package peer

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stub answers as it is asked to.
const stub = `
import json, os, sys, time
for line in sys.stdin:
    do = json.loads(line)["do"]
    if do == "die":
        sys.exit(7)
    if do == "babble":
        print("{nonsense", flush=True)
        continue
    if do == "sleep":
        time.sleep(60)
    print("a library says hello")
    print(json.dumps({"said": do, "kept": os.environ.get("STUB_KEPT"), "added": os.environ.get("STUB_ADDED"),
                      "gone": os.environ.get("STUB_GONE")}), flush=True)
`

type question struct {
	Do string `json:"do"`
}

type answer struct {
	Said  string  `json:"said"`
	Kept  *string `json:"kept"`
	Added *string `json:"added"`
	Gone  *string `json:"gone"`
}

func start(t *testing.T, patience time.Duration, env ...string) (*Process, answer) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("SKIPPED: what is said to the peer is not tested: there is no python3")
	}
	script := filepath.Join(t.TempDir(), "stub.py")
	require.NoError(t, os.WriteFile(script, []byte(stub), 0o644))
	var hello answer
	p, err := Start("python3", script, env, patience, question{"hello"}, &hello)
	require.NoError(t, err)
	return p, hello
}

func TestConversation(t *testing.T) {
	t.Setenv("STUB_KEPT", "1")
	t.Setenv("STUB_GONE", "2")
	t.Setenv("STUB_ADDED", "3")
	p, hello := start(t, time.Minute, "STUB_ADDED=4", "STUB_GONE")
	one, four := "1", "4"
	require.Equal(t, answer{Said: "hello", Kept: &one, Added: &four}, hello)

	var a answer
	require.NoError(t, p.Ask(question{"again"}, &a))
	require.Equal(t, "again", a.Said)
	err := p.Ask(question{"babble"}, &a)
	require.ErrorContains(t, err, "nonsense")
	require.NotErrorIs(t, err, ErrGone)
	require.NoError(t, p.Ask(question{"on"}, &a), "the conversation goes on")
	require.ErrorIs(t, p.Ask(question{"die"}, &a), ErrGone)
	require.ErrorIs(t, p.Ask(question{"on"}, &a), ErrGone)
	require.ErrorContains(t, p.Close(), "exit status 7")
}

func TestPatienceEnds(t *testing.T) {
	p, _ := start(t, time.Minute)
	var a answer
	p.patience = 10 * time.Millisecond
	require.ErrorIs(t, p.Ask(question{"sleep"}, &a), ErrGone)
	require.NoError(t, p.Close(), "that it was killed is said already")
}

func TestThatCannotStart(t *testing.T) {
	var a answer
	_, err := Start("no-such-python", "x.py", nil, time.Minute, question{}, &a)
	require.ErrorContains(t, err, "no no-such-python")
	p, _ := start(t, time.Minute) // skips without Python
	require.NoError(t, p.Close())
	_, err = Start("python3", filepath.Join(t.TempDir(), "none.py"), nil, time.Minute, question{}, &a)
	require.ErrorIs(t, err, ErrGone)
}
