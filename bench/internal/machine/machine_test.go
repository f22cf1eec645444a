package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProcessor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cpuinfo")
	text := "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: other\n"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	require.Equal(t, "AMD EPYC (family 25, model 17)", processor(path))
	require.NoError(t, os.WriteFile(path, []byte("model name: Arm"), 0o644))
	require.Equal(t, "Arm", processor(path))
	require.Equal(t, "processor unknown", processor(path+"x"))
	require.NotContains(t, strings.TrimSpace(Load()), " ")
}
