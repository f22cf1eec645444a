# Fetches trained networks into the user's cache, for --backbone. Without them there are the built-in one and ONNX files.
BACKBONES ?= efficientnet-lite0

.PHONY: backbones
backbones: build
	@engine/backbone/pretrained/install.sh $(BIN) $(BACKBONES)
