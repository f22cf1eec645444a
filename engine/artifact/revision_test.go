package artifact

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// knobs are options of revision 3: "gain" came with 2, and with 3 "mode".
type knobs struct {
	Revision int     `json:"revision"`
	Size     int     `json:"size"`
	Gain     float64 `json:"gain"`
	Mode     string  `json:"mode"`
}

func knobsOf(revision int) *knobs {
	k := &knobs{Gain: 1, Mode: "fast"}
	if revision < 3 {
		k.Mode = "slow"
	}
	return k
}

func TestOptionsOfEveryRevision(t *testing.T) {
	const known = 3
	huge := strings.Repeat("9", 500)
	for _, c := range []struct {
		text string
		want knobs
		err  string
		is   error
	}{
		{text: `{"size":4}`, want: knobs{0, 4, 1, "slow"}},
		{text: `{"revision":1,"size":4}`, want: knobs{1, 4, 1, "slow"}},
		{text: `{"size":4,"gain":0,"revision":2}`, want: knobs{2, 4, 0, "slow"}},
		{text: `{"revision":3,"size":4}`, want: knobs{3, 4, 1, "fast"}},
		{text: `{"revision":3,"mode":"off"}`, want: knobs{3, 0, 1, "off"}},
		{text: `{"revision":2,"speed":1}`, err: `json: unknown field "speed"`, is: ErrCorrupt},
		{text: `{"speed":1,"size":"x","revision":4}`, err: `made by a newer f2pad (revision 4, this program knows up to 3)`, is: ErrNewer},
		{text: `{"revision":9223372036854775807}`, err: `(revision 9223372036854775807, this`, is: ErrNewer},
		{text: `{"revision":` + huge + `}`, err: `newer f2pad (revision 99999999999999999999, this program`, is: ErrNewer},
		{text: `{"revision":0}`, err: `revision 0, want 1 to 3`, is: ErrCorrupt},
		{text: `{"revision":-1}`, err: `revision -1, want 1 to 3`, is: ErrCorrupt},
		{text: `{"revision":-` + huge + `}`, err: `revision -9999999999999999999, want 1 to 3`, is: ErrCorrupt},
		{text: `{"revision":1e9}`, err: `revision 1e9, want 1 to 3`, is: ErrCorrupt},
		{text: `{"revision":2.5}`, err: `revision 2.5, want 1 to 3`, is: ErrCorrupt},
		{text: `{"revision":"2"}`, err: `revision "2", want 1 to 3`, is: ErrCorrupt},
		{text: `{"revision":null}`, err: `revision null, want 1 to 3`, is: ErrCorrupt},
		{text: `[2]`, err: `json: cannot unmarshal array`, is: ErrCorrupt},
	} {
		w := NewWriter()
		require.NoError(t, w.JSON("knobs", json.RawMessage(c.text)))
		data := encode(t, w)
		f, err := Read(bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		var got *knobs
		err = f.Options("knobs", known, func(revision int) any {
			got = knobsOf(revision)
			return got
		})
		if c.is != nil {
			require.ErrorIs(t, err, c.is, c.text)
			require.ErrorContains(t, err, `section "knobs": `, c.text)
			require.ErrorContains(t, err, c.err, c.text)
			continue
		}
		require.NoError(t, err, c.text)
		require.Equal(t, c.want, *got, c.text)
	}
}

func TestOptionsAreLeftAtTheirRevision(t *testing.T) {
	require.NoError(t, DecodeOptions([]byte(`{"revision":2,"anything":[]}`), 3, func(revision int) any {
		require.Equal(t, 2, revision)
		return nil
	}))
}
