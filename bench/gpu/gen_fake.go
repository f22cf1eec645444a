//go:build ignore

// gen_fake builds the fake driver, and prints its path for F2PAD_LIBCUDA.
package main

import (
	"fmt"
	"os"

	"f2pad.example/cgo/fakecuda"
)

func main() {
	path, err := fakecuda.Build()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(path)
}
