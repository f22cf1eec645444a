package synth

import (
	"context"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var options = Options{Texture: "wood", Train: 3, Test: 7, Size: 33, Seed: 5}

func write(t testing.TB, dir string, o Options) {
	t.Helper()
	require.NoError(t, Write(context.Background(), dir, o, nil))
}

// tree reads every file below dir.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(data)
		return err
	}))
	return files
}

func decode(t testing.TB, data string) image.Image {
	t.Helper()
	img, err := png.Decode(strings.NewReader(data))
	require.NoError(t, err)
	return img
}

func TestWriteLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "set")
	var steps []int
	require.NoError(t, Write(context.Background(), dir, options, func(done, total int) {
		require.Equal(t, 10, total)
		steps = append(steps, done)
	}))
	require.Equal(t, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, steps)
	files := tree(t, dir)
	names := []string{
		"ground_truth/hole/000_mask.png", "ground_truth/hole/001_mask.png", "ground_truth/scratch/000_mask.png",
		"ground_truth/stain/000_mask.png", "ground_truth/structural/000_mask.png", "synth.json",
		"test/good/000.png", "test/good/001.png", "test/hole/000.png", "test/hole/001.png", "test/scratch/000.png",
		"test/stain/000.png", "test/structural/000.png", "train/good/000.png", "train/good/001.png", "train/good/002.png",
	}
	require.Len(t, files, len(names))
	seen := map[string]bool{}
	for _, name := range names {
		require.Contains(t, files, name)
		require.False(t, seen[files[name]], "%s equals another file", name)
		seen[files[name]] = true
		if name == "synth.json" {
			continue
		}
		img := decode(t, files[name])
		require.Equal(t, image.Rect(0, 0, 33, 33), img.Bounds())
		if !strings.HasPrefix(name, "ground_truth") {
			require.IsType(t, &image.RGBA{}, img) // how image/png reads 8-bit colour without alpha
			continue
		}
		counts := map[color.Color]int{}
		for _, v := range img.(*image.Gray).Pix {
			counts[color.Gray{Y: v}]++
		}
		require.Len(t, counts, 2)
		require.NotZero(t, counts[color.Gray{Y: 255}])
		require.Greater(t, counts[color.Gray{Y: 0}], counts[color.Gray{Y: 255}])
	}
}

// The files hold what Render draws, to the nearest of 256 levels.
func TestWriteMatchesRender(t *testing.T) {
	for _, texture := range []string{"wood", "grain"} {
		o := options
		o.Texture = texture
		dir := t.TempDir()
		write(t, dir, o)
		files := tree(t, dir)
		want, mask := render(t, texture, "hole", o.Size, imageSeed(o.Seed, "test/hole", 1))
		img, truth := decode(t, files["test/hole/001.png"]), decode(t, files["ground_truth/hole/001_mask.png"])
		n := o.Size * o.Size
		for i := range n {
			r, g, b, _ := img.At(i%o.Size, i/o.Size).RGBA()
			for c, v := range []uint32{r, g, b} {
				require.InDelta(t, want[c*n+i], float64(v)/65535, 0.5/255+1e-6)
			}
			v, _, _, _ := truth.At(i%o.Size, i/o.Size).RGBA()
			require.Equal(t, mask[i] == 1, v == 65535)
		}
	}
}

func TestWriteGivesTheSameBytes(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	write(t, a, options)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	write(t, b, options)
	require.Equal(t, tree(t, a), tree(t, b))
}

func TestMoreImagesLeaveTheEarlierOnes(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, options)
	before := tree(t, dir)
	more := options
	more.Train, more.Test = 5, 12
	write(t, dir, more)
	after, fresh := tree(t, dir), t.TempDir()
	write(t, fresh, more)
	require.Equal(t, tree(t, fresh), after)
	for name, data := range before {
		if name != "synth.json" {
			require.Equal(t, data, after[name], name)
		}
	}
	other := options
	other.Seed++
	fresh = t.TempDir()
	write(t, fresh, other)
	require.NotEqual(t, before["train/good/000.png"], tree(t, fresh)["train/good/000.png"])
}

func TestWriteResumes(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	err := Write(ctx, dir, options, func(done, total int) {
		if done == 4 {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	part := tree(t, dir)
	require.Less(t, len(part), 16)
	for name := range part {
		require.NotContains(t, name, ".tmp")
	}
	kept := filepath.Join(dir, "train", "good", "000.png")
	require.NoError(t, os.WriteFile(kept, []byte("kept"), 0o666))
	write(t, dir, options)
	require.Equal(t, "kept", tree(t, dir)["train/good/000.png"])
	require.NoError(t, os.Remove(kept))
	require.NoError(t, os.Remove(filepath.Join(dir, "ground_truth", "hole", "000_mask.png")))
	write(t, dir, options)
	fresh := t.TempDir()
	write(t, fresh, options)
	require.Equal(t, tree(t, fresh), tree(t, dir))
}

func TestWriteGoesOnWhereItWasKilledBeforeItsFirstFile(t *testing.T) {
	dir, fresh := t.TempDir(), t.TempDir()
	temp := filepath.Join(dir, ".f2pad-0123456789abcdef.tmp")
	require.NoError(t, os.WriteFile(temp, []byte(`{"gen`), 0o666))
	write(t, dir, options)
	write(t, fresh, options)
	require.NoError(t, os.Remove(temp))
	require.Equal(t, tree(t, fresh), tree(t, dir))
}

func TestWriteRefuses(t *testing.T) {
	change := func(f func(*Options)) Options {
		o := options
		f(&o)
		return o
	}
	foreign := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "holiday.png"), nil, 0o666))
	broken := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(broken, "synth.json"), []byte("{"), 0o666))
	file := filepath.Join(foreign, "holiday.png")
	series := t.TempDir()
	write(t, series, options)
	for name, c := range map[string]struct {
		dir  string
		o    Options
		want string
	}{
		"foreign folder":   {foreign, options, "not empty and was not written by synth"},
		"broken series":    {broken, options, "synth.json"},
		"a file":           {file, options, "holiday.png"},
		"another seed":     {series, change(func(o *Options) { o.Seed++ }), "another series (wood, 33 px, seed 5"},
		"another texture":  {series, change(func(o *Options) { o.Texture = "grain" }), "another series"},
		"another size":     {series, change(func(o *Options) { o.Size++ }), "another series"},
		"fewer to train":   {series, change(func(o *Options) { o.Train-- }), "another series"},
		"fewer to test":    {series, change(func(o *Options) { o.Test-- }), "another series"},
		"unknown texture":  {t.TempDir(), change(func(o *Options) { o.Texture = "silk" }), `unknown texture "silk"`},
		"too small":        {t.TempDir(), change(func(o *Options) { o.Size = 8 }), "size 8"},
		"negative count":   {t.TempDir(), change(func(o *Options) { o.Test = -1 }), "-1 test images"},
		"negative train":   {t.TempDir(), change(func(o *Options) { o.Train = -1 }), "-1 training"},
		"nothing to write": {t.TempDir(), change(func(o *Options) { o.Train, o.Test = 0, 0 }), "0 training and 0 test images"},
	} {
		t.Run(name, func(t *testing.T) {
			var before map[string]string
			if c.dir != file {
				before = tree(t, c.dir)
			}
			require.ErrorContains(t, Write(context.Background(), c.dir, c.o, nil), c.want)
			if c.dir != file {
				require.Equal(t, before, tree(t, c.dir))
			}
		})
	}
}

// No two images of a series are of the same piece.
func TestImageSeedsDiffer(t *testing.T) {
	o := options
	o.Train, o.Test = 50, 250
	seeds := map[uint64]string{}
	for _, j := range o.jobs("") {
		require.Empty(t, seeds[j.seed], "%s and %s", seeds[j.seed], j.image)
		seeds[j.seed] = j.image
	}
	require.Len(t, seeds, 300)
}

// An image in memory has the bytes that Write writes.
func TestPNG(t *testing.T) {
	for _, texture := range []string{"wood", "grain"} {
		o := options
		o.Texture = texture
		dir := t.TempDir()
		write(t, dir, o)
		img, _, err := Render(texture, "hole", o.Size, imageSeed(o.Seed, "test/hole", 1))
		require.NoError(t, err)
		data, err := PNG(img)
		require.NoError(t, err)
		require.Equal(t, tree(t, dir)["test/hole/001.png"], string(data))
	}
	_, err := PNG(nil)
	require.ErrorContains(t, err, "synth: image")
}
