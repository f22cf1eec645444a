package synth

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"f2pad.example/engine/compare"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/look.json")

// lookTolerance allows for fused multiplications, which some processors have: they move few pixels, by little.
var lookTolerance = compare.Tolerance{Abs: 1e-5}

// Images do not change unnoticed: who changes them on purpose raises generator and runs go test -update.
func TestLook(t *testing.T) {
	const path = "testdata/look.json"
	type look struct {
		Generator int
		Images    map[string][]float64 // means of the channels, of their squares, and of the channels inside the mask; its size
	}
	got := look{generator, map[string][]float64{}}
	for _, texture := range Textures() {
		for _, class := range append(Defects(), Good) {
			for seed := range uint64(4) {
				const size = 64
				img, mask := render(t, texture, class, size, seed)
				const n = size * size
				m := make([]float64, 10)
				for i, v := range img {
					v := float64(v)
					m[i/n] += v / n
					m[3+i/n] += v * v / n
					m[6+i/n] += v * float64(mask[i%n]) / n
				}
				for _, v := range mask {
					m[9] += float64(v) / n
				}
				got.Images[fmt.Sprintf("%s/%s/%d", texture, class, seed)] = m
			}
		}
	}
	if *update {
		for _, m := range got.Images {
			for i, v := range m {
				m[i] = float64(int(v*1e7+0.5)) / 1e7
			}
		}
		data, err := json.MarshalIndent(got, "", " ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, data, 0o666))
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var want look
	require.NoError(t, json.Unmarshal(data, &want))
	require.Equal(t, want.Generator, got.Generator)
	require.Len(t, got.Images, len(want.Images))
	for name, m := range got.Images {
		if _, err := compare.Close(m, want.Images[name], lookTolerance); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
