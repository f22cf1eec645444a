//go:build !windows

package run

// nameFaults are errors of the system, beside those that all have, that say that a name is at fault.
var nameFaults []error
