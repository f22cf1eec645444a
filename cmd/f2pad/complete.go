package main

import (
	"fmt"
	"strings"
	"unicode"

	"f2pad.example/cgo/cuda"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// complete has shells offer what the flags and arguments of a command, and of those below it, take. A flag says so itself: by its
// type, where that is a choice (auto|go|ort), or by the word that stands for its value in the help.
func (p *program) complete(cmd *cobra.Command) {
	flags := func(f *pflag.Flag) {
		if err := cmd.RegisterFlagCompletionFunc(f.Name, p.values(f)); err != nil {
			panic(err) // it is not the command's, or has one: the program is wrong
		}
	}
	cmd.LocalNonPersistentFlags().VisitAll(flags)
	cmd.PersistentFlags().VisitAll(flags)
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, verb := range cmd.Commands() {
		p.complete(verb)
	}
}

// values returns what offers a flag's values.
func (p *program) values(f *pflag.Flag) cobra.CompletionFunc {
	switch f.Value.(type) {
	case deviceName:
		return devices
	case kinds:
		return listed(refineNames)
	}
	switch name, _ := pflag.UnquoteUsage(f); {
	case strings.Contains(name, "|"):
		return cobra.FixedCompletions(words(name), cobra.ShellCompDirectiveNoFileComp)
	case name == "MODEL":
		return modelFiles
	case name == "DIR":
		return folders
	case name == "NAME": // of a network, or a file with one
		return cobra.FixedCompletions(p.knownBackbones(), cobra.ShellCompDirectiveDefault)
	case name == "FILE" && f.Name == "backbone":
		return cobra.FixedCompletions([]string{"onnx"}, cobra.ShellCompDirectiveFilterFileExt)
	case name == "FILE", name == "string":
		return anyFile
	}
	return cobra.NoFileCompletions
}

var (
	anyFile    = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	folders    = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
	modelFiles = cobra.FixedCompletions([]string{"f2pad"}, cobra.ShellCompDirectiveFilterFileExt)
)

// words are those of a flag's type that are values; what is spelled with capitals stands for one.
func words(of string) (values []string) {
	for _, word := range strings.Split(of, "|") {
		if !strings.ContainsFunc(word, unicode.IsUpper) {
			values = append(values, word)
		}
	}
	return values
}

// listed offers the next word of a comma-separated list.
func listed(words []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, begun string) (values []cobra.Completion, _ cobra.ShellCompDirective) {
		before := begun[:strings.LastIndexByte(begun, ',')+1]
		for _, word := range words {
			if !strings.Contains(","+before, ","+word+",") {
				values = append(values, before+word)
			}
		}
		return values, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// devices offers the values of --device, with the GPUs that are there; behind a comma those that are not named yet.
func devices(_ *cobra.Command, _ []string, begun string) (values []cobra.Completion, _ cobra.ShellCompDirective) {
	before := begun[:strings.LastIndexByte(begun, ',')+1]
	if before == "" {
		values = []cobra.Completion{autoDevice, cpuDevice}
	}
	gpus := cuda.Look().Devices
	if before == "" && len(gpus) > 0 {
		values = append(values, cobra.CompletionWithDesc(allDevices, "all GPUs"))
	}
	for _, g := range gpus {
		if name := fmt.Sprintf("%s%d", cudaDevice, g.Ordinal); !strings.Contains(","+before, ","+name+",") {
			values = append(values, cobra.CompletionWithDesc(before+name, g.Name))
		}
	}
	return values, cobra.ShellCompDirectiveNoFileComp
}

// positions offers for each of a command's arguments what is its own, and for more nothing.
func positions(each ...cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(each) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return each[len(args)](cmd, args, begun)
	}
}
