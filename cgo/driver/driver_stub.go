//go:build !cuda || !cgo

package driver

// Status always says that the program was built without CUDA.
func Status() State {
	return State{
		Reason: "this program was built without CUDA: take the archive linux_amd64_cuda, or build it with make build on Linux with a C compiler",
	}
}
