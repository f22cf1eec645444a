// Command volume scores a great many small images with f2pad, kills it at random moments on its way, and shows that all is there in the end:
// each image once, in the order of the inputs, with the score that a short run without a kill gives images of the same content. It prints the rate and
// the peak memory by tenths of the images, and fails where something is missing or differs.
//
// The images are 32 pixels wide, some hundred different ones under names of their own, in tar archives.
//
//	go run ./bench/volume [-images 1000000] [-shards 100] [-kills 20] [-seed 1] [-dir DIR] bin/f2pad
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/png"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/run"
)

const (
	side     = 32  // pixels
	train    = 16  // images
	distinct = 300 // images of different content
	early    = 10_000
	tenths   = 10
)

func main() {
	v := &volume{out: os.Stdout}
	flag.IntVar(&v.images, "images", 1_000_000, "how many images")
	flag.IntVar(&v.shards, "shards", 100, "how many archives they are in")
	flag.IntVar(&v.kills, "kills", 20, "how often to kill")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the moments")
	dir := flag.String("dir", "", "folder to work in, a new one of which is made and removed; default: the system's for temporary files")
	flag.Parse()
	if flag.NArg() != 1 || v.shards < 1 || v.images < v.shards || v.kills < 0 {
		fmt.Fprintln(os.Stderr, "usage: volume [flags] F2PAD, with at least an image in each archive")
		os.Exit(2)
	}
	v.random = rand.New(rand.NewPCG(*seed, 0))
	fmt.Fprintf(v.out, "seed %d\n", *seed)
	if err := v.run(flag.Arg(0), *dir); err != nil {
		fmt.Fprintln(os.Stderr, "volume:", err)
		os.Exit(1)
	}
}

// volume is one run of this program.
type volume struct {
	images, shards, kills int
	out                   io.Writer
	random                *rand.Rand
	program, dir          string
	score                 []string // command line, without --out and inputs
}

func (v *volume) run(program, dir string) (err error) {
	if v.program, err = filepath.Abs(program); err != nil {
		return err
	}
	if v.dir, err = os.MkdirTemp(dir, "f2pad-volume-"); err != nil {
		return err
	}
	defer os.RemoveAll(v.dir)
	began := time.Now()
	contents, err := v.contents()
	if err != nil {
		return err
	}
	var archives []string
	for i := range v.shards {
		archives = append(archives, v.at(fmt.Sprintf("%05d.tar", i)))
		if err := v.pack(archives[i], i, contents); err != nil {
			return err
		}
	}
	fmt.Fprintf(v.out, "%d images in %d archives, made in %.0f s\n", v.images, v.shards, time.Since(began).Seconds())
	if err := v.must("fit", "--images", v.at("train"), "--method", "padim", "--size", "native", "--executor", "go", "--device", "cpu", "--out", v.at("model")); err != nil {
		return err
	}
	v.score = []string{"score", "--model", v.at("model"), "--executor", "go", "--device", "cpu"}

	// As many images as there are contents, without a kill.
	sample := v.at("sample.tar")
	if err := writeTar(sample, len(contents), func(i int) (string, []byte) { return strconv.Itoa(i) + ".png", contents[i] }); err != nil {
		return err
	}
	if err := v.must(append(v.score, "--out", v.at("sample"), sample)...); err != nil {
		return err
	}
	want, err := known(v.at("sample"))
	if err != nil {
		return err
	}
	if err := v.killed(v.at("results"), archives); err != nil {
		return err
	}
	return v.verify(v.at("results"), archives, want)
}

func (v *volume) at(name string) string { return filepath.Join(v.dir, name) }

// must runs the program to its end.
func (v *volume) must(args ...string) error {
	if text, err := exec.Command(v.program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", args[0], err, text)
	}
	return nil
}

// contents makes the images that are scored, and those to learn from.
func (v *volume) contents() ([][]byte, error) {
	if err := os.Mkdir(v.at("train"), 0o777); err != nil {
		return nil, err
	}
	for i := range train {
		if err := imageio.WritePNG(v.at(fmt.Sprintf("train/%02d.png", i)), noise(uint64(i), false)); err != nil {
			return nil, err
		}
	}
	var all [][]byte
	for i := range min(distinct, v.images) {
		var b bytes.Buffer
		if err := png.Encode(&b, noise(uint64(train+i), i%3 == 0)); err != nil {
			return nil, err
		}
		all = append(all, b.Bytes())
	}
	return all, nil
}

// noise is an image of noise, with a bright spot or without one.
func noise(seed uint64, spot bool) image.Image {
	r := rand.New(rand.NewPCG(7, seed))
	img := image.NewGray(image.Rect(0, 0, side, side))
	for p := range img.Pix {
		img.Pix[p] = uint8(100 + r.IntN(56))
	}
	if spot {
		x, y := 2+r.IntN(side-8), 2+r.IntN(side-8)
		for i := range 25 {
			img.Pix[(y+i/5)*side+x+i%5] = 250
		}
	}
	return img
}

// first is the number of the first image of an archive.
func (v *volume) first(archive int) int { return archive * v.images / v.shards }

// member is the name of an image in its archive.
func member(i int) string { return fmt.Sprintf("%07d.png", i) }

func (v *volume) pack(path string, archive int, contents [][]byte) error {
	from := v.first(archive)
	return writeTar(path, v.first(archive+1)-from, func(i int) (string, []byte) { return member(from + i), contents[(from+i)%len(contents)] })
}

func writeTar(path string, n int, of func(i int) (name string, data []byte)) error {
	return artifact.WriteFileAtomic(path, func(w io.Writer) error {
		t := tar.NewWriter(w)
		for i := range n {
			name, data := of(i)
			err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: time.Unix(1_700_000_000, 0)})
			if err == nil {
				_, err = t.Write(data)
			}
			if err != nil {
				return err
			}
		}
		return t.Close()
	})
}

// killed scores the archives into a folder with kills on the way, and prints how that went.
func (v *volume) killed(out string, archives []string) error {
	// Beyond the images that the first figure of memory is of, where there are more.
	clear := min(early, v.images/tenths)
	var moments []int
	for range v.kills {
		moments = append(moments, clear+1+v.random.IntN(max(v.images-clear-1, 1)))
	}
	slices.Sort(moments)
	args := append(slices.Concat(v.score, []string{"--out", out}), archives...)
	began := time.Now()
	last, tenth, done, kills := began, 0, 0, 0
	var peak, atClear float64 // MiB
	fmt.Fprintf(v.out, "%10s %10s %8s %10s %12s\n", "images", "seconds", "per s", "kills", "peak MiB")
	inTenth := 0
	reach := func(n int, rss float64) {
		done, peak = n, max(peak, rss)
		if atClear == 0 && done >= clear {
			atClear = rss
		}
		for tenth < tenths && done >= (tenth+1)*v.images/tenths {
			tenth++
			now := time.Now()
			count := tenth*v.images/tenths - (tenth-1)*v.images/tenths
			fmt.Fprintf(v.out, "%10d %10.1f %8.0f %10d %12.0f\n", tenth*v.images/tenths, now.Sub(last).Seconds(),
				float64(count)/now.Sub(last).Seconds(), inTenth, peak)
			last, inTenth = now, 0
		}
	}
	for {
		kept, err := lines(filepath.Join(out, run.PartFile))
		if err != nil {
			return err
		}
		moment := 0 // none
		for len(moments) > 0 && moment <= kept {
			moment, moments = moments[0], moments[1:]
		}
		if moment <= kept {
			moment = 0
		}
		ended, rss, err := v.once(args, kept, moment, reach)
		if err != nil {
			return err
		}
		peak = max(peak, rss)
		if ended {
			break
		}
		kills++
		inTenth++
	}
	fmt.Fprintf(v.out, "%d kills, %.0f s in all; peak RSS %.1f MiB after %d images and %.1f MiB in the end\n", kills, time.Since(began).Seconds(), atClear, clear, peak)
	return nil
}

// once runs the program until it ends, or until it has done so many images in all and a random while more, when it is killed. reach is told
// how many are done, and the process' largest resident set so far.
func (v *volume) once(args []string, kept, moment int, reach func(done int, mib float64)) (ended bool, mib float64, err error) {
	cmd := exec.Command(v.program, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	items, err := cmd.StdoutPipe()
	if err != nil {
		return false, 0, err
	}
	if err := cmd.Start(); err != nil {
		return false, 0, err
	}
	every := max(1, min(1000, v.images/100))
	done, dead := kept, false
	for s := bufio.NewScanner(items); s.Scan(); {
		if !strings.HasPrefix(s.Text(), "normal ") && !strings.HasPrefix(s.Text(), "anomalous ") {
			continue
		}
		if done++; done%every == 0 {
			reach(done, resident(cmd.Process.Pid))
		}
		if moment > 0 && done >= moment && !dead {
			dead = true
			time.AfterFunc(time.Duration(v.random.IntN(50))*time.Millisecond, func() { cmd.Process.Kill() })
		}
	}
	err = cmd.Wait()
	mib = float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024
	switch {
	case err == nil:
		reach(v.images, mib)
		return true, mib, nil
	case cmd.ProcessState.Exited():
		return false, mib, fmt.Errorf("score: %w\n%s", err, &said)
	}
	return false, mib, nil
}

// resident is the largest resident set of a process so far, in MiB; 0 if that is not known.
func resident(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(data), "VmHWM:")
	kib, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(after, "kB", 2)[0]))
	if err != nil {
		return 0
	}
	return float64(kib) / 1024
}

// lines counts the lines of a file; of one that is not there 0.
func lines(path string) (n int, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for buf := make([]byte, 1<<16); ; {
		k, err := f.Read(buf)
		n += bytes.Count(buf[:k], []byte{'\n'})
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// verdict is what a line says of a content, whatever its name is.
type verdict struct {
	score, threshold float64
	anomalous        bool
	bytes            int64
}

func verdictOf(o run.Outcome) verdict {
	return verdict{o.ImageScore, o.Threshold, o.Anomalous, o.Bytes}
}

// known are the verdicts of a run by the contents' hashes.
func known(dir string) (map[string]verdict, error) {
	r, err := run.OpenResults(dir, false)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	all := map[string]verdict{}
	for o, err := range r.All() {
		if err == nil && o.Error != "" {
			err = errors.New(o.Error)
		}
		if err != nil {
			return nil, err
		}
		all[o.SHA256] = verdictOf(o)
	}
	return all, nil
}

// verify holds every line against what must be there: the next image, with the content that it has, and that content's verdict.
func (v *volume) verify(dir string, archives []string, want map[string]verdict) error {
	r, err := run.OpenResults(dir, false)
	if err != nil {
		return err
	}
	defer r.Close()
	n, archive, anomalous := 0, 0, 0
	seen := map[int]string{} // the hash of each content
	for o, err := range r.All() {
		if err != nil {
			return err
		}
		for archive+1 < v.shards && n >= v.first(archive+1) {
			archive++
		}
		if image := archives[archive] + "/" + member(n); o.Path() != image {
			return fmt.Errorf("line %d is of %s, not of %s", n+1, o.Path(), image)
		}
		if o.Error != "" {
			return fmt.Errorf("line %d: %s", n+1, o.Error)
		}
		w, ok := want[o.SHA256]
		if which := n % min(distinct, v.images); seen[which] == "" {
			seen[which] = o.SHA256
		} else {
			ok = ok && seen[which] == o.SHA256
		}
		if !ok {
			return fmt.Errorf("line %d: %s has another content than it was made with", n+1, o.Path())
		}
		if got := verdictOf(o); got != w {
			return fmt.Errorf("line %d: %s: %+v, but %+v without kills", n+1, o.Path(), got, w)
		}
		if o.Anomalous {
			anomalous++
		}
		n++
	}
	if n != v.images {
		return fmt.Errorf("%d lines of %d images", n, v.images)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range left {
		if name := f.Name(); name != run.ResultsFile && name != run.RunFile && name != run.LockFile && !artifact.IsTemp(name) {
			return fmt.Errorf("%s should not be there", name)
		}
	}
	fmt.Fprintf(v.out, "%d lines: each image once, in order, %d of them anomalous, as without kills\n", n, anomalous)
	return nil
}
