//go:build cgo

package ort

import (
	"fmt"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
)

// loaded is the library in this process: its interface is global, so there is one, which stays.
var loaded struct {
	sync.Mutex
	library, version string
}

// Look loads the library as Open would and says how that went. It takes Options.Library.
func Look(library string) Status {
	found, version, err := load(library)
	if err != nil {
		return Status{Library: found, Reason: err.Error()}
	}
	return Status{Loaded: true, Library: found, Version: version}
}

// load loads the library unless it is there, and returns what was taken for it.
func load(library string) (found, version string, err error) {
	found, err = find(library)
	if err != nil {
		return found, "", fmt.Errorf("%w: %w", ErrNoLibrary, err)
	}
	loaded.Lock()
	defer loaded.Unlock()
	switch loaded.library {
	case found:
		return found, loaded.version, nil
	case "":
	default:
		return found, "", fmt.Errorf("%w: %s: the process uses %s, and there can be one only", ErrNoLibrary, found, loaded.library)
	}
	ort.SetSharedLibraryPath(found)
	// Whatever goes wrong is returned as an error: nothing is printed.
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return found, "", fmt.Errorf("%w: %s: %w (version %s or later is needed)", ErrNoLibrary, found, err, Version)
	}
	if err := ort.DisableTelemetry(); err != nil {
		return found, "", fmt.Errorf("%w: %s: %w", ErrNoLibrary, found, err)
	}
	loaded.library, loaded.version = found, ort.GetVersion()
	return found, loaded.version, nil
}
