package json

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"f2pad.example/cmd/f2pad/ui"

	"github.com/stretchr/testify/require"
)

type item struct {
	Image string  `json:"image"`
	Score float64 `json:"score"`
}

func (item) MessageType() string  { return "item" }
func (item) Text(io.Writer) error { return errors.New("not for programs") }

type empty struct{}

func (empty) MessageType() string  { return "done" }
func (empty) Text(io.Writer) error { return nil }

type list []int

func (list) MessageType() string  { return "list" }
func (list) Text(io.Writer) error { return nil }

func TestEveryMessageIsOneObjectOnOneLine(t *testing.T) {
	var out bytes.Buffer
	u := New(&out)
	u.meter = ui.Meter{Every: every, Now: func() time.Time { return time.Unix(0, 0) }}
	u.Progress(ui.Progress{Phase: "score", Done: 1, Total: 1})
	u.Failed("a.png", errors.New("a.png: empty\nfile"))
	u.Failed("b\xff.png", errors.New("empty"))
	u.Warn("careful")
	require.NoError(t, u.Show(item{"b \"c\".png", 0.25}))
	require.NoError(t, u.Show(empty{}))
	u.Error(errors.New("disk full"), 1)
	u.Close()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Equal(t, []string{
		`{"message_type":"progress","phase":"score","done":1,"total":1,"seconds_elapsed":0,"seconds_remaining":null,"rate":null}`,
		`{"message_type":"error","image":"a.png","error":"a.png: empty\nfile"}`,
		"{\"message_type\":\"error\",\"image\":\"b\uFFFD.png\",\"image_base64\":\"Yv8ucG5n\",\"error\":\"empty\"}",
		`{"message_type":"warning","warning":"careful"}`,
		`{"message_type":"item","image":"b \"c\".png","score":0.25}`,
		`{"message_type":"done"}`,
		`{"message_type":"exit_error","error":"disk full","code":1}`,
	}, lines)
	for _, line := range lines {
		require.True(t, json.Valid([]byte(line)), line)
	}
}

func TestShowRefusesWhatIsNoObject(t *testing.T) {
	var out bytes.Buffer
	u := New(&out)
	require.ErrorIs(t, u.Show(list{1}), errNotObject)
	require.Error(t, u.Show(item{Score: math.NaN()}))
	require.Zero(t, out.Len(), "nothing half-written")
}
