package gpu

import (
	"testing"

	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

func TestEntries(t *testing.T) {
	all, err := entries([]byte(`
.version 7.8
.extern .shared .align 128 .b8 f2SharedMemory[];
.visible .entry first(
	.param .u64 first_param_0,
	.param .u32 first_param_1
)
.maxntid 256, 1, 1                      // @first {
{ /* .entry
second( */
	ld.param.u32 	%r1, [first_param_1];
	{ // a block within
	.reg .b32 t;
	}
	ret;
}
// .entry none(
.visible .entry second(.param .f32 second_param_0)
.maxntid 32
.minnctapersm 2
{
	ret;
}
.visible .entry third()
{
	ret;
}
.visible .entry fourth
{
	ret;
}
`))
	require.NoError(t, err)
	require.Equal(t, map[string]entry{"first": {2, 256}, "second": {1, 32}, "third": {}, "fourth": {}}, all)

	for _, wrong := range []string{".entry x(.param .u32 a", ".entry x(.param .u32 a {", ".entry x()\n.maxntid many\n{"} {
		_, err := entries([]byte(wrong))
		require.ErrorContains(t, err, "PTX: ", wrong)
	}
}

// Every module's PTX declares kernels that say how many threads they are made for.
func TestEntriesOfKernels(t *testing.T) {
	require.NotEmpty(t, kernels.Modules())
	for _, m := range kernels.Modules() {
		ptx, err := kernels.PTX(m)
		require.NoError(t, err)
		all, err := entries(ptx)
		require.NoError(t, err)
		require.NotEmpty(t, all, m)
		for name, e := range all {
			require.Positive(t, e.params, name)
			require.Positive(t, e.maxThreads, name)
			require.Zero(t, e.maxThreads%32, name)
		}
	}
}
