//go:build !amd64

package peak

const (
	unit    = ""
	perLoop = 0
)

func spin(int) {}
