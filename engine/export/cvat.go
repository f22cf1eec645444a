package export

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"

	"f2pad.example/engine/region"
)

// cvatFile writes what CVAT calls "CVAT for images 1.1": it takes masks as runs and scores as attributes, and names images by their paths.
type cvatFile struct {
	w      io.Writer
	images int
}

func openCVAT(x *exporting, w io.Writer) (sink, error) {
	label, err := xmlText(x.Label)
	if err != nil {
		return nil, fmt.Errorf("--label %w", err)
	}
	const head = `<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <name>f2pad</name>
      <mode>annotation</mode>
      <labels>
        <label>
          <name>%s</name>
          <type>any</type>
          <attributes>
            <attribute>
              <name>score</name>
              <mutable>False</mutable>
              <input_type>text</input_type>
              <default_value></default_value>
              <values></values>
            </attribute>
          </attributes>
        </label>
      </labels>
    </task>
  </meta>
`
	_, err = fmt.Fprintf(w, head, label)
	return &cvatFile{w: w}, err
}

// xmlText is text as an XML file holds it, which not all can be.
func xmlText(s string) (string, error) {
	for _, r := range s {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == '\uFFFE' || r == '\uFFFF' {
			return "", fmt.Errorf("%q: XML has no place for the character %q", s, r)
		}
	}
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}

func (c *cvatFile) take(e *entry) (func() error, error) {
	name, err := e.name()
	if err != nil {
		return nil, err
	}
	if name, err = xmlText(e.Prefix + name); err != nil {
		return nil, err
	}
	label, err := xmlText(e.Label)
	if err != nil {
		return nil, err
	}
	p, err := e.picture()
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for i, f := range p.regions {
		shape := func(tag, format string, args ...any) {
			fmt.Fprintf(&b, "    <%s label=\"%s\" source=\"auto\" occluded=\"0\" ", tag, label)
			fmt.Fprintf(&b, format, args...)
			fmt.Fprintf(&b, " z_order=\"0\">\n      <attribute name=\"score\">%s</attribute>\n    </%s>\n", strconv.FormatFloat(f.score, 'g', -1, 64), tag)
		}
		if !e.Polygons {
			shape("mask", `rle="%s" left="%d" top="%d" width="%d" height="%d"`, cvatRuns(f.inBox()), f.X, f.Y, f.Width, f.Height)
			continue
		}
		parts := e.outline(f)
		for _, part := range parts {
			group := ""
			if len(parts) > 1 {
				group = fmt.Sprintf(` group_id="%d"`, i+1)
			}
			shape("polygon", `points="%s"%s`, cvatPoints(part.Single()), group)
		}
	}
	return func() error {
		_, err := fmt.Fprintf(c.w, "  <image id=\"%d\" name=\"%s\" width=\"%d\" height=\"%d\">\n%s  </image>\n", c.images, name, p.w, p.h, &b)
		c.images++
		return err
	}, nil
}

func (c *cvatFile) end() error {
	_, err := io.WriteString(c.w, "</annotations>\n")
	return err
}

// cvatRuns are the runs in a mask's box.
func cvatRuns(r runs) string {
	var all []string
	for _, n := range r {
		all = append(all, strconv.Itoa(n))
	}
	return strings.Join(all, ", ")
}

func cvatPoints(r region.Ring) string {
	var all []string
	for _, c := range r {
		all = append(all, fmt.Sprintf("%d.00,%d.00", c.X, c.Y))
	}
	return strings.Join(all, ";")
}
