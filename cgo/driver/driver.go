// Package driver lets a program use the NVIDIA driver without being linked to it. Built with the tag cuda and with cgo, it
// defines the functions of the driver API that gorgonia.org/cu and package gpu link to, and forwards them to libcuda.so.1,
// which it opens when the first of them is called: so the program starts anywhere. Where the linker finds none it looks where
// containers and Windows put it: /usr/local/nvidia/lib64, /usr/lib/wsl/lib. The environment variable F2PAD_LIBCUDA names another
// library to open in its place.
//
// Whoever imports cu must import this package, too, and be built with the flags of cuda.mk. No CUDA toolkit is needed, and an
// installed one is not looked at: include/cuda.h is the project's own.
package driver

// State says whether there is a driver to work with.
type State struct {
	// Loaded: a driver was opened, and it initialised itself. It may still have no device that is good enough.
	Loaded bool `json:"loaded"`
	// Path of the library that was opened, even if it turned out not to work.
	Path string `json:"path,omitempty"`
	// Version of CUDA that the driver supports, such as "12.4", if a library was opened.
	Version string `json:"version,omitempty"`
	// Reason in words why no driver is loaded; empty if one is.
	Reason string `json:"reason,omitempty"`
}
