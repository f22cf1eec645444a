package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"f2pad.example/engine/metric"

	"github.com/stretchr/testify/require"
)

// row is a made-up row whose other metrics follow from its AP.
func row(category, kind string, ap metric.Value) metric.Row {
	r := metric.Row{Category: category, Map: kind, Images: 9, Defective: 4, ImageAUROC: 1, PixelAP: ap, AUPRO: 0.5, DiceOracle: ap,
		DiceLabelFree: ap / 2, BoundaryF: 0.25, Worse: metric.Undefined(), SecondsPerImage: 0.5}
	if kind != "base" {
		r.Worse, r.OverBase = 0, &metric.Interval{Low: float64(ap) - 0.5, High: float64(ap) - 0.3}
	}
	if kind == "f2pad" {
		r.OverControl = &metric.Interval{Low: -0.01, High: 0.01}
	}
	return r
}

// example has two classes, one of which got worse, and a data set of a single class.
func example() []*result {
	r := &result{Dataset: "tile", Method: "padim", Backbone: "scatter", Size: 256, Train: 60}
	r.Executor.Executor, r.Executor.Version, r.Executor.Device, r.Executor.Precision = "ort", "1.27.0", "cpu", "float32"
	r.Device.Device = "cpu"
	for _, c := range []string{"hole", "break", all} {
		r.Rows = append(r.Rows, row(c, "base", 0.4), row(c, "residual", 0.5), row(c, "f2pad", 0.6))
	}
	bad := &r.Rows[5]
	bad.PixelAP, bad.DiceOracle, bad.DiceLabelFree, bad.Worse = 0.3875, 0.3901, 0.17, 0.25
	r.Rows[2].OverControl = &metric.Interval{Low: 0.0001, High: 0.2}
	bad.OverControl = &metric.Interval{Low: -0.2, High: -0.05}

	single := &result{Dataset: "screw", Method: "patchcore", Backbone: "scatter", Size: 512, Train: 90, Failed: 1, Executor: r.Executor, Device: r.Device}
	for _, c := range []string{"pitting", all} {
		single.Rows = append(single.Rows, row(c, "base", 0.4), row(c, "residual", 0.5), row(c, "f2pad", 0.6))
	}
	return []*result{r, single}
}

func TestVerdicts(t *testing.T) {
	require.Empty(t, judge(nil))
	var said []string
	for _, v := range judge(example()) {
		word := map[bool]string{true: "held", false: "broken"}[v.Held]
		if v.Remark {
			word = "remark"
		}
		said = append(said, strings.Join(append([]string{word, v.Bound, v.Says}, v.Breaks...), "|"))
	}
	require.Equal(t, []string{
		"held|residual: no row is below base by more than .01 pooled pixel AP|0 of 4 rows break it",
		"broken|f2pad: no row is below base by more than .01 pooled pixel AP|1 of 4 rows break it|" +
			"tile/padim/scatter/256 break: .388 against .400 (-.0125)",
		"held|residual: no row is below base by more than .01 oracle Dice|0 of 4 rows break it",
		"held|f2pad: no row is below base by more than .01 oracle Dice|0 of 4 rows break it",
		"held|residual: no row is below base by more than .02 label-free Dice|0 of 4 rows break it",
		"broken|f2pad: no row is below base by more than .02 label-free Dice|1 of 4 rows break it|" +
			"tile/padim/scatter/256 break: .170 against .200 (-.0300)",
		"held|residual: at most 3 % of the images with a defect are worse than base by more than .01 AP|" +
			"0.0 % of 12 images over all classes are; 0 rows have more than 3 %",
		"broken|f2pad: at most 3 % of the images with a defect are worse than base by more than .01 AP|" +
			"8.3 % of 12 images over all classes are; 1 rows have more than 3 %|tile/padim/scatter/256 break: 25.0 % of 4 images",
		"remark|f2pad - residual: intervals of pooled pixel AP|above 0 in 1 of 4 rows, below 0 in 1|" +
			"tile/padim/scatter/256 hole: above 0 (+.1000 (+.0001 to +.2000))|" +
			"tile/padim/scatter/256 break: below 0 (-.1125 (-.2000 to -.0500))",
		"remark|base: label-free Dice / oracle Dice|mean 0.500 over 4 rows",
		"remark|residual: label-free Dice / oracle Dice|mean 0.500 over 4 rows",
		"remark|f2pad: label-free Dice / oracle Dice|mean 0.484 over 4 rows",
	}, said)
}

func TestUndefinedMetricsBreakNothing(t *testing.T) {
	r := example()[1]
	for i := range r.Rows {
		m := &r.Rows[i]
		m.PixelAP, m.DiceOracle, m.DiceLabelFree, m.Worse = metric.Undefined(), metric.Undefined(), metric.Undefined(), metric.Undefined()
		m.OverBase, m.OverControl = nil, nil
	}
	for _, v := range judge([]*result{r}) {
		require.True(t, v.Held, v.Bound)
		require.Empty(t, v.Breaks)
	}
	p := &page{Results: []*result{r}}
	var b strings.Builder
	require.NoError(t, p.markdown(&b))
	require.Contains(t, b.String(), "| patchcore | scatter | 512 | pitting | n/a | n/a | n/a |")
}

func TestPage(t *testing.T) {
	p := &page{
		Date: time.Date(2026, 11, 28, 12, 30, 0, 0, time.UTC), Machine: "X, 2 cores", LoadBefore: "0.1", LoadAfter: "1.5", Commit: "abc",
		Binary: strings.Repeat("0123456789", 6), Limit: 24, Results: example(), Skipped: []string{"all of backbone b: not fetched"},
		Failed: []string{"tile/padim/b/256: disk full"}, Open: 3, Verdicts: judge(example()),
	}
	var b strings.Builder
	require.NoError(t, p.markdown(&b))
	text := b.String()
	for _, want := range []string{
		"# Accuracy, 28 November 2026\n", "12:30 UTC. X, 2 cores. Commit abc, program sha256 012345678901.", "ort 1.27.0 on cpu, float32",
		"At most 24 test images of each class", "before the run 0.1, after it 1.5", "- all of backbone b: not fetched\n",
		"- FAILED: tile/padim/b/256: disk full\n", "- 3 combinations have not been run", "## tile\n", "## screw\n", "## Summary\n",
		"90 normal images to fit and calibrate with. 1 times an image failed",
		"| padim | scatter | 256 | break | f2pad | 9 | 1.000 | .388 | .500 | .390 | .170 | .250 | .250 | 0.5000 |\n",
		"| padim | scatter | 256 | hole | base | 9 | 1.000 | .400 | .500 | .400 | .200 | .250 |  | 0.5000 |\n",
		"| padim | scatter | 256 | hole | +.2000 (+.1000 to +.3000) | +.1000 (+.0001 to +.2000) | +.1000 (+.0000 to +.2000) |\n",
		"- BROKEN: f2pad: no row is below base by more than .01 pooled pixel AP: 1 of 4 rows break it.\n  - tile/padim/scatter/256 break:",
		"- HELD: residual: no row", "- base: label-free Dice / oracle Dice: mean",
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "| 512 | all |", "one class alone is all")
	columns := 0
	for _, line := range strings.Split(text, "\n") {
		n := strings.Count(line, "|")
		if n > 0 && columns > 0 {
			require.Equal(t, columns, n, line)
		}
		columns = n
	}

	b.Reset()
	require.NoError(t, p.json(&b))
	var back page
	require.NoError(t, json.Unmarshal([]byte(b.String()), &back))
	require.Equal(t, p.Results[0].Rows[2], back.Results[0].Rows[2])
	require.Equal(t, p.Verdicts, back.Verdicts)

	b.Reset()
	require.NoError(t, (&page{}).markdown(&b))
	require.Contains(t, b.String(), "Nothing has been measured.")
}

// stub answers as the program does, and writes down what it was asked.
const stub = `#!/bin/sh
echo "$@" >> "$STUB_LOG"
verb=$1
for a in "$@"; do
	case $last in --out|--sheet) file=$a;; esac
	case $a in missing) no=1;; esac
	last=$a
done
case $verb in
synth) mkdir -p "$file/train/good" "$file/test/hole" "$file/ground_truth/hole"
	for f in train/good/0.png test/hole/0.png ground_truth/hole/0_mask.png; do echo x > "$file/$f"; done;;
fit) if [ "$no" ]; then echo '{"message_type":"exit_error","error":"it is not fetched","code":1}'; exit 1; fi
	echo x > "$file"
	echo '{"message_type":"progress","phase":"images","done":1,"total":2}'
	echo '{"message_type":"model","backbone":{"name":"stub"},"info":{"train_images":4,"held_out_images":1,"executor":{"executor":"go"},"device":{"device":"cpu"}}}';;
eval) if [ -e "$STUB_FAIL" ]; then exit 7; fi
	echo x > "$file"
	echo '{"message_type":"summary","rows":[{"category":"hole","map":"base","pixel_ap":0.5,"worse":null}],"failed":1,"sheet":"s","executor":{"executor":"go"},"device":{"device":"cpu"}}'
	exit 3;;
esac
`

// stubbed returns options that run the stub on the textures alone, and what tells the calls of a verb for a whole model.
func stubbed(t *testing.T) (o options, calls func(verb string) int) {
	t.Helper()
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("SKIPPED: what is run again is not tested: there is no /bin/sh")
	}
	dir := t.TempDir()
	o = options{run: regexp.MustCompile("weave/.*/scatter"), data: filepath.Join(dir, "none"), out: filepath.Join(dir, "out"), limit: 24,
		program: filepath.Join(dir, "f2pad"), network: "missing", networkLayers: "x"}
	require.NoError(t, os.WriteFile(o.program, []byte(stub), 0o755))
	log := filepath.Join(dir, "log")
	t.Setenv("STUB_LOG", log)
	t.Setenv("STUB_FAIL", filepath.Join(dir, "fail"))
	return o, func(verb string) int {
		raw, err := os.ReadFile(log)
		require.NoError(t, err)
		require.NoError(t, os.Remove(log))
		n := 0
		for line := range strings.Lines(string(raw)) {
			if strings.HasPrefix(line, verb) && !strings.Contains(line, "--size 64") {
				n++
			}
		}
		return n
	}
}

func read(t *testing.T, o options) (p page) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(o.out, dataFile))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &p))
	return p
}

func TestFinishedCombinationsAreNotRunAgain(t *testing.T) {
	o, calls := stubbed(t)
	require.NoError(t, bench(o, io.Discard))
	require.Equal(t, 6, calls("fit"), "3 methods, 2 sizes")
	p := read(t, o)
	require.Len(t, p.Results, 6)
	r := p.Results[0]
	require.Equal(t, "synth-weave/padim/scatter/256", r.name())
	require.Equal(t, []int{5, 1, 1}, []int{r.Train, r.Failed, len(r.Rows)})
	require.FileExists(t, filepath.Join(o.work(), "synth-weave-padim-scatter-256.png"))
	require.NoFileExists(t, filepath.Join(o.work(), "synth-weave-padim-scatter-256.f2pad"), "models are not kept")
	require.Len(t, p.Skipped, 2, "no real images, and the backbone that is missing: %v", p.Skipped)
	require.Contains(t, p.Skipped[1], "all of backbone missing: fit: it is not fetched")

	var out strings.Builder
	require.NoError(t, bench(o, &out))
	require.Zero(t, calls("fit"))
	require.Contains(t, out.String(), "synth-weave/patchcore/scatter/512: stored, not run again")

	o.run = regexp.MustCompile("grain/padim/scatter/256")
	require.NoError(t, bench(o, io.Discard))
	require.Equal(t, 1, calls("fit"))
	require.Len(t, read(t, o).Results, 7, "those that -run leaves out are on the page")

	broken, err := filepath.Glob(filepath.Join(o.work(), "synth-grain-*.json"))
	require.NoError(t, err)
	require.Len(t, broken, 1)
	require.NoError(t, os.WriteFile(broken[0], []byte(`{"key":`), 0o666))
	require.NoError(t, bench(o, io.Discard))
	require.Equal(t, 1, calls("fit"), "half a result is none")

	o.limit = 3
	require.NoError(t, bench(o, io.Discard))
	require.Equal(t, 1, calls("eval"), "other options")
	require.Len(t, read(t, o).Results, 1)
	require.NoError(t, os.WriteFile(o.program, []byte(stub+"# changed\n"), 0o755))
	require.NoError(t, bench(o, io.Discard))
	require.Equal(t, 1, calls("eval"), "another program")
}

func TestFailuresDoNotStopTheRest(t *testing.T) {
	o, calls := stubbed(t)
	require.NoError(t, os.WriteFile(os.Getenv("STUB_FAIL"), nil, 0o666))
	var out strings.Builder
	require.ErrorContains(t, bench(o, &out), "6 failed: synth-weave/padim/scatter/256; ")
	require.Equal(t, 6, calls("eval"))
	p := read(t, o)
	require.Len(t, p.Failed, 6)
	require.Contains(t, p.Failed[0], "eval: exit status 7")
	require.Contains(t, out.String(), "FAILED: eval: exit status 7")
	require.NoError(t, os.Remove(os.Getenv("STUB_FAIL")))
	require.NoError(t, bench(o, io.Discard))
	require.Len(t, read(t, o).Results, 6)
}

func TestListing(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"tile/train/good", "mvtec/wood/train/good", "mvtec/licence", "empty"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, d), 0o777))
	}
	o, err := parse([]string{"-list", "-data", dir, "-run", "padim/.*/256", "-out", t.TempDir(), "-backbone", "x/net.onnx", "-layers", "a,b"}, io.Discard)
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, bench(o, &out))
	var want string
	for _, s := range []string{"mvtec-wood", "tile", "synth-weave", "synth-wood", "synth-grain"} {
		for _, b := range []string{"scatter", "efficientnet-lite0", "net"} {
			want += fmt.Sprintf("%s/padim/%s/256\n", s, b)
		}
	}
	require.Equal(t, want, out.String())
	o.run = regexp.MustCompile("nothing")
	require.ErrorContains(t, bench(o, io.Discard), "finds no combination")
	o.data = filepath.Join(dir, "absent")
	_, missing := o.datasets()
	require.Len(t, missing, 1)
}

func TestWrongArguments(t *testing.T) {
	for _, args := range [][]string{{"-run", "("}, {"x"}, {"-limit", "-1"}, {"-backbone", "x.onnx"}, {"-layers", "x"}, {"-no"}} {
		var out strings.Builder
		_, err := parse(args, &out)
		require.Error(t, err, args)
		require.NotEmpty(t, out.String())
	}
	t.Setenv("ACCURACY_DATA", "here")
	o, err := parse(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, "here", o.data)
	require.Equal(t, 24, o.limit)
}

func TestErrorsFitAPage(t *testing.T) {
	t.Setenv("HOME", "/home/someone")
	require.Equal(t, "no ~/x: gone", oneLine("no /home/someone/x:\n gone"))
}
