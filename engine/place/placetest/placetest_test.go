package placetest

import (
	"testing"

	"f2pad.example/engine/place"
)

func TestHost(t *testing.T) { Test(t, place.NewHost(nil), 1, false) }

func TestFaulty(t *testing.T) { Test(t, &Faulty{}, 2, false) }
