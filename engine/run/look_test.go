package run

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/engine/dataset"

	"github.com/stretchr/testify/require"
)

// remembered is how many inputs a look at them remembers.
func remembered(s Survey) int { return len(s.are.images.all) + len(s.are.elsewhere.all) }

// TestALookRemembersWhatIsOutOfOrderAlone: as long as inputs come in the order of earlier lines, and when there are no more of these, nothing is
// remembered of them.
func TestALookRemembersWhatIsOutOfOrderAlone(t *testing.T) {
	t.Chdir(t.TempDir())
	pack(t, "a.tar", numbered(30)...)
	dir := t.TempDir()
	_, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, "a.tar"))
	require.NoError(t, err)
	results := content(t, dir, ResultsFile)
	look := func(members ...string) Survey {
		t.Helper()
		pack(t, "a.tar", members...)
		s, err := Look(dataset.Search{Out: dir}, []string{"a.tar"}, nil)
		require.NoError(t, err)
		require.Equal(t, len(members), s.Total)
		require.Equal(t, map[string]bool{"a.tar": true}, s.are.archives)
		return s
	}
	all := numbered(30)
	s := look(all...)
	require.Zero(t, remembered(s))
	require.Equal(t, int64(len(results)), s.at)
	require.True(t, s.shared)
	require.Zero(t, remembered(look(append(numbered(30), "030.png", "031.png")...)), "no line is left that these could be of")
	s = look(slices.Concat([]string{"new.png"}, all[:20], []string{"newer.png"}, all[20:])...)
	require.Equal(t, 2, remembered(s))
	require.Equal(t, int64(len(results)), s.at)
	require.Equal(t, 9, remembered(look(slices.Concat(all[:20], all[21:])...)), "those behind the one that is missing")
	require.Equal(t, 29, remembered(look(append(slices.Clone(all[1:]), all[0])...)))

	for i := range 3 {
		shard := &Shard{i + 1, 3}
		pack(t, "a.tar", all...)
		dir := sharded(t, i+1, 3, "a.tar")
		s, err := Look(dataset.Search{Out: dir}, []string{"a.tar"}, shard)
		require.NoError(t, err)
		require.Empty(t, s.are.images.all)
	}

	whole := content(t, dir, ResultsFile)
	require.NoError(t, os.Remove(filepath.Join(dir, ResultsFile)))
	require.NoError(t, os.WriteFile(filepath.Join(dir, PartFile), []byte(whole[:len(whole)/2]), 0o600))
	s = look(all...)
	require.Zero(t, remembered(s), "of a run that was ended in the middle of a line")
	require.Equal(t, byte('\n'), whole[s.at-1])
	require.NoError(t, os.WriteFile(filepath.Join(dir, OldFile), nil, 0o600))
	require.Equal(t, 30-15, remembered(look(all...)), "they may be of any line there")
}

// TestResultsThatChangeAfterALook are not judged by it.
func TestResultsThatChangeAfterALook(t *testing.T) {
	t.Chdir(t.TempDir())
	pack(t, "a.tar", numbered(3)...)
	pack(t, "b.tar", numbered(3)...)
	dir := t.TempDir()
	before := looked(t, dir, "a.tar")
	_, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, "b.tar"))
	require.NoError(t, err)
	held := filesBelow(t, dir)
	_, err = Run(t.Context(), pretender{}, everything(dir, nil), before)
	require.EqualError(t, err, dir+": another program wrote there while the inputs were looked at: run the command again")
	require.Equal(t, held, filesBelow(t, dir))
	_, err = Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, "a.tar"))
	require.ErrorIs(t, err, ErrOther)
	o := everything(dir, nil)
	o.Force = true
	_, err = Run(t.Context(), pretender{}, o, before)
	require.NoError(t, err, "they are thrown away")
}

// TestInputsAreThoseOfTheResultsInAnyOrder: images that are named at another place, twice or by another shard are not left out.
func TestInputsAreThoseOfTheResultsInAnyOrder(t *testing.T) {
	t.Chdir(t.TempDir())
	var args []string
	for i := range 8 {
		name := fmt.Sprintf("%d.png", i)
		require.NoError(t, os.WriteFile(name, []byte(name), 0o600))
		args = append(args, name)
	}
	for name, given := range map[string][]string{
		"the last first":    append([]string{args[7]}, args[:7]...),
		"two swapped":       {"0.png", "5.png", "2.png", "3.png", "4.png", "1.png", "6.png", "7.png"},
		"backwards":         {"7.png", "6.png", "5.png", "4.png", "3.png", "2.png", "1.png", "0.png"},
		"the first is last": append(slices.Clone(args[1:]), args[0]),
	} {
		dir := t.TempDir()
		_, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, args...))
		require.NoError(t, err)
		sum, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, given...))
		require.NoError(t, err, name)
		require.Equal(t, 8, sum.Kept, name)
		fresh := t.TempDir()
		_, err = Run(t.Context(), pretender{}, everything(fresh, nil), looked(t, fresh, given...))
		require.NoError(t, err)
		require.Equal(t, timeless(filesBelow(t, fresh)), timeless(filesBelow(t, dir)), name)

		shard := sharded(t, 1, 2, args...)
		_, err = runShard(t, shard, Shard{1, 2}, nil, given...)
		require.NoError(t, err, name)
	}
	dir := t.TempDir()
	_, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, append([]string{args[0], args[0]}, args[1:]...)...))
	require.NoError(t, err)
	sum, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, args...))
	require.NoError(t, err, "one is named once less")
	require.Equal(t, 8, sum.Images)
	for left := range args {
		given := slices.Delete(slices.Clone(args), left, left+1)
		slices.Reverse(given)
		_, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, given...))
		require.ErrorContains(t, err, "holds results of other inputs ("+args[left]+", for one)")
	}
}
