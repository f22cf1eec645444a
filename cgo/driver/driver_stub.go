//go:build !cuda || !cgo

package driver

// Status always says that the program was built without CUDA.
func Status() State {
	return State{
		Reason: "this program was built without CUDA: build it with make build on a machine with a C compiler",
	}
}
