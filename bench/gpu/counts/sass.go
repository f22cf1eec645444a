package main

import (
	"fmt"
	"regexp"
	"strings"
)

// hotLoop is a kernel's loop that does the work.
type hotLoop struct {
	instructions int
	operations   int    // among them, of kind
	kind         string // HMMA, IMMA (tensor cores), DFMA or FFMA
}

// each is how many instructions there are to an operation.
func (l hotLoop) each() float64 { return float64(l.instructions) / float64(l.operations) }

var (
	functionLine    = regexp.MustCompile(`^\s*\.text\.(\w+):`)
	labelLine       = regexp.MustCompile(`^\s*(\.L_\w+):`)
	instructionLine = regexp.MustCompile(`^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)([^;]*);`)
	branchTarget    = regexp.MustCompile("`\\((\\.L_\\w+)\\)")
)

// parseSASS reads what nvdisasm -c says of a cubin: for each kernel the loop without a loop in it that has the most operations of the
// tensor cores or, where none has any, of multiply-adds. A kernel without one is not there.
func parseSASS(text string) (map[string]hotLoop, error) {
	type function struct {
		code   []string // mnemonics
		labels map[string]int
		loops  [][2]int // first and last instruction
	}
	var f *function
	functions := map[string]*function{}
	for line := range strings.Lines(text) {
		if m := functionLine.FindStringSubmatch(line); m != nil {
			f = &function{labels: map[string]int{}}
			functions[m[1]] = f
			continue
		}
		if f == nil {
			continue
		}
		if m := labelLine.FindStringSubmatch(line); m != nil {
			f.labels[m[1]] = len(f.code)
			continue
		}
		m := instructionLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if m[1] == "BRA" {
			if to := branchTarget.FindStringSubmatch(m[2]); to != nil {
				if first, back := f.labels[to[1]]; back {
					f.loops = append(f.loops, [2]int{first, len(f.code)})
				}
			}
		}
		f.code = append(f.code, m[1])
	}
	if len(functions) == 0 {
		return nil, fmt.Errorf("nvdisasm: it shows no kernel: %.200q", text)
	}
	all := map[string]hotLoop{}
	for name, f := range functions {
		for _, kinds := range []string{"HMMA", "IMMA", "DFMA", "FFMA"} {
			count := func(l [2]int) (n int) {
				for _, c := range f.code[l[0] : l[1]+1] {
					if c == kinds {
						n++
					}
				}
				return n
			}
			var best hotLoop
			for _, l := range f.loops {
				inner := false
				for _, m := range f.loops {
					inner = inner || m != l && m[0] >= l[0] && m[1] <= l[1] && count(m) > 0
				}
				if n := count(l); !inner && n*max(best.instructions, 1) > best.operations*(l[1]-l[0]+1) {
					best = hotLoop{l[1] - l[0] + 1, n, kinds}
				}
			}
			if best.operations > 0 {
				all[name] = best
				break
			}
		}
	}
	return all, nil
}
