//go:build ignore

// gen_models makes a folder of this directory: a model of each method, base maps of hole.png and good.png, and golden.json,
// their hashes. A model is never made again, since its point is that later programs read it: a new revision of a model's
// options gets a folder of its own, made by the commit that brings it. The name of that commit is recorded as the program's. A
// method that is new joins the latest folder: models that are there are left alone.
//
//	go run gen_models.go FOLDER COMMIT
//
// On models that are there it adds the hashes of the kernels that run, which both of these have to, on amd64:
//
//	go run gen_models.go FOLDER
//	GODEBUG=cpu.avx2=off,cpu.avx512f=off go run gen_models.go FOLDER
package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"

	"f2pad.example/engine"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/synth"
)

// sizes are the models: PaDiM's is small where one Gaussian serves all locations.
var sizes = map[string]engine.Size{"padim": {}, "patchcore": {Px: 48}, "cflow": {Px: 48}}

var images = []dataset.Item{{Path: "good.png", ID: "good"}, {Path: "hole.png", ID: "hole"}}

// golden is what one image gives in one model.
type golden struct {
	Score float64           `json:"score"`
	Base  map[string]string `json:"base"` // SHA-256 of the base map's float32, little-endian, by kernels: "fused" or "portable"
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("which folder?")
	}
	ctx, dir := context.Background(), args[0]
	if len(args) > 1 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := fit(ctx, dir, args[1]); err != nil {
			return err
		}
	}
	all := map[string]map[string]golden{}
	text, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for method := range sizes {
		m, err := engine.Load(filepath.Join(dir, method+".f2pad"))
		if errors.Is(err, os.ErrNotExist) { // the method came later than the folder
			continue
		}
		if err != nil {
			return err
		}
		e, err := engine.New(m, engine.Options{Maps: []refine.Kind{refine.Base}})
		if err != nil {
			return err
		}
		if all[method] == nil {
			all[method] = map[string]golden{}
		}
		err = e.Score(ctx, slices.Values(images), func(r *engine.Result) error {
			if r.Err != nil {
				return r.Err
			}
			g, ok := all[method][r.Item.ID]
			base := r.Maps[refine.Base]
			if !ok {
				g = golden{Score: r.Score, Base: map[string]string{}}
				if err := imageio.WriteMap(filepath.Join(dir, method+"-"+r.Item.ID+".tiff"), base); err != nil {
					return err
				}
			}
			kernels := "portable"
			if gemm.Best().Fused {
				kernels = "fused"
			}
			h := sha256.New()
			binary.Write(h, binary.LittleEndian, nd.Data(base))
			g.Base[kernels] = hex.EncodeToString(h.Sum(nil))
			all[method][r.Item.ID] = g
			return nil
		})
		if err != nil {
			return err
		}
	}
	return artifact.WriteFileAtomic(filepath.Join(dir, "golden.json"), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", " ")
		return enc.Encode(all)
	})
}

// fit makes the models, and the images if there are none yet.
func fit(ctx context.Context, dir, commit string) error {
	tmp, err := os.MkdirTemp("", "f2pad-gen-models-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := synth.Write(ctx, tmp, synth.Options{Texture: "weave", Train: 10, Test: 5, Size: 48, Seed: 1}, nil); err != nil {
		return err
	}
	data, err := dataset.MVTec(tmp)
	if err != nil {
		return err
	}
	for _, im := range images {
		if _, err := os.Stat(im.Path); err == nil {
			continue
		}
		at := slices.IndexFunc(data.Test, func(it dataset.Item) bool { return it.Class == im.ID })
		pixels, err := os.ReadFile(data.Test[at].Path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(im.Path, pixels, 0o666); err != nil {
			return err
		}
	}
	for method, size := range sizes {
		path := filepath.Join(dir, method+".f2pad")
		if _, err := os.Stat(path); err == nil {
			log.Print(path, " is there: a model is never made again")
			continue
		}
		m, err := engine.Fit(ctx, data.Train, engine.FitOptions{Method: method, Size: size, Seed: 1, Remember: 1, Program: commit}, nil)
		if err != nil {
			return err
		}
		if _, err := m.Save(path); err != nil {
			return err
		}
	}
	return nil
}
