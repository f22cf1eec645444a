//go:build !linux

package sieve

func tilesAllowed() bool { return false }
