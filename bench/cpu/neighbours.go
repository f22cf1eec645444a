package main

import (
	"context"
	"fmt"

	"f2pad.example/engine/method/patchcore"
	"f2pad.example/engine/nd"

	"golang.org/x/sys/cpu"
)

// distanceLimit bounds the relative error of squared distances: faiss takes them from products in float32, which cancel.
const distanceLimit = 1e-5

// indexLimit is the share of queries whose neighbours may differ: only where two members are as near as float32 can tell.
const indexLimit = 1e-3

// byGraph is the peer's way that may miss neighbours.
const byGraph = "faiss, graph"

func neighbours() []job {
	const images, cells = 8, 784
	var all []job
	for _, c := range []struct {
		d     int
		banks []int
	}{{176, []int{4_000, 20_000, 100_000}}, {384, []int{10_000, 20_000}}, {1536, []int{10_000, 20_000}}} {
		for _, rows := range c.banks {
			all = append(all, job{
				name: fmt.Sprintf("nearest neighbours, %d of %d values, bank of %d", images*cells, c.d, rows),
				slow: c.d > 384 || rows > 10_000,
				do: func(m *meter, r *row) error {
					bank, q := nd.Data(normal(1, 1, rows, c.d)), nd.Data(normal(2, 1, images*cells, c.d))
					return m.nearest(r, c.d, bank, q, false)
				},
			})
		}
	}
	for _, set := range realSets {
		for _, c := range []struct {
			embed int
			d     string
			banks []int
		}{{0, "176", []int{4_000, 20_000, 100_000}}, {1024, "1024", []int{4_000, 20_000}}} {
			for _, rows := range c.banks {
				all = append(all, job{
					name: fmt.Sprintf("nearest neighbours, %s's %s values of %s, bank of %d", lite, c.d, set, rows),
					slow: true,
					do: func(m *meter, r *row) error {
						p, err := m.patches(set, c.embed, c.banks[len(c.banks)-1])
						if err != nil {
							return err
						}
						bank, how, err := p.bank(rows)
						if err != nil {
							return err
						}
						r.Notes = append(r.Notes, how)
						return m.nearest(r, p.d, bank, p.queries, true)
					},
				})
			}
		}
	}
	return all
}

// kernelsWide are OpenBLAS' kernels for processors with AVX-512, which the one that comes with faiss does not choose
// itself on all of them.
const kernelsWide = "SkylakeX"

// nearest measures the search for q [,d] in bank [,d], in multiply-adds of float32 whatever is done; with approximate also
// beside a graph, of which the answers are not compared but counted.
func (m *meter) nearest(r *row, d int, bank, q []float32, approximate bool) (err error) {
	rows, queries := len(bank)/d, len(q)/d
	r.Work = 2 * float64(d) * float64(rows) * float64(queries)
	b, err := patchcore.NewBank(bank, d)
	if err != nil {
		return err
	}
	winner, dist := make([]int32, queries), make([]float64, queries)
	search := func() error { return b.Nearest(context.Background(), q, winner, dist, nil) }
	if err := search(); err != nil {
		return err
	}
	r.Notes = append(r.Notes, fmt.Sprintf("ours measured the distance of %.2g of the pairs by itself", patchcore.Measured(b, q)))
	want := make([]float32, queries)
	for i, v := range dist {
		want[i] = float32(v)
	}
	params := map[string]any{"dim": d, "bank": rows, "queries": queries}
	if params["bank_file"], err = m.file("bank", bank); err != nil {
		return err
	}
	if params["query_file"], err = m.file("query", q); err != nil {
		return err
	}
	ways := []way{{name: "f2pad", ours: "go", note: "PatchCore's bank on the CPU: exact, as if each distance were measured in float64", run: timed(search)}}
	for _, k := range []string{kernelsAuto, kernelsWide} {
		if k == kernelsWide && (!cpu.X86.HasAVX512F || len(ways) == 1) { // without faiss once is enough to say so
			break
		}
		params["graph"] = approximate && k == kernelsAuto
		o, err := m.open(r, k, "knn", params)
		if err != nil {
			return err
		}
		for _, name := range o.names() {
			got, err := o.result(name)
			if err != nil {
				return err
			}
			if len(got) != 2*queries {
				return fmt.Errorf("%s: %d values, want %d", name, len(got), 2*queries)
			}
			w := o.way(name)
			if k != kernelsAuto {
				w.name += ", told OPENBLAS_CORETYPE=" + k
			}
			other := 0
			for i, j := range got[queries:] {
				if int32(j) != winner[i] {
					other++
				}
			}
			if name == byGraph {
				r.Notes = append(r.Notes, fmt.Sprintf("%s: finds the nearest of %.4f of the queries", name, 1-float64(other)/float64(queries)))
				ways = append(ways, w)
				continue
			}
			if err := r.check(w.name+": squared distances", got[:queries], want, distanceLimit); err != nil {
				return err
			}
			if share := float64(other) / float64(queries); share > indexLimit {
				return fmt.Errorf("%s: another neighbour for %.2g of the queries", w.name, share)
			}
			r.Checked = append(r.Checked, fmt.Sprintf("%s: %d of %d neighbours differ", w.name, other, queries))
			ways = append(ways, w)
		}
	}
	return m.race(r, ways...)
}
