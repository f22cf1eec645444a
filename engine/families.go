package engine

import (
	"slices"

	"f2pad.example/engine/method"
	"f2pad.example/engine/method/cflow"
	"f2pad.example/engine/method/padim"
	"f2pad.example/engine/method/patchcore"
)

// families lists the detectors: what a method is called and which profiles it has is said in its package, and nowhere else.
func families() []method.Family {
	return []method.Family{padim.Family(), patchcore.Family(), cflow.Family()}
}

// family finds a detector by its name.
func family(name string) (method.Family, error) {
	all := families()
	if i := slices.IndexFunc(all, func(f method.Family) bool { return f.Name == name }); i >= 0 {
		return all[i], nil
	}
	return method.Family{}, oneOf("method", name, Methods())
}

// Methods lists the detectors that Fit knows.
func Methods() (names []string) {
	for _, f := range families() {
		names = append(names, f.Name)
	}
	return names
}

// Profiles lists the named sets of options of the methods given, or of all; a method's default comes first.
func Profiles(methods ...string) (names []string) {
	for _, f := range families() {
		for _, p := range f.Profiles {
			if (len(methods) == 0 || slices.Contains(methods, f.Name)) && !slices.Contains(names, p) {
				names = append(names, p)
			}
		}
	}
	return names
}
