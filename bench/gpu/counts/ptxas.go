package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// assembled is what ptxas says of a kernel for an architecture.
type assembled struct {
	kernel           string
	registers        int // of a thread
	stack            int // bytes of a thread
	stores, loads    int // bytes that are spilled
	shared, barriers int // static bytes of a block; named barriers
}

var (
	entryLine  = regexp.MustCompile(`Compiling entry function '([^']+)' for '(sm_\w+)'`)
	spillLine  = regexp.MustCompile(`(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads`)
	usedLine   = regexp.MustCompile(`Used (\d+) registers`)
	sharedPart = regexp.MustCompile(`(\d+) bytes smem`)
	barrier    = regexp.MustCompile(`used (\d+) barriers`)
)

// parsePTXAS reads what ptxas -v says on standard error.
func parsePTXAS(text string) ([]assembled, error) {
	var all []assembled
	said := 0 // of the last kernel: 1 of its stack, 2 of its registers, 3 of both
	complete := func() error {
		if len(all) > 0 && said != 3 {
			return fmt.Errorf("ptxas: it says too little of %s", all[len(all)-1].kernel)
		}
		said = 0
		return nil
	}
	number := func(s string) int { n, _ := strconv.Atoi(s); return n } // of digits
	for line := range strings.Lines(text) {
		if m := entryLine.FindStringSubmatch(line); m != nil {
			if err := complete(); err != nil {
				return nil, err
			}
			all = append(all, assembled{kernel: m[1]})
			continue
		}
		if len(all) == 0 {
			continue
		}
		a := &all[len(all)-1]
		if m := spillLine.FindStringSubmatch(line); m != nil {
			a.stack, a.stores, a.loads = number(m[1]), number(m[2]), number(m[3])
			said |= 1
		}
		if m := usedLine.FindStringSubmatch(line); m != nil {
			a.registers = number(m[1])
			said |= 2
			if m := sharedPart.FindStringSubmatch(line); m != nil {
				a.shared = number(m[1])
			}
			if m := barrier.FindStringSubmatch(line); m != nil {
				a.barriers = number(m[1])
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("ptxas: it says nothing of a kernel: %.200q", text)
	}
	return all, complete()
}

// multiprocessor is what one has, for all blocks that are on it at once.
type multiprocessor struct {
	arch                                string
	registers, threads, blocks          int
	shared, reserved                    int // bytes; reserved of them for each block beside what it asks for
	registerUnit, warpUnit, sharedGrain int // registers are given to warps, in units, and to so many warps together
}

// By the CUDA programming guide's table of compute capabilities.
var multiprocessors = []multiprocessor{
	{"sm_80", 65536, 2048, 32, 164 << 10, 1 << 10, 256, 4, 128},
	{"sm_90", 65536, 2048, 32, 228 << 10, 1 << 10, 256, 4, 128},
}

// resident is how many blocks of so many threads, registers of each and bytes of shared memory are on a multiprocessor at once, and what
// there is no more of.
func (m multiprocessor) resident(threads, registers, shared int) (blocks int, limit string) {
	warps := (threads + 31) / 32
	roundUp := func(n, unit int) int { return (n + unit - 1) / unit * unit }
	blocks, limit = m.blocks, "blocks"
	lower := func(n int, what string) {
		if n < blocks {
			blocks, limit = n, what
		}
	}
	lower(m.threads/(32*warps), "threads")
	if registers > 0 {
		room := m.registers / roundUp(32*registers, m.registerUnit)
		lower(room/m.warpUnit*m.warpUnit/warps, "registers")
	}
	lower(m.shared/roundUp(shared+m.reserved, m.sharedGrain), "shared memory")
	return blocks, limit
}
