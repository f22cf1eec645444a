package report

import (
	"testing"

	"f2pad.example/engine/metric"

	"github.com/stretchr/testify/require"
)

func TestTextTable(t *testing.T) {
	rows := []metric.Row{row("größe", "base", 0.25), row("größe", "residual", 0.5), row("größe", "f2pad", 0.75),
		row("all", "base", 0.5)}
	rows[1].Worse, rows[2].Worse = 0.125, metric.Undefined()
	table := `category map              n imgAUC  pixAUC      AP   AUPRO    Dice     IoU  DiceLF   IoULF    bndF  worse  s/image

größe    base             7  0.900   0.800   0.250   0.125   0.250   0.143       -   0.100   0.750*          0.500
         residual         7  0.900   0.800   0.500   0.250   0.500   0.333       -   0.100   0.500  0.125    0.750
         f2pad            7  0.900   0.800   0.750*  0.375*  0.750*  0.600*      -   0.100   0.250      -    1.000
         f2pad − base       ±0.000  ±0.000  +0.500  +0.250  +0.500  +0.457       -  ±0.000  −0.500          +0.500
         f2pad − residual   ±0.000  ±0.000  +0.250  +0.125  +0.250  +0.267       -  ±0.000  −0.250          +0.250

all      base             7  0.900   0.800   0.500   0.250   0.500   0.333       -   0.100   0.500           0.750
`
	require.Equal(t, table, NewTable(rows).Text())

	rows[2].OverBase, rows[2].OverControl = &metric.Interval{Low: 0.4, High: 0.6}, &metric.Interval{Low: -0.01, High: 0.5}
	rows[1].OverBase = &metric.Interval{Low: 0.0001, High: 0.3}
	require.Equal(t, table+`
pixel AP: differences and their 95 % intervals over resamples of the images

größe f2pad − base     +0.500 +0.400 to +0.600
      f2pad − residual +0.250 −0.010 to +0.500
      residual − base  +0.250 ±0.000 to +0.300
`, NewTable(rows).Text())
}

func TestBestMarksWhatIsShownAsBest(t *testing.T) {
	na := metric.Undefined()
	for _, c := range []struct {
		values []metric.Value
		want   string
	}{
		{[]metric.Value{0.1, 0.2, 0.3}, "--*"},
		{[]metric.Value{0.3, 0.2, 0.3}, "*-*"},
		{[]metric.Value{0.1, 0.20001, 0.20002}, "-**"}, // equal as shown
		{[]metric.Value{0.2, 0.20001, 0.20002}, "---"}, // all equal as shown
		{[]metric.Value{na, 0.2, 0.1}, "-*-"},
		{[]metric.Value{na, 0.2}, "--"}, // nothing to be better than
		{[]metric.Value{na, na}, "--"},
	} {
		var rows []metric.Row
		for _, v := range c.values {
			rows = append(rows, metric.Row{PixelAP: v})
		}
		got := ""
		for _, l := range NewTable(rows).Groups[0].Lines {
			got += map[bool]string{true: "*", false: "-"}[l.Cells[2].Best]
		}
		require.Equal(t, c.want, got, "%v", c.values)
	}
}

func TestDifferences(t *testing.T) {
	for v, want := range map[metric.Value]Cell{
		0.25: {Text: "+0.250", Sign: 1}, -0.25: {Text: "−0.250", Sign: -1}, 0: {Text: "±0.000"},
		0.0004: {Text: "±0.000"}, -0.0004: {Text: "±0.000"}, 0.0006: {Text: "+0.001", Sign: 1},
	} {
		require.Equal(t, want, difference(v))
	}
	require.Equal(t, Cell{Text: "-"}, difference(metric.Undefined()))
}

func TestDifferencesNeedBothMaps(t *testing.T) {
	names := func(maps ...string) (out []string) {
		var rows []metric.Row
		for _, m := range maps {
			rows = append(rows, row("all", m, 0.5))
		}
		for _, l := range NewTable(rows).Groups[0].Lines {
			out = append(out, l.Name)
		}
		return out
	}
	require.Equal(t, []string{"base", "residual"}, names("base", "residual"))
	require.Equal(t, []string{"base", "f2pad", "f2pad − base"}, names("base", "f2pad"))
	require.Equal(t, []string{"residual", "f2pad", "f2pad − residual"}, names("residual", "f2pad"))
}

func TestChoose(t *testing.T) {
	na := metric.Undefined()
	for _, c := range []struct {
		gains []metric.Value
		each  int
		want  []Choice
	}{
		{nil, 1, nil},
		{[]metric.Value{na, na}, 1, nil},
		{[]metric.Value{1, 2}, 0, nil},
		{[]metric.Value{1, 2}, -1, nil},
		{[]metric.Value{na, 0.1}, 1, []Choice{{1, LargestGain}}},
		{[]metric.Value{-0.1}, 1, []Choice{{0, SmallestLoss}}},
		{[]metric.Value{0.0004, -0.0004}, 1, []Choice{{0, NoChange}, {1, NoChange}}}, // as shown
		{[]metric.Value{0.1, 0.2}, 1, []Choice{{1, LargestGain}, {0, SmallestGain}}},
		{[]metric.Value{-0.1, -0.2}, 1, []Choice{{0, SmallestLoss}, {1, LargestLoss}}},
		{[]metric.Value{0.2, -0.5, na, 0.1}, 1, []Choice{{0, LargestGain}, {3, Median}, {1, LargestLoss}}},
		{[]metric.Value{5, 4, 3, 2, 1}, 1, []Choice{{0, LargestGain}, {2, Median}, {4, SmallestGain}}},
		{[]metric.Value{0, 0, 0}, 1, []Choice{{0, NoChange}, {1, Median}, {2, NoChange}}},
		{[]metric.Value{1, -2, -3}, 2, []Choice{{0, LargestGain}, {1, SmallestLoss}, {2, LargestLoss}}},
		{[]metric.Value{1, 2, 3, 4, -5}, 2,
			[]Choice{{3, LargestGain}, {2, LargestGain}, {1, Median}, {0, SmallestGain}, {4, LargestLoss}}},
		{[]metric.Value{-1, -2, -3, -4, -5, 6, 7, 8, 9, 10}, 2, []Choice{{9, LargestGain}, {8, LargestGain}, {5, Median},
			{0, Median}, {3, LargestLoss}, {4, LargestLoss}}},
	} {
		require.Equal(t, c.want, Choose(c.gains, c.each), "%v, %d each", c.gains, c.each)
	}
}

func TestChooseByAP(t *testing.T) {
	require.Equal(t, []Choice{{1, HighestAP}, {0, Median}, {3, LowestAP}}, ChooseByAP([]metric.Value{0.5, 0.9, metric.Undefined(), 0.1}, 1))
	require.Empty(t, ChooseByAP(nil, 2))
}
