// Package dataset finds images and their ground truth on disk. It opens no image.
package dataset

// Item is one image of a data set.
type Item struct {
	Path  string // as it can be opened
	ID    string // path relative to the data set's or input's root, slash-separated: test/hole/003.png
	Class string // "good", or the defect type; "" where unknown
	Mask  string // ground truth; "" for normal images
}
