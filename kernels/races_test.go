package kernels_test

import (
	"io/fs"
	"math"
	"strings"
	"testing"

	"f2pad.example/kernels"
	"f2pad.example/kernels/emu"
	"f2pad.example/kernels/kerneltest"

	"github.com/stretchr/testify/require"
)

// Each syncWarp() of knn.cu is missed when it is taken out: results stay right, here and on most GPUs.
func TestRacesOfKNN(t *testing.T) {
	if !races {
		t.Skip("SKIPPED: the emulation does not watch for races: make race-kernels")
	}
	text, err := fs.ReadFile(kernels.Files(), "knn.cu")
	require.NoError(t, err)
	parts := strings.SplitAfter(string(text), "syncWarp();")
	require.Len(t, parts, 1+3)
	search := func(t *testing.T, source string) error {
		m, err := emu.StartWatched(map[string][]byte{"knn.cu": []byte(source)})
		require.NoError(t, err)
		t.Cleanup(func() { m.Close() })
		r := kerneltest.New(t, m, seed)
		const n, M, D, K = 3, 200, 48, 4
		rows := r.Normal(M * D)
		rows[7*D] = float32(math.NaN())
		bank := kernels.KNNBank{M: M, D: D, Products: 1, Rows: kerneltest.In(r, rows).Ptr}
		bank.Prepared = kerneltest.Out[uint8](r, bank.Bytes()).Ptr
		if err := bank.Enqueue(m); err != nil {
			return err
		}
		k := kernels.KNNTopK{N: n, M: M, D: D, K: K, Queries: kerneltest.In(r, r.Normal(n*D)).Ptr, Rows: bank.Rows}
		k.Scratch = kerneltest.Out[uint8](r, k.ScratchBytes()).Ptr
		k.Index, k.Dist = kerneltest.Out[int32](r, n*K).Ptr, kerneltest.Out[float32](r, 2*n*K).Ptr
		return k.Enqueue(m)
	}
	require.NoError(t, search(t, string(text)))
	for i, kernel := range []string{"knn_prepare", "knn_topk", "knn_topk"} {
		without := strings.Join(parts[:i+1], "")
		without = strings.TrimSuffix(without, "syncWarp();") + strings.Join(parts[i+1:], "")
		require.ErrorContains(t, search(t, without), kernel+": race in ", "without syncWarp() %d", i)
	}
}
