# Fetches ONNX Runtime's shared library into the user's cache. Without it the program runs on its own executor.
.PHONY: ort
ort:
	@GOOS=$$($(GO) env GOOS) GOARCH=$$($(GO) env GOARCH) cgo/ort/install.sh
