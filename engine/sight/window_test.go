package sight

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func inside(r, within Rect) bool {
	return r.Y0 >= within.Y0 && r.X0 >= within.X0 && r.Y1 <= within.Y1 && r.X1 <= within.X1 && r.H() > 0 && r.W() > 0
}

// requireSound checks what every plan of windows owes: windows lie on the grid and on the lattice, hold what they own with
// its margin, and own no cell twice.
func requireSound(t *testing.T, wins []Window, l layout) []int {
	t.Helper()
	grid := Rect{0, 0, l.h, l.w}
	owners := make([]int, l.h*l.w)
	for _, win := range wins {
		require.True(t, inside(win.In, grid), "%+v", win)
		require.True(t, inside(win.Own.grow(l.margin, grid), win.In), "%+v misses its margin", win)
		require.Zero(t, win.In.Y0%l.lattice)
		require.Zero(t, win.In.X0%l.lattice)
		require.True(t, win.In.Y1%l.lattice == 0 || win.In.Y1 == l.h, "%+v", win)
		require.True(t, win.In.X1%l.lattice == 0 || win.In.X1 == l.w, "%+v", win)
		for i := win.Own.Y0; i < win.Own.Y1; i++ {
			for j := win.Own.X0; j < win.Own.X1; j++ {
				owners[i*l.w+j]++
			}
		}
	}
	for v, n := range owners {
		require.LessOrEqual(t, n, 1, "cell %d", v)
	}
	return owners
}

func TestTilesOwnEveryCellOnce(t *testing.T) {
	for _, c := range []layout{
		{1, 1, 3, 8, 100}, {10, 10, 3, 8, 100}, {10, 11, 3, 8, 100}, {64, 100, 9, 8, 1024}, {37, 301, 12, 4, 2500}, {200, 3, 5, 8, 300},
		{90, 90, 12, 8, 1}, {90, 90, 12, 2, 1}, {90, 80, 1 << 30, 8, 1000},
	} {
		wins := c.tiles()
		for v, n := range requireSound(t, wins, c) {
			require.Equal(t, 1, n, "%+v: cell %d", c, v)
		}
		if c.h*c.w <= c.limit || c.margin > 90 {
			require.Len(t, wins, 1)
			continue
		}
		for _, win := range wins {
			if win.Own.H() > c.lattice || win.Own.W() > c.lattice {
				require.LessOrEqual(t, win.In.Area(), c.limit, "%+v", c)
			}
		}
	}
}

func TestCoveringHoldsEveryWantedCell(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 60 {
		h, w := 1+r.IntN(120), 1+r.IntN(120)
		l := layout{h, w, r.IntN(12), 1 << r.IntN(4), 2000}
		where := make([]bool, h*w)
		for range r.IntN(6) {
			y, x := r.IntN(h), r.IntN(w)
			for i := y; i < min(h, y+1+r.IntN(9)); i++ {
				for j := x; j < min(w, x+1+r.IntN(9)); j++ {
					where[i*w+j] = true
				}
			}
		}
		owners := requireSound(t, l.covering(where), l)
		for v, on := range where {
			if on {
				require.Equal(t, 1, owners[v])
			}
		}
	}
}

// What is asked for is owned once, with all that its scores depend on around it, and never by windows that are more than whole images.
// An image has the same windows in any company.
func TestPlansOfWhatIsAskedFor(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for range 40 {
		h, w, N := 20+r.IntN(80), 20+r.IntN(80), 1+r.IntN(4)
		ws := Windows{margin: r.IntN(12), Embedding: 2, context: 1, lattice: 4, limit: 1 << 20}
		where := make([]bool, N*h*w)
		for range r.IntN(3 << r.IntN(5)) {
			n, y, x := r.IntN(N), r.IntN(h), r.IntN(w)
			for i := y; i < min(h, y+1+r.IntN(9)); i++ {
				for j := x; j < min(w, x+1+r.IntN(9)); j++ {
					where[(n*h+i)*w+j] = true
				}
			}
		}
		plan := ws.Asked(where, N, h, w)
		for n := range N {
			mine := where[n*h*w:][:h*w]
			wins, cells := windowsOf(plan, n), 0
			for _, win := range wins {
				cells += win.In.Area()
			}
			require.LessOrEqual(t, cells, h*w)
			for v, owners := range requireSound(t, wins, layout{h: h, w: w, margin: ws.margin + ws.Embedding, lattice: ws.lattice}) {
				require.True(t, owners == 1 || !mine[v])
			}
			require.Equal(t, windowsOf(ws.Asked(mine, 1, h, w), 0), wins)
		}
	}
}

func windowsOf(p *Plan, image int) (wins []Window) {
	for _, at := range p.Places[image] {
		wins = append(wins, p.Jobs[at.Job][at.At].Window)
	}
	return wins
}

func TestCoveringStaysSmall(t *testing.T) {
	const h, w = 200, 200
	where := make([]bool, h*w)
	l := layout{h, w, 10, 8, 1 << 20}
	require.Empty(t, l.covering(where))
	where[5*w+5], where[190*w+190] = true, true
	wins := l.covering(where)
	require.Len(t, wins, 2, "cells far apart")
	for _, win := range wins {
		require.LessOrEqual(t, win.In.Area(), 32*32)
	}
	where[12*w+12] = true
	require.Len(t, l.covering(where), 2, "neighbours share a window")
	l.margin = 1 << 30
	require.Equal(t, []Rect{l.all()}, []Rect{l.covering(where)[0].In}, "a network that sees everything")
}
