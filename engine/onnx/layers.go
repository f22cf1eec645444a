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
	var inner []string
	if strings.HasPrefix(scopes, "[") {
		var list []string
		for _, s := range strings.Split(strings.Trim(scopes, "[] "), ",") {
			list = append(list, strings.Trim(s, ` '"`))
		}
		if len(list) < 2 {
			return ""
		}
		return list[len(list)-2]
	}
	if !strings.HasPrefix(name, "/") {
		return ""
	}
	parts := strings.Split(name[1:], "/")
	for _, part := range parts[:len(parts)-1] {
		if last := len(inner) - 1; last >= 0 && strings.HasPrefix(part, inner[last]+".") {
			inner[last] = part
		} else {
			inner = append(inner, part)
		}
	}
	return strings.Join(inner, ".")
}

// inside reports whether a node belongs to a module or one within it.
func (n *node) inside(module string) bool {
	rest, ok := strings.CutPrefix(n.path, module)
	return ok && (rest == "" || rest[0] == '.')
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
	if layer != "" {
		if tensor := m.leaving(layer); tensor != "" {
			return tensor, nil
		}
	}
	return "", fmt.Errorf("onnx: the model has no tensor, node or module %q%s", layer, m.near(layer))
}

// leaving is the last tensor of a module that is used outside of it, "" if there is none.
func (m *Model) leaving(module string) string {
	mine := map[string]bool{}
	var last string
	for _, n := range m.nodes {
		if n.inside(module) {
			for _, out := range n.out {
				mine[out] = true
			}
		}
	}
	used := map[string]bool{}
	for _, n := range m.nodes {
		if n.op == "Shape" || n.inside(module) {
			continue
		}
		for _, in := range n.in {
			used[in] = used[in] || mine[in]
		}
	}
	for _, out := range m.outputs {
		used[out.name] = used[out.name] || mine[out.name]
	}
	for _, n := range m.nodes {
		if n.inside(module) {
			for _, out := range n.out {
				if used[out] && out != "" {
					last = out
				}
			}
		}
	}
	return last
}

// modules are the paths of the nodes' modules and of those that they are part of, in the order of their first nodes.
func (m *Model) modules() []string {
	var list []string
	seen := map[string]bool{}
	for _, n := range m.nodes {
		for i := range n.path + "." {
			if i == len(n.path) || n.path[i] == '.' {
				if path := n.path[:i]; path != "" && !seen[path] {
					seen[path] = true
					list = append(list, path)
				}
			}
		}
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
