package backbone

import (
	"context"
	"runtime"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

var (
	// float32Tolerance is for sums of some hundred float32 products, in logarithms: a few units of rounding (6e-8) each.
	float32Tolerance = compare.Tolerance{Abs: 2e-6, Rel: 1e-6}
	// flatTolerance is for the deviation of a flat image: what rounding leaves of a difference of squares up to 0.36,
	// about 4e-8, beside the floor of 1e-6.
	flatTolerance = compare.Tolerance{Abs: 2e-3}
)

func TestScatterInFloat32(t *testing.T) {
	for _, c := range []struct {
		name string
		grey bool
		img  *tensor.Dense
		tol  compare.Tolerance
	}{
		{"colour", false, testImage(40, 48, false), float32Tolerance},
		{"grey", true, testImage(40, 48, true), float32Tolerance},
		{"flat", false, each(32, 28, func(c, y, x int) float32 { return 0.93 }), flatTolerance},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &Scatter{grey: c.grey}
			g, err := s.build(c.img.Shape()[1], c.img.Shape()[2], false)
			require.NoError(t, err)
			net, err := goexec.New().Compile(g, false)
			require.NoError(t, err)
			defer net.Close()
			want := channels(t, s, c.img)
			got := nd.New(want.Shape...)
			in := []*tensor.Dense{s.Normalize(c.img).apply(c.img)}
			require.NoError(t, net.Forward(context.Background(), in, []*tensor.Dense{got}))
			compare.Require(t, "channels", nd.Data(got), want.Data, c.tol)
		})
	}
}

func TestScatterFitGivesTheSameBytes(t *testing.T) {
	run := func(procs int) []byte {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		s := NewScatter()
		imgs := images(testImage(24, 28, false), testImage(64, 48, false), testImage(24, 28, true))
		require.NoError(t, s.Fit(context.Background(), goexec.New(), imgs, 0))
		return save(t, s)
	}
	require.Equal(t, run(1), run(3))
}
