package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"f2pad/cmd/f2pad/lock"
	"f2pad/engine"
	"f2pad/engine/artifact"
	"f2pad/engine/dataset"
	"f2pad/engine/device"
	"f2pad/engine/exec"
	"f2pad/engine/region"
)

// The files of a run in its folder.
const (
	runFile     = "run.json"           // what was asked for
	resultsFile = "results.jsonl"      // the results, once they are complete
	partFile    = "results.jsonl.part" // the results so far
	oldFile     = "results.jsonl.old"  // lines of earlier runs that the present one has not come to yet
	lockFile    = ".f2pad.lock"        // held by the program that writes to the folder
)

// runInfo is what decides a run's results beside its inputs. A run is only ever continued with the same.
type runInfo struct {
	Version  string `json:"version"`
	Model    string `json:"model_sha256"`
	Refine   string `json:"refine"`
	Maps     bool   `json:"maps"`
	Masks    bool   `json:"masks"`
	Overlays bool   `json:"overlays"`
	Labels   bool   `json:"labels"`
	// Thresholds in place of the model's; null: the model's.
	Threshold      *float64       `json:"threshold"`
	PixelThreshold *float64       `json:"pixel_threshold"`
	Regions        region.Options `json:"regions"`
	ROI            *string        `json:"roi"` // SHA-256 of its file; null: the model's
	Executor       exec.Info      `json:"executor"`
	Device         device.Info    `json:"device"` // that the run began with
}

// imageName is an image's path in a line. JSON holds no bytes that are not UTF-8: of a path with such bytes Image is what
// can be read of it, and Base64 the path itself.
type imageName struct {
	Image  string `json:"image"`
	Base64 []byte `json:"image_base64,omitempty"`
}

func nameImage(path string) imageName {
	if utf8.ValidString(path) {
		return imageName{Image: path}
	}
	return imageName{strings.ToValidUTF8(path, "\uFFFD"), []byte(path)}
}

func (n imageName) path() string {
	if len(n.Base64) > 0 {
		return string(n.Base64)
	}
	return n.Image
}

// fingerprint tells an image's content apart from what is at its path at another time.
type fingerprint struct {
	Bytes    int64  `json:"bytes"`
	Modified string `json:"modified"`
	SHA256   string `json:"sha256"`
}

func fingerprintOf(f engine.Fingerprint) fingerprint {
	return fingerprint{f.Bytes, timeOf(f.Modified), f.SHA256}
}

func timeOf(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// scored is the line of an image that was scored. Paths of outputs are relative to the run's folder.
type scored struct {
	imageName
	fingerprint
	ImageScore     float64         `json:"image_score"`
	Threshold      float64         `json:"threshold"`
	Anomalous      bool            `json:"anomalous"`
	Refined        bool            `json:"refined"`
	Device         string          `json:"device"`
	PixelThreshold *float64        `json:"pixel_threshold"`
	Regions        []region.Region `json:"regions"` // of the mask; nil where no map was made
	Map            *string         `json:"map"`
	Mask           *string         `json:"mask"`
	Overlay        *string         `json:"overlay"`
	Seconds        float64         `json:"seconds"`
}

// unscored is the line of an image that could not be scored.
type unscored struct {
	imageName
	Error string `json:"error"`
}

// claim is a line of oldFile only: what stood at these outputs is about to be overwritten with those of the image, so that
// no older line may be trusted that names them.
type claim struct {
	imageName
	Map     *string `json:"map,omitempty"`
	Mask    *string `json:"mask,omitempty"`
	Overlay *string `json:"overlay,omitempty"`
	Claim   bool    `json:"claim"`
}

// finished is what a run that is continued has to know of a line.
type finished struct {
	imageName
	fingerprint
	Error     string   `json:"error"`
	Score     *float64 `json:"image_score"`
	Anomalous bool     `json:"anomalous"`
	Map       string   `json:"map"`
	Mask      string   `json:"mask"`
	Overlay   string   `json:"overlay"`
	Claim     bool     `json:"claim"`
	raw       []byte   // the line itself
}

// outputs lists the files that the line names.
func (l *finished) outputs() (names []string) {
	for _, name := range []string{l.Map, l.Mask, l.Overlay} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// stem is the name that the line's outputs share, "" if it has none.
func (l *finished) stem() string {
	for _, name := range l.outputs() {
		_, name, _ = strings.Cut(name, "/")
		return strings.TrimSuffix(name, path.Ext(name))
	}
	return ""
}

// parseLine reads a line. What a dying process or a broken disk left is none, and neither is what leads out of the folder.
func parseLine(line []byte) (finished, bool) {
	l := finished{raw: line}
	if len(line) == 0 || line[len(line)-1] != '\n' || json.Unmarshal(line, &l) != nil || l.Image == "" {
		return l, false
	}
	if l.Error == "" && l.Score == nil && !l.Claim {
		return l, false
	}
	for _, name := range l.outputs() {
		folder, _, below := strings.Cut(name, "/")
		if !below || !filepath.IsLocal(filepath.FromSlash(name)) || !slices.Contains([]string{"maps", "masks", "overlays"}, folder) {
			return l, false
		}
	}
	return l, true
}

// known is a line of an earlier run.
type known struct {
	at    int64
	old   bool   // it is in oldFile; otherwise where the earlier run's results are
	image uint64 // hash of the image's path
	used  bool   // the present run has come to it
}

// journal holds a run's results, one line for each input, in the order of the inputs. They gather in partFile, which is
// renamed to resultsFile when all are there. A run that was ended, in whatever way, is continued: lines are kept that were
// made of the same content as the inputs have now and whose outputs are there. They stay where they are as long as they
// are those of the first inputs; the first input without such a line moves all that follow to oldFile, from where they
// are copied back when their turn comes.
//
// It is safe for one goroutine that finds lines and another one that adds them.
type journal struct {
	dir  string
	made bool // dir was made for this run
	held *lock.Lock
	run  runInfo
	warn func(string)

	mu    sync.Mutex
	main  *os.File // the lines of the run before; nil if there are none
	name  string   // of that file: partFile, or resultsFile if that run was complete
	lines *bufio.Reader
	at    int64 // end of the lines that are kept where they are
	good  int64 // end of the whole lines
	size  int64
	old   *os.File // nil: none is needed
	oldAt int64    // its end
	part  *os.File // where lines go; nil while they are kept where they are
	known map[uint64]*known
	stems map[uint64]uint64 // output name -> key in known of the line that it belongs to

	named    map[uint64]bool // images of the present run, if an earlier one left lines,
	written  map[uint64]bool // and the names of its outputs
	partial  bool            // some inputs failed or could not be listed: what is known of them stays known
	complete bool
	closed   bool // by a run that ended while its inputs were still read
	synced   time.Time
}

// openJournal starts or continues the run in the folder dir and locks it. With force, the results of earlier runs are
// thrown away. warn is told what had to be mended.
func openJournal(dir string, run runInfo, force bool, warn func(string)) (_ *journal, err error) {
	j := &journal{
		dir: dir, run: run, warn: warn, name: partFile, known: map[uint64]*known{}, stems: map[uint64]uint64{},
		named: map[uint64]bool{}, written: map[uint64]bool{},
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		j.made = true
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, wordy(err)
	}
	if j.held, err = lock.Take(j.path(lockFile)); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, wordy(err))
	}
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	if force {
		for _, name := range []string{resultsFile, partFile, oldFile, runFile} {
			if err := os.Remove(j.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, wordy(err)
			}
		}
	}
	if _, err := os.Stat(j.path(resultsFile)); err == nil {
		j.name = resultsFile
	}
	if j.main, err = reopen(j.path(j.name)); err != nil {
		return nil, wordy(err)
	}
	if j.old, err = reopen(j.path(oldFile)); err != nil {
		return nil, wordy(err)
	}
	if j.main == nil && j.old == nil {
		return j, nil
	}
	if err := j.checkRun(run); err != nil {
		return nil, err
	}
	return j, j.scan()
}

// reopen opens a file that may not be there.
func reopen(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// scan learns which lines earlier runs left.
func (j *journal) scan() error {
	unverified := 0
	note := func(l finished, at int64, old bool) {
		if l.Error == "" && !l.Claim && l.SHA256 == "" {
			unverified++
		}
		j.note(l, at, old)
	}
	if j.old != nil {
		var err error
		if j.oldAt, err = eachLine(j.old, func(l finished, ok bool, at int64) bool {
			if ok {
				note(l, at, true)
			}
			return true // what a crash left in it lies between good lines
		}); err != nil {
			return err
		}
		if err := j.old.Truncate(j.oldAt); err != nil {
			return err
		}
	}
	if j.main != nil {
		var err error
		if j.good, err = eachLine(j.main, func(l finished, ok bool, at int64) bool {
			ok = ok && !l.Claim
			if ok {
				note(l, at, false)
			}
			return ok
		}); err != nil {
			return err
		}
		info, err := j.main.Stat()
		if err != nil {
			return err
		}
		if j.size = info.Size(); j.size > j.good {
			j.warn(fmt.Sprintf("%s: the last %d bytes are broken and cut off; what they may have told is done again",
				j.path(j.name), j.size-j.good))
		}
		j.lines = bufio.NewReader(io.NewSectionReader(j.main, 0, j.good))
	}
	if unverified > 0 {
		j.warn(fmt.Sprintf("%s: %s of a version that did not record which content was scored: unverified, and scored again",
			j.dir, counted(unverified, "result")))
	}
	return nil
}

// eachLine calls visit for every line until it returns false, and returns the end of the last one for which it did not.
// ok says whether the line can be read.
func eachLine(f *os.File, visit func(l finished, ok bool, at int64) bool) (int64, error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, math.MaxInt64), 1<<16)
	at := int64(0)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return at, nil
		}
		if err != nil {
			return at, err
		}
		l, ok := parseLine(line)
		if !visit(l, ok, at) {
			return at, nil
		}
		at += int64(len(line))
	}
}

// note remembers a line; an older one is forgotten that it replaces, or that names the same outputs.
func (j *journal) note(l finished, at int64, old bool) {
	k, stem := key(l.path(), l.stem()), l.stem()
	if stem != "" {
		s := hash(strings.ToLower(stem))
		if owner, ok := j.stems[s]; ok {
			delete(j.known, owner)
		}
		j.stems[s] = k
	}
	if l.Error != "" || l.Claim {
		return
	}
	j.known[k] = &known{at: at, old: old, image: hash(l.path())}
}

// key is under which an image's line is known: the same image may be scored twice, into two outputs.
func key(image, stem string) uint64 { return hash(image + "\x00" + stem) }

// hash is FNV-1a. Lines found by it are compared with what was looked for.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

func (j *journal) path(name string) string { return filepath.Join(j.dir, filepath.FromSlash(name)) }

func (j *journal) writeRun(run runInfo) error {
	return artifact.WriteFileAtomic(j.path(runFile), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(run)
	})
}

// otherwise ends the message of an error that keeps a run from being continued.
const otherwise = "choose another --out, or --force to throw its results away"

// checkRun refuses to continue a run that asked for something else.
func (j *journal) checkRun(run runInfo) error {
	data, err := os.ReadFile(j.path(runFile))
	if err != nil {
		return fmt.Errorf("%s holds results of an unknown run (%w): %s", j.dir, err, otherwise)
	}
	var before, now map[string]any
	if err := json.Unmarshal(data, &before); err != nil {
		return fmt.Errorf("%s: %w: %s", j.path(runFile), err, otherwise)
	}
	if data, err = json.Marshal(run); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &now); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if !reflect.DeepEqual(before[key], now[key]) {
			return fmt.Errorf("%s holds results of another run (%s was %v, is %v): %s", j.dir, key, before[key], now[key], otherwise)
		}
	}
	return nil
}

// others refuses inputs that are not those of the earlier runs: none of which was theirs, or, unless some could not be
// listed, that leave out images that are still there. images are the hashes of their paths.
func (j *journal) others(images map[uint64]bool, unlisted bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.known) == 0 {
		return nil
	}
	shared := false
	for _, k := range j.known {
		shared = shared || images[k.image]
	}
	left, err := j.left(images)
	if err != nil {
		return err
	}
	switch {
	case len(left.there) > 0 && !unlisted:
		return fmt.Errorf("%s holds results of other inputs (%s, for one): %s", j.dir, left.there[0].path(), otherwise)
	case !shared && len(left.gone) > 0:
		return fmt.Errorf("%s holds results of other inputs (%s, for one, which is no longer there): %s", j.dir, left.gone[0].path(), otherwise)
	}
	return nil
}

// leftover is what earlier runs scored and the present one does not name.
type leftover struct {
	there []finished // the image is still there
	gone  []finished // it is not
	moved []finished // the image is named, but failed, or its outputs have other names
}

// left sorts the lines that the present run has not come to, in their order.
func (j *journal) left(images map[uint64]bool) (leftover, error) {
	var ks []*known
	for _, k := range j.known {
		if !k.used {
			ks = append(ks, k)
		}
	}
	slices.SortFunc(ks, func(a, b *known) int {
		if a.old != b.old {
			if a.old {
				return 1
			}
			return -1
		}
		return int(min(max(a.at-b.at, -1), 1))
	})
	var left leftover
	for _, k := range ks {
		l, err := j.readLine(k)
		if err != nil {
			return left, err
		}
		if images[k.image] {
			left.moved = append(left.moved, l)
		} else if _, err := os.Lstat(l.path()); errors.Is(err, fs.ErrNotExist) {
			left.gone = append(left.gone, l)
		} else {
			left.there = append(left.there, l)
		}
	}
	return left, nil
}

// readLine reads a line that is known.
func (j *journal) readLine(k *known) (finished, error) {
	f := j.main
	if k.old {
		f = j.old
	}
	line, err := bufio.NewReader(io.NewSectionReader(f, k.at, math.MaxInt64-k.at)).ReadBytes('\n')
	if err != nil {
		return finished{}, err
	}
	l, ok := parseLine(line)
	if !ok {
		return l, fmt.Errorf("%s: changed while it was read", f.Name())
	}
	return l, nil
}

// kept is a line of an earlier run that stands.
type kept struct {
	anomalous bool
	line      []byte // to be added in its turn; nil: it is where it belongs, or at known
	from      *known
}

// errClosed keeps what reads inputs from starting a run anew that has ended.
var errClosed = errors.New("the run has ended")

// keep returns the line of an earlier run for the next input if it still holds. After the first false, lines are added, in
// the order of the inputs: those that were kept by copy.
func (j *journal) keep(it dataset.Item) (kept, bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return kept{}, false, errClosed
	}
	stem := ""
	if it.ID != "" && (j.run.Maps || j.run.Masks || j.run.Overlays) {
		stem = dataset.OutputName(it.ID, "")
	}
	image := hash(it.Path)
	if len(j.known) > 0 {
		j.named[image] = true
		if stem != "" {
			j.written[hash(strings.ToLower(stem))] = true
		}
	}
	k := j.known[key(it.Path, stem)]
	if j.part == nil && it.ID != "" {
		if l, n, ok, err := j.next(it.Path, stem); err != nil {
			return kept{}, false, err
		} else if ok {
			j.at += int64(n)
			if k != nil {
				k.used = true
			}
			return kept{anomalous: l.Anomalous}, true, nil
		}
	}
	if j.part == nil {
		if err := j.startAdding(); err != nil {
			return kept{}, false, err
		}
	}
	if k == nil || it.ID == "" {
		return kept{}, false, nil
	}
	l, err := j.readLine(k)
	if err != nil {
		return kept{}, false, err
	}
	if l.path() != it.Path || l.stem() != stem {
		return kept{}, false, nil // two names of one hash
	}
	modified, ok := j.holds(l)
	if !ok {
		return kept{}, false, nil
	}
	k.used = true
	r := kept{from: k, anomalous: l.Anomalous}
	if modified != l.Modified {
		r.line, err = touched(l, modified)
	}
	return r, err == nil, err
}

// touched is a line with another time of its file, which was touched but not changed.
func touched(l finished, modified string) ([]byte, error) {
	var s scored
	if err := json.Unmarshal(l.raw, &s); err != nil {
		return nil, err
	}
	s.Modified = modified
	line, err := json.Marshal(s)
	return append(line, '\n'), err
}

// next reads the next of the lines that are kept where they are, if it is that of the image.
func (j *journal) next(image, stem string) (finished, int, bool, error) {
	if j.lines == nil {
		return finished{}, 0, false, nil
	}
	line, err := j.lines.ReadBytes('\n')
	if err == io.EOF {
		return finished{}, 0, false, nil
	}
	if err != nil {
		return finished{}, 0, false, err
	}
	l, ok := parseLine(line)
	if !ok || l.path() != image || l.stem() != stem {
		return l, 0, false, nil
	}
	modified, ok := j.holds(l)
	return l, len(line), ok && modified == l.Modified, nil
}

// holds reports whether a line still tells the truth: its image has the content that was scored, and its outputs are
// there. It returns the time at which the image was last modified.
func (j *journal) holds(l finished) (modified string, ok bool) {
	if l.SHA256 == "" || l.Score == nil {
		return "", false
	}
	wanted := 0
	for _, w := range []bool{j.run.Maps, j.run.Masks, j.run.Overlays} {
		if w {
			wanted++
		}
	}
	outputs := l.outputs()
	if len(outputs) != wanted {
		return "", false
	}
	for _, name := range outputs {
		if info, err := os.Stat(j.path(name)); err != nil || !info.Mode().IsRegular() {
			return "", false
		}
	}
	info, err := os.Stat(l.path())
	if err != nil || !info.Mode().IsRegular() || info.Size() != l.Bytes {
		return "", false
	}
	if modified = timeOf(info.ModTime()); modified == l.Modified {
		return modified, true
	}
	p, err := engine.TakeFingerprint(l.path())
	return timeOf(p.Modified), err == nil && p.SHA256 == l.SHA256
}

// startAdding opens partFile behind the lines that are kept where they are. Those that follow go to oldFile before they
// are cut off: whenever the process ends, every line is in one of the two.
func (j *journal) startAdding() error {
	if j.main == nil { // run.json stands before the first line
		if err := j.writeRun(j.run); err != nil {
			return err
		}
	}
	if j.good > j.at {
		if err := j.moveRest(); err != nil {
			return err
		}
	}
	if j.main != nil && j.name == resultsFile { // it is not complete for these inputs
		if err := closeAll(&j.main); err != nil { // not every system renames a file that is open
			return err
		}
		if err := os.Rename(j.path(resultsFile), j.path(partFile)); err != nil {
			return err
		}
		j.name = partFile
		var err error
		if j.main, err = reopen(j.path(partFile)); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(j.path(partFile), os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	if err := f.Truncate(j.at); err != nil {
		f.Close()
		return err
	}
	if _, err := f.Seek(j.at, io.SeekStart); err != nil {
		f.Close()
		return err
	}
	j.part, j.synced = f, time.Now()
	return nil
}

func (j *journal) moveRest() error {
	if j.old == nil {
		f, err := os.OpenFile(j.path(oldFile), os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return err
		}
		j.old = f
	}
	n, err := io.Copy(io.NewOffsetWriter(j.old, j.oldAt), io.NewSectionReader(j.main, j.at, j.good-j.at))
	if err != nil {
		return err
	}
	if err := j.old.Sync(); err != nil {
		return err
	}
	for _, k := range j.known {
		if !k.old && k.at >= j.at {
			k.at, k.old = k.at-j.at+j.oldAt, true
		}
	}
	j.oldAt += n
	return nil
}

// claim says that the outputs of an image are about to be written, where a line of an earlier run may name them.
func (j *journal) claim(image, stem string, c claim) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.stems[hash(strings.ToLower(stem))]; !ok || j.old == nil {
		return nil
	}
	c.imageName, c.Claim = nameImage(image), true
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	n, err := j.old.WriteAt(append(data, '\n'), j.oldAt)
	if err != nil {
		return err
	}
	j.oldAt += int64(n)
	return j.old.Sync()
}

// syncEvery is how much work may be lost when the machine, not only the process, dies.
const syncEvery = time.Second

// add writes the next input's line (scored or unscored). It is safe from the death of the process at once.
func (j *journal) add(line any) error {
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch l := line.(type) {
	case scored:
		f := finished{imageName: l.imageName, Map: deref(l.Map), Mask: deref(l.Mask), Overlay: deref(l.Overlay)}
		if k := j.known[key(f.path(), f.stem())]; k != nil {
			k.used = true
		}
	case unscored:
		j.partial = true
	}
	return j.write(append(data, '\n'))
}

// copy writes the line of the next input, which was kept.
func (j *journal) copy(k kept) error {
	if k.line == nil && k.from == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if k.line != nil {
		return j.write(k.line)
	}
	l, err := j.readLine(k.from)
	if err != nil {
		return err
	}
	return j.write(l.raw)
}

func (j *journal) write(line []byte) error {
	if _, err := j.part.Write(line); err != nil {
		return err
	}
	if time.Since(j.synced) < syncEvery {
		return nil
	}
	j.synced = time.Now()
	return j.part.Sync()
}

// finish says that the inputs are at their end: the results are complete. Lines of images that are gone are dropped, with
// their outputs. Images that are still there but are no inputs any more are an error: the run may have been given too
// few. Where inputs failed, what is known of them and of such images stays in oldFile for a run that has more luck.
func (j *journal) finish() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	left, err := j.left(j.named)
	if err != nil {
		return err
	}
	if len(left.there) > 0 && !j.partial {
		return fmt.Errorf("%s holds results of more inputs (%s, for one, which is still there): %s", j.dir, left.there[0].path(), otherwise)
	}
	if n := len(left.gone); n > 0 {
		j.warn(fmt.Sprintf("%s of an earlier run: gone, and dropped from the results (%s)", counted(n, "image"), some(left.gone)))
	}
	if j.part == nil && (j.name != resultsFile || j.main == nil || j.size > j.at) {
		if err := j.startAdding(); err != nil {
			return err
		}
	}
	dropped, stay := append(left.gone, left.moved...), []finished(nil)
	if j.partial {
		dropped, stay = left.gone, append(left.there, left.moved...)
	}
	for _, l := range dropped {
		if err := j.discard(l); err != nil {
			return err
		}
	}
	if len(stay) > 0 {
		if err := j.writeOld(stay); err != nil {
			return err
		}
	}
	if j.part != nil {
		if err := j.part.Sync(); err != nil {
			return err
		}
		if err := closeAll(&j.part, &j.main); err != nil {
			return err
		}
		if err := os.Rename(j.path(partFile), j.path(resultsFile)); err != nil {
			return err
		}
	}
	j.complete = true
	closeAll(&j.old)
	if len(stay) > 0 {
		return nil
	}
	if err := os.Remove(j.path(oldFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeOld leaves only these lines in oldFile, which would otherwise grow with every run.
func (j *journal) writeOld(lines []finished) error {
	closeAll(&j.old)
	return artifact.WriteFileAtomic(j.path(oldFile), func(w io.Writer) error {
		for _, l := range lines {
			if _, err := w.Write(l.raw); err != nil {
				return err
			}
		}
		return nil
	})
}

// some names the first images.
func some(lines []finished) string {
	var names []string
	for _, l := range lines[:min(3, len(lines))] {
		names = append(names, l.path())
	}
	if len(lines) > 3 {
		names = append(names, "...")
	}
	return strings.Join(names, ", ")
}

// discard removes the outputs of a line that is dropped, unless the present run has written them anew.
func (j *journal) discard(l finished) error {
	stem := hash(strings.ToLower(l.stem()))
	if j.written[stem] || j.stems[stem] != key(l.path(), l.stem()) {
		return nil
	}
	for _, name := range l.outputs() {
		if err := os.Remove(j.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		os.Remove(filepath.Dir(j.path(name))) // which fails as long as there is anything in it
	}
	return nil
}

// close leaves the run as it is, to be continued, and gives the folder free. A folder that was made for a run that wrote
// nothing is removed.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	wrote := j.part != nil || j.complete
	j.closed = true
	err := errors.Join(closeAll(&j.main, &j.old, &j.part), j.held.Release())
	j.held = nil
	if j.made && !wrote {
		os.Remove(j.dir)
	}
	return err
}

// closeAll closes files that are open.
func closeAll(files ...**os.File) error {
	var errs []error
	for _, f := range files {
		if *f != nil {
			errs = append(errs, (*f).Close())
			*f = nil
		}
	}
	return errors.Join(errs...)
}
