// Command memory shows that scoring holds a few batches, however many images there are: it prints the peak memory of
// f2pad score on 200 and on 2,000 small images and fails if they differ by more than 10 %.
//
// The peak is partly chance, that of where the garbage collector happens to be, and grows with the number of chances. So
// both sides get equally many: the 2,000 are the 200 ten times over, and the 200 are scored ten times.
//
// Then it shows that scoring with maps stays within --memory: sizes, networks and methods, each with a ceiling that is less than it
// takes without one. It fails if a peak is more than 15 % above. efficientnet-lite0 is left out, and that is said, where it has
// not been fetched (make backbones).
//
//	go run ./bench/memory bin/f2pad
package main

import (
	"errors"
	"fmt"
	"image"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"f2pad.example/engine/imageio"
)

const (
	side  = 64 // pixels
	train = 16
	few   = 200
	many  = 2000
	most  = 1.10 // of the ratio of the peaks
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: memory F2PAD")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "memory:", err)
		os.Exit(1)
	}
}

func run(program string, out io.Writer) error {
	dir, err := os.MkdirTemp("", "f2pad-memory-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	images := filepath.Join(dir, "train")
	if err := noise(images, train, side, side); err != nil {
		return err
	}
	model := filepath.Join(dir, "model")
	if _, err := peak(program, "fit", "--images", images, "--method", "padim", "--size", "native", "--out", model); err != nil {
		return err
	}
	var peaks [2]float64
	for i, n := range []int{few, many} {
		images := filepath.Join(dir, fmt.Sprint(n))
		if err := noise(images, n, side, side); err != nil {
			return err
		}
		var runs []string
		for run := range many / n {
			results := filepath.Join(dir, fmt.Sprintf("results-%d-%d", n, run))
			mib, err := peak(program, "score", "--model", model, "--out", results, "--maps", "--masks", images)
			if err != nil {
				return err
			}
			peaks[i] = max(peaks[i], mib)
			runs = append(runs, fmt.Sprintf("%.1f", mib))
		}
		fmt.Fprintf(out, "score, %4d images of %dx%d pixels: peak RSS %.1f MiB (%s)\n", n, side, side, peaks[i], strings.Join(runs, " "))
	}
	ratio := peaks[1] / peaks[0]
	fmt.Fprintf(out, "ratio %.3f, at most %.2f allowed\n", ratio, most)
	if ratio > most {
		return fmt.Errorf("peak memory grows with the number of images")
	}
	return ceilings(program, dir, out)
}

// above is what a peak may be, of its ceiling.
const above = 1.15

// ceilings scores a few images of each size within ceilings (MiB).
func ceilings(program, dir string, out io.Writer) error {
	var over []string
	for _, c := range []struct {
		network    string
		size       string // as --size
		w, h, n    int    // images that are scored, at the size
		ceiling    int    // MiB
		fitW, fitH int
	}{
		{"scatter", "256", 256, 256, 16, 256, 256, 256},
		{"scatter", "512", 512, 512, 16, 512, 512, 512},
		{"scatter", "native", 4000, 3000, 2, 3000, 128, 128},
		{"efficientnet-lite0", "256", 256, 256, 16, 512, 256, 256},
		{"efficientnet-lite0", "512", 512, 512, 16, 1024, 512, 512},
	} {
		learn, score := filepath.Join(dir, "learn"+c.size), filepath.Join(dir, "score"+c.size)
		if err := errors.Join(noise(learn, train, c.fitW, c.fitH), noise(score, c.n, c.w, c.h)); err != nil {
			return err
		}
		for _, method := range []string{"padim", "patchcore"} {
			name := fmt.Sprintf("%s-%s-%s", c.network, method, c.size)
			model := filepath.Join(dir, name)
			if _, err := peak(program, "fit", "--images", learn, "--method", method, "--backbone", c.network, "--size", c.size, "--out", model); err != nil {
				if strings.Contains(err.Error(), "make backbones") {
					fmt.Fprintf(out, "SKIPPED: %s has not been fetched\n", c.network)
					break
				}
				return err
			}
			var mib [2]float64
			for i, ceiling := range []int{0, c.ceiling} {
				results := filepath.Join(dir, fmt.Sprint(name, "-results-", ceiling))
				var err error
				if mib[i], err = peak(program, "score", "--model", model, "--out", results, "--maps", "--memory", fmt.Sprint(ceiling), score); err != nil {
					return err
				}
			}
			fmt.Fprintf(out, "%-20s %-9s %4d x %4d px: %6.0f MiB; within --memory %4d %6.0f\n", c.network, method, c.w, c.h, mib[0], c.ceiling, mib[1])
			if mib[1] > above*float64(c.ceiling) {
				over = append(over, name)
			}
		}
	}
	if len(over) > 0 {
		return fmt.Errorf("more than %.0f %% above --memory: %s", 100*(above-1), strings.Join(over, ", "))
	}
	return nil
}

// noise writes n grey images of noise to dir; of more than few, the first ones are repeated.
func noise(dir string, n, w, h int) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for i := range n {
		r := rand.New(rand.NewPCG(0, uint64(i%few)))
		img := image.NewGray(image.Rect(0, 0, w, h))
		for p := range img.Pix {
			img.Pix[p] = uint8(100 + r.IntN(56))
		}
		if err := imageio.WritePNG(filepath.Join(dir, fmt.Sprintf("%04d.png", i)), img); err != nil {
			return err
		}
	}
	return nil
}

// peak runs the program and returns its largest resident set in MiB.
func peak(program string, args ...string) (float64, error) {
	cmd := exec.Command(program, args...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s %s: %w\n%s", program, args[0], err, text)
	}
	return float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024, nil
}
