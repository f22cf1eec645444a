package cflow

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"

	"github.com/stretchr/testify/require"
)

// file is a checkpoint on disk.
type file string

func (c file) Load() (*artifact.File, error) {
	f, err := artifact.Open(string(c))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

func (c file) Save(w *artifact.Writer) error {
	_, err := w.WriteFile(string(c))
	return err
}

// victimOf is the environment's variable that makes this binary the process that TestKilled kills: the folder that it works in.
const victimOf = "F2PAD_CFLOW_VICTIM"

// TestVictim trains, saves after every step, writes where it began and the model.
func TestVictim(t *testing.T) {
	dir := os.Getenv(victimOf)
	if dir == "" {
		return
	}
	began := false
	m, err := fit(t.Context(), small(t, "compact"), method.Fitting{
		Features: methodtest.Images(1, 12, threeLayers), Checkpoint: file(filepath.Join(dir, "part")),
		Progress: func(p method.Progress) {
			if p.Phase == "training" && !began {
				began = true
				require.NoError(t, os.WriteFile(filepath.Join(dir, "first"), []byte(strconv.Itoa(p.Done)), 0o666))
			}
		},
	}, 0)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model"), methodtest.Encode(t, m), 0o666))
}

// kills is how often TestKilled kills in all, perRun how often one fit.
const (
	kills  = 20
	perRun = 5
)

// A process that is killed at any moment, and started again, ends with the bytes of one that was not.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short: kills processes")
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	train := func(dir string, after time.Duration) (killed bool) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$")
		cmd.Env = append(os.Environ(), victimOf+"="+dir)
		require.NoError(t, cmd.Start())
		if after > 0 {
			timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			defer timer.Stop()
		}
		err := cmd.Wait()
		if err != nil && (after == 0 || cmd.ProcessState.Exited()) {
			require.NoError(t, err, "it fails by itself")
		}
		return err != nil
	}
	whole := t.TempDir()
	start := time.Now()
	require.False(t, train(whole, 0))
	takes := time.Since(start)
	want, err := os.ReadFile(filepath.Join(whole, "model"))
	require.NoError(t, err)
	killed, resumed, runs := 0, 0, 0
	there := func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "part"))
		return err == nil
	}
	for ; killed < kills; runs++ {
		dir := t.TempDir()
		alive := true
		for n := 0; alive && n < perRun && killed < kills; n++ {
			if alive = train(dir, 1+time.Duration(random.Float64()*float64(takes))); alive {
				killed++
				if !there(dir) { // the machine is busier now
					takes += takes / 4
				}
			} else {
				takes -= takes / 8
			}
		}
		if alive {
			require.False(t, train(dir, 0))
		}
		first, err := os.ReadFile(filepath.Join(dir, "first"))
		require.NoError(t, err)
		if string(first) != "1" {
			resumed++
		}
		got, err := os.ReadFile(filepath.Join(dir, "model"))
		require.NoError(t, err)
		require.True(t, string(want) == string(got), fmt.Sprintf("seed %d: killed %d times, run %d: another model", seed, killed, runs))
	}
	require.Positive(t, resumed, "some go on from a checkpoint")
	t.Logf("%d kills in %d fits of %.2f s, %d of which ended from a checkpoint", killed, runs, takes.Seconds(), resumed)
}
