package devicetest

import "testing"

// The plain device passes, so the suite asks for nothing that is not so.
func TestNaive(t *testing.T) { Test(t, &Naive{}, 1) }
