package emu_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"f2pad.example/kernels"
	"f2pad.example/kernels/emu"

	"github.com/stretchr/testify/require"
)

// watch is a machine that watches for races, with the kernels of testdata/races.cu alone.
func watch(t *testing.T) *emu.Machine {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "races.cu"))
	require.NoError(t, err)
	sources := map[string][]byte{"races.cu": text}
	for _, m := range kernels.Modules() {
		sources[m+".cu"] = nil // they take long to compile
	}
	m, err := emu.StartWatched(sources)
	if errors.Is(err, emu.ErrNoCompiler) {
		t.Skip("SKIPPED: the emulation's watch for races is not tested: there is no g++")
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// Every kind of race is found, under any order of threads and blocks, and nothing is found where there is none.
func TestRaces(t *testing.T) {
	m := watch(t)
	const (
		noSync  = "no sync() is between"
		noWarp  = "no syncWarp() or sync() is between"
		noWait  = "no cpWait() is between"
		noOrder = "blocks are in no order"
	)
	for _, c := range []struct {
		kernel string
		blocks int
		memory string
		why    string
	}{
		{"race_written", 3, "shared", noSync},
		{"race_read", 1, "shared", noSync},
		{"race_twice", 1, "shared", noSync},
		{"race_all", 1, "shared", ""}, // of its own warp, or of the other one
		{"race_some", 1, "shared", noSync},
		{"race_shfl", 1, "shared", noWarp},
		{"race_ballot", 1, "shared", noWarp},
		{"race_lanes", 1, "shared", noWarp},
		{"race_warps", 1, "shared", noSync},
		{"race_global", 1, "global", noSync},
		{"race_blocks_write", 2, "global", noOrder},
		{"race_blocks_read", 2, "global", noOrder},
		{"race_blocks_all", 3, "global", noOrder},
		{"race_bytes", 1, "shared", noWarp},
		{"race_part", 1, "shared", noWarp},
		{"race_vector", 1, "shared", noWarp},
		{"race_copy_read", 1, "shared", noWait},
		{"race_copy_write", 1, "shared", noWait},
		{"race_copy_twice", 1, "shared", noWait},
		{"race_copy_shared", 1, "shared", noSync},
		{"race_copy_early", 1, "shared", noWait},
		{"race_copy_refill", 1, "shared", noSync},
		{"race_source", 1, "global", noWait},
		{"race_source_late", 1, "global", noWait},
		{"race_matrix", 1, "shared", noWarp},
		{"race_matrix_over", 1, "shared", noWarp},
	} {
		t.Run(c.kernel, func(t *testing.T) {
			p := put(t, m, make([]int32, 256))
			launch := func(right int) error {
				return m.Launch(kernels.Launch{Kernel: c.kernel, Grid: [3]int{c.blocks}, Block: 64, Shared: 1024,
					Args: []kernels.Arg{kernels.Int(right), p.Arg()}})
			}
			for m.Seed = range seeds {
				require.NoError(t, launch(1), "seed %d", m.Seed)
				err := launch(0)
				require.ErrorContains(t, err, fmt.Sprintf("%s: race in %s memory, byte ", c.kernel, c.memory), "seed %d", m.Seed)
				require.ErrorContains(t, err, c.why, "seed %d", m.Seed)
				require.Regexp(t, `thread \d+ .* it in (races\.cu|dialect\.h):\d+, thread \d+.* it in (races\.cu|dialect\.h):\d+, and`, err)
				require.Contains(t, err.Error(), "races.cu:")
			}
			require.NoError(t, m.Free(p))
		})
	}
}

// One launch after the other is in order, and so are the blocks' shared memories.
func TestLaunchesDoNotRace(t *testing.T) {
	m := watch(t)
	p := put(t, m, make([]int32, 256))
	for range 3 {
		for _, k := range []string{"race_blocks_write", "race_written", "race_global"} {
			require.NoError(t, m.Launch(kernels.Launch{Kernel: k, Block: 64, Shared: 1024, Args: []kernels.Arg{kernels.Int(1), p.Arg()}}))
		}
	}
}

// What a race says: who did what where.
func TestRaceSaysWhere(t *testing.T) {
	m := watch(t)
	p := put(t, m, make([]int32, 256))
	err := m.Launch(one("race_written", 64, 1024, kernels.Int(0), p.Arg()))
	require.EqualError(t, err, "emu: race_written: race in shared memory, byte 128: thread 31 reads it in races.cu:10, thread 32 "+
		"writes it in races.cu:8, and no sync() is between (block 0,0,0, thread 32)")
}
