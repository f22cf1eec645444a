package sieve

import "golang.org/x/sys/unix"

// tilesAllowed asks Linux for the state of AMX's tiles, which a process has only if it asked (arch_prctl,
// ARCH_REQ_XCOMP_PERM of XFEATURE_XTILEDATA).
func tilesAllowed() bool {
	const request, tileData = 0x1023, 18
	_, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, request, tileData, 0)
	return errno == 0
}
