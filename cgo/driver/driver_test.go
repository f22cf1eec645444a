package driver_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"f2pad.example/cgo/driver"
)

// With the tag and without: a reason if and only if there is no driver, and it survives JSON.
func TestStatusGivesAReason(t *testing.T) {
	s := driver.Status()
	require.Equal(t, s.Loaded, s.Reason == "", "%+v", s)
	b, err := json.Marshal(s)
	require.NoError(t, err)
	var back driver.State
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, s, back)
	require.Equal(t, s, driver.Status(), "asked again")
}
