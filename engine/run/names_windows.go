package run

import "golang.org/x/sys/windows"

// nameFaults are errors of the system, beside those that all have, that say that a name is at fault.
var nameFaults = []error{
	windows.ERROR_INVALID_NAME, windows.ERROR_FILENAME_EXCED_RANGE, windows.ERROR_PATH_NOT_FOUND, windows.ERROR_DIRECTORY,
	windows.ERROR_BAD_PATHNAME,
}
