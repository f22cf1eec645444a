# What a build with the tag cuda needs in its environment: $(CUDA_ENV) go build -tags cuda ...
#
# gorgonia.org/cu includes <cuda.h> and links -lcuda: here it finds the project's own header and an empty archive, whose place
# package driver takes. Both come before cu's own paths, so that an installed toolkit changes nothing. Go does not hash headers
# outside of a package: without their checksum among the flags it would keep objects made from an older header.
CUDA_DIR := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))
CUDA_SUM = $(shell cat $(CUDA_DIR)/include/*.h | cksum | tr ' ' _)
CUDA_ENV = CGO_ENABLED=1 \
	CGO_CFLAGS="-O2 -g -I$(CUDA_DIR)/include -DF2PAD_CUDA_SUM=$(CUDA_SUM)" \
	CGO_LDFLAGS="-O2 -g -L$(CUDA_DIR)/lib"
