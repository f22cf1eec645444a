//go:build cuda && cgo

package cuda

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/device"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/cflow"
	"f2pad.example/engine/method/methodtest"
	"f2pad.example/engine/method/padim"
	"f2pad.example/engine/method/patchcore"
	"f2pad.example/engine/nd"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// windows are a batch of them, or of whole images, and what is wanted there.
type windows struct {
	f       []*tensor.Dense
	origins [][2]int
	where   []bool    // of all locations
	ds      []float32 // likewise
}

// scored is what a head, or a method on the host, makes of windows: s is 0 where it was not wanted, df has channels outside.
type scored struct {
	s, image []float32
	df       [][]float32
}

// of is window n, alone.
func (w *windows) of(n int) *windows {
	one := &windows{}
	for _, t := range w.f {
		s := t.Shape()
		size := nd.Size(s[1:]...)
		one.f = append(one.f, nd.Wrap(nd.Data(t)[n*size:(n+1)*size], 1, s[1], s[2], s[3]))
	}
	cells := len(w.where) / w.f[0].Shape()[0]
	one.where, one.ds = w.where[n*cells:(n+1)*cells], w.ds[n*cells:(n+1)*cells]
	if w.origins != nil {
		one.origins = w.origins[n : n+1]
	}
	return one
}

// onHost is the method's own.
func (w *windows) onHost(t *testing.T, m method.Method) scored {
	s := w.f[0].Shape()
	r := &method.Result{S: nd.New(s[0], s[2], s[3]), Where: w.where, Gradient: true, Origins: w.origins}
	if w.all() {
		r.Where, r.Image = nil, make([]float32, s[0])
	}
	require.NoError(t, m.Score(t.Context(), w.f, r))
	got := scored{s: nd.Data(r.S), image: r.Image}
	var df []*tensor.Dense
	for _, f := range w.f {
		df = append(df, nd.New(f.Shape()...))
		got.df = append(got.df, nd.Data(df[len(df)-1]))
	}
	require.NoError(t, m.Grad(t.Context(), w.f, r, nd.Wrap(slices.Clone(w.ds), s[0], s[2], s[3]), df))
	return got
}

func (w *windows) all() bool { return !slices.Contains(w.where, false) }

// how a head is used.
type how struct {
	recorded bool
	inside   []bool
}

// onHead is the head's. Its arrays are poisoned first.
func (w *windows) onHead(t *testing.T, d *Device, h head, how how) (scored, error) {
	s := w.f[0].Shape()
	n, rows, cols := s[0], s[2], s[3]
	got := scored{s: make([]float32, n*rows*cols)}
	err := d.do(t.Context(), "head", func(j *job) {
		v := &view{n: n, h: rows, w: cols, origins: w.origins, gradient: true}
		item, ds := slices.Repeat([]int32{-1}, len(w.where)), []float32{}
		for i, on := range w.where {
			if on {
				item[i] = int32(len(v.at))
				v.at, ds = append(v.at, int32(i)), append(ds, w.ds[i])
			}
		}
		v.items, v.item, v.s, v.ds = put(j, v.at), put(j, item), put(j, slices.Repeat(poison, len(v.at))), put(j, ds)
		for _, f := range w.f {
			s := f.Shape()
			inner := make([]float32, len(nd.Data(f)))
			swapAxes(inner, nd.Data(f), n, s[1], s[2]*s[3])
			v.layers = append(v.layers, layerView{s[2], s[3], s[1], put(j, inner), put(j, slices.Repeat(poison, len(inner)))})
		}
		if j.err != nil {
			return
		}
		sc, err := h.view(j, v)
		if err != nil {
			j.fail(err)
			return
		}
		steps := func(q kernels.Queue) error { return errors.Join(sc.score(q), sc.grad(q)) }
		if how.recorded {
			g, err := j.Capture(steps)
			if err != nil {
				j.fail(err)
				return
			}
			defer g.Close()
			j.fail(g.Launch(j.Stream))
			j.fail(g.Launch(j.Stream)) // again, on what the first has left
		} else {
			j.run(steps)
		}
		if w.all() {
			got.image = make([]float32, n)
			j.fail(h.images(t.Context(), j, v, sc, how.inside, got.image))
		}
		values := make([]float32, len(v.at))
		get(j, values, v.s)
		for i, at := range v.at {
			got.s[at] = values[i]
		}
		for _, l := range v.layers {
			inner, df := make([]float32, n*l.h*l.w*l.d), make([]float32, n*l.h*l.w*l.d)
			get(j, inner, l.df)
			swapAxes(df, inner, n, l.h*l.w, l.d)
			got.df = append(got.df, df)
		}
	})
	return got, err
}

var poison = []float32{float32(math.NaN())}

// swapAxes makes [n,b,a] of [n,a,b].
func swapAxes(to, from []float32, n, a, b int) {
	for i, v := range from {
		image, rest := i/(a*b), i%(a*b)
		to[image*a*b+rest%b*a+rest/b] = v
	}
}

// headModel is a fitted method and the layers of its images.
type headModel struct {
	name   string
	method method.Method
	layers []methodtest.Layer
	step   int // windows begin at multiples of it
}

func headModels(t *testing.T) []headModel {
	// As many locations as parts have at the least, or not.
	three := []methodtest.Layer{{C: 5, H: 16, W: 8}, {C: 4, H: 8, W: 4}, {C: 37, H: 6, W: 3}}
	same := []methodtest.Layer{{C: 3, H: 9, W: 8}, {C: 2, H: 9, W: 8}, {C: 2, H: 3, W: 8}}
	var all []headModel
	add := func(name string, layers []methodtest.Layer, fit func(f method.Features) (method.Method, error)) {
		m, err := fit(methodtest.Images(1, 6, layers))
		require.NoError(t, err)
		all = append(all, headModel{name, m, layers, 1})
	}
	gaussians := func(name, profile string, layers []methodtest.Layer, change func(*padim.Options)) {
		add(name, layers, func(f method.Features) (method.Method, error) {
			o, err := padim.ProfileOptions(profile)
			require.NoError(t, err)
			change(&o)
			return padim.Fit(t.Context(), f, o)
		})
	}
	bank := func(name, profile string, layers []methodtest.Layer, change func(*patchcore.Options)) {
		add(name, layers, func(f method.Features) (method.Method, error) {
			o, err := patchcore.ProfileOptions(profile)
			require.NoError(t, err)
			change(&o)
			return patchcore.Fit(t.Context(), f, o)
		})
	}
	flow := func(name, profile string, change func(*cflow.Options)) {
		add(name, []methodtest.Layer{{C: 5, H: 8, W: 16}, {C: 4, H: 4, W: 8}, {C: 37, H: 2, W: 4}}, func(f method.Features) (method.Method, error) {
			o, err := cflow.ProfileOptions(profile)
			require.NoError(t, err)
			o.Condition, o.Blocks, o.MaxSteps = 8, 2, 5
			change(&o)
			return cflow.Fit(t.Context(), o, method.Fitting{Features: f})
		})
		all[len(all)-1].step = 4
	}
	gaussians("padim", "f2pad", three, func(o *padim.Options) {})
	gaussians("padim, some channels", "paper", three, func(o *padim.Options) {
		o.Channels = []int{1, 4, 9, 12, 30, 45} // none of the second layer's
	})
	gaussians("padim, native", "f2pad", same, func(o *padim.Options) { o.Native = true })
	bank("patchcore", "f2pad", three, func(o *patchcore.Options) {})
	bank("patchcore, anomalib", "anomalib", same, func(o *patchcore.Options) { o.Projection = patchcore.NoProjection })
	bank("patchcore, unfolded", "paper", three, func(o *patchcore.Options) { o.EmbedDim = 70 })
	bank("patchcore, unfolded to little, not squared", "paper", same, func(o *patchcore.Options) {
		o.EmbedDim, o.Squared, o.Supports = 2, false, 4
	})
	flow("cflow", "compact", func(o *cflow.Options) {})
	flow("cflow, native", "compact", func(o *cflow.Options) { o.Native = true })
	flow("cflow, sums", "paper", func(o *cflow.Options) {})
	flow("cflow, means", "anomalib", func(o *cflow.Options) { o.Fuse = cflow.FuseMean })
	return all
}

// images are whole ones.
func (m *headModel) images(n int) *windows {
	w := &windows{f: methodtest.Batch(77, n, m.layers)}
	w.where = slices.Repeat([]bool{true}, n*m.layers[0].H*m.layers[0].W)
	w.weigh()
	return w
}

// windows are some, of a part of the images, and about half of their locations.
func (m *headModel) windows() *windows {
	cut := slices.Clone(m.layers)
	for l := range cut {
		cut[l].H, cut[l].W = (cut[l].H+1)/2, (cut[l].W+1)/2
	}
	h, w := m.layers[0].H-cut[0].H, m.layers[0].W-cut[0].W
	batch := &windows{origins: [][2]int{{h, w}, {0, 0}, {m.step, 2 * m.step}, {h, w}, {0, w}}}
	batch.f = methodtest.Batch(78, len(batch.origins), cut)
	for i := range len(batch.origins) * cut[0].H * cut[0].W {
		batch.where = append(batch.where, i*7%11 < 5 && i/(cut[0].H*cut[0].W) != 1) // of the second window none
	}
	batch.weigh()
	return batch
}

// weigh sets gradients of the scores, some of them 0.
func (w *windows) weigh() {
	w.ds = make([]float32, len(w.where))
	for i := range w.ds {
		if w.where[i] {
			w.ds[i] = float32(i%5) * float32(1+i%3) * 0.25
		}
	}
}

// hostAndDevice is for distances of vectors of up to some hundred values and their gradients: float32 sums in other orders. Flows' q
// are such sums, too; what the host makes of them in float64, the device makes in float32 after differences in float64: 1e-7 of it.
var hostAndDevice = compare.Tolerance{Abs: 3e-5, Rel: 3e-5}

func requireNear(t *testing.T, what string, got, want scored) {
	t.Helper()
	compare.Require(t, what+": scores", got.s, want.s, hostAndDevice)
	for l := range want.df {
		compare.Require(t, fmt.Sprintf("%s: gradients of layer %d", what, l+1), got.df[l], want.df[l], hostAndDevice)
	}
	if want.image != nil {
		compare.Require(t, what+": images", got.image, want.image, hostAndDevice)
	}
}

func requireSame(t *testing.T, what string, got, want scored) {
	t.Helper()
	require.Equal(t, kernels.Bytes(want.s), kernels.Bytes(got.s), "%s: scores", what)
	require.Equal(t, kernels.Bytes(want.image), kernels.Bytes(got.image), "%s: images", what)
	for l := range want.df {
		require.Equal(t, kernels.Bytes(want.df[l]), kernels.Bytes(got.df[l]), "%s: gradients of layer %d", what, l+1)
	}
}

// window is what was scored of one of n.
func (s scored) window(i, n int) scored {
	part := func(v []float32) []float32 { return v[i*len(v)/n : (i+1)*len(v)/n] }
	one := scored{s: part(s.s), image: part(s.image)}
	for _, df := range s.df {
		one.df = append(one.df, part(df))
	}
	return one
}

// Scores, gradients and image scores are the host's, and a window's have the same bits in any company.
func TestHeads(t *testing.T) {
	d := opened(t, gpu.Options{Debug: true})
	for _, m := range headModels(t) {
		t.Run(m.name, func(t *testing.T) {
			h, err := d.head(m.method)
			require.NoError(t, err)
			defer func() { require.NoError(t, h.close()) }()
			for what, w := range map[string]*windows{"images": m.images(2), "windows": m.windows()} {
				want := w.onHost(t, m.method)
				got, err := w.onHead(t, d, h, how{})
				require.NoError(t, err)
				requireNear(t, what, got, want)
				again, err := w.onHead(t, d, h, how{recorded: true})
				require.NoError(t, err)
				requireSame(t, what+", recorded", again, got)
				n := w.f[0].Shape()[0]
				for i := range n {
					alone, err := w.of(i).onHead(t, d, h, how{})
					require.NoError(t, err)
					if w.all() == w.of(i).all() {
						requireSame(t, fmt.Sprintf("%s: number %d alone", what, i), alone, got.window(i, n))
					}
				}
			}
		})
	}
}

// More locations than have room at once come in parts, of the bank, too, with the same result.
func TestHeadsInParts(t *testing.T) {
	d := opened(t, gpu.Options{})
	for _, m := range headModels(t) {
		t.Run(m.name, func(t *testing.T) {
			h, err := d.head(m.method)
			require.NoError(t, err)
			defer func() { require.NoError(t, h.close()) }()
			small := func(on bool) {
				switch h := h.(type) {
				case *gaussiansHead:
					h.scratch = map[bool]int{true: 4 * h.fitted.K() * 17, false: headScratch}[on]
				case *bankHead:
					h.scratch = map[bool]int{true: 1, false: headScratch}[on]
				case *flowHead:
					h.scratch = map[bool]int{true: 1, false: headScratch}[on]
				}
			}
			for _, w := range []*windows{m.windows(), m.images(2)} {
				small(false)
				whole, err := w.onHead(t, d, h, how{})
				require.NoError(t, err)
				small(true)
				got, err := w.onHead(t, d, h, how{recorded: true})
				require.NoError(t, err)
				requireSame(t, "in parts", got, whole)
				b, ok := h.(*bankHead)
				if !ok || !w.all() {
					continue
				}
				require.NoError(t, b.bank.Close())
				b.bank.atOnce = 4 * b.bank.width * (b.bank.m/3 + 1)
				got, err = w.onHead(t, d, h, how{})
				require.NoError(t, err)
				requireSame(t, "a bank in parts", got, whole)
				_, err = w.onHead(t, d, h, how{recorded: true})
				require.ErrorContains(t, err, "passes through the device")
			}
		})
	}
}

// Image scores are of what lies inside.
func TestHeadsInside(t *testing.T) {
	d := opened(t, gpu.Options{})
	for _, m := range headModels(t) {
		if m.method.Name() != "patchcore" {
			continue
		}
		h, err := d.head(m.method)
		require.NoError(t, err)
		w := m.images(2)
		cells := m.layers[0].H * m.layers[0].W
		inside := make([]bool, 2*cells)
		for i := range inside {
			inside[i] = i%cells > 50
		}
		r := &method.Result{S: nd.New(2, m.layers[0].H, m.layers[0].W), Image: make([]float32, 2), Inside: inside}
		require.NoError(t, m.method.Score(t.Context(), w.f, r))
		got, err := w.onHead(t, d, h, how{inside: inside})
		require.NoError(t, err)
		compare.Require(t, m.name, got.image, r.Image, hostAndDevice)
		_, err = w.onHead(t, d, h, how{inside: make([]bool, 2*cells)})
		require.ErrorContains(t, err, "image 0 of the batch has no location inside")
		require.NoError(t, h.close())
	}
}

// What is no number in one window stays in it.
func TestHeadsNaN(t *testing.T) {
	d := opened(t, gpu.Options{})
	for _, m := range headModels(t) {
		h, err := d.head(m.method)
		require.NoError(t, err)
		w := m.windows()
		want, err := w.onHead(t, d, h, how{})
		require.NoError(t, err)
		for _, f := range w.f {
			s := f.Shape()
			for i := range nd.Size(s[1:]...) {
				nd.Data(f)[2*nd.Size(s[1:]...)+i] = float32(math.NaN())
			}
		}
		got, err := w.onHead(t, d, h, how{})
		require.NoError(t, err)
		for i := range w.origins {
			if i != 2 {
				requireSame(t, fmt.Sprintf("%s: window %d", m.name, i), got.window(i, len(w.origins)), want.window(i, len(w.origins)))
			}
		}
		for i, v := range got.window(2, len(w.origins)).s {
			require.Equal(t, w.of(2).where[i], math.IsNaN(float64(v)), "%s: location %d", m.name, i)
		}
		require.NoError(t, h.close())
	}
}

// Many callers at once get what one gets.
func TestHeadsConcurrent(t *testing.T) {
	d := opened(t, gpu.Options{})
	for _, m := range headModels(t) {
		h, err := d.head(m.method)
		require.NoError(t, err)
		w := m.windows()
		want, err := w.onHead(t, d, h, how{})
		require.NoError(t, err)
		var got [6]scored
		var errs [6]error
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() { got[i], errs[i] = w.onHead(t, d, h, how{}) })
		}
		wg.Wait()
		for i := range got {
			require.NoError(t, errs[i])
			requireSame(t, m.name, got[i], want)
		}
		require.NoError(t, h.close())
	}
}

func TestHeadsRefuse(t *testing.T) {
	d := opened(t, gpu.Options{})
	for _, m := range headModels(t) {
		h, err := d.head(m.method)
		require.NoError(t, err)
		w := m.images(1)
		for what, change := range map[string]func(w *windows){
			"features of 2 layers, want 3":              func(w *windows) { w.f = w.f[:2] },
			"features of layer 2 have":                  func(w *windows) { w.f[1] = w.f[0] },
			"features of layer 3 are 1x20 cells, finer": func(w *windows) { w.f[2] = nd.New(1, m.layers[2].C, 1, 20) },
			"it was fitted for one image size":          func(w *windows) { w.origins = [][2]int{{0, 4}} },
		} {
			bad := *w
			bad.f = slices.Clone(w.f)
			change(&bad)
			_, err := bad.onHead(t, d, h, how{})
			if what == "it was fitted for one image size" && m.method.Shape().H == 0 {
				require.NoError(t, err)
				continue
			}
			require.ErrorContains(t, err, what, m.name)
		}
		require.NoError(t, h.close())
	}
	type other struct{ method.Method }
	_, err := d.head(other{headModels(t)[0].method})
	require.ErrorIs(t, err, errNoHead)
	require.ErrorContains(t, err, "padim")
}

// Wherever memory runs out, the error says so, and nothing is left.
func TestHeadsWithoutRoom(t *testing.T) {
	const room = 8 << 20
	d := opened(t, gpu.Options{Memory: room})
	for _, m := range headModels(t) {
		w := m.windows()
		failed, streamed := 0, false
		for free := 1 << 10; ; free += free/12 + 512 {
			var ballast []kernels.Ptr // of sizes that the pool does not round
			for rest, size := room-free, room; size >= 256; size /= 2 {
				if rest >= size {
					p, err := d.gpu.Alloc(size)
					require.NoError(t, err)
					ballast, rest = append(ballast, p), rest-size
				}
			}
			h, err := d.head(m.method)
			if err == nil {
				if b, ok := h.(*bankHead); ok {
					streamed = streamed || b.bank.whole == nil
				}
				_, err = w.onHead(t, d, h, how{})
				require.NoError(t, h.close())
			}
			for _, p := range ballast {
				require.NoError(t, d.gpu.Free(p))
			}
			require.Zero(t, d.gpu.Stats().Buffers, "%s: left with %d bytes", m.name, free)
			if err == nil {
				break
			}
			require.ErrorIs(t, err, device.ErrOutOfMemory)
			failed++
		}
		require.Greater(t, failed, 10, m.name)
		require.Equal(t, m.method.Name() == "patchcore", streamed)
	}
}
