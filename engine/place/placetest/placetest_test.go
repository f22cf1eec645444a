package placetest

import (
	"testing"

	"f2pad.example/engine/place"
)

func TestHost(t *testing.T) { Test(t, place.NewHost(nil), 1) }

func TestFaulty(t *testing.T) { Test(t, &Faulty{}, 2) }
