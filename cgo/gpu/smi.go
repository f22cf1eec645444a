package gpu

import (
	"os/exec"
	"strings"
)

// SMI is what nvidia-smi says of a GPU at the moment: driver, clocks, power and temperature, in a line; "" without it.
func SMI(uuid string) string {
	const fields = "driver_version,clocks.sm,clocks.mem,power.draw,temperature.gpu"
	text, err := exec.Command("nvidia-smi", "--id="+uuid, "--query-gpu="+fields, "--format=csv,noheader").Output()
	if err != nil {
		return ""
	}
	return "driver " + strings.TrimSpace(string(text))
}
