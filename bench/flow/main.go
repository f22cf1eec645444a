// Command flow trains CFLOW-AD's flows in f2pad and in PyTorch on the same features of the same images, and compares how well
// both tell defects: image AUROC and pixel AP of the detector's own map, at the images' own size.
//
//	go run ./bench/flow [-data DIR] [-run REGEXP] [-seeds N] [-networks DIR] [-threads N] [-out DIR] [-python PYTHON]
//
// Every network sees every data set in DIR (MVTec AD's layout), at 256 pixels, with the default profile, several times. Random
// choices are each program's own. A row fails where our mean is more than .01 below PyTorch's.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"f2pad.example/bench/internal/peer"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/backbone"
	"f2pad.example/engine/backbone/pretrained"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/cflow"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/perf/machine"
	"f2pad.example/engine/perf/table"
	"f2pad.example/engine/truth"

	"gorgonia.org/tensor"
)

const (
	size     = 256       // pixels
	behind   = 0.01      // that ours may be, in either metric
	patience = time.Hour // for a training in PyTorch
	pageFile = "flow.md"
)

func main() {
	b := &bench{out: os.Stdout}
	run := flag.String("run", "", "only rows DATASET/NETWORK that this regular expression finds")
	flag.StringVar(&b.data, "data", filepath.Join("..", "shared", "data"), "folder of data sets")
	cache, _ := os.UserCacheDir()
	flag.StringVar(&b.networks, "networks", filepath.Join(cache, "f2pad", "backbones"), "folder of fetched networks")
	flag.IntVar(&b.seeds, "seeds", 3, "trainings of each, ours and the peer's")
	flag.IntVar(&b.threads, "threads", runtime.NumCPU(), "threads, ours and the peer's")
	flag.StringVar(&b.folder, "out", "out", "folder for "+pageFile)
	python := os.Getenv("PEER_PYTHON")
	if python == "" {
		python = "python3"
	}
	flag.StringVar(&b.python, "python", python, "the Python that has PyTorch, PEER_PYTHON if that is set")
	flag.StringVar(&b.script, "peer-script", filepath.Join("bench", "peers", "cpu.py"), "what it runs")
	flag.Parse()
	var err error
	if b.only, err = regexp.Compile(*run); err == nil {
		err = b.run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "flow:", err)
		os.Exit(1)
	}
}

type bench struct {
	data, networks, folder, python, script string
	only                                   *regexp.Regexp
	seeds, threads                         int
	out                                    io.Writer
	peer                                   *peer.Process
}

func (b *bench) run(ctx context.Context) error {
	runtime.GOMAXPROCS(b.threads)
	var hello struct {
		Versions map[string]string `json:"versions"`
	}
	env := []string{fmt.Sprintf("OMP_NUM_THREADS=%d", b.threads), fmt.Sprintf("MKL_NUM_THREADS=%d", b.threads)}
	var err error
	b.peer, err = peer.Start(b.python, b.script, env, patience, map[string]any{"do": "hello", "threads": b.threads}, &hello)
	if err != nil {
		return err
	}
	defer b.peer.Close()
	sets, err := os.ReadDir(b.data)
	if err != nil {
		return err
	}
	t := &table.Table{Left: 2, Head: []string{"data", "network", "images", "AUROC", "PyTorch", "AP", "PyTorch", "training", "PyTorch", "ratio"}}
	about := fmt.Sprintf("%s, %d threads, %s, PyTorch %s, load average before %s", machine.Describe(), b.threads,
		time.Now().UTC().Format(time.RFC3339), hello.Versions["torch"], machine.Load())
	fmt.Fprintln(b.out, about)
	var short []string
	for _, set := range sets {
		for _, network := range []string{"scatter", "efficientnet-lite0"} {
			name := set.Name() + "/" + network
			if !set.IsDir() || !b.only.MatchString(name) {
				continue
			}
			r, err := b.compare(ctx, filepath.Join(b.data, set.Name()), network)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			ours, torch := r[0], r[1]
			t.Add(set.Name(), network, fmt.Sprint(ours[0].images), auroc.text(ours), auroc.text(torch), ap.text(ours), ap.text(torch),
				fmt.Sprintf("%.0f s", seconds.mean(ours)), fmt.Sprintf("%.0f s", seconds.mean(torch)),
				fmt.Sprintf("%.2f", seconds.mean(torch)/seconds.mean(ours)))
			fmt.Fprintf(b.out, "%s: %+v\n", name, r)
			if !(auroc.mean(ours) >= auroc.mean(torch)-behind) || !(ap.mean(ours) >= ap.mean(torch)-behind) {
				short = append(short, name)
			}
			if err := b.write(about, t); err != nil {
				return err
			}
		}
	}
	t.Text(b.out, "")
	if len(short) > 0 {
		return fmt.Errorf("more than %g below PyTorch: %s", behind, strings.Join(short, ", "))
	}
	return nil
}

func three(v float64) string { return strings.TrimPrefix(fmt.Sprintf("%.3f", v), "0") }

func (b *bench) write(about string, t *table.Table) error {
	if err := os.MkdirAll(b.folder, 0o777); err != nil {
		return err
	}
	return artifact.WriteFileAtomic(filepath.Join(b.folder, pageFile), func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "# Flows trained by f2pad and by PyTorch\n\n%s\n\nThe same features, profile compact; each with random choices of its own.\n\n", about)
		t.Markdown(w)
		return err
	})
}

// result is what scores amount to.
type result struct {
	images    int
	auroc, ap float64
	seconds   float64 // of training
}

// figure is one of a result's.
type figure func(result) float64

var (
	auroc   figure = func(r result) float64 { return r.auroc }
	ap      figure = func(r result) float64 { return r.ap }
	seconds figure = func(r result) float64 { return r.seconds }
)

func (f figure) mean(all []result) float64 {
	sum := 0.0
	for _, r := range all {
		sum += f(r)
	}
	return sum / float64(len(all))
}

// text is the mean, and from where to where they are.
func (f figure) text(all []result) string {
	least, most := math.Inf(1), math.Inf(-1)
	for _, r := range all {
		least, most = min(least, f(r)), max(most, f(r))
	}
	return fmt.Sprintf("%s (%s to %s)", three(f.mean(all)), three(least), three(most))
}

// compare trains with every seed, ours, which come first, and then the peer's.
func (b *bench) compare(ctx context.Context, data, network string) (r [2][]result, err error) {
	set, err := dataset.MVTec(data)
	if err != nil {
		return r, err
	}
	net, err := b.open(ctx, network, set.Train)
	if err != nil {
		return r, err
	}
	defer net.close()
	train, err := net.all(ctx, set.Train)
	if err != nil {
		return r, err
	}
	test, err := net.all(ctx, set.Test)
	if err != nil {
		return r, err
	}
	for seed := range b.seeds {
		ours, torch, err := b.trainings(ctx, uint64(seed+1), set.Test, train, test)
		if err != nil {
			return r, err
		}
		r[0], r[1] = append(r[0], ours), append(r[1], torch)
	}
	return r, nil
}

// trainings is ours and the peer's with a seed, on the same features.
func (b *bench) trainings(ctx context.Context, seed uint64, items []dataset.Item, train, test []*tensor.Dense) (ours, torch result, err error) {
	o, err := cflow.ProfileOptions("")
	if err != nil {
		return ours, torch, err
	}
	o.Seed = seed
	var trained []float64 // first and last
	began := time.Now()
	m, err := cflow.Fit(ctx, o, method.Fitting{Features: oneByOne(train), Progress: func(method.Progress) {
		trained = append(trained[:min(len(trained), 1)], time.Since(began).Seconds())
	}})
	if err != nil {
		return ours, torch, err
	}
	h, w := test[0].Shape()[2], test[0].Shape()[3]
	s := nd.New(len(items), h, w)
	at := 0
	err = oneByOne(test)(ctx, func(f []*tensor.Dense) error {
		one := &method.Result{S: nd.New(1, h, w)}
		err := m.Score(ctx, f, one)
		at += copy(nd.Data(s)[at:], nd.Data(one.S))
		return err
	})
	if err != nil {
		return ours, torch, err
	}
	if ours, err = measure(m.Map(), nd.Data(s), h, w, items); err != nil {
		return ours, torch, err
	}
	ours.seconds = trained[len(trained)-1] - trained[0]
	there, took, err := b.torch(o, train, test, len(nd.Data(s)))
	if err != nil {
		return ours, torch, fmt.Errorf("PyTorch: %w", err)
	}
	torch, err = measure(m.Map(), there, h, w, items)
	torch.seconds = took
	return ours, torch, err
}

// torch has the peer train on the features, and returns its scores of the test images and the seconds of the training.
func (b *bench) torch(o cflow.Options, train, test []*tensor.Dense, want int) (s []float32, seconds float64, err error) {
	dir, err := os.MkdirTemp("", "f2pad-flow-")
	if err != nil {
		return nil, 0, err
	}
	defer os.RemoveAll(dir)
	params := map[string]any{"options": o, "seed": o.Seed}
	var layers [][]int
	for name, f := range map[string][]*tensor.Dense{"train": train, "test": test} {
		var files []string
		layers = nil
		for i, t := range f {
			layers = append(layers, t.Shape()[1:])
			files = append(files, filepath.Join(dir, fmt.Sprintf("%s%d.bin", name, i)))
			buf, err := binary.Append(nil, binary.LittleEndian, nd.Data(t))
			if err != nil {
				return nil, 0, err
			}
			if err := os.WriteFile(files[i], buf, 0o666); err != nil {
				return nil, 0, err
			}
		}
		params[name] = files
	}
	params["layers"] = layers
	file := filepath.Join(dir, "scores.bin")
	for _, q := range []map[string]any{
		{"do": "open", "case": "flow_fit", "params": params}, {"do": "check", "way": "PyTorch", "path": file}, {"do": "close"},
	} {
		var a struct {
			Missing map[string]string `json:"missing"`
			Error   string            `json:"error"`
		}
		if err := b.peer.Ask(q, &a); err != nil {
			return nil, 0, err
		}
		if a.Error != "" {
			return nil, 0, errors.New(a.Error)
		}
		for _, why := range a.Missing {
			return nil, 0, errors.New(why)
		}
	}
	buf, err := os.ReadFile(file)
	if err != nil {
		return nil, 0, err
	}
	if len(buf) != 4*(want+1) {
		return nil, 0, fmt.Errorf("%d bytes of scores, want %d", len(buf), 4*(want+1))
	}
	s = make([]float32, want+1) // and the seconds
	for i := range s {
		s[i] = math.Float32frombits(binary.LittleEndian.Uint32(buf[4*i:]))
	}
	return s[:want], float64(s[want]), nil
}

// measure makes the maps of the scores [N,h,w] and compares them with the ground truth.
func measure(o method.MapOptions, s []float32, h, w int, items []dataset.Item) (result, error) {
	images, pixels := &metric.Images{}, metric.NewPixels(metric.Options{})
	defer pixels.Close()
	m := make([]float32, size*size)
	for i, it := range items {
		method.BaseMap(s[i*h*w:(i+1)*h*w], h, w, size, size, o, m)
		if err := images.Add(float64(slices.Max(m)), !it.Normal()); err != nil {
			return result{}, err
		}
		im, err := imageio.Decode(it.Path, imageio.Limits{})
		if err != nil {
			return result{}, err
		}
		H, W := im.Size()
		var mask *tensor.Dense
		if it.Mask != "" {
			t, err := truth.Read(it.Mask, H, W, imageio.Limits{})
			if err != nil {
				return result{}, err
			}
			mask = t.Pix
		} else if !it.Normal() {
			continue
		}
		if err := pixels.Add(nd.Wrap(imageio.ResizeMap(m, size, size, H, W), H, W), mask); err != nil {
			return result{}, err
		}
	}
	p, err := pixels.Result(math.Inf(1))
	return result{len(items), float64(images.AUROC()), float64(p.AP), 0}, err
}

// network runs a backbone on images of the bench's size.
type network struct {
	backbone.Backbone
	net    exec.Net
	shapes [][]int // of one image's features
}

func (b *bench) open(ctx context.Context, name string, train []dataset.Item) (*network, error) {
	n := &network{}
	if name == "scatter" {
		s := backbone.NewScatter()
		err := s.Fit(ctx, goexec.New(), func(_ context.Context, visit func(*tensor.Dense) error) error {
			for _, it := range train {
				y, err := pixels(it)
				if err != nil {
					return err
				}
				if err := visit(y); err != nil {
					return err
				}
			}
			return nil
		}, 1)
		if err != nil {
			return nil, err
		}
		n.Backbone = s
	} else {
		known, _ := pretrained.Find(pretrained.Networks(), name)
		path, err := known.Locate(b.networks)
		if err != nil {
			return nil, err
		}
		if n.Backbone, err = backbone.OpenONNX(path, known.Layers, known.Preprocess); err != nil {
			return nil, err
		}
	}
	g, err := n.Graph(size, size)
	if err != nil {
		return nil, err
	}
	shapes, err := g.Infer()
	if err != nil {
		return nil, err
	}
	for _, out := range g.Outputs {
		n.shapes = append(n.shapes, shapes[out][1:])
	}
	n.net, err = goexec.New().Compile(g, false)
	return n, err
}

func (n *network) close() { n.net.Close() }

// pixels is an image [3,size,size].
func pixels(it dataset.Item) (*tensor.Dense, error) {
	im, err := imageio.Decode(it.Path, imageio.Limits{})
	if err != nil {
		return nil, err
	}
	return (&imageio.Image{Pix: imageio.Resize(im.Pix, size, size)}).RGB(), nil
}

// all is the features of images: [N,D,h,w] per layer.
func (n *network) all(ctx context.Context, items []dataset.Item) ([]*tensor.Dense, error) {
	f := make([]*tensor.Dense, len(n.shapes))
	for l, s := range n.shapes {
		f[l] = nd.New(append([]int{len(items)}, s...)...)
	}
	for i, it := range items {
		y, err := pixels(it)
		if err != nil {
			return nil, err
		}
		a, x := n.Normalize(y), nd.New(1, 3, size, size)
		for k, v := range nd.Data(y) {
			c := k / (size * size)
			nd.Data(x)[k] = float32(v*a.Scale[c]) + a.Shift[c]
		}
		if err := n.net.Forward(ctx, []*tensor.Dense{x}, part(f, i)); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// part is image i of feature maps, as a batch of one.
func part(f []*tensor.Dense, i int) []*tensor.Dense {
	one := make([]*tensor.Dense, len(f))
	for l, t := range f {
		n := nd.Size(t.Shape()[1:]...)
		one[l] = nd.Wrap(nd.Data(t)[i*n:(i+1)*n], append([]int{1}, t.Shape()[1:]...)...)
	}
	return one
}

// oneByOne visits a batch of feature maps image by image.
func oneByOne(f []*tensor.Dense) method.Features {
	return func(_ context.Context, visit func([]*tensor.Dense) error) error {
		for i := range f[0].Shape()[0] {
			if err := visit(part(f, i)); err != nil {
				return err
			}
		}
		return nil
	}
}
