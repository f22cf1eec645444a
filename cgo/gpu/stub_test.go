package gpu

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The stub and the real thing offer the same.
func TestStubHasTheSameAPI(t *testing.T) {
	stub, real := map[string]bool{}, map[string]bool{}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, f := range files {
		switch {
		case strings.HasSuffix(f, "_test.go"):
		case strings.HasSuffix(f, "_stub.go"):
			exported(t, f, stub)
		case strings.HasSuffix(f, "_cuda.go"):
			exported(t, f, real)
		}
	}
	require.Greater(t, len(real), 30)
	require.Equal(t, real, stub)
}

// exported collects the signatures of exported functions and methods and the names of exported types.
func exported(t *testing.T, path string, to map[string]bool) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, 0)
	require.NoError(t, err)
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if !d.Name.IsExported() {
				continue
			}
			var text strings.Builder
			receiver := ""
			if d.Recv != nil {
				require.NoError(t, printer.Fprint(&text, set, d.Recv.List[0].Type))
				receiver = text.String()
				text.Reset()
				if !ast.IsExported(strings.TrimPrefix(receiver, "*")) {
					continue
				}
			}
			require.NoError(t, printer.Fprint(&text, set, d.Type))
			to[fmt.Sprintf("(%s) %s %s", receiver, d.Name, text.String())] = true
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if s, ok := s.(*ast.TypeSpec); ok && s.Name.IsExported() {
					to["type "+s.Name.Name] = true
				}
			}
		}
	}
}
