package gpu

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
)

// entry is what PTX declares of a kernel.
type entry struct {
	params     int
	maxThreads int // 0: not declared
}

var comment = regexp.MustCompile(`//[^\n]*|(?s:/\*.*?\*/)`)

// entries finds the kernels of a PTX text: each ".entry name(", its parameters up to ")", and the directives before "{".
func entries(ptx []byte) (map[string]entry, error) {
	all := map[string]entry{}
	for rest := comment.ReplaceAll(ptx, nil); ; {
		_, after, found := bytes.Cut(rest, []byte(".entry "))
		if !found {
			return all, nil
		}
		head, body, found := bytes.Cut(after, []byte("{"))
		if !found {
			return nil, fmt.Errorf("PTX: an .entry without a body")
		}
		rest = body
		name, declared, found := bytes.Cut(head, []byte("("))
		params, directives, closed := bytes.Cut(declared, []byte(")"))
		if !found { // a kernel without parameters may leave the brackets out
			name, directives, _ = bytes.Cut(bytes.TrimSpace(head), []byte("\n"))
		} else if !closed {
			return nil, fmt.Errorf("PTX: .entry %s: parameters without an end", bytes.TrimSpace(name))
		}
		e := entry{params: bytes.Count(params, []byte(".param"))}
		if _, limit, found := bytes.Cut(directives, []byte(".maxntid")); found {
			e.maxThreads = 1
			line, _, _ := bytes.Cut(limit, []byte("\n"))
			for _, n := range bytes.Split(line, []byte(",")) {
				v, err := strconv.Atoi(string(bytes.TrimSpace(n)))
				if err != nil {
					return nil, fmt.Errorf("PTX: .entry %s: .maxntid%s", name, line)
				}
				e.maxThreads *= v
			}
		}
		all[string(bytes.TrimSpace(name))] = e
	}
}
