package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"f2pad.example/cgo/ort"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/synth"

	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary be f2pad: the tests run the program as its users do.
const asProgram = "F2PAD_TEST_AS_PROGRAM"

// work folder of the tests' shared data set and model.
var shared string

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	var err error
	if shared, err = os.MkdirTemp("", "f2pad-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(shared)
	os.Exit(code)
}

const noORT = "/nowhere/libonnxruntime.so"

// outcome is what a run of the program gave.
type outcome struct {
	code     int
	out, err string
}

func command(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, args...)
	// The same on every machine: networks run in pure Go.
	cmd.Env = append(os.Environ(), asProgram+"=1", ort.Environment+"="+noORT)
	return cmd
}

func f2pad(t *testing.T, args ...string) outcome { t.Helper(); return finish(t, command(args...)) }

func finish(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	e := cmd.Run()
	var exit *exec.ExitError
	if e != nil && !errors.As(e, &exit) {
		t.Fatal(e)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), err.String()}
}

// fixture makes the data set and the model that the tests share, with the program.
var fixture = sync.OnceValue(func() error {
	for _, args := range [][]string{
		{"synth", "--out", data(), "--train", "8", "--test", "5", "--size", "64"},
		{"fit", "--data", data(), "--method", "padim", "--size", "native", "--out", model()},
	} {
		if out, err := command(args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, out)
		}
	}
	return nil
})

func data() string  { return filepath.Join(shared, "data") }
func model() string { return filepath.Join(shared, "model") }

func setup(t *testing.T) {
	t.Helper()
	require.NoError(t, fixture())
}

// messages parses the output of --json.
func messages(t *testing.T, out string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(out) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m), line)
		require.True(t, strings.HasPrefix(line, `{"message_type":"`), line)
		all = append(all, m)
	}
	return all
}

func types(all []map[string]any) []string {
	var names []string
	for _, m := range all {
		if name := m["message_type"].(string); name != "progress" {
			names = append(names, name)
		}
	}
	return names
}

// scores are the items of score by image.
func scores(t *testing.T, out string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, m := range messages(t, out) {
		if m["message_type"] == "item" {
			all[m["image"].(string)] = m
		}
	}
	return all
}

func content(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(data)
}

func keys(m map[string]any) []string {
	var names []string
	for k := range m {
		names = append(names, k)
	}
	return names
}

func TestEveryVerbExplainsItself(t *testing.T) {
	const listed = `(?m)^  ([a-z]+)  `
	var verbs [][]string
	for _, found := range regexp.MustCompile(listed).FindAllStringSubmatch(f2pad(t, "--help").out, -1) {
		if verb := found[1]; verb != "help" && verb != "completion" { // cobra's own
			verbs = append(verbs, []string{verb})
		}
	}
	require.Greater(t, len(verbs), 13)
	for i := 0; i < len(verbs); i++ {
		verb := verbs[i]
		r := f2pad(t, append(slices.Clone(verb), "--help")...)
		require.Equal(t, exitOK, r.code, verb)
		_, examples, _ := strings.Cut(r.out, "Examples:\n")
		examples, _, _ = strings.Cut(examples, "\n\n")
		require.Contains(t, examples, "  f2pad "+strings.Join(verb, " "), verb)
		if _, below, ok := strings.Cut(r.out, "Available Commands:\n"); ok {
			below, _, _ = strings.Cut(below, "\n\n")
			for _, found := range regexp.MustCompile(listed).FindAllStringSubmatch(below, -1) {
				verbs = append(verbs, append(slices.Clone(verb), found[1]))
			}
		}
	}
}

func TestUsageErrorsNameTheFlagAndWhatIsAllowed(t *testing.T) {
	for args, want := range map[string]string{
		"paint":                      `unknown command "paint"`,
		"scor":                       `unknown command "scor" for "f2pad": did you mean score?`,
		"fit --method flow":          `"flow" for "--method" flag: must be padim, patchcore or cflow`,
		"fit --data d --out m":       `required flag(s) "method" not set`,
		"fit --method padim --out m": `[data images] is required`,
		"fit --method padim --out m --data d --images i":                                `[data images] were all set`,
		"fit --method padim --out m --data d --size 31":                                 `"--size" flag: must be native or PX or HxW (height x width), pixels from 32 to 4096`,
		"fit --method padim --out m --data d --size 64x":                                `"--size" flag: must be native or PX or HxW`,
		"fit --method padim --out m --data d --size 64x64x64":                           `"--size" flag: must be native or PX or HxW`,
		"fit --method padim --out m --data d --executor tpu":                            `"--executor" flag: must be auto, go or ort`,
		"fit --method padim --out m --data d --executor go --device cuda:0":             `with --device cpu: --device cuda:0 runs them itself`,
		"fit --method padim --out m --data d --precision float16 --device cpu":          `--precision float16 is for a GPU's networks`,
		"fit --method padim --out m --data d --precision float16 --executor ort":        `--precision float16 is for a GPU's networks`,
		"fit --method padim --out m --data d --ort-provider tpu":                        `"--ort-provider" flag: must be cpu, cuda or tensorrt`,
		"fit --method padim --out m --data d --backbone vgg":                            `--backbone must be scatter, efficientnet-lite0, efficientnet-lite1, efficientnet-lite2 or a file FILE.onnx`,
		"fit --method padim --out m --data d --backbone a.onnx":                         `--backbone a.onnx needs --layers: f2pad inspect a.onnx lists them`,
		"fit --method padim --out m --data d --backbone efficientnet-lite0 --std 1,1,1": `of --backbone efficientnet-lite0 it is known`,
		"demo --backbone vgg": `"--backbone" flag: must be scatter, efficientnet-lite0, efficientnet-lite1 or efficientnet-lite2`,
		"backbones list":      `unknown command "list"`,
		"backbones add vgg":   `accepts 2 arg(s), received 1`,
		"fit --method padim --out m --data d --layers layer1":             `for ONNX files, not for --backbone scatter`,
		"fit --method padim --out m --data d --mean 0,0,0":                `for ONNX files, not for --backbone scatter`,
		"fit --method padim --out m --data d --std 1,0,1":                 `"--std" flag: must be a number or three, R,G,B, above 0`,
		"fit --method padim --out m --data d --range 2":                   `"--range" flag: must be 1 or 255`,
		"fit --method padim --out m --data d --channels grb":              `"--channels" flag: must be rgb or bgr`,
		"fit --method padim --out m --data d --profile best":              `"--profile" flag: must be f2pad, paper, anomalib or compact`,
		"fit --method padim --out m --data d --size native --keep-aspect": `--keep-aspect needs --size PX`,
		"fit --method padim --out m --data d --white-level 100":           `"--white-level" flag: must be auto or a whole number from 255 to 65535`,
		"fit --method padim --out m --data d --seed -1":                   `"--seed" flag`,
		"fit --method padim --out m --data d extra":                       `unknown command "extra"`,
		"fit --method padim --out m --data d --image-fpr 0":               `"--image-fpr" flag: must be a share from 0.0001 to 0.5 (0.05 is 5 %)`,
		"fit --method padim --out m --data d --pixel-fpr 1":               `"--pixel-fpr" flag: must be a share from 0.000001 to 0.5 (0.05 is 5 %)`,
		"calibrate m":                                                     `required flag(s) "images" not set`,
		"calibrate --images d":                                            `accepts 1 arg(s)`,
		"calibrate m --images d --image-fpr 5%":                           `"--image-fpr" flag: must be a share`,
		"score --model m --out d --min-area 5 x.png":                      `--pixel-threshold, --close, --fill and --min-area need a map`,
		"score --model m --out d --pixel-threshold 5 --refine none x.png": `need a map`,
		"score --model m --out d --labels --masks x.png":                  `--labels are on --overlays`,
		"score --model m --out d --threshold NaN x.png":                   `"--threshold" flag: must be a number`,
		"synth --out d --texture silk":                                    `"--texture" flag: must be weave, wood or grain`,
		"synth --out d --train 0":                                         `"--train" flag: must be a whole number from 1 to 1000000`,
		"synth --out d --size 1e3":                                        `"--size" flag: must be a whole number from 32 to 8192`,
		"score --model m --out d":                                         `requires at least 1 arg`,
		"score --out d x.png":                                             `required flag(s) "model" not set`,
		"score --model m --out d --refine base x.png":                     `"--refine" flag: must be none, residual or f2pad`,
		"score --model m --out d --batch -1 x.png":                        `"--batch" flag: must be a whole number from 0 to 1024`,
		"score --model m --out d --device tpu x.png":                      `"--device" flag: must be auto, cpu, cuda for all GPUs, or cuda:N, of several cuda:N,cuda:N`,
		"score --model m --out d --device cuda:0+cuda:1 x.png":            `"--device" flag: must be auto, cpu`,
		"score --model m --out d --device cuda:1,cuda:01 x.png":           `"--device" flag: names cuda:1 twice`,
		"score --model m --out d --device cuda:1,cpu x.png":               `"--device" flag: names cpu beside GPUs`,
		"score --model m --out d --device cuda:1,cuda x.png":              `"--device" flag: names cuda beside GPUs`,
		"score --model m --out d --device cuda --executor go x.png":       `with --device cpu: --device cuda runs them itself`,
		"eval --model m --data d --refine f2pad,base":                     `"--refine" flag: must be a comma-separated list of none, residual, f2pad`,
		"eval --model m --data d --limit -3":                              `"--limit" flag`,
		"inspect":                                                         `accepts 1 arg(s)`,
	} {
		r := f2pad(t, strings.Fields(args)...)
		require.Equal(t, exitUsage, r.code, args)
		require.Contains(t, r.err, want, args)
		require.Contains(t, r.err, "--help", args)
		require.Empty(t, r.out, args)
	}
	all := messages(t, f2pad(t, "--json", "fit", "--size", "x").out)
	require.Equal(t, []string{"exit_error"}, types(all))
	require.EqualValues(t, exitUsage, all[0]["code"])
}

func TestFailuresExitWithTheReason(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	file, image := filepath.Join(data(), "synth.json"), filepath.Join(data(), "train", "good", "000.png")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"fit", "--data", filepath.Join(dir, "none"), "--method", "padim", "--out", filepath.Join(dir, "m")}, "none"},
		{[]string{"fit", "--data", data(), "--method", "padim", "--out", filepath.Join(file, "no", "m")}, file},
		{[]string{"fit", "--data", data(), "--method", "padim", "--out", filepath.Join(dir, strings.Repeat("m", 256))}, "name too long"},
		{[]string{"fit", "--images", filepath.Join(data(), "train", "good"), "--method", "padim", "--out", image}, "one of the images to learn from"},
		{[]string{"fit", "--data", data(), "--method", "padim", "--out", dir}, "not a regular file"},
		{[]string{"fit", "--images", dir, "--method", "padim", "--out", filepath.Join(dir, "m")}, "no images"},
		{[]string{"eval", "--data", dir, "--model", model()}, dir},
		{[]string{"eval", "--data", data(), "--model", model(), "--report", filepath.Join(file, "r.html")}, file},
		{[]string{"eval", "--data", data(), "--model", model(), "--sheet", filepath.Join(file, "s.png")}, file},
		{[]string{"score", "--model", model(), "--out", filepath.Join(file, "out"), data()}, file},
		{[]string{"synth", "--out", filepath.Join(file, "out")}, file},
		{[]string{"inspect", filepath.Join(data(), "synth.json")}, "not a model file"},
		{[]string{"synth", "--out", filepath.Join(data(), "synth.json")}, "synth.json"},
	} {
		r := f2pad(t, c.args...)
		require.Equal(t, exitFailure, r.code, c.args)
		require.Contains(t, r.err, c.want, c.args)
	}
}

func TestBrokenModelIsRefusedByTheNameOfItsPart(t *testing.T) {
	setup(t)
	good, err := os.ReadFile(model())
	require.NoError(t, err)
	var sections []section
	all := messages(t, f2pad(t, "inspect", "--json", model()).out)
	remarshal(t, all[0]["sections"], &sections)
	require.NotEmpty(t, sections)
	bad := filepath.Join(t.TempDir(), "bad")
	for _, c := range []struct {
		what string
		data []byte
		part string
	}{
		{"truncated", good[:len(good)/2], "truncated"},
		{"last section broken", flip(good, len(good)-100), sections[len(sections)-1].Name},
		{"trailer broken", flip(good, len(good)-1), "hash"},
		{"header broken", flip(good, 9), "version"},
	} {
		require.NoError(t, os.WriteFile(bad, c.data, 0o666))
		for _, args := range [][]string{
			{"inspect", bad}, {"score", "--model", bad, "--out", t.TempDir(), data()}, {"eval", "--model", bad, "--data", data()},
		} {
			r := f2pad(t, args...)
			require.Equal(t, exitFailure, r.code, c.what)
			require.Contains(t, r.err, bad, c.what)
			require.Contains(t, strings.ToLower(r.err), strings.ToLower(c.part), c.what)
		}
	}
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 0x40
	return b
}

func remarshal(t *testing.T, from, to any) {
	t.Helper()
	b, err := json.Marshal(from)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, to))
}

func TestVersionNamesTheBuild(t *testing.T) {
	all := messages(t, f2pad(t, "version", "--json").out)
	require.Equal(t, []string{"version"}, types(all))
	require.ElementsMatch(t, []string{"message_type", "version", "go", "os", "arch"}, keys(all[0]))
	v := all[0]["version"].(string)
	require.NotEmpty(t, v)
	require.Equal(t, "f2pad "+v+"\n", f2pad(t, "--version").out)
	require.True(t, strings.HasPrefix(f2pad(t, "version").out, "f2pad "+v+" (go"))
}

func TestFitSaysWhatItLearned(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	images := filepath.Join(dir, "images")
	require.NoError(t, os.CopyFS(images, os.DirFS(filepath.Join(data(), "train", "good"))))
	require.NoError(t, os.WriteFile(filepath.Join(images, "bad.png"), []byte("no image"), 0o666))
	out := filepath.Join(dir, "m")
	r := f2pad(t, "fit", "--images", images, "--method", "patchcore", "--profile", "anomalib", "--size", "48", "--seed", "3", "--out", out, "--json")
	require.Equal(t, exitPartial, r.code, r.out)
	require.Empty(t, r.err)
	all := messages(t, r.out)
	require.Equal(t, []string{"executor", "device", "error", "model"}, types(all))
	last := all[len(all)-1]
	require.Equal(t, out, last["path"])
	info := last["info"].(map[string]any)
	require.Equal(t, "patchcore", info["method"])
	require.Equal(t, "anomalib", info["profile"])
	require.Equal(t, map[string]any{"px": 48.0, "wide": 0.0, "keep_aspect": false}, info["size"])
	require.EqualValues(t, 3, info["seed"])
	require.EqualValues(t, 8, info["train_images"].(float64)+info["held_out_images"].(float64), "the bad image is left out")

	text := f2pad(t, "inspect", out)
	require.Equal(t, exitOK, text.code)
	for _, want := range []string{last["sha256"].(string), "patchcore, profile anomalib", "size 48, seed 3", "sections", "refinement {"} {
		require.Contains(t, text.out, want)
	}
}

func TestAFlowGoesThroughEveryVerb(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "m")
	r := f2pad(t, "fit", "--data", data(), "--method", "cflow", "--size", "48", "--seed", "3", "--out", out, "--json")
	require.Equal(t, exitOK, r.code, r.out)
	all := messages(t, r.out)
	require.Contains(t, types(all), "training")
	last := all[len(all)-1]
	require.Equal(t, "compact", last["info"].(map[string]any)["profile"])
	require.EqualValues(t, 6, last["state"].(map[string]any)["blocks"])
	for _, m := range all {
		if m["message_type"] == "training" {
			require.ElementsMatch(t, []string{"message_type", "step", "steps", "loss", "seconds_left"}, keys(m))
		}
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "unfinished work goes with the end")
	require.Contains(t, f2pad(t, "inspect", out).out, "cflow, profile compact")
	r = f2pad(t, "score", "--model", out, "--out", filepath.Join(dir, "results"), "--maps", "--masks", filepath.Join(data(), "test"), "--json")
	require.Equal(t, exitOK, r.code, r.out)
	r = f2pad(t, "eval", "--data", data(), "--model", out, "--limit", "1", "--json")
	require.Equal(t, exitOK, r.code, r.out)
}

func TestFitIsReproducible(t *testing.T) {
	setup(t)
	again := filepath.Join(t.TempDir(), "again")
	require.Equal(t, exitOK, f2pad(t, "fit", "--data", data(), "--method", "padim", "--size", "native", "--out", again).code)
	a, err := os.ReadFile(model())
	require.NoError(t, err)
	b, err := os.ReadFile(again)
	require.NoError(t, err)
	require.True(t, bytes.Equal(a, b))
}

func TestEvalEndsWithTheSummary(t *testing.T) {
	setup(t)
	page := filepath.Join(t.TempDir(), "report.html")
	sheet := filepath.Join(t.TempDir(), "sheet.png")
	r := f2pad(t, "eval", "--data", data(), "--model", model(), "--limit", "1", "--spread", "--report", page, "--sheet", sheet, "--json")
	require.Equal(t, exitOK, r.code, r.out)
	all := messages(t, r.out)
	require.Equal(t, []string{"executor", "device", "table", "summary"}, types(all))
	last := all[len(all)-1]
	require.Equal(t, page, last["report"])
	require.Equal(t, sheet, last["sheet"])
	var have []string
	for _, row := range last["rows"].([]any) {
		row := row.(map[string]any)
		have = append(have, fmt.Sprint(row["category"], " ", row["map"]))
		require.ElementsMatch(t, []string{
			"category", "map", "images", "image_auroc", "pixel_auroc", "pixel_ap", "aupro", "dice_oracle", "iou_oracle",
			"dice_labelfree", "iou_labelfree", "boundary_f", "seconds_per_image",
			"defective", "with_mask", "worse", "pixel_ap_over_base", "pixel_ap_over_residual",
		}, keys(row))
		require.Positive(t, row["seconds_per_image"])
	}
	var want []string
	for _, category := range []string{"hole", "scratch", "stain", "structural", "all"} {
		for _, kind := range []string{"base", "residual", "f2pad"} {
			want = append(want, category+" "+kind)
		}
	}
	require.Equal(t, want, have)

	im, err := imageio.Decode(sheet, imageio.Limits{})
	require.NoError(t, err)
	require.Greater(t, im.Pix.Shape()[1], 4*64, "four defects' rows")

	html, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(html), "data:image/")
	require.NotRegexp(t, `(src|href)="(https?:)?//`, string(html), "the report needs nothing else")
}

func TestEvalShowsATableOfTheMapsAskedFor(t *testing.T) {
	setup(t)
	r := f2pad(t, "eval", "--data", data(), "--model", model(), "--refine", "residual,none")
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^all +base +5 `, r.out)
	require.Regexp(t, `(?m)^ +residual +5 `, r.out)
	require.NotContains(t, r.out, "f2pad ")
	require.Contains(t, r.err, "score: 5/5")
}

func TestEvalGoesOnWithoutABrokenImage(t *testing.T) {
	setup(t)
	broken := filepath.Join(t.TempDir(), "broken")
	require.NoError(t, os.CopyFS(broken, os.DirFS(data())))
	hole := filepath.Join(broken, "test", "hole", "000.png")
	require.NoError(t, os.WriteFile(hole, nil, 0o666))
	r := f2pad(t, "eval", "--data", broken, "--model", model(), "--refine", "none", "--json")
	require.Equal(t, exitPartial, r.code, r.out)
	all := messages(t, r.out)
	require.Equal(t, []string{"executor", "device", "error", "summary"}, types(all))
	last := all[len(all)-1]
	require.EqualValues(t, 1, last["failed"])
	rows := last["rows"].([]any)
	require.EqualValues(t, 4, rows[len(rows)-1].(map[string]any)["images"])
}

func TestDemoMakesFitsAndEvaluates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	for range 2 { // again into the same folder
		var out bytes.Buffer
		p := &program{out: &out, err: &out, json: true, device: cpuDevice, executorName: goExecutor} // the same on every machine
		p.ui = p.newUI()
		o := synth.Options{Texture: "weave", Train: 8, Test: 5, Size: 64}
		require.NoError(t, p.demonstrate(t.Context(), dir, "scatter", o))
		all := messages(t, out.String())
		require.Equal(t, []string{"dataset", "executor", "device", "model", "table", "summary"}, types(all))
		require.Len(t, all[len(all)-1]["rows"], 15, "3 maps of 4 defects and all")
		require.FileExists(t, filepath.Join(dir, "report.html"))
	}
}

func TestExitCodes(t *testing.T) {
	for err, want := range map[error]int{
		nil:                                      exitOK,
		errPartial:                               exitPartial,
		errors.New("disk full"):                  exitFailure,
		context.Canceled:                         exitCancelled,
		fmt.Errorf("at 3: %w", context.Canceled): exitCancelled,
	} {
		require.Equal(t, want, exitCode(err), fmt.Sprint(err))
	}
}
