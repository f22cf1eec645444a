package deps

import (
	_ "github.com/bep/imagemeta"
	_ "github.com/schollz/progressbar/v3"
	_ "github.com/spf13/cobra"
	_ "github.com/stretchr/testify/assert"
	_ "github.com/stretchr/testify/require"
	_ "go4.org/unsafe/assume-no-moving-gc"
	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/font/basicfont"
	_ "golang.org/x/image/tiff"
	_ "golang.org/x/image/webp"
	_ "golang.org/x/sys/cpu"
	_ "golang.org/x/term"
	_ "gonum.org/v1/gonum/mat"
	_ "gonum.org/v1/gonum/stat"
	_ "gorgonia.org/tensor"
)
