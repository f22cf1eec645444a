package onnx

// InputSize is the height and width of the images that the file was exported for; 0 where it takes any, or says nothing.
func (m *Model) InputSize() (h, w int) {
	image, err := m.image()
	if err != nil {
		return 0, 0
	}
	return max(image.shape[2], 0), max(image.shape[3], 0)
}
