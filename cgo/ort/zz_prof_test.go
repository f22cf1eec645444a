//go:build cgo

package ort

import (
	"os"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	ort "github.com/yalue/onnxruntime_go"
)

func TestProfile(t *testing.T) {
	name := os.Getenv("PROF")
	if name == "" { t.Skip() }
	g, _ := newResnet(t, name, 256)
	e, err := Open(Options{})
	require.NoError(t, err)
	nn, err := e.Compile(g, true)
	require.NoError(t, err)
	n := nn.(*net)
	require.NoError(t, n.grow(1, 1))
	settings, err := e.settings(1)
	require.NoError(t, err)
	for i, s := range n.steps() {
		if s.host != nil { continue }
		os.WriteFile(fmt.Sprintf("/tmp/ort/%s-%d.onnx", name, i), s.model, 0o666)
		require.NoError(t, settings.EnableProfiling(fmt.Sprintf("/tmp/ort/prof-%s-%d", name, i)))
		sess, err := ort.NewDynamicAdvancedSessionWithONNXData(s.model, names(s.in), names(s.out), settings)
		require.NoError(t, err)
		for range 40 { require.NoError(t, sess.Run(n.slots[0].in[s], n.slots[0].out[s])) }
		require.NoError(t, sess.Destroy())
	}
}
