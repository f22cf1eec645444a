package report

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// Measures of a sheet in pixels.
const (
	sheetGap  = 6
	sheetLine = 18 // height of a line of text
	sheetText = 13 // from its top to the letters' base
)

// Sheet is a contact sheet of entries: for each a line of text with its ID, why it is shown and the AP of its maps, and
// below it, side by side, the image, its ground truth and its maps. Without entries it says why there are none.
func Sheet(entries []Entry, empty string) (image.Image, error) {
	type row struct {
		text     string
		pictures []image.Image
		height   int
	}
	var rows []row
	size := image.Pt(sheetGap, sheetGap)
	if len(entries) == 0 {
		rows = append(rows, row{text: empty})
		size = size.Add(image.Pt(sheetGap+font.MeasureString(basicfont.Face7x13, empty).Ceil(), sheetLine+sheetGap))
	}
	for _, e := range entries {
		r := row{text: e.ID}
		if e.Why != "" {
			r.text += ": " + string(e.Why)
		}
		all := []Picture{e.Image, e.Truth}
		for _, m := range e.Maps {
			all = append(all, m.Picture)
			r.text += fmt.Sprintf("; %s AP %s", m.Name, show(m.AP))
		}
		width := sheetGap
		for _, p := range all {
			if p.data == nil {
				continue
			}
			m, _, err := image.Decode(bytes.NewReader(p.data))
			if err != nil {
				return nil, fmt.Errorf("report: %w", err)
			}
			r.pictures = append(r.pictures, m)
			r.height = max(r.height, p.Height)
			width += p.Width + sheetGap
		}
		rows = append(rows, r)
		size.X, size.Y = max(size.X, width), size.Y+sheetLine+r.height+sheetGap
	}
	sheet := image.NewRGBA(image.Rectangle{Max: size})
	draw.Draw(sheet, sheet.Bounds(), image.White, image.Point{}, draw.Src)
	y := sheetGap
	for _, r := range rows {
		label := font.Drawer{Dst: sheet, Src: image.NewUniform(color.Black), Face: basicfont.Face7x13, Dot: fixed.P(sheetGap, y+sheetText)}
		label.DrawString(strings.ToValidUTF8(r.text, "?"))
		x := sheetGap
		for _, m := range r.pictures {
			b := m.Bounds()
			draw.Draw(sheet, b.Sub(b.Min).Add(image.Pt(x, y+sheetLine)), m, b.Min, draw.Src)
			x += b.Dx() + sheetGap
		}
		y += sheetLine + r.height + sheetGap
	}
	return sheet, nil
}
