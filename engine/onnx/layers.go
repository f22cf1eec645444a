package onnx

import (
	"fmt"
	"slices"
	"strings"
)

// modulePath is the module that a node belongs to, as PyTorch names it ("layer1.0.conv1"), "" where it is not known.
// Exporters write it into node names ("/layer1/layer1.0/conv1/Conv": containers are repeated in their members' names) or
// list the modules from the outside to the inside with the operator last ("[”, 'layer1', 'layer1.0', 'conv2d']").
func modulePath(name, scopes string) string {
	var path string
	if list := strings.Split(strings.Trim(scopes, "[] "), ","); len(list) > 1 {
		path = strings.Trim(list[len(list)-2], ` '"`)
		if strings.HasPrefix(path, "_empty_nn_module") { // stands for none
			path = ""
		}
	} else if rest, ok := strings.CutPrefix(name, "/"); ok {
		var inner []string
		parts := strings.Split(rest, "/")
		for _, part := range parts[:len(parts)-1] {
			if last := len(inner) - 1; last >= 0 && strings.HasPrefix(part, inner[last]+".") {
				inner[last] = part
			} else {
				inner = append(inner, part)
			}
		}
		path = strings.Join(inner, ".")
	}
	if len(path) > maxPath {
		return ""
	}
	return path
}

// maxPath bounds the length of a module's path: what is longer is none.
const maxPath = 1024

// enclosing calls visit with a module's path and those of the modules around it, from the outside to the inside.
func enclosing(path string, visit func(path string)) {
	for i := range len(path) {
		if path[i] == '.' {
			visit(path[:i])
		}
	}
	if path != "" {
		visit(path)
	}
}

// common is the length of the innermost module's path that two modules share.
func common(a, b string) int {
	shared := 0
	enclosing(a, func(path string) {
		if rest, ok := strings.CutPrefix(b, path); ok && (rest == "" || rest[0] == '.') {
			shared = len(path)
		}
	})
	return shared
}

// leaving has, for each module, the last of its tensors that is used outside of it.
func (m *Model) leaving() map[string]string {
	within := map[string]int{} // for each tensor in use, the length of the innermost path that it does not leave
	use := func(name, reader string) {
		if maker := m.makers[name]; maker != nil {
			n := common(maker.path, reader)
			if was, ok := within[name]; ok {
				n = min(n, was)
			}
			within[name] = n
		}
	}
	for _, n := range m.nodes {
		if n.op != "Shape" {
			for _, in := range n.in {
				use(in, n.path)
			}
		}
	}
	for _, out := range m.outputs {
		use(out.name, "")
	}
	last := map[string]string{}
	for _, n := range m.nodes {
		for _, out := range n.out {
			if n, path := within[out], n.path; out != "" && path != "" {
				if _, used := within[out]; used {
					enclosing(path, func(path string) {
						if len(path) > n {
							last[path] = out
						}
					})
				}
			}
		}
	}
	return last
}

// tensorOf finds what a layer's name stands for: a tensor, a node's first output, or what leaves a module last.
func (m *Model) tensorOf(layer string) (string, error) {
	if m.makers[layer] != nil {
		return layer, nil
	}
	for _, n := range m.nodes {
		if n.name == layer {
			return n.out[0], nil
		}
	}
	if tensor := m.leaving()[layer]; tensor != "" {
		return tensor, nil
	}
	return "", fmt.Errorf("onnx: the model has no tensor, node or module %q%s", layer, m.near(layer))
}

// modules are the paths of the nodes' modules and of those that they are part of, in the order of their first nodes.
func (m *Model) modules() []string {
	var list []string
	seen := map[string]bool{}
	for _, n := range m.nodes {
		enclosing(n.path, func(path string) {
			if !seen[path] {
				seen[path] = true
				list = append(list, path)
			}
		})
	}
	return list
}

// near lists modules whose names are like a layer's, or those at the top, for an error message.
func (m *Model) near(layer string) string {
	const most = 12
	var alike, top []string
	for _, path := range m.modules() {
		last := path[strings.LastIndexByte(path, '.')+1:]
		if strings.Contains(path, layer) || strings.Contains(layer, last) && len(last) > 2 {
			alike = append(alike, path)
		}
		if !strings.Contains(path, ".") {
			top = append(top, path)
		}
	}
	list := alike
	if layer == "" || len(list) == 0 {
		list = top
	}
	if len(list) == 0 {
		for _, out := range m.outputs {
			list = append(list, out.name)
		}
		if len(m.outputs) == 0 {
			return ""
		}
		return fmt.Sprintf("; it names no modules, its outputs are %q", list[:min(len(list), most)])
	}
	more := ""
	if len(list) > most {
		list, more = list[:most], ", ..."
	}
	return fmt.Sprintf("; there are %s%s", strings.Join(slices.Clone(list), ", "), more)
}
