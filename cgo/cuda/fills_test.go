//go:build cuda && cgo

package cuda

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"weak"

	"f2pad.example/cgo/fakecuda"
	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/backbone"
	"f2pad.example/engine/device"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/refine"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// random are values in [0,1).
func random(rng *rand.Rand, n int) []float32 {
	all := make([]float32, n)
	for i := range all {
		all[i] = rng.Float32()
	}
	return all
}

// broughtTo is a batch of images that nobody has scored.
func broughtTo(t *testing.T, d *Device, x *tensor.Dense) *begun {
	t.Helper()
	b := &begun{t: &detector{d: d}, norms: make([]backbone.Affine, x.Shape()[0])}
	require.NoError(t, d.do(t.Context(), "test", func(j *job) {
		j.lasting = true
		b.images = j.bring(x, b.norms)
		b.held = []kernels.Ptr{j.keep(b.x), j.keep(b.gain), j.keep(b.shift)}
	}))
	return b
}

// A call is one job: however many images and regions it is about, the host sends as often and waits once.
func TestFakeCallsWaitOnce(t *testing.T) {
	driver := fakecuda.Open(t)
	d := opened(t, gpu.Options{})
	const h, w = 24, 20
	rng := rand.New(rand.NewPCG(1, 2))
	blur := pixel.NewGaussian(1)
	pixels := make([]int32, 30)
	for i := range pixels {
		pixels[i] = int32(5*w + i)
	}
	normal, err := refine.NewNormal(make([]uint8, 3*h*w), 3, h, w)
	require.NoError(t, err)
	x := nd.Wrap(random(rng, 7*3*h*w), 7, 3, h, w)
	b := broughtTo(t, d, x)
	defer b.Close()
	for name, call := range map[string]func(n int) error{
		"maps": func(n int) error {
			return d.Maps(random(rng, n*6*5), n, 6, 5, h, w, method.MapOptions{}, nil, make([]float32, n*h*w))
		},
		"some of maps": func(n int) error {
			wanted := make([]bool, n*h*w)
			for p := range wanted {
				wanted[p] = p%7 > 3
			}
			return d.Maps(random(rng, n*6*5), n, 6, 5, h, w, method.MapOptions{}, wanted, make([]float32, n*h*w))
		},
		"smooth": func(n int) error { return d.Smooth(random(rng, n*6*5), n, 6, 5, 4, blur, make([]float32, n*h*w)) },
		"costs": func(n int) error {
			var all []refine.Search
			for i := range n {
				ring := refine.Ring{Pixels: pixels, Box: pixel.Box{Y1: h, X1: w}, Shifts: []int32{0, 3}, Normals: []*refine.Normal{normal}}
				ring.Costs = make([]float64, 3)
				all = append(all, refine.Search{Image: i, Y: nd.Data(x)[:3*h*w], H: h, W: w, Blur: blur, MeanShare: 0.7, Rings: []refine.Ring{ring, ring}})
			}
			return b.Costs(all)
		},
		"offsets": func(n int) error {
			one := refine.Offset{V: random(rng, 3*30), At: pixels, To: pixels[:9], W: w, C: 3, Sigma: 2, Out: make([]float32, 3*9)}
			return d.Offsets(slices.Repeat([]refine.Offset{one}, n))
		},
		"spreads": func(n int) error {
			one := refine.Spread{Fills: [][]float32{random(rng, 90), random(rng, 90)}, Share: 0.9, Out: make([]float32, 30)}
			return d.Spreads(slices.Repeat([]refine.Spread{one}, n))
		},
		"compare": func(n int) error {
			var all []refine.Comparison
			for i := range n {
				all = append(all, refine.Comparison{
					H: h, W: w, Pixels: pixels, Y: random(rng, 90), K: 1 + i, Fills: random(rng, 90*(1+i)), Residual: make([]float32, 30), Best: make([]int32, 30),
				})
			}
			return d.Compare(all, blur, blur)
		},
	} {
		require.NoError(t, call(7), "%s: compiled and kept", name)
		var calls [][]int
		for _, n := range []int{1, 3, 7} {
			count := func() (all []int) {
				for _, name := range []string{
					"cuStreamSynchronize", "cuEventSynchronize", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuLaunchKernel",
				} {
					all = append(all, driver.Calls(name))
				}
				return all
			}
			before := count()
			require.NoError(t, call(n))
			after := count()
			for k := range after {
				after[k] -= before[k]
			}
			require.Equal(t, []int{1, 0}, after[:2], "%s of %d: waits", name, n)
			calls = append(calls, after)
		}
		require.Equal(t, calls[0], calls[1], name)
		require.Equal(t, calls[0], calls[2], name)
	}
}

// searching compares two images, of which one is blurred otherwise, with normal images; it returns the costs and the bytes sent.
func searching(t *testing.T, d *Device, normals []*refine.Normal) ([]float64, int64) {
	t.Helper()
	const h, w = 24, 20
	rng := rand.New(rand.NewPCG(1, 2))
	pixels := []int32{41, 42, 60, 61, 62, 199, 200}
	var all []refine.Search
	x := nd.Wrap(random(rng, 2*3*h*w), 2, 3, h, w)
	b := broughtTo(t, d, x)
	defer b.Close()
	for i := range 2 {
		ring := refine.Ring{Pixels: pixels, Box: pixel.Box{Y1: h, X1: w}, Shifts: []int32{0, 3}, Normals: normals, Costs: make([]float64, 2+len(normals))}
		blur := pixel.NewGaussian(1 + float64(i)/2)
		all = append(all, refine.Search{Image: i, Y: nd.Data(x)[3*i*h*w:][:3*h*w], H: h, W: w, Blur: blur, MeanShare: 0.7, Rings: []refine.Ring{ring}})
	}
	before := d.Counters().Uploaded
	require.NoError(t, b.Costs(all))
	return append(all[0].Rings[0].Costs, all[1].Rings[0].Costs...), d.Counters().Uploaded - before
}

// normalImages are so many of h x w = 24 x 20 pixels.
func normalImages(t *testing.T, n int) (all []*refine.Normal) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range n {
		data := make([]uint8, 3*24*20)
		for i := range data {
			data[i] = uint8(rng.IntN(256))
		}
		one, err := refine.NewNormal(data, 3, 24, 20)
		require.NoError(t, err)
		all = append(all, one)
	}
	return all
}

const normalBytes = 3 * 24 * 20

// Normal images are sent once, also by callers side by side, and go when they are no longer of use, or others need their room.
func TestNormalsStay(t *testing.T) {
	d := opened(t, gpu.Options{})
	all := normalImages(t, 5)
	want, first := searching(t, d, all)
	got, second := searching(t, d, all)
	require.Equal(t, want, got)
	require.GreaterOrEqual(t, first-second, int64(5*normalBytes))
	require.Less(t, second, int64(2000), "tables: the images are there")
	require.Len(t, d.normals.kept, 5)
	require.Equal(t, 5, d.gpu.Stats().Buffers)
	for _, k := range d.normals.kept {
		require.Zero(t, k.users)
	}

	require.True(t, d.normals.giveUp())
	require.Equal(t, 4, d.gpu.Stats().Buffers)
	got, _ = searching(t, d, all)
	require.Equal(t, want, got)
	var wg sync.WaitGroup
	more := normalImages(t, 9)
	for range 4 {
		wg.Go(func() {
			got, _ := searching(t, d, more)
			assert.Equal(t, want[:2], got[:2])
		})
	}
	wg.Wait()
	require.Len(t, d.normals.kept, 14)
	runtime.KeepAlive(all)
	all = nil
	runtime.GC()
	searching(t, d, more)
	require.Len(t, d.normals.kept, 9, "an engine that is gone leaves none")
	require.EqualValues(t, 9*normalBytes, d.normals.bytes)
	require.Equal(t, 9, d.gpu.Stats().Buffers)
}

// Of more than there is room for the same ones stay, and the others are sent each time, with the same results; what is not asked for any
// longer makes room.
func TestNormalsBeyondTheBudget(t *testing.T) {
	d := opened(t, gpu.Options{})
	all := normalImages(t, 6)
	want, whole := searching(t, d, all)
	d.normals.close()
	d.normals.budget = 2*normalBytes + 1
	for range 3 {
		got, sent := searching(t, d, all)
		require.Equal(t, want, got)
		require.Len(t, d.normals.kept, 2)
		require.NotNil(t, d.normals.kept[weak.Make(all[0])])
		require.Greater(t, sent, whole-6*normalBytes)
	}
	for range normalsIdle / 2 { // a search is two calls
		searching(t, d, all[4:5])
	}
	require.Nil(t, d.normals.kept[weak.Make(all[4])])
	searching(t, d, all[4:5])
	require.NotNil(t, d.normals.kept[weak.Make(all[4])], "nobody asked for the others any more")
	require.Len(t, d.normals.kept, 2)
	runtime.KeepAlive(all)
}

// Without memory for normal images they are sent, with the same results; and they give theirs to who finds none.
func TestNormalsGiveRoom(t *testing.T) {
	all := normalImages(t, 6)
	want, _ := searching(t, opened(t, gpu.Options{}), all)
	const memory = 256 << 10
	d := opened(t, gpu.Options{Memory: memory})
	d.normals.budget = memory
	got, _ := searching(t, d, all)
	require.Equal(t, want, got)
	require.NotEmpty(t, d.normals.kept)
	require.NoError(t, d.do(t.Context(), "test", func(j *job) { j.room(memory-1024, 1) }), "all of it")
	require.Empty(t, d.normals.kept)
	require.Zero(t, d.gpu.Stats().Buffers)

	p, err := d.gpu.Alloc(160 << 10)
	require.NoError(t, err)
	for range 3 {
		got, _ = searching(t, d, all)
		require.Equal(t, want, got)
	}
	require.NoError(t, d.gpu.Free(p))
	require.ErrorIs(t, d.do(t.Context(), "test", func(j *job) { j.room(2*memory, 1) }), device.ErrOutOfMemory)
}
