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

// load loads the library unless it is there, and says which one it is. Errors are ErrNoLibrary.
func load(library string) (found, version string, err error) {
	if found, err = find(library); err != nil {
		return found, "", fmt.Errorf("%w: %w", ErrNoLibrary, err)
	}
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.library == "" {
		if err := initialize(found); err != nil {
			return found, "", fmt.Errorf("%w: %s: %w (version %s or later is needed)", ErrNoLibrary, found, err, Version)
		}
		loaded.library, loaded.version = found, ort.GetVersion()
	}
	if found != loaded.library {
		return found, "", fmt.Errorf("%w: %s: the process has loaded %s, and can have one only", ErrNoLibrary, found, loaded.library)
	}
	return found, loaded.version, nil
}

// initialize loads the library. It is not to print: what goes wrong comes back as an error.
func initialize(library string) error {
	ort.SetSharedLibraryPath(library)
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return err
	}
	return ort.DisableTelemetry()
}
