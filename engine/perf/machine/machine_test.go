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

func put(t *testing.T, text string, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o777))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o666))
}

func TestClocks(t *testing.T) {
	dir := t.TempDir()
	cpuinfo := filepath.Join(dir, "cpuinfo")
	require.Nil(t, clocks(dir, cpuinfo), "another system")
	put(t, "processor : 0\n", cpuinfo)
	require.Nil(t, clocks(dir, cpuinfo), "Arm does not tell there")
	put(t, "cpu MHz\t\t: 2100.5\n\ncpu MHz\t\t: 1800\n", cpuinfo)
	require.Equal(t, &Clocks{1800, 2100.5, "cpuinfo"}, clocks(dir, cpuinfo))
	put(t, "3500000\n", dir, "cpu0", "cpufreq", "scaling_cur_freq")
	put(t, "1200000\n", dir, "cpu11", "cpufreq", "scaling_cur_freq")
	put(t, "<unknown>\n", dir, "cpu12", "cpufreq", "scaling_cur_freq")
	require.Equal(t, &Clocks{1200, 3500, "cpufreq"}, clocks(dir, cpuinfo))
}

// Two packages add up, parts of them do not, and a counter that began anew goes on.
func TestEnergy(t *testing.T) {
	dir := t.TempDir()
	require.Nil(t, openEnergy(dir))
	_, ok := (*Energy)(nil).Joules()
	require.False(t, ok)
	for zone, uj := range map[string]string{"intel-rapl:0": "1000000", "intel-rapl:1": "99000000", "intel-rapl:0:0": "5"} {
		put(t, uj+"\n", dir, zone, "energy_uj")
		put(t, "100000000\n", dir, zone, "max_energy_range_uj")
	}
	e := openEnergy(dir)
	require.NotNil(t, e)
	put(t, "3000000\n", dir, "intel-rapl:0", "energy_uj")
	put(t, "7000000\n", dir, "intel-rapl:0:0", "energy_uj")
	j, ok := e.Joules()
	require.True(t, ok)
	require.InDelta(t, 2, j, 1e-9)
	put(t, "4000000\n", dir, "intel-rapl:1", "energy_uj")
	j, _ = e.Joules()
	require.InDelta(t, 2+5, j, 1e-9)
	require.NoError(t, os.Remove(filepath.Join(dir, "intel-rapl:1", "energy_uj")))
	_, ok = e.Joules()
	require.False(t, ok)
}
