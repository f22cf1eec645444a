// Package fnv is the FNV-1a hash of strings, which hash/fnv computes of bytes, with an allocation for each.
package fnv

// Of is the 64-bit hash of a string.
func Of(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}
