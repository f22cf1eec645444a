package pixel

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRuns(t *testing.T) {
	for text, want := range map[string][][2]int{
		"": nil, ".": nil, "x": {{0, 1}}, "xx.x": {{0, 2}, {3, 4}}, "..xxx..x.": {{2, 5}, {7, 8}}, ".x": {{1, 2}}, "xxxx": {{0, 4}},
	} {
		in := make([]bool, len(text))
		for i, c := range text {
			in[i] = c == 'x'
		}
		var got [][2]int
		for from, to := range Runs(in) {
			got = append(got, [2]int{from, to})
		}
		require.Equal(t, want, got, text)
		for from := range Runs(in) {
			require.Equal(t, want[0][0], from, "the first one, and no more")
			break
		}
	}
}
